//! What user space tells the BPF programs when it loads them, and what both sides share while they run.

use zerocopy::{FromBytes, IntoBytes};

use crate::offsets::KernelOffsets;

/// Constants of one trace, placed in the programs' read-only data, so that the verifier drops the
/// branches that a trace does not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Config {
    /// Mean bytes between two samples; 0 traces every block.
    pub sample_bytes: u64,
    /// Smaller requests are not tracked.
    pub min_size: u64,
    /// Larger requests are not tracked.
    pub max_size: u64,
    /// Length of the kernel's tick, in nanoseconds.
    pub tick_ns: u64,
    /// Frames kept of one stack.
    pub stack_depth: u32,
    /// 1: send every event (`memlens trace`) instead of keeping accounts.
    pub trace: u32,
    /// 1: walk stacks by the unwind tables; 0: by frame pointers alone.
    pub unwind: u32,
    /// Which processes that user space has not named are traced, and from when on: an [`Admission`].
    pub admit: u32,
    /// 1: each process has a sampling interval of its own (see [`Process::step`]), and its probe hits are counted.
    pub adaptive: u32,
    /// 1: page faults are followed.
    pub faults: u32,
    /// Mean distance of the page faults in the sample; 1 takes every one, 0 as many as cost little.
    pub fault_interval: u32,
    /// How much the programs say of what they do not follow: a [`Level`](crate::diagnostic::Level), or 0.
    pub diagnostics: u32,
    /// Where things are in the running kernel.
    pub offsets: KernelOffsets,
}

/// Which processes are traced that user space has not named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum Admission {
    /// None.
    #[default]
    Named = 0,
    /// Each that has probes, from its first traced call on.
    Calls = 1,
    /// Each, from its first traced call on; the children of traced processes from their birth on, since they have a
    /// copy of an address space that is known.
    Births = 2,
    /// The children of traced processes, from their birth on, and the programs that they start.
    Children = 3,
}

/// Counters and the switch of a running trace; one element, written by both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct State {
    /// 0 until all probes are in place: an event is accounted only if every other event is, too.
    pub enabled: u32,
    /// Image numbers drawn so far, by user space and by processes that call `exec`.
    pub images: u32,
    /// Rows of the process table that have ever been used: one number above the last. May run past the table's end.
    pub next_process: u32,
    /// Keeps the record free of implicit padding.
    pub reserved: u32,
    /// Free rows of the stack tables, by class (see [`crate::rows`]).
    pub free_rows: [crate::rows::Ring; crate::rows::RINGS as usize],
}

/// One traced process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Process {
    /// Its present owner id.
    pub owner: crate::key::Owner,
    /// Address of the kernel's return trampoline in this address space; 0 until it has been looked up.
    pub trampoline: u64,
    /// Its part of the mappings; none while they are not known.
    pub mappings: crate::unwind::Range,
    /// Step of its sampling interval (see [`crate::sampling::interval`]), in an adaptive trace.
    pub step: u32,
    /// Changes with the mappings, so that remembered rules of other mappings are not taken for theirs.
    pub generation: u32,
    /// Number of the set of code that addresses mean: a new one whenever a library is unmapped, since another may take
    /// its place. Drawn from the images' counter.
    pub code: u32,
    /// 1 while it is traced.
    pub active: u32,
    /// Other processes that run in its memory, between `vfork` and `exec`; they are counted with it.
    pub guests: u32,
    /// Number of the layout of its language runtime, plus one; 0: it has none that is known.
    pub runtime: u32,
    /// Address of what that runtime keeps its state in.
    pub runtime_base: u64,
    /// Probe hits so far, in an adaptive trace, traced or not; up to 255 of each thread come later.
    pub hits: u64,
}

const _: () = assert!(size_of::<Config>() == 168);
const _: () = assert!(size_of::<State>() == 80);
const _: () = assert!(size_of::<Process>() == 64);
