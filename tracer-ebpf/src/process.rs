//! Processes that change: exec, exit and fork.

use core::ffi::c_void;
use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{
    bpf_get_attach_cookie, bpf_get_current_task, bpf_ktime_get_ns, bpf_loop,
};
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid};
use aya_ebpf::programs::{ProbeContext, RawTracePointContext};
use tracer_common::config::{Admission, Process, State};
use tracer_common::event::{LifecycleEvent, LifecycleKind};
use tracer_common::key::Owner;
use tracer_common::limits;
use tracer_common::loss::Loss;
use tracer_common::unwind::Range;

use crate::config::config;
use crate::emit;
use crate::loss;
use crate::maps::{FREE_PROCESSES, PROCESS_SLOTS, PROCESSES, STATE};
use crate::memory::{fetch_add, read_kernel_u32, read_kernel_u64, read_user};
use crate::space;
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
    if is_guest(process) {
        leave_host(process);
        forget_thread();
        return;
    }
    // SAFETY: both were checked for null; exec runs when the process has one thread left.
    let owner = unsafe {
        (*process).owner.image = fetch_add(&raw mut (*state).images, 1) + 1;
        (*process).trampoline = 0;
        // User space learns the new program's mappings within milliseconds; stacks until then are cut and marked.
        (*process).mappings = Range { first: 0, count: 0 };
        (*process).generation = (*process).owner.image;
        (*process).code = (*process).owner.image;
        if config!(admit) != 0 {
            // Whether the trace is about the new program is for user space to say.
            (*process).active = 1;
        }
        (*process).owner
    };
    if let Some(thread) = thread::existing() {
        // SAFETY: only this thread writes its state.
        unsafe { (*thread).pending.sp = 0 };
    }
    send(owner, LifecycleKind::Exec, slot);
}

/// Sends an event of the current process to user space.
#[inline(always)]
fn send(owner: Owner, kind: LifecycleKind, slot: u32) {
    send_as(owner, kind, slot, parent());
}

/// Sends a process event to user space.
#[inline(always)]
fn send_as(owner: Owner, kind: LifecycleKind, slot: u32, parent: u32) {
    emit::lifecycle(LifecycleEvent {
        owner,
        kind: kind as u32,
        slot,
        // SAFETY: a helper without arguments.
        time_ns: unsafe { bpf_ktime_get_ns() },
        comm: bpf_get_current_comm().unwrap_or_default(),
        uid: bpf_get_current_uid_gid() as u32,
        parent,
    });
}

/// The parent of the current process; 0 where the kernel's types do not tell.
#[inline(always)]
fn parent() -> u32 {
    let (real_parent, tgid) = (config!(offsets.task_parent), config!(offsets.task_tgid));
    if real_parent == 0 || tgid == 0 {
        return 0;
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let parent = read_kernel_u64(task + u64::from(real_parent));
    read_kernel_u32(parent + u64::from(tgid))
}

/// Takes the current process, which has just made its first traced call, into the table; its row.
///
/// It is named by its row at once, and user space is told. Its stacks are walked by the tables of known files; user space
/// publishes its mappings soon.
#[inline(always)]
pub fn admit() -> Option<u32> {
    if config!(admit) == 0 {
        return None;
    }
    admit_current().checked_sub(1).map(|row| row as u32)
}

/// The row plus one, or 0. Rarely called, and checked by the verifier apart from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn admit_current() -> u64 {
    take_in().map_or(0, |row| u64::from(row) + 1)
}

#[inline(always)]
fn take_in() -> Option<u32> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    match register(tgid) {
        Some((row, owner)) => {
            send(owner, LifecycleKind::Admitted, row);
            Some(row)
        }
        // Another thread of the process was faster, or there is no room.
        None => thread::process_slot(),
    }
}

/// Gives a process a row of the table; the row and its owner id. `None` if it has one already, or if there is no room,
/// which is counted.
#[inline(always)]
fn register(tgid: u32) -> Option<(u32, Owner)> {
    let state = STATE.get_ptr_mut(0)?;
    let Some(row) = free_row(state) else {
        loss::count(Loss::ProcessTableFull);
        return None;
    };
    let process = PROCESSES.get_ptr_mut(row)?;
    // SAFETY: both were checked for null; nobody else knows the row.
    let owner = unsafe {
        let image = fetch_add(&raw mut (*state).images, 1) + 1;
        let owner = Owner { tgid, image };
        *process = Process {
            owner,
            trampoline: 0,
            mappings: Range { first: 0, count: 0 },
            step: 0,
            generation: image,
            code: image,
            active: 1,
            guests: 0,
            reserved: 0,
            hits: 0,
        };
        owner
    };
    if PROCESS_SLOTS.insert(tgid, row, BPF_NOEXIST as u64).is_err() {
        // SAFETY: as above; the row is free again.
        unsafe {
            (*process).active = 0;
            (*process).owner = Owner { tgid: 0, image: 0 };
        }
        // There is room for every row.
        let _ = FREE_PROCESSES.push(row, 0);
        return None;
    }
    Some((row, owner))
}

