//! Keeps the probe programs on the stack of the thread that runs them.
//!
//! From 6.13 on the kernel gives a probe program with 64 bytes or more of locals one *private stack* per CPU, because
//! it takes such programs for ones that are not entered twice on a CPU (`bpf_enable_priv_stack`,
//! kernel/bpf/verifier.c). Programs of uprobes are not protected against that: on a kernel that preempts (PREEMPT,
//! PREEMPT_LAZY), another thread may run the same program in the middle of the first run, writes over its locals, and
//! the first one then follows pointers that are none: the kernel crashes. A program that contains a tail call gets no
//! private stack.

use core::ptr::{null_mut, read_volatile};

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_tail_call;

/// Always 0. The verifier knows that, since the object's constants are frozen; the compiler must not.
#[unsafe(no_mangle)]
static NEVER: u32 = 0;

/// To be called by each program of a uprobe. It costs nothing: the kernel looks for tail calls before it verifies, and
/// removes this one, which cannot be reached, afterwards.
#[inline(always)]
pub fn keep(ctx: &impl EbpfContext) {
    // SAFETY: NEVER is a live static, a plain integer.
    if unsafe { read_volatile(&raw const NEVER) } != 0 {
        // SAFETY: never executed; the verifier would refuse the missing table of programs if it were.
        unsafe { bpf_tail_call(ctx.as_ptr(), null_mut(), 0) };
    }
}
