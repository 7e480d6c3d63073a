//! Sizes of the tables in the kernel, and where each number comes from.

/// Processes that a trace can follow at one time: what a large host runs. Each has a row of 64 bytes, and one of the
/// stack tables for what its own stacks could not hold; the rows of those that have ended are used again.
pub const MAX_PROCESSES: u32 = 1 << 13;

/// Rows for stacks of up to 16 words; there are half as many for 32, and so on to a sixteenth for 256: 126,976 in all.
/// The longest are for stacks with frames of a language runtime behind the native ones. Node under load shows some 10,000 distinct stacks, a request server a few thousand, the processes of a host
/// some hundred each. The frames take 8 MiB for each class, 40 MiB in all; a row besides takes 136 bytes, 17 MiB in
/// all, and 80 more where a stack is in it.
pub const SHORT_STACKS: u32 = 1 << 16;

/// Most frames of one stack, the kernel's own limit too (`PERF_MAX_STACK_DEPTH`).
pub const MAX_DEPTH: u32 = 127;

/// Executable mappings of all processes together, old and new side by side while one replaces the other.
pub const MAX_MAPPINGS: u32 = 1 << 16;

/// Files with an unwind table.
pub const MAX_FILES: u32 = 1 << 13;

/// Remembered unwind rules, as a power of two: 1 MiB. Programs run through a few thousand call sites.
pub const RULE_CACHE_BITS: u32 = 16;

/// Remembered rows of stacks, as a power of two: 128 KiB. The stacks that allocate often are few.
pub const ROW_CACHE_BITS: u32 = 13;

/// Remembered stack walks, as a power of two: 640 KiB. One for each stack that allocates often, in each thread.
pub const MEMO_BITS: u32 = 10;

/// Rows of the unwind tables where nothing else is said: 8 MiB. User space sizes the table by the files at hand.
pub const DEFAULT_UNWIND_ROWS: u32 = 1 << 20;

/// Buckets of the unwind tables where nothing else is said: 64 MiB of code.
pub const DEFAULT_UNWIND_BUCKETS: u32 = 1 << 18;

/// Live blocks that there is room for by default. The table has 4 MiB at first; it takes 46 to 91 bytes for each block
/// of a million and more, 480 MiB for all of them.
pub const DEFAULT_MAX_LIVE: u32 = 1 << 23;

/// Bytes of the ring buffer for `memlens trace`: 150,000 events.
pub const TRACE_RING_BYTES: u32 = 8 << 20;

/// Bytes of the ring buffer for changes of address spaces: 70,000 events, more than a second at the greatest rate that
/// a program with an address space of its own is likely to have.
pub const SPACE_RING_BYTES: u32 = 8 << 20;

/// Bytes of the ring buffer for diagnostic messages, where there are any: 8,000 messages.
pub const DIAGNOSTICS_RING_BYTES: u32 = 256 << 10;

/// Bytes of the ring buffer for process events (exec, exit, admission): 8,000 events, in case all processes of a host
/// begin to be traced at once.
pub const LIFECYCLE_RING_BYTES: u32 = 256 << 10;

/// Code objects of language runtimes whose names are known to have been told. A large program has some 20,000 functions
/// that allocate.
pub const MAX_CODES: u32 = 1 << 16;

/// Bytes of the ring buffer for names of code objects: 2,900 of them, more than are new between two looks.
pub const NOTES_RING_BYTES: u32 = 4 << 20;
