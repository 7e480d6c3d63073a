//! The frames of the Python code that the current thread runs (`tracer_common::runtime::python`).

use core::ffi::c_void;
use core::ptr::read_volatile;

use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_loop, bpf_probe_read_user};
use tracer_common::runtime::python::{
    self, Frame, MAX_FRAME_BYTES, MOST_THREADS, PythonLayout, THREAD_BYTES,
};
use tracer_common::runtime::word::{self, CutFrames};
use tracer_common::runtime::{MAX_FRAMES, MAX_WORDS};
use tracer_common::stack::hash_frame;

use crate::config::config;
use crate::memory::{read_kernel_u64, read_user};
use crate::records::{RUNTIME_WORDS, Thread, Walk};

/// Most bytes of frames that are read at once: to read more has to wait for more of the copy.
const MOST_SPAN: u32 = 1024;
/// Bytes that are read at first: two or three frames. Twice as many after each miss.
const FIRST_SPAN: u32 = 256;
const PAGE: u64 = 4096;

/// A walk of frames. What changes is in the scratch area: the verifier would follow each value by itself.
#[repr(C)]
struct Frames {
    walk: *mut Walk,
    layout: *const PythonLayout,
}

/// What the next frame's address is when the walk has ended, and how is told.
const IS_TOLD: u64 = u64::MAX;

/// Puts a word behind those that there are.
///
/// # Safety
///
/// `walk` must be the scratch area of the current thread.
#[inline(always)]
unsafe fn put(walk: *mut Walk, word: u64) {
    // SAFETY: as the caller promises; the index is masked.
    unsafe {
        let at = (*walk).runtime_words;
        (*walk).window[RUNTIME_WORDS + (at & 127) as usize] = word;
        (*walk).runtime_words = at.wrapping_add(1);
        (*walk).hash = hash_frame((*walk).hash, word);
    }
}

/// Puts the frame before, if there is one, and says why there are no more, unless that is 0. Checked by the verifier
/// apart from the walk.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn end_frames(walk: *mut Walk, cut: u64) -> u64 {
    if walk.is_null() {
        return 0;
    }
    // SAFETY: the scratch area of the current thread.
    unsafe {
        if (*walk).registers.bp != 0 {
            put(walk, (*walk).registers.bp);
        }
        if cut != 0 {
            put(walk, cut);
        }
        (*walk).registers.sp = IS_TOLD;
    }
    0
}

/// Reads a part of the frames that begins or ends with the one at `at`; 1 if that could be read. Checked by the verifier
/// apart from the walk.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn fill_frames(walk: *mut Walk, at: u64, frame_bytes: u32) -> u64 {
    if walk.is_null() || !word::is_object(at) {
        return 0;
    }
    // SAFETY: the walk is the scratch area of the current thread.
    unsafe {
        let span = (*walk).span;
        let end = at.wrapping_add(frame_bytes as u64);
        // Callers lie below, but not below the page: what lies before a chunk of frames may not be mapped, and a read
        // that faults costs as much as four others.
        let mut base = end.wrapping_sub(span as u64);
        if base < at & !(PAGE - 1) {
            base = at & !(PAGE - 1);
        }
        if base > at {
            base = at;
        }
        let len = end.wrapping_sub(base);
        // Volatile, so that the verifier sees the bound at the call.
        let len = read_volatile(&raw const len) & (2 * MOST_SPAN as u64 - 1);
        let window = (&raw mut (*walk).window).cast::<c_void>();
        (*walk).window_len = 0;
        if len > MOST_SPAN as u64
            || bpf_probe_read_user(window, len as u32, base as *const c_void) != 0
        {
            return 0;
        }
        (*walk).window_base = base;
        (*walk).window_len = len;
        if span > MAX_FRAME_BYTES && span < MOST_SPAN {
            (*walk).span = span * 2;
        }
    }
    1
}

/// Most frames that are kept, at least one. The verifier knows the number.
#[inline(always)]
fn most_frames() -> u32 {
    let depth = config!(stack_depth);
    if depth < MAX_FRAMES {
        depth
    } else {
        MAX_FRAMES
    }
}

