//! What the code objects of a new stack are called, sent to user space while the thread that runs them stands still.

use core::ffi::c_void;
use core::ptr::{read_volatile, write_unaligned};

use aya_ebpf::helpers::generated::{
    bpf_loop, bpf_probe_read_user, bpf_ringbuf_reserve, bpf_ringbuf_submit,
};
use tracer_common::config::Process;
use tracer_common::key::Owner;
use tracer_common::loss::Loss;
use tracer_common::runtime::note::{CodeKey, NoteHead, ROOM, Text, note_bytes};
use tracer_common::runtime::python::{self, PythonLayout, half};
use tracer_common::runtime::word as frame_word;

use super::code::{self, FILE, LINES, NAME};
use super::layout;
use crate::diagnose::lost;
use crate::maps::{CODES, NOTES};
use crate::records::{RUNTIME_WORDS, Thread, Walk};

/// A look at the code objects of a stack.
#[repr(C)]
struct Telling {
    walk: *mut Walk,
    layout: *const PythonLayout,
    owner: Owner,
    /// 1: one was not told. What user space knows by its address is another one, so that the stack must not be told
    /// either.
    is_dropped: u64,
}

/// Tells the code objects of the thread's new stack that are not known, then the stack itself.
///
/// # Safety
///
/// Both must have been checked for null.
#[inline(always)]
pub unsafe fn tell(thread: *mut Thread, process: *mut Process) {
    // SAFETY: only this thread writes its state; the callback and its context live as long as the call.
    unsafe {
        let Some(layout) = layout(process) else {
            return;
        };
        let owner = (*process).owner;
        let mut telling = Telling {
            walk: &raw mut (*thread).walk,
            layout,
            owner,
            is_dropped: 0,
        };
        bpf_loop(128, tell_code as *mut c_void, (&raw mut telling).cast(), 0);
        if telling.is_dropped != 0 {
            return;
        }
        let Some(mut entry) = NOTES.reserve_untyped::<NoteHead>(0) else {
            lost(Loss::NamesDropped);
            return;
        };
        entry.write(NoteHead {
            owner,
            row: (*thread).row,
            ..NoteHead::default()
        });
        entry.submit(0);
    }
}

/// One code object a turn; 1 ends the loop.
unsafe extern "C" fn tell_code(turn: u32, telling: *mut Telling) -> i64 {
    // SAFETY: the context given to bpf_loop above, with pointers that were checked for null; the index is masked.
    unsafe {
        let walk = (*telling).walk;
        if turn >= (*walk).runtime_words {
            return 1;
        }
        let object = frame_word::object((*walk).window[RUNTIME_WORDS + (turn & 127) as usize]);
        if object == 0 {
            return 0;
        }
        let owner = (*telling).owner;
        let key = CodeKey {
            object,
            image: owner.image,
            reserved: 0,
        };
        let stamp = code::read_code(walk, (*telling).layout, object);
        if stamp == 0 {
            lost(Loss::CodeUnreadable);
            (*telling).is_dropped = 1;
            return 0;
        }
        if CODES.get(key).copied() == Some(stamp) {
            return 0;
        }
        let head = NoteHead {
            object,
            owner,
            ..NoteHead::default()
        };
        if send(walk, (*telling).layout, &head) != 0 {
            // Full: it is told again.
            let _ = CODES.insert(key, stamp, 0);
        } else {
            lost(Loss::NamesDropped);
            (*telling).is_dropped = 1;
        }
    }
    0
}

/// Sends the record of the code object that was read into the window; 0 if there was no room. Checked by the verifier
/// apart from its caller.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn send(walk: *mut Walk, layout: *const PythonLayout, head: *const NoteHead) -> u64 {
    if walk.is_null() || layout.is_null() || head.is_null() {
        return 0;
    }
    // SAFETY: all were checked for null; the walk is the scratch area of the current thread.
    unsafe {
        if !code::read(walk, FILE, code::TEXT_HEAD, word(walk, (*layout).code_file)) {
            (*walk).window[FILE + 2] = 0;
        }
        let lines = Part {
            from: word(walk, (*layout).code_lines).wrapping_add(BYTES_DATA),
            bytes: (*walk).window[LINES + 2],
            kind: 1,
        };
        let record = Record {
            head: &*head,
            name: text(walk, NAME, layout, word(walk, (*layout).code_name)),
            file: text(walk, FILE, layout, word(walk, (*layout).code_file)),
            first_line: half((*layout).code_first_line, |offset| word(walk, offset)),
            version: (*layout).version,
            lines,
        };
        let [name, file, lines] = ROOM[0];
        // One test of all three, so that the verifier follows two ways.
        let excess = excess(record.name.bytes, name)
            | excess(record.file.bytes, file)
            | excess(record.lines.bytes, lines);
        if read_volatile(&raw const excess) == 0 {
            write::<0, { note_bytes(ROOM[0]) as u64 }>(&record)
        } else {
            write::<1, { note_bytes(ROOM[1]) as u64 }>(&record)
        }
    }
}

