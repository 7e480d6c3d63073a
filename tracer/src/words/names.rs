//! Names of frames, modules and processes, as the traced programs chose them: clean them before printing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::clean::clean;
use super::units::{count, counted_processes, plural};
use crate::profile::{Frame, Missing, Place, Profile, Sample, Subject};

/// The function's name, where it has one.
pub fn symbol(frame: &Frame) -> Option<&str> {
    let symbol = frame.symbol.as_deref();
    symbol.filter(|symbol| !symbol.trim().is_empty())
}

/// The function's name, or module+0xoffset, or the bare address.
pub fn frame(profile: &Profile, frame: &Frame) -> String {
    if frame.missing == Some(Missing::NotWalked) {
        return "...".to_owned();
    }
    match (symbol(frame), profile.module(frame), frame.module_offset) {
        (Some(symbol), ..) => symbol.to_owned(),
        (None, Some(file), Some(offset)) => format!("{}+{offset:#x}", module(&file.path)),
        _ => format!("{:#x}", frame.address),
    }
}

/// A C++ name without template arguments and parameters: `std::_Vector_base::_M_allocate`. What Java and Python write in
/// such brackets behind a dot is part of the name: `Session.<init>`, `main.<locals>.run`.
pub fn without_arguments(name: &str) -> String {
    let mut depth = 0_usize;
    let mut path = String::new();
    let mut letters = name.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '<' if depth == 0 && path.ends_with('.') => {
                path.push(letter);
                let own = letters.by_ref().take_while(|letter| *letter != '>');
                path.extend(own);
                path.push('>');
            }
            '<' | '(' => depth += 1,
            '>' | ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => path.push(letter),
            _ => {}
        }
    }
    path
}

/// A function's own name: without arguments, templates and the names around it.
pub fn short(symbol: &str) -> String {
    let plain = without_arguments(symbol);
    let last = plain.rsplit("::").find(|part| !part.trim().is_empty());
    let last = last.map_or(symbol, str::trim);
    last.strip_suffix(" const").unwrap_or(last).to_owned()
}

/// A mapped file's name without its folder; names such as `[heap]` as they are.
pub fn module(path: &str) -> &str {
    let name = Path::new(path).file_name();
    name.and_then(|name| name.to_str()).unwrap_or(path)
}

/// A process as its name and PID, "nginx (4242)"; a group or the kernel as its name.
pub fn process(subject: &Subject) -> String {
    match subject.pid {
        Some(pid) => format!("{} ({pid})", subject.command),
        None => subject.command.clone(),
    }
}

/// The process at a subject's index.
pub fn subject_at(profile: &Profile, index: u32) -> String {
    let subject = profile.subject(index);
    subject.map_or_else(|| "an unknown process".to_owned(), process)
}

/// A process in a sentence: "process 812 (perl, cron.service)". Safe to print.
pub fn whose(pid: u32, command: &str, place: &Place) -> String {
    clean(&format!("process {pid} ({command}, {})", place.label())).into_owned()
}

/// Whose a sample is: a process, with its container or unit where many are traced; of several processes how many,
/// and their names.
pub fn owners(profile: &Profile, sample: &Sample) -> String {
    if !sample.also.is_empty() {
        return several(profile, sample);
    }
    let owner = subject_at(profile, sample.subject);
    match profile.subject(sample.subject) {
        Some(subject) if profile.sections.host_wide.is_some() => {
            format!("{owner} {}", subject.place.label())
        }
        _ => owner,
    }
}

/// "12 processes (nginx, redis-server and 3 other names)".
fn several(profile: &Profile, sample: &Sample) -> String {
    const MOST: usize = 3;
    let mut processes: BTreeMap<&str, u64> = BTreeMap::new();
    let subjects = std::iter::once(&sample.subject).chain(&sample.also);
    for subject in subjects.filter_map(|subject| profile.subject(*subject)) {
        *processes.entry(&subject.command).or_default() += 1;
    }
    let mut names: Vec<(&str, u64)> = processes.into_iter().collect();
    names.sort_by_key(|(_, processes)| Reverse(*processes));
    let told: Vec<&str> = names.iter().take(MOST).map(|(name, _)| *name).collect();
    let others = match names.len().saturating_sub(MOST) as u64 {
        0 => String::new(),
        more => format!(" and {more} other {}", plural(more, "name", "names")),
    };
    let processes = counted_processes(1 + sample.also.len() as u64);
    format!("{processes} ({}{others})", told.join(", "))
}

/// What a profile is about: a process, how many processes, or the kernel.
pub fn subject(profile: &Profile) -> String {
    let subjects = &profile.subjects;
    if let Some(host) = &profile.sections.host_wide {
        return format!(
            "{} ({})",
            host.scope,
            counted_processes(subjects.len() as u64)
        );
    }
    let pids: BTreeSet<Option<u32>> = subjects.iter().map(|subject| subject.pid).collect();
    let newest = subjects.iter().max_by_key(|subject| subject.image);
    match newest {
        None => "no process".to_owned(),
        Some(newest) if pids.len() == 1 => process(newest),
        Some(_) => format!("{} processes", count(pids.len() as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Builder, Meta, Source};

    #[test]
    fn a_frame_is_never_without_a_name() {
        let mut build = Builder::new(Meta::default());
        let mut unknown = Frame {
            address: 0x7f00_1234,
            ..Frame::default()
        };
        let library = build.module("/usr/lib/libfoo.so.1", None);
        let profile = build.finish();
        assert_eq!(frame(&profile, &unknown), "0x7f001234");
        unknown.symbol = Some("".into());
        unknown.module = Some(library);
        assert_eq!(frame(&profile, &unknown), "0x7f001234");
        unknown.module_offset = Some(0x1f3a);
        assert_eq!(frame(&profile, &unknown), "libfoo.so.1+0x1f3a");
        unknown.symbol = Some("main".into());
        assert_eq!(frame(&profile, &unknown), "main");
        assert_eq!(module("[heap]"), "[heap]");
        assert_eq!(module("/"), "/");
    }

    #[test]
    fn brackets_behind_a_dot_belong_to_the_name() {
        let names = [
            "a.B.<init>",
            "main.<locals>.run",
            "std::vector<int>::f(int)",
        ];
        assert_eq!(names.map(short), ["a.B.<init>", "main.<locals>.run", "f"]);
    }

    #[test]
    fn several_processes_are_counted_and_the_first_are_named() {
        let mut build = Builder::new(Meta::default());
        for (pid, name) in [(1, "d"), (2, "a"), (3, "b"), (4, "d"), (5, "c")] {
            build.subject(Subject::process(pid, name));
        }
        let mut sample = build.sample(Source::Heap, 0, None, &Default::default());
        assert_eq!(owners(&build.profile, &sample), "d (1)");
        sample.also = vec![1, 2, 3, 4];
        assert_eq!(
            owners(&build.profile, &sample),
            "5 processes (d, a, b and 1 other name)"
        );
        assert_eq!(subject(&build.profile), "5 processes");
    }
}
