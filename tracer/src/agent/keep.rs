//! Which reports are kept: the newest, as many and as large as may be.

/// A file of a report. Files of one report have all but the ending of their names in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// The name of a report: when, why and whose. It sorts by time, and has no letter that a shell or a browser minds.
pub fn stem(time: jiff::Timestamp, why: &str, whose: &str) -> String {
    let plain = |letter: char| match letter.is_ascii_alphanumeric() || "-_.".contains(letter) {
        true => letter,
        false => '_',
    };
    let whose: String = whose.chars().take(64).map(plain).collect();
    format!("{}-{why}-{whose}", time.strftime("%Y%m%dT%H%M%S%3fZ"))
}

/// Whether a name is that of a report: nothing else is ever removed.
pub fn is_report(name: &str) -> bool {
    let time = name.as_bytes().get(..19);
    let is_time = time.is_some_and(|time| {
        let digit = |at: &usize| time[*at].is_ascii_digit();
        let digits = (0..8).chain(9..18);
        digits.clone().all(|at| digit(&at)) && time[8] == b'T' && time[18] == b'Z'
    });
    is_time && name.as_bytes().get(19) == Some(&b'-') && ending(name).is_some()
}

/// The endings that reports have.
pub const ENDINGS: [&str; 3] = [".memlens", ".pb.gz", ".html"];

fn ending(name: &str) -> Option<&'static str> {
    ENDINGS.into_iter().find(|ending| name.ends_with(ending))
}

/// The files that are to go, so that at most so many reports of so many bytes are left.
pub fn to_remove(files: &[Stored], most: usize, most_bytes: u64) -> Vec<String> {
    let mut reports: Vec<(&str, Vec<&Stored>)> = Vec::new();
    let mut sorted: Vec<&Stored> = files.iter().filter(|file| is_report(&file.name)).collect();
    // Newest first, by the time in the name: that of the file may be anything after a copy.
    sorted.sort_by(|one, other| other.name.cmp(&one.name));
    for file in sorted {
        let stem = ending(&file.name).and_then(|ending| file.name.strip_suffix(ending));
        let stem = stem.unwrap_or(&file.name);
        match reports.last_mut() {
            Some((last, files)) if *last == stem => files.push(file),
            _ => reports.push((stem, vec![file])),
        }
    }
    let (mut kept, mut bytes, mut gone) = (0, 0_u64, Vec::new());
    for (_, files) in reports {
        let own: u64 = files.iter().map(|file| file.bytes).sum();
        if kept < most && bytes.saturating_add(own) <= most_bytes {
            kept += 1;
            bytes += own;
        } else {
            // What is older goes, too: a gap in time would hide that something is missing.
            kept = most;
            gone.extend(files.iter().map(|file| file.name.clone()));
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(name: &str, bytes: u64) -> Stored {
        Stored {
            name: name.to_owned(),
            bytes,
        }
    }

    #[test]
    fn names_are_harmless_and_known_again() {
        let time = jiff::Timestamp::UNIX_EPOCH;
        let stem = stem(time, "oom", "42-../a b\n");
        assert_eq!(stem, "19700101T000000000Z-oom-42-.._a_b_");
        assert!(is_report(&format!("{stem}.pb.gz")));
        for other in [
            "passwd",
            "19700101T000000000Z-oom",
            "notes.html",
            "19700101T00000000xZ-a.html",
            "",
        ] {
            assert!(!is_report(other), "{other}");
        }
    }

    #[test]
    fn the_oldest_go_first_and_whole() {
        let files = [
            file("20260101T000000000Z-oom-1.html", 10),
            file("20260101T000000000Z-oom-1.pb.gz", 10),
            file("20260102T000000000Z-leak-2.html", 10),
            file("20260103T000000000Z-leak-2.memlens", 10),
            file("notes.txt", 1_000),
        ];
        assert!(to_remove(&files, 3, 1_000).is_empty());
        assert_eq!(
            to_remove(&files, 2, 1_000),
            [
                "20260101T000000000Z-oom-1.pb.gz",
                "20260101T000000000Z-oom-1.html"
            ]
        );
        assert_eq!(to_remove(&files, 3, 15).len(), 3);
    }

    proptest! {
        /// What is left is within the bounds, and what is no report is left.
        #[test]
        fn what_is_left_is_bounded(
            days in proptest::collection::vec((1_u32..28, 0_u64..100), 0..30), most in 0_usize..10, bytes in 0_u64..1_000,
        ) {
            let name = |day: u32| format!("202601{day:02}T000000000Z-oom-1.html");
            let mut files: Vec<Stored> = Vec::new();
            for (day, bytes) in days {
                if files.iter().all(|file| file.name != name(day)) {
                    files.push(file(&name(day), bytes));
                }
            }
            files.push(file("other", 5));
            let gone = to_remove(&files, most, bytes);
            prop_assert!(!gone.contains(&"other".to_owned()));
            let left: Vec<&Stored> = files.iter().filter(|file| is_report(&file.name) && !gone.contains(&file.name)).collect();
            prop_assert!(left.len() <= most);
            prop_assert!(left.iter().map(|file| file.bytes).sum::<u64>() <= bytes);
        }
    }
}