/// One frame a turn; 1 ends the loop.
unsafe extern "C" fn walk_frame(_turn: u32, frames: *mut Frames) -> i64 {
    // SAFETY: the context given to bpf_loop below, with pointers that were checked for null; indices are masked.
    unsafe {
        let walk = (*frames).walk;
        let layout = &*(*frames).layout;
        let frame = (*walk).registers.sp;
        if frame == 0 {
            return 1;
        }
        let bytes = layout.frame_bytes;
        let mut at = frame.wrapping_sub((*walk).window_base);
        let len = (*walk).window_len;
        let mut cut = 0;
        // In this order: just below the window the sum would wrap around.
        if at >= len || at.wrapping_add(bytes as u64) > len || at & 7 != 0 {
            if fill_frames(walk, frame, bytes) == 0 {
                cut = word::cut(CutFrames::Unreadable);
            }
            at = frame.wrapping_sub((*walk).window_base);
        }
        let first = (read_volatile(&raw const at) >> 3) as u32;
        let window = &raw const (*walk).window;
        let field = |offset: u32| {
            (*window)[(first.wrapping_add(offset >> 3) & (RUNTIME_WORDS as u32 - 1)) as usize]
        };
        let last = (*walk).registers.bp;
        let mut next = 0;
        match python::frame(layout, field) {
            // What the innermost loop executes is not there yet. 3.15 has one below all others, too, of no loop.
            Frame::Shim if last == 0 && field(layout.frame_back) != 0 => {
                next = word::python(0, 0, true)
            }
            Frame::Shim if last == 0 => {}
            Frame::Shim => (*walk).registers.bp = word::ended(last),
            Frame::Invalid => cut = word::cut(CutFrames::Invalid),
            Frame::Code(word) => next = word,
        }
        if next != 0 && (*walk).runtime_words >= most_frames() - 1 {
            cut = word::cut(CutFrames::TooDeep);
        }
        if cut != 0 {
            end_frames(walk, cut);
            return 1;
        }
        if next != 0 {
            if last != 0 {
                put(walk, last);
            }
            (*walk).registers.bp = next;
        }
        (*walk).registers.sp = field(layout.frame_back);
        0
    }
}

/// Puts the words of the current thread's frames behind the native ones. None if it has no state in the runtime.
/// Checked by the verifier apart from its caller.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn walk_python(
    thread: *mut Thread,
    layout: *const PythonLayout,
    runtime: u64,
) -> u64 {
    if thread.is_null() || layout.is_null() {
        return 0;
    }
    // SAFETY: both were checked for null; the callback and its context live as long as the call.
    unsafe {
        let walk = &raw mut (*thread).walk;
        if read_state(thread, layout, runtime) == 0 {
            return 0;
        }
        let word = |offset: u32| (*walk).window[(offset >> 3 & (THREAD_BYTES / 8 - 1)) as usize];
        let mut at = word((*layout).thread_frame);
        if (*layout).current_frame != PythonLayout::DIRECT {
            at = read_user(at.wrapping_add((*layout).current_frame as u64)).unwrap_or(0);
        }
        (*walk).registers.sp = at;
        (*walk).registers.bp = 0;
        (*walk).window_len = 0;
        (*walk).span = FIRST_SPAN;
        let mut frames = Frames { walk, layout };
        bpf_loop(
            MAX_WORDS,
            walk_frame as *mut c_void,
            (&raw mut frames).cast(),
            0,
        );
        match (*walk).registers.sp {
            IS_TOLD => 0,
            0 => end_frames(walk, 0),
            _ => end_frames(walk, word::cut(CutFrames::TooDeep)),
        }
    }
}

/// Reads the current thread's state in the runtime into the window; 1 if it has one. Checked by the verifier apart from
/// its caller.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn read_state(thread: *mut Thread, layout: *const PythonLayout, runtime: u64) -> u64 {
    if thread.is_null() || layout.is_null() {
        return 0;
    }
    // SAFETY: both were checked for null; only this thread writes its state.
    unsafe {
        if (*thread).register == 0 {
            let at = config!(offsets.task_thread) as u64 + config!(offsets.thread_fsbase) as u64;
            if at == 0 {
                return 0;
            }
            (*thread).register = read_kernel_u64(bpf_get_current_task().wrapping_add(at));
        }
        let layout = &*layout;
        if (*thread).runtime_thread != 0 && is_own(thread, layout) {
            return 1;
        }
        (*thread).runtime_thread = find_thread(thread, layout, runtime);
        ((*thread).runtime_thread != 0 && is_own(thread, layout)) as u64
    }
}

