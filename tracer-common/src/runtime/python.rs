//! The frames of CPython's interpreter, by the offsets of its version: one way for all of them.
//!
//! The kernel runs this code on the traced thread's memory, the tests run it on arrays.

use zerocopy::{FromBytes, IntoBytes};

use super::MAX_FRAMES;
use super::word::{self, CutFrames};
use crate::stack::Memory;

/// Most bytes of a thread state that are read: what is needed lies within.
pub const THREAD_BYTES: u32 = 256;
/// Bytes of a code object that are read.
pub const CODE_BYTES: u32 = 192;
/// Bytes of a frame that are read at the most.
pub const MAX_FRAME_BYTES: u32 = 120;

/// Where things are in one build of CPython, in bytes, and how its frames are to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct PythonLayout {
    /// In `_PyRuntime`: the first interpreter state.
    pub interpreters: u32,
    /// In an interpreter state: the next one.
    pub interpreter_next: u32,
    /// In an interpreter state: its first thread state.
    pub interpreter_threads: u32,
    /// In a thread state: the next one.
    pub thread_next: u32,
    /// In a thread state: `pthread_self()` of its thread, which is the thread register with glibc and musl.
    pub thread_id: u32,
    /// In a thread state: 4 bytes of which [`Self::live_mask`] has a bit set while the state is its thread's.
    pub thread_live: u32,
    /// See [`Self::thread_live`].
    pub live_mask: u32,
    /// Bytes of a thread state that are read.
    pub thread_bytes: u32,
    /// In a thread state: the current frame, or where that is.
    pub thread_frame: u32,
    /// Where [`Self::thread_frame`] leads to: the current frame; [`Self::DIRECT`] if it leads to the frame itself.
    pub current_frame: u32,
    /// In a frame: its code object.
    pub frame_code: u32,
    /// In a frame: its caller's.
    pub frame_back: u32,
    /// In a frame: the instruction.
    pub frame_instruction: u32,
    /// In a frame: the byte that tells where a run of the interpreter's loop ends.
    pub frame_end: u32,
    /// The least value of that byte that does.
    pub end_least: u32,
    /// Bytes of a frame that are read.
    pub frame_bytes: u32,
    /// Some of the flags of this type.
    pub flags: u32,
    /// In a code object: its first instruction, where instructions are addresses.
    pub code_instructions: u32,
    /// In a code object: its first line.
    pub code_first_line: u32,
    /// In a code object: the name of its file.
    pub code_file: u32,
    /// In a code object: its name, the qualified one if there is one.
    pub code_name: u32,
    /// In a code object: the table of its lines.
    pub code_lines: u32,
    /// In a string: the characters, where all are ASCII.
    pub text_ascii: u32,
    /// In a string: the characters, where not all are.
    pub text_wide: u32,
    /// In the state of a string: the lowest of the three bits that tell the bytes of a character; behind them stand the
    /// one for "compact" and the one for "ASCII".
    pub text_shift: u32,
    /// Version: major in the upper half, minor in the lower half.
    pub version: u32,
}

const _: () = assert!(size_of::<PythonLayout>() == 104);

impl PythonLayout {
    /// A thread state leads to the current frame by itself.
    pub const DIRECT: u32 = u32::MAX;
    /// Each frame is a run of the interpreter's loop.
    pub const EACH_IS_RUN: u32 = 1;
    /// The frame that ends a run is none of the program's.
    pub const END_IS_SHIM: u32 = 2;
    /// The instruction is a number of bytes.
    pub const COUNTS_BYTES: u32 = 4;
    /// The instruction is a number of units of two bytes.
    pub const COUNTS_UNITS: u32 = 8;
    /// The lowest bits of the pointer to a code object are a tag.
    pub const IS_TAGGED: u32 = 16;

