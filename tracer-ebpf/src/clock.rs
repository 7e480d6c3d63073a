//! A clock that is read for each block.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};
use aya_ebpf::macros::btf_map;

use crate::config::config;

/// What is to be added to the ticks since boot to have `CLOCK_MONOTONIC`, in nanoseconds; one element. Written by the
/// programs once, when the first block comes; several that do so at one time differ by less than a tick.
#[btf_map]
static CLOCK: Array<u64, 1> = Array::new();

/// `CLOCK_MONOTONIC` in nanoseconds, to the tick: late by less than two of them, and never early. The kernel counts
/// ticks by that clock (kernel/time/tick-sched.c, tick_do_update_jiffies64). To read the hardware's clock costs sixty
/// nanoseconds or more, this three.
#[inline(always)]
pub fn tick_ns() -> u64 {
    let tick = config!(tick_ns);
    // SAFETY: a helper without arguments, which the verifier replaces by a load.
    let ticks = unsafe { bpf_jiffies64() }.wrapping_mul(tick);
    let Some(offset) = CLOCK.get_ptr_mut(0) else {
        return ticks;
    };
    // SAFETY: an aligned u64 of an element that was checked for null; a helper without arguments.
    unsafe {
        if read_volatile(offset) == 0 {
            write_volatile(
                offset,
                bpf_ktime_get_ns().wrapping_sub(ticks).wrapping_add(tick),
            );
        }
        ticks.wrapping_add(read_volatile(offset))
    }
}
