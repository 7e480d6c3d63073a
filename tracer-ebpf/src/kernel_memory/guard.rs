//! Who does the work when an interrupt comes upon a program that is running on the same CPU.
//!
//! The kernel runs no program inside of itself: an interrupt that releases memory while the release program runs would go
//! unseen. So two programs sit on each tracepoint. The first says on this CPU that it is running, and does the work. The second
//! runs behind it: if the first is still said to be running, this is such an interrupt, the kernel has passed the first over, and the second
//! does its work. What is passed over in both, in an interrupt of such an interrupt, the kernel counts itself.

use core::ptr::{read_volatile, write_volatile};

use tracer_common::kernel_memory::{KernelGuard, PROGRAMS, Program};

use super::maps::{GUARDS, KERNEL_STATE};
use crate::memory::atomic_add;

/// The record, as both sides know it.
pub type Guard = KernelGuard;

/// Does the work of a program. `work` gets the number of its room.
#[inline(always)]
pub fn first(program: Program, work: impl FnOnce(u32)) -> i32 {
    let Some(guard) = GUARDS.get_ptr_mut(program as u32) else {
        return 0;
    };
    // SAFETY: an element that was checked for null. Volatile, so that the work stays between the two stores.
    unsafe { write_volatile(&raw mut (*guard).running, 1) };
    if is_enabled() {
        work(program as u32);
    }
    // SAFETY: as above.
    unsafe { write_volatile(&raw mut (*guard).running, 0) };
    0
}

/// Does the work of a program that was passed over.
#[inline(always)]
pub fn second(program: Program, work: impl FnOnce(u32)) -> i32 {
    let Some(guard) = GUARDS.get_ptr_mut(program as u32) else {
        return 0;
    };
    // SAFETY: an element that was checked for null.
    if unsafe { read_volatile(&raw const (*guard).running) } == 0 {
        return 0;
    }
    // SAFETY: as above; atomic, since an interrupt may come in between.
    unsafe { atomic_add(&raw mut (*guard).taken_over, 1) };
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
