//! Profiles of the heaps of a whole host, made by hand.

use memlens::profile::{
    Admission, Grouping, Guard, GuardAction, GuardStep, HostWide, LateFile, Measure, Place,
    Profile, Refused, Sampling, Source, Subject,
};

use super::leaks::{base, changed, heap, left, live, process, stack};
use super::{
    Held, Sample, add, at, bare, ended, frame, gone, gone_by_name, omit, places, unit, with_main,
};

/// All of them.
pub fn all() -> Vec<Sample> {
    let by = [
        ("host_containers", by(Grouping::Container)),
        ("host_users", by(Grouping::User)),
        ("host_stacks", stacks()),
        ("host_quiet", quiet()),
    ];
    let mut samples = vec![Sample::of("host", processes())];
    samples.extend(by.map(|(name, profile)| Sample::of(name, profile)));
    samples.push(Sample {
        per_process: 1,
        ..Sample::of("host_last", last())
    });
    samples.into_iter().map(|sample| sample.top(5)).collect()
}

/// A process of a host: growth per minute in bytes, allocations per second, resident bytes.
fn row(
    (pid, command, place, user): (u32, &str, Place, &str),
    bytes: u64,
    blocks: u64,
    rates: (i64, f64, u64),
) -> Subject {
    let mut row = process(pid, command, bytes, blocks);
    row.totals.set(Measure::HeapChangeBytes, rates.0 / 12);
    row.totals.set(Measure::HeapGrowthPerMin, rates.0);
    row.totals.set(Measure::HeapAllocsPerS, rates.1);
    row.totals.set(Measure::ProcessRssBytes, rates.2);
    Subject {
        place,
        uid: Some(1_000),
        user: Some(user.into()),
        ..row
    }
}

fn rows() -> Vec<Subject> {
    let [docker, pod, shell, long] = places();
    let perl = (812, "perl", shell.clone(), "alice");
    let perl = Subject {
        sample_bytes: Some(65_536),
        probes_off: Some(at(400)),
        ..row(perl, 1_234_567, 4_242, (0, 6_204_000.0, 12 << 20))
    };
    let young = live(345_678, 99)
        .with(Measure::HeapChangeBytes, 0_i64)
        .with(Measure::ProcessRssBytes, 40_u64 << 20);
    let young = Subject {
        totals: young,
        started_in_trace: true,
        first_seen: at(4_800),
        ..row((31_337, "postgres", pod, "999"), 0, 0, (0, 0.0, 0))
    };
    let storm = (813, "python3", shell, "alice");
    let storm = Subject {
        sample_bytes: Some(4_096),
        ..row(storm, 700_000, 70, (-52_000, 812_345.0, 31 << 20))
    };
    let redis = (991, "redis-server", docker, "redis");
    let systemd = (1, "systemd", unit("/init.scope"), "root");
    let worker = (4_242, "worker", long, "a-user-with-a-long-name");
    let root = Place {
        cgroup: "/".into(),
        ..Place::default()
    };
    vec![
        row(redis, 12_884_902, 12_345, (15_728_640, 1_234.0, 200 << 20)),
        perl,
        storm,
        young,
        row(systemd, 4_096, 4, (0, 0.2, 9 << 20)),
        row(worker, 512, 1, (512, 3.5, 5 << 20)),
        row((77, "kthreadish", root, "root"), 0, 0, (0, 0.0, 1 << 20)),
    ]
}

fn top_stacks() -> [Held; 2] {
    let zmalloc = frame("zmalloc", 0x14, "/usr/src/redis/src/zmalloc.c", 123);
    let first = stack(991, 12_884_902, 12_345, with_main(vec![zmalloc]));
    let newsv = bare("Perl_newSV", 0x9, "/usr/lib/libperl.so.5.40");
    let second = stack(812, 1_234_567, 4_242, with_main(vec![newsv]));
    [changed(first, 1_310_720), second]
}

fn guard() -> Guard {
    let step = |ms, (pid, command): (u32, &str), action, hits_per_second, cost_percent| GuardStep {
        at: at(ms),
        pid,
        command: command.into(),
        place: places()[2].clone(),
        action,
        hits_per_second,
        cost_percent,
        total_percent: cost_percent + 0.5,
        own_percent: None,
    };
    let sample = |bytes| GuardAction::Sample {
        from: None,
        to: Some(bytes),
    };
    let off = GuardAction::ProbesOff;
    Guard {
        budget_percent: Some(5.0),
        slowdown_percent: None,
        cost_percent: 1.84,
        hits_per_second: 81_234,
        steps: vec![
            step(300, (812, "perl"), sample(65_536), 6_000_000, 150.4),
            step(400, (812, "perl"), off, 6_204_000, 155.0),
            step(4_000, (813, "python3"), sample(4_096), 812_345, 12.3),
        ],
    }
}

