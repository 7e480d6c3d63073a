//! Counting what was lost.

use tracer_common::kernel_memory::KernelLoss;

use super::maps::LOSSES;
use crate::memory::atomic_add;

/// Counts one loss.
#[inline(always)]
pub fn count(loss: KernelLoss) {
    add(loss, 1);
}

/// Adds to a loss counter. Atomic although the counter is this CPU's: an interrupt may come in between.
#[inline(always)]
pub fn add(loss: KernelLoss, amount: u64) {
    if let Some(counter) = LOSSES.get_ptr_mut(loss as u32) {
        // SAFETY: the verifier has seen the null check; the element is an aligned u64.
        unsafe { atomic_add(counter, amount) };
    }
}
