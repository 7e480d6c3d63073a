//! Keys and values of the BPF maps: who owns a block, and what is kept of it.

/// Identity of one program image: a process, from one `exec` to the next.
///
/// `image` is drawn from a counter that never repeats within a trace, so neither an `exec` nor a
/// reused PID can make two programs' blocks meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(C)]
pub struct Owner {
    /// Thread-group id, as the initial PID namespace sees it.
    pub tgid: u32,
    /// Number of the program image.
    pub image: u32,
}

/// Key of a live block: two processes share addresses, so the address alone is not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct AllocKey {
    /// Address that the allocator returned.
    pub addr: u64,
    /// Who owns it.
    pub owner: Owner,
}

/// What is kept of a live block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct LiveBlock {
    /// Bytes that the program asked for.
    pub size: u64,
    /// `CLOCK_MONOTONIC` at the allocation, in nanoseconds.
    pub time_ns: u64,
    /// Row of the stack tables.
    pub stack: u32,
    /// Number of the function in the user side's table.
    pub function: u32,
}

/// Key of a stack: the same addresses in two programs, or before and after a library was unmapped, are two stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
/// In a sampled trace the numbers are estimates, and counts are in units of 1/[`COUNT_ONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
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

/// Fixed-point one of the counts in [`StackTotals`]: a sampled block stands for a fractional number of blocks.
pub const COUNT_ONE: u64 = 1 << 20;

const _: () = assert!(size_of::<Owner>() == 8);
const _: () = assert!(size_of::<AllocKey>() == 16);
const _: () = assert!(size_of::<LiveBlock>() == 24);
const _: () = assert!(size_of::<StackKey>() == 16);
const _: () = assert!(size_of::<StackTotals>() == 32);
