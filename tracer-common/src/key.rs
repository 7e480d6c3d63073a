//! Keys and values of the BPF maps: who owns a block, and what is kept of it.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::sampling;

/// Identity of one program image: a process, from one `exec` to the next.
///
/// `image` is drawn from a counter that never repeats within a trace, so neither an `exec` nor a
/// reused PID can make two programs' blocks meet.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    FromBytes,
    Immutable,
    IntoBytes,
)]
#[repr(C)]
pub struct Owner {
    /// Thread-group id, as the initial PID namespace sees it.
    pub tgid: u32,
    /// Number of the program image.
    pub image: u32,
}

/// Key of a live block: two processes share addresses, so the address alone is not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes)]
#[repr(C)]
pub struct AllocKey {
    /// Address that the allocator returned.
    pub addr: u64,
    /// Who owns it.
    pub owner: Owner,
}

/// What is kept of a live block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct LiveBlock {
    /// Bytes that the program asked for.
    pub size: u64,
    /// `CLOCK_MONOTONIC` at the allocation, in nanoseconds.
    pub time_ns: u64,
    /// Row of the stack tables.
    pub stack: u32,
    /// Number of the function in the user side's table, and the step of the sampling interval: see [`Self::step`].
    pub function: u32,
}

impl LiveBlock {
    /// Where the step begins in `function`; functions are counted by the thousand at most.
    const STEP_SHIFT: u32 = 24;

    /// A function's number and the step at the allocation, as they are kept.
    #[inline(always)]
    pub const fn function_and_step(function: u32, step: u32) -> u32 {
        (function & ((1 << Self::STEP_SHIFT) - 1)) | step << Self::STEP_SHIFT
    }

    /// Step of the sampling interval when it was allocated (see [`crate::sampling::interval`]); 0 unless the trace is
    /// adaptive.
    #[inline(always)]
    pub const fn step(&self) -> u32 {
        self.function >> Self::STEP_SHIFT
    }

    /// How many bytes and blocks (in 1/[`sampling::COUNT_ONE`]) it stands for, in a trace whose first interval is
    /// `base`.
    ///
    /// Depends on nothing but the block: what its allocation has added to the totals its release takes off, whatever
    /// the interval is by then.
    #[inline(always)]
    pub fn weight(&self, base: u64) -> (u64, u64) {
        sampling::weight(self.size, sampling::interval(base, self.step()))
    }
}

/// Key of a stack: the same addresses in two programs, or before and after a library was unmapped, are two stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes)]
#[repr(C)]
pub struct StackKey {
    /// 64-bit hash over the frames.
    pub hash: u64,
    /// Thread-group id.
    pub tgid: u32,
    /// Number of the set of code that the addresses mean.
    pub code: u32,
}

/// Running totals of one stack row. Counters only grow; live is allocated minus freed.
///
/// In a sampled trace the numbers are estimates, and counts are in units of 1/[`sampling::COUNT_ONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct StackTotals {
    /// Bytes allocated since the start.
    pub alloc_bytes: u64,
    /// Blocks allocated since the start.
    pub alloc_count: u64,
    /// Bytes released since the start.
    pub free_bytes: u64,
    /// Blocks released since the start.
    pub free_count: u64,
}

const _: () = assert!(size_of::<Owner>() == 8);
const _: () = assert!(size_of::<AllocKey>() == 16);
const _: () = assert!(size_of::<LiveBlock>() == 24);
const _: () = assert!(size_of::<StackKey>() == 16);
const _: () = assert!(size_of::<StackTotals>() == 32);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Neither the function nor the step gets lost, and a block weighs what its own interval says.
        #[test]
        fn function_and_step_share_a_word(function in 0u32..1 << 24, step in 0u32..=sampling::MAX_STEP, size in 1u64..1 << 40, base in 0u64..1 << 36) {
            let block = LiveBlock { size, function: LiveBlock::function_and_step(function, step), ..LiveBlock::default() };
            prop_assert_eq!((block.function & 0x00ff_ffff, block.step()), (function, step));
            prop_assert_eq!(block.weight(base), sampling::weight(size, sampling::interval(base, step)));
        }
    }
}