/// 0: so many bytes are less than there is room for. No branch, of which the verifier of Linux 6.1 would follow both sides
/// for each text.
#[inline(always)]
fn excess(bytes: u64, room: u32) -> u64 {
    bytes / room as u64
}

/// In a bytes object: the data (Include/cpython/bytesobject.h).
const BYTES_DATA: u64 = 32;

/// A word of the code object in the window.
///
/// # Safety
///
/// `walk` must be the scratch area of the current thread.
#[inline(always)]
unsafe fn word(walk: *mut Walk, offset: u32) -> u64 {
    // SAFETY: as the caller promises; the index is masked.
    unsafe { (*walk).window[(offset >> 3 & 31) as usize] }
}

/// What is copied to a record.
struct Part {
    /// Where it lies in the traced thread's memory.
    from: u64,
    /// How long it is.
    bytes: u64,
    /// Bytes of one character.
    kind: u32,
}

/// The text whose head is at a place in the window.
///
/// # Safety
///
/// `walk` must be the scratch area of the current thread.
#[inline(always)]
unsafe fn text(walk: *mut Walk, at: usize, layout: *const PythonLayout, object: u64) -> Part {
    // SAFETY: as the caller promises.
    let (length, state) = unsafe { ((*walk).window[at + 2], (*walk).window[at + 4]) };
    let characters = characters(layout, state);
    let kind = characters as u32;
    Part {
        from: object.wrapping_add(characters >> 32),
        bytes: length.wrapping_mul(kind as u64),
        kind,
    }
}

/// Bytes of a character of a text with this state, and where its characters begin in the upper half. Checked by the
/// verifier apart from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn characters(layout: *const PythonLayout, state: u64) -> u64 {
    if layout.is_null() {
        return 0;
    }
    // SAFETY: checked for null.
    let (kind, at) = python::characters(unsafe { &*layout }, state as u32);
    kind as u64 | (at as u64) << 32
}

/// What is in a record.
struct Record<'a> {
    head: &'a NoteHead,
    name: Part,
    file: Part,
    lines: Part,
    first_line: u32,
    version: u32,
}

/// Writes a record with this much room; 0 if the ring has none. What is longer is cut off.
///
/// # Safety
///
/// The window must hold the code object.
#[inline(always)]
unsafe fn write<const ROOM_INDEX: usize, const BYTES: u64>(record: &Record<'_>) -> u64 {
    let room = ROOM[ROOM_INDEX];
    // SAFETY: the map is a live static; the record has BYTES bytes, and each copy stays within its part of them.
    unsafe {
        let ring = (&raw const NOTES).cast_mut().cast();
        let at = bpf_ringbuf_reserve(ring, BYTES, 0).cast::<u8>();
        if at.is_null() {
            return 0;
        }
        let mut to = at.add(size_of::<NoteHead>());
        let name = copy(to, &record.name, room[0]);
        to = to.add(room[0] as usize);
        let file = copy(to, &record.file, room[1]);
        to = to.add(room[1] as usize);
        let lines = copy(to, &record.lines, room[2]);
        write_unaligned(
            at.cast::<NoteHead>(),
            NoteHead {
                object: record.head.object,
                owner: record.head.owner,
                row: 0,
                first_line: record.first_line,
                name,
                file,
                lines: lines.bytes,
                all_lines: record.lines.bytes as u32,
                version: record.version,
                reserved: 0,
            },
        );
        bpf_ringbuf_submit(at.cast(), 0);
    }
    1
}

/// Copies as much as there is room for, less a byte, and tells how much that is. No branch, of which the verifier of
/// Linux 6.1 would follow both sides for each text.
///
/// # Safety
///
/// There must be this much room, a power of two.
#[inline(always)]
unsafe fn copy(to: *mut u8, part: &Part, room: u32) -> Text {
    let most = room as i64 - 1;
    // Below 0 where there is less than the most.
    let over = part.bytes as i64 - most;
    let len = (most + (over & over >> 63)) as u32;
    // SAFETY: the length is within the room; the helper checks the source, and writes zeros where it cannot be read.
    unsafe {
        // Volatile, so that the verifier sees the bound at the call.
        let len = read_volatile(&raw const len) & (room - 1);
        // A length of 0 is allowed (kernel/trace/bpf_trace.c, ARG_CONST_SIZE_OR_ZERO).
        let error = bpf_probe_read_user(to.cast(), len, part.from as *const c_void);
        Text {
            bytes: len & !(error >> 63) as u32,
            kind: part.kind | ((over > 0) as u32) << 16,
        }
    }
}
