//! Page faults of traced programs: a sample of them, with stacks, sent to user space among the calls that change
//! address spaces.
//!
//! The tracepoints tell that a fault begins. What comes of it the thread's own counters tell at its next fault or
//! system call: a fault that is not counted was none, and one that had to wait is counted apart. Whether a fault is in
//! the sample is decided before anything that costs.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_ktime_get_ns, bpf_task_pt_regs,
};
use aya_ebpf::programs::RawTracePointContext;
use tracer_common::config::Process;
use tracer_common::faults::{FaultEvent, FaultKind, USER, next_interval};
use tracer_common::loss::Loss;

use crate::arch;
use crate::config::config;
use crate::emit;
use crate::loss;
use crate::maps::FAULT_RUNTIME;
use crate::memory::{read_kernel_u32, read_kernel_u64};
use crate::records::Thread;
use crate::runtime;
use crate::sampler;
use crate::stack::{self, Innermost};
use crate::thread;

/// A page fault begins, of a program or of the kernel on its behalf.
#[inline(always)]
pub fn begin(ctx: &RawTracePointContext) {
    let address: u64 = ctx.arg(0);
    let error: u64 = ctx.arg(2);
    let is_user = error & USER != 0;
    if !is_user && !may_be_served(address) {
        return;
    }
    let Some((thread, process)) = thread::current_of_known() else {
        return;
    };
    // SAFETY: only this thread writes its state, which was checked for null.
    if unsafe { (*thread).fault_is_open } != 0 {
        settle(thread, process);
    }
    let Some(interval) = draw(thread) else {
        return;
    };
    // SAFETY: a helper without arguments.
    let regs = match is_user {
        true => ctx.arg(1),
        false => unsafe { bpf_task_pt_regs(bpf_get_current_task_btf().cast()) as u64 },
    };
    // SAFETY: only this thread writes its state.
    let slot = unsafe {
        (*thread).drawn_by = interval;
        (*thread).slot.wrapping_sub(1)
    };
    // Threads of the kernel that work for a program (io_uring) have no stack in it.
    let row = match arch::user_registers(regs) {
        None => slot,
        Some(registers) => {
            let innermost = Innermost {
                registers,
                // The kernel touches memory in a system call, behind whose instruction the program stands.
                on_instruction: is_user as u32,
            };
            // SAFETY: the scratch area of the current thread's state, and its process's row.
            unsafe { stack::capture_from(&raw mut (*thread).walk, innermost, process, slot) }
        }
    };
    // SAFETY: only this thread writes its state. User space has put the program there, which takes the same context.
    unsafe {
        write_volatile(&raw mut (*thread).row, row);
        if row == stack::IN_RUNTIME {
            FAULT_RUNTIME.tail_call(ctx, runtime::WALK);
            loss::count(Loss::FaultsDropped);
            return;
        }
    }
    touched(ctx, thread, process);
}

/// A page fault whose stack goes on in a language runtime.
#[inline(always)]
pub fn walk_runtime(ctx: &RawTracePointContext) {
    let Some((thread, process)) = thread::resumed() else {
        return;
    };
    // SAFETY: both were checked for null. User space has put the program there.
    unsafe {
        runtime::find_row(thread, process);
        FAULT_RUNTIME.tail_call(ctx, runtime::ACCOUNT);
    }
}

/// A page fault whose stack is known by now.
#[inline(always)]
pub fn tell_in_runtime(ctx: &RawTracePointContext) {
    let Some((thread, process)) = thread::resumed() else {
        return;
    };
    // SAFETY: both were checked for null; only this thread writes its state. User space has put the program there.
    unsafe {
        touched(ctx, thread, process);
        if (*thread).is_new != 0 {
            FAULT_RUNTIME.tail_call(ctx, runtime::NAMES);
        }
    }
}

/// Tells of the page fault, and keeps what it takes to know later what came of it.
#[inline(always)]
fn touched(ctx: &RawTracePointContext, thread: *mut Thread, process: *mut Process) {
    let error: u64 = ctx.arg(2);
    tell(
        process,
        FaultEvent {
            address: ctx.arg(0),
            // SAFETY: only this thread writes its state, which was checked for null.
            stack: unsafe { read_volatile(&raw const (*thread).row) },
            // SAFETY: as above.
            interval: unsafe { (*thread).drawn_by },
            error: error as u32,
            kind: FaultKind::Touched as u32,
            ..FaultEvent::default()
        },
    );
    // SAFETY: as above.
    unsafe {
        (*thread).faults_before = counters();
        (*thread).fault_is_open = 1;
    }
}

