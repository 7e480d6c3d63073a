//! A report of address space in its dresses.

use std::time::{Duration, UNIX_EPOCH};

use jiff::tz::TimeZone;

use super::*;
use crate::process::cgroup::Place;
use crate::report::text::TextOptions;
use crate::report::{EndedProcess, EndedTally, Grouping, MemberRow};

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

/// A report of the whole host: two processes of one container, and one of a service.
fn host_sample(by: Grouping) -> SpaceReport {
    let mut report = sample();
    let row = |pid: u32, comm: &str, cgroup: &str, user: &str, resident: u64| SpaceProcess {
        pid,
        comm: comm.to_owned(),
        state: ProcessState::Running,
        amount: amount(10 * MIB, 0, resident),
        measured: true,
        kinds: BTreeMap::from([
            (Kind::Brk, amount(MIB, 0, MIB)),
            (Kind::File, amount(9 * MIB, 0, resident)),
        ]),
        growth: None,
        corrections: Corrections::default(),
        host: Some(SpaceProcessHost {
            member: MemberRow {
                place: Place::of(cgroup),
                uid: 0,
                user: user.to_owned(),
                first_seen: Duration::ZERO,
                started_in_trace: pid == 43,
                growth_per_minute: Some(2 * MIB as i64),
            },
            calls_per_second: None,
            map_known: pid != 44,
        }),
    };
    let id = "3f2a9c1b7d4e".repeat(5) + "0123";
    let container = format!("0::/docker/{id}");
    report.processes = vec![
        row(42, "app\n", &container, "root", 3 * MIB),
        row(43, "app", &container, "www-data", 2 * MIB),
        row(44, "cron", "0::/system.slice/cron.service", "root", MIB),
    ];
    let mut ended = EndedTally::default();
    let held = SpaceHeld {
        mapped_bytes: 3 * MIB,
        called_bytes: 2 * MIB,
        anonymous_bytes: 256 << 10,
        unread: 1,
    };
    for pid in 100..103 {
        ended.add(EndedProcess {
            pid,
            comm: "sh".to_owned(),
            place: Place::of("0::/"),
            user: "root".to_owned(),
            at: Duration::from_secs(2),
            traced: Duration::from_millis(3),
            held,
        });
    }
    report.host = Some(SpaceHost {
        scope: "the whole host".to_owned(),
        by,
        previous: Duration::ZERO,
        top: Some(2),
        ended: ended.ended(),
        own_rss_bytes: Some(50 * MIB),
    });
    report
}

#[test]
fn a_host_has_a_table_of_processes_and_of_those_that_ended() {
    let text = text(&host_sample(Grouping::Process), None);
    for part in [
        "the whole host, address space, traced for 5.0s",
        "docker:3f2a9c1b7d4e",
        "+2 MiB",
        "1 more process has 1 MiB resident, 10 MiB mapped",
        "ended: 3 processes in all, which held 768 KiB of memory mapped since the start, and 9 MiB in all, but for the maps of 3 processes",
        "  sh, 3 short-lived: 768 KiB",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let new = text
        .lines()
        .find(|line| line.trim_start().starts_with("43 "));
    assert!(new.is_some_and(|line| line.ends_with("new")), "{text}");
}

#[test]
fn processes_are_summed_by_container_or_user() {
    let keys = |by| {
        let groups = group::groups(&host_sample(by).processes, by);
        let keys = groups.iter().map(|group| {
            (
                group.key.clone(),
                group.processes,
                group.amount.resident / MIB,
            )
        });
        keys.collect::<Vec<_>>()
    };
    let container = ("docker:3f2a9c1b7d4e".to_owned(), 2, 5);
    let service = ("cron.service".to_owned(), 1, 1);
    assert_eq!(keys(Grouping::Container), [container, service]);
    let users = [("root".to_owned(), 2, 4), ("www-data".to_owned(), 1, 2)];
    assert_eq!(keys(Grouping::User), users);
    assert!(keys(Grouping::Process).is_empty());
    let text = text(&host_sample(Grouping::Container), None);
    assert!(text.contains("docker:3f2a9c1b7d4e"), "{text}");
}

#[test]
fn a_host_fits_into_the_terminal() {
    for by in [Grouping::Process, Grouping::Container, Grouping::User] {
        for width in [40, 60, 80, 120, 200] {
            let text = text(&host_sample(by), Some(width));
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{width}\n{text}");
        }
    }
}

#[test]
fn equal_stacks_of_several_processes_are_one() {
    let mut other = stack("hold", amount(MIB, 0, MIB));
    other.pid = 43;
    other.oldest = Duration::from_secs(9);
    let stacks = vec![
        stack("hold", amount(2 * MIB, 0, MIB)),
        stack("reserve", amount(MIB, 0, 5 * MIB)),
        other,
    ];
    let merged = group::by_stack(stacks);
    let rows: Vec<_> = merged
        .iter()
        .map(|stack| (stack.pid, stack.also.clone(), stack.amount.mapped / MIB))
        .collect();
    assert_eq!(rows, [(42, vec![], 1), (42, vec![43], 3)]);
    assert_eq!(merged[1].oldest, Duration::from_secs(9));
    assert_eq!(merged[1].growth, Some(8 * MIB as i64));
}

#[test]
fn json_of_a_host_has_its_parts() {
    let mut out = Vec::new();
    json::write(&host_sample(Grouping::User), &mut out).expect("memory takes it");
    let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!(json["host"]["by"], "user");
    assert_eq!(json["host"]["groups"][0]["key"], "root");
    assert_eq!(json["host"]["ended"]["count"], 3);
    assert_eq!(json["host"]["ended"]["unread"], 3);
    assert_eq!(
        json["host"]["ended"]["names"][0]["anonymous_bytes"],
        768 << 10
    );
    let host = &json["processes"][1]["host"];
    assert_eq!(host["where"], "docker:3f2a9c1b7d4e");
    assert_eq!(host["growth_per_minute"], 2 * MIB);
    assert_eq!(json["stacks"][0]["also_pids"], serde_json::json!([]));
}