/// By process, the first that is left out of the table by `--top`.
fn processes() -> Profile {
    let held = |bytes, blocks| {
        left(bytes, blocks)
            .with(Measure::HeapAllocBytes, 3 * bytes)
            .with(Measure::HeapAllocBlocks, 3 * blocks)
    };
    let mut profile = base(rows(), &top_stacks());
    profile.complete = false;
    profile.meta.elapsed = at(45_000);
    profile.meta.previous = Some(at(40_500));
    omit(
        &mut profile,
        Source::Heap,
        true,
        810,
        left(1_050_286, 9_000),
    );
    heap(&mut profile).sampling = Some(Sampling {
        interval_bytes: 4_096,
        live_samples: 312,
        standard_error_bytes: 51_200,
    });
    profile.sections.guard = Some(guard());
    profile.sections.host_wide = Some(HostWide {
        scope: "the whole host".into(),
        by: Grouping::Process,
        groups: Vec::new(),
        ended: ended(
            vec![
                gone(700, "backup", (21_000, 20_000), held(70_000, 7)),
                gone(701, "logrotate", (43_000, 12_300), held(0, 0)),
            ],
            vec![
                gone_by_name("sh", 312, 40_000, held(312 * 1_024, 312 * 2)),
                gone_by_name("true", 1, 20_000, held(0, 0)),
            ],
        ),
        admission: Some(Admission {
            traced: 411,
            young: 3,
            waiting: 0,
            most: 1_000,
            left: 1,
            without_allocator: 12,
            ended_before: 1_204,
            refused: vec![Refused {
                pid: 900,
                command: "memcheck-amd64-".into(),
                place: places()[2].clone(),
                reason: "it runs under valgrind, which translates its code".into(),
            }],
        }),
        late_files: vec![LateFile {
            at: at(41_000),
            pid: 31_337,
            command: "postgres".into(),
            place: places()[1].clone(),
            path: "/usr/lib/x86_64-linux-gnu/libc.so.6".into(),
            missed: at(43),
        }],
        probed_files: 31,
        own_rss_bytes: Some(180 << 20),
    });
    profile
}

pub fn host(profile: &mut Profile) -> &mut HostWide {
    let host = profile.sections.host_wide.as_mut();
    host.expect("a profile of a host")
}

/// With nothing that happened since the report before.
fn by(grouping: Grouping) -> Profile {
    let mut profile = processes();
    let groups = profile.groups(grouping, &[Measure::HeapLiveBytes]);
    let host = host(&mut profile);
    (host.by, host.groups) = (grouping, groups);
    profile.meta.previous = Some(profile.meta.elapsed);
    heap(&mut profile).sampling = None;
    profile
}

/// `--by stack`, with a stack that three processes share.
fn stacks() -> Profile {
    let mut build = memlens::profile::Builder::from_profile(by(Grouping::Stack));
    let copies = [813, 4_242].map(|pid| {
        let mut copy = top_stacks()[1].clone();
        copy.pid = Some(pid);
        copy.values.set(Measure::HeapLiveBytes, 500_u64);
        copy.values.set(Measure::HeapLiveBlocks, 1_u64);
        let frames = copy.frames.iter_mut().flatten();
        frames.for_each(|code| code.frame.address += 0x1000);
        copy
    });
    add(&mut build, &copies);
    build.profile.omitted.clear();
    omit(
        &mut build.profile,
        Source::Heap,
        true,
        810,
        left(1_049_286, 9_000),
    );
    build
        .finish()
        .by_stack(Source::Heap, Measure::HeapLiveBytes)
}

/// The last report, `--per-process 1`, of one container, in which the guard had much to do.
fn last() -> Profile {
    let mut profile = processes();
    profile.meta.last = true;
    profile.omitted.clear();
    for (subject, bytes) in [(0, 12_884_902), (1, 1_234_567)] {
        omit(&mut profile, Source::Heap, true, 6, left(bytes, 6));
        if let Some(omitted) = profile.omitted.last_mut() {
            omitted.subject = subject;
        }
    }
    let host = host(&mut profile);
    host.scope = "cgroup /system.slice, user alice".into();
    let guard = profile.sections.guard.as_mut().expect("a guard");
    guard.budget_percent = None;
    let again = guard.steps[2].clone();
    guard.steps.extend((0..25).map(|n| GuardStep {
        at: at(5_000 + n * 100),
        ..again.clone()
    }));
    profile
}

/// A host where nothing is allocated.
fn quiet() -> Profile {
    let mut profile = base(Vec::new(), &[]);
    profile.sections.guard = Some(Guard::default());
    profile.sections.host_wide = Some(HostWide {
        scope: "the whole host".into(),
        admission: Some(Admission::default()),
        probed_files: 1,
        ..HostWide::default()
    });
    profile
}
