//! The per-CPU allocator.

use aya_ebpf::programs::RawTracePointContext;
use tracer_common::kernel_memory::{Kind, What};

use super::account;
use super::guard::is_enabled;

/// Arguments: call site, reserved, atomic, size, alignment, base, offset, address, bytes on all CPUs together.
#[inline(always)]
pub fn alloc(ctx: &RawTracePointContext, room: u32) {
    let (address, bytes): (u64, u64) = (ctx.arg(7), ctx.arg(8));
    account::allocated(ctx, room, Kind::PerCpu, address, bytes, What::PERCPU);
}

/// Memory is being released.
#[inline(always)]
pub fn free(address: u64) {
    if address != 0 && is_enabled() {
        account::released(Kind::PerCpu, address);
    }
}