/// A system call begins: what came of the fault before it is known.
#[inline(always)]
pub fn before_call() {
    if let Some(thread) = thread::existing()
        && let Some(process) = thread::process_of(thread)
    {
        // SAFETY: only this thread writes its state, which was checked for null.
        if unsafe { (*thread).fault_is_open } != 0 {
            settle(thread, process);
        }
    }
}

/// Whether a fault in the kernel may bring in a page of the program: the address is the program's, and the kernel is
/// ready to wait for the page. Reading a stack below is not.
#[inline(always)]
fn may_be_served(address: u64) -> bool {
    let disabled = config!(offsets.task_pagefault_disabled);
    if (address as i64) < 0 || disabled == 0 {
        return false;
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    // The read itself disables them once (copy_from_kernel_nofault, mm/maccess.c).
    read_kernel_u32(task.wrapping_add(disabled as u64)) <= 1
}

/// The interval by which this fault is drawn; `None` if it is not in the sample.
#[inline(always)]
fn draw(thread: *mut Thread) -> Option<u32> {
    let fixed = config!(fault_interval) as u64;
    // SAFETY: only this thread writes its state, which was checked for null; helpers without arguments.
    unsafe {
        let mut left = (*thread).faults_left;
        if left == 0 {
            // The thread's first one.
            let first = if fixed == 0 { 1 } else { fixed };
            left = distance(first);
            (*thread).faults_drawn = left;
            (*thread).fault_interval = first as u32;
        }
        (*thread).faults_left = left.wrapping_sub(1);
        if left != 1 {
            return None;
        }
        let interval = (*thread).fault_interval;
        let mut next = fixed;
        if fixed == 0 {
            let now = bpf_ktime_get_ns();
            let gap_ns = now.wrapping_sub((*thread).fault_ns);
            next = adapted(interval as u64, (*thread).faults_drawn, gap_ns);
            (*thread).fault_ns = now;
            (*thread).fault_interval = next as u32;
        }
        left = distance(next);
        (*thread).faults_drawn = left;
        (*thread).faults_left = left;
        Some(interval)
    }
}

/// As [`next_interval`]; checked by the verifier apart from the rest.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn adapted(interval: u64, faults: u32, gap_ns: u64) -> u64 {
    next_interval(interval, faults, gap_ns)
}

/// Faults to the next one of the sample, and with it.
#[inline(always)]
fn distance(interval: u64) -> u32 {
    if interval <= 1 {
        return 1;
    }
    sampler::draw_distance(interval) as u32
}

/// Tells what came of the fault that was told last, if that is not what most faults come to.
///
/// Checked by the verifier apart from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn settle(thread: *mut Thread, process: *mut Process) -> u64 {
    if thread.is_null() || process.is_null() {
        return 0;
    }
    // SAFETY: only this thread writes its state; both pointers were checked for null.
    let before = unsafe {
        (*thread).fault_is_open = 0;
        (*thread).faults_before
    };
    let now = counters();
    let kind = if now[1] != before[1] {
        FaultKind::WasMajor
    } else if now[0] == before[0] && config!(offsets.task_min_flt) != 0 {
        FaultKind::WasNone
    } else {
        return 0;
    };
    tell(
        process,
        FaultEvent {
            kind: kind as u32,
            ..FaultEvent::default()
        },
    );
    0
}

/// The current thread's minor and major faults.
#[inline(always)]
fn counters() -> [u64; 2] {
    if config!(offsets.task_min_flt) == 0 {
        return [0; 2];
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    [
        read_kernel_u64(task.wrapping_add(config!(offsets.task_min_flt) as u64)),
        read_kernel_u64(task.wrapping_add(config!(offsets.task_maj_flt) as u64)),
    ]
}

/// Sends a record of the current thread.
#[inline(always)]
fn tell(process: *mut Process, event: FaultEvent) {
    // SAFETY: a helper without arguments; the process's row was checked for null.
    let (time_ns, owner) = unsafe { (bpf_ktime_get_ns(), (*process).owner) };
    let event = FaultEvent {
        time_ns,
        owner,
        tid: bpf_get_current_pid_tgid() as u32,
        ..event
    };
    emit::space(event, time_ns, Loss::FaultsDropped);
}