/// Whether the thread's state in the runtime is its own, and still alive; the window holds it then.
///
/// # Safety
///
/// `thread` must be the current thread's state, checked for null.
#[inline(always)]
unsafe fn is_own(thread: *mut Thread, layout: &PythonLayout) -> bool {
    // SAFETY: as the caller promises; the index is masked.
    unsafe {
        let walk = &raw mut (*thread).walk;
        let state = (*thread).runtime_thread;
        let len = layout.thread_bytes;
        // Volatile, so that the verifier sees the bound at the call.
        let len = read_volatile(&raw const len) & (2 * THREAD_BYTES - 1);
        let window = (&raw mut (*walk).window).cast::<c_void>();
        if len > THREAD_BYTES || bpf_probe_read_user(window, len, state as *const c_void) != 0 {
            return false;
        }
        let word = |offset: u32| (*walk).window[(offset >> 3 & (THREAD_BYTES / 8 - 1)) as usize];
        python::is_of_thread(layout, (*thread).register, word)
    }
}

/// A look through the interpreters' lists.
#[repr(C)]
struct Search {
    layout: *const PythonLayout,
    register: u64,
    /// The next interpreter.
    interpreter: u64,
    /// The next thread state; 0: that of the next interpreter is to be read.
    thread: u64,
    /// The answer; 0 for none.
    found: u64,
}

/// One list's begin or one thread state a turn; 1 ends the loop.
unsafe extern "C" fn look_at_thread(_turn: u32, search: *mut Search) -> i64 {
    // SAFETY: the context given to bpf_loop below; the layout was checked for null.
    let (search, layout) = unsafe { (&mut *search, &*(*search).layout) };
    let read = |at: u64, offset: u32| read_user(at.wrapping_add(offset as u64)).unwrap_or(0);
    let thread = search.thread;
    if thread == 0 {
        let interpreter = search.interpreter;
        if interpreter == 0 {
            return 1;
        }
        search.thread = read(interpreter, layout.interpreter_threads);
        search.interpreter = read(interpreter, layout.interpreter_next);
        return 0;
    }
    if read(thread, layout.thread_id) == search.register {
        let live = read(thread, layout.thread_live & !7);
        if python::half(layout.thread_live, |_| live) & layout.live_mask != 0 {
            search.found = thread;
            return 1;
        }
    }
    search.thread = read(thread, layout.thread_next);
    0
}

/// The current thread's state in the runtime; 0 if it has none. Threads that have none come here with each allocation: as
/// long as the only interpreter's list begins as it did, it still has none, since new ones are put before the others.
#[inline(always)]
fn find_thread(thread: *mut Thread, layout: &PythonLayout, runtime: u64) -> u64 {
    let read = |at: u64, offset: u32| read_user(at.wrapping_add(offset as u64)).unwrap_or(0);
    let first = read(runtime, layout.interpreters);
    if first == 0 {
        return 0;
    }
    let mut heads = 0;
    if read(first, layout.interpreter_next) == 0 {
        heads = first.rotate_left(32) ^ read(first, layout.interpreter_threads);
    }
    // SAFETY: only this thread writes its state, which was checked for null; the callback and its context live as long
    // as the call.
    unsafe {
        if heads != 0 && (*thread).runtime_heads == heads {
            return 0;
        }
        let mut search = Search {
            layout,
            register: (*thread).register,
            // Not 0: before Linux 6.7 the verifier follows a loop's first turn alone, and takes for granted what that leaves.
            interpreter: read(first, layout.interpreter_next),
            thread: read(first, layout.interpreter_threads),
            found: 0,
        };
        bpf_loop(
            MOST_THREADS,
            look_at_thread as *mut c_void,
            (&raw mut search).cast(),
            0,
        );
        (*thread).runtime_heads = match search.found {
            0 => heads,
            _ => 0,
        };
        search.found
    }
}
