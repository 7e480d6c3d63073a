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

#[test]
fn no_line_is_wider_than_the_terminal() {
    for width in [40, 60, 80, 120] {
        let text = text(&sample(), Some(width));
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
