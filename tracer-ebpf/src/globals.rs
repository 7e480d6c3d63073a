//! The trace's constants, written by user space before the programs are loaded.

use tracer_common::config::{Config, KernelOffsets};
use tracer_common::limits;

#[unsafe(no_mangle)]
static CONFIG: Config = Config {
    sample_bytes: 0,
    min_size: 0,
    max_size: u64::MAX,
    stack_depth: limits::MAX_DEPTH,
    trace: 0,
    unwind: 0,
    admit: 0,
    adaptive: 0,
    faults: 0,
    fault_interval: 0,
    offsets: KernelOffsets {
        task_signal: 0,
        signal_live: 0,
        task_tgid: 0,
        task_parent: 0,
        task_mm: 0,
        mm_uprobes_state: 0,
        xol_area_vaddr: 0,
        vma_start: 0,
        vma_end: 0,
        vma_pgoff: 0,
        vma_file: 0,
        vma_flags: 0,
        file_inode: 0,
        inode_number: 0,
        inode_superblock: 0,
        superblock_device: 0,
        task_utask: 0,
        utask_returns: 0,
        return_stack: 0,
        return_address: 0,
        return_next: 0,
        task_min_flt: 0,
        task_maj_flt: 0,
        task_pagefault_disabled: 0,
        reserved: 0,
    },
};

/// A function that reads one field of the configuration.
///
/// The read is volatile because the compiler must not believe the value above; the verifier knows the
/// value that user space froze, and drops the branches that it rules out.
macro_rules! fields {
    ($of:expr; $($(#[$doc:meta])* $field:ident: $type:ty;)*) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub fn $field() -> $type {
                // SAFETY: CONFIG is a live static, and its fields are plain integers.
                unsafe { core::ptr::read_volatile(&raw const (*$of).$field) }
            }
        )*
    };
}

fields! {
    &raw const CONFIG;
    /// Mean bytes between two samples; 0 traces every block.
    sample_bytes: u64;
    /// Smaller requests are not tracked.
    min_size: u64;
    /// Larger requests are not tracked.
    max_size: u64;
    /// Frames kept of one stack.
    stack_depth: u32;
    /// 1: send every event instead of keeping accounts.
    trace: u32;
    /// 1: walk stacks by the unwind tables.
    unwind: u32;
    /// Which processes are traced that are not known: an `Admission`.
    admit: u32;
    /// 1: each process has its own sampling interval, and its hits are counted.
    adaptive: u32;
    /// 1: page faults are followed.
    faults: u32;
    /// Mean distance of the page faults in the sample; 0 adapts it.
    fault_interval: u32;
}

/// Where things are in the running kernel, one by one.
pub mod offset {
    fields! {
        &raw const super::CONFIG.offsets;
        /// See `KernelOffsets`.
        task_signal: u32;
        /// See `KernelOffsets`.
        signal_live: u32;
        /// See `KernelOffsets`.
        task_tgid: u32;
        /// See `KernelOffsets`.
        task_parent: u32;
        /// See `KernelOffsets`.
        task_mm: u32;
        /// See `KernelOffsets`.
        mm_uprobes_state: u32;
        /// See `KernelOffsets`.
        xol_area_vaddr: u32;
        /// See `KernelOffsets`.
        vma_start: u32;
        /// See `KernelOffsets`.
        vma_end: u32;
        /// See `KernelOffsets`.
        vma_pgoff: u32;
        /// See `KernelOffsets`.
        vma_file: u32;
        /// See `KernelOffsets`.
        vma_flags: u32;
        /// See `KernelOffsets`.
        file_inode: u32;
        /// See `KernelOffsets`.
        inode_number: u32;
        /// See `KernelOffsets`.
        inode_superblock: u32;
        /// See `KernelOffsets`.
        superblock_device: u32;
        /// See `KernelOffsets`.
        task_utask: u32;
        /// See `KernelOffsets`.
        utask_returns: u32;
        /// See `KernelOffsets`.
        return_stack: u32;
        /// See `KernelOffsets`.
        return_address: u32;
        /// See `KernelOffsets`.
        return_next: u32;
        /// See `KernelOffsets`.
        task_min_flt: u32;
        /// See `KernelOffsets`.
        task_maj_flt: u32;
        /// See `KernelOffsets`.
        task_pagefault_disabled: u32;
    }
}
