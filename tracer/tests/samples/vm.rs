//! Profiles of address spaces, made by hand; those with page faults and those of a whole host have files of their own.

use memlens::profile::{
    CommandExit, CutReason, Detail, LossKey, Measure, Missing, Profile, Region, RegionKind, Source,
    State, Subject, Values,
};
use tracer_common::loss::Loss;

use super::{
    Code, Held, Sample, at, bare, frame, inlined, lose, named, omit, unknown, vm_faults, vm_host,
    with_main,
};

pub const KIB: u64 = 1 << 10;
pub const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// All of them.
pub fn all() -> Vec<Sample> {
    let mut samples: Vec<Sample> = [
        ("one_process", one_process()),
        ("growing", growing()),
        ("several_processes", several_processes()),
        ("replaced", replaced()),
        ("exited", exited()),
        ("corrected", corrected()),
        ("repaired", repaired()),
        ("losses", losses()),
        ("empty", base(vec![process(42, "sleep", &[])], &[])),
        ("no_process", no_process()),
    ]
    .map(|(name, profile)| Sample::of(name, profile))
    .into();
    samples.extend(vm_faults::all());
    samples.extend(vm_host::all());
    samples
}

/// The one of that name.
pub fn sample(name: &str) -> Sample {
    named(all(), name)
}

/// The samples are all that there is.
pub fn base(subjects: Vec<Subject>, held: &[Held]) -> Profile {
    super::profile(Source::AddressSpace, subjects, held)
}

/// So many bytes mapped and resident, in so many ranges.
pub fn held(mapped: u64, resident: u64, ranges: u64) -> Values {
    mapped_only(mapped, ranges).with(Measure::VmResidentBytes, resident)
}

/// So many bytes mapped, of which it is not known what is in memory.
pub fn mapped_only(mapped: u64, ranges: u64) -> Values {
    Values::default()
        .with(Measure::VmMappedBytes, mapped)
        .with(Measure::VmRanges, ranges)
}

/// So many bytes mapped, all but `resident` of them without access, in one range.
fn set_aside(mapped: u64, resident: u64) -> Values {
    held(mapped, resident, 1).with(Measure::VmReservedBytes, mapped - resident)
}

fn swapped(mapped: u64, resident: u64, swapped: u64) -> Values {
    held(mapped, resident, 3).with(Measure::VmSwappedBytes, swapped)
}

/// A process whose address space is the sum of its kinds; with nothing, it is known that nothing is in memory.
pub fn process(pid: u32, command: &str, kinds: &[(RegionKind, Values)]) -> Subject {
    let mut totals = match kinds {
        [] => held(0, 0, 0),
        _ => Values::default(),
    };
    kinds.iter().for_each(|(_, values)| totals.add(values));
    Subject {
        totals,
        regions: kinds.iter().cloned().collect(),
        ..Subject::process(pid, command)
    }
}

/// Memory that calls on this stack have mapped; it has released as much before.
pub fn stack(pid: u32, kinds: &[RegionKind], values: Values, frames: Vec<Code>) -> Held {
    let mapped = values.amount(Measure::VmMappedBytes);
    let region = Region {
        kinds: kinds.to_vec(),
        ..Region::default()
    };
    Held {
        source: Source::AddressSpace,
        pid: Some(pid),
        values: values
            .with(Measure::VmMappedTotalBytes, 2 * mapped)
            .with(Measure::VmUnmappedTotalBytes, mapped)
            .with(Measure::VmOldestMs, 4_321_u64),
        frames: Some(frames),
        cut: None,
        detail: Some(Detail::Region(region)),
        blocks: None,
    }
}

fn region(held: &mut Held) -> &mut Region {
    match &mut held.detail {
        Some(Detail::Region(region)) => region,
        _ => panic!("a range of an address space"),
    }
}

pub fn changed(mut held: Held, bytes: i64) -> Held {
    held.values.set(Measure::VmChangeBytes, bytes);
    held
}

/// Memory that no call has mapped.
pub fn other(pid: u32, kind: RegionKind, file: Option<&str>, values: Values) -> Held {
    let region = Region {
        kinds: vec![kind],
        files: file.map(str::to_owned).into_iter().collect(),
        during_trace: kind == RegionKind::Kernel,
    };
    Held {
        source: Source::AddressSpace,
        pid: Some(pid),
        values,
        frames: None,
        cut: None,
        detail: Some(Detail::Region(region)),
        blocks: None,
    }
}

pub const LIBC: &str = "/usr/lib/x86_64-linux-gnu/libc.so.6";

pub fn mmap(caller: Code) -> Vec<Code> {
    with_main(vec![bare("__mmap", 0x17, LIBC), caller])
}

