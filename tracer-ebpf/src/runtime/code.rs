//! Code objects: what is read of one, and the stamp by which it is known again.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};
use tracer_common::config::Process;
use tracer_common::runtime::python::{CODE_BYTES, PythonLayout, half};
use tracer_common::runtime::word;
use tracer_common::stack::hash_frame;

use super::layout;
use crate::records::{RUNTIME_WORDS, Walk};

/// Where the head of a code object lies in the window, in words; what its texts begin with follows.
pub const HEAD: usize = 0;
/// Its name.
pub const NAME: usize = 32;
/// The name of its file.
pub const FILE: usize = 40;
/// Its table of lines.
pub const LINES: usize = 48;
/// Bytes of a text's head: reference count, type, length, hash, state (Include/cpython/unicodeobject.h).
pub const TEXT_HEAD: u32 = 40;
/// Bytes of the head and the begin of a table of lines: reference count, type, length, hash, data
/// (Include/cpython/bytesobject.h).
const LINES_HEAD: u32 = 64;
/// The same where what follows is not mapped.
const LINES_LEAST: u32 = 32;

/// Reads the head of a code object and of what it refers to into the window; its stamp, or 0 if it cannot be read. Two
/// that differ in their name, file, first line or in the begin of their lines differ in their stamps.
///
/// Checked by the verifier apart from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn read_code(walk: *mut Walk, layout: *const PythonLayout, object: u64) -> u64 {
    if walk.is_null() || layout.is_null() {
        return 0;
    }
    // SAFETY: both were checked for null; the walk is the scratch area of the current thread.
    unsafe {
        let layout = &*layout;
        if !read(walk, HEAD, CODE_BYTES, object) {
            return 0;
        }
        let word = |offset: u32| (*walk).window[(offset >> 3 & 31) as usize];
        let (name, file, lines) = (
            word(layout.code_name),
            word(layout.code_file),
            word(layout.code_lines),
        );
        let first_line = half(layout.code_first_line, word);
        if !read(walk, NAME, TEXT_HEAD, name) {
            return 0;
        }
        if !read(walk, LINES, LINES_HEAD, lines) {
            (*walk).window[LINES + 4] = 0;
            (*walk).window[LINES + 5] = 0;
            (*walk).window[LINES + 6] = 0;
            (*walk).window[LINES + 7] = 0;
            if !read(walk, LINES, LINES_LEAST, lines) {
                return 0;
            }
        }
        let mut stamp = hash_frame(first_line as u64 | 1 << 32, file);
        // Lengths and hashes, and the first bytes of the lines.
        for at in [
            NAME + 2,
            NAME + 3,
            LINES + 2,
            LINES + 4,
            LINES + 5,
            LINES + 6,
        ] {
            stamp = hash_frame(stamp, (*walk).window[at]);
        }
        stamp | 1
    }
}

/// Reads memory of the traced thread to a place in the window.
///
/// # Safety
///
/// `walk` must be the scratch area of the current thread, and the place one in its lower half.
#[inline(always)]
pub unsafe fn read(walk: *mut Walk, at: usize, len: u32, from: u64) -> bool {
    // SAFETY: as the caller promises.
    unsafe {
        let to = (&raw mut (*walk).window[at]).cast::<c_void>();
        bpf_probe_read_user(to, len, from as *const c_void) == 0
    }
}

/// The stamps of a stack's code objects.
#[repr(C)]
struct Stamps {
    walk: *mut Walk,
    layout: *const PythonLayout,
    stamp: u64,
}

/// Mixes one frame's in; 1 ends the loop.
unsafe extern "C" fn add_stamp(turn: u32, stamps: *mut Stamps) -> i64 {
    // SAFETY: the context given to bpf_loop below, with pointers that were checked for null; the index is masked.
    unsafe {
        let walk = (*stamps).walk;
        if turn >= (*walk).runtime_words {
            return 1;
        }
        let object = word::object((*walk).window[RUNTIME_WORDS + (turn & 127) as usize]);
        if object != 0 {
            let stamp = read_code(walk, (*stamps).layout, object);
            (*stamps).stamp = hash_frame((*stamps).stamp, stamp);
        }
    }
    0
}

/// A stamp of all code objects of the stack that was walked. Checked by the verifier apart from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn stamp_of_stack(walk: *mut Walk, process: *mut Process) -> u64 {
    if walk.is_null() || process.is_null() {
        return 0;
    }
    let Some(layout) = layout(process) else {
        return 0;
    };
    let mut stamps = Stamps {
        walk,
        layout,
        stamp: 0,
    };
    // SAFETY: the callback and its context live as long as the call.
    unsafe { bpf_loop(128, add_stamp as *mut c_void, (&raw mut stamps).cast(), 0) };
    stamps.stamp
}
