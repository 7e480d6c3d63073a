//! Profiles of heaps, made by hand; those of a whole host have a file of their own.

use memlens::profile::{
    Block, CommandExit, CutReason, Filter, HeapSection, LossKey, Measure, Missing, Profile,
    Sampling, Source, State, Subject, TableUse, Values,
};
use tracer_common::loss::Loss;

use super::{
    Code, Held, Sample, at, bare, cut_at, frame, inlined, leaks_host, leaks_verdict, lose, named,
    omit, unknown, with_main,
};

/// All of them.
pub fn all() -> Vec<Sample> {
    let mut samples: Vec<Sample> = [
        ("one_process", one_process()),
        ("several_processes", several_processes()),
        ("unknown_frames", unknown_frames()),
        ("inlined_frames", inlined_frames()),
        ("cut_stack", cut_stack()),
        ("templates", templates()),
        ("sampled", sampled()),
        ("losses", losses()),
        ("blocks", blocks()),
        ("empty", empty()),
        ("empty_filtered", empty_filtered()),
        ("no_process", base(Vec::new(), &[])),
        ("stopped", stopped()),
        ("plumbing", plumbing()),
        ("everything", everything()),
    ]
    .map(|(name, profile)| Sample::of(name, profile))
    .into();
    samples.extend(leaks_host::all());
    samples.extend(leaks_verdict::all());
    samples
}

/// The one of that name.
pub fn sample(name: &str) -> Sample {
    named(all(), name)
}

/// The samples are all that there is.
pub fn base(subjects: Vec<Subject>, stacks: &[Held]) -> Profile {
    let mut profile = super::profile(Source::Heap, subjects, stacks);
    profile.sections.heap = Some(HeapSection::default());
    profile
}

pub fn heap(profile: &mut Profile) -> &mut HeapSection {
    profile.sections.heap.as_mut().expect("a profile of heaps")
}

/// So much live, half of what was allocated.
pub fn live(bytes: u64, blocks: u64) -> Values {
    Values::default()
        .with(Measure::HeapLiveBytes, bytes)
        .with(Measure::HeapLiveBlocks, blocks)
        .with(Measure::HeapAllocBytes, 2 * bytes)
        .with(Measure::HeapAllocBlocks, 2 * blocks)
        .with(Measure::HeapFreeBytes, bytes)
        .with(Measure::HeapFreeBlocks, blocks)
}

/// Live bytes and blocks, and no more.
pub fn left(bytes: u64, blocks: u64) -> Values {
    Values::default()
        .with(Measure::HeapLiveBytes, bytes)
        .with(Measure::HeapLiveBlocks, blocks)
}

pub fn process(pid: u32, command: &str, bytes: u64, blocks: u64) -> Subject {
    Subject {
        totals: live(bytes, blocks),
        ..Subject::process(pid, command)
    }
}

pub fn stack(pid: u32, bytes: u64, blocks: u64, frames: Vec<Code>) -> Held {
    Held {
        source: Source::Heap,
        pid: Some(pid),
        values: live(bytes, blocks).with(Measure::HeapOldestMs, 4_321_u64),
        frames: Some(frames),
        cut: None,
        detail: None,
        blocks: None,
    }
}

pub fn changed(mut held: Held, bytes: i64) -> Held {
    held.values.set(Measure::HeapChangeBytes, bytes);
    held
}

fn one_process() -> Profile {
    with_blocks(None)
}

fn with_blocks(blocks: Option<Vec<Block>>) -> Profile {
    let leak = frame("leak_in_loop", 0x1b, "/build/victim/src/leak.c", 17);
    let mut first = changed(stack(4242, 30_000, 3, with_main(vec![leak])), 10_000);
    let cache = frame("cache_fill", 0x5e, "/build/victim/src/cache.c", 108);
    let mut second = changed(stack(4242, 1_000, 1, with_main(vec![cache])), 0);
    second.blocks = blocks.is_some().then(Vec::new);
    first.blocks = blocks;
    let mut process = process(4242, "victim", 31_234, 8);
    process.totals.set(Measure::HeapChangeBytes, 9_000_i64);
    let mut profile = base(vec![process], &[first, second]);
    omit(&mut profile, Source::Heap, true, 3, left(234, 4));
    profile
}

fn several_processes() -> Profile {
    let mut shell = process(990, "sh", 512, 1);
    shell.state = State::Exited;
    let mut old = process(991, "sh", 0, 0);
    old.state = State::Replaced;
    let mut server = process(991, "redis-server", 12_884_902, 12_345);
    server.image = 1;
    server.totals.set(Measure::HeapChangeBytes, 1_258_291_i64);
    let zmalloc = frame("zmalloc", 0x14, "/usr/src/redis/src/zmalloc.c", 123);
    let mut first = changed(
        stack(991, 12_884_902, 12_345, with_main(vec![zmalloc])),
        1_258_291,
    );
    first.values.set(Measure::HeapOldestMs, 7_500_000_u64);
    let second = stack(990, 512, 1, vec![bare("xmalloc", 0x9, "/usr/bin/dash")]);
    let mut profile = base(vec![server, shell, old], &[first, second]);
    profile.meta.last = true;
    profile.meta.elapsed = at(7_512_000);
    let library = Some("/usr/lib/libcrypto.so.3");
    let reason = CutReason::UnsupportedRule;
    cut_at(
        &mut profile,
        991,
        reason,
        library,
        (1, left(12_884_902, 12_345)),
    );
    profile.meta.command_exit = Some(CommandExit::Code(3));
    profile
}

