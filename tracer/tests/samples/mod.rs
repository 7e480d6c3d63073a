//! Reports made by hand, one for each thing that a dress must show well.

pub mod any;
pub mod golden;
pub mod host;
pub mod xml;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use memlens::report::{
    BlockFilter, BlockRow, CommandExit, CutRow, ProcessRow, ProcessState, Report, Sampling,
    StackRow,
};
use memlens::symbolize::Frame;

/// All of them, by the names of their golden files.
pub fn all() -> Vec<(&'static str, Report)> {
    vec![
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
        ("no_process", no_process()),
        ("plumbing", plumbing()),
        ("everything", everything()),
        ("host", host::processes()),
        ("host_containers", host::containers()),
        ("host_users", host::users()),
        ("host_stacks", host::stacks()),
        ("host_last", host::last()),
        ("host_quiet", host::quiet()),
    ]
}

/// The one of that name.
pub fn sample(name: &str) -> Report {
    let mut all = all();
    let index = all.iter().position(|(other, _)| *other == name);
    all.swap_remove(index.expect("a sample of that name")).1
}

fn base(processes: Vec<ProcessRow>, stacks: Vec<StackRow>) -> Report {
    Report {
        // 2026-03-01T12:34:56.789Z
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_772_368_496_789),
        elapsed: Duration::from_millis(5_012),
        last: false,
        loss: BTreeMap::new(),
        notes: Vec::new(),
        filter: BlockFilter::default(),
        sampling: None,
        processes,
        stacks_total: stacks.len(),
        stacks_live_bytes: stacks.iter().map(|stack| stack.live_bytes).sum(),
        stacks,
        cut: Vec::new(),
        command_exit: None,
        host: None,
    }
}

/// A process with `live` bytes in `blocks`, which has allocated twice as much.
fn process(pid: u32, comm: &str, live: u64, blocks: u64) -> ProcessRow {
    ProcessRow {
        pid,
        comm: comm.into(),
        state: ProcessState::Running,
        live_bytes: live,
        live_count: blocks,
        alloc_bytes: 2 * live,
        alloc_count: 2 * blocks,
        growth_bytes: None,
        free_bytes: live,
        free_count: blocks,
        host: None,
    }
}

fn stack(pid: u32, live: u64, blocks: u64, frames: Vec<Frame>) -> StackRow {
    StackRow {
        pid,
        also: Vec::new(),
        live_bytes: live,
        live_count: blocks,
        alloc_bytes: 2 * live,
        alloc_count: 2 * blocks,
        free_bytes: live,
        free_count: blocks,
        growth_bytes: None,
        oldest_age: Some(Duration::from_millis(4_321)),
        truncated: None,
        frames,
        blocks: Vec::new(),
    }
}

/// A frame with all that debug information tells.
fn frame(symbol: &str, offset: u64, file: &str, line: u32) -> Frame {
    Frame {
        address: 0x5555_5555_4000 + offset,
        symbol: Some(symbol.into()),
        offset: Some(offset),
        module: Some("/usr/bin/victim".into()),
        module_offset: Some(0x4000 + offset),
        build_id: Some("0123456789abcdef0123456789abcdef01234567".into()),
        file: Some(file.into()),
        line: Some(line),
        ..Frame::default()
    }
}

/// A frame of which only the symbol table tells.
fn bare(symbol: &str, offset: u64, module: &str) -> Frame {
    Frame {
        address: 0x7fff_f7d0_0000 + offset,
        symbol: Some(symbol.into()),
        offset: Some(offset),
        module: Some(module.into()),
        module_offset: Some(0x2_7000 + offset),
        build_id: Some("fedcba9876543210fedcba9876543210fedcba98".into()),
        ..Frame::default()
    }
}

fn main_frames() -> Vec<Frame> {
    vec![
        frame("main", 0x2c, "/build/victim/src/main.c", 42),
        bare(
            "__libc_start_call_main",
            0x78,
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
        ),
        bare("_start", 0x21, "/usr/bin/victim"),
    ]
}

