//! What the programs keep for themselves: the state of a thread, with the scratch area of its stack walk.

use tracer_common::memo::Reads;
use tracer_common::pairing::Pending;
use tracer_common::stack::Registers;
use tracer_common::unwind::{Position, Range};

/// State of one thread. At most 4 KiB, the largest element of the allocator behind task storage
/// (`BPF_MEM_ALLOC_SIZE_MAX`, kernel/bpf/memalloc.c).
#[repr(C)]
pub struct Thread {
    /// The allocator call that it is in.
    pub pending: Pending,
    /// Row of its process plus one; 0 until it is known.
    pub slot: u32,
    /// Probe hits that its process's row does not know of yet.
    pub hits: u32,
    /// Bytes until the next sample point; 0 before the first.
    pub budget: u64,
    /// Step of the sampling interval that the budget was drawn for.
    pub budget_step: u32,
    /// Keeps the record free of implicit padding.
    pub reserved: u32,
    /// When the system call began that may change the address space; 0 outside of one.
    pub entered_ns: u64,
    /// What is to be done at its end; through here, so that the verifier does not follow each kind of call by itself.
    pub space_wants: u64,
    /// Page faults until the next one of the sample, and with it; 0 before the first.
    pub faults_left: u32,
    /// Mean distance of the sample, in page faults, when that was drawn.
    pub fault_interval: u32,
    /// When the last one of the sample was.
    pub fault_ns: u64,
    /// 1: it has been told, but not yet what came of it.
    pub fault_is_open: u32,
    /// The distance that was drawn last, in faults.
    pub faults_drawn: u32,
    /// The thread's minor and major faults before it.
    pub faults_before: [u64; 2],
    /// Its register for thread-local storage; 0 until it has been read.
    pub register: u64,
    /// Its state in a language runtime; 0 until it has been found.
    pub runtime_thread: u64,
    /// The runtime's lists as they were when it had no state in them; 0 if it was not looked for.
    pub runtime_heads: u64,
    /// What the program that goes on needs of the one before: the new block, or when the system call began.
    pub result: u64,
    /// When the system call ended.
    pub left_ns: u64,
    /// By which interval the page fault was drawn.
    pub drawn_by: u32,
    /// The row of its stack.
    pub row: u32,
    /// 1: that is new, and what its code objects are called has not been told.
    pub is_new: u32,
    /// Keeps the record free of implicit padding.
    pub padding: u32,
    /// Scratch area.
    pub walk: Walk,
}

// The kernel adds the header of an element, 72 bytes with its padding (`struct bpf_local_storage_elem`,
// include/linux/bpf_local_storage.h), and a word of the allocator's.
const _: () = assert!(size_of::<Thread>() <= 4096 - 120);

/// Most words of the stack that are read at once: reading 2 KiB costs little more than reading 8 bytes.
pub const WINDOW: usize = 256;

/// Scratch area of one walk.
#[repr(C)]
pub struct Walk {
    /// Registers of the frame that the walk stands on. In a runtime's frames, which have none, `sp` is the address of
    /// the next frame (0 ends the list), and `bp` the word of the one before (0 for none), which may yet end its run.
    pub registers: Registers,
    /// Hash over the frames so far.
    pub hash: u64,
    /// Address of `window[0]`.
    pub window_base: u64,
    /// Bytes of the window that hold something.
    pub window_len: u64,
    /// Address of the kernel's return trampoline; 0 if it is not known.
    pub trampoline: u64,
    /// Frames so far.
    pub frames: u32,
    /// Why it has ended, an `End`.
    pub end: u32,
    /// The word of the stack that was read last, where it is read word by word.
    pub word: u64,
    /// Where the frames are to be stored.
    pub store_at: u32,
    /// How the frame is looked up.
    pub position: Position,
    /// The process's mappings.
    pub mappings: Range,
    /// Their generation.
    pub generation: u32,
    /// 1: the innermost frame stands on an instruction; 0: behind a call.
    pub on_instruction: u32,
    /// How many words of the window have been read so far.
    pub read_count: u32,
    /// How often the window was filled; more than once, or words beside it, and the walk is not remembered.
    pub fills: u32,
    /// Words of a language runtime, in the upper half of the window.
    pub runtime_words: u32,
    /// Bytes of a runtime's frames that are read at once.
    pub span: u32,
    /// The words that have been read, as far as there is room.
    pub reads: Reads,
    /// The frames, innermost first.
    pub addresses: [u64; 128],
    /// A part of the stack; after the walk of native frames, a part of a runtime's frames in the lower half, and what
    /// was found in the upper half.
    pub window: [u64; WINDOW],
}

const _: () = assert!(
    core::mem::offset_of!(Walk, window) == core::mem::offset_of!(Walk, addresses) + 128 * 8,
    "a stack is stored from both"
);

/// Where the words of a runtime begin in the window.
pub const RUNTIME_WORDS: usize = WINDOW / 2;
