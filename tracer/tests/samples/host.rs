//! Reports of a whole host, made by hand.

use std::time::Duration;

use memlens::process::cgroup::Place;
use memlens::report::{
    EndedProcess, EndedTally, Grouping, Guard, GuardAction, GuardStep, HeapHeld, Host, LateFile,
    MemberRow, ProcessHost, ProcessRow, ProcessStacks, Report, Sampling, StackRow, by_stack,
};

use super::{bare, base, frame, process, stack, with_main};

const ID: &str = "3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8";
const POD: &str = "kubepods-burstable-pod2f1d5a0c_7c1b_4b36_9a55_0d8e6f3b2a11.slice";

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn place(cgroup: &str) -> Place {
    Place::of(&format!("0::{cgroup}"))
}

/// A process of a host: growth per minute in bytes, allocations per second, resident bytes.
fn row(
    (pid, comm, cgroup, user): (u32, &str, &str, &str),
    live: u64,
    blocks: u64,
    rates: (i64, f64, u64),
) -> ProcessRow {
    let mut row = process(pid, comm, live, blocks);
    row.growth_bytes = Some(rates.0 / 12);
    row.host = Some(ProcessHost {
        member: MemberRow {
            place: place(cgroup),
            uid: 1_000,
            user: user.into(),
            first_seen: Duration::ZERO,
            started_in_trace: false,
            growth_per_minute: Some(rates.0),
        },
        allocs_per_second: Some(rates.1),
        rss_bytes: Some(rates.2),
        sample_bytes: None,
        probes_off_at: None,
    });
    row
}

fn rows() -> Vec<ProcessRow> {
    let docker = format!("/system.slice/docker-{ID}.scope");
    let pod = format!("/kubepods.slice/kubepods-burstable.slice/{POD}/cri-containerd-{ID}.scope");
    let shell = "/user.slice/user-1000.slice/session-3.scope";
    let unit = "/system.slice/a-unit-with-a-rather-long-name-of-its-own.service";
    let mut perl = row(
        (812, "perl", shell, "alice"),
        1_234_567,
        4_242,
        (0, 6_204_000.0, 12 << 20),
    );
    host_of(&mut perl).sample_bytes = Some(65_536);
    host_of(&mut perl).probes_off_at = Some(at(400));
    let mut young = row(
        (31_337, "postgres", &pod, "999"),
        345_678,
        99,
        (0, 0.0, 40 << 20),
    );
    let host = host_of(&mut young);
    (host.member.growth_per_minute, host.allocs_per_second) = (None, None);
    (host.member.started_in_trace, host.member.first_seen) = (true, at(4_800));
    let mut storm = row(
        (813, "python3", shell, "alice"),
        700_000,
        70,
        (-52_000, 812_345.0, 31 << 20),
    );
    host_of(&mut storm).sample_bytes = Some(4_096);
    let redis = (991, "redis-server", docker.as_str(), "redis");
    vec![
        row(redis, 12_884_902, 12_345, (15_728_640, 1_234.0, 200 << 20)),
        perl,
        storm,
        young,
        row(
            (1, "systemd", "/init.scope", "root"),
            4_096,
            4,
            (0, 0.2, 9 << 20),
        ),
        row(
            (4_242, "worker", unit, "a-user-with-a-long-name"),
            512,
            1,
            (512, 3.5, 5 << 20),
        ),
        row((77, "kthreadish", "/", "root"), 0, 0, (0, 0.0, 1 << 20)),
    ]
}

fn host_of(row: &mut ProcessRow) -> &mut ProcessHost {
    row.host.as_mut().expect("a row of a host")
}

fn top_stacks() -> Vec<StackRow> {
    let zmalloc = frame("zmalloc", 0x14, "/usr/src/redis/src/zmalloc.c", 123);
    let mut first = stack(991, 12_884_902, 12_345, with_main(vec![zmalloc]));
    first.growth_bytes = Some(1_310_720);
    let newsv = bare("Perl_newSV", 0x9, "/usr/lib/libperl.so.5.40");
    vec![first, stack(812, 1_234_567, 4_242, with_main(vec![newsv]))]
}

fn guard() -> Guard {
    let shell = place("/user.slice/user-1000.slice/session-3.scope");
    let step = |ms, (pid, comm): (u32, &str), action, hits_per_second, cost_percent| GuardStep {
        at: at(ms),
        pid: Some(pid),
        comm: comm.into(),
        place: shell.clone(),
        action,
        hits_per_second,
        cost_percent,
        total_percent: cost_percent + 0.5,
        later_processes: 0,
    };
    let sample = |from, to| GuardAction::Sample { from, to };
    Guard {
        budget_percent: Some(5.0),
        cost_percent: 1.84,
        hits_per_second: 81_234,
        steps: vec![
            step(
                300,
                (812, "perl"),
                sample(None, Some(65_536)),
                6_000_000,
                150.4,
            ),
            step(400, (812, "perl"), GuardAction::ProbesOff, 6_204_000, 155.0),
            step(
                4_000,
                (813, "python3"),
                sample(None, Some(4_096)),
                812_345,
                12.3,
            ),
            GuardStep {
                at: at(4_500),
                pid: None,
                comm: "cc1".into(),
                place: Default::default(),
                action: GuardAction::ProbesOff,
                hits_per_second: 2_400_000,
                cost_percent: 61.0,
                total_percent: 75.0,
                later_processes: 1_204,
            },
        ],
    }
}

