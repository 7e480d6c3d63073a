//! The stacks that the programs have stored, joined where they mean the same.
//!
//! A stack begins with the tracepoint's own frames, which are dropped. An interrupt's stack goes on into what it has
//! interrupted, which has nothing to do with it: it is cut at the entry of the interrupt. Stacks that are then the same
//! are one.

use std::collections::HashMap;
use std::ops::Range;

use tracer_common::kernel_memory::{Decoded, Kind, SPARE_ROWS, What};

use crate::symbolize::Frame;

/// Frames from the innermost on among which the tracepoint's own are.
const OWN_FRAMES: usize = 8;
/// Frames from the innermost on among which the allocator's are that takes pages for itself.
const ALLOCATOR_FRAMES: usize = 12;

/// Beginnings of the names of functions that run a program at a tracepoint.
const TRACEPOINT: [&str; 4] = ["__traceiter_", "bpf_trace_run", "__bpf_trace_", "bpf_prog_"];
/// Beginnings of the names of the entries of interrupts.
const INTERRUPT: [&str; 4] = [
    "asm_sysvec_",
    "asm_common_interrupt",
    "asm_spurious_interrupt",
    "asm_exc_nmi",
];
/// Functions by which the slab allocator takes pages.
const SLAB_PAGES: [&str; 5] = [
    "allocate_slab",
    "new_slab",
    "___slab_alloc",
    "___kmalloc_large_node",
    "__kmalloc_large_node",
];
/// Functions by which the per-CPU allocator takes pages.
const PERCPU_PAGES: [&str; 3] = [
    "pcpu_populate_chunk",
    "pcpu_alloc_pages",
    "pcpu_create_chunk",
];

/// Stacks of the kernel that mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// What they have allocated.
    pub what: What,
    /// Their frames, innermost first.
    pub frames: Vec<u64>,
    /// Their pages lie under memory of this kind.
    pub backing: Option<Kind>,
}

/// All stacks so far.
#[derive(Debug, Default)]
pub struct Stacks {
    stacks: Vec<Stack>,
    by_frames: HashMap<(What, Vec<u64>), usize>,
    /// The stack of each row.
    of_row: HashMap<u32, usize>,
    /// Rows looked at so far, but for those that were being written.
    seen: u32,
    unfinished: Vec<u32>,
}

impl Stacks {
    /// Takes in rows that are new, at most so many. `read` is asked for a row's stack, `names` for its frames' names.
    pub fn take(
        &mut self,
        rows: Range<u32>,
        most: usize,
        read: impl Fn(u32) -> Option<(What, Vec<u64>)>,
        mut names: impl FnMut(&[u64]) -> Vec<Frame>,
    ) {
        let first = self.seen.max(rows.start);
        let until = first.saturating_add(u32::try_from(most).unwrap_or(u32::MAX));
        let until = until.min(rows.end).max(first);
        self.seen = until;
        let waiting = std::mem::take(&mut self.unfinished);
        for row in waiting.into_iter().chain(first..until) {
            match read(row) {
                Some((what, frames)) => self.add(row, what, frames, &mut names),
                None => self.unfinished.push(row),
            }
        }
    }

    fn add(
        &mut self,
        row: u32,
        what: What,
        mut frames: Vec<u64>,
        names: &mut impl FnMut(&[u64]) -> Vec<Frame>,
    ) {
        let named = names(&frames);
        let meant = meant(&named);
        frames.truncate(meant.end);
        frames.drain(..meant.start.min(frames.len()));
        let backing = match what.decode() {
            Decoded::Pages { .. } => backing(&named[meant]),
            _ => None,
        };
        let next = self.stacks.len();
        let stack = *self.by_frames.entry((what, frames.clone())).or_insert(next);
        if stack == next {
            self.stacks.push(Stack {
                what,
                frames,
                backing,
            });
        }
        self.of_row.insert(row, stack);
    }

    /// The stacks.
    pub fn all(&self) -> &[Stack] {
        &self.stacks
    }

    /// The stack of a row, which is one of [`Self::all`]; `None` for a row without a stack.
    pub fn of_row(&self, row: u32) -> Option<usize> {
        self.of_row.get(&row).copied()
    }

    /// Rows that hold a stack.
    pub fn rows(&self) -> impl Iterator<Item = (u32, usize)> {
        self.of_row.iter().map(|(row, stack)| (*row, *stack))
    }

    /// Rows that hold what has no stack, by kind.
    pub fn spare_rows() -> impl Iterator<Item = (u32, Kind)> {
        const { assert!(Kind::ALL.len() == SPARE_ROWS as usize) };
        (0..).zip(Kind::ALL)
    }
}

