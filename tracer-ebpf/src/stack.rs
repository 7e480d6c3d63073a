//! Capturing a stack: walk, hash, and store it if it is new.

use core::ffi::c_void;
use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};
use tracer_common::cache::CacheKey;
use tracer_common::config::Process;
use tracer_common::diagnostic::DiagnosticKind;
use tracer_common::key::{Owner, StackKey};
use tracer_common::limits;
use tracer_common::loss::Loss;
use tracer_common::memo::Start;
use tracer_common::rows;
use tracer_common::runtime::{CHECK_WORDS, hotspot};
use tracer_common::stack::{
    End, Memory, Registers, StackMeta, hash_end, hash_frame, step_by_frame_pointer,
};

use tracer_common::unwind::{Position, Rule, Tables, is_plain, step_plain, step_rare};

use crate::arch::order;
use crate::cache::cached;
use crate::config::config;
use crate::diagnose::{lost, say};
use crate::maps::{FRAMES, FREE_ROWS, ROW_CACHE, STACK_ROWS, STACKS, STATE};
use crate::memo;
use crate::memory::{read_user, replace_if};
use crate::records::{RUNTIME_WORDS, WINDOW, Walk};
use crate::trampoline::{replaced_return, trampoline};
use crate::unwind::KernelTables;

/// A window ends where its page ends. The next page of a stack may never have been touched (the kernel leaves a random
/// gap between the arguments and what main() stands on, `arch_align_stack`), and a read that faults costs more than all
/// the rest of the walk.
const PAGE: u64 = 4096;

/// Fills of a walk that is not remembered.
const UNREMEMBERED: u32 = 2;

/// The traced thread's stack, through the window.
struct StackWindow(*mut Walk);

impl Memory for StackWindow {
    #[inline(always)]
    fn read(&mut self, addr: u64) -> Option<u64> {
        let walk = self.0;
        // SAFETY: the walk is part of the thread's state, which was checked for null; the index is masked.
        unsafe {
            let offset = addr.wrapping_sub((*walk).window_base);
            let mut at = 1;
            if offset < (*walk).window_len && offset & 7 == 0 {
                at = (offset >> 3) as usize;
            } else if fill_window(walk, addr) == 0 {
                return None;
            }
            // Volatile, or the compiler drops the mask that the verifier wants to see.
            let at = read_volatile(&raw const at) & (WINDOW - 1);
            Some(note_read(walk, at))
        }
    }
}

/// The same by calls, one for each word: more to do, less to verify.
struct SingleWords(*mut Walk);

impl Memory for SingleWords {
    #[inline(always)]
    fn read(&mut self, addr: u64) -> Option<u64> {
        let walk = self.0;
        // SAFETY: as in `StackWindow`.
        unsafe { (read_word(walk, addr) != 0).then(|| (*walk).word) }
    }
}

/// The word at a place of the window, which the walk has read.
///
/// # Safety
///
/// `walk` must be the scratch area of the current thread, and the place one in the window.
#[inline(always)]
unsafe fn note_read(walk: *mut Walk, at: usize) -> u64 {
    // SAFETY: as the caller promises.
    unsafe {
        let word = (*walk).window[at];
        let count = (*walk).read_count;
        (*walk).reads.note(count, at as u8, word);
        (*walk).read_count = count + 1;
        word
    }
}

/// Reads one word of the stack into `Walk::word`; 0 if it cannot be read.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn read_word(walk: *mut Walk, addr: u64) -> u64 {
    if walk.is_null() {
        return 0;
    }
    let Some(word) = StackWindow(walk).read(addr) else {
        return 0;
    };
    // SAFETY: as in `StackWindow`.
    unsafe { (*walk).word = word };
    1
}

/// Reads a part of the stack in which `addr` is the second word; 1 if that word could be read, 0 if not.
///
/// Called by the walk only, and checked by the verifier apart from it.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn fill_window(walk: *mut Walk, addr: u64) -> u64 {
    if walk.is_null() {
        return 0;
    }
    // SAFETY: the walk is the scratch area of the current thread, as above.
    unsafe {
        let base = addr.wrapping_sub(8);
        let mut len = PAGE - (base & (PAGE - 1));
        if len > (WINDOW * 8) as u64 {
            len = (WINDOW * 8) as u64;
        }
        // Volatile, so that the verifier sees the bound at the call.
        let len = read_volatile(&raw const len) & (2 * PAGE - 1);
        let window = (&raw mut (*walk).window).cast::<c_void>();
        if len > 8
            && len <= (WINDOW * 8) as u64
            && bpf_probe_read_user(window, len as u32, base as *const c_void) == 0
        {
            (*walk).window_base = base;
            (*walk).window_len = len & !7;
            (*walk).fills += 1;
            return 1;
        }
        // What the window held may be overwritten.
        (*walk).window_len = 0;
        (*walk).fills += UNREMEMBERED;
        let Some(word) = read_user(addr) else {
            return 0;
        };
        (*walk).window[1] = word;
        1
    }
}

