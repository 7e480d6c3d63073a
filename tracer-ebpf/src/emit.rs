//! Sending records to user space.

use aya_ebpf::bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_query};
use tracer_common::event::{CallEvent, LifecycleEvent};
use tracer_common::limits;
use tracer_common::loss::Loss;

use crate::diagnose::lost;
use crate::maps::{CALLS, LIFECYCLE, LIVE_PRESSURE, SPACE};

/// One record of an address space in so many looks how much waits: a prime, so that steps of the clock do not matter.
const LOOK_EVERY: u64 = 61;

/// Wakes user space only where a quarter of a ring waits: it looks every few milliseconds anyway, and a wake-up costs
/// 6 us in the traced program.
#[inline(always)]
fn wake_if_filled<R>(ring: &'static R, ring_bytes: u32) -> u64 {
    let ring = (&raw const *ring).cast_mut().cast();
    // SAFETY: the map is a live static; 0 asks for the bytes that wait.
    let waiting = unsafe { bpf_ringbuf_query(ring, 0) };
    u64::from(if waiting > u64::from(ring_bytes) / 4 {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    })
}

/// Wakes the thread that makes the table of live blocks larger.
#[inline(always)]
pub fn pressure() {
    if let Some(mut entry) = LIVE_PRESSURE.reserve(0) {
        entry.write(0);
        entry.submit(u64::from(BPF_RB_FORCE_WAKEUP));
    }
}

/// Sends one call to `memlens trace`.
#[inline(always)]
pub fn call(function: u32, addr: u64, size: u64, old: u64, caller: u64) {
    let id = bpf_get_current_pid_tgid();
    let Some(mut entry) = CALLS.reserve(0) else {
        lost(Loss::RingBufferFull);
        return;
    };
    entry.write(CallEvent {
        // SAFETY: a helper without arguments.
        time_ns: unsafe { bpf_ktime_get_ns() },
        addr,
        size,
        old,
        caller,
        tgid: (id >> 32) as u32,
        tid: id as u32,
        function,
        reserved: 0,
    });
    entry.submit(wake_if_filled(&CALLS, limits::TRACE_RING_BYTES));
}

/// Sends one process event; it wakes user space at once.
#[inline(always)]
pub fn lifecycle(event: LifecycleEvent) {
    match LIFECYCLE.reserve(0) {
        Some(mut entry) => {
            entry.write(event);
            entry.submit(u64::from(BPF_RB_FORCE_WAKEUP));
        }
        None => lost(Loss::LifecycleFull),
    }
}

/// Sends a record of an address space, of this time; where there is no room for it, the loss is counted.
#[inline(always)]
pub fn space<T: 'static>(event: T, time_ns: u64, loss: Loss) {
    let Some(mut entry) = SPACE.reserve_untyped(0) else {
        lost(loss);
        return;
    };
    entry.write(event);
    // A clock that ticks in coarse steps has all of them look at some time.
    entry.submit(if time_ns.is_multiple_of(LOOK_EVERY) {
        wake_if_filled(&SPACE, limits::SPACE_RING_BYTES)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    });
}
