//! Blocks of the page allocator. A block may be split and released in parts: what is left is kept as smaller blocks.

use core::ffi::c_void;
use core::ptr::read_volatile;

use aya_ebpf::helpers::generated::bpf_loop;
use aya_ebpf::programs::RawTracePointContext;
use tracer_common::kernel_memory::{ANY, KernelBlock, KernelLoss, Kind, MAX_ORDER, PAGE, What};

use super::account;
use super::account::{count_released, order_of, put_back, take};
use super::maps::KERNEL_STATE;
use crate::config::config;
use crate::loss;

/// Arguments: page, order, flags.
#[inline(always)]
pub fn alloc(ctx: &RawTracePointContext, room: u32) {
    let page: u64 = ctx.arg(0);
    let order = ctx.arg::<u64>(1) as u32;
    let gfp = ctx.arg::<u64>(2) as u32;
    let wanted = config!(order);
    if page == 0
        || order > MAX_ORDER
        || (wanted != ANY && wanted != order)
        || (config!(movable) == 0 && gfp & config!(gfp_movable) != 0)
    {
        return;
    }
    account::allocated(
        ctx,
        room,
        Kind::Pages,
        page,
        PAGE << order,
        What::pages(order),
    );
}

/// A block of `2^order` pages is about to be released, which may be a part of the one that was allocated.
#[inline(always)]
pub fn free(page: u64, order: u64) {
    let order = order as u32;
    if order > MAX_ORDER {
        return;
    }
    match take(Kind::Pages.key(page)) {
        Some(block) if order_of(block.size) <= order => count_released(&block),
        Some(block) => drop(split(&mut Rest {
            page,
            order,
            block_order: order_of(block.size),
            block,
        })),
        None => {
            if free_part(page, order) == 0 {
                loss::count(KernelLoss::UnknownFrees);
            }
        }
    }
}

/// A search for the block that a page is in.
#[repr(C)]
struct Search {
    page: u64,
    order: u32,
    found: u32,
    block: KernelBlock,
}

/// Looks for a block of one order a turn; 1 ends the search.
unsafe extern "C" fn look(turn: u32, search: *mut Search) -> i64 {
    // SAFETY: the context given to bpf_loop below.
    let search = unsafe { &mut *search };
    let order = search.order + 1 + turn;
    if order > MAX_ORDER {
        return 1;
    }
    let Some(state) = KERNEL_STATE.get_ptr(0) else {
        return 1;
    };
    // SAFETY: an element that was checked for null, and an index that was.
    if unsafe { read_volatile(&raw const (*state).orders[(order & 15) as usize % 12]) } == 0 {
        return 0;
    }
    let Some(block) = take(Kind::Pages.key(head(search.page, order))) else {
        return 0;
    };
    search.block = block;
    search.found = 1;
    1
}

/// The first page of the block of an order that a page is in. Blocks are aligned to their size, and so are their pages'
/// structures, which lie in one array.
#[inline(always)]
fn head(page: u64, order: u32) -> u64 {
    page & !((1u64 << (config!(page_shift) + order)) - 1)
}

/// A part that does not begin its block is released; 0 if there is no such block. Checked by the verifier apart from
/// its callers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn free_part(page: u64, order: u32) -> u64 {
    let mut search = Search {
        page,
        order,
        found: 0,
        block: KernelBlock::default(),
    };
    if config!(page_shift) == 0 {
        return 0;
    }
    // SAFETY: the callback and its context live as long as the call.
    unsafe { bpf_loop(MAX_ORDER, look as *mut c_void, (&raw mut search).cast(), 0) };
    if search.found == 0 {
        return 0;
    }
    split(&mut Rest {
        page,
        order,
        block_order: order_of(search.block.size),
        block: search.block,
    })
}

/// What is left of a block, to be put back.
#[derive(Clone, Copy)]
#[repr(C)]
struct Rest {
    page: u64,
    order: u32,
    block_order: u32,
    block: KernelBlock,
}

/// Puts back the other half of each larger block that the released part is in, one a turn.
unsafe extern "C" fn put_back_half(turn: u32, rest: *mut Rest) -> i64 {
    // SAFETY: the context given to bpf_loop below.
    let rest = unsafe { &*rest };
    let order = rest.order + turn;
    if order >= rest.block_order || order >= MAX_ORDER {
        return 1;
    }
    let other = head(rest.page, order) ^ (1u64 << (config!(page_shift) + order));
    let part = KernelBlock {
        size: (PAGE as u32) << (order & 15),
        ..rest.block
    };
    put_back(Kind::Pages.key(other), &part);
    0
}

/// Takes the released part of a block off, and keeps the rest. Checked by the verifier apart from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn split(rest: *mut Rest) -> u64 {
    if rest.is_null() {
        return 0;
    }
    // SAFETY: the caller's, on its stack; the callback lives as long as the call.
    unsafe {
        let released = KernelBlock {
            size: (PAGE as u32) << ((*rest).order & 15),
            ..(*rest).block
        };
        if config!(page_shift) == 0 {
            // What is left cannot be found again.
            count_released(&(*rest).block);
            return 0;
        }
        count_released(&released);
        let turns = (*rest).block_order.wrapping_sub((*rest).order);
        // The context of a loop must be on the caller's own stack.
        let mut own = *rest;
        bpf_loop(
            turns,
            put_back_half as *mut c_void,
            (&raw mut own).cast(),
            0,
        );
    }
    1
}