    /// Whether all that is read lies within what is read at once.
    pub fn is_valid(&self) -> bool {
        let word = |offset: u32, bytes: u32| offset <= bytes - 8;
        let thread = self.thread_bytes <= THREAD_BYTES
            && self.thread_bytes >= 8
            && word(self.thread_id, self.thread_bytes)
            && word(self.thread_live & !7, self.thread_bytes)
            && word(self.thread_frame, self.thread_bytes);
        let frame = self.frame_bytes <= MAX_FRAME_BYTES
            && self.frame_bytes >= 8
            && word(self.frame_code, self.frame_bytes)
            && word(self.frame_back, self.frame_bytes)
            && word(self.frame_instruction & !7, self.frame_bytes)
            && word(self.frame_end & !7, self.frame_bytes);
        let code = word(self.code_first_line & !7, CODE_BYTES)
            && word(self.code_file, CODE_BYTES)
            && word(self.code_name, CODE_BYTES)
            && word(self.code_lines, CODE_BYTES);
        let aligned = (self.thread_id
            | self.thread_frame
            | self.frame_code
            | self.frame_back
            | self.code_file
            | self.code_name
            | self.code_lines)
            & 7
            == 0;
        let halves = (self.thread_live | self.code_first_line | self.frame_instruction) & 3 == 0;
        thread && frame && code && aligned && halves
    }
}

/// The characters of a string with this state: bytes of one, and where they begin. No bytes for a string whose characters
/// lie elsewhere, which no compiler makes.
#[inline(always)]
pub fn characters(layout: &PythonLayout, state: u32) -> (u32, u32) {
    let bits = state >> (layout.text_shift & 31);
    if bits & 8 == 0 {
        return (0, 0);
    }
    let at = match bits & 16 {
        0 => layout.text_wide,
        _ => layout.text_ascii,
    };
    (bits & 7, at)
}

/// Four bytes of a structure whose words `field` tells by their offsets.
#[inline(always)]
pub fn half(offset: u32, field: impl Fn(u32) -> u64) -> u32 {
    (field(offset) >> ((offset & 4) * 8)) as u32
}

/// Whether a thread state, whose words `field` tells, is that of the thread with this thread register.
#[inline(always)]
pub fn is_of_thread(layout: &PythonLayout, register: u64, field: impl Fn(u32) -> u64) -> bool {
    field(layout.thread_id) == register && half(layout.thread_live, field) & layout.live_mask != 0
}

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A frame of the program's.
    Code(u64),
    /// One that ends the run of the frame before it, and is none of the program's.
    Shim,
    /// Not a frame.
    Invalid,
}

/// The frame whose words `field` tells.
#[inline(always)]
pub fn frame(layout: &PythonLayout, field: impl Fn(u32) -> u64) -> Frame {
    let end = (field(layout.frame_end) >> ((layout.frame_end & 7) * 8)) as u8 as u32;
    let ends = layout.flags & PythonLayout::EACH_IS_RUN != 0 || end >= layout.end_least;
    if ends && layout.flags & PythonLayout::END_IS_SHIM != 0 {
        return Frame::Shim;
    }
    let mut code = field(layout.frame_code);
    if layout.flags & PythonLayout::IS_TAGGED != 0 {
        code &= !7;
    }
    if !word::is_object(code) {
        return Frame::Invalid;
    }
    let raw = field(layout.frame_instruction);
    let number = (raw >> ((layout.frame_instruction & 4) * 8)) as u32 as i32 as i64;
    let instruction = if layout.flags & PythonLayout::COUNTS_UNITS != 0 {
        number
    } else if layout.flags & PythonLayout::COUNTS_BYTES != 0 {
        number >> 1
    } else {
        let bytes = raw
            .wrapping_sub(code)
            .wrapping_sub(layout.code_instructions as u64);
        bytes as i64 >> 1
    };
    Frame::Code(word::python(code, instruction, ends))
}

