//! The order in which other CPUs see the reads and writes of one.
//!
//! CPUs of x86-64 read and write words in the order of the program as others see it, except that a write may come after
//! a later read (Intel SDM volume 3, section 10.2.2): nothing has to be done. Those of aarch64 keep no order by
//! themselves, and BPF has had loads and stores that do since Linux 6.15 only. An atomic exchange orders all that comes
//! before it with all that comes after (Arm Architecture Reference Manual, B2.3: an atomic with acquire and release
//! semantics; arch/arm64/net/bpf_jit_comp.c). It goes to the program's own stack, which no other CPU reads.

/// Keeps the reads before this ahead of all that follows.
#[inline(always)]
pub fn after_read() {
    barrier();
}

/// Keeps all that comes before this ahead of the writes that follow.
#[inline(always)]
pub fn before_write() {
    barrier();
}

#[cfg(not(feature = "aarch64"))]
#[inline(always)]
fn barrier() {}

#[cfg(feature = "aarch64")]
#[inline(always)]
fn barrier() {
    use core::intrinsics::AtomicOrdering::SeqCst;
    let mut own = 0u64;
    // SAFETY: an aligned word on our stack. It succeeds, since the word is 0; one that fails would only acquire.
    unsafe {
        core::intrinsics::atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(&raw mut own, 0, 0);
    }
}