#[repr(C)]
struct LoopContext {
    walk: *mut Walk,
}

/// One frame a turn; 1 ends the loop.
unsafe extern "C" fn walk_frame(_turn: u32, context: *mut LoopContext) -> i64 {
    // SAFETY: the context is the one given to bpf_loop below.
    unsafe {
        let walk = (*context).walk;
        let mut registers = (*walk).registers;
        let count = (*walk).frames;
        if count >= config!(stack_depth) {
            (*walk).end = End::TooDeep as u32;
            return 1;
        }
        if registers.ip == (*walk).trampoline {
            // What that is is not read from the stack.
            (*walk).fills += UNREMEMBERED;
            registers.ip = replaced_return(registers.ip, registers.sp);
            if registers.ip == 0 {
                (*walk).end = End::ReturnProbe as u32;
                return 1;
            }
        }
        (*walk).addresses[(count & 127) as usize] = registers.ip;
        (*walk).frames = count + 1;
        let before = (*walk).hash;
        (*walk).hash = hash_frame(before, registers.ip);
        let memory = &mut StackWindow(walk);
        let stepped = if config!(unwind) == 0 {
            step_by_frame_pointer(&mut registers, memory)
        } else {
            let mut position = (*walk).position;
            let rule = KernelTables {
                mappings: (*walk).mappings,
                generation: (*walk).generation,
            }
            .rule(position.lookup_address(registers.ip));
            if !is_plain(rule) {
                (*walk).registers.ip = registers.ip;
                let ended = walk_rare_frame(walk, rule.0, before);
                // Volatile, or the compiler drops the mask by which the verifier sees that it is 0 or 1.
                return read_volatile(&raw const ended) as i64 & 1;
            }
            let stepped = step_plain(&mut registers, &mut position, rule, memory);
            if stepped.is_ok() {
                (*walk).position = position;
            }
            stepped
        };
        if let Err(end) = stepped {
            (*walk).end = end as u32;
            return 1;
        }
        (*walk).registers = registers;
        0
    }
}

/// The step over a frame whose rule is not plain, with the hash of the frames before it; 1 if the walk ends there.
/// Checked by the verifier apart from the rest.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn walk_rare_frame(walk: *mut Walk, rule: u32, before: u64) -> u64 {
    if walk.is_null() {
        return 1;
    }
    // SAFETY: the walk is the scratch area of the current thread.
    unsafe {
        let mut registers = (*walk).registers;
        let mut position = (*walk).position;
        let memory = &mut SingleWords(walk);
        if rule == Rule::INTERPRETED.0
            && let Some(word) = hotspot::frame(registers.bp, memory)
        {
            let last = (*walk).frames.wrapping_sub(1);
            (*walk).addresses[(last & 127) as usize] = word;
            (*walk).hash = hash_frame(before, word);
        }
        if let Err(end) = step_rare(&mut registers, &mut position, Rule(rule), memory) {
            (*walk).end = end as u32;
            return 1;
        }
        (*walk).registers = registers;
        (*walk).position = position;
    }
    0
}

/// Stores one word a turn: the native frames, then those of a runtime with the words that belong to them.
unsafe extern "C" fn store_frame(turn: u32, context: *mut LoopContext) -> i64 {
    // SAFETY: as in `walk_frame`.
    unsafe {
        let walk = (*context).walk;
        let Some(frame) = FRAMES.get_ptr_mut((*walk).store_at.wrapping_add(turn)) else {
            return 1;
        };
        // By arithmetic, since the verifier would follow each way by itself: 0 for a native frame, 1 behind them.
        let behind = (*walk).frames.wrapping_sub(1).wrapping_sub(turn) >> 31;
        let at = turn.wrapping_sub((*walk).frames.wrapping_mul(behind)) as u64;
        // The scratch area's two arrays lie side by side. Volatile, so that both are masked as 64-bit numbers: Linux
        // 6.1 does not know the bounds of what 32-bit ones are joined to.
        let array = behind as u64 * (128 + RUNTIME_WORDS as u64);
        let words = (&raw const (*walk).addresses).cast::<u64>();
        let word = words
            .add((read_volatile(&raw const at) & 127) as usize)
            .add((read_volatile(&raw const array) & (128 + RUNTIME_WORDS as u64)) as usize);
        write_volatile(frame, read_volatile(word));
        0
    }
}

