//! Profiles of the kernel's memory, made by hand.

use std::collections::BTreeMap;

use memlens::profile::{
    CutReason, Detail, Frame, KernelKind, KernelObject, KernelSection, Kind, LossKey, Measure,
    Missing, Profile, Sampling, SlabCache, SlabGrowth, Source, Subject, Values,
};
use tracer_common::kernel_memory::KernelLoss;

use super::{Code, Held, Sample, at, lose, named, omit, unknown};

/// All of them.
pub fn all() -> Vec<Sample> {
    let samples = [
        ("all_kinds", all_kinds()),
        ("slab_only", slab_only()),
        ("older", older()),
        ("older_empty", older_empty()),
        ("pages", pages()),
        ("per_cpu", per_cpu()),
        ("sampled", sampled()),
        ("cut_stack", cut_stack()),
        ("losses", losses(1_200..)),
        ("losses_one", losses_one()),
        ("detail_lost", detail_lost()),
        ("empty", empty()),
    ];
    samples
        .map(|(name, profile)| Sample::of(name, profile))
        .into()
}

/// The one of that name.
pub fn sample(name: &str) -> Sample {
    named(all(), name)
}

/// So much held, a quarter of what was allocated.
fn held(bytes: u64, blocks: u64) -> Values {
    Values::default()
        .with(Measure::KernelLiveBytes, bytes)
        .with(Measure::KernelLiveBlocks, blocks)
        .with(Measure::KernelAllocBytes, 4 * bytes)
        .with(Measure::KernelAllocBlocks, 4 * blocks)
}

/// A function of the kernel, at an offset in it.
fn frame(symbol: &str, offset: u64) -> Code {
    Code {
        frame: Frame {
            address: 0xffff_ffff_8100_0000 + offset,
            symbol: Some(symbol.into()),
            offset: Some(offset),
            ..Frame::default()
        },
        module: Some("[kernel]".into()),
        build_id: None,
    }
}

fn in_module(symbol: &str, offset: u64) -> Code {
    Code {
        module: Some("[nf_conntrack]".into()),
        ..frame(symbol, offset)
    }
}

/// Memory of a system call.
fn called(
    kind: KernelKind,
    what: &str,
    (bytes, blocks): (u64, u64),
    mut frames: Vec<Code>,
) -> Held {
    frames.push(frame("do_syscall_64", 0x71));
    frames.push(frame("entry_SYSCALL_64_after_hwframe", 0x76));
    stack(kind, what, (bytes, blocks), frames)
}

fn stack(kind: KernelKind, what: &str, (bytes, blocks): (u64, u64), frames: Vec<Code>) -> Held {
    let object = KernelObject {
        kind,
        what: what.into(),
        size: (kind != KernelKind::PerCpu).then(|| bytes / blocks.max(1)),
        backing: None,
    };
    Held {
        source: Source::Kernel,
        pid: None,
        values: held(bytes, blocks).with(Measure::KernelOldestMs, 3_900_u64),
        frames: Some(frames),
        cut: None,
        detail: Some(Detail::Kernel(object)),
        blocks: None,
    }
}

fn files() -> Held {
    let frames = vec![
        frame("kmem_cache_alloc_noprof", 0x227),
        frame("alloc_empty_file", 0x3c),
        frame("__x64_sys_epoll_create1", 0xd),
    ];
    called(KernelKind::Slab, "filp", (576_384, 3_002), frames)
}

fn connections() -> Held {
    let frames = vec![
        in_module("__nf_conntrack_alloc.constprop.0", 0x54),
        in_module("init_conntrack", 0x8b),
    ];
    called(KernelKind::Slab, "nf_conntrack\n", (256, 1), frames)
}

fn page_cache() -> Held {
    let frames = vec![
        frame("alloc_pages_mpol", 0xd1),
        frame("folio_alloc_noprof", 0x5b),
    ];
    called(
        KernelKind::Pages,
        "pages of order 0",
        (40 << 20, 10_240),
        frames,
    )
}