fn with_main(mut frames: Vec<Frame>) -> Vec<Frame> {
    frames.extend(main_frames());
    frames
}

fn one_process() -> Report {
    let leak = frame("leak_in_loop", 0x1b, "/build/victim/src/leak.c", 17);
    let mut first = stack(4242, 30_000, 3, with_main(vec![leak]));
    first.growth_bytes = Some(10_000);
    let cache = frame("cache_fill", 0x5e, "/build/victim/src/cache.c", 108);
    let mut second = stack(4242, 1_000, 1, with_main(vec![cache]));
    second.growth_bytes = Some(0);
    let mut process = process(4242, "victim", 31_234, 8);
    process.growth_bytes = Some(9_000);
    let mut report = base(vec![process], vec![first, second]);
    report.stacks_total = 5;
    report.stacks_live_bytes = 31_234;
    report
}

fn several_processes() -> Report {
    let mut shell = process(990, "sh", 512, 1);
    shell.state = ProcessState::Exited;
    let mut old = process(991, "sh", 0, 0);
    old.state = ProcessState::Replaced;
    let mut server = process(991, "redis-server", 12_884_902, 12_345);
    server.growth_bytes = Some(1_258_291);
    let zmalloc = frame("zmalloc", 0x14, "/usr/src/redis/src/zmalloc.c", 123);
    let mut first = stack(991, 12_884_902, 12_345, with_main(vec![zmalloc]));
    first.growth_bytes = Some(1_258_291);
    first.oldest_age = Some(Duration::from_secs(7_500));
    let second = stack(990, 512, 1, vec![bare("xmalloc", 0x9, "/usr/bin/dash")]);
    let mut report = base(vec![server, shell, old], vec![first, second]);
    report.last = true;
    report.elapsed = Duration::from_secs(7_512);
    let reason = "the unwind table has an unsupported rule there";
    report.cut = vec![cut(
        991,
        reason,
        Some("/usr/lib/libcrypto.so.3"),
        [1, 12_884_902, 12_345],
    )];
    report.command_exit = Some(CommandExit::Code(3));
    report
}

fn unknown_frames() -> Report {
    let stripped = Frame {
        address: 0x7fff_f7a0_1f3a,
        module: Some("/opt/vendor/lib/libstripped.so.1".into()),
        module_offset: Some(0x1f3a),
        build_id: Some("abcdef0123456789abcdef0123456789abcdef01".into()),
        missing: Some("no symbols".into()),
        ..Frame::default()
    };
    let jit = Frame {
        address: 0x7fff_e000_0010,
        module: Some("[anon]".into()),
        missing: Some("no perf map".into()),
        ..Frame::default()
    };
    let gone = Frame {
        address: 0x10,
        missing: Some("not mapped".into()),
        ..Frame::default()
    };
    let frames = with_main(vec![stripped, jit, gone]);
    base(
        vec![process(7, "vendor", 4_096, 1)],
        vec![stack(7, 4_096, 1, frames)],
    )
}

fn inlined_frames() -> Report {
    let mut new = frame(
        "alloc::vec::Vec<T>::push",
        0x3,
        "/rustc/library/alloc/src/vec/mod.rs",
        2_442,
    );
    new.inlined = true;
    new.offset = None;
    let mut grow = bare("grow_one", 0x40, "/usr/bin/victim");
    grow.inlined = true;
    let frames = with_main(vec![
        new,
        grow,
        frame("collect", 0x99, "/build/victim/src/lib.rs", 7),
    ]);
    base(
        vec![process(8, "rusty", 65_536, 4)],
        vec![stack(8, 65_536, 4, frames)],
    )
}

fn cut(pid: u32, reason: &str, module: Option<&str>, numbers: [u64; 3]) -> CutRow {
    let [stacks, live_bytes, live_count] = numbers;
    CutRow {
        pid,
        reason: reason.to_owned(),
        module: module.map(Into::into),
        stacks,
        live_bytes,
        live_count,
    }
}

