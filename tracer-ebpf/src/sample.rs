//! Drawing samples and weighing them. The arithmetic stands in functions of its own, which the verifier checks once,
//! whatever they are called with.

use core::ptr::read_volatile;

use aya_ebpf::helpers::bpf_get_prandom_u32;
use tracer_common::config::Process;
use tracer_common::key::LiveBlock;
use tracer_common::sampling;

use crate::config::config;
use crate::thread::Thread;

/// Draws the distance to the next sample point, in bytes or whatever the interval is of.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn draw_distance(interval: u64) -> u64 {
    // SAFETY: a helper without arguments.
    let uniform = unsafe { bpf_get_prandom_u32() };
    sampling::next_distance(uniform, interval)
}

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
    // SAFETY: only this thread writes its state.
    unsafe {
        let mut budget = (*thread).budget;
        // A distance has no memory, so drawing it anew when the interval changes favours no block.
        if budget == 0 || (config!(adaptive) != 0 && (*thread).budget_step != step) {
            budget = draw_distance(interval);
            (*thread).budget_step = step;
        }
        let sampled = budget <= size;
        (*thread).budget = if sampled {
            draw_distance(interval)
        } else {
            budget - size
        };
        sampled
    }
}
