//! What is kept for each traced thread, in the kernel's task-local storage.
//!
//! Task storage rather than a hash map: a look-up is a few loads, threads need no limit, the kernel
//! removes the state when the thread ends, and the scratch area for a stack walk cannot be shared by two threads on
//! one CPU, whatever the preemption model.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_storage_get};
use tracer_common::config::Process;
use tracer_common::loss::Loss;
use tracer_common::pairing::Pending;

use crate::config::config;
use crate::loss;
use crate::maps::{PROCESS_SLOTS, PROCESSES, STATE, THREADS};
use crate::memory::atomic_add;
use crate::process;
use crate::stack::Walk;

/// State of one thread. At most 4 KiB, the largest element of the allocator behind task storage
/// (`BPF_MEM_ALLOC_SIZE_MAX`, kernel/bpf/memalloc.c).
#[repr(C)]
pub struct Thread {
    /// The allocator call that it is in.
    pub pending: Pending,
    /// Row of its process plus one; 0 until it is known.
    pub slot: u32,
    /// Probe hits that its process's row does not know of yet.
    pub hits: u32,
    /// Bytes until the next sample point; 0 before the first.
    pub budget: u64,
    /// Step of the sampling interval that the budget was drawn for.
    pub budget_step: u32,
    /// Keeps the record free of implicit padding.
    pub reserved: u32,
    /// When the system call began that may change the address space; 0 outside of one.
    pub entered_ns: u64,
    /// What is to be done at its end; through here, so that the verifier does not follow each kind of call by itself.
    pub space_wants: u64,
    /// Page faults until the next one of the sample, and with it; 0 before the first.
    pub faults_left: u32,
    /// Mean distance of the sample, in page faults, when that was drawn.
    pub fault_interval: u32,
    /// When the last one of the sample was.
    pub fault_ns: u64,
    /// 1: it has been told, but not yet what came of it.
    pub fault_is_open: u32,
    /// The distance that was drawn last, in faults.
    pub faults_drawn: u32,
    /// The thread's minor and major faults before it.
    pub faults_before: [u64; 2],
    /// Scratch area.
    pub walk: Walk,
}

const _: () = assert!(size_of::<Thread>() <= 4096 - 128);

/// A BTF definition of a `BPF_MAP_TYPE_TASK_STORAGE` map, which aya-ebpf does not have.
#[repr(C)]
pub struct TaskStorage<T> {
    r#type: *const [i32; 29],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; 1],
}

// SAFETY: the fields are placeholders for the loader and are never read.
unsafe impl<T> Sync for TaskStorage<T> {}

impl<T> TaskStorage<T> {
    /// A definition for a static.
    pub const fn new() -> Self {
        use core::ptr::null;
        Self {
            r#type: null(),
            key: null(),
            value: null(),
            max_entries: null(),
            map_flags: null(),
        }
    }

    /// The current thread's value; created, all zero, if `create`.
    #[inline(always)]
    fn current(&self, create: bool) -> *mut T {
        let map = (&raw const *self).cast_mut().cast::<c_void>();
        // SAFETY: the map is a live static; a null value means zero-initialised.
        unsafe {
            let task = bpf_get_current_task_btf();
            bpf_task_storage_get(map, task.cast(), core::ptr::null_mut(), create as u64).cast()
        }
    }
}

/// The current thread and its process, if it is traced and the trace is running.
#[inline(always)]
pub fn current() -> Option<(*mut Thread, *mut Process)> {
    if !is_enabled() {
        return None;
    }
    let mut thread = THREADS.current(false);
    if thread.is_null() {
        let slot = process_slot().or_else(process::admit)?;
        thread = THREADS.current(true);
        if thread.is_null() {
            loss::count(Loss::NoThreadState);
            return None;
        }
        // SAFETY: not null, and only this thread writes it.
        unsafe { (*thread).slot = slot + 1 };
    }
    if config!(admit) != 0 {
        // SAFETY: as above.
        unsafe {
            if (*thread).slot == 0 {
                // It was a guest in another process's memory, and has called exec since.
                (*thread).slot = process_slot().or_else(process::admit)? + 1;
            }
        }
    }
    let process = process_of(thread)?;
    count_hit(thread, process);
    // SAFETY: the verifier has seen the null check.
    (unsafe { (*process).active } != 0).then_some((thread, process))
}

/// Whether the trace is running.
#[inline(always)]
pub fn is_enabled() -> bool {
    // SAFETY: an aligned u32 in a map element; volatile because user space changes it.
    STATE
        .get(0)
        .is_some_and(|state| unsafe { core::ptr::read_volatile(&raw const state.enabled) != 0 })
}

/// As [`current`], of processes that are known: one that is not becomes so at a call of its own.
#[inline(always)]
pub fn current_of_known() -> Option<(*mut Thread, *mut Process)> {
    if !is_enabled() {
        return None;
    }
    // SAFETY: only this thread writes its state, which was checked for null.
    let known = existing().filter(|thread| unsafe { (**thread).slot } != 0);
    let thread = match known {
        Some(thread) => thread,
        None if meet() == 0 => return None,
        None => existing()?,
    };
    let process = process_of(thread)?;
    // SAFETY: the verifier has seen the null check.
    (unsafe { (*process).active } != 0).then_some((thread, process))
}

/// Makes the state of the current thread, if its process is known; 1 if there is one. Checked by the verifier apart from its
/// caller.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn meet() -> u64 {
    let Some(slot) = process_slot() else {
        return 0;
    };
    let thread = THREADS.current(true);
    if thread.is_null() {
        loss::count(Loss::NoThreadState);
        return 0;
    }
    // SAFETY: not null, and only this thread writes it.
    unsafe { (*thread).slot = slot + 1 };
    1
}

/// Hits that a thread gathers before its process's row is told, so that threads do not contend for it.
const HITS_AT_ONCE: u32 = 256;

/// Counts a hit of the process's probes, where somebody wants to know.
#[inline(always)]
pub fn count_hit(thread: *mut Thread, process: *mut Process) {
    if config!(adaptive) == 0 {
        return;
    }
    // SAFETY: only this thread writes its state; both pointers were checked for null.
    unsafe {
        let hits = (*thread).hits.wrapping_add(1);
        (*thread).hits = hits;
        if hits >= HITS_AT_ONCE {
            flush_hits(thread, process);
        }
    }
}

/// Tells the process's row of the hits that the thread has gathered.
#[inline(always)]
pub fn flush_hits(thread: *mut Thread, process: *mut Process) {
    // SAFETY: as in `count_hit`.
    unsafe {
        atomic_add(&raw mut (*process).hits, (*thread).hits as u64);
        (*thread).hits = 0;
    }
}

/// The current thread's state, if it has one.
#[inline(always)]
pub fn existing() -> Option<*mut Thread> {
    let thread = THREADS.current(false);
    (!thread.is_null()).then_some(thread)
}

/// The process of a thread's state.
#[inline(always)]
pub fn process_of(thread: *mut Thread) -> Option<*mut Process> {
    // SAFETY: a state that the kernel returned and that the verifier has seen checked for null.
    PROCESSES.get_ptr_mut(unsafe { (*thread).slot }.wrapping_sub(1))
}

/// Row of the current process, if it is traced.
#[inline(always)]
pub fn process_slot() -> Option<u32> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: a copy of a u32.
    unsafe { PROCESS_SLOTS.get(tgid).copied() }
}