/// Words that a stack takes in its row.
///
/// # Safety
///
/// `walk` must be the scratch area of the current thread.
#[inline(always)]
unsafe fn stored_words(walk: *mut Walk) -> u32 {
    // SAFETY: as the caller promises.
    let (native, of_runtime) = unsafe { ((*walk).frames, (*walk).runtime_words) };
    match of_runtime {
        0 => native,
        words => native.wrapping_add(words).wrapping_add(CHECK_WORDS),
    }
}

/// Where a walk begins.
pub struct Innermost {
    /// Registers of the innermost frame.
    pub registers: Registers,
    /// 1: it stands on an instruction; 0: behind a call.
    pub on_instruction: u32,
}

/// No row: the stack goes on in a language runtime, for which another program is (see `runtime`).
pub const IN_RUNTIME: u32 = rows::NO_ROW - 1;

/// Captures the stack whose innermost frame has these registers behind a call, and returns its row, or [`IN_RUNTIME`].
///
/// # Safety
///
/// `walk` must be the scratch area of the current thread's state, `process` its process's row.
#[inline(always)]
pub unsafe fn capture(
    walk: *mut Walk,
    registers: Registers,
    process: *mut Process,
    slot: u32,
) -> u32 {
    let innermost = Innermost {
        registers,
        on_instruction: 0,
    };
    // SAFETY: as the caller promises.
    unsafe { capture_from(walk, innermost, process, slot) }
}

