//! What the kernel's text says of one process: `status`, `stat` and `smaps_rollup` of `/proc/PID`. Pure, and by hand:
//! a pass reads thousands of these, and needs a dozen of their words.

use super::figures::Figures;

/// What `/proc/PID/status` says of a process that has memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Name, at most 15 bytes; what is not UTF-8 is replaced.
    pub name: String,
    /// Real user id.
    pub uid: u32,
    /// Its figures; file descriptors and PSS come from elsewhere.
    pub figures: Figures,
}

/// What a text of `/proc/PID/status` comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A process with memory.
    Process(Status),
    /// A kernel thread, or what is left of a process that has exited.
    NoMemory {
        /// The first thread has exited and others have not: their `status` has the figures.
        threads_left: bool,
    },
    /// Not the text that the kernel writes.
    Malformed,
}

/// Reads `/proc/PID/status` (proc_pid_status(5)).
pub fn parse(text: &[u8]) -> Parsed {
    let mut found = Found::default();
    for line in text.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        found.take(&line[..colon], line[colon + 1..].trim_ascii());
    }
    found.parsed()
}

/// The lines that count, as far as they were found.
#[derive(Default)]
struct Found<'a> {
    name: Option<&'a [u8]>,
    zombie: bool,
    uid: Option<u64>,
    threads: Option<u64>,
    virtual_size: Option<u64>,
    rss: Option<u64>,
    anonymous: Option<u64>,
    shared: Option<u64>,
    swap: Option<u64>,
    page_tables: Option<u64>,
}

impl<'a> Found<'a> {
    fn take(&mut self, key: &[u8], value: &'a [u8]) {
        match key {
            b"Name" => self.name = Some(value),
            b"State" => self.zombie = matches!(value.first(), Some(b'Z' | b'X')),
            b"Uid" => self.uid = number(value).map(|(uid, _)| uid),
            b"Threads" => self.threads = number(value).map(|(threads, _)| threads),
            b"VmSize" => self.virtual_size = size(value),
            b"VmRSS" => self.rss = size(value),
            b"RssAnon" => self.anonymous = size(value),
            b"RssShmem" => self.shared = size(value),
            b"VmSwap" => self.swap = size(value),
            b"VmPTE" => self.page_tables = size(value),
            _ => {}
        }
    }

    fn parsed(self) -> Parsed {
        let (Some(name), Some(uid), Some(threads)) = (self.name, self.uid, self.threads) else {
            return Parsed::Malformed;
        };
        let (Some(virtual_size), Some(rss)) = (self.virtual_size, self.rss) else {
            let threads_left = self.zombie && threads > 1;
            return Parsed::NoMemory { threads_left };
        };
        let Ok(uid) = u32::try_from(uid) else {
            return Parsed::Malformed;
        };
        Parsed::Process(Status {
            name: unescape(name),
            uid,
            figures: Figures {
                rss,
                anonymous: self.anonymous.unwrap_or(0),
                shared: self.shared.unwrap_or(0),
                swap: self.swap.unwrap_or(0),
                virtual_size,
                page_tables: self.page_tables.unwrap_or(0),
                threads,
                fds: None,
                pss: None,
            },
        })
    }
}

/// The number at the start of a text, and what follows it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    Some((number, &text[digits..]))
}

/// Bytes of a size such as `1756 kB`.
fn size(text: &[u8]) -> Option<u64> {
    let (kibibytes, unit) = number(text)?;
    (unit.trim_ascii() == b"kB").then(|| kibibytes.saturating_mul(1024))
}

