//! Allocations, from the entry of the outermost call to its return.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::generated::{bpf_get_attach_cookie, bpf_get_func_ip};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use tracer_common::call::{Arg, Call, Cookie};
use tracer_common::config::Process;
use tracer_common::diagnostic::DiagnosticKind;
use tracer_common::key::{AllocKey, LiveBlock};
use tracer_common::loss::Loss;
use tracer_common::pairing::{Nesting, Pending};
use tracer_common::stack::Registers;

use crate::account;
use crate::arch;
use crate::clock;
use crate::config::config;
use crate::diagnose::{lost, say};
use crate::emit;
use crate::loss;
use crate::maps::PROBE_RUNTIME;
use crate::memory::read_user;
use crate::records::Thread;
use crate::runtime;
use crate::sample;
use crate::stack;
use crate::thread;

/// The cookie of the probe that was hit.
#[inline(always)]
pub fn cookie(ctx: &impl EbpfContext) -> Cookie {
    // SAFETY: the context is the one that the kernel gave.
    Cookie::unpack(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) })
}

/// The value of an integer argument; 0 for none.
///
/// # Safety
///
/// `regs` must be the context of the running program.
#[inline(always)]
pub unsafe fn argument(regs: *const pt_regs, arg: Option<Arg>) -> u64 {
    // Volatile, and all of them: the compiler would otherwise compute the register's offset, and the verifier allows
    // constant offsets into the context only.
    // SAFETY: fields of the context, as the caller promises.
    let (first, second, third, fourth) = unsafe { arch::call_arguments(regs) };
    match arg {
        Some(Arg::First) => first,
        Some(Arg::Second) => second,
        Some(Arg::Third) => third,
        Some(Arg::Fourth) => fourth,
        None => 0,
    }
}

/// Bytes asked for; `None` if the product overflows, which every allocator refuses.
#[inline(always)]
fn requested(regs: *const pt_regs, call: &Call) -> Option<u64> {
    // SAFETY: the registers of the running program.
    let size = unsafe { argument(regs, call.size) };
    if call.count.is_none() {
        return Some(size);
    }
    // SAFETY: as above.
    let count = unsafe { argument(regs, call.count) };
    // Blocks are below 2^47 bytes, so a product of 2^48 and more fails; a 128-bit multiplication is not to be had.
    let (small, large) = if size < count {
        (size, count)
    } else {
        (count, size)
    };
    let fits = large >> 32 == 0 || small == 0 || (small >> 16 == 0 && large >> 48 == 0);
    fits.then(|| small * large)
}

/// Whether a block of this size is to be tracked: filters, then the sample.
#[inline(always)]
fn wanted(thread: *mut Thread, size: u64, interval: u64, step: u32) -> bool {
    size >= config!(min_size)
        && size <= config!(max_size)
        && sample::is_sampled(thread, size, interval, step)
}

/// Clears the way for a new outermost call; `false` if the new call happens inside the open one.
///
/// A call that was left without a return gives back the block that it had taken out of the live map: the
/// block may still be there, and a leak tracer must not forget it.
#[inline(always)]
fn begin(thread: *mut Thread, process: *mut Process, regs: *const pt_regs) -> bool {
    // SAFETY: the registers of the running program.
    let ip = unsafe { arch::instruction_pointer(regs) };
    // SAFETY: only this thread writes its state; both pointers were checked for null.
    let open = unsafe { &mut (*thread).pending };
    // SAFETY: as above.
    match unsafe { arch::nesting(open, regs, process) } {
        Nesting::Outermost => true,
        Nesting::Inner => {
            say(DiagnosticKind::NestedCall, ip, 0);
            false
        }
        Nesting::Stale => {
            lost(Loss::MissedReturns);
            if open.has(Pending::HAS_OLD) {
                // SAFETY: as above.
                let key = AllocKey {
                    addr: open.old_addr,
                    owner: unsafe { (*process).owner },
                };
                account::put_back(&key, &open.old);
            }
            open.sp = 0;
            true
        }
    }
}

/// Notes the call, so that its return can be told.
#[inline(always)]
fn open(
    thread: *mut Thread,
    process: *mut Process,
    regs: *const pt_regs,
    cookie: &Cookie,
    size: u64,
) {
    let (interval, step) = sample::interval(process);
    let mut flags = step << Pending::STEP_SHIFT;
    if cookie.call.frees_on_failure {
        flags |= Pending::FREES_ON_FAILURE;
    }
    if wanted(thread, size, interval, step) {
        flags |= Pending::RECORD;
    } else {
        say(DiagnosticKind::UnwantedBlock, size, 0);
    }
    // SAFETY: only this thread writes its state; the registers are the running program's.
    unsafe {
        let pending = &mut (*thread).pending;
        pending.ret = if cookie.ret_sites {
            arch::return_address(regs)
        } else {
            0
        };
        pending.size = size;
        pending.out = argument(regs, cookie.call.out);
        pending.old_addr = 0;
        pending.function = cookie.function;
        pending.flags = flags;
        pending.sp = arch::stack_pointer(regs);
    }
}