fn counters() -> Held {
    let frames = vec![frame("pcpu_alloc_noprof", 0x3f0), frame("mm_init", 0x1a2)];
    called(KernelKind::PerCpu, "per-CPU memory", (8_192, 17), frames)
}

/// Pages that lie under memory of another kind.
fn under(kind: KernelKind) -> Held {
    let frames = vec![frame("allocate_slab", 0x7d), frame("new_slab", 0x44)];
    let mut pages = called(KernelKind::Pages, "pages of order 1", (8_192, 1), frames);
    if let Some(Detail::Kernel(object)) = &mut pages.detail {
        object.backing = Some(kind);
    }
    pages
}

fn base(stacks: &[Held]) -> Profile {
    let kernel = Subject {
        pid: None,
        ..Subject::process(0, "kernel")
    };
    let profile = super::profile(Source::Kernel, vec![kernel], stacks);
    let mut section = KernelSection::default();
    for held in stacks {
        let Some(Detail::Kernel(object)) = &held.detail else {
            continue;
        };
        let sum = match object.backing {
            None => section.kinds.entry(object.kind),
            Some(kind) => section.backing.entry(kind),
        };
        let totals = held
            .values
            .iter()
            .filter(|(measure, _)| measure.kind() != Kind::Age);
        sum.or_default().add(&totals.collect());
    }
    with_section(profile, section)
}

/// The kernel has what its allocators have.
fn with_section(mut profile: Profile, section: KernelSection) -> Profile {
    let mut totals = Values::default();
    section.kinds.values().for_each(|values| totals.add(values));
    profile.subjects[0].totals = totals;
    profile.sections.kernel = Some(section);
    profile
}

fn section(profile: &mut Profile) -> &mut KernelSection {
    let section = profile.sections.kernel.as_mut();
    section.expect("a profile of the kernel's memory")
}

fn cache(name: &str, objects: (u64, i64), bytes: (u64, i64), held_bytes: Option<u64>) -> SlabCache {
    SlabCache {
        name: name.into(),
        objects: objects.0,
        objects_change: objects.1,
        bytes: bytes.0,
        bytes_change: bytes.1,
        held_bytes,
    }
}

/// Caches that have grown, one of them with fewer objects; more of them than are shown.
fn caches() -> SlabGrowth {
    SlabGrowth {
        bytes: 1_900_000,
        explained_bytes: 569_344,
        caches: vec![
            cache("dentry", (265_001, 5_966), (51_695_616, 1_184_890), None),
            cache("filp", (3_817, 2_832), (770_048, 569_344), Some(606_208)),
            cache("odd\tname", (12, -3), (8_192, 4_096), Some(0)),
            cache("kmalloc-8", (512, 0), (4_096, 4_096), None),
        ],
        caches_total: 1_016,
    }
}

/// Every kind, with what lies under it; stacks that grow, shrink and stay; not the first report.
fn all_kinds() -> Profile {
    let mut stacks = [
        page_cache(),
        files(),
        under(KernelKind::Slab),
        counters(),
        under(KernelKind::PerCpu),
        connections(),
    ];
    for (stack, change) in stacks.iter_mut().zip([1_i64 << 20, -192, 0, 8_192]) {
        stack.values.set(Measure::KernelChangeBytes, change);
    }
    let mut profile = base(&stacks);
    omit(&mut profile, Source::Kernel, true, 1_228, Values::default());
    section(&mut profile).slab = Some(caches());
    section(&mut profile).taken_over = 12;
    profile.notes = vec!["memory of 3 modules that were unloaded has no names".into()];
    profile
}

/// The last report of `--slab filp`; one more stack.
fn slab_only() -> Profile {
    let mut profile = base(&[files()]);
    omit(&mut profile, Source::Kernel, true, 1, Values::default());
    let section = section(&mut profile);
    section.filter.only = Some("slab cache filp\n".into());
    let mut slab = caches();
    slab.caches.truncate(1);
    slab.caches_total = 1;
    section.slab = Some(slab);
    profile.meta.last = true;
    profile.meta.elapsed = at(7_512_000);
    profile
}

