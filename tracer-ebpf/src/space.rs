//! System calls that change an address space: their arguments, result, file and stack, sent to user space.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::programs::{BtfTracePointContext, RawTracePointContext};
use tracer_common::arch::native;
use tracer_common::config::Process;
use tracer_common::event::CodeArea;
use tracer_common::loss::Loss;
use tracer_common::space::{SpaceCall, SpaceEvent};

use crate::arch;
use crate::config::config;
use crate::emit;
use crate::faults;
use crate::loss;
use crate::maps::SPACE_RUNTIME;
use crate::records::Thread;
use crate::runtime;
use crate::stack;
use crate::thread;
use crate::vma;

/// The call maps something: its stack is wanted.
const STACK: u64 = 1;
/// What it maps may be a file.
const FILE: u64 = 2;
/// It attaches a segment, whose length is wanted.
const SEGMENT: u64 = 4;
/// The call's number stands above these.
const CALL_SHIFT: u64 = 8;

/// A system call begins. Of one that may matter the time is kept: what it takes away may be another thread's as soon
/// as the kernel has taken it, long before the call ends.
#[inline(always)]
pub fn enter(ctx: &RawTracePointContext) {
    if config!(faults) != 0 {
        faults::before_call();
    }
    let number: u64 = ctx.arg(1);
    if native::space_call(number).is_none() {
        return;
    }
    let Some((thread, _)) = thread::current() else {
        return;
    };
    // SAFETY: only this thread writes its state, which was checked for null; a helper without arguments.
    unsafe { (*thread).entered_ns = bpf_ktime_get_ns() };
}

/// A system call ends. Its registers still hold the arguments.
///
/// Every call of every process comes here. Most leave at once, by their number, which costs one load: the kernel has
/// told the verifier what the registers are, so they are read without a helper.
#[inline(always)]
pub fn leave(ctx: &BtfTracePointContext) {
    let regs: *const pt_regs = ctx.arg(0);
    if native::space_call(arch::system_call(regs)).is_none() {
        return;
    }
    let Some(thread) = thread::existing() else {
        return;
    };
    // SAFETY: only this thread writes its state, which was checked for null.
    let entered_ns = unsafe { (*thread).entered_ns };
    if entered_ns == 0 {
        return;
    }
    // SAFETY: as above.
    unsafe { (*thread).entered_ns = 0 };
    let Some(process) = thread::process_of(thread) else {
        return;
    };
    // Read once more: the verifier would follow each kind of call from the first time on.
    let Some(call) = native::space_call(arch::system_call(regs)) else {
        return;
    };
    let args = arch::system_call_arguments(regs);
    let result: u64 = ctx.arg(1);
    if !call.can_matter(&args) || !call.succeeded(&args, result) {
        return;
    }
    let mut wants = (call as u64) << CALL_SHIFT;
    if call.maps(&args) {
        wants |= STACK;
    }
    if call.maps_file(&args) {
        wants |= FILE;
    }
    if matches!(call, SpaceCall::Shmat) {
        wants |= SEGMENT;
    }
    // SAFETY: only this thread writes its state; volatile, so that it goes through memory. A helper without arguments.
    let (wants, slot) = unsafe {
        write_volatile(&raw mut (*thread).space_wants, wants);
        (*thread).result = entered_ns;
        (*thread).left_ns = bpf_ktime_get_ns();
        (
            read_volatile(&raw const (*thread).space_wants),
            (*thread).slot.wrapping_sub(1),
        )
    };
    let mut row = slot;
    if wants & STACK != 0 {
        // SAFETY: the scratch area of the current thread's state, and its process's row; the registers that the
        // tracepoint gave, as the verifier knows.
        row = unsafe { arch::capture_system_call(&raw mut (*thread).walk, regs, process, slot) };
    }
    // SAFETY: only this thread writes its state. User space has put the program there, which takes the same context.
    unsafe {
        write_volatile(&raw mut (*thread).row, row);
        if row == stack::IN_RUNTIME {
            SPACE_RUNTIME.tail_call(ctx, runtime::WALK);
            loss::count(Loss::SpaceRingFull);
            return;
        }
    }
    tell(ctx, thread, process);
}

/// A system call whose stack goes on in a language runtime.
#[inline(always)]
pub fn walk_runtime(ctx: &BtfTracePointContext) {
    let Some((thread, process)) = thread::resumed() else {
        return;
    };
    // SAFETY: both were checked for null. User space has put the program there.
    unsafe {
        runtime::find_row(thread, process);
        SPACE_RUNTIME.tail_call(ctx, runtime::ACCOUNT);
    }
}

/// A system call whose stack is known by now.
#[inline(always)]
pub fn tell_in_runtime(ctx: &BtfTracePointContext) {
    let Some((thread, process)) = thread::resumed() else {
        return;
    };
    // SAFETY: both were checked for null; only this thread writes its state. User space has put the program there.
    unsafe {
        tell(ctx, thread, process);
        if (*thread).is_new != 0 {
            SPACE_RUNTIME.tail_call(ctx, runtime::NAMES);
        }
    }
}

/// Tells of the system call that has ended.
#[inline(always)]
fn tell(ctx: &BtfTracePointContext, thread: *mut Thread, process: *mut Process) {
    let regs: *const pt_regs = ctx.arg(0);
    let mut args = arch::system_call_arguments(regs);
    let result: u64 = ctx.arg(1);
    // SAFETY: only this thread writes its state; both were checked for null.
    let (row, wants, entered_ns, left_ns, owner) = unsafe {
        (
            read_volatile(&raw const (*thread).row),
            read_volatile(&raw const (*thread).space_wants),
            (*thread).result,
            (*thread).left_ns,
            (*process).owner,
        )
    };
    let mut area = CodeArea::default();
    if wants & FILE != 0 {
        area = vma::at(result);
        if wants & SEGMENT != 0 {
            args[2] = area.end.wrapping_sub(area.start);
        }
    }
    let event = SpaceEvent {
        entered_ns,
        left_ns,
        args,
        result,
        inode: area.inode,
        owner,
        device: area.device,
        call: (wants >> CALL_SHIFT) as u32,
        stack: row,
        reserved: 0,
    };
    emit::space(event, left_ns, Loss::SpaceRingFull);
}
