//! The heaps of a thread's arena: pieces of 64 MiB, of which each knows its arena and the piece before it.

use super::arena::{Arena, Layout};
use super::walk::Trouble;
use crate::sources::ledger::memory::{Memory, ReadError, Window};

/// Sizes to which heaps are aligned: 64 MiB, or with huge pages (`glibc.malloc.hugetlb`) four of them.
const ALIGNMENTS: [u64; 3] = [64 << 20, 8 << 20, 4 << 30];
/// Most bytes of the heap's own record; 32 up to glibc 2.34, 48 since.
const MOST_RECORD: u64 = 256;
/// Most heaps of one arena that are followed: 4 TiB.
const MOST_HEAPS: usize = 1 << 16;

/// One piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heap {
    /// Where it begins.
    pub start: u64,
    /// Where its usable part ends; the rest up to its alignment is reserved.
    pub end: u64,
    /// Its first chunk.
    pub first: u64,
}

/// The heaps of an arena, in the order in which they were made.
///
/// # Errors
/// [`Trouble`] where their records contradict each other.
pub fn of<M: Memory>(memory: &mut M, layout: Layout, arena: &Arena) -> Result<Vec<Heap>, Trouble> {
    let alignment = alignment(memory, arena.address)?;
    let own = arena.address - arena.address % alignment;
    let record = arena.address - own;
    let Some(top) = arena.top else {
        return Ok(Vec::new());
    };
    let mut heaps = Vec::new();
    let mut start = top - top % alignment;
    loop {
        let words = record_of(memory, start)?;
        let [owner, before, size, usable] = words;
        let sane = owner == arena.address && size <= usable && usable <= alignment;
        if !sane || size % 4096 != 0 || size == 0 || heaps.len() == MOST_HEAPS {
            return Err(Trouble::new(start, "is not a heap of its arena"));
        }
        let first = if start == own {
            (arena.address + layout.size()).next_multiple_of(16)
        } else {
            start + record
        };
        heaps.push(Heap {
            start,
            end: start + size,
            first,
        });
        if start == own {
            break;
        }
        if before % alignment != 0 || before == 0 {
            return Err(Trouble::new(start, "names no heap before it"));
        }
        start = before;
    }
    heaps.reverse();
    Ok(heaps)
}

/// The end of the heap that a chunk is in, now.
///
/// # Errors
/// [`ReadError`].
pub fn end_now<M: Memory>(memory: &mut M, start: u64) -> Result<u64, ReadError> {
    Ok(start.saturating_add(record_of(memory, start)?[2]))
}

/// To what the heaps of an arena are aligned: the arena lies at the start of its first heap, which names it.
fn alignment<M: Memory>(memory: &mut M, arena: u64) -> Result<u64, Trouble> {
    for alignment in ALIGNMENTS {
        let start = arena - arena % alignment;
        if arena - start <= MOST_RECORD && arena != start && memory.word(start)? == arena {
            return Ok(alignment);
        }
    }
    Err(Trouble::new(arena, "is an arena outside of any heap"))
}

/// Arena, heap before, size, and the size that may be written to.
fn record_of<M: Memory>(memory: &mut M, start: u64) -> Result<[u64; 4], ReadError> {
    let mut window = Window::default();
    window.load(memory, start, 32)?;
    Ok([
        window.word(start)?,
        window.word(start + 8)?,
        window.word(start + 16)?,
        window.word(start + 24)?,
    ])
}
