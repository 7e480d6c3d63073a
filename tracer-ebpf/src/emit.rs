//! Sending records to user space.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_query};
use tracer_common::event::{CallEvent, LifecycleEvent};
use tracer_common::limits;
use tracer_common::loss::Loss;

use crate::loss;
use crate::maps::{CALLS, LIFECYCLE};

/// Bytes that wait in the ring before user space is woken: it looks every few milliseconds anyway, and a wake-up
/// costs 6 us in the traced program.
const WAKE_AT: u64 = limits::TRACE_RING_BYTES as u64 / 4;
const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_FORCE_WAKEUP: u64 = 2;

/// Sends one call to `memlens trace`.
#[inline(always)]
pub fn call(function: u32, addr: u64, size: u64, old: u64, caller: u64) {
    let id = bpf_get_current_pid_tgid();
    let Some(mut entry) = CALLS.reserve(0) else {
        loss::count(Loss::RingBufferFull);
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
    let ring = (&raw const CALLS).cast_mut().cast();
    // SAFETY: the map is a live static; 0 asks for the bytes that wait.
    let waiting = unsafe { bpf_ringbuf_query(ring, 0) };
    entry.submit(if waiting > WAKE_AT {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    });
}

/// Sends one process event; it wakes user space at once.
#[inline(always)]
pub fn lifecycle(event: LifecycleEvent) {
    match LIFECYCLE.reserve(0) {
        Some(mut entry) => {
            entry.write(event);
            entry.submit(BPF_RB_FORCE_WAKEUP);
        }
        None => loss::count(Loss::LifecycleFull),
    }
}