fn cut_stack() -> Report {
    let recurse = || frame("recurse", 0x31, "/build/victim/src/recurse.c", 9);
    let mut deep = stack(9, 127, 127, vec![recurse(), recurse(), recurse()]);
    deep.truncated = Some("deeper than 127 frames".into());
    let mut lost = stack(9, 64, 1, Vec::new());
    lost.truncated = Some("the caller's frame could not be read".into());
    let none = stack(9, 32, 1, Vec::new());
    let mut report = base(vec![process(9, "deep", 223, 129)], vec![deep, lost, none]);
    report.cut = vec![
        cut(9, "deeper than 127 frames", None, [1, 127, 127]),
        cut(
            9,
            "the caller's frame could not be read",
            Some("/usr/lib/libfoo.so"),
            [1, 64, 1],
        ),
    ];
    report
}

fn templates() -> Report {
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
        vec![stack(10, 1 << 30, 77, frames)],
    )
}

/// A Rust program's stack as the compiler makes it: the interesting frames are the two in the middle.
fn plumbing() -> Report {
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
        vec![stack(7, 4_096, 1, with_main(frames))],
    )
}

fn sampled() -> Report {
    let leak = frame("leak_in_loop", 0x1b, "/build/victim/src/leak.c", 17);
    let live = 12_884_902;
    let mut report = base(
        vec![process(4242, "victim", live, 13_107)],
        vec![stack(4242, live, 13_107, with_main(vec![leak]))],
    );
    report.sampling = Some(Sampling {
        interval_bytes: 524_288,
        live_samples: 25,
        standard_error_bytes: 2_576_980,
    });
    report
}

fn losses() -> Report {
    let mut report = one_process();
    report.loss = BTreeMap::from([
        ("live_map_full_blocks", 1_200),
        ("live_map_full_bytes", 30_000),
        ("stack_table_full", 1),
        ("missed_returns", 1),
        ("unknown_frees", 31_415),
        ("untraced_children", 2),
    ]);
    report.notes = vec!["libfoo.so has its own allocator, which is not traced".into()];
    report
}

fn blocks() -> Report {
    let mut report = one_process();
    report.stacks[0].blocks = vec![
        BlockRow {
            addr: 0x5555_5557_92a0,
            size: 10_000,
            age: Duration::from_millis(4_321),
        },
        BlockRow {
            addr: 0x5555_5557_b9c0,
            size: 800,
            age: Duration::from_micros(350),
        },
    ];
    report
}

fn empty() -> Report {
    let mut process = process(4242, "victim", 0, 0);
    process.alloc_bytes = 30_000;
    process.alloc_count = 3;
    process.free_bytes = 30_000;
    process.free_count = 3;
    let mut report = base(vec![process], Vec::new());
    report.filter.min_size = 65_536;
    report.last = true;
    report.command_exit = Some(CommandExit::Signal(9));
    report
}

fn empty_filtered() -> Report {
    let mut report = base(vec![process(4242, "victim", 4_000, 2)], Vec::new());
    report.filter.older = Duration::from_millis(500);
    report
}

fn no_process() -> Report {
    base(Vec::new(), Vec::new())
}

/// No part of the value is absent: what the list of JSON keys is checked with.
fn everything() -> Report {
    let mut report = blocks();
    report.sampling = sampled().sampling;
    report.loss = losses().loss;
    report.notes = losses().notes;
    report.filter = BlockFilter {
        older: Duration::from_secs(5),
        min_size: 64,
        max_size: 1 << 30,
    };
    report.cut = (0..7)
        .map(|n| {
            let module = format!("/opt/lib{n}.so");
            cut(
                10,
                "the stack could not be read",
                Some(&module),
                [8 - n, 900 - n, 20],
            )
        })
        .collect();
    report.stacks[0].truncated = Some("deeper than 127 frames".into());
    report.stacks[0].frames[0].missing = Some("no symbols".into());
    report.last = true;
    report.command_exit = Some(CommandExit::Code(0));
    report
}
