//! What is kept for each traced thread, in the kernel's task-local storage.
//!
//! Task storage rather than a hash map: a look-up is a few loads, threads need no limit, the kernel
//! removes the state when the thread ends, and the scratch area for a stack walk cannot be shared by two threads on
//! one CPU, whatever the preemption model.

use tracer_common::config::Process;
use tracer_common::loss::Loss;

use crate::config::config;
use crate::diagnose::lost;
use crate::maps::{PROCESSES, STATE, THREADS};
use crate::memory::atomic_add;
use crate::process_table::{admit, process_slot};
use crate::records::Thread;

/// The current thread and its process, if it is traced and the trace is running.
#[inline(always)]
pub fn current() -> Option<(*mut Thread, *mut Process)> {
    if !is_enabled() {
        return None;
    }
    let mut thread = THREADS.current(false);
    // It has no row if it was a guest in another process's memory, and has called exec since.
    // SAFETY: not null, and only this thread writes it.
    if thread.is_null() || unsafe { (*thread).slot } == 0 {
        let slot = process_slot().or_else(admit)?;
        if thread.is_null() {
            thread = THREADS.current(true);
        }
        if thread.is_null() {
            lost(Loss::NoThreadState);
            return None;
        }
        // SAFETY: as above.
        unsafe { (*thread).slot = slot + 1 };
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

/// Makes the state of the current thread, if its process is known; 1 if there is one. Checked by the verifier apart
/// from its caller.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn meet() -> u64 {
    let Some(slot) = process_slot() else {
        return 0;
    };
    let thread = THREADS.current(true);
    if thread.is_null() {
        lost(Loss::NoThreadState);
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

/// The current thread and its process, in a program that another one has run on in.
#[inline(always)]
pub fn resumed() -> Option<(*mut Thread, *mut Process)> {
    let thread = existing()?;
    Some((thread, process_of(thread)?))
}

/// The process of a thread's state.
#[inline(always)]
pub fn process_of(thread: *mut Thread) -> Option<*mut Process> {
    // SAFETY: a state that the kernel returned and that the verifier has seen checked for null.
    PROCESSES.get_ptr_mut(unsafe { (*thread).slot }.wrapping_sub(1))
}
