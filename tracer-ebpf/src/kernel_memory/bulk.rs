//! Objects that are released many at once, or later, which the kernel tells by no tracepoint.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use tracer_common::kernel_memory::{KernelLoss, MAX_BULK};

use super::guard::is_enabled;
use super::slab;
use crate::loss;
use crate::memory::read_kernel_u64;

#[repr(C)]
struct Objects {
    at: u64,
}

/// One object a turn.
unsafe extern "C" fn free_one(turn: u32, objects: *mut Objects) -> i64 {
    // SAFETY: the context given to bpf_loop below.
    let at = unsafe { (*objects).at };
    slab::free(read_kernel_u64(at.wrapping_add(turn as u64 * 8)));
    0
}

/// `count` objects, whose addresses lie at `at`, are about to be released.
#[inline(always)]
pub fn free(count: u64, at: u64) {
    if !is_enabled() {
        return;
    }
    if count > MAX_BULK as u64 {
        loss::add(KernelLoss::BulkTooLong, count - MAX_BULK as u64);
    }
    let turns = if count > MAX_BULK as u64 {
        MAX_BULK
    } else {
        count as u32
    };
    let mut objects = Objects { at };
    // SAFETY: the callback and its context live as long as the call.
    unsafe {
        bpf_loop(turns, free_one as *mut c_void, (&raw mut objects).cast(), 0);
    }
}

/// An object will be released without another word.
#[inline(always)]
pub fn free_later(address: u64) {
    if is_enabled() {
        slab::free(address);
    }
}
