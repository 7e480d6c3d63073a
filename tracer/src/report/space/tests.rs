//! A report of address space in its dresses.

use std::time::{Duration, UNIX_EPOCH};

use jiff::tz::TimeZone;

use super::*;
use crate::report::text::TextOptions;

const MIB: u64 = 1 << 20;

fn amount(mapped: u64, reserved: u64, resident: u64) -> Amount {
    Amount {
        mapped,
        reserved,
        resident,
        swapped: 0,
        ranges: 2,
    }
}

fn stack(function: &str, amount: Amount) -> SpaceStack {
    SpaceStack {
        pid: 42,
        also: Vec::new(),
        amount,
        measured: true,
        kinds: vec![Kind::Anonymous],
        files: Vec::new(),
        mapped_total: amount.mapped,
        unmapped_total: 0,
        growth: Some(4 * MIB as i64),
        oldest: Duration::from_secs(3),
        truncated: None,
        frames: vec![Frame {
            address: 0x1000,
            symbol: Some(function.to_owned()),
            ..Frame::default()
        }],
    }
}

fn sample() -> SpaceReport {
    let reserved = amount(1 << 40, (1 << 40) - MIB, MIB);
    let held = amount(8 * MIB, 0, 8 * MIB);
    let mut all = reserved;
    all.add(&held);
    SpaceReport {
        time: UNIX_EPOCH,
        elapsed: Duration::from_secs(5),
        last: true,
        loss: BTreeMap::new(),
        notes: Vec::new(),
        processes: vec![SpaceProcess {
            pid: 42,
            comm: "app\n".to_owned(),
            state: ProcessState::Running,
            amount: all,
            measured: true,
            kinds: BTreeMap::from([(Kind::Anonymous, all)]),
            growth: None,
            corrections: Corrections::default(),
            host: None,
        }],
        stacks: vec![stack("hold", held), stack("reserve", reserved)],
        stacks_total: 3,
        stacks_amount: all,
        others: vec![SpaceOther {
            pid: 42,
            kind: Kind::File,
            name: Some("/usr/bin/app".into()),
            during: false,
            amount: amount(64 << 10, 0, 4096),
            measured: true,
        }],
        others_total: 1,
        faults: None,
        width: Width::Mapped,
        command_exit: None,
        host: None,
    }
}

fn text(report: &SpaceReport, width: Option<usize>) -> String {
    let options = TextOptions {
        width,
        time_zone: TimeZone::UTC,
        ..TextOptions::default()
    };
    let mut out = Vec::new();
    text::write(report, &options, &mut out).expect("memory takes it");
    String::from_utf8(out).expect("text")
}

#[test]
fn a_reservation_is_not_taken_for_memory() {
    let text = text(&sample(), None);
    for line in [
        "1970-01-01 00:00:00  app? (42), address space, traced for 5.0s, last report",
        "mapped 1.00 TiB, of it 1.00 TiB without access, resident 9 MiB",
        "#1 mapped 8 MiB, resident 8 MiB, 2 ranges, anonymous, +4 MiB, oldest 3.0s",
        "#2 mapped 1 TiB, of it 1.00 TiB without access, resident 1 MiB, 2 ranges, anonymous, +4 MiB, oldest 3.0s",
        "1 more stack has mapped memory",
        "complete: what is tracked is what the maps show",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.contains("/usr/bin/app"), "{text}");
}

/// A stack that touches what another one has mapped, and what was there before.
fn with_faults() -> SpaceReport {
    let amount = |faults, new_pages: u64| faults::FaultAmount {
        faults,
        major: 12,
        new_bytes: new_pages * 4096,
        standard_error: 400,
        samples: 1000,
    };
    let frames = |function| stack(function, Amount::default()).frames;
    let touched = |kind, mapper, amount| faults::Touched {
        kind: Some(kind),
        file: (kind == Kind::File).then(|| "/usr/lib/a\nb.so".into()),
        mapper,
        amount,
    };
    SpaceReport {
        faults: Some(faults::FaultReport {
            total: amount(60_000, 50_000),
            kernel: Some(faults::KernelFaults {
                minor: 60_100,
                major: 12,
            }),
            stacks: vec![faults::FaultStack {
                pid: 42,
                amount: amount(50_000, 49_152),
                recent_new_bytes: Some(MIB),
                touched: vec![
                    touched(
                        Kind::Anonymous,
                        faults::Mapper::Stack(frames("hold")),
                        amount(45_000, 45_056),
                    ),
                    touched(Kind::File, faults::Mapper::Before, amount(5000, 4096)),
                ],
                truncated: None,
                frames: frames("fill"),
            }],
            stacks_total: 2,
        }),
        ..sample()
    }
}

