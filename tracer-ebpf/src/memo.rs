//! Remembering stack walks, and knowing a stack again by the words that the walk read (`tracer_common::memo`).

use core::ffi::c_void;
use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_kernel};
use tracer_common::limits::MEMO_BITS;
use tracer_common::memo::{CHUNK, Memo, Reads, Start, WORDS};
use tracer_common::stack::End;

use crate::arch::order;
use crate::maps::MEMOS;
use crate::memory::replace_if;
use crate::records::{WINDOW, Walk};
use crate::stack::fill_window;

/// A comparison, chunk by chunk.
#[repr(C)]
struct Chunks {
    walk: *mut Walk,
    memo: *mut Memo,
    difference: u64,
}

/// Compares a chunk; 1 ends the loop.
unsafe extern "C" fn compare(chunk: u32, chunks: *mut Chunks) -> i64 {
    // SAFETY: the context given to bpf_loop below, with pointers that were checked for null; the index is masked.
    unsafe {
        let (walk, memo) = ((*chunks).walk, (*chunks).memo);
        let word = |at: u8| (*walk).window[at as usize & (WINDOW - 1)];
        let difference = (*memo).difference(chunk as usize, word);
        (*chunks).difference = difference;
        if difference == 0 { 0 } else { 1 }
    }
}

/// The row of a stack that was walked before; `None` if it is not known. The window is then filled as for that walk.
///
/// # Safety
///
/// `walk` must be the scratch area of the current thread, with no window.
#[inline(always)]
pub unsafe fn recall(walk: *mut Walk, start: &Start) -> Option<u32> {
    let memo = MEMOS.get_ptr_mut(start.index(MEMO_BITS))?;
    // SAFETY: a map element that was checked for null. Another CPU may write it meanwhile: then its version changes.
    unsafe {
        let version = read_volatile(&raw const (*memo).version);
        order::after_read();
        if version & 1 != 0 || read_volatile(&raw const (*memo).start) != *start {
            return None;
        }
        let (base, len, count) = ((*memo).base, (*memo).len, (*memo).count);
        if fill_window(walk, base.wrapping_add(8)) == 0 || (*walk).window_len != len as u64 {
            return None;
        }
        let mut chunks = Chunks {
            walk,
            memo,
            difference: 1,
        };
        bpf_loop(
            count / CHUNK as u32,
            compare as *mut c_void,
            (&raw mut chunks).cast(),
            0,
        );
        let row = read_volatile(&raw const (*memo).row);
        order::after_read();
        let is_whole = read_volatile(&raw const (*memo).version) == version;
        (chunks.difference == 0 && is_whole).then_some(row)
    }
}

/// Remembers the walk that was done, if it read few words of one part of the stack and came to the stack's end.
///
/// # Safety
///
/// As for [`recall`], after the walk.
#[inline(always)]
pub unsafe fn remember(walk: *mut Walk, start: &Start, row: u32) {
    // SAFETY: as the caller promises.
    let (count, is_simple) = unsafe {
        order::after_read();
        let is_whole = (*walk).end == End::Complete as u32;
        ((*walk).read_count, is_whole && (*walk).fills == 1)
    };
    if !is_simple || count == 0 || count > WORDS as u32 {
        return;
    }
    let Some(memo) = MEMOS.get_ptr_mut(start.index(MEMO_BITS)) else {
        return;
    };
    // SAFETY: a map element that was checked for null, which nobody else writes while its version is odd; the first
    // word was read, since some were.
    unsafe {
        let version = read_volatile(&raw const (*memo).version);
        if version & 1 != 0
            || !replace_if(&raw mut (*memo).version, version, version.wrapping_add(1))
        {
            return;
        }
        (*memo).row = row;
        (*memo).start = *start;
        (*memo).base = (*walk).window_base;
        (*memo).len = (*walk).window_len as u32;
        // What is left of the last chunk repeats the first word.
        let reads = &mut (*walk).reads;
        let (at, word) = (reads.at[0], reads.words[0]);
        let mut end = count;
        let mut turn = 1;
        while turn < CHUNK && !end.is_multiple_of(CHUNK as u32) {
            reads.note(end, at, word);
            end += 1;
            turn += 1;
        }
        (*memo).count = end;
        // A copy of the kernel's memory by a helper, as the compiler would make a loop of it.
        bpf_probe_read_kernel(
            (&raw mut (*memo).reads).cast(),
            size_of::<Reads>() as u32,
            (&raw const (*walk).reads).cast(),
        );
        order::before_write();
        write_volatile(&raw mut (*memo).version, version.wrapping_add(2));
    }
}