/// Says that a call is not followed, once the trace has begun.
#[inline(always)]
pub fn say_untraced(regs: *const pt_regs) {
    if config!(diagnostics) != 0 && thread::is_enabled() {
        // SAFETY: the registers of the running program.
        let ip = unsafe { arch::instruction_pointer(regs) };
        say(DiagnosticKind::UntracedProcess, ip, 0);
    }
}

/// A function that returns a new block was entered; whether its return must be seen.
#[inline(always)]
pub fn enter(ctx: &ProbeContext) -> bool {
    let Some((thread, process)) = thread::current() else {
        say_untraced(ctx.regs);
        return false;
    };
    let cookie = cookie(ctx);
    let Some(size) = requested(ctx.regs, &cookie.call) else {
        return false;
    };
    if !begin(thread, process, ctx.regs) {
        return false;
    }
    open(thread, process, ctx.regs, &cookie, size);
    // SAFETY: only this thread writes its state, which was checked for null.
    let pending = unsafe { &mut (*thread).pending };
    if cookie.leaf && !pending.has(Pending::RECORD) {
        pending.sp = 0;
        return false;
    }
    true
}

/// Whether the program runs at the instruction that is probed, not at a return: a session's program runs at both.
#[inline(always)]
pub fn is_entry(ctx: &ProbeContext) -> bool {
    // SAFETY: the context that the kernel gave. At an entry the helper tells the instruction pointer, at a return what
    // that was at the entry (kernel/trace/bpf_trace.c, bpf_uprobe_multi_entry_ip).
    unsafe { bpf_get_func_ip(ctx.as_ptr()) == arch::instruction_pointer(ctx.regs) }
}

/// A function that replaces a block was entered. The old block leaves the live map now, since its address
/// may be handed out to another thread before this call returns.
#[inline(always)]
pub fn enter_realloc(ctx: &ProbeContext) {
    let Some((thread, process)) = thread::current() else {
        say_untraced(ctx.regs);
        return;
    };
    let cookie = cookie(ctx);
    let Some(size) = requested(ctx.regs, &cookie.call) else {
        return;
    };
    if !begin(thread, process, ctx.regs) {
        return;
    }
    open(thread, process, ctx.regs, &cookie, size);
    // SAFETY: as above; only this thread writes its state.
    unsafe {
        let old_addr = argument(ctx.regs, cookie.call.old);
        let pending = &mut (*thread).pending;
        pending.old_addr = old_addr;
        if old_addr == 0 || config!(trace) != 0 {
            return;
        }
        match account::take(old_addr, (*process).owner.image) {
            Some(old) => {
                pending.old = old;
                pending.flags |= Pending::HAS_OLD;
            }
            None => pending.old.size = account::room_of_unknown(old_addr, cookie.has_headers),
        }
    }
}

/// A call that may be ending.
struct Ending {
    /// The function that ends, by the probe's cookie.
    function: u32,
    /// The stack pointer at its entry.
    slot: u64,
    /// What it returns.
    result: u64,
    /// The caller's registers after the return.
    caller: Registers,
}

/// A call returned through the kernel's trampoline: the return address has been popped.
#[inline(always)]
pub fn leave_by_trampoline(ctx: &RetProbeContext) {
    let Some(thread) = thread::existing() else {
        return;
    };
    let regs = ctx.regs;
    // SAFETY: the registers of the running program.
    let (caller, result) = unsafe { (arch::registers(regs), arch::result(regs)) };
    let ending = Ending {
        function: cookie(ctx).function,
        slot: caller.sp.wrapping_sub(arch::RETURN_ADDRESS_BYTES),
        result,
        caller,
    };
    leave(ctx, thread, &ending);
}

/// A call is about to return: the return address is still on the stack.
#[inline(always)]
pub fn leave_by_ret(ctx: &ProbeContext) {
    let Some(thread) = thread::existing() else {
        return;
    };
    let regs = ctx.regs;
    // SAFETY: the registers of the running program, and the state of its thread, which was checked for null.
    let (slot, result, ip, function) = unsafe {
        let pending = &(*thread).pending;
        (
            arch::stack_pointer(regs),
            arch::result(regs),
            pending.ret,
            pending.function,
        )
    };
    // A `ret` may serve several functions, by tail calls: the stack pointer alone tells the call. One whose return is
    // seen by the trampoline is left to that.
    if ip != 0 {
        // SAFETY: as above.
        let caller = unsafe { arch::behind_ret(regs, ip) };
        leave(
            ctx,
            thread,
            &Ending {
                function,
                slot,
                result,
                caller,
            },
        );
    }
}

