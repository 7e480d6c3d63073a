//! Passes that were made up, and what they say of the machine as a whole and of its cgroups.

use super::*;
use crate::profile::machine::Stalled;

#[test]
fn the_cgroup_that_fills_first_comes_first() {
    let group = |path: &str, kept: u64| CgroupSample {
        path: path.into(),
        usage: Usage {
            current: kept + 50 * MIB,
            kept,
            swap: None,
        },
    };
    let mut observer = Observer::new(By::Process, None, Snapshot::default());
    for second in 0..12 {
        let mut snapshot = snapshot(second + 1, vec![process(1, "init", MIB)]);
        let grown = u64::from(second) * MIB;
        snapshot.cgroups = vec![
            group("/", 500 * MIB),
            group("/free", 900 * MIB + 4 * grown),
            group("/limited.slice", 60 * MIB + grown),
            group("/limited-full.slice", 95 * MIB),
        ];
        observer.add(snapshot);
    }
    let profile = profile(&observer);
    let cgroups = &machine(&profile).cgroups;
    let paths: Vec<&str> = cgroups.iter().map(|row| row.path.as_str()).collect();
    assert_eq!(paths, ["/limited.slice", "/limited-full.slice", "/free"]);
    assert_eq!(machine(&profile).cgroups_total, 3);
    // 100 - 71 MiB at one a second.
    assert_eq!(cgroups[0].full_in, Some(Duration::from_secs(29)));
    assert_eq!(cgroups[1].full_in, None);
    let hints: Vec<&str> = hints(&profile)
        .iter()
        .map(|hint| hint.text.as_str())
        .collect();
    assert_eq!(
        hints,
        [
            "cgroup limited.slice reaches its limit of 100 MiB in 29.0s at this rate",
            "cgroup limited-full.slice is at 95% of its limit of 100 MiB, page cache not counted",
        ]
    );
}

#[test]
fn pressure_and_kills_are_those_since_the_profile_before() {
    let at = |second: u32, total: Duration, kills: u64| {
        let mut snapshot = snapshot(second, Vec::new());
        let mut pressure = Pressure::default();
        pressure.some.total = total;
        pressure.full.total = total / 2;
        snapshot.pressure = Some(pressure);
        snapshot.oom_kills = Some(kills);
        snapshot
    };
    let mut observer = Observer::new(By::Process, None, at(0, Duration::from_secs(1), 3));
    observer.add(at(10, Duration::from_secs(2), 5));
    let now = profile(&observer);
    let stalled = Stalled {
        some: 10.0,
        full: 5.0,
    };
    assert_eq!(machine(&now).stalled_percent, Some(stalled));
    assert_eq!(
        (machine(&now).oom_kills, machine(&now).oom_kills_new),
        (Some(5), Some(2))
    );
    observer.settle();
    let later = profile(&observer);
    assert_eq!(
        (
            machine(&later).stalled_percent,
            machine(&later).oom_kills_new
        ),
        (None, Some(0))
    );
}

#[test]
fn an_empty_machine_is_a_profile_too() {
    let profile = profile(&Observer::new(By::Process, None, Snapshot::default()));
    let machine = machine(&profile);
    assert_eq!(
        (
            profile.subjects.len(),
            machine.processes_total,
            machine.passes
        ),
        (0, 0, 1)
    );
    assert_eq!(profile.findings[0].text, "no trend yet: one pass so far");
}

fn outlook(available_kib: impl Fn(u32) -> u64, slab_kib: impl Fn(u32) -> u64) -> String {
    let text = std::str::from_utf8(MEMINFO).expect("text");
    let at = |second: u32| {
        let changed: Vec<String> = text
            .lines()
            .map(|line| match line.split_once(':') {
                Some(("MemAvailable", _)) => format!("MemAvailable: {} kB", available_kib(second)),
                Some(("SUnreclaim", _)) => format!("SUnreclaim: {} kB", slab_kib(second)),
                _ => line.to_owned(),
            })
            .collect();
        Snapshot {
            at: f64::from(second),
            machine: Machine::parse(changed.join("\n").as_bytes())
                .expect("as the kernel writes it"),
            ..Snapshot::default()
        }
    };
    let mut observer = Observer::new(By::Process, None, at(0));
    (1..=12).for_each(|second| observer.add(at(second)));
    profile(&observer).findings[0].text.clone()
}

#[test]
fn the_sentence_says_whether_memory_is_shrinking_and_where_to() {
    let constant = |_| 90_000;
    assert_eq!(
        outlook(
            |second| 4_000_000 - 1024 * u64::from(second),
            |second| 90_000 + 1024 * u64::from(second)
        ),
        "available memory shrinks by 60 MiB/min (±0 B/min): the kernel +60 MiB/min; it lasts 1h04m at this rate"
    );
    assert!(
        outlook(|second| 4_000_000 - 1024 * u64::from(second), constant)
            .contains("no part of it grows for certain")
    );
    assert_eq!(
        outlook(|second| 4_000_000 + 1024 * u64::from(second), constant),
        "available memory grows by 60 MiB/min (±0 B/min)"
    );
    assert_eq!(
        outlook(|_| 4_000_000, constant),
        "available memory is steady (within ±0 B/min)"
    );
    assert_eq!(
        outlook(
            |second| if second < 6 { 4_000_000 } else { 3_000_000 },
            constant
        ),
        "available memory has no clear trend in 12.0s (-977 MiB since the last report): watch for longer"
    );
}