fn unknown_frames() -> Profile {
    let mut stripped = unknown(0x7fff_f7a0_1f3a, Missing::NoSymbols);
    stripped.module = Some("/opt/vendor/lib/libstripped.so.1".into());
    stripped.frame.module_offset = Some(0x1f3a);
    stripped.build_id = Some("abcdef0123456789abcdef0123456789abcdef01".into());
    let mut jit = unknown(0x7fff_e000_0010, Missing::NoPerfMap);
    jit.module = Some("[anon]".into());
    let gone = unknown(0x10, Missing::NotMapped);
    let frames = with_main(vec![stripped, jit, gone]);
    base(
        vec![process(7, "vendor", 4_096, 1)],
        &[stack(7, 4_096, 1, frames)],
    )
}

fn inlined_frames() -> Profile {
    let file = "/rustc/library/alloc/src/vec/mod.rs";
    let new = inlined(frame("alloc::vec::Vec<T>::push", 0x3, file, 2_442));
    let mut grow = bare("grow_one", 0x40, "/usr/bin/victim");
    grow.frame.inlined = true;
    let collect = frame("collect", 0x99, "/build/victim/src/lib.rs", 7);
    let frames = with_main(vec![new, grow, collect]);
    base(
        vec![process(8, "rusty", 65_536, 4)],
        &[stack(8, 65_536, 4, frames)],
    )
}

fn cut_stack() -> Profile {
    let recurse = || frame("recurse", 0x31, "/build/victim/src/recurse.c", 9);
    let mut deep = stack(9, 127, 127, vec![recurse(), recurse(), recurse()]);
    deep.cut = Some(CutReason::TooDeep);
    let mut lost = stack(9, 64, 1, Vec::new());
    lost.cut = Some(CutReason::Unreadable);
    let none = stack(9, 32, 1, Vec::new());
    let mut profile = base(vec![process(9, "deep", 223, 129)], &[deep, lost, none]);
    cut_at(
        &mut profile,
        9,
        CutReason::TooDeep,
        None,
        (1, left(127, 127)),
    );
    let library = Some("/usr/lib/libfoo.so");
    cut_at(
        &mut profile,
        9,
        CutReason::Unreadable,
        library,
        (1, left(64, 1)),
    );
    profile
}

fn templates() -> Profile {
    let insert = "std::_Rb_tree<std::__cxx11::basic_string<char, std::char_traits<char>, \
        std::allocator<char> >, std::pair<std::__cxx11::basic_string<char, std::char_traits<char>, \
        std::allocator<char> > const, std::vector<int, std::allocator<int> > >, \
        std::_Select1st<std::pair<std::__cxx11::basic_string<char> const, std::vector<int> > >, \
        std::less<std::__cxx11::basic_string<char> > >::_M_emplace_hint_unique<std::tuple<> \
        >(std::_Rb_tree_const_iterator<int>, std::tuple<>&&)";
    let output = "std::basic_ostream<char, std::char_traits<char> >& std::operator<< \
        <std::char_traits<char> >(std::basic_ostream<char, std::char_traits<char> >&, char const*)";
    let frames = with_main(vec![
        frame(insert, 0x1f4, "/usr/include/c++/12/bits/stl_tree.h", 2_437),
        bare(
            output,
            0x2a,
            "/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30",
        ),
        frame(
            "<alloc::boxed::Box<dyn core::ops::FnOnce<()>> as core::ops::FnOnce<()>>::call_once::h0",
            0x8,
            "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/alloc/src/boxed.rs",
            2_009,
        ),
        frame(
            "Index::load(std::string const&)",
            0x77,
            "/build/a/rather/long/path/to/the/index/source/code/of/this/program/index.cc",
            310,
        ),
    ]);
    base(
        vec![process(10, "monster", 1 << 30, 77)],
        &[stack(10, 1 << 30, 77, frames)],
    )
}

/// A process that does nothing until it is continued.
fn stopped() -> Profile {
    let mut process = process(4242, "victim", 0, 0);
    process.state = State::Stopped;
    base(vec![process], &[])
}

