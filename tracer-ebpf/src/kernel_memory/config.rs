//! The trace's constants, written by user space before the programs are loaded.

use tracer_common::kernel_memory::{ANY, KernelConfig, NAME_WORDS};

#[unsafe(no_mangle)]
static KERNEL_CONFIG: KernelConfig = KernelConfig {
    sample_bytes: 0,
    min_size: 0,
    cache_name: [0; NAME_WORDS],
    kmalloc: 0,
    order: ANY,
    movable: 0,
    gfp_movable: 0,
    gfp_dma: 0,
    gfp_reclaimable: 0,
    gfp_accounted: 0,
    cache_size: 0,
    cache_name_offset: 0,
    page_shift: 0,
    reserved: 0,
};

/// A function that reads one field. Volatile, because the compiler must not believe the value above; the verifier knows what
/// user space has frozen, and drops the branches that it rules out.
macro_rules! fields {
    ($($field:ident: $type:ty;)*) => {
        $(
            /// See [`KernelConfig`].
            #[inline(always)]
            pub fn $field() -> $type {
                // SAFETY: a live static of plain integers.
                unsafe { core::ptr::read_volatile(&raw const KERNEL_CONFIG.$field) }
            }
        )*
    };
}

fields! {
    sample_bytes: u64;
    min_size: u64;
    cache_name: [u64; NAME_WORDS];
    kmalloc: u64;
    order: u32;
    movable: u32;
    gfp_movable: u32;
    gfp_dma: u32;
    gfp_reclaimable: u32;
    gfp_accounted: u32;
    cache_size: u32;
    cache_name_offset: u32;
    page_shift: u32;
}
