//! Profiles of the address spaces of a whole host, made by hand.

use memlens::profile::{
    Builder, Ended, EndedProcess, Grouping, HostWide, Measure, Profile, RegionKind, Source,
    Subject, Values,
};

use super::leaks_host::host;
use super::vm::{KIB, MIB, base, changed, held, mapped_only, mmap, other, process, stack};
use super::{Held, Sample, add, at, bare, ended, frame, gone, gone_by_name, omit, places, unit};

/// All of them.
pub fn all() -> Vec<Sample> {
    vec![
        Sample::of("host", processes()).top(5),
        Sample::of("host_containers", by(Grouping::Container)).top(3),
        Sample::of("host_users", by(Grouping::User)),
        Sample::of("host_users_top", by(Grouping::User)).top(5),
        Sample::of("host_top", top()).top(1),
        Sample::of("host_stacks", stacks()),
        Sample::of("host_last", last()),
        Sample::of("host_quiet", quiet()).top(5),
    ]
}

/// A process of a host: what it has mapped and resident, mostly in files; growth per minute in bytes.
fn row(
    pid: u32,
    command: &str,
    user: &str,
    [brk, file]: [Values; 2],
    growth: Option<i64>,
) -> Subject {
    let kinds = [(RegionKind::Brk, brk), (RegionKind::File, file)];
    let mut row = process(pid, command, &kinds);
    row.totals.set_some(Measure::VmGrowthPerMin, growth);
    row.totals
        .set_some(Measure::VmCallsPerS, growth.map(|_| 12.5));
    Subject {
        uid: Some(1_000),
        user: Some(user.into()),
        ..row
    }
}

/// Mapped and resident, a quarter of it and half of it by `brk`.
fn parts(mapped: u64, resident: u64) -> [Values; 2] {
    [
        held(mapped / 4, resident / 2, 1),
        held(mapped - mapped / 4, resident - resident / 2, 9),
    ]
}

/// Each sort of place, the states, swapped and set aside, and processes of which little is known.
fn rows() -> Vec<Subject> {
    let [docker, pod, shell, long] = places();
    let growth = Some(61_761_126);
    let mut redis = row(
        991,
        "redis-server",
        "redis",
        parts(1_400 * MIB, 1_150 * MIB),
        growth,
    );
    redis.place = docker.clone();
    let arena = held(1_200 * MIB, 900 * MIB, 40)
        .with(Measure::VmReservedBytes, 107 * MIB)
        .with(Measure::VmSwappedBytes, 12 * MIB);
    redis.totals.add(&arena);
    redis.regions.insert(RegionKind::Anonymous, arena);
    let mut worker = row(
        813,
        "worker",
        "www-data",
        parts(332 * MIB, 57 * MIB),
        Some(0),
    );
    worker.place = docker;
    worker.started_in_trace = true;
    let unmeasured = [
        mapped_only(90 * MIB / 4, 1),
        mapped_only(90 * MIB - 90 * MIB / 4, 9),
    ];
    let mut postgres = row(31_337, "postgres\n", "999", unmeasured, None);
    postgres.place = pod;
    postgres.totals.set(Measure::VmUnreadMaps, 1_u64);
    postgres.started_in_trace = true;
    let mut perl = row(
        812,
        "perl",
        "alice",
        parts(12 * MIB, 4 * MIB),
        Some(-52_000),
    );
    perl.place = shell;
    perl.totals.set(Measure::VmUnreadMaps, 1_u64);
    let user = "a-user-with-a-long-name";
    let strange = process(78, "strange", &[(RegionKind::Shared, mapped_only(MIB, 1))]);
    let mut kthread = row(77, "kthreadish", "root", parts(0, 0), Some(0));
    kthread.place.cgroup = "/".into();
    vec![
        redis,
        worker,
        postgres,
        perl,
        Subject {
            place: long,
            ..row(4_242, "worker", user, parts(MIB, 512 * KIB), Some(512))
        },
        Subject {
            place: unit("/init.scope"),
            ..row(1, "systemd", "root", parts(MIB, KIB), Some(0))
        },
        kthread,
        strange,
    ]
}

fn top_stacks() -> [Held; 2] {
    let pages = mmap(frame("pages_map", 0x44, "/usr/src/redis/src/pages.c", 190));
    let first = stack(
        991,
        &[RegionKind::Anonymous],
        held(900 * MIB, 800 * MIB, 3),
        pages,
    );
    let newsv = bare("Perl_safesysmalloc", 0x9, "/usr/lib/libperl.so.5.40");
    let second = stack(
        812,
        &[RegionKind::Brk],
        held(8 * MIB, 4 * MIB, 1),
        vec![newsv],
    );
    [changed(first, 1_310_720), second]
}

