//! Walking a thread's stack, one frame a step, with memory behind a trait.
//!
//! The kernel runs this code on the traced thread's stack, the tests run it on arrays.

use zerocopy::{FromBytes, IntoBytes};

pub use crate::arch::native::{Registers, is_code_address, step_by_frame_pointer};
use crate::limits::MAX_DEPTH;

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum End {
    /// The walk goes on; never stored.
    Walking = 0,
    /// The outermost frame was reached.
    Complete = 1,
    /// The stack has more frames than are kept.
    TooDeep = 2,
    /// The frame pointer does not lead on: the code there was built without frame pointers.
    BadFramePointer = 3,
    /// The stack could not be read.
    Unreadable = 4,
    /// A return address cannot be one.
    BadReturnAddress = 5,
    /// The address is in no mapping that was known, as in a library that has just been loaded.
    NoMapping = 6,
    /// The unwind table has a rule there that this walk cannot follow.
    UnsupportedRule = 7,
    /// The caller's stack pointer cannot be one: the walk would not move up.
    BadStackPointer = 8,
    /// A return probe has put its own address in place of the return address.
    ReturnProbe = 9,
    /// The file's unwind table could not be read or is not loaded.
    NoTable = 10,
}

impl End {
    /// Reads the reason back; unknown values count as unreadable.
    pub const fn from_raw(raw: u32) -> Self {
        match raw {
            0 => Self::Walking,
            1 => Self::Complete,
            2 => Self::TooDeep,
            3 => Self::BadFramePointer,
            5 => Self::BadReturnAddress,
            6 => Self::NoMapping,
            7 => Self::UnsupportedRule,
            8 => Self::BadStackPointer,
            9 => Self::ReturnProbe,
            10 => Self::NoTable,
            _ => Self::Unreadable,
        }
    }

    /// Why the stack is cut, as a clause for the report; `None` for a whole stack.
    pub const fn clause(self) -> Option<&'static str> {
        match self {
            Self::Complete => None,
            Self::Walking => Some("the walk was interrupted"),
            Self::TooDeep => Some("deeper than the frames kept"),
            Self::BadFramePointer => Some("no frame pointer leads on from here"),
            Self::Unreadable => Some("the stack could not be read"),
            Self::BadReturnAddress => Some("the next frame has no return address"),
            Self::NoMapping => Some("code there was not known yet"),
            Self::UnsupportedRule => Some("the unwind table has an unsupported rule there"),
            Self::BadStackPointer => Some("the caller's stack pointer cannot be one"),
            Self::ReturnProbe => Some("a return probe hides the caller"),
            Self::NoTable => Some("the file's unwind table is not available"),
        }
    }
}

/// A thread's memory.
pub trait Memory {
    /// Reads the 8 bytes at `addr`; `None` if they are not mapped.
    fn read(&mut self, addr: u64) -> Option<u64>;
}

/// Mixes one frame into a stack's hash.
#[inline(always)]
pub const fn hash_frame(hash: u64, ip: u64) -> u64 {
    (hash.rotate_left(5) ^ ip).wrapping_mul(0x517c_c1b7_2722_0a95)
}

/// Finishes a stack's hash; how the walk ended belongs to the stack's identity.
#[inline(always)]
pub const fn hash_end(hash: u64, end: End) -> u64 {
    let mixed = hash ^ (end as u64) << 56 ^ hash >> 32;
    mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Hash of a whole stack.
pub fn hash_stack(frames: &[u64], end: u32) -> u64 {
    let hash = frames.iter().fold(0, |hash, ip| hash_frame(hash, *ip));
    hash_end(hash, End::from_raw(end))
}

/// Frames of a stack row as the kernel stored them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct StackMeta {
    /// Whose stack.
    pub owner: crate::key::Owner,
    /// Number of the set of code that the addresses mean (see `Process::code`).
    pub code: u32,
    /// First entry in the frame store.
    pub first_frame: u32,
    /// Number of frames.
    pub frames: u32,
    /// An [`End`].
    pub end: u32,
    /// 1: the first frame stands on an instruction, as in a page fault; 0: it stands behind a call.
    pub on_instruction: u32,
    /// One of the constants of this type; written last.
    pub state: u32,
}

impl StackMeta {
    /// The row has not been written, or not completely.
    pub const EMPTY: u32 = 0;
    /// The row is complete.
    pub const READY: u32 = 1;
    /// Another thread stored the same stack first; this row stays unused.
    pub const ABANDONED: u32 = 2;

