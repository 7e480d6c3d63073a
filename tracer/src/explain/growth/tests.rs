//! What belongs to whom, on made-up ledgers.

use std::ops::Range;

use super::*;
use crate::explain::value::{Allocator, ProcessFacts, Row, Totals};

const START: u64 = 0x7f00_0000_0000;
const MIB: u64 = 1 << 20;

fn explanation(kind: Kind, resident: u64) -> Explanation {
    Explanation {
        time: 1e9,
        process: ProcessFacts {
            pid: 1,
            comm: "x".to_owned(),
            exe: None,
            start_ticks: 1,
            threads: 1,
        },
        totals: Totals {
            resident,
            ..Totals::default()
        },
        ledger: vec![Row {
            kind,
            name: None,
            mappings: 1,
            virtual_size: 100 * MIB,
            resident,
            proportional: 0,
            anonymous: 0,
            swapped: 0,
            huge: 0,
        }],
        places: vec![Place {
            start: START,
            end: START + 100 * MIB,
            kind,
            name: None,
        }],
        unaccounted: 0,
        stacks: None,
        huge_pages: None,
        allocators: vec![Allocator {
            name: "jemalloc".to_owned(),
            file: "/lib/libjemalloc.so.2".to_owned(),
            heap: None,
            figures: Vec::new(),
            unreadable: None,
        }],
        runtimes: Vec::new(),
        findings: Vec::new(),
        notes: Vec::new(),
    }
}

fn stack(module: &str) -> Stack {
    let frame = |module: &str| Frame {
        module: Some(module.into()),
        ..Frame::default()
    };
    Stack {
        frames: vec![frame("/lib/libc.so.6"), frame(module), frame("/bin/x")],
        truncated: None,
    }
}

fn touched(pages: Range<u64>) -> Region {
    Region {
        start: START + pages.start * MIB,
        end: START + pages.end * MIB,
        swapped: false,
    }
}

fn seen(ranges: Vec<(Range<u64>, usize)>) -> Seen {
    let range = |(pages, stack): (Range<u64>, usize)| {
        let at = |page| START + page * MIB;
        (at(pages.start), at(pages.end), stack)
    };
    Seen {
        blocks: Err("blocks: no allocator".to_owned()),
        ranges: Ok(Ranges {
            ranges: ranges.into_iter().map(range).collect(),
            stacks: vec![stack("/lib/libjemalloc.so.2"), stack("/bin/x")],
        }),
        lost: Vec::new(),
    }
}

fn joined(kind: Kind, grown: u64, seen: Seen, touched: &[Region]) -> Growth {
    let (before, after) = (
        explanation(kind, 10 * MIB),
        explanation(kind, 10 * MIB + grown),
    );
    let change = super::super::diff::between(&before, &after);
    let growth = join(&before, &after, &change, seen, touched, 10);
    let mapped = growth.mapped.as_ref().map_or(0, |mapped| mapped.resident);
    let sum = growth.heap + mapped.cast_signed() + growth.older_resident();
    assert_eq!(sum, growth.resident, "the parts are the whole");
    growth
}

/// Memory that is an allocator's by elimination: whose call mapped it decides.
#[test]
fn what_the_allocator_has_not_mapped_is_not_its_own() {
    let seen = seen(vec![(0..20, 0), (20..60, 1)]);
    let growth = joined(
        Kind::Allocator,
        30 * MIB,
        seen,
        &[touched(0..20), touched(30..40)],
    );
    assert_eq!(growth.heap, 20 << 20);
    let mapped = growth.mapped.expect("traced");
    assert_eq!(
        (mapped.resident, mapped.size, mapped.ranges),
        (10 * MIB, 40 * MIB, 1)
    );
    assert_eq!(mapped.stacks.len(), 1);
    assert_eq!(growth.lost, ["blocks: no allocator"]);
    assert!(growth.blocks.is_none());
}

/// What was mapped before and is touched now is told by its row; pages in swap are not in memory.
#[test]
fn the_rest_is_named() {
    let mut swapped = touched(5..10);
    swapped.swapped = true;
    let seen = seen(vec![(0..10, 1)]);
    let growth = joined(Kind::Named, 25 * MIB, seen, &[touched(0..5), swapped]);
    let expected = Older {
        row: "named".to_owned(),
        resident: 20 << 20,
    };
    assert_eq!(growth.older, [expected]);
    assert_eq!(growth.heap, 0);
    assert!(
        growth.findings[0].contains("mapped before")
            && growth.findings[0].contains("20 MiB of 25 MiB is named")
    );
}

/// Pages that the kernel maps itself are mapped by nobody.
#[test]
fn the_kernels_own_pages_are_not_mapped_by_anybody() {
    let growth = joined(Kind::Kernel, MIB, seen(vec![(0..1, 1)]), &[touched(0..1)]);
    let mapped = growth.mapped.as_ref().expect("traced");
    assert_eq!((mapped.ranges, mapped.stacks_total), (0, 0));
    assert_eq!(growth.older_resident(), 1 << 20);
}

/// Without the trace of mappings all is told of the rows alone.
#[test]
fn a_trace_that_failed_is_said() {
    let mut seen = seen(Vec::new());
    seen.ranges = Err("mappings: not here".to_owned());
    let growth = joined(Kind::BrkHeap, 3 * MIB, seen, &[]);
    assert_eq!(growth.lost, ["mappings: not here", "blocks: no allocator"]);
    assert!(growth.mapped.is_none() && growth.heap == 3 << 20);
    assert_eq!(growth.findings, ["of +3 MiB of growth 3 MiB is the heap's"]);
}
