//! What belongs to whom, on made-up ledgers.

use super::*;
use crate::analysis::change;
use crate::profile::ledger::{Allocator, Row};
use crate::profile::{Frame, Meta, Subject};

const START: u64 = 0x7f00_0000_0000;
const MIB: u64 = 1 << 20;

/// A process with one row, which is 100 MiB of address space.
fn profile(kind: Purpose, resident_bytes: u64) -> Profile {
    let totals = Values::default().with(Measure::ProcessRssBytes, resident_bytes);
    let mut profile = Profile {
        subjects: vec![Subject {
            totals,
            ..Subject::process(1, "x")
        }],
        ..Profile::default()
    };
    profile.sections.ledger = Some(Ledger {
        rows: vec![Row {
            row: kind.into(),
            mappings: 1,
            virtual_bytes: 100 * MIB,
            resident_bytes,
            proportional_bytes: 0,
            anonymous_bytes: 0,
            swapped_bytes: 0,
            huge_bytes: 0,
        }],
        ranges: vec![Range::new(START, START + 100 * MIB, kind)],
        allocators: vec![Allocator {
            name: "jemalloc".to_owned(),
            file: "/lib/libjemalloc.so.2".to_owned(),
            ..Allocator::default()
        }],
        ..Ledger::default()
    });
    profile
}

fn touched(pages: std::ops::Range<u64>) -> Region {
    Region {
        start: START + pages.start * MIB,
        end: START + pages.end * MIB,
        swapped: false,
    }
}

/// Ranges of these MiB, mapped by jemalloc's stack (0) or the program's own (1).
fn seen(ranges: Vec<(std::ops::Range<u64>, u32)>) -> Seen {
    let mut trace = Builder::new(Meta::default());
    for caller in ["/lib/libjemalloc.so.2", "/bin/x"] {
        let frames = ["/lib/libc.so.6", caller, "/bin/x"].map(|path| {
            let module = Some(trace.module(path, None));
            trace.frame(Frame {
                module,
                ..Frame::default()
            })
        });
        trace.stack(frames.to_vec(), None);
    }
    let range = |(pages, stack): (std::ops::Range<u64>, u32)| MappedRange {
        start: START + pages.start * MIB,
        end: START + pages.end * MIB,
        stack,
    };
    Seen {
        trace: trace.finish(),
        ranges: Some(ranges.into_iter().map(range).collect()),
        not_seen: vec!["blocks: no allocator".to_owned()],
    }
}

fn joined(kind: Purpose, grown: u64, seen: &Seen, touched: &[Region]) -> Profile {
    let (before, mut after) = (profile(kind, 10 * MIB), profile(kind, 10 * MIB + grown));
    change::add(&before, &mut after).expect("one process");
    let joined = add(&before, after, seen, touched, 10);
    let growth = growth(&joined);
    let sum = growth.heap_bytes + growth.mapped_bytes.unwrap_or(0) + growth.older_bytes;
    assert_eq!(sum, growth.resident_bytes, "the parts are the whole");
    joined
}

fn growth(profile: &Profile) -> &RssGrowth {
    profile.sections.growth.as_ref().expect("traced")
}

fn sentences(profile: &Profile) -> Vec<&str> {
    let growth = profile
        .findings
        .iter()
        .filter(|finding| finding.kind == FindingKind::Growth);
    growth.map(|finding| finding.text.as_str()).collect()
}

/// Memory that is an allocator's by elimination: whose call mapped it decides.
#[test]
fn what_the_allocator_has_not_mapped_is_not_its_own() {
    let seen = seen(vec![(0..20, 0), (20..60, 1)]);
    let touched = [touched(0..20), touched(30..40)];
    let joined = joined(Purpose::Allocator, 30 * MIB, &seen, &touched);
    assert_eq!(growth(&joined).heap_bytes, 20 << 20);
    assert_eq!(growth(&joined).mapped_bytes, Some(10 << 20));
    let samples: Vec<&Sample> = joined.samples_of(Source::AddressSpace).collect();
    let values = joined.values(samples[0]);
    assert_eq!(samples.len(), 1);
    assert_eq!(values.amount(Measure::VmMappedBytes), 40 * MIB);
    assert_eq!(values.amount(Measure::VmRanges), 1);
    assert_eq!(samples[0].ledger_rows(), "allocator");
    let modules = joined
        .frames(samples[0])
        .filter_map(|frame| joined.module(frame));
    let paths: Vec<&str> = modules.map(|module| &*module.path).collect();
    assert_eq!(paths, ["/lib/libc.so.6", "/bin/x", "/bin/x"]);
    assert_eq!(growth(&joined).not_seen, ["blocks: no allocator"]);
    assert!(!joined.has(Source::Heap));
}

/// Stacks that are not kept are summed up.
#[test]
fn the_stacks_beyond_the_first_are_counted() {
    let seen = seen(vec![(0..20, 0), (20..60, 1)]);
    let (before, mut after) = (
        profile(Purpose::Named, MIB),
        profile(Purpose::Named, 31 * MIB),
    );
    change::add(&before, &mut after).expect("one process");
    let joined = add(&before, after, &seen, &[touched(0..20), touched(30..40)], 1);
    assert_eq!(joined.stack_samples(Source::AddressSpace).count(), 1);
    let total = joined.stacks_total(Source::AddressSpace, Measure::VmResidentBytes);
    assert_eq!(total, (2, 30 * MIB));
}

/// What was mapped before and is touched now is told by its row; pages in swap are not in memory.
#[test]
fn the_rest_is_named() {
    let mut swapped = touched(5..10);
    swapped.swapped = true;
    let seen = seen(vec![(0..10, 1)]);
    let joined = joined(Purpose::Named, 25 * MIB, &seen, &[touched(0..5), swapped]);
    let expected = RowShare {
        row: Purpose::Named.into(),
        resident_bytes: 20 << 20,
    };
    assert_eq!(growth(&joined).older_rows, [expected]);
    assert_eq!(growth(&joined).heap_bytes, 0);
    let sentence = sentences(&joined)[0];
    assert!(sentence.contains("mapped before") && sentence.contains("20 MiB of 25 MiB is named"));
}

/// Pages that the kernel maps itself are mapped by nobody.
#[test]
fn the_kernels_own_pages_are_not_mapped_by_anybody() {
    let joined = joined(
        Purpose::Kernel,
        MIB,
        &seen(vec![(0..1, 1)]),
        &[touched(0..1)],
    );
    assert_eq!(growth(&joined).mapped_bytes, Some(0));
    assert_eq!(joined.samples_of(Source::AddressSpace).count(), 0);
    assert_eq!(growth(&joined).older_bytes, 1 << 20);
}

/// Without the trace of mappings all is told of the rows alone.
#[test]
fn a_trace_that_failed_is_said() {
    let mut seen = seen(Vec::new());
    seen.ranges = None;
    let joined = joined(Purpose::BrkHeap, 3 * MIB, &seen, &[]);
    let growth = growth(&joined);
    assert_eq!((growth.mapped_bytes, growth.heap_bytes), (None, 3 << 20));
    assert_eq!(
        sentences(&joined),
        ["of +3 MiB of growth 3 MiB is the heap's"]
    );
}
