//! Stacks in a language runtime: after the native frames its own are read, the stack is stored, and what its code
//! objects are called is told where it is new.
//!
//! Each is a program of its own, which the one before runs on in: processes without a runtime pay for none of it.

mod code;
mod names;
mod python;

use core::ptr::{read_volatile, write_volatile};

use tracer_common::config::Process;
use tracer_common::loss::Loss;
use tracer_common::rows;
use tracer_common::runtime::{YOUNG_NS, python::PythonLayout};

use crate::clock;
use crate::diagnose::lost;
use crate::maps::{FRAMES, LAYOUTS, PROCESSES, STACK_ROWS, STACKS};
use crate::records::{RUNTIME_WORDS, Thread, Walk};
use crate::stack;
use crate::thread;

/// Index of the program that walks, in the arrays of programs.
pub const WALK: u32 = 0;
/// Index of the program that tells names.
pub const NAMES: u32 = 1;
/// Index of the program that accounts.
pub const ACCOUNT: u32 = 2;

/// What was known of a thread's runtime no longer holds.
#[inline(always)]
pub fn forget(thread: *mut Thread) {
    // SAFETY: only this thread writes its state, which was checked for null.
    unsafe {
        (*thread).register = 0;
        (*thread).runtime_thread = 0;
        (*thread).runtime_heads = 0;
    }
}

/// A child with a copy of its parent's memory has the runtime where the parent has it.
#[inline(always)]
pub fn inherit(parent: *mut Process, row: u32) {
    let Some(child) = PROCESSES.get_ptr_mut(row) else {
        return;
    };
    // SAFETY: both were checked for null; the child has not run yet.
    unsafe {
        (*child).runtime_base = (*parent).runtime_base;
        (*child).runtime = (*parent).runtime;
    }
}

/// Tells what the code objects of the current thread's new stack are called.
#[inline(always)]
pub fn tell_current() {
    let Some((thread, process)) = thread::resumed() else {
        return;
    };
    // SAFETY: both were checked for null.
    unsafe { names::tell(thread, process) };
}

/// The layout of a process's runtime.
#[inline(always)]
fn layout(process: *mut Process) -> Option<&'static PythonLayout> {
    // SAFETY: checked for null by the caller; volatile, as user space writes it.
    let number = unsafe { read_volatile(&raw const (*process).runtime) };
    LAYOUTS.get(number.wrapping_sub(1))
}

/// Finds the row of the stack whose native frames have been walked, with the runtime's frames behind them, and notes it in
/// the thread's state, and whether it is new. It is the process's own row if the tables are full.
///
/// # Safety
///
/// Both must have been checked for null.
#[inline(always)]
pub unsafe fn find_row(thread: *mut Thread, process: *mut Process) {
    // SAFETY: only this thread writes its state; volatile, so that the verifier does not follow each value by itself.
    unsafe {
        let walk = &raw mut (*thread).walk;
        write_volatile(&raw mut (*thread).is_new, 0);
        if let Some(layout) = layout(process) {
            python::walk_python(thread, layout, (*process).runtime_base);
        }
        let key = stack::key(walk, process);
        let now = clock::tick_ns();
        if let Some(row) = STACK_ROWS.get(key).copied() {
            if (*walk).runtime_words == 0 || is_current(walk, process, row, now) != 0 {
                write_volatile(&raw mut (*thread).row, row);
                return;
            }
            // The same addresses, but other code: that stack is another one.
            let _ = STACK_ROWS.remove(key);
        }
        put_check(walk, process, now);
        let owner = (*process).owner;
        let row = stack::store(walk, key.hash, key.code, owner.tgid, owner.image);
        if row == rows::NO_ROW {
            lost(Loss::StackTableFull);
            write_volatile(&raw mut (*thread).row, (*thread).slot.wrapping_sub(1));
            return;
        }
        write_volatile(&raw mut (*thread).is_new, 1);
        write_volatile(&raw mut (*thread).row, row);
    }
}

/// Puts the words behind the frames by which the stack's code objects are known again. Checked by the verifier apart from
/// its caller.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn put_check(walk: *mut Walk, process: *mut Process, now: u64) -> u64 {
    if walk.is_null() || process.is_null() {
        return 0;
    }
    // SAFETY: the scratch area of the current thread; the indices are masked.
    unsafe {
        let at = (*walk).runtime_words;
        if at == 0 {
            return 0;
        }
        let stamp = code::stamp_of_stack(walk, process);
        let place = |number: u32| RUNTIME_WORDS + (at.wrapping_add(number) & 127) as usize;
        (*walk).window[place(0)] = stamp;
        (*walk).window[place(1)] = now;
        (*walk).window[place(2)] = now;
    }
    0
}

/// Whether the code objects of the stack in a row are those of the stack that was walked, which has the same addresses.
///
/// An object may be freed, and another one have its place. While the stack is young they are compared each time; later
/// once in a tick, since to read them costs more than to walk. Checked by the verifier apart from its caller.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn is_current(walk: *mut Walk, process: *mut Process, row: u32, now: u64) -> u64 {
    if walk.is_null() || process.is_null() {
        return 0;
    }
    let Some(meta) = STACKS.get(row) else {
        return 0;
    };
    let at = meta.first_frame.wrapping_add(meta.frames);
    let (Some(stamp), Some(born), Some(checked)) = (
        FRAMES.get_ptr(at),
        FRAMES.get_ptr(at.wrapping_add(1)),
        FRAMES.get_ptr_mut(at.wrapping_add(2)),
    ) else {
        return 0;
    };
    // SAFETY: map elements that were checked for null; the scratch area of the current thread.
    unsafe {
        let is_young = now.wrapping_sub(read_volatile(born)) < YOUNG_NS;
        if !is_young && read_volatile(checked) == now {
            return 1;
        }
        if code::stamp_of_stack(walk, process) != read_volatile(stamp) {
            return 0;
        }
        write_volatile(checked, now);
    }
    1
}
