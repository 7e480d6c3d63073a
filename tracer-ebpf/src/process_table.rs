//! The process table: rows of processes, and how they get one by themselves.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_ktime_get_ns};
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid};
use tracer_common::config::State;
use tracer_common::event::{LifecycleEvent, LifecycleKind};
use tracer_common::key::Owner;
use tracer_common::limits;
use tracer_common::loss::Loss;
use tracer_common::unwind::Range;

use crate::config::config;
use crate::diagnose::lost;
use crate::emit;
use crate::maps::{FREE_PROCESSES, PROCESS_SLOTS, PROCESSES, STATE};
use crate::memory::{fetch_add, read_kernel_u32, read_kernel_u64};

/// Row of the current process, if it is traced.
#[inline(always)]
pub fn process_slot() -> Option<u32> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: a copy of a u32.
    unsafe { PROCESS_SLOTS.get(tgid).copied() }
}

/// Sends an event of the current process to user space.
#[inline(always)]
pub fn send(owner: Owner, kind: LifecycleKind, slot: u32) {
    send_as(owner, kind, slot, parent());
}

/// Sends a process event to user space.
#[inline(always)]
pub fn send_as(owner: Owner, kind: LifecycleKind, slot: u32, parent: u32) {
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
    let real_parent = config!(offsets.task_parent);
    if real_parent == 0 {
        return 0;
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let parent = read_kernel_u64(task + u64::from(real_parent));
    read_kernel_u32(parent + u64::from(config!(offsets.task_tgid)))
}

/// Takes the current process, which has just made its first traced call, into the table; its row.
///
/// It is named by its row at once, and user space is told. Its stacks are walked by the tables of known files; user
/// space publishes its mappings soon.
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

/// Gives the current process a row and tells user space; the row, also where it has one already.
#[inline(always)]
pub fn take_in() -> Option<u32> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    match register(tgid) {
        Some((row, owner)) => {
            send(owner, LifecycleKind::Admitted, row);
            Some(row)
        }
        // Another thread of the process was faster, or there is no room.
        None => process_slot(),
    }
}

/// Gives a process a row of the table; the row and its owner id. `None` if it has one already, or if there is no room,
/// which is counted.
#[inline(always)]
pub fn register(tgid: u32) -> Option<(u32, Owner)> {
    let state = STATE.get_ptr_mut(0)?;
    let Some(row) = free_row(state) else {
        lost(Loss::ProcessTableFull);
        return None;
    };
    let process = PROCESSES.get_ptr_mut(row)?;
    // SAFETY: both were checked for null; nobody else knows the row.
    let owner = unsafe {
        let image = fetch_add(&raw mut (*state).images, 1) + 1;
        let owner = Owner { tgid, image };
        // One by one: zeros that are written at once are written by a loop, which the verifier goes through.
        (*process).owner = owner;
        write_volatile(&raw mut (*process).trampoline, 0);
        write_volatile(&raw mut (*process).mappings, Range { first: 0, count: 0 });
        write_volatile(&raw mut (*process).step, 0);
        (*process).generation = image;
        (*process).code = image;
        write_volatile(&raw mut (*process).guests, 0);
        write_volatile(&raw mut (*process).runtime, 0);
        write_volatile(&raw mut (*process).runtime_base, 0);
        write_volatile(&raw mut (*process).hits, 0);
        write_volatile(&raw mut (*process).active, 1);
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
