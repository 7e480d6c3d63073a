//! Processes that change: exec, exit and fork.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_attach_cookie, bpf_get_current_task, bpf_ktime_get_ns};
use aya_ebpf::programs::{ProbeContext, RawTracePointContext};
use tracer_common::config::Process;
use tracer_common::event::{LifecycleEvent, LifecycleKind};
use tracer_common::loss::Loss;
use tracer_common::unwind::Range;

use crate::emit;
use crate::globals;
use crate::loss;
use crate::maps::{PROCESS_SLOTS, PROCESSES, STATE};
use crate::memory::{fetch_add, read_kernel_u32, read_kernel_u64, read_user};
use crate::thread;

/// The current process has replaced its program: its blocks are gone, and a new image begins.
#[inline(always)]
pub fn exec() {
    let Some(slot) = thread::process_slot() else {
        return;
    };
    let (Some(process), Some(state)) = (PROCESSES.get_ptr_mut(slot), STATE.get_ptr_mut(0)) else {
        return;
    };
    // SAFETY: both were checked for null; exec runs when the process has one thread left.
    let owner = unsafe {
        (*process).owner.image = fetch_add(&raw mut (*state).images, 1) + 1;
        (*process).trampoline = 0;
        // User space learns the new program's mappings within milliseconds; stacks until then are cut and marked.
        (*process).mappings = Range { first: 0, count: 0 };
        (*process).generation = (*process).owner.image;
        (*process).code = (*process).owner.image;
        (*process).owner
    };
    if let Some(thread) = thread::existing() {
        // SAFETY: only this thread writes its state.
        unsafe { (*thread).pending.sp = 0 };
    }
    emit::lifecycle(LifecycleEvent {
        owner,
        kind: LifecycleKind::Exec as u32,
        slot,
        // SAFETY: a helper without arguments.
        time_ns: unsafe { bpf_ktime_get_ns() },
    });
}

/// A thread exits. The last one ends the process: it is forgotten here at once, so that its PID may come again.
#[inline(always)]
pub fn exit() {
    let Some(slot) = thread::process_slot() else {
        return;
    };
    let offsets = globals::offsets();
    if offsets.task_signal == 0 || offsets.signal_live == 0 {
        return; // user space watches the process's file descriptor
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    // `signal->live` counts the threads that have not begun to exit, this one no longer (kernel/exit.c, do_exit).
    let signal = read_kernel_u64(task + offsets.task_signal as u64);
    if read_kernel_u32(signal + offsets.signal_live as u64) != 0 {
        return;
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if PROCESS_SLOTS.remove(tgid).is_err() {
        return; // two threads ended together
    }
    let Some(process) = PROCESSES.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: checked for null.
    let owner = unsafe {
        (*process).active = 0;
        (*process).owner
    };
    emit::lifecycle(LifecycleEvent {
        owner,
        kind: LifecycleKind::Exit as u32,
        slot,
        // SAFETY: a helper without arguments.
        time_ns: unsafe { bpf_ktime_get_ns() },
    });
}

/// A traced process has started another one, which is not traced: it is only counted.
#[inline(always)]
pub fn fork(ctx: &RawTracePointContext) {
    let task_tgid = globals::offsets().task_tgid;
    if task_tgid == 0 || thread::process_slot().is_none() {
        return;
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let child: u64 = ctx.arg(1);
    if read_kernel_u32(child + task_tgid as u64) != tgid {
        loss::count(Loss::UntracedChildren);
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
    let (ip, distance) = unsafe { ((*ctx.regs).rip, bpf_get_attach_cookie(ctx.as_ptr())) };
    let state = read_user(ip.wrapping_add(distance).wrapping_add(R_STATE)).unwrap_or(0);
    let Some(slot) = thread::process_slot() else {
        return;
    };
    if state as u32 != RT_DELETE {
        return;
    }
    let (Some(process), Some(counters)) = (PROCESSES.get_ptr_mut(slot), STATE.get_ptr_mut(0))
    else {
        return;
    };
    // SAFETY: both were checked for null; the loader holds its lock meanwhile.
    let mut owner = unsafe {
        let code = fetch_add(&raw mut (*counters).images, 1) + 1;
        (*process).mappings = Range { first: 0, count: 0 };
        (*process).generation = code;
        (*process).code = code;
        (*process).owner
    };
    // SAFETY: as above.
    owner.image = unsafe { (*process).code };
    emit::lifecycle(LifecycleEvent {
        owner,
        kind: LifecycleKind::Unload as u32,
        slot,
        // SAFETY: a helper without arguments.
        time_ns: unsafe { bpf_ktime_get_ns() },
    });
}

/// Address of the kernel's return trampoline in the current address space; 0 where the kernel's types do not tell.
///
/// It is the start of the page that the kernel maps for probes (kernel/events/uprobes.c, uprobe_get_trampoline_vaddr),
/// which exists once a return probe has been set up.
#[inline(always)]
pub fn trampoline(process: *mut Process) -> u64 {
    // SAFETY: checked for null by the caller.
    let known = unsafe { (*process).trampoline };
    let offsets = globals::offsets();
    if known != 0
        || offsets.task_mm == 0
        || offsets.mm_uprobes_state == 0
        || offsets.xol_area_vaddr == 0
    {
        return known;
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let mm = read_kernel_u64(task + offsets.task_mm as u64);
    let area = read_kernel_u64(mm + offsets.mm_uprobes_state as u64);
    if area == 0 {
        return 0;
    }
    let found = read_kernel_u64(area + offsets.xol_area_vaddr as u64);
    // SAFETY: as above; all threads write the same.
    unsafe { (*process).trampoline = found };
    found
}

/// Return probes that a thread can have open and that are looked through; the kernel allows 64
/// (`MAX_URETPROBE_DEPTH`).
const MOST_RETURNS: u32 = 64;

/// The return address that the kernel's trampoline stands in for, where the stack pointer after the return is `sp`;
/// 0 if it is not known. Other tools put return probes on functions, too.
#[inline(always)]
pub fn replaced_return(trampoline: u64, sp: u64) -> u64 {
    let offsets = globals::offsets();
    if offsets.task_utask == 0 {
        return 0;
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let utask = read_kernel_u64(task + offsets.task_utask as u64);
    let mut instance = read_kernel_u64(utask + offsets.utask_returns as u64);
    for _ in 0..MOST_RETURNS {
        if instance == 0 {
            break;
        }
        // Innermost first; several at one place where functions were entered by tail calls.
        if read_kernel_u64(instance + offsets.return_stack as u64).wrapping_add(8) == sp {
            let address = read_kernel_u64(instance + offsets.return_address as u64);
            if address != trampoline {
                return address;
            }
        }
        instance = read_kernel_u64(instance + offsets.return_next as u64);
    }
    0
}