pub fn reserve() -> Vec<Code> {
    mmap(frame("reserve", 0x1b, "/build/victim/src/arena.c", 17))
}

pub fn fill() -> Vec<Code> {
    with_main(vec![frame("fill", 0x5e, "/build/victim/src/cache.c", 108)])
}

/// The first report of a runtime that sets much aside; its name has a line end in it. One more stack is left out.
fn one_process() -> Profile {
    use RegionKind::{Anonymous, Brk, File, Kernel, Shared, Stack};
    let kinds = [
        (Brk, held(1_158 * KIB, 900 * KIB, 1)),
        (Anonymous, set_aside(TIB, MIB)),
        (Stack, held(132 * KIB, 12 * KIB, 1)),
        (File, held(2 * MIB + 4_096, MIB, 9)),
        (Kernel, held(16 * KIB, 4 * KIB, 2)),
    ];
    let loader = bare("_dl_map_segments", 0x9c, "/usr/lib64/ld-linux-x86-64.so.2");
    let mut library = stack(42, &[File], held(MIB, 512 * KIB, 5), mmap(loader));
    region(&mut library).files = vec!["/usr/lib/libfoo.so.1".into()];
    let samples = [
        stack(42, &[Anonymous], set_aside(TIB, MIB), reserve()),
        library,
        other(42, File, Some("/usr/bin/app"), held(64 * KIB, 4_096, 4)),
        other(42, File, Some("/opt/a\nb.so"), held(64 * KIB, 4_096, 1)),
        other(42, File, None, set_aside(32 * KIB, 0)),
        other(42, Brk, None, held(1_158 * KIB, 900 * KIB, 1)),
        other(42, Stack, None, held(132 * KIB, 12 * KIB, 1)),
        other(42, Shared, None, held(4_096, 0, 1_234)),
        other(42, Kernel, Some("[vdso]"), held(8 * KIB, 4_096, 1)),
    ];
    let mut profile = base(vec![process(42, "app\n", &kinds)], &samples);
    omit(
        &mut profile,
        Source::AddressSpace,
        true,
        1,
        Values::default(),
    );
    omit(
        &mut profile,
        Source::AddressSpace,
        false,
        1_234,
        Values::default(),
    );
    profile
}

/// The last report of a command: stacks that grow, shrink and stay, with several files and kinds, cut and unknown;
/// swapped and unmeasured.
fn growing() -> Profile {
    use RegionKind::{Anonymous, Brk, File, Shared, Stack};
    let kinds = [
        (Brk, swapped(64 * MIB, 8 * MIB, 40 * MIB)),
        (Anonymous, held(96 * MIB, 80 * MIB, 12)),
        (File, held(9 * MIB, 3 * MIB, 30)),
        (Shared, held(16 * MIB, 2 * MIB, 1)),
    ];
    let heap = with_main(vec![bare("__sbrk", 0x66, LIBC)]);
    let first = stack(
        7,
        &[Brk, Anonymous],
        swapped(80 * MIB, 24 * MIB, 40 * MIB),
        heap,
    );
    let mut first = changed(first, 4 * MIB as i64);
    first.values.set(Measure::VmOldestMs, 7_500_000_u64);
    let grow = inlined(frame("grow", 0x40, "/build/victim/src/lib.rs", 7));
    let files = stack(
        7,
        &[File, Shared, Anonymous],
        held(24 * MIB, 4 * MIB, 3),
        mmap(grow),
    );
    let mut files = changed(files, -(2 * MIB as i64));
    region(&mut files).files = ["/var/lib/db/a.idx", "/var/lib/db/\u{202e}b.idx", "/c", "/d"]
        .map(str::to_owned)
        .into();
    let mut two = changed(files.clone(), 0);
    region(&mut two).files.truncate(3);
    for (measure, value) in held(MIB, 0, 1).iter() {
        two.values.set(measure, value);
    }
    two.cut = Some(CutReason::TooDeep);
    let unknown = vec![unknown(0x7fff_e000_0010, Missing::NotMapped)];
    let gone = stack(7, &[Stack], mapped_only(8 * MIB, 1), unknown);
    let none = stack(7, &[Anonymous], set_aside(64 * MIB, 0), Vec::new());
    let mut process = process(7, "db", &kinds);
    process.totals.set(Measure::VmChangeBytes, 2 * MIB as i64);
    let mut profile = base(vec![process], &[first, files, two, gone, none]);
    omit(
        &mut profile,
        Source::AddressSpace,
        true,
        1_234,
        Values::default(),
    );
    profile.meta.last = true;
    profile.meta.elapsed = at(7_512_000);
    profile.notes = vec!["2 System V segments were attached before the trace".into()];
    profile.meta.command_exit = Some(CommandExit::Code(3));
    profile
}

