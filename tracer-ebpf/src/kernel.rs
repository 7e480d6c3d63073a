//! Entry points of the programs of `memlens kernel`: an object of its own, with tables of its own.
//!
//! Each tracepoint that interrupts may come upon has two programs. The kernel does not run a program that an interrupt
//! finds running on the same CPU; the second one, which runs after the first, then does the first one's work (`guard`).
#![no_std]
#![no_main]
#![allow(internal_features, reason = "BPF atomics exist as an intrinsic only")]
#![feature(core_intrinsics)]

mod arch {
    pub mod order;
}
mod clock;
mod config;
mod kernel_memory;
mod live;
mod loss;
#[allow(
    dead_code,
    reason = "shared with the other object, which reads user memory too"
)]
mod memory;
mod sampler;

use aya_ebpf::macros::{fentry, raw_tracepoint};
use aya_ebpf::programs::{FEntryContext, RawTracePointContext};
use tracer_common::kernel_memory::{KernelConfig as Config, KernelLoss as Loss, Program};

use kernel_memory::guard::{first, second};
use kernel_memory::{bulk, maps, pages, percpu, slab};

/// `kmalloc` has returned memory.
#[raw_tracepoint(tracepoint = "kmalloc")]
fn kmalloc(ctx: RawTracePointContext) -> i32 {
    first(Program::Kmalloc, ctx.arg(1), |room| {
        slab::kmalloc(&ctx, room)
    })
}

/// As [`kmalloc`], where that was running.
#[raw_tracepoint(tracepoint = "kmalloc")]
fn kmalloc_nested(ctx: RawTracePointContext) -> i32 {
    second(Program::Kmalloc, ctx.arg(1), |room| {
        slab::kmalloc(&ctx, room)
    })
}

/// A cache has given out an object.
#[raw_tracepoint(tracepoint = "kmem_cache_alloc")]
fn cache_alloc(ctx: RawTracePointContext) -> i32 {
    first(Program::CacheAlloc, ctx.arg(1), |room| {
        slab::cache_alloc(&ctx, room)
    })
}

/// As [`cache_alloc`], where that was running.
#[raw_tracepoint(tracepoint = "kmem_cache_alloc")]
fn cache_alloc_nested(ctx: RawTracePointContext) -> i32 {
    second(Program::CacheAlloc, ctx.arg(1), |room| {
        slab::cache_alloc(&ctx, room)
    })
}

/// `kfree`, also of a cache's object.
#[raw_tracepoint(tracepoint = "kfree")]
fn kfree(ctx: RawTracePointContext) -> i32 {
    first(Program::Kfree, ctx.arg(1), |_| slab::free(ctx.arg(1)))
}

/// As [`kfree`], where that was running.
#[raw_tracepoint(tracepoint = "kfree")]
fn kfree_nested(ctx: RawTracePointContext) -> i32 {
    second(Program::Kfree, ctx.arg(1), |_| slab::free(ctx.arg(1)))
}

/// A cache takes an object back.
#[raw_tracepoint(tracepoint = "kmem_cache_free")]
fn cache_free(ctx: RawTracePointContext) -> i32 {
    first(Program::CacheFree, ctx.arg(1), |_| slab::free(ctx.arg(1)))
}

/// As [`cache_free`], where that was running.
#[raw_tracepoint(tracepoint = "kmem_cache_free")]
fn cache_free_nested(ctx: RawTracePointContext) -> i32 {
    second(Program::CacheFree, ctx.arg(1), |_| slab::free(ctx.arg(1)))
}

/// A cache takes many objects back, for which there is no tracepoint.
#[fentry(function = "kmem_cache_free_bulk")]
fn cache_free_bulk(ctx: FEntryContext) -> i32 {
    bulk::free(ctx.arg(1), ctx.arg(2));
    0
}

/// An object or a block of pages is to be released as soon as nobody can be using it (`kfree_rcu`). It counts as
/// released from here on: when that happens there is no tracepoint.
#[fentry(function = "kvfree_call_rcu")]
fn free_later(ctx: FEntryContext) -> i32 {
    bulk::free_later(ctx.arg(1));
    0
}

/// The page allocator has given out a block.
#[raw_tracepoint(tracepoint = "mm_page_alloc")]
fn page_alloc(ctx: RawTracePointContext) -> i32 {
    first(Program::PageAlloc, ctx.arg(0), |room| {
        pages::alloc(&ctx, room)
    })
}

/// As [`page_alloc`], where that was running.
#[raw_tracepoint(tracepoint = "mm_page_alloc")]
fn page_alloc_nested(ctx: RawTracePointContext) -> i32 {
    second(Program::PageAlloc, ctx.arg(0), |room| {
        pages::alloc(&ctx, room)
    })
}

/// The page allocator takes a block back, or a part of one.
#[raw_tracepoint(tracepoint = "mm_page_free")]
fn page_free(ctx: RawTracePointContext) -> i32 {
    first(Program::PageFree, ctx.arg(0), |_| {
        pages::free(ctx.arg(0), ctx.arg(1))
    })
}

/// As [`page_free`], where that was running.
#[raw_tracepoint(tracepoint = "mm_page_free")]
fn page_free_nested(ctx: RawTracePointContext) -> i32 {
    second(Program::PageFree, ctx.arg(0), |_| {
        pages::free(ctx.arg(0), ctx.arg(1))
    })
}

/// The per-CPU allocator has given out memory.
#[raw_tracepoint(tracepoint = "percpu_alloc_percpu")]
fn percpu_alloc(ctx: RawTracePointContext) -> i32 {
    first(Program::PerCpuAlloc, ctx.arg(7), |room| {
        percpu::alloc(&ctx, room)
    })
}

/// The per-CPU allocator takes memory back.
#[raw_tracepoint(tracepoint = "percpu_free_percpu")]
fn percpu_free(ctx: RawTracePointContext) -> i32 {
    percpu::free(ctx.arg(2));
    0
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