/// The walk, as the programs do it, over memory that is read word by word: the words of a thread's frames, innermost
/// first. `runtime` is the address of `_PyRuntime`, `register` the thread's register. Nothing if the thread has no
/// thread state.
pub fn walk(
    layout: &PythonLayout,
    runtime: u64,
    register: u64,
    memory: &mut impl Memory,
    most: u32,
    mut told: impl FnMut(u64),
) {
    let Some(thread) = find_thread(layout, runtime, register, memory) else {
        return;
    };
    let mut at = memory
        .read(thread.wrapping_add(layout.thread_frame as u64))
        .unwrap_or(0);
    if layout.current_frame != PythonLayout::DIRECT {
        at = memory
            .read(at.wrapping_add(layout.current_frame as u64))
            .unwrap_or(0);
    }
    let mut last = None;
    let mut count = 0;
    // As many as the programs look at: shims are not counted among the frames.
    for _ in 0..2 * MAX_FRAMES {
        if at == 0 {
            break;
        }
        let words = word::is_object(at)
            .then(|| read_frame(layout, at, memory))
            .flatten();
        let Some(words) = words else {
            told_last(&mut last, &mut told);
            told(word::cut(CutFrames::Unreadable));
            return;
        };
        let field = |offset: u32| words[(offset >> 3) as usize];
        match frame(layout, field) {
            Frame::Shim => match last {
                Some(word) => last = Some(word::ended(word)),
                // What the innermost loop executes is not there yet. 3.15 has one below all others, too, of no loop.
                None if count == 0 && field(layout.frame_back) != 0 => {
                    last = Some(word::python(0, 0, true));
                }
                None => {}
            },
            Frame::Invalid => {
                told_last(&mut last, &mut told);
                told(word::cut(CutFrames::Invalid));
                return;
            }
            Frame::Code(word) => {
                told_last(&mut last, &mut told);
                if count >= most {
                    told(word::cut(CutFrames::TooDeep));
                    return;
                }
                count += 1;
                last = Some(word);
            }
        }
        at = field(layout.frame_back);
    }
    told_last(&mut last, &mut told);
    if at != 0 {
        told(word::cut(CutFrames::TooDeep));
    }
}

/// A word is told when it is known whether it ends its run.
fn told_last(last: &mut Option<u64>, told: &mut impl FnMut(u64)) {
    if let Some(word) = last.take() {
        told(word);
    }
}

fn read_frame(
    layout: &PythonLayout,
    at: u64,
    memory: &mut impl Memory,
) -> Option<[u64; (MAX_FRAME_BYTES / 8) as usize]> {
    let mut words = [0; (MAX_FRAME_BYTES / 8) as usize];
    for (number, word) in words
        .iter_mut()
        .enumerate()
        .take((layout.frame_bytes / 8) as usize)
    {
        *word = memory.read(at.wrapping_add(number as u64 * 8))?;
    }
    Some(words)
}

/// Most thread states that are looked through.
pub const MOST_THREADS: u32 = 4096;