#[test]
fn faults_are_told_with_what_they_touch() {
    let text = text(&with_faults(), None);
    for line in [
        "since the start 60,000 page faults, of them 12 major, new memory 195 MiB, \
         estimates from 1,000 sampled faults, faults +- 400 (1 standard error), the kernel counted 60,112 (major 12)",
        "#1 50,000 page faults, of them 12 major, new memory 192 MiB, +1 MiB",
        "  touched anonymous memory (45,000 page faults, new memory 176 MiB), mapped by hold",
        "  touched /usr/lib/a?b.so (5,000 page faults, new memory 16 MiB), mapped before the trace",
        "1 more stack has page faults",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn faults_as_json_and_as_a_picture() {
    let mut out = Vec::new();
    let report = SpaceReport {
        width: Width::Faults,
        ..with_faults()
    };
    json::write(&report, &mut out).expect("memory takes it");
    let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!(value["fault_totals"]["minor"], 59_988);
    assert_eq!(value["fault_totals"]["kernel_major"], 12);
    let row = &value["faults"][0];
    assert_eq!(row["new_bytes"], 192 * MIB);
    assert_eq!(row["touched"][0]["mapped_by"][0]["symbol"], "hold");
    assert_eq!(row["touched"][1]["before_trace"], true);
    let mut out = Vec::new();
    folded(&report, &mut out).expect("memory takes it");
    assert_eq!(String::from_utf8(out).expect("text"), "fill 50000\n");
    let mut out = Vec::new();
    json::write(&sample(), &mut out).expect("memory takes it");
    let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    assert!(value["faults"].is_null() && value["fault_totals"].is_null());
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for width in [40, 60, 80, 120] {
        let text = text(&with_faults(), Some(width));
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(width), "{width}\n{text}");
    }
}

#[test]
fn corrections_are_told() {
    let mut report = sample();
    report.processes[0].corrections.repaired = 4096;
    assert!(report.complete(), "what was known to be lost");
    report.processes[0].corrections.gone = 8192;
    assert!(!report.complete());
    let text = text(&report, None);
    assert!(text.contains("incomplete:"), "{text}");
    assert!(
        text.contains("8 KiB of app? (42) were unmapped by no call that was seen"),
        "{text}"
    );
}

#[test]
fn json_says_null_where_nothing_is_known() {
    let mut report = sample();
    report.processes[0].measured = false;
    report.stacks[0].measured = false;
    let mut out = Vec::new();
    json::write(&report, &mut out).expect("memory takes it");
    let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!(json["schema"], "memlens.vm/1");
    assert!(json["totals"]["resident_bytes"].is_null());
    assert!(json["stacks"][0]["resident_bytes"].is_null());
    assert_eq!(json["stacks"][1]["resident_bytes"], MIB);
    assert_eq!(json["stacks"][1]["reserved_bytes"], (1u64 << 40) - MIB);
    assert_eq!(json["stacks"][0]["kind"], "anonymous");
    assert_eq!(json["others"][0]["name"], "/usr/bin/app");
}

#[test]
fn folded_stacks_are_mapped_or_resident() {
    let mut report = sample();
    let lines = |report: &SpaceReport| {
        let mut out = Vec::new();
        folded(report, &mut out).expect("memory takes it");
        String::from_utf8(out).expect("text")
    };
    assert_eq!(lines(&report), "hold 8388608\nreserve 1099511627776\n");
    report.width = Width::Resident;
    assert_eq!(lines(&report), "hold 8388608\nreserve 1048576\n");
}
