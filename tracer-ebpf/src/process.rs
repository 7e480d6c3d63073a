//! Processes that change: exec, exit and fork.

use core::ptr::write_volatile;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_attach_cookie, bpf_get_current_task, bpf_ktime_get_ns};
use aya_ebpf::programs::{ProbeContext, RawTracePointContext};
use tracer_common::config::{Admission, Process};
use tracer_common::diagnostic::DiagnosticKind;
use tracer_common::event::LifecycleKind;
use tracer_common::key::Owner;
use tracer_common::loss::Loss;
use tracer_common::space::SpaceEvent;
use tracer_common::unwind::Range;

use crate::account;
use crate::arch::{self, order};
use crate::config::config;
use crate::diagnose::say;
use crate::emit;
use crate::loss;
use crate::maps::{PROCESS_SLOTS, PROCESSES, STATE};
use crate::memory::{fetch_add, read_kernel_u32, read_kernel_u64, read_user};
use crate::process_table::{process_slot, register, send, send_as, take_in};
use crate::runtime;
use crate::thread;

/// The current process has replaced its program: its blocks are gone, and a new image begins.
#[inline(always)]
pub fn exec() {
    let Some(slot) = process_slot() else {
        return;
    };
    let (Some(process), Some(state)) = (PROCESSES.get_ptr_mut(slot), STATE.get_ptr_mut(0)) else {
        return;
    };
    if is_guest(process) {
        leave_host(process);
        forget_thread();
        if config!(admit) == Admission::Children as u32 {
            take_in();
        }
        return;
    }
    // SAFETY: both were checked for null; exec runs when the process has one thread left.
    let owner = unsafe {
        (*process).owner.image = fetch_add(&raw mut (*state).images, 1) + 1;
        (*process).trampoline = 0;
        // User space learns the new program's mappings within milliseconds; stacks until then are cut and marked.
        (*process).mappings = Range { first: 0, count: 0 };
        order::before_write();
        (*process).generation = (*process).owner.image;
        (*process).code = (*process).owner.image;
        (*process).runtime = 0;
        if config!(admit) != 0 {
            // Whether the trace is about the new program is for user space to say.
            (*process).active = 1;
        }
        (*process).owner
    };
    account::forget_old(slot);
    if let Some(thread) = thread::existing() {
        // SAFETY: only this thread writes its state.
        unsafe { (*thread).pending.sp = 0 };
        runtime::forget(thread);
    }
    send(owner, LifecycleKind::Exec, slot);
}

/// Whether the current process runs in the memory of another one, whose row it has.
#[inline(always)]
fn is_guest(process: *mut Process) -> bool {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: checked for null by the caller.
    config!(admit) != 0 && unsafe { (*process).owner.tgid } != tgid
}

/// A guest goes: it ends, or it gets memory of its own.
#[inline(always)]
fn leave_host(process: *mut Process) {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if PROCESS_SLOTS.remove(tgid).is_ok() {
        // SAFETY: checked for null by the caller; the subtraction of one.
        unsafe { fetch_add(&raw mut (*process).guests, u32::MAX) };
    }
}

/// What was known of the current thread no longer holds.
#[inline(always)]
fn forget_thread() {
    if let Some(thread) = thread::existing() {
        // SAFETY: only this thread writes its state.
        unsafe {
            (*thread).pending.sp = 0;
            (*thread).slot = 0;
        }
        runtime::forget(thread);
    }
}

