//! A frame of a runtime in one word, which no native address is.
//!
//! Bit 63 is set; the addresses of user space are below 2^47. Bits 60 to 62 tell the kind. Of a frame bits 16 to 59 are
//! the address of its code object in units of 8 bytes, bits 0 to 15 the instruction in it, in the runtime's units.

/// What is in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuntimeFrame {
    /// A frame of CPython.
    Python(Code),
    /// A run of the interpreter's loop in which there is no frame yet.
    NoFrame,
    /// The frames that follow are missing.
    Cut(CutFrames),
    /// A frame of HotSpot's interpreter.
    Java(Interpreted),
}

/// A place in a method that is interpreted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interpreted {
    /// Address of the method.
    pub method: u64,
    /// Address of the bytecode, its lowest 16 bits: a method has at most 65,535 bytes of them.
    pub bytecode: u16,
}

/// A place in the code of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    /// Address of the code object.
    pub object: u64,
    /// Where in it the frame is.
    pub instruction: Instruction,
    /// It is the outermost frame of its run of the interpreter's loop.
    pub ends_run: bool,
}

/// A place among the instructions of a code object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Instruction {
    /// At the one with this number, in units of the runtime.
    At(u16),
    /// Before the first one: the frame is being set up.
    Before,
    /// At one whose number is larger than could be kept.
    Unknown,
}

/// Why frames of a runtime are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CutFrames {
    /// There are more than are kept.
    TooDeep = 1,
    /// A frame could not be read.
    Unreadable = 2,
    /// A frame that cannot be one: an address that is none, or no code object.
    Invalid = 3,
}

const MARK: u64 = 1 << 63;
const KIND_SHIFT: u32 = 60;
const CUT: u64 = 0;
const PYTHON: u64 = 1;
const PYTHON_LAST: u64 = 2;
const JAVA: u64 = 3;
const OBJECT_SHIFT: u32 = 16;
/// Objects are aligned to 8 bytes and lie below 2^47.
const OBJECT_BITS: u32 = 44;
/// Numbers that no instruction has.
const UNKNOWN: u64 = 0xffff;
const BEFORE: u64 = 0xfffe;

/// Whether a word of a stack is a runtime's, not a native address.
#[inline(always)]
pub const fn is_runtime(word: u64) -> bool {
    word >> 63 != 0
}

/// Whether a word is of a frame that has no native address, so that it stands behind those that have one.
#[inline(always)]
pub const fn is_behind(word: u64) -> bool {
    is_runtime(word) && word >> KIND_SHIFT & 7 != JAVA
}

/// Whether an address can be an object's: aligned, and in user space.
#[inline(always)]
pub const fn is_object(address: u64) -> bool {
    address & 7 == 0 && address >> 47 == 0 && address >= 4096
}

/// The word of a frame of CPython, whose code object must be [`is_object`], or 0 for a run without a frame. A negative
/// instruction is before the first one.
#[inline(always)]
pub const fn python(object: u64, instruction: i64, ends_run: bool) -> u64 {
    let kind = if ends_run { PYTHON_LAST } else { PYTHON };
    let instruction = if instruction < 0 {
        BEFORE
    } else if instruction < BEFORE as i64 {
        instruction as u64
    } else {
        UNKNOWN
    };
    MARK | kind << KIND_SHIFT | (object >> 3) << OBJECT_SHIFT | instruction
}

/// The word of a frame of HotSpot's interpreter, whose method must be [`is_object`], at this address of a bytecode.
#[inline(always)]
pub const fn java(method: u64, bytecode: u64) -> u64 {
    MARK | JAVA << KIND_SHIFT | (method >> 3) << OBJECT_SHIFT | bytecode & 0xffff
}

/// The same frame as the outermost one of its run.
#[inline(always)]
pub const fn ended(word: u64) -> u64 {
    word & !(7 << KIND_SHIFT) | PYTHON_LAST << KIND_SHIFT
}

/// Whether a frame is the outermost one of its run.
#[inline(always)]
pub const fn ends_run(word: u64) -> bool {
    word >> KIND_SHIFT & 7 == PYTHON_LAST
}

/// The word that says that frames are missing.
#[inline(always)]
pub const fn cut(why: CutFrames) -> u64 {
    MARK | why as u64
}

/// Address of the code object of a word; 0 if it has none.
#[inline(always)]
pub const fn object(word: u64) -> u64 {
    (word >> OBJECT_SHIFT & ((1 << OBJECT_BITS) - 1)) << 3
}

/// What is in a word; `None` for native addresses, and for what no program writes.
pub const fn decode(word: u64) -> Option<RuntimeFrame> {
    if !is_runtime(word) {
        return None;
    }
    let low = word & 0xffff;
    let kind = word >> KIND_SHIFT & 7;
    match kind {
        CUT => match low {
            1 => Some(RuntimeFrame::Cut(CutFrames::TooDeep)),
            2 => Some(RuntimeFrame::Cut(CutFrames::Unreadable)),
            3 => Some(RuntimeFrame::Cut(CutFrames::Invalid)),
            _ => None,
        },
        PYTHON | PYTHON_LAST => match object(word) {
            0 => Some(RuntimeFrame::NoFrame),
            object => Some(RuntimeFrame::Python(Code {
                object,
                instruction: match low {
                    UNKNOWN => Instruction::Unknown,
                    BEFORE => Instruction::Before,
                    at => Instruction::At(at as u16),
                },
                ends_run: kind == PYTHON_LAST,
            })),
        },
        JAVA => match object(word) {
            0 => None,
            method => Some(RuntimeFrame::Java(Interpreted {
                method,
                bytecode: low as u16,
            })),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_frame_comes_back(object in 512u64..1 << 44, instruction in -2i64..1 << 20, ends_run: bool) {
            let address = object << 3;
            prop_assert!(is_object(address));
            let word = python(address, instruction, ends_run);
            prop_assert!(is_runtime(word));
            let known = match instruction {
                ..0 => Instruction::Before,
                0..0xfffe => Instruction::At(instruction as u16),
                _ => Instruction::Unknown,
            };
            let code = Code { object: address, instruction: known, ends_run };
            prop_assert_eq!(decode(word), Some(RuntimeFrame::Python(code)));
            let last = RuntimeFrame::Python(Code { ends_run: true, ..code });
            prop_assert_eq!(decode(ended(word)), Some(last));
        }

        #[test]
        fn an_interpreted_frame_comes_back(method in 512u64..1 << 44, bytecode: u64) {
            let word = java(method << 3, bytecode);
            prop_assert!(is_runtime(word) && !is_behind(word));
            let told = Interpreted { method: method << 3, bytecode: bytecode as u16 };
            prop_assert_eq!(decode(word), Some(RuntimeFrame::Java(told)));
        }

        #[test]
        fn any_word_can_be_looked_at(word: u64) {
            prop_assert_eq!(decode(word).is_some() && !is_runtime(word), false);
        }
    }

    #[test]
    fn what_is_no_frame_is_told() {
        assert_eq!(decode(python(0, 0, true)), Some(RuntimeFrame::NoFrame));
        for why in [
            CutFrames::TooDeep,
            CutFrames::Unreadable,
            CutFrames::Invalid,
        ] {
            assert_eq!(decode(cut(why)), Some(RuntimeFrame::Cut(why)));
        }
        assert_eq!(decode(0x7fff_0000_1234), None);
        assert_eq!(
            (is_object(0x1001), is_object(8), is_object(1 << 47)),
            (false, false, false)
        );
    }
}
