//! Reading user and kernel memory, and atomic additions.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};

/// Adds to a counter that other CPUs add to as well.
///
/// # Safety
///
/// `counter` must point into a map element, aligned.
#[inline(always)]
pub unsafe fn atomic_add(counter: *mut u64, amount: u64) {
    // SAFETY: as the caller promises.
    unsafe {
        core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(
            counter, amount,
        );
    }
}

/// As [`atomic_add`], to a 32-bit counter.
///
/// # Safety
///
/// As for [`atomic_add`].
#[inline(always)]
pub unsafe fn atomic_add_u32(counter: *mut u32, amount: u32) {
    // SAFETY: as the caller promises.
    unsafe {
        core::intrinsics::atomic_xadd::<u32, u32, { core::intrinsics::AtomicOrdering::Relaxed }>(
            counter, amount,
        );
    }
}

/// Adds to a 32-bit counter and returns its value before.
///
/// # Safety
///
/// As for [`atomic_add`].
#[inline(always)]
pub unsafe fn fetch_add(counter: *mut u32, amount: u32) -> u32 {
    // SAFETY: as the caller promises.
    unsafe {
        core::intrinsics::atomic_xadd::<u32, u32, { core::intrinsics::AtomicOrdering::SeqCst }>(
            counter, amount,
        )
    }
}

/// Replaces a 32-bit value if it is still the expected one; whether it was.
///
/// # Safety
///
/// As for [`atomic_add`].
#[inline(always)]
pub unsafe fn replace_if(place: *mut u32, expected: u32, new: u32) -> bool {
    use core::intrinsics::AtomicOrdering::SeqCst;
    // SAFETY: as the caller promises.
    unsafe { core::intrinsics::atomic_cxchg::<u32, { SeqCst }, { SeqCst }>(place, expected, new).1 }
}

/// Replaces a word if it is still the expected one; whether it was.
///
/// # Safety
///
/// As for [`atomic_add`].
#[inline(always)]
pub unsafe fn replace_word_if(place: *mut u64, expected: u64, new: u64) -> bool {
    use core::intrinsics::AtomicOrdering::SeqCst;
    // SAFETY: as the caller promises.
    unsafe { core::intrinsics::atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(place, expected, new).1 }
}

/// Reads a word of the traced thread's memory.
#[inline(always)]
pub fn read_user(addr: u64) -> Option<u64> {
    let mut value = 0u64;
    // SAFETY: the destination is 8 bytes on our stack; the helper checks the source.
    let status =
        unsafe { bpf_probe_read_user((&raw mut value).cast::<c_void>(), 8, addr as *const c_void) };
    (status == 0).then_some(value)
}

/// Reads a 64-bit field of a kernel structure; 0 if it cannot be read.
#[inline(always)]
pub fn read_kernel_u64(addr: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: as in `read_user`.
    unsafe { bpf_probe_read_kernel((&raw mut value).cast::<c_void>(), 8, addr as *const c_void) };
    value
}

/// Reads a 32-bit field of a kernel structure; 0 if it cannot be read.
#[inline(always)]
pub fn read_kernel_u32(addr: u64) -> u32 {
    let mut value = 0u32;
    // SAFETY: the destination is 4 bytes on our stack; the helper checks the source.
    unsafe { bpf_probe_read_kernel((&raw mut value).cast::<c_void>(), 4, addr as *const c_void) };
    value
}