/// As [`capture`], from anywhere.
///
/// # Safety
///
/// As for [`capture`].
#[inline(always)]
pub unsafe fn capture_from(
    walk: *mut Walk,
    innermost: Innermost,
    process: *mut Process,
    slot: u32,
) -> u32 {
    let mut context = LoopContext { walk };
    // SAFETY: as the caller promises; the callback and its context live as long as the call.
    unsafe {
        (*walk).registers = innermost.registers;
        (*walk).position = if innermost.on_instruction == 0 {
            Position::CALL
        } else {
            Position::INSTRUCTION
        };
        (*walk).on_instruction = innermost.on_instruction;
        // In this order: user space writes them the other way round, so that no rule of old mappings is remembered as
        // one of new ones.
        (*walk).generation = read_volatile(&raw const (*process).generation);
        order::after_read();
        (*walk).mappings = read_volatile(&raw const (*process).mappings);
        (*walk).trampoline = trampoline(process);
        (*walk).hash = 0;
        (*walk).window_len = 0;
        (*walk).frames = 0;
        (*walk).read_count = 0;
        (*walk).fills = 0;
        (*walk).runtime_words = 0;
        (*walk).end = End::TooDeep as u32;
        let owner = (*process).owner;
        let start = Start {
            registers: innermost.registers,
            whose: Start::whose(owner.tgid, read_volatile(&raw const (*process).code)),
            generation: (*walk).generation as u64,
        };
        if innermost.on_instruction == 0
            && read_volatile(&raw const (*process).runtime) == 0
            && let Some(row) = memo::recall(walk, &start)
        {
            return row;
        }
        bpf_loop(
            limits::MAX_DEPTH + 1,
            walk_frame as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
        // Read once more: the verifier would follow the walk with and without a runtime.
        if read_volatile(&raw const (*process).runtime) != 0 {
            return IN_RUNTIME;
        }
        let key = key(walk, process);
        let row = row_of(walk, &key, owner);
        if row == rows::NO_ROW {
            lost(Loss::StackTableFull);
            return slot; // the process's own row
        }
        if innermost.on_instruction == 0 && start.whose == Start::whose(key.tgid, key.code) {
            memo::remember(walk, &start, row);
        }
        row
    }
}

/// The key of the stack that was walked.
///
/// # Safety
///
/// As for [`capture`].
#[inline(always)]
pub unsafe fn key(walk: *mut Walk, process: *mut Process) -> StackKey {
    // SAFETY: as the caller promises.
    unsafe {
        StackKey {
            hash: hash_end((*walk).hash, End::from_raw((*walk).end)),
            tgid: (*process).owner.tgid,
            code: read_volatile(&raw const (*process).code),
        }
    }
}

/// The row of the stack that was walked, a new one if need be; `NO_ROW` if the tables are full.
#[inline(always)]
fn row_of(walk: *mut Walk, key: &StackKey, owner: Owner) -> u32 {
    let cache_key = CacheKey::of_stack(key);
    let Some(entry) = ROW_CACHE.get_ptr_mut(cache_key.index(limits::ROW_CACHE_BITS)) else {
        return rows::NO_ROW;
    };
    // SAFETY: a copy of a u32; what is removed is of programs that are over.
    let find = || match unsafe { STACK_ROWS.get(key).copied() } {
        Some(row) => row,
        None => store(walk, key.hash, key.code, owner.tgid, owner.image),
    };
    // SAFETY: a map element that was checked for null.
    unsafe { cached(entry, cache_key, find, |row| row != rows::NO_ROW) }
}

/// A row that is being looked for.
#[repr(C)]
struct Search {
    /// Class of the ring to look into next.
    class: u32,
    /// The row, or `NO_ROW`.
    row: u32,
}

/// Most attempts to take a row: more than there are rings, as other threads may be faster.
const ATTEMPTS: u32 = 64;

/// Takes a free row out of its ring, or goes on to the next class; 1 ends the loop.
unsafe extern "C" fn take_row(_turn: u32, search: *mut Search) -> i64 {
    // SAFETY: the context given to bpf_loop below.
    let search = unsafe { &mut *search };
    let class = search.class;
    let Some(state) = STATE.get_ptr_mut(0) else {
        return 1;
    };
    if class >= rows::CLASSES {
        return 1;
    }
    // SAFETY: a map element that was checked for null; the index is masked.
    unsafe {
        let ring = &raw mut (*state).free_rows[(class & (rows::RINGS - 1)) as usize];
        let taken = read_volatile(&raw const (*ring).taken);
        if taken == read_volatile(&raw const (*ring).put) {
            search.class = class + 1;
            return 0;
        }
        order::after_read();
        let Some(row) = FREE_ROWS.get_ptr(rows::ring_index(class & (rows::RINGS - 1), taken))
        else {
            return 1;
        };
        // The entry is not written again before it counts as taken.
        let row = read_volatile(row) as u32;
        if !replace_if(&raw mut (*ring).taken, taken, taken.wrapping_add(1)) {
            return 0;
        }
        search.row = row;
    }
    1
}

/// Gives a new stack a row and writes its frames; `NO_ROW` if the tables are full. Checked by the verifier apart from
/// the walk.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn store(walk: *mut Walk, hash: u64, code: u32, tgid: u32, image: u32) -> u32 {
    if walk.is_null() {
        return rows::NO_ROW;
    }
    let mut context = LoopContext { walk };
    // SAFETY: map elements that were checked for null, and the current thread's scratch area; the callbacks and their
    // contexts live as long as the calls.
    unsafe {
        let frames = (*walk).frames.wrapping_add((*walk).runtime_words);
        if (*walk).end != End::Complete as u32 {
            say(DiagnosticKind::CutStack, frames as u64, (*walk).end);
        }
        let mut search = Search {
            class: rows::class_for(stored_words(walk)),
            row: rows::NO_ROW,
        };
        bpf_loop(
            ATTEMPTS,
            take_row as *mut c_void,
            (&raw mut search).cast(),
            0,
        );
        let row = search.row;
        let Some(meta) = STACKS.get_ptr_mut(row) else {
            return rows::NO_ROW;
        };
        let first_frame = rows::first_frame(row, search.class);
        (*walk).store_at = first_frame;
        bpf_loop(
            stored_words(walk),
            store_frame as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
        *meta = StackMeta {
            owner: Owner { tgid, image },
            code,
            first_frame,
            frames,
            end: (*walk).end,
            on_instruction: (*walk).on_instruction,
            state: StackMeta::EMPTY,
        };
        let key = StackKey { hash, tgid, code };
        if STACK_ROWS.insert(key, row, BPF_NOEXIST as u64).is_ok() {
            order::before_write();
            write_volatile(&raw mut (*meta).state, StackMeta::READY);
            return row;
        }
        // Another thread stored the same stack first, or there is no memory.
        write_volatile(&raw mut (*meta).state, StackMeta::ABANDONED);
        STACK_ROWS.get(key).copied().unwrap_or(rows::NO_ROW)
    }
}
