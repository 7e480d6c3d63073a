//! The page of `memlens hunt`, against golden files, and what follows from the evidence.

#[path = "samples/golden.rs"]
mod golden;
mod hunt_samples;
#[path = "samples/keys.rs"]
mod keys;

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use memlens::profile::Profile;
use memlens::render::{Format, Options};
use unicode_width::UnicodeWidthStr;

use golden::check_folder;
use hunt_samples::{HUNTED, all};
use keys::{documented, json_part, keys_of};

fn rendered(format: Format, profile: &Profile, width: Option<usize>) -> String {
    let options = Options {
        time_zone: TimeZone::UTC,
        width,
        ..Options::default()
    };
    let mut out = Vec::new();
    let written = format.renderer().render(profile, &options, &mut out);
    written.expect("a vector takes all");
    String::from_utf8(out).expect("the output is UTF-8")
}

#[test]
fn what_follows_is_right_and_said() {
    for sample in all() {
        let hunt = sample.profile.sections.hunt.as_ref().expect("a hunt");
        let name = sample.name;
        assert_eq!(hunt.outcome, sample.outcome, "{name}: {}", hunt.conclusion);
        let commands = hunt.next.iter().map(|next| next.command.as_str());
        let said: Vec<&str> = std::iter::once(hunt.conclusion.as_str())
            .chain(commands)
            .collect();
        let said = said.join("\n");
        for words in sample.says {
            assert!(said.contains(words), "{name}: no {words:?} in\n{said}");
        }
        assert!(
            !said.contains("cc1"),
            "{name}: what has just begun is no grower\n{said}"
        );
    }
}

/// Whoever copies a command need not fill anything in but what only they know.
#[test]
fn commands_have_the_pid() {
    for sample in all() {
        let hunt = sample.profile.sections.hunt.as_ref().expect("a hunt");
        assert!(!hunt.next.is_empty(), "{}", sample.name);
        for next in &hunt.next {
            let command = &next.command;
            assert!(!command.contains("PID"), "{command}");
            let is_of_process = command.contains(" -p ") || command.contains("explain");
            assert!(
                !is_of_process || command.contains(&HUNTED.to_string()),
                "{command}"
            );
        }
    }
}

#[test]
fn pages_are_as_blessed() {
    let mut files = Vec::new();
    for sample in all() {
        let (name, profile) = (sample.name, &sample.profile);
        files.push((format!("{name}.txt"), rendered(Format::Text, profile, None)));
        if ["heap", "nothing", "without_root"].contains(&name) {
            files.push((
                format!("{name}_80.txt"),
                rendered(Format::Text, profile, Some(80)),
            ));
            files.push((
                format!("{name}.json"),
                rendered(Format::Json, profile, None),
            ));
        }
        if ["heap", "two_growers"].contains(&name) {
            files.push((
                format!("{name}_120.txt"),
                rendered(Format::Text, profile, Some(120)),
            ));
        }
    }
    check_folder("hunt", files);
}

#[test]
fn a_page_comes_out_of_its_json_and_fits_the_terminal() {
    for sample in all() {
        let json = rendered(Format::Json, &sample.profile, None);
        let read = Profile::parse(json.as_bytes()).expect("what is written can be read");
        for width in [40, 80, 120] {
            let page = rendered(Format::Text, &sample.profile, Some(width));
            assert_eq!(
                page,
                rendered(Format::Text, &read, Some(width)),
                "{}",
                sample.name
            );
            for line in page.lines() {
                assert!(line.width() <= width, "{}: {line}", sample.name);
                assert_eq!(line.trim_end(), line, "{}", sample.name);
            }
        }
    }
}

#[test]
fn every_key_is_documented() {
    let mut keys = BTreeSet::new();
    for sample in all() {
        let json = rendered(Format::Json, &sample.profile, None);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let apart = ["growth"];
        keys_of(&json["sections"]["hunt"], "hunt", &[], &apart, &mut keys);
    }
    let documented = documented(&json_part("hunt.md"));
    let missing: Vec<&String> = keys.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/hunt.md: {missing:?}");
}
