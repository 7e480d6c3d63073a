//! Frames of language runtimes: what the programs read of an interpreter's own stack, in the thread that runs it.
//!
//! A stack that goes through an interpreter is stored as its native addresses, then one word for each frame of the
//! runtime, both innermost first. User space puts the latter in the place of the native frames of the interpreter's
//! loop: each run of that loop executes one *run* of frames.
//!
//! HotSpot's interpreter has a native frame for each method that it executes, in which it says which one that is: the
//! word takes the place of the native address.

pub mod hotspot;
pub mod note;
pub mod python;
pub mod word;

/// Most frames of a runtime that are kept of one stack: as many as there is room for in the largest row, with as many
/// native ones as there can be, the word that tells of a cut, and [`CHECK_WORDS`].
pub const MAX_FRAMES: u32 = 124;

/// Words behind the frames of a stack in its row by which the programs know that the code objects on it are still those
/// that it was stored with: a stamp of them, when the stack was stored, and when the stamp was compared last.
pub const CHECK_WORDS: u32 = 3;

/// Different layouts of runtimes that a trace can have at one time: one for each version and build.
pub const MAX_LAYOUTS: u32 = 64;

/// For so long the code objects of a stack are compared at each allocation, in nanoseconds: most of those that die
/// young do so within a millisecond, 69 of 100 within this time. Later once in a tick of the clock.
pub const YOUNG_NS: u64 = 100_000_000;

/// Most words of a stack, native and of a runtime.
pub const MAX_WORDS: u32 = crate::limits::MAX_DEPTH + MAX_FRAMES + 1;

const _: () = assert!(MAX_WORDS + CHECK_WORDS <= 256);
const _: () = assert!(
    MAX_FRAMES + 1 + CHECK_WORDS <= 128,
    "the scratch area has room for 128"
);