/// Closes the open call if it is this one, and accounts for what it did.
#[inline(always)]
fn leave(ctx: &impl EbpfContext, thread: *mut Thread, ending: &Ending) {
    let Some(process) = thread::process_of(thread) else {
        return;
    };
    thread::count_hit(thread, process);
    // SAFETY: only this thread writes its state; both pointers were checked for null.
    let (pending, owner) = unsafe { (&mut (*thread).pending, (*process).owner) };
    let Ending {
        function, caller, ..
    } = *ending;
    if !pending.ends_at(ending.slot, function) {
        return;
    }
    pending.sp = 0;
    let addr = result(pending, ending.result);
    if config!(trace) != 0 {
        if pending.has(Pending::RECORD) {
            emit::call(function, addr, pending.size, pending.old_addr, caller.ip);
        }
        return;
    }
    if pending.old_addr != 0 {
        // SAFETY: as above.
        let slot = unsafe { (*thread).slot.wrapping_sub(1) };
        release_old(
            pending,
            &AllocKey {
                addr: pending.old_addr,
                owner,
            },
            slot,
            addr == 0,
        );
    }
    if addr == 0 || !pending.has(Pending::RECORD) {
        return;
    }
    // SAFETY: as above; user space has put the program there, which takes the same context.
    unsafe {
        let slot = (*thread).slot.wrapping_sub(1);
        (*thread).result = addr;
        let row = stack::capture(&raw mut (*thread).walk, caller, process, slot);
        write_volatile(&raw mut (*thread).row, row);
        if row == stack::IN_RUNTIME {
            PROBE_RUNTIME.tail_call(ctx, runtime::WALK);
            loss::count(Loss::NotContinued);
            return;
        }
        insert(thread, process);
    }
}

/// An allocation whose stack goes on in a language runtime.
#[inline(always)]
pub fn walk_runtime(ctx: &ProbeContext) {
    let Some((thread, process)) = thread::resumed() else {
        return;
    };
    // SAFETY: both were checked for null. User space has put the program there.
    unsafe {
        runtime::find_row(thread, process);
        PROBE_RUNTIME.tail_call(ctx, runtime::ACCOUNT);
    }
}

/// An allocation whose stack is known by now.
#[inline(always)]
pub fn account_in_runtime(ctx: &ProbeContext) {
    let Some((thread, process)) = thread::resumed() else {
        return;
    };
    // SAFETY: both were checked for null. User space has put the program there.
    unsafe {
        insert(thread, process);
        if (*thread).is_new != 0 {
            PROBE_RUNTIME.tail_call(ctx, runtime::NAMES);
        }
    }
}

/// Accounts for the block that the thread's call has returned, on the row of its stack.
///
/// # Safety
///
/// Both must have been checked for null.
#[inline(always)]
unsafe fn insert(thread: *mut Thread, process: *mut Process) {
    // SAFETY: as the caller promises; only this thread writes its state. Volatile, so that the verifier does not follow
    // each row by itself.
    let (pending, addr, row, owner) = unsafe {
        (
            &(*thread).pending,
            (*thread).result,
            read_volatile(&raw const (*thread).row),
            (*process).owner,
        )
    };
    account::insert(
        &AllocKey { addr, owner },
        &LiveBlock {
            size: pending.size,
            time_ns: clock::tick_ns(),
            stack: row,
            function: LiveBlock::function_and_step(pending.function, pending.step()),
        },
    );
}

/// Address of the new block; 0 if the call failed.
#[inline(always)]
fn result(pending: &Pending, returned: u64) -> u64 {
    if pending.out == 0 {
        return returned;
    }
    if returned as u32 != 0 {
        return 0; // an error number, as an int
    }
    match read_user(pending.out) {
        Some(addr) => addr,
        None => {
            lost(Loss::UnreadableResult);
            0
        }
    }
}

/// Settles the block that a `realloc` was given: released, or put back where the call failed.
///
/// A failed call with size 0 has released it: glibc, jemalloc with `zero_realloc:free` and tcmalloc return NULL then,
/// and the others return a block.
#[inline(always)]
fn release_old(pending: &Pending, key: &AllocKey, slot: u32, failed: bool) {
    let kept = failed && pending.size != 0 && !pending.has(Pending::FREES_ON_FAILURE);
    if !pending.has(Pending::HAS_OLD) {
        if !kept {
            account::count_unknown_free(slot, pending.old.size);
        }
    } else if kept {
        account::put_back(key, &pending.old);
    } else {
        account::count_free(&pending.old);
    }
}
