//! Passes that were made up: who is ranked first, who came and went, and what becomes of groups.

mod machine_wide;

use super::*;
use crate::analysis::advice;
use crate::process::cgroup;
use crate::profile::machine::{MachineSection, Of, Order};
use crate::profile::trend::Verdict;
use crate::profile::{Finding, FindingKind, Meta, Profile, Subject, difference};
use crate::sources::machine::View;

const MIB: u64 = 1 << 20;
const MEMINFO: &[u8] = include_bytes!("../../samples/meminfo.6.18.txt");

/// Details that count how often they are asked for.
#[derive(Default)]
struct Stub {
    asked: usize,
}

impl Details for Stub {
    fn pss(&mut self, _pid: u32, rss: u64) -> Option<u64> {
        self.asked += 1;
        Some(rss / 2)
    }
    fn fds(&mut self, pid: u32) -> Option<u64> {
        Some(u64::from(pid))
    }
    fn place(&mut self, _pid: u32) -> Option<Place> {
        Some(cgroup::place("0::/system.slice/api.service"))
    }
    fn user(&mut self, uid: u32) -> String {
        format!("user{uid}")
    }
    fn age(&mut self, start: u64) -> Option<Duration> {
        Some(Duration::from_secs(1_000 - start))
    }
    fn bounds(&mut self, cgroup: &str) -> Bounds {
        Bounds {
            max: cgroup.contains("limited").then_some(100 * MIB),
            ..Bounds::default()
        }
    }
    fn pressure(&mut self, _cgroup: &str) -> Option<Pressure> {
        None
    }
}

const VIEW: View = View {
    order: Order::Growth,
    of: Of::Total,
    top: Some(10),
};

fn process(pid: u32, name: &str, rss: u64) -> ProcessSample {
    ProcessSample {
        key: ProcessKey { pid, start: 7 },
        name: name.into(),
        uid: pid / 100,
        place: Some(format!("{name}.service")),
        figures: Figures {
            rss,
            anonymous: rss,
            virtual_size: 10 * rss,
            threads: 1,
            ..Figures::default()
        },
    }
}

fn snapshot(second: u32, processes: Vec<ProcessSample>) -> Snapshot {
    Snapshot {
        at: f64::from(second),
        machine: Machine::parse(MEMINFO).expect("recorded"),
        processes,
        ..Snapshot::default()
    }
}

/// An observer after so many seconds, with what `at` gives for each.
fn observed(by: By, seconds: u32, at: impl Fn(u32) -> Vec<ProcessSample>) -> Observer {
    let mut observer = Observer::new(by, None, snapshot(0, at(0)));
    for second in 1..=seconds {
        observer.add(snapshot(second, at(second)));
    }
    observer
}

fn profile(observer: &Observer) -> Profile {
    let mut profile = observer.profile(VIEW, Meta::default(), &mut Stub::default());
    advice::add(&mut profile, &|name| name != "vm");
    profile
}

fn machine(profile: &Profile) -> &MachineSection {
    profile.sections.machine.as_ref().expect("of a machine")
}

fn names(profile: &Profile) -> Vec<&str> {
    profile
        .subjects
        .iter()
        .map(|subject| subject.command.as_str())
        .collect()
}

fn named<'a>(profile: &'a Profile, name: &str) -> &'a Subject {
    profile
        .subjects
        .iter()
        .find(|subject| subject.command == name)
        .expect("is shown")
}

fn slope(subject: &Subject, measure: Measure) -> f64 {
    subject.growth[&measure].per_min / 60.0
}

fn hints(profile: &Profile) -> Vec<&Finding> {
    profile
        .findings
        .iter()
        .filter(|finding| finding.kind == FindingKind::Next)
        .collect()
}

/// The PID of the process that a hint is about.
fn pid(profile: &Profile, hint: &Finding) -> Option<u32> {
    profile.subject(hint.subject?)?.pid
}

