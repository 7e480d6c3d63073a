//! How frames, modules and processes are called in the dresses that people read.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::units::count;
use super::{ProcessRow, Report, StackRow};
use crate::process::cgroup::Place;
use crate::symbolize::Frame;

/// Text that is safe to print: what a traced program chose (names, paths) must neither move the
/// cursor nor break a line, nor turn the reading direction.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_unprintable) {
        Cow::Owned(text.replace(is_unprintable, "?"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Control characters, line separators and the marks that override the direction of text; and
/// the two code points that XML cannot hold.
fn is_unprintable(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// The function's name, or module+0xoffset, or the bare address.
pub fn frame(frame: &Frame) -> String {
    match symbol(frame) {
        Some(symbol) => symbol.to_owned(),
        None => match (&frame.module, frame.module_offset) {
            (Some(path), Some(offset)) => format!("{}+{offset:#x}", module(path)),
            _ => format!("{:#x}", frame.address),
        },
    }
}

/// The function's name, where it has one.
pub fn symbol(frame: &Frame) -> Option<&str> {
    frame
        .symbol
        .as_deref()
        .filter(|symbol| !symbol.trim().is_empty())
}

/// A mapped file's name without its folder; names such as `[heap]` as they are.
pub fn module(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// A source file's path without what only tells where a toolchain or a package was installed:
/// `rust/library/alloc/src/vec/mod.rs`, `serde-1.0.0/src/lib.rs`.
pub fn short_source(path: &str) -> Cow<'_, str> {
    let below_first_folder = |path| str::split_once(path, '/').map(|(_, rest)| rest);
    // Installed by rustup as a component: "library" and what it depends on are below.
    if let Some((_, rest)) = path.split_once("/lib/rustlib/src/rust/") {
        return format!("rust/{rest}").into();
    }
    // As the standard library was compiled: the first folder is the hash of the compiler's commit.
    if let Some(rest) = path.strip_prefix("/rustc/") {
        let rest = match rest.starts_with("library/") {
            true => Some(rest),
            false => below_first_folder(rest),
        };
        return rest.map_or_else(
            || path.into(),
            |rest| format!("rust/{}", rest.trim_start_matches('/')).into(),
        );
    }
    let package = path.strip_prefix("/rust/deps/").or_else(|| {
        let (_, index) = path.split_once("/registry/src/")?;
        below_first_folder(index)
    });
    package.unwrap_or(path).into()
}

/// A process as its name and PID: "nginx (4242)".
pub fn process(row: &ProcessRow) -> String {
    format!("{} ({})", row.comm, row.pid)
}

/// A process in a sentence: "process 812 (perl, cron.service)". Safe to print.
pub fn whose(pid: u32, comm: &str, place: &Place) -> String {
    clean(&format!("process {pid} ({comm}, {})", place.label())).into_owned()
}

/// Whose stack it is: a process, on a whole host with its container or unit; or of several how many, and their names.
pub fn owners(report: &Report, stack: &StackRow) -> String {
    let owner = report.process(stack.pid);
    if !stack.also.is_empty() {
        let pids = std::iter::once(&stack.pid).chain(&stack.also);
        let mut names: BTreeMap<&str, u64> = BTreeMap::new();
        for row in pids.filter_map(|pid| report.process(*pid)) {
            *names.entry(&row.comm).or_default() += 1;
        }
        return several(1 + stack.also.len() as u64, names);
    }
    match owner {
        None => format!("pid {}", stack.pid),
        Some(row) => match &row.host {
            None => process(row),
            Some(host) => format!("{} {}", process(row), host.member.place.label()),
        },
    }
}

/// "12 processes (nginx, redis-server and 3 other names)".
fn several(processes: u64, names: BTreeMap<&str, u64>) -> String {
    const MOST: usize = 3;
    let mut names: Vec<(&str, u64)> = names.into_iter().collect();
    names.sort_by_key(|(_, processes)| Reverse(*processes));
    let told: Vec<&str> = names.iter().take(MOST).map(|(name, _)| *name).collect();
    let names = match names.len().saturating_sub(MOST) {
        0 => told.join(", "),
        1 => format!("{} and 1 other name", told.join(", ")),
        more => format!("{} and {more} other names", told.join(", ")),
    };
    format!("{} processes ({names})", count(processes))
}

/// Whose memory a report is about: a process, or how many of them.
pub fn subject(report: &Report) -> String {
    if let Some(host) = &report.host {
        let processes = report.processes.len() as u64;
        let noun = if processes == 1 {
            "process"
        } else {
            "processes"
        };
        return format!("{} ({} {noun})", host.scope, count(processes));
    }
    let pids: BTreeSet<u32> = report.processes.iter().map(|row| row.pid).collect();
    match report.processes.first() {
        None => "no process".to_owned(),
        Some(first) if pids.len() == 1 => process(report.process(first.pid).unwrap_or(first)),
        Some(_) => format!("{} processes", count(pids.len() as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_chose_cannot_drive_the_terminal() {
        assert_eq!(clean("a\x1b[31m\nb\u{202e}c"), "a?[31m?b?c");
        assert!(matches!(clean("operator<< [clone]"), Cow::Borrowed(_)));
    }

    #[test]
    fn where_sources_were_installed_is_left_out() {
        let cases = [
            (
                "/root/.rustup/toolchains/stable-x86_64-unknown-linux-gnu/lib/rustlib/src/rust/library/alloc/src/vec/mod.rs",
                "rust/library/alloc/src/vec/mod.rs",
            ),
            (
                "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/alloc/src/alloc.rs",
                "rust/library/alloc/src/alloc.rs",
            ),
            ("/rustc/library/core/src/a.rs", "rust/library/core/src/a.rs"),
            (
                "/rustc/5980//library/std/src/rt.rs",
                "rust/library/std/src/rt.rs",
            ),
            (
                "/rust/deps/hashbrown-0.15.5/src/raw.rs",
                "hashbrown-0.15.5/src/raw.rs",
            ),
            (
                "/home/me/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/serde-1.0.0/src/lib.rs",
                "serde-1.0.0/src/lib.rs",
            ),
            ("/build/victim/src/leak.c", "/build/victim/src/leak.c"),
            ("./csu/../csu/libc-start.c", "./csu/../csu/libc-start.c"),
            ("/rustc/odd", "/rustc/odd"),
            ("/registry/src/odd", "/registry/src/odd"),
            ("", ""),
        ];
        for (path, short) in cases {
            assert_eq!(short_source(path), short, "{path}");
        }
    }

    #[test]
    fn a_frame_is_never_without_a_name() {
        let mut unknown = Frame {
            address: 0x7f00_1234,
            ..Frame::default()
        };
        assert_eq!(frame(&unknown), "0x7f001234");
        unknown.symbol = Some(String::new());
        unknown.module = Some("/usr/lib/libfoo.so.1".into());
        assert_eq!(frame(&unknown), "0x7f001234");
        unknown.module_offset = Some(0x1f3a);
        assert_eq!(frame(&unknown), "libfoo.so.1+0x1f3a");
        unknown.symbol = Some("main".into());
        assert_eq!(frame(&unknown), "main");
        assert_eq!(module(Path::new("[heap]")), "[heap]");
        assert_eq!(module(Path::new("/")), "/");
    }
}
