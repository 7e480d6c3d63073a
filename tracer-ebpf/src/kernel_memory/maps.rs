//! The tables that the programs and user space share. All are allocated when they are made: a table that allocated
//! elements would call the very functions that are traced, and grow by what it allocates.

use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use tracer_common::kernel_memory::{
    CACHES as MOST_CACHES, Cache, DEPTH, FRAMES as MOST_FRAMES, KernelGuard, KernelLoss, KernelRow,
    KernelStackKey, KernelState, PROGRAMS, ROWS as MOST_ROWS,
};
use tracer_common::key::StackTotals;

use super::stack::CHUNK;
use crate::live::{Directories, MMAPABLE, Segments};

/// Room for one stack, and the sampling budget of its program on this CPU.
#[repr(C)]
pub struct Scratch {
    /// Bytes until the next sample; 0 before the first.
    pub budget: u64,
    /// Frames of the stack, innermost first, and room for what fills up the last chunk.
    pub addresses: [u64; DEPTH as usize + 1 + CHUNK],
}

/// Live blocks, by address and kind (`Kind::key`), in the segments of one generation (`tracer_common::live`). The outer
/// map is written by user space before the trace. Slots are written when a block is allocated and freed when it is
/// released, both by the programs; user space reads them through the mapping, for ages. Full: the block is not tracked,
/// and counted with its bytes. Size: `--max-live`.
#[btf_map]
pub static KERNEL_LIVE: Segments = Segments::new();

/// Size of the generation of [`KERNEL_LIVE`], one element. Written by user space before the trace.
#[btf_map]
pub static KERNEL_LIVE_DIRECTORY: Directories = Directories::new();

pub use {KERNEL_LIVE as LIVE, KERNEL_LIVE_DIRECTORY as LIVE_DIRECTORY};

/// Caches of the slab allocator, by their address in the kernel. Written by the programs at the first object of a
/// cache, read by both sides, never removed. Full: the objects of further caches are counted without a name. Size:
/// `CACHES`.
#[btf_map]
pub static KERNEL_CACHES: HashMap<u64, Cache, { MOST_CACHES as usize }> = HashMap::new();

/// Stack to row. Written by the programs when a stack is first seen; never removed, since the kernel's code stays.
/// Full: the block is counted in its kind's row without a stack, and the loss is counted. Size: as many as there are
/// rows.
#[btf_map]
pub static KERNEL_STACKS: HashMap<KernelStackKey, u32, { MOST_ROWS as usize }> = HashMap::new();

/// Totals of each row. Added to by the programs, read by user space. Size: as many as there are rows.
#[btf_map]
pub static KERNEL_TOTALS: Array<StackTotals, { MOST_ROWS as usize }, MMAPABLE> = Array::new();

/// What each row stands for. Written once by the programs, read by user space. Size: as many as there are rows.
#[btf_map]
pub static KERNEL_ROWS: Array<KernelRow, { MOST_ROWS as usize }, MMAPABLE> = Array::new();

/// Frames of all stacks, end to end. Written by the programs before the row is ready. Full: as for [`KERNEL_STACKS`].
/// Size: `FRAMES`.
#[btf_map]
pub static KERNEL_FRAMES: Array<u64, { MOST_FRAMES as usize }, MMAPABLE> = Array::new();

/// Switch and counters, one element. `enabled` is written by user space, the rest by the programs.
#[btf_map]
pub static KERNEL_STATE: Array<KernelState, 1, MMAPABLE> = Array::new();

/// Loss counters. Added to by the programs, summed over the CPUs by user space. Size: one for each kind of loss.
#[btf_map]
pub static LOSSES: PerCpuArray<u64, { KernelLoss::COUNT as usize }> = PerCpuArray::new();

/// What each program has done last on this CPU. Written and read by the programs; its counter is read by user space.
/// Size: one for each program.
#[btf_map]
pub static GUARDS: PerCpuArray<KernelGuard, { PROGRAMS as usize }> = PerCpuArray::new();

/// Room for a stack, and the sampling budget: for each program that allocates, and for the one that runs in its place.
/// Written and read by them alone. Size: two for each program.
#[btf_map]
pub static SCRATCH: PerCpuArray<Scratch, { 2 * PROGRAMS as usize }> = PerCpuArray::new();