/// The leak is small, the noise large: the leak is first, then the sizes decide.
#[test]
fn noise_does_not_rank_before_a_leak() {
    let noise = |second: u32| u64::from(second.wrapping_mul(2_654_435_761)) % (200 * MIB);
    let observer = observed(By::Process, 20, |second| {
        vec![
            process(101, "noisy", 500 * MIB + noise(second)),
            process(102, "large", 900 * MIB),
            process(103, "leaky", 20 * MIB + u64::from(second) * MIB / 10),
            process(104, "step", if second < 8 { MIB } else { 300 * MIB }),
            process(105, "giving", 100 * MIB - u64::from(second) * MIB),
        ]
    });
    let profile = profile(&observer);
    assert_eq!(names(&profile)[..2], ["leaky", "large"]);
    let slope = slope(&profile.subjects[0], Measure::ProcessAnonymousBytes);
    assert!((slope - (MIB / 10) as f64).abs() < 1.0, "{slope}");
    for (name, verdict) in [
        ("leaky", Verdict::Growing),
        ("large", Verdict::Steady),
        ("noisy", Verdict::Unclear),
        ("step", Verdict::Unclear),
        ("giving", Verdict::Shrinking),
    ] {
        let found = named(&profile, name).verdict(Measure::ProcessTotalBytes);
        assert_eq!(found, verdict, "{name}");
    }
    let growers: Vec<&str> = machine(&profile)
        .growers
        .iter()
        .map(|row| row.command.as_str())
        .collect();
    assert_eq!(growers, ["leaky"]);
    let hint = hints(&profile)[0];
    assert_eq!(pid(&profile, hint), Some(103));
    assert_eq!(hint.text, "PID 103 (leaky) grows 6 MiB/min, all anonymous");
    assert_eq!(
        hint.commands,
        ["memlens explain 103", "memlens leaks -p 103"]
    );
}

#[test]
fn only_what_is_shown_is_read_in_detail() {
    let observer = observed(By::Process, 3, |_| {
        (1..=50).map(|pid| process(pid, "many", MIB)).collect()
    });
    let mut details = Stub::default();
    let mut with = |top| observer.profile(View { top, ..VIEW }, Meta::default(), &mut details);
    let profile = with(Some(4));
    let all = with(None);
    assert_eq!(details.asked, 4 + 50);
    assert_eq!(
        (profile.subjects.len(), machine(&profile).rows_total),
        (4, 50)
    );
    assert_eq!(
        machine(&profile).rest.amount(Measure::ProcessRssBytes),
        46 * MIB
    );
    let first = &profile.subjects[0];
    assert_eq!((first.pid, first.user.as_deref()), (Some(1), Some("user0")));
    assert_eq!(
        first.totals.whole(Measure::ProcessPssBytes),
        Some(MIB as i64 / 2)
    );
    assert_eq!(first.totals.whole(Measure::ProcessFds), Some(1));
    assert_eq!(first.age, Some(Duration::from_secs(993)));
    assert_eq!(all.subjects.len(), 50);
    assert_eq!(machine(&all).rest.amount(Measure::ProcessRssBytes), 0);
}

#[test]
fn sizes_rank_by_the_figure_asked_for() {
    let observer = observed(By::Process, 1, |_| {
        let mut swapped = process(1, "swapped", MIB);
        swapped.figures.swap = 900 * MIB;
        vec![process(2, "resident", 500 * MIB), swapped]
    });
    let first = |of: Of| {
        let view = View {
            order: Order::Size,
            of,
            top: Some(1),
        };
        names(&observer.profile(view, Meta::default(), &mut Stub::default()))[0].to_owned()
    };
    assert_eq!(first(Of::Rss), "resident");
    assert_eq!(first(Of::Swap), "swapped");
    assert_eq!(first(Of::Total), "swapped");
    assert_eq!(first(Of::Virtual), "resident");
}

#[test]
fn processes_come_and_go() {
    let mut observer = observed(By::Process, 1, |_| {
        vec![process(1, "old", MIB), process(2, "gone", 9 * MIB)]
    });
    assert_eq!(profile(&observer).meta.previous, None);
    observer.settle();
    observer.add(snapshot(
        2,
        vec![process(1, "old", 3 * MIB), process(3, "brief", MIB)],
    ));
    observer.add(snapshot(
        3,
        vec![process(1, "old", 3 * MIB), process(4, "new", 5 * MIB)],
    ));
    let now = profile(&observer);
    let gone = Named {
        pid: 2,
        command: "gone".into(),
        bytes: 9 * MIB,
    };
    let vanished = Turnover {
        processes: 1,
        bytes: 9 * MIB,
        largest: Some(gone),
    };
    assert_eq!(machine(&now).vanished, vanished);
    assert_eq!(now.meta.previous, Some(Duration::from_secs(1)));
    let appeared = &machine(&now).appeared;
    assert_eq!(
        (
            appeared.processes,
            appeared.largest.as_ref().map(|named| named.pid)
        ),
        (1, Some(4))
    );
    assert_eq!(
        named(&now, "old").change(Measure::ProcessRssBytes),
        Some(2 * MIB as i64)
    );
    assert!(named(&now, "new").before.is_empty());
    assert_eq!(named(&now, "new").change(Measure::ProcessRssBytes), None);
    observer.settle();
    let later = profile(&observer);
    assert_eq!(
        (
            machine(&later).appeared.processes,
            machine(&later).vanished.processes
        ),
        (0, 0)
    );
    assert_eq!(later.subjects[0].change(Measure::ProcessRssBytes), Some(0));
}

