//! The unwind table of a heap of compiled code.

use tracer_common::unwind::Rule;

use super::code_cache::{Blob, Heap, Kind};
use crate::unwind::{self, Table};

/// Where `rbp` is saved in a frame of a fixed size: below the return address (OpenJDK,
/// src/hotspot/cpu/x86/frame_x86.inline.hpp, `frame::sender_for_compiled_frame`).
const SAVED_BELOW: u64 = 16;

/// The table of a heap. What no piece of code holds is not known: stacks through it are cut.
pub fn table(heap: &Heap) -> Table {
    let mut rules = vec![(heap.range.start, Rule::NO_MAPPING)];
    for blob in heap.blobs.values() {
        let rule = rule(blob);
        // A thread in it that has called something has a frame.
        let complete = match blob.kind {
            Kind::Fixed => blob.code.start + blob.complete.min(blob.code.end - blob.code.start),
            _ => blob.code.start,
        };
        if complete > blob.code.start {
            rules.push((blob.code.start, Rule::UNSUPPORTED));
        }
        rules.push((complete, rule));
        rules.push((blob.code.end, Rule::NO_MAPPING));
    }
    unwind::table_of(heap.range.clone(), &rules)
}

fn rule(blob: &Blob) -> Rule {
    match blob.kind {
        Kind::Fixed => Rule::rsp(blob.frame_bytes, SAVED_BELOW).unwrap_or(Rule::UNSUPPORTED),
        Kind::Interpreter => Rule::INTERPRETED,
        Kind::FramePointer => Rule::NO_FDE,
        Kind::Unknown => Rule::UNSUPPORTED,
    }
}