/// The state of a thread, from the interpreters' lists.
pub fn find_thread(
    layout: &PythonLayout,
    runtime: u64,
    register: u64,
    memory: &mut impl Memory,
) -> Option<u64> {
    let mut interpreter = memory.read(runtime.wrapping_add(layout.interpreters as u64))?;
    let mut thread = 0;
    for _ in 0..MOST_THREADS {
        if thread == 0 {
            if interpreter == 0 {
                return None;
            }
            thread = memory
                .read(interpreter.wrapping_add(layout.interpreter_threads as u64))
                .unwrap_or(0);
            interpreter = memory
                .read(interpreter.wrapping_add(layout.interpreter_next as u64))
                .unwrap_or(0);
            continue;
        }
        let mut words = |offset: u32| memory.read(thread.wrapping_add(offset as u64)).unwrap_or(0);
        let id = words(layout.thread_id);
        let live = words(layout.thread_live & !7);
        let field = |offset: u32| {
            if offset == layout.thread_id { id } else { live }
        };
        if is_of_thread(layout, register, field) {
            return Some(thread);
        }
        thread = memory
            .read(thread.wrapping_add(layout.thread_next as u64))
            .unwrap_or(0);
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::runtime::word::{Instruction, RuntimeFrame, decode};

    const BASE: u64 = 0x7f00_0000_0000;

    /// Memory of a few words.
    struct Words(Vec<u64>);

    impl Memory for Words {
        fn read(&mut self, addr: u64) -> Option<u64> {
            let offset = addr.checked_sub(BASE)?;
            self.0
                .get((offset / 8) as usize)
                .copied()
                .filter(|_| offset % 8 == 0)
        }
    }

    /// Offsets as of 3.12, but close to one another.
    const LAYOUT: PythonLayout = PythonLayout {
        interpreters: 0,
        interpreter_next: 0,
        interpreter_threads: 8,
        thread_next: 0,
        thread_id: 8,
        thread_live: 16,
        live_mask: 8,
        thread_bytes: 32,
        thread_frame: 24,
        current_frame: PythonLayout::DIRECT,
        frame_code: 0,
        frame_back: 8,
        frame_instruction: 16,
        frame_end: 24,
        end_least: 3,
        frame_bytes: 32,
        flags: PythonLayout::END_IS_SHIM,
        code_instructions: 16,
        code_first_line: 0,
        code_file: 8,
        code_name: 16,
        code_lines: 24,
        text_ascii: 40,
        text_wide: 56,
        text_shift: 2,
        version: 0x3_000c,
    };

    fn walked(words: Vec<u64>, register: u64) -> Vec<u64> {
        let mut found = Vec::new();
        walk(
            &LAYOUT,
            BASE,
            register,
            &mut Words(words),
            MAX_FRAMES,
            |word| found.push(word),
        );
        found
    }

    /// Two threads, of which the second one has three frames in two runs.
    #[test]
    fn the_frames_of_the_own_thread_are_found() {
        let at = |word: u64| BASE + word * 8;
        let code = |number: u64| 0x50_0000 + number * 0x1000;
        let mut words = vec![0; 64];
        words[0] = at(2); // the interpreter
        words[2..4].copy_from_slice(&[0, at(4)]);
        words[4..8].copy_from_slice(&[at(8), 77, 8, 0]);
        words[8..12].copy_from_slice(&[0, 78, 8, at(12)]);
        words[12..16].copy_from_slice(&[code(1), at(16), code(1) + 16 + 6, 0]);
        words[16..20].copy_from_slice(&[code(2), at(20), code(2) + 14, 0]);
        words[20..24].copy_from_slice(&[1, at(24), 0, 3]); // ends the run
        words[24..28].copy_from_slice(&[code(3), at(28), code(3) + 16, 1]);
        words[28..32].copy_from_slice(&[1, 0, 0, 3]);
        let frames: Vec<_> = walked(words.clone(), 78).into_iter().map(decode).collect();
        let frame = |number, instruction, ends_run| {
            Some(RuntimeFrame::Python(word::Code {
                object: code(number),
                instruction,
                ends_run,
            }))
        };
        assert_eq!(
            frames,
            [
                frame(1, Instruction::At(3), false),
                frame(2, Instruction::Before, true),
                frame(3, Instruction::At(0), true),
            ]
        );
        assert!(walked(words.clone(), 77).is_empty());
        // A state that is given back is nobody's.
        words[10] = 0;
        assert!(walked(words, 78).is_empty());
    }

    /// Frames in a circle end, and that is told.
    #[test]
    fn a_circle_of_frames_ends() {
        let at = |word: u64| BASE + word * 8;
        let mut words = vec![0; 32];
        words[0] = at(2);
        words[2..4].copy_from_slice(&[0, at(4)]);
        words[4..8].copy_from_slice(&[0, 78, 8, at(8)]);
        words[8..12].copy_from_slice(&[0x50_0000, at(8), 0x50_0010, 0]);
        let found = walked(words, 78);
        assert_eq!(found.len() as u32, MAX_FRAMES + 1);
        assert_eq!(found.last(), Some(&word::cut(CutFrames::TooDeep)));
    }

    proptest! {
        /// Whatever a traced program has there: the walk ends, all words are a runtime's, and no more than there is
        /// room for.
        #[test]
        fn every_walk_ends(
            words in proptest::collection::vec(
                prop_oneof![Just(0u64), (0u64..64).prop_map(|at| BASE + at * 8), 0u64..300, any::<u64>()], 0..64),
            register in 0u64..300,
        ) {
            let found = walked(words, register);
            prop_assert!(found.len() as u32 <= MAX_FRAMES + 2);
            prop_assert!(found.iter().all(|word| decode(*word).is_some()));
        }
    }
}