/// The same PID with another start is another process, with no history.
#[test]
fn a_pid_that_comes_again_has_no_history() {
    let mut observer = observed(By::Process, 9, |second| {
        vec![process(5, "first", MIB * u64::from(second + 1))]
    });
    let mut second = process(5, "second", MIB);
    second.key.start = 900;
    observer.add(snapshot(10, vec![second]));
    let profile = profile(&observer);
    assert_eq!(names(&profile), ["second"]);
    assert!(profile.subjects[0].growth.is_empty());
    let machine = machine(&profile);
    assert_eq!(
        (machine.appeared.processes, machine.vanished.processes),
        (1, 1)
    );
}

#[test]
fn groups_are_sums_and_follow_who_is_in_them() {
    let at = |second: u32| {
        let mut processes = vec![
            process(101, "worker", 10 * MIB + u64::from(second) * MIB),
            process(102, "worker", 20 * MIB),
            process(201, "db", 100 * MIB),
        ];
        if second == 12 {
            processes.push(process(103, "worker", MIB));
        }
        processes
    };
    let by = |by| profile(&observed(by, 12, at));
    let by_name = by(By::Name);
    assert_eq!(names(&by_name), ["worker", "db"]);
    let worker = &by_name.subjects[0];
    assert_eq!((worker.pid, worker.processes), (None, 3));
    assert_eq!(worker.totals.amount(Measure::ProcessRssBytes), 43 * MIB);
    assert_eq!(worker.totals.amount(Measure::ProcessThreads), 3);
    assert_eq!(worker.verdict(Measure::ProcessRssBytes), Verdict::Growing);
    assert_eq!(names(&by(By::User)), ["user1", "user2"]);
    assert_eq!(names(&by(By::Container)), ["worker.service", "db.service"]);
    // What is to be run next is about processes, whatever the rows are.
    assert!(
        hints(&by_name)[0]
            .text
            .starts_with("PID 101 (worker) grows")
    );
    assert_eq!(hints(&by_name)[0].subject, None);
}

#[test]
fn growth_is_computed_over_the_window() {
    let at = |second: u32| {
        let grown = u64::from(second.min(20)) * 10 * MIB;
        vec![process(1, "warm", 100 * MIB + grown)]
    };
    let window = Some(Duration::from_secs(10));
    let mut observer = Observer::new(By::Process, window, snapshot(0, at(0)));
    for second in 1..=40 {
        observer.add(snapshot(second, at(second)));
    }
    let rss = Measure::ProcessRssBytes;
    assert_eq!(profile(&observer).subjects[0].verdict(rss), Verdict::Steady);
    let whole = profile(&observed(By::Process, 40, at));
    assert!(slope(&whole.subjects[0], rss) > MIB as f64);
}

#[test]
fn differences_never_wrap() {
    assert_eq!(difference(5, 7), -2);
    assert_eq!(difference(u64::MAX, 0), i64::MAX);
    assert_eq!(difference(0, u64::MAX), i64::MIN);
}

/// Address space that is not touched is no leak of memory, and has a hint of its own.
#[test]
fn reserved_address_space_is_hinted_at() {
    let observer = observed(By::Process, 12, |second| {
        let mut process = process(7, "vm-hungry", 50 * MIB);
        process.figures.virtual_size = u64::from(second) * 4 * MIB;
        vec![process]
    });
    let profile = profile(&observer);
    assert!(machine(&profile).growers.is_empty());
    assert_eq!(
        hints(&profile)[0].text,
        "PID 7 (vm-hungry) reserves 240 MiB/min of address space that it does not touch: it costs no memory yet"
    );
    assert_eq!(hints(&profile)[0].commands, ["memlens explain 7"]);
}

/// Anonymous memory that is swapped out while it grows is growth all the same, and anonymous.
#[test]
fn a_leak_that_is_swapped_out_still_grows() {
    let observer = observed(By::Process, 12, |second| {
        let mut process = process(7, "swapped", 50 * MIB);
        process.figures.swap = u64::from(second) * MIB;
        vec![process]
    });
    assert_eq!(
        hints(&profile(&observer))[0].text,
        "PID 7 (swapped) grows 60 MiB/min, all anonymous"
    );
}