/// A Rust program's stack as the compiler makes it: the interesting frames are the two in the middle.
fn plumbing() -> Profile {
    let library = "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library";
    let std =
        |symbol: &str, file: &str, line| frame(symbol, 0x10, &format!("{library}/{file}"), line);
    let installed = "/root/.rustup/toolchains/stable/lib/rustlib/src/rust/library/std/src";
    let frames = vec![
        std("alloc::alloc::alloc_zeroed", "alloc/src/alloc.rs", 178),
        std(
            "<alloc::alloc::Global as core::alloc::Allocator>::allocate_zeroed",
            "alloc/src/alloc.rs",
            435,
        ),
        std(
            "alloc::raw_vec::RawVec<T,A>::with_capacity_zeroed_in",
            "alloc/src/raw_vec/mod.rs",
            221,
        ),
        std("alloc::vec::from_elem", "alloc/src/vec/mod.rs", 3_651),
        frame(
            "bytes::Bytes::zeroed",
            0x20,
            "/root/.cargo/registry/src/index.example-1949cf8c6b5b557f/bytes-1.2.3/src/bytes.rs",
            7,
        ),
        frame("program::main", 0x30, "/build/program/src/main.rs", 8),
        frame(
            "std::sys::backtrace::__rust_begin_short_backtrace",
            0x40,
            &format!("{installed}/sys/backtrace.rs"),
            166,
        ),
        frame(
            "std::rt::lang_start::{{closure}}",
            0x50,
            &format!("{installed}/rt.rs"),
            206,
        ),
        std("std::rt::lang_start_internal", "std/src/rt.rs", 171),
    ];
    base(
        vec![process(7, "program", 4_096, 1)],
        &[stack(7, 4_096, 1, with_main(frames))],
    )
}

const SAMPLING: Sampling = Sampling {
    interval_bytes: 524_288,
    live_samples: 25,
    standard_error_bytes: 2_576_980,
};

fn sampled() -> Profile {
    let leak = frame("leak_in_loop", 0x1b, "/build/victim/src/leak.c", 17);
    let live = 12_884_902;
    let mut profile = base(
        vec![process(4242, "victim", live, 13_107)],
        &[stack(4242, live, 13_107, with_main(vec![leak]))],
    );
    heap(&mut profile).sampling = Some(SAMPLING);
    profile
}

fn losses() -> Profile {
    lost(one_process())
}

fn lost(mut profile: Profile) -> Profile {
    let counters = [
        (Loss::LiveMapFullBlocks, 1_200),
        (Loss::LiveMapFullBytes, 30_000),
        (Loss::StackTableFull, 1),
        (Loss::MissedReturns, 1),
        (Loss::UnknownFrees, 31_415),
        (Loss::UntracedChildren, 2),
    ];
    lose(
        &mut profile,
        counters.map(|(loss, n)| (LossKey::Trace(loss), n)),
    );
    profile.notes = vec!["libfoo.so has its own allocator, which is not traced".into()];
    profile
}

fn blocks() -> Profile {
    let block = |address, size, microseconds| Block {
        address,
        size,
        age: std::time::Duration::from_micros(microseconds),
    };
    with_blocks(Some(vec![
        block(0x5555_5557_92a0, 10_000, 4_321_000),
        block(0x5555_5557_b9c0, 800, 350),
    ]))
}

fn empty() -> Profile {
    let mut process = process(4242, "victim", 0, 0);
    for (bytes, blocks) in [
        (Measure::HeapAllocBytes, Measure::HeapAllocBlocks),
        (Measure::HeapFreeBytes, Measure::HeapFreeBlocks),
    ] {
        process.totals.set(bytes, 30_000_u64);
        process.totals.set(blocks, 3_u64);
    }
    let mut profile = base(vec![process], &[]);
    heap(&mut profile).filter.min_size = Some(65_536);
    profile.meta.last = true;
    profile.meta.command_exit = Some(CommandExit::Signal(9));
    profile
}

fn empty_filtered() -> Profile {
    let mut profile = base(vec![process(4242, "victim", 4_000, 2)], &[]);
    heap(&mut profile).filter.older = at(500);
    profile
}

/// No part of a profile of one process is absent.
fn everything() -> Profile {
    let mut profile = lost(blocks());
    let filter = Filter {
        older: at(5_000),
        min_size: Some(64),
        max_size: Some(1 << 30),
        only: None,
    };
    *heap(&mut profile) = HeapSection {
        filter,
        sampling: Some(SAMPLING),
        from_start: false,
        ..HeapSection::default()
    };
    for n in 0..7 {
        let module = format!("/opt/lib{n}.so");
        let held = (8 - n, left(900 - n, 20));
        cut_at(
            &mut profile,
            4242,
            CutReason::Unreadable,
            Some(&module),
            held,
        );
    }
    profile.stacks[0].cut = Some(CutReason::TooDeep);
    profile.frames[0].missing = Some(Missing::NoSymbols);
    profile.meta.last = true;
    profile.sections.unwind = Some(TableUse {
        files: 64,
        bytes: 9_567_136,
        capacity_bytes: 22_279_998,
        left_out: 2,
        evicted: 7,
    });
    profile.meta.command_exit = Some(CommandExit::Code(0));
    profile
}