/// The kernel writes a line break in a name as `\n`, and a backslash twice.
fn unescape(name: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    loop {
        rest = match rest {
            [b'\\', b'n', rest @ ..] => {
                bytes.push(b'\n');
                rest
            }
            [b'\\', b'\\', rest @ ..] => {
                bytes.push(b'\\');
                rest
            }
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
            [] => break,
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// When a process began, in clock ticks since boot: field 22 of `/proc/PID/stat` (proc_pid_stat(5)). The name before it
/// is in parentheses and may hold any character, also a closing one.
pub fn start_time(stat: &[u8]) -> Option<u64> {
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = stat[close + 1..].split(|byte| *byte == b' ').skip(1);
    number(fields.nth(19)?).map(|(ticks, _)| ticks)
}

/// Proportional set size in bytes, from `/proc/PID/smaps_rollup`.
pub fn pss(rollup: &[u8]) -> Option<u64> {
    rollup
        .split(|byte| *byte == b'\n')
        .find_map(|line| size(line.strip_prefix(b"Pss:")?.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHELL: &[u8] = include_bytes!("samples/status.bash.txt");
    const KERNEL_THREAD: &[u8] = include_bytes!("samples/status.kthreadd.txt");
    const ZOMBIE: &[u8] = include_bytes!("samples/status.zombie.txt");
    const ROLLUP: &[u8] = include_bytes!("samples/smaps_rollup.bash.txt");

    fn process(text: &[u8]) -> Status {
        match parse(text) {
            Parsed::Process(status) => status,
            other => panic!("no process: {other:?}"),
        }
    }

    #[test]
    fn a_recorded_process_is_read() {
        let shell = process(SHELL);
        assert_eq!((shell.name.as_str(), shell.uid), ("bash", 1000));
        let figures = Figures {
            rss: 3_028 << 10,
            anonymous: 272 << 10,
            shared: 0,
            swap: 0,
            virtual_size: 4_360 << 10,
            page_tables: 40 << 10,
            threads: 1,
            fds: None,
            pss: None,
        };
        assert_eq!(shell.figures, figures);
        assert_eq!(pss(ROLLUP), Some(647 << 10));
    }

    #[test]
    fn what_has_no_memory_is_told_from_what_is_broken() {
        let none = |threads_left| Parsed::NoMemory { threads_left };
        assert_eq!(parse(KERNEL_THREAD), none(false));
        assert_eq!(parse(ZOMBIE), none(false));
        let led_by_a_zombie = b"Name:\tx\nState:\tZ (zombie)\nUid:\t0\t0\t0\t0\nThreads:\t3\n";
        assert_eq!(parse(led_by_a_zombie), none(true));
        for broken in [
            &b""[..],
            b"\n\n",
            b"Name:\tx",
            b"\xff\xfe",
            b"Uid:\t0\nThreads:\t1\n",
        ] {
            assert_eq!(parse(broken), Parsed::Malformed, "{broken:?}");
        }
    }

    /// A read that ends in the middle must not give half a number as a whole one.
    #[test]
    fn a_cut_text_gives_no_wrong_figures() {
        let whole = process(SHELL).figures;
        for end in 0..SHELL.len() {
            if let Parsed::Process(status) = parse(&SHELL[..end]) {
                assert_eq!(status.figures.rss, whole.rss, "cut at {end}");
                assert_eq!(status.figures.virtual_size, whole.virtual_size);
            }
        }
    }

    #[test]
    fn names_are_what_the_program_chose() {
        let named = |name: &str| {
            let text =
                format!("Name:\t{name}\nUid:\t0\nThreads:\t1\nVmSize:\t1 kB\nVmRSS:\t1 kB\n");
            process(text.as_bytes()).name
        };
        assert_eq!(named("(sd-pam)"), "(sd-pam)");
        assert_eq!(named(r"a\\b\nc: d"), "a\\b\nc: d");
        assert_eq!(named(r"end\"), "end\\");
    }

    #[test]
    fn the_start_time_is_behind_any_name() {
        let stat = |name: &str| {
            format!(
                "7 ({name}) S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 123456 4722688 897 0 0"
            )
        };
        for name in ["bash", "a) S 1 (b", "", "x y"] {
            assert_eq!(start_time(stat(name).as_bytes()), Some(123_456), "{name}");
        }
        for broken in [&b""[..], b"7 (bash", b"7 (bash) S 1 7", b")))))"] {
            assert_eq!(start_time(broken), None);
        }
    }

    #[test]
    fn a_rollup_without_the_line_has_no_pss() {
        assert_eq!(pss(b""), None);
        assert_eq!(pss(b"Rss: 5 kB\nPss_Anon: 4 kB\n"), None);
        assert_eq!(pss(b"Pss:    12 pages\n"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = (parse(&text), start_time(&text), pss(&text));
        }

        #[test]
        fn no_damaged_text_panics(at in 0..SHELL.len(), byte in any::<u8>()) {
            let mut text = SHELL.to_vec();
            text[at] = byte;
            let _ = parse(&text);
        }
    }
}
