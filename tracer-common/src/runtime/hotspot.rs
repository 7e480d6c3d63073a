//! Frames of HotSpot's interpreter, which say themselves which method they execute.
//!
//! Offsets from the frame pointer are those of all versions from 11 on (OpenJDK, src/hotspot/cpu/x86/frame_x86.hpp).

use super::word;
use crate::stack::Memory;

/// Below the frame pointer: the caller's stack pointer.
pub const SENDER_SP: u64 = 8;
/// Below the frame pointer: the method.
const METHOD: u64 = 24;
/// Below the frame pointer: the address of the bytecode that is executed.
const BYTECODE: u64 = 64;

/// The word of the interpreted frame with this frame pointer; `None` if it is not one, or cannot be read.
#[inline(always)]
pub fn frame(bp: u64, memory: &mut impl Memory) -> Option<u64> {
    // The lower address first: a reader that fetches upwards then has both at once.
    let bytecode = memory.read(bp.wrapping_sub(BYTECODE))?;
    let method = memory.read(bp.wrapping_sub(METHOD))?;
    word::is_object(method).then(|| word::java(method, bytecode))
}

#[cfg(test)]
mod tests {
    use super::super::word::{Interpreted, RuntimeFrame, decode};
    use super::*;

    struct Frame;

    impl Memory for Frame {
        fn read(&mut self, address: u64) -> Option<u64> {
            match address {
                0x7000 => Some(0x7f00_1234_5678),
                0x7028 => Some(0x7f00_0000_1000),
                _ => None,
            }
        }
    }

    #[test]
    fn a_frame_tells_its_method() {
        let word = frame(0x7040, &mut Frame).expect("a frame");
        let told = Interpreted {
            method: 0x7f00_0000_1000,
            bytecode: 0x5678,
        };
        assert_eq!(decode(word), Some(RuntimeFrame::Java(told)));
        assert_eq!(frame(0x8000, &mut Frame), None);
    }
}