fn begins_with(frame: &Frame, beginnings: &[&str]) -> bool {
    let symbol = frame.symbol.as_deref().unwrap_or_default();
    beginnings
        .iter()
        .any(|beginning| symbol.starts_with(beginning))
}

/// The frames that belong to the allocation: behind those of the tracepoint, up to the entry of an interrupt.
fn meant(frames: &[Frame]) -> Range<usize> {
    let own = frames
        .iter()
        .take(OWN_FRAMES)
        .rposition(|frame| begins_with(frame, &TRACEPOINT));
    let start = own.map_or(0, |index| index + 1);
    let entry = frames
        .iter()
        .skip(start)
        .position(|frame| begins_with(frame, &INTERRUPT));
    let end = entry.map_or(frames.len(), |index| start + index + 1);
    start..end
}

/// The allocator that has taken pages for itself.
fn backing(frames: &[Frame]) -> Option<Kind> {
    let near = || frames.iter().take(ALLOCATOR_FRAMES);
    let is_one_of = |frame: &Frame, functions: &[&str]| {
        // The compiler's copies have a suffix: "allocate_slab.isra.0".
        let symbol = frame.symbol.as_deref().unwrap_or_default();
        let plain = symbol.split('.').next().unwrap_or_default();
        functions.contains(&plain.trim_end_matches("_noprof"))
    };
    if near().any(|frame| is_one_of(frame, &SLAB_PAGES)) {
        Some(Kind::Slab)
    } else if near().any(|frame| is_one_of(frame, &PERCPU_PAGES)) {
        Some(Kind::PerCpu)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 9] = [
        "bpf_trace_run5",
        "__traceiter_mm_page_alloc",
        "__alloc_pages",
        "allocate_slab",
        "handle_softirqs",
        "asm_sysvec_apic_timer_interrupt",
        "copy_page",
        "pcpu_populate_chunk.constprop.0",
        "do_syscall_64",
    ];

    fn name(frames: &[u64]) -> Vec<Frame> {
        let frame = |address: &u64| Frame {
            address: *address,
            symbol: Some(NAMES[*address as usize].to_owned()),
            ..Frame::default()
        };
        frames.iter().map(frame).collect()
    }

    fn taken(stacks: &[(What, Vec<u64>)]) -> Stacks {
        let mut all = Stacks::default();
        let rows = 3..3 + stacks.len() as u32;
        let read = |row: u32| stacks.get(row as usize - 3).cloned();
        all.take(rows, usize::MAX, read, name);
        all
    }

    #[test]
    fn what_an_interrupt_came_upon_is_cut() {
        let what = What::kmalloc(64, 0);
        let all = taken(&[
            (what, vec![0, 1, 2, 4, 5, 6, 8]),
            (what, vec![1, 2, 4, 5, 8]),
            (what, vec![0, 1, 2, 8]),
            (What::kmalloc(32, 0), vec![0, 1, 2, 8]),
        ]);
        assert_eq!(all.all().len(), 3);
        assert_eq!(all.all()[0].frames, [2, 4, 5]);
        assert_eq!((all.of_row(3), all.of_row(4)), (Some(0), Some(0)));
        assert_eq!(all.all()[1].frames, [2, 8]);
        assert_eq!(all.of_row(7), None);
    }

    #[test]
    fn pages_under_other_memory_are_known_by_who_took_them() {
        let pages = What::pages(1);
        let all = taken(&[
            (pages, vec![1, 2, 3, 8]),
            (pages, vec![1, 2, 7, 8]),
            (pages, vec![1, 2, 8]),
            (What::kmalloc(64, 0), vec![1, 3, 8]),
        ]);
        let backing: Vec<_> = all.all().iter().map(|stack| stack.backing).collect();
        assert_eq!(backing, [Some(Kind::Slab), Some(Kind::PerCpu), None, None]);
    }

    /// A row that is still being written is looked at again, and each row once.
    #[test]
    fn rows_are_taken_when_they_are_ready() {
        let mut all = Stacks::default();
        let stack = || Some((What::PERCPU, vec![2, 8]));
        all.take(3..6, usize::MAX, |row| stack().filter(|_| row != 4), name);
        assert_eq!(all.rows().count(), 2);
        all.take(3..9, 2, |_| stack(), name);
        assert_eq!(all.rows().count(), 5);
        all.take(3..9, 2, |_| stack(), name);
        assert_eq!(all.rows().count(), 6);
        all.take(3..9, 2, |_| panic!("nothing is new"), name);
    }
}