/// What was mapped at the end, with so much memory of its own; of so many processes the maps were never read.
fn left(bytes: u64, processes: u64, unread: u64) -> Values {
    Values::default()
        .with(Measure::VmMappedBytes, 3 * bytes + processes * MIB)
        .with(Measure::VmCalledBytes, 2 * bytes)
        .with(Measure::VmAnonymousBytes, bytes)
        .with(Measure::VmUnreadMaps, unread)
}

/// By process, some left out of the table by `--top`.
fn processes() -> Profile {
    let [first, second] = top_stacks();
    let server = Some("/usr/bin/redis-server");
    let samples = [
        first,
        second,
        other(991, RegionKind::File, server, held(2 * MIB, MIB, 5)),
        other(812, RegionKind::Stack, None, held(132 * KIB, 12 * KIB, 1)),
    ];
    let mut profile = base(rows(), &samples);
    profile.meta.elapsed = at(45_000);
    profile.meta.previous = Some(at(40_500));
    omit(
        &mut profile,
        Source::AddressSpace,
        true,
        33,
        Values::default(),
    );
    omit(
        &mut profile,
        Source::AddressSpace,
        false,
        319,
        Values::default(),
    );
    profile.sections.host_wide = Some(HostWide {
        scope: "the whole host".into(),
        by: Grouping::Process,
        ended: ended(
            vec![
                gone(700, "backup", (21_000, 20_000), left(70 * MIB, 1, 0)),
                gone(701, "logrotate", (43_000, 12_300), left(0, 1, 0)),
            ],
            vec![
                gone_by_name("sh", 312, 41_000, left(312 * 256 * KIB, 312, 312)),
                gone_by_name("true", 1, 20_000, left(0, 1, 0)),
            ],
        ),
        own_rss_bytes: Some(50 * MIB),
        ..HostWide::default()
    });
    profile
}

/// With nothing that ended since the report before.
fn by(grouping: Grouping) -> Profile {
    let mut profile = processes();
    let most = [Measure::VmResidentBytes, Measure::VmMappedBytes];
    // Of the last process it is not known where it belongs.
    let known = Profile {
        subjects: profile.subjects[..7].to_vec(),
        ..Profile::default()
    };
    let groups = known.groups(grouping, &most);
    let host = host(&mut profile);
    (host.by, host.groups) = (grouping, groups);
    profile.meta.previous = Some(profile.meta.elapsed);
    profile
}

/// Two processes, neither of which needs a state.
fn top() -> Profile {
    let mut profile = by(Grouping::Process);
    let systemd = profile.subjects.swap_remove(5);
    profile.subjects.truncate(1);
    profile.subjects.push(systemd);
    for sample in &mut profile.samples {
        sample.subject = sample.subject.min(1);
    }
    profile
}

/// `--by stack`, with one that three processes share and one of two.
fn stacks() -> Profile {
    let mut build = Builder::from_profile(by(Grouping::Stack));
    let copies = [(813, 0), (4_242, 0), (1, 1)].map(|(pid, of)| {
        let mut copy = top_stacks()[of].clone();
        copy.pid = Some(pid);
        for (measure, value) in held(MIB, MIB, 1).iter() {
            copy.values.set(measure, value);
        }
        let frames = copy.frames.iter_mut().flatten();
        frames.for_each(|code| code.frame.address += 0x1000);
        copy
    });
    add(&mut build, &copies);
    build
        .finish()
        .by_stack(Source::AddressSpace, Measure::VmResidentBytes)
}

/// Those that ended late, and more of them than are named.
fn many_ended() -> Ended {
    let processes = (0..25).map(|n: u32| {
        let held = left(u64::from(n) * MIB, 1, 0);
        gone(700 + n, "backup\t", (1_000, 20_000), held)
    });
    let processes: Vec<EndedProcess> = processes.collect();
    let names = (900_u64..).zip(["a", "b", "c", "d", "e", "f", "g"]);
    let names = names.map(|(n, command)| gone_by_name(command, 1, 2_000, left(n, 1, n % 2)));
    let mut names: Vec<_> = names.collect();
    names.reverse();
    ended(processes, names)
}

/// The last report of one container: all processes, and more that ended than are named.
fn last() -> Profile {
    let mut profile = processes();
    profile.meta.last = true;
    profile.notes = vec!["the maps of 1 process could not be read".into()];
    let host = host(&mut profile);
    host.scope = "cgroup /system.slice, user alice".into();
    host.ended = many_ended();
    profile
}

/// A host where nothing is mapped.
fn quiet() -> Profile {
    let mut profile = base(Vec::new(), &[]);
    profile.sections.host_wide = Some(HostWide {
        scope: "the whole host".into(),
        ..HostWide::default()
    });
    profile
}