/// `--older 2s`: what the stacks hold is less than the totals.
fn older() -> Profile {
    older_with(&[files(), counters()])
}

/// Nothing has that age.
fn older_empty() -> Profile {
    older_with(&[])
}

fn older_with(stacks: &[Held]) -> Profile {
    let mut profile = base(stacks);
    let mut section = section(&mut profile).clone();
    section.filter.older = at(2_000);
    section.kinds = BTreeMap::from([
        (KernelKind::Slab, held(2 << 20, 9_000)),
        (KernelKind::PerCpu, held(8_192, 17)),
    ]);
    with_section(profile, section)
}

/// `--order 0` alone. No change of a cache is known, although the kernel's own count can be read.
fn pages() -> Profile {
    let mut profile = base(&[page_cache()]);
    section(&mut profile).filter.only = Some("pages of order 0".into());
    section(&mut profile).slab = Some(SlabGrowth::default());
    profile
}

/// Memory without an age; what lies under it has been released. The kernel's own count cannot be read.
fn per_cpu() -> Profile {
    let mut only = counters();
    only.values = held(8_192, 17).with(Measure::KernelLiveBlocks, 1_u64);
    let mut profile = base(&[only]);
    section(&mut profile).backing = BTreeMap::from([(KernelKind::PerCpu, held(0, 0))]);
    profile
}

fn sampled() -> Profile {
    let mut profile = base(&[files(), page_cache(), under(KernelKind::Slab)]);
    section(&mut profile).sampling = Some(Sampling {
        interval_bytes: 524_288,
        live_samples: 81,
        standard_error_bytes: 2_576_980,
    });
    profile
}

/// Stacks that end early, have no frames, or frames without names; and code of an interrupt.
fn cut_stack() -> Profile {
    let unknown = unknown(0xffff_ffff_c012_3456, Missing::NoSymbols);
    let frames = vec![unknown, frame("__netif_receive_skb_core", 0x1c)];
    let mut deep = stack(KernelKind::Slab, "kmalloc-64", (640, 10), frames);
    deep.cut = Some(CutReason::TooDeep);
    let mut lost = stack(KernelKind::Slab, "kmalloc-4k", (4_096, 1), Vec::new());
    lost.cut = Some(CutReason::NotKeptOrNotWalked);
    let none = stack(
        KernelKind::Pages,
        "pages of order 10",
        (4 << 20, 1),
        Vec::new(),
    );
    base(&[deep, lost, none])
}

/// Every counter, and notes.
fn losses(counts: impl IntoIterator<Item = u64>) -> Profile {
    let mut profile = base(&[files()]);
    let counters = KernelLoss::ALL.into_iter().map(LossKey::Kernel);
    lose(&mut profile, counters.zip(counts));
    profile.notes = vec![
        "releases by RCU are seen when they happen".into(),
        "the per-CPU allocator cannot be followed on this kernel".into(),
    ];
    profile
}

/// Every counter once.
fn losses_one() -> Profile {
    let mut profile = losses(std::iter::repeat(1));
    profile.meta.last = true;
    profile
}

/// The totals are exact.
fn detail_lost() -> Profile {
    let mut profile = base(&[files()]);
    let lost = [(KernelLoss::NoStack, 7), (KernelLoss::UnknownFrees, 31_415)];
    lose(
        &mut profile,
        lost.map(|(loss, n)| (LossKey::Kernel(loss), n)),
    );
    profile
}

/// Every kind is followed, and nothing is held.
fn empty() -> Profile {
    let mut profile = base(&[]);
    let kinds = [KernelKind::Slab, KernelKind::Pages, KernelKind::PerCpu];
    section(&mut profile).kinds = kinds.map(|kind| (kind, held(0, 0))).into();
    profile.meta.last = true;
    profile
}
