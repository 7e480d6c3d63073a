//! Reports of any content, for what must hold for all of them.

use std::path::PathBuf;
use std::time::Duration;

use memlens::report::{BlockRow, CutRow, Report, StackRow};
use memlens::symbolize::Frame;
use proptest::prelude::*;

use super::sample;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z_:<>(), ]{0,120}",
        "\\PC{0,40}",
        "(a|;|\n|\x1b| |7|\u{4e2d}){0,30}",
    ]
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let known = (
        prop::option::of(name()),
        prop::option::of(any::<u64>()),
        any::<u64>(),
    );
    let module = (prop::option::of(name()), prop::option::of(any::<u64>()));
    let source = (
        prop::option::of(name()),
        prop::option::of(any::<u32>()),
        any::<bool>(),
    );
    let rest = (prop::option::of("[0-9a-f]{0,64}"), prop::option::of(name()));
    (known, module, source, rest).prop_map(|(known, module, source, rest)| Frame {
        address: known.2,
        symbol: known.0,
        offset: known.1,
        module: module.0.map(PathBuf::from),
        module_offset: module.1,
        build_id: rest.0,
        file: source.0.map(PathBuf::from),
        line: source.1,
        inlined: source.2,
        missing: rest.1,
    })
}

fn any_stack() -> impl Strategy<Value = StackRow> {
    let frames = prop::collection::vec(any_frame(), 0..6);
    let blocks = prop::collection::vec(any::<(u64, u64, u64)>(), 0..3);
    (
        frames,
        blocks,
        prop::option::of(name()),
        any::<(u32, u32, Option<i64>, Option<u32>)>(),
    )
        .prop_map(|(frames, blocks, truncated, numbers)| StackRow {
            pid: numbers.0 % 3,
            also: Vec::new(),
            live_bytes: u64::from(numbers.1),
            live_count: 3,
            alloc_bytes: u64::MAX / 8,
            alloc_count: 1_000_000,
            free_bytes: 0,
            free_count: 0,
            growth_bytes: numbers.2,
            oldest_age: numbers.3.map(|seconds| Duration::from_secs(seconds.into())),
            truncated,
            frames,
            blocks: blocks
                .into_iter()
                .map(|(addr, size, nanos)| BlockRow {
                    addr,
                    size,
                    age: Duration::from_nanos(nanos),
                })
                .collect(),
        })
}

fn any_cut() -> impl Strategy<Value = CutRow> {
    let place = (name(), prop::option::of(name()));
    (place, any::<(u32, u64, u64)>()).prop_map(|((reason, module), numbers)| CutRow {
        pid: numbers.0 % 3,
        reason,
        module: module.map(PathBuf::from),
        stacks: numbers.1,
        live_bytes: numbers.2,
        live_count: 1,
    })
}

/// A report of one or several processes with any names, stacks, losses and notes.
pub fn any_report() -> impl Strategy<Value = Report> {
    let bases = prop::sample::select(vec![
        "losses",
        "several_processes",
        "sampled",
        "no_process",
        "host",
        "host_containers",
        "host_stacks",
        "host_last",
    ]);
    let stacks = prop::collection::vec(any_stack(), 0..4);
    let cut = prop::collection::vec(any_cut(), 0..8);
    (
        bases,
        stacks,
        cut,
        name(),
        prop::collection::vec(name(), 0..2),
    )
        .prop_map(|(base, stacks, cut, comm, notes)| {
            let mut report = sample(base);
            if let Some(process) = report.processes.first_mut() {
                process.comm = comm;
                process.pid = 1;
            }
            report.stacks = stacks;
            report.cut = cut;
            report.notes = notes;
            report
        })
}