/// A thread exits. The last one ends the process: it is forgotten here at once, so that its PID may come again.
#[inline(always)]
pub fn exit() {
    let Some(slot) = process_slot() else {
        return;
    };
    let Some(process) = PROCESSES.get_ptr_mut(slot) else {
        return;
    };
    if config!(adaptive) != 0
        && let Some(thread) = thread::existing()
    {
        thread::flush_hits(thread, process);
    }
    if config!(offsets.signal_live) == 0 {
        return; // user space watches the process's file descriptor
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    // `signal->live` counts the threads that have not begun to exit, this one no longer (kernel/exit.c, do_exit).
    let signal = read_kernel_u64(task + config!(offsets.task_signal) as u64);
    if read_kernel_u32(signal + config!(offsets.signal_live) as u64) != 0 {
        return;
    }
    if is_guest(process) {
        leave_host(process);
        return;
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if PROCESS_SLOTS.remove(tgid).is_err() {
        return; // two threads ended together
    }
    // SAFETY: checked for null.
    let owner = unsafe {
        write_volatile(&raw mut (*process).active, 0);
        (*process).owner
    };
    send(owner, LifecycleKind::Exit, slot);
}

/// A traced process has started another one.
///
/// Where children are traced, it is admitted at once. Otherwise user space is told of it, since its copy of the memory
/// has the parent's breakpoints in it; a trace of named processes counts it. One that runs in the memory of its parent
/// (`vfork`) allocates and releases there, so where processes come by themselves it is a guest in its parent's row
/// until it calls `exec`.
#[inline(always)]
pub fn fork(ctx: &RawTracePointContext) {
    if config!(offsets.task_tgid) == 0 {
        return;
    }
    let Some(slot) = process_slot() else {
        return;
    };
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let child: u64 = ctx.arg(1);
    let child_tgid = read_kernel_u32(child + config!(offsets.task_tgid) as u64);
    if child_tgid == tgid {
        return; // a thread
    }
    let admit = config!(admit);
    if admit == 0 {
        loss::count(Loss::UntracedChildren);
        say(DiagnosticKind::UntracedChild, child_tgid as u64, 0);
    }
    // SAFETY: a helper without arguments.
    let parent = unsafe { bpf_get_current_task() };
    let task_mm = config!(offsets.task_mm);
    let memory = |task: u64| read_kernel_u64(task + task_mm as u64);
    let Some(process) = PROCESSES.get_ptr_mut(slot) else {
        return;
    };
    if task_mm == 0 || memory(child) != memory(parent) {
        match admit >= Admission::Births as u32 {
            true => born(process, child_tgid),
            // SAFETY: checked for null.
            false => send_as(
                unsafe { (*process).owner },
                LifecycleKind::Forked,
                child_tgid,
                tgid,
            ),
        }
        return;
    }
    if admit == 0 {
        return;
    }
    if PROCESS_SLOTS
        .insert(child_tgid, slot, BPF_NOEXIST as u64)
        .is_ok()
    {
        // SAFETY: checked for null.
        unsafe { fetch_add(&raw mut (*process).guests, 1) };
    }
}

/// A traced process has a child with a copy of its memory, which has not run yet: all that it does is told after this.
#[inline(always)]
fn born(parent: *mut Process, child: u32) {
    // SAFETY: checked for null by the caller.
    let (active, owner) = unsafe { ((*parent).active, (*parent).owner) };
    if active == 0 {
        return;
    }
    if let Some((row, new)) = register(child) {
        runtime::inherit(parent, row);
        if config!(admit) == Admission::Births as u32 {
            // In order with the calls of both.
            // SAFETY: a helper without arguments.
            let now = unsafe { bpf_ktime_get_ns() };
            emit::space(SpaceEvent::fork(owner, new, now), now, Loss::SpaceRingFull);
        }
        // The name and the user are the parent's, which is the current process.
        send_as(new, LifecycleKind::Admitted, row, owner.tgid);
    }
}

/// Offset of `r_state` in `struct r_debug` (glibc, elf/link.h).
const R_STATE: u64 = 24;
/// `RT_DELETE`: a mapping is about to be removed.
const RT_DELETE: u32 = 2;

/// The dynamic loader tells its debugger that the set of libraries changes. The cookie is the distance from the probed
/// instruction to the loader's `_r_debug`.
///
/// Before it unmaps a library the process gets a new code number: what the addresses meant is over at this very
/// moment, not when user space hears of it. Stacks go on being whole, since the kernel tells what is mapped.
#[inline(always)]
pub fn library_change(ctx: &ProbeContext) {
    // SAFETY: the context that the kernel gave.
    let (ip, distance) = unsafe {
        (
            arch::instruction_pointer(ctx.regs),
            bpf_get_attach_cookie(ctx.as_ptr()),
        )
    };
    let state = read_user(ip.wrapping_add(distance).wrapping_add(R_STATE));
    if state.is_none_or(|state| state as u32 != RT_DELETE) {
        return;
    }
    let Some(slot) = process_slot() else {
        return;
    };
    let (Some(process), Some(counters)) = (PROCESSES.get_ptr_mut(slot), STATE.get_ptr_mut(0))
    else {
        return;
    };
    // SAFETY: both were checked for null; the loader holds its lock meanwhile.
    let owner = unsafe {
        let code = fetch_add(&raw mut (*counters).images, 1) + 1;
        (*process).mappings = Range { first: 0, count: 0 };
        order::before_write();
        (*process).generation = code;
        (*process).code = code;
        Owner {
            tgid: (*process).owner.tgid,
            image: code,
        }
    };
    send(owner, LifecycleKind::Unload, slot);
}
