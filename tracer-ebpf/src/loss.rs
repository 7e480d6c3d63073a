//! Counting what was lost.

use crate::Loss;
use crate::maps::LOSSES;
use crate::memory::atomic_add;

/// Counts one loss.
#[inline(always)]
pub fn count(loss: Loss) {
    add(loss, 1);
}

/// Adds to a loss counter. Atomic although the counter is this CPU's: a program may be preempted by another
/// thread's on the same CPU, or interrupted.
#[inline(always)]
pub fn add(loss: Loss, amount: u64) {
    if let Some(counter) = LOSSES.get_ptr_mut(loss as u32) {
        // SAFETY: the verifier has seen the null check; the element is an aligned u64.
        unsafe { atomic_add(counter, amount) };
    }
}
