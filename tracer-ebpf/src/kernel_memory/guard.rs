//! Who does the work when an interrupt comes upon a program that is running on the same CPU.
//!
//! The kernel runs no program inside of itself: an interrupt that releases memory while the release program runs would
//! go unseen. So two programs sit on each tracepoint. The first does the work, and then notes of which block. The
//! second runs behind it: if the block that it is called for was not noted, the kernel has passed the first one over,
//! and the second does its work. What is passed over in both, in an interrupt of such an interrupt, the kernel counts
//! itself.

use core::ptr::{read_volatile, write_volatile};

use tracer_common::kernel_memory::{PROGRAMS, Program};

use super::maps::{GUARDS, KERNEL_STATE};
use crate::memory::atomic_add;

/// Does the work of a program that was called for a block. `work` gets the number of its room.
#[inline(always)]
pub fn first(program: Program, block: u64, work: impl FnOnce(u32)) -> i32 {
    if is_enabled() {
        work(program as u32);
    }
    let Some(guard) = GUARDS.get_ptr_mut(program as u32) else {
        return 0;
    };
    // SAFETY: an element that was checked for null. The one before stays: an interrupt may come before the second
    // program of this block, and its own first program notes another.
    unsafe {
        write_volatile(
            &raw mut (*guard).previous,
            read_volatile(&raw const (*guard).done),
        );
        write_volatile(&raw mut (*guard).done, block);
    }
    0
}

/// Does the work of a program if that was passed over.
#[inline(always)]
pub fn second(program: Program, block: u64, work: impl FnOnce(u32)) -> i32 {
    let Some(guard) = GUARDS.get_ptr_mut(program as u32) else {
        return 0;
    };
    // SAFETY: an element that was checked for null.
    unsafe {
        let previous = read_volatile(&raw const (*guard).previous);
        if read_volatile(&raw const (*guard).done) == block {
            write_volatile(&raw mut (*guard).done, previous);
            write_volatile(&raw mut (*guard).previous, 0);
            return 0;
        }
        if previous == block {
            // An interrupt came before this line: its first program noted another block, and its second one was passed
            // over.
            write_volatile(&raw mut (*guard).previous, 0);
            write_volatile(&raw mut (*guard).done, 0);
            return 0;
        }
        // Atomic, since an interrupt may come in between.
        atomic_add(&raw mut (*guard).taken_over, 1);
    }
    if is_enabled() {
        work(program as u32 + PROGRAMS);
    }
    0
}

/// Whether the trace counts.
#[inline(always)]
pub fn is_enabled() -> bool {
    let Some(state) = KERNEL_STATE.get_ptr(0) else {
        return false;
    };
    // SAFETY: an element that was checked for null; user space writes it.
    unsafe { read_volatile(&raw const (*state).enabled) != 0 }
}