fn ended(pid: u32, comm: &str, times: (u64, u64), live: u64, blocks: u64) -> EndedProcess {
    EndedProcess {
        pid,
        comm: comm.into(),
        place: place("/system.slice/cron.service"),
        user: "root".into(),
        at: at(times.0),
        traced: at(times.1),
        held: HeapHeld {
            live_bytes: live,
            live_count: blocks,
            alloc_bytes: 3 * live,
            alloc_count: 3 * blocks,
        },
    }
}

/// By process, the first that is left out of the table by `--top`.
pub fn processes() -> Report {
    let mut tally = EndedTally::default();
    tally.add(ended(700, "backup", (21_000, 20_000), 70_000, 7));
    tally.add(ended(701, "logrotate", (43_000, 12_300), 0, 0));
    for pid in 2_000..2_312 {
        tally.add(ended(pid, "sh", (40_000, 30), 1_024, 2));
    }
    tally.add(ended(900, "true", (20_000, 3), 0, 0));
    let mut report = base(rows(), top_stacks());
    report.elapsed = at(45_000);
    report.stacks_total = 812;
    report.stacks_live_bytes = 15_169_755;
    report.sampling = Some(Sampling {
        interval_bytes: 4_096,
        live_samples: 312,
        standard_error_bytes: 51_200,
    });
    report.host = Some(Host {
        scope: "the whole host".into(),
        by: Grouping::Process,
        previous: at(40_500),
        top: Some(5),
        process_stacks: Vec::new(),
        ended: tally.ended(),
        guard: guard(),
        late_files: vec![LateFile {
            at: at(41_000),
            pid: 31_337,
            comm: "postgres".into(),
            place: rows()[3]
                .host
                .as_ref()
                .expect("a row of a host")
                .member
                .place
                .clone(),
            path: "/usr/lib/x86_64-linux-gnu/libc.so.6".into(),
            missed: at(43),
        }],
        probed_files: 31,
        own_rss_bytes: Some(180 << 20),
    });
    report
}

fn by(grouping: Grouping) -> Report {
    let mut report = processes();
    host(&mut report).by = grouping;
    host(&mut report).previous = report.elapsed;
    report.sampling = None;
    report
}

fn host(report: &mut Report) -> &mut Host {
    report.host.as_mut().expect("a report of a host")
}

/// `--by container`.
pub fn containers() -> Report {
    by(Grouping::Container)
}

/// `--by user`.
pub fn users() -> Report {
    by(Grouping::User)
}

/// `--by stack`, with a stack that three processes share.
pub fn stacks() -> Report {
    let mut report = by(Grouping::Stack);
    let copies = [813, 4_242].map(|pid| {
        let mut copy = report.stacks[1].clone();
        (copy.pid, copy.live_bytes, copy.live_count) = (pid, 500, 1);
        copy.frames
            .iter_mut()
            .for_each(|frame| frame.address += 0x1000);
        copy
    });
    report.stacks.extend(copies);
    report.stacks = by_stack(report.stacks);
    report
}

/// The last report, `--per-process 1`, of one container, in which the guard had much to do.
pub fn last() -> Report {
    let mut report = processes();
    report.last = true;
    report.stacks_total = report.stacks.len();
    report.stacks_live_bytes = report.stacks.iter().map(|stack| stack.live_bytes).sum();
    let host = report.host.as_mut().expect("a report of a host");
    host.scope = "cgroup /system.slice, user alice".into();
    host.guard.budget_percent = None;
    host.guard.steps.extend((0..25).map(|n| GuardStep {
        at: at(5_000 + n * 100),
        ..guard().steps[2].clone()
    }));
    host.process_stacks = report
        .stacks
        .iter()
        .map(|stack| ProcessStacks {
            pid: stack.pid,
            stacks: vec![stack.clone()],
            stacks_total: 7,
            stacks_live_bytes: 2 * stack.live_bytes,
        })
        .collect();
    report
}

/// A host where nothing is allocated.
pub fn quiet() -> Report {
    let mut report = base(Vec::new(), Vec::new());
    let loud = processes();
    report.host = loud.host.map(|host| Host {
        previous: Duration::ZERO,
        ended: EndedTally::default().ended(),
        guard: Guard::default(),
        late_files: Vec::new(),
        probed_files: 1,
        own_rss_bytes: None,
        ..host
    });
    report
}
