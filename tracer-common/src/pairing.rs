//! Pairing an allocator call's entry with its return, per thread.
//!
//! The outermost call wins: what `realloc` does through `malloc` and `free` inside is `realloc`'s own
//! business. Calls are told apart by the stack pointer at the entry, which is where the return
//! address lies: it is unique among the calls that a thread has open.

use crate::key::LiveBlock;

/// A traced call that has been entered and not left yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Pending {
    /// Stack pointer at the entry, the address of the return address; 0: no call is open.
    pub sp: u64,
    /// The return address where the call is seen to end at its `ret` instructions; 0: where the
    /// return address is replaced by the kernel's trampoline.
    pub ret: u64,
    /// Bytes asked for.
    pub size: u64,
    /// Where the callee stores the new address (`posix_memalign`); 0: it returns it.
    pub out: u64,
    /// Address of the block that is replaced (`realloc`); 0: none.
    pub old_addr: u64,
    /// That block, taken out of the live map for as long as the call is open. Of one that was not there only the size
    /// is told, by its header; 0 where that does not tell.
    pub old: LiveBlock,
    /// Number of the function.
    pub function: u32,
    /// See the constants of this type.
    pub flags: u32,
}

impl Pending {
    /// `old` holds a tracked block.
    pub const HAS_OLD: u32 = 1;
    /// The new block is to be tracked: it passed the filters and was sampled.
    pub const RECORD: u32 = 2;
    /// The old block is gone even if the call fails.
    pub const FREES_ON_FAILURE: u32 = 4;
    /// Where the step of the sampling interval at the entry begins.
    pub const STEP_SHIFT: u32 = 8;

    /// Step of the sampling interval by which [`Self::RECORD`] was decided.
    #[inline(always)]
    pub const fn step(&self) -> u32 {
        self.flags >> Self::STEP_SHIFT
    }

    /// Whether a call is open.
    #[inline(always)]
    pub const fn is_open(&self) -> bool {
        self.sp != 0
    }

    /// Whether the flag is set.
    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether this call ends where `sp` is the address of its return address.
    #[inline(always)]
    pub const fn ends_at(&self, sp: u64, function: u32) -> bool {
        self.sp == sp && self.function == function
    }
}

/// How a new call stands to the one that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nesting {
    /// No call is open: the new one is the outermost.
    Outermost,
    /// The new call happens inside the open one.
    Inner,
    /// The open call will never return: the thread has left it by `longjmp` or an exception.
    Stale,
}

const _: () = assert!(size_of::<Pending>() == 72);
