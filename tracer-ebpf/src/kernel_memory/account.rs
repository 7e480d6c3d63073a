//! Live blocks and totals: what was really inserted or removed, and nothing else.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tracer_common::bits::count as ones;
use tracer_common::kernel_memory::{KernelBlock, KernelLoss, Kind, MAX_ORDER, PAGE, What};

use super::maps::{KERNEL_ROWS, KERNEL_STATE, KERNEL_TOTALS, SCRATCH};
use super::stack;
use crate::clock;
use crate::config::config;
use crate::live::{self, Inserted, add};
use crate::loss;
use crate::memory::fetch_add;
use crate::sampler;

/// Larger blocks of `kmalloc` are pages.
const LARGEST_OBJECT: u32 = 8192;
/// So close to one another they are one, if an address and a size are the same. The times of large blocks are exact for
/// it.
const TWICE_WITHIN_NS: u64 = 20_000;

/// A block was allocated: it is tracked if it passes the filters and the sample.
#[inline(always)]
pub fn allocated(
    ctx: &impl EbpfContext,
    room: u32,
    kind: Kind,
    address: u64,
    size: u64,
    what: What,
) {
    if size < config!(min_size) || size > u32::MAX as u64 || !is_sampled(room, size) {
        return;
    }
    let row = stack::row(ctx, room, what);
    let size = size as u32;
    let block = KernelBlock {
        time_ns: match size > LARGEST_OBJECT {
            // SAFETY: a helper without arguments.
            true => unsafe { bpf_ktime_get_ns() },
            false => clock::tick_ns(),
        },
        row,
        size,
        whole: size,
    };
    insert(kind.key(address), &block);
    if let Kind::Pages = kind {
        note_order(size);
    }
}

/// A block is about to be released; what is not tracked is counted.
#[inline(always)]
pub fn released(kind: Kind, address: u64) {
    match take(kind.key(address)) {
        Some(block) => count_released(&block),
        None => loss::count(KernelLoss::UnknownFrees),
    }
}

/// Takes a block out of the live table.
#[inline(always)]
pub fn take(key: u64) -> Option<KernelBlock> {
    Some(KernelBlock::from_payload(&live::take(key, 0)?))
}

/// Adds a block to the live table and to its row.
#[inline(always)]
fn insert(key: u64, block: &KernelBlock) {
    if is_told_twice(key, block) {
        return;
    }
    if put(key, block) {
        count(block.row, block.size, block.whole, 0);
    } else {
        loss::count(KernelLoss::LiveFullBlocks);
        loss::add(KernelLoss::LiveFullBytes, block.size as u64);
    }
}

/// Puts a block into the live table; `false` if there is no room. One that is there already has been released without
/// our seeing it.
#[inline(always)]
fn put(key: u64, block: &KernelBlock) -> bool {
    let Inserted {
        placed, previous, ..
    } = live::insert(key, &block.payload());
    if let Some(old) = previous {
        let old = KernelBlock::from_payload(&old);
        count_released(&old);
        note_missed(old.row);
    }
    placed
}

/// Whether a block is the one that is in the table already: from 6.10 on the kernel tells of large blocks of `kmalloc`
/// twice, once where it takes the pages and once in the caller (`__do_kmalloc_node`, mm/slub.c).
#[inline(always)]
fn is_told_twice(key: u64, block: &KernelBlock) -> bool {
    if block.size <= LARGEST_OBJECT {
        return false;
    }
    live::look_up(key).is_some_and(|known| {
        let known = KernelBlock::from_payload(&known);
        known.size == block.size && block.time_ns.wrapping_sub(known.time_ns) < TWICE_WITHIN_NS
    })
}

/// Counts a release that was not seen, on its row too: some caches are released from without a word, and the report
/// names them.
#[inline(always)]
fn note_missed(row: u32) {
    loss::count(KernelLoss::MissedFrees);
    if let Some(row) = KERNEL_ROWS.get_ptr_mut(row) {
        // SAFETY: an aligned field of an element that was checked for null.
        unsafe { fetch_add(&raw mut (*row).missed_frees, 1) };
    }
}

/// Puts a part of a block of pages back, whose other part was released; it stays counted.
#[inline(always)]
pub fn put_back(key: u64, part: &KernelBlock) {
    if put(key, part) {
        note_order(part.size);
        return;
    }
    count_released(part);
    loss::count(KernelLoss::LiveFullBlocks);
    loss::add(KernelLoss::LiveFullBytes, part.size as u64);
}

/// Adds a released block to its row.
#[inline(always)]
pub fn count_released(block: &KernelBlock) {
    count(block.row, block.size, block.whole, 1);
}

/// Adds to one side of a row's totals: allocated (0) or released (1). Checked by the verifier apart from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn count(row: u32, size: u32, whole: u32, released: u32) -> u64 {
    let block = KernelBlock {
        size,
        whole,
        ..KernelBlock::default()
    };
    let weight = block.weight(config!(sample_bytes));
    if let Some(totals) = KERNEL_TOTALS.get_ptr_mut(row) {
        // SAFETY: checked for null.
        unsafe { add(totals, released, weight) };
    }
    0
}

/// Notes that there are blocks of pages of this size, so that they are looked for when a part is released. Only raised:
/// taking it back would cost more than a search does.
#[inline(always)]
fn note_order(size: u32) {
    let order = order_of(size);
    if order == 0 || order > MAX_ORDER {
        return;
    }
    if let Some(state) = KERNEL_STATE.get_ptr_mut(0) {
        // SAFETY: an element that was checked for null, and an index that was; every writer stores the same.
        unsafe {
            core::ptr::write_volatile(&raw mut (*state).orders[(order & 15) as usize % 12], 1)
        };
    }
}

/// The order of a block of pages, by its bytes: a power of two.
#[inline(always)]
pub fn order_of(size: u32) -> u32 {
    // Without a loop, each turn of which the kernel's verifier would follow to the end.
    ones((size / PAGE as u32).wrapping_sub(1) & 0xffff)
}

/// Whether a sample point falls into a block of this size.
#[inline(always)]
fn is_sampled(room: u32, size: u64) -> bool {
    let interval = config!(sample_bytes);
    if interval == 0 {
        return true;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(room) else {
        return false;
    };
    // SAFETY: checked for null, and only this program uses it on this CPU.
    sampler::is_sampled(unsafe { &mut (*scratch).budget }, size, interval)
}