/// Running, exited and replaced ones.
pub fn several_processes() -> Profile {
    use RegionKind::{Anonymous, Brk, File, Stack};
    let mut server = process(
        991,
        "redis-server",
        &[
            (Brk, held(20 * MIB, 18 * MIB, 1)),
            (Anonymous, held(70 * MIB, 60 * MIB, 12)),
            (File, held(12 * MIB, 5 * MIB, 40)),
            (Stack, held(132 * KIB, 16 * KIB, 1)),
        ],
    );
    server.image = 1;
    server.totals.set(Measure::VmChangeBytes, MIB as i64);
    let mut shell = process(990, "sh", &[(Brk, mapped_only(132 * KIB, 1))]);
    shell.state = State::Exited;
    shell.totals.set(Measure::VmChangeBytes, -(8 * KIB as i64));
    let set_aside = mapped_only(MIB, 1).with(Measure::VmReservedBytes, MIB);
    let mut old = process(991, "sh", &[(Anonymous, set_aside)]);
    old.state = State::Replaced;
    let source = "/usr/src/redis/deps/jemalloc/src/pages.c";
    let jemalloc = mmap(frame("pages_map", 0x44, source, 190));
    let first = stack(991, &[Anonymous], held(64 * MIB, 60 * MIB, 1), jemalloc);
    let samples = [
        changed(first, MIB as i64),
        stack(990, &[Brk], mapped_only(132 * KIB, 1), fill()),
        stack(990, &[Anonymous], held(4_096, 4_096, 1), Vec::new()),
        other(991, File, Some(LIBC), held(2 * MIB, MIB, 5)),
        other(990, File, Some("/usr/bin/dash"), mapped_only(140 * KIB, 4)),
    ];
    let mut profile = base(vec![server, old, shell], &samples);
    profile.meta.command_exit = Some(CommandExit::Signal(9));
    profile
}

/// One process that has called `exec`: two programs, one PID.
pub fn replaced() -> Profile {
    use RegionKind::Brk;
    let mut old = process(43, "sh", &[(Brk, mapped_only(132 * KIB, 1))]);
    old.state = State::Replaced;
    let mut new = process(43, "python3", &[(Brk, held(9 * MIB, 8 * MIB, 1))]);
    new.image = 1;
    base(
        vec![old, new],
        &[stack(43, &[Brk], held(9 * MIB, 8 * MIB, 1), fill())],
    )
}

/// One process that is gone, so that nothing is known to be in memory.
fn exited() -> Profile {
    use RegionKind::{Brk, Stack};
    let all = mapped_only(132 * KIB, 1);
    let mut gone = process(44, "true", &[(Brk, all.clone())]);
    gone.state = State::Exited;
    let samples = [
        stack(44, &[Brk], all.clone(), fill()),
        other(44, Stack, None, all),
    ];
    let mut profile = base(vec![gone], &samples);
    omit(
        &mut profile,
        Source::AddressSpace,
        false,
        1,
        Values::default(),
    );
    profile.meta.last = true;
    profile
}

/// More corrections than are named, of every sort.
fn corrected() -> Profile {
    let kinds = [
        Measure::VmFoundBytes,
        Measure::VmGoneBytes,
        Measure::VmAccessBytes,
        Measure::VmRepairedBytes,
    ];
    let rows = (1..5_u32).map(|pid| {
        let mut row = process(pid, "app\t", &[(RegionKind::Anonymous, held(MIB, MIB, 1))]);
        for (measure, times) in kinds.into_iter().zip(1_u64..) {
            row.totals.set(measure, times * u64::from(pid) * 4_096);
        }
        row
    });
    let mut profile = base(rows.collect(), &[]);
    lose(&mut profile, [(LossKey::Trace(Loss::SpaceRingFull), 3)]);
    profile.complete = false;
    profile
}

/// What was lost could be found out from the maps: that is complete.
fn repaired() -> Profile {
    let mut profile = replaced();
    profile.subjects[1]
        .totals
        .set(Measure::VmRepairedBytes, 12 * KIB);
    lose(&mut profile, [(LossKey::Trace(Loss::SpaceRingFull), 1)]);
    profile
}

/// Every counter, and notes.
fn losses() -> Profile {
    let mut profile = replaced();
    let counters = Loss::ALL.into_iter().map(LossKey::Trace);
    lose(&mut profile, counters.zip(1_200..));
    profile.notes = vec![
        "page faults of children are not followed".into(),
        "the maps of process 812 could not be read: permission denied".into(),
    ];
    profile
}

fn no_process() -> Profile {
    let mut profile = base(Vec::new(), &[]);
    profile.meta.last = true;
    profile
}