    /// Whether the first address is a return address, as all others are.
    pub const fn first_is_return(&self) -> bool {
        self.on_instruction == 0
    }
}

const _: () = assert!(size_of::<StackMeta>() == 32);
const _: () = assert!(MAX_DEPTH < 128, "the scratch area holds 128 frames");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::x86_64::{Registers, USER_END, step_by_frame_pointer};
    use proptest::prelude::*;

    /// A stack that begins at `base`.
    struct Words<'a> {
        base: u64,
        words: &'a [u64],
    }

    impl Memory for Words<'_> {
        fn read(&mut self, addr: u64) -> Option<u64> {
            let offset = addr.checked_sub(self.base)?;
            if !offset.is_multiple_of(8) {
                return None;
            }
            self.words.get((offset / 8) as usize).copied()
        }
    }

    fn walk(mut registers: Registers, memory: &mut impl Memory) -> (Vec<u64>, End) {
        let mut frames = vec![registers.ip];
        loop {
            if let Err(end) = step_by_frame_pointer(&mut registers, memory) {
                return (frames, end);
            }
            frames.push(registers.ip);
        }
    }

    /// Two frames linked by their saved frame pointers, the outer one's being zero.
    #[test]
    fn follows_saved_frame_pointers_to_the_outermost_frame() {
        let base = 0x7000_0000;
        let words = [0, 0, base + 0x30, 0x40_1111, 0, 0, 0, 0x40_2222];
        let start = Registers {
            ip: 0x40_0000,
            sp: base,
            bp: base + 0x10,
        };
        let (frames, end) = walk(
            start,
            &mut Words {
                base,
                words: &words,
            },
        );
        assert_eq!(frames, [0x40_0000, 0x40_1111, 0x40_2222]);
        assert_eq!(end, End::Complete);
    }

    /// A register that is used for something else ends the walk, and the reason is told.
    #[test]
    fn refuses_what_cannot_be_a_frame_pointer() {
        let base = 0x7000_0000;
        let mut memory = Words {
            base,
            words: &[1, 0x40_0000],
        };
        for (bp, end) in [
            (1, End::BadFramePointer),
            (base - 8, End::BadFramePointer),
            (base + 4, End::BadFramePointer),
            (base + 0x1000, End::Unreadable),
            (u64::MAX - 7, End::BadFramePointer),
        ] {
            let mut registers = Registers {
                ip: 0x40_0000,
                sp: base,
                bp,
            };
            assert_eq!(
                step_by_frame_pointer(&mut registers, &mut memory),
                Err(end),
                "bp {bp:#x}"
            );
        }
    }

    /// A frame pointer that points to itself does not loop.
    #[test]
    fn self_linked_frame_ends() {
        let base = 0x7000_0000;
        let words = [base, 0x40_1111];
        let start = Registers {
            ip: 0x40_0000,
            sp: base,
            bp: base,
        };
        assert_eq!(
            walk(
                start,
                &mut Words {
                    base,
                    words: &words
                }
            )
            .1,
            End::BadFramePointer
        );
    }

    proptest! {
        /// Whatever the stack holds, the walk ends, within as many frames as the stack has words.
        #[test]
        fn every_walk_ends(words in proptest::collection::vec(0u64..0x200, 0..64), bp in 0u64..0x200) {
            let base = 0x1000;
            let words: Vec<u64> = words.iter().map(|word| word * 8 + base).collect();
            let start = Registers { ip: 0x40_0000, sp: base, bp: base + bp * 8 };
            let (frames, end) = walk(start, &mut Words { base, words: &words });
            prop_assert!(frames.len() <= words.len() + 1);
            prop_assert_ne!(end, End::Walking);
        }

        /// Stacks that differ in one frame or in their end differ in their hash.
        #[test]
        fn hash_tells_stacks_apart(frames in proptest::collection::vec(0x1000u64..USER_END, 1..40), at: prop::sample::Index) {
            let hash = |frames: &[u64], end: End| hash_stack(frames, end as u32);
            let mut other = frames.clone();
            *at.get_mut(&mut other) ^= 1;
            prop_assert_ne!(hash(&frames, End::Complete), hash(&other, End::Complete));
            prop_assert_ne!(hash(&frames, End::Complete), hash(&frames, End::TooDeep));
        }
    }
}
