//! Drawing samples, of blocks by their bytes or of anything else.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use tracer_common::sampling;

/// Draws the distance to the next sample point, in bytes or whatever the interval is of. Checked by the verifier once,
/// whatever it is called with.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn draw_distance(interval: u64) -> u64 {
    // SAFETY: a helper without arguments.
    let uniform = unsafe { bpf_get_prandom_u32() };
    sampling::next_distance(uniform, interval)
}

/// Whether a sample point falls into a block of this size. `budget` is the distance to the next point, or 0 before the
/// first.
#[inline(always)]
pub fn is_sampled(budget: &mut u64, size: u64, interval: u64) -> bool {
    let mut left = *budget;
    if left == 0 {
        left = draw_distance(interval);
    }
    let sampled = left <= size;
    *budget = if sampled {
        draw_distance(interval)
    } else {
        left - size
    };
    sampled
}
