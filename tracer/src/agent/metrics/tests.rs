//! Metrics of small profiles.

use super::*;
use crate::profile::machine::Amount;
use crate::profile::{Finding, FindingKind, Subject, Values};

fn growth(per_min: f64, error: f64, certain: f64) -> Growth {
    Growth {
        per_min,
        low: Some(per_min - error),
        high: Some(per_min + error),
        certain,
        verdict: crate::profile::trend::Verdict::Growing,
        samples: 50,
    }
}

fn process(pid: u32, comm: &str, bytes: u64, growth: Option<Growth>) -> Subject {
    let mut subject = Subject::process(pid, comm);
    subject.totals.set(Measure::ProcessTotalBytes, bytes);
    subject.totals.set(Measure::HeapLiveBytes, bytes / 2);
    if let Some(growth) = growth {
        subject.growth.insert(Measure::ProcessTotalBytes, growth);
    }
    subject
}

fn shown(machine: &Profile, heaps: Option<&Profile>, with_pid: bool) -> String {
    let mut counters = Counters::default();
    heaps.iter().for_each(|heaps| counters.add(heaps, with_pid));
    let known = Known {
        machine: Some(machine),
        heaps,
        counters: &counters,
        own: &Own::default(),
        with_pid,
        with_functions: true,
    };
    text(&known, Dialect::OpenMetrics)
}

fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample));
    let number = line.unwrap_or_else(|| panic!("no {sample} in {text}"));
    number.trim().parse().expect("a number")
}

#[test]
fn processes_of_one_name_are_one_row_and_their_bounds_add_up() {
    let machine = Profile {
        subjects: vec![
            process(1, "app", 1_000, Some(growth(600.0, 60.0, 540.0))),
            process(2, "app", 500, Some(growth(60.0, 120.0, 0.0))),
            process(3, "db", 700, None),
        ],
        ..Profile::default()
    };
    let text = shown(&machine, None, false);
    let app = "{comm=\"app\",container=\"\",unit=\"\"}";
    let of = |name: &str| value(&text, &format!("memlens_process_{name}{app}"));
    assert_eq!(of("memory_bytes"), 1_500.0);
    assert_eq!(of("instances"), 2.0);
    assert_eq!(of("growth_bytes_per_second"), 11.0);
    assert_eq!(of("growth_low_bytes_per_second"), 9.0 - 1.0);
    assert_eq!(of("growth_high_bytes_per_second"), 11.0 + 3.0);
    assert!(!text.contains("pid="), "{text}");
    let with_pid = shown(&machine, None, true);
    assert_eq!(with_pid.matches("memlens_process_memory_bytes{").count(), 3);
}

#[test]
fn a_jump_has_no_lower_end_above_zero() {
    let slope = Slope::of(&growth(600.0, 60.0, 0.0));
    assert_eq!((slope.mean, slope.low), (10.0, Some(0.0)));
    let shrinks = Slope::of(&growth(-600.0, 60.0, 0.0));
    assert_eq!((shrinks.low, shrinks.high), (Some(-11.0), Some(0.0)));
}

#[test]
fn verdicts_and_the_machine_are_told() {
    let mut heaps = Profile {
        subjects: vec![process(1, "app", 1_000, None)],
        ..Profile::default()
    };
    for kind in [FindingKind::Leak, FindingKind::Leak, FindingKind::TooEarly] {
        let mut finding = Finding::new(kind, "text");
        finding.subject = Some(0);
        finding.figures = Values::default();
        heaps.findings.push(finding);
    }
    let mut machine = Profile::default();
    let mut section = MachineSection::default();
    section.figures.insert(
        Figure::Available,
        Amount {
            bytes: 4_096,
            ..Amount::default()
        },
    );
    section.cgroups = vec![Cgroup {
        path: "/a".into(),
        full_in: Some(std::time::Duration::from_secs(90)),
        ..Cgroup::default()
    }];
    machine.sections.machine = Some(section);
    let text = shown(&machine, Some(&heaps), false);
    let leak =
        "memlens_process_heap_verdict_info{comm=\"app\",container=\"\",unit=\"\",verdict=\"leak\"}";
    assert_eq!(value(&text, leak), 1.0);
    assert_eq!(text.matches("verdict=\"leak\"").count(), 1);
    assert_eq!(value(&text, "memlens_host_available_bytes"), 4_096.0);
    assert_eq!(
        value(&text, "memlens_cgroup_time_to_limit_seconds{cgroup=\"/a\"}"),
        90.0
    );
    assert!(!text.contains("memlens_cgroup_limit_bytes"), "{text}");
}
