//! Where things are in CPython 3.8 to 3.12, which does not tell, and what later versions do not tell.
//!
//! Offsets by compiling against the headers of each version for x86-64 (Include/cpython/*.h, Include/internal/*.h); they
//! are the same in all releases of a minor version.

use tracer_common::runtime::python::PythonLayout;

/// What all builds with the global interpreter lock have.
const COMMON: PythonLayout = PythonLayout {
    interpreters: 0,
    interpreter_next: 0,
    interpreter_threads: 0,
    thread_next: 8,
    thread_id: 0,
    thread_live: 0,
    // The counter of PyGILState_Ensure, which gives a thread's state back at 0.
    live_mask: u32::MAX,
    thread_bytes: 192,
    thread_frame: 0,
    current_frame: PythonLayout::DIRECT,
    frame_code: 0,
    frame_back: 0,
    frame_instruction: 0,
    frame_end: 0,
    end_least: 1,
    frame_bytes: 80,
    flags: 0,
    code_instructions: 0,
    code_first_line: 0,
    code_file: 112,
    code_name: 128,
    code_lines: 136,
    text_ascii: 48,
    text_wide: 72,
    text_shift: 2,
    version: 0,
};

const V3_9: PythonLayout = PythonLayout {
    interpreters: 32,
    interpreter_threads: 8,
    thread_id: 176,
    thread_live: 160,
    thread_frame: 24,
    frame_code: 32,
    frame_back: 24,
    frame_instruction: 104,
    frame_bytes: 112,
    flags: PythonLayout::EACH_IS_RUN | PythonLayout::COUNTS_BYTES,
    code_first_line: 40,
    code_file: 104,
    code_name: 112,
    code_lines: 120,
    version: 0x3_0009,
    ..COMMON
};

const V3_10: PythonLayout = PythonLayout {
    frame_instruction: 96,
    frame_bytes: 104,
    flags: PythonLayout::EACH_IS_RUN | PythonLayout::COUNTS_UNITS,
    version: 0x3_000a,
    ..V3_9
};

const V3_11: PythonLayout = PythonLayout {
    interpreters: 40,
    interpreter_threads: 16,
    thread_id: 152,
    thread_live: 136,
    thread_frame: 56,
    current_frame: 8,
    frame_code: 32,
    frame_back: 48,
    frame_instruction: 56,
    frame_end: 68,
    code_instructions: 184,
    code_first_line: 72,
    version: 0x3_000b,
    ..COMMON
};

const V3_12: PythonLayout = PythonLayout {
    interpreters: 40,
    interpreter_threads: 72,
    thread_id: 136,
    // `_status.bound_gilstate`: set in the state that the thread has attached last, cleared when it is deleted.
    thread_live: 24,
    live_mask: BOUND_GILSTATE,
    thread_frame: 56,
    current_frame: 0,
    frame_back: 8,
    frame_instruction: 56,
    frame_end: 70,
    end_least: OWNED_BY_INTERPRETER,
    flags: PythonLayout::END_IS_SHIM,
    code_instructions: 192,
    code_first_line: 68,
    text_ascii: 40,
    text_wide: 56,
    version: 0x3_000c,
    ..COMMON
};

/// `_status.bound_gilstate` (Include/cpython/pystate.h, 3.12 to 3.15).
pub const BOUND_GILSTATE: u32 = 8;
/// `FRAME_OWNED_BY_CSTACK` in 3.12 and 3.13, `FRAME_OWNED_BY_INTERPRETER` since; what is above is no program's frame
/// either (Include/internal/pycore_frame.h, pycore_interpframe_structs.h).
pub const OWNED_BY_INTERPRETER: u32 = 3;

/// The layout of a minor version that does not tell its offsets.
pub fn layout(minor: u32) -> Option<PythonLayout> {
    Some(match minor {
        8 => PythonLayout {
            version: 0x3_0008,
            ..V3_9
        },
        9 => V3_9,
        10 => V3_10,
        11 => V3_11,
        12 => V3_12,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_read_is_within_what_is_read_at_once() {
        for minor in 8..=12 {
            let layout = layout(minor).expect("known");
            assert!(layout.is_valid(), "3.{minor}");
            assert_eq!(layout.version, 0x3_0000 | minor);
        }
        assert_eq!(layout(7), None);
    }
}
