//! Which blocks of processes are in the sample, and what they stand for.

use core::ptr::read_volatile;

use tracer_common::config::Process;
use tracer_common::key::LiveBlock;
use tracer_common::sampling;

use crate::config::config;
use crate::records::Thread;
use crate::sampler;

/// What a block stands for, in bytes and blocks.
#[inline(always)]
pub fn weight(block: &LiveBlock) -> (u64, u64) {
    let base = config!(sample_bytes);
    if config!(adaptive) == 0 {
        sampling::weight(block.size, base)
    } else {
        block.weight(base)
    }
}

/// The sampling interval of a process, in bytes, and its step.
#[inline(always)]
pub fn interval(process: *mut Process) -> (u64, u32) {
    let base = config!(sample_bytes);
    if config!(adaptive) == 0 {
        return (base, 0);
    }
    // SAFETY: checked for null by the caller; volatile because user space changes it.
    let step = unsafe { read_volatile(&raw const (*process).step) };
    (sampling::interval(base, step), step)
}

/// Whether a sample point falls into a block of this size.
#[inline(always)]
pub fn is_sampled(thread: *mut Thread, size: u64, interval: u64, step: u32) -> bool {
    if interval == 0 {
        return true;
    }
    // SAFETY: only this thread writes its state, which was checked for null.
    let thread = unsafe { &mut *thread };
    // A distance has no memory, so drawing it anew when the interval changes favors no block.
    if config!(adaptive) != 0 && thread.budget_step != step {
        thread.budget = 0;
        thread.budget_step = step;
    }
    sampler::is_sampled(&mut thread.budget, size, interval)
}