/// A row of the process table: one that has been released, so that the rows in use stay together, or a new one.
#[inline(always)]
fn free_row(state: *mut State) -> Option<u32> {
    if let Ok(Some(row)) = FREE_PROCESSES.pop() {
        return Some(row);
    }
    // SAFETY: the state was checked for null.
    unsafe {
        let next = &raw mut (*state).next_process;
        if read_volatile(next) >= limits::MAX_PROCESSES {
            return None;
        }
        let row = fetch_add(next, 1);
        (row < limits::MAX_PROCESSES).then_some(row)
    }
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
    }
}

/// A thread exits. The last one ends the process: it is forgotten here at once, so that its PID may come again.
#[inline(always)]
pub fn exit() {
    let Some(slot) = thread::process_slot() else {
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
    if config!(offsets.task_signal) == 0 || config!(offsets.signal_live) == 0 {
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
/// Where processes are admitted the new one is, too: at its own first call, since it has a copy of the memory, in which
/// nothing is tracked yet, or at once, if the copy is of an address space that is tracked. One that runs in the memory of its parent
/// (`vfork`) allocates and releases there, so it is a guest in its parent's row until it calls `exec`. Otherwise it is not
/// traced, and only counted.
#[inline(always)]
pub fn fork(ctx: &RawTracePointContext) {
    if config!(offsets.task_tgid) == 0 {
        return;
    }
    let Some(slot) = thread::process_slot() else {
        return;
    };
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let child: u64 = ctx.arg(1);
    let child_tgid = read_kernel_u32(child + config!(offsets.task_tgid) as u64);
    if child_tgid == tgid {
        return; // a thread
    }
    if config!(admit) == 0 {
        loss::count(Loss::UntracedChildren);
        return;
    }
    // SAFETY: a helper without arguments.
    let parent = unsafe { bpf_get_current_task() };
    let memory = |task: u64| read_kernel_u64(task + config!(offsets.task_mm) as u64);
    let Some(process) = PROCESSES.get_ptr_mut(slot) else {
        return;
    };
    if config!(offsets.task_mm) == 0 || memory(child) != memory(parent) {
        if config!(admit) == Admission::Births as u32 {
            born(process, child_tgid);
        }
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
        space::forked(owner, new);
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
    send(owner, LifecycleKind::Unload, slot);
}

/// Address of the kernel's return trampoline in the current address space; 0 where the kernel's types do not tell.
///
/// It is the start of the page that the kernel maps for probes (kernel/events/uprobes.c, uprobe_get_trampoline_vaddr),
/// which exists once a return probe has been set up.
#[inline(always)]
pub fn trampoline(process: *mut Process) -> u64 {
    // SAFETY: checked for null by the caller.
    let known = unsafe { (*process).trampoline };
    if known != 0 {
        return known;
    }
    let found = find_trampoline();
    // SAFETY: as above; all threads write the same.
    unsafe { (*process).trampoline = found };
    found
}

/// The same, from the kernel's structures. Rarely called, and checked by the verifier apart from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn find_trampoline() -> u64 {
    if config!(offsets.task_mm) == 0
        || config!(offsets.mm_uprobes_state) == 0
        || config!(offsets.xol_area_vaddr) == 0
    {
        return 0;
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let mm = read_kernel_u64(task + config!(offsets.task_mm) as u64);
    let area = read_kernel_u64(mm + config!(offsets.mm_uprobes_state) as u64);
    if area == 0 {
        return 0;
    }
    read_kernel_u64(area + config!(offsets.xol_area_vaddr) as u64)
}

/// Return probes that a thread can have open and that are looked through; the kernel allows 64
/// (`MAX_URETPROBE_DEPTH`).
const MOST_RETURNS: u32 = 64;

/// A look through the return probes that the current thread has open.
#[repr(C)]
struct Search {
    /// The next `return_instance`; 0 ends the list.
    instance: u64,
    /// Stack pointer after the return.
    sp: u64,
    /// What is no answer: functions that were entered by tail calls have one place, and one trampoline behind another.
    trampoline: u64,
    /// The answer; 0 for none.
    found: u64,
}

/// One return probe a turn; 1 ends the loop.
unsafe extern "C" fn look_at_return(_turn: u32, search: *mut Search) -> i64 {
    // SAFETY: the context given to bpf_loop below.
    let search = unsafe { &mut *search };
    if search.instance == 0 {
        return 1;
    }
    if read_kernel_u64(search.instance + config!(offsets.return_stack) as u64).wrapping_add(8)
        == search.sp
    {
        let address = read_kernel_u64(search.instance + config!(offsets.return_address) as u64);
        if address != search.trampoline {
            search.found = address;
            return 1;
        }
    }
    search.instance = read_kernel_u64(search.instance + config!(offsets.return_next) as u64);
    0
}

/// The return address that the kernel's trampoline stands in for, where the stack pointer after the return is `sp`;
/// 0 if it is not known. Other tools put return probes on functions, too.
///
/// Rarely called, and checked by the verifier apart from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn replaced_return(trampoline: u64, sp: u64) -> u64 {
    if config!(offsets.task_utask) == 0 {
        return 0;
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let utask = read_kernel_u64(task + config!(offsets.task_utask) as u64);
    let instance = read_kernel_u64(utask + config!(offsets.utask_returns) as u64);
    let mut search = Search {
        instance,
        sp,
        trampoline,
        found: 0,
    };
    // SAFETY: the callback and its context live as long as the call.
    unsafe {
        bpf_loop(
            MOST_RETURNS,
            look_at_return as *mut c_void,
            (&raw mut search).cast(),
            0,
        )
    };
    search.found
}
