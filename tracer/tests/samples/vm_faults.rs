//! Profiles of address spaces with page faults, made by hand.

use memlens::profile::{
    Builder, CutReason, Detail, KernelFaults, Mapper, Measure, PageFaults, Profile, RegionKind,
    Source, Touched, Values,
};

use super::vm::{KIB, LIBC, MIB, fill, replaced, reserve, several_processes};
use super::{Code, Held, Sample, add, bare, frame, inlined, intern, omit};

/// All of them.
pub fn all() -> Vec<Sample> {
    let samples = [
        ("faults_seen", faults_seen()),
        ("faults_sampled", faults_sampled()),
        ("faults_several", faults_several()),
        ("faults_none", faults_none()),
    ];
    samples
        .map(|(name, profile)| Sample::of(name, profile))
        .into()
}

/// Faults of which each one was seen.
fn each(faults: u64, new_bytes: u64) -> Values {
    amount([faults, 0, new_bytes, 0, faults])
}

/// One fault in fifty is in the sample.
fn estimated(faults: u64, major: u64, new_bytes: u64) -> Values {
    amount([faults, major, new_bytes, faults / 40, faults / 50])
}

/// Faults, major ones, new bytes, the error, samples.
fn amount(figures: [u64; 5]) -> Values {
    let measures = [
        Measure::FaultsCount,
        Measure::FaultsMajor,
        Measure::FaultsNewBytes,
        Measure::FaultsError,
        Measure::FaultsSamples,
    ];
    let values = measures.into_iter().zip(figures);
    values
        .map(|(measure, value)| (measure, value.into()))
        .collect()
}

fn touched(
    kind: RegionKind,
    file: Option<&str>,
    mapper: Mapper,
    figures: (u64, u64, u64),
) -> Touched {
    let (faults, major, new_bytes) = figures;
    Touched {
        kind: Some(kind),
        file: file.map(str::to_owned),
        mapper,
        faults,
        major,
        new_bytes,
    }
}

fn fault_stack(pid: u32, values: Values, touched: Vec<Touched>) -> Held {
    Held {
        source: Source::PageFaults,
        pid: Some(pid),
        values,
        frames: Some(fill()),
        cut: None,
        detail: Some(Detail::Touched(touched)),
        blocks: None,
    }
}

/// Page faults of a process, and the stacks that others have mapped with.
fn with_faults(
    profile: Profile,
    totals: Values,
    mappers: &[Vec<Code>],
    faults: impl FnOnce(&[u32]) -> Vec<Held>,
) -> Profile {
    let mut build = Builder::from_profile(profile);
    build.measures(Measure::of(Source::PageFaults));
    let mappers = mappers
        .iter()
        .map(|frames| intern(&mut build, frames, None));
    let mappers: Vec<u32> = mappers.collect();
    add(&mut build, &faults(&mappers));
    let kernel = None;
    build.profile.sections.page_faults = Some(PageFaults { totals, kernel });
    build.finish()
}

/// The program that is left of two.
fn one_program() -> Profile {
    let mut profile = replaced();
    profile.subjects.remove(0);
    profile
        .samples
        .iter_mut()
        .for_each(|sample| sample.subject = 0);
    profile
}

/// Each fault was seen; each stack touches one sort of range.
fn faults_seen() -> Profile {
    let mappers = [Vec::new(), reserve()];
    with_faults(one_program(), each(7, 28 * KIB), &mappers, |stacks| {
        use RegionKind::{Brk, File, Kernel, Shared, Stack};
        let one = |kind, mapper| vec![touched(kind, None, mapper, (1, 0, 4_096))];
        let mut nothing = one(Brk, Mapper::Unknown);
        nothing[0].kind = None;
        let touched = [
            one(Brk, Mapper::Unknown),
            one(Stack, Mapper::Before),
            one(File, Mapper::Before),
            one(Shared, Mapper::Stack(stacks[0])),
            one(Kernel, Mapper::Stack(stacks[1])),
            nothing,
            Vec::new(),
        ];
        touched
            .map(|touched| fault_stack(43, each(1, 4_096), touched))
            .into()
    })
}

/// A sample of the faults of one process; a stack that touches more ranges than are named, another that is cut.
fn faults_sampled() -> Profile {
    use RegionKind::{Anonymous, Brk, File, Shared, Stack};
    let hidden = inlined(frame("hidden", 0x1, "/build/victim/src/arena.c", 3));
    let mut mapped_by = vec![hidden, bare("__mmap64", 0x17, LIBC)];
    mapped_by.extend(reserve());
    let totals = estimated(60_000, 12, 195 * MIB);
    let mut profile = with_faults(one_program(), totals, &[mapped_by], |stacks| {
        let index = Some("/var/lib/db/a\nb.idx");
        let places = vec![
            touched(
                Anonymous,
                None,
                Mapper::Stack(stacks[0]),
                (45_000, 0, 176 * MIB),
            ),
            touched(File, index, Mapper::Before, (5_000, 12, 16 * MIB)),
            touched(Brk, None, Mapper::Unknown, (100, 0, 400 * KIB)),
            touched(Stack, None, Mapper::Before, (50, 0, 4_096)),
            touched(Shared, None, Mapper::Before, (50, 0, 0)),
        ];
        let first = estimated(50_200, 12, 192 * MIB).with(Measure::FaultsChangeBytes, MIB);
        let second = estimated(9_000, 0, 0).with(Measure::FaultsChangeBytes, 0_u64);
        let mut second = fault_stack(43, second, Vec::new());
        second.cut = Some(CutReason::Unreadable);
        second.frames.as_mut().expect("frames").truncate(1);
        vec![fault_stack(43, first, places), second]
    });
    omit(&mut profile, Source::PageFaults, true, 1, Values::default());
    let faults = profile.sections.page_faults.as_mut().expect("faults");
    faults.kernel = Some(KernelFaults {
        minor: 60_100,
        major: 12,
    });
    profile
}

/// Faults of several processes, in the last report; no major ones by the kernel's count.
fn faults_several() -> Profile {
    let totals = each(9_012, 36 * MIB);
    let mut profile = with_faults(several_processes(), totals, &[], |_| {
        let of = |pid| {
            let place = touched(RegionKind::Brk, None, Mapper::Before, (3, 0, 12 * KIB));
            fault_stack(pid, each(3, 12 * KIB), vec![place])
        };
        [991, 990, 990].map(of).into()
    });
    omit(
        &mut profile,
        Source::PageFaults,
        true,
        1_000,
        Values::default(),
    );
    profile.meta.last = true;
    let faults = profile.sections.page_faults.as_mut().expect("faults");
    faults.kernel = Some(KernelFaults {
        minor: 9_012,
        major: 0,
    });
    profile
}

/// Faults are followed, and there was none.
fn faults_none() -> Profile {
    let profile = with_faults(one_program(), each(0, 0), &[], |_| Vec::new());
    profile.filter(|_| false)
}
