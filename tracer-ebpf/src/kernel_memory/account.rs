//! Live blocks and totals: what was really inserted or removed, and nothing else.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tracer_common::kernel_memory::{KernelBlock, KernelLoss, Kind, MAX_ORDER, PAGE, What};

use super::maps::{KERNEL_LIVE, KERNEL_ROWS, KERNEL_STATE, KERNEL_TOTALS, SCRATCH};
use super::stack;
use crate::config::config;
use crate::live::{self, Refused};
use crate::loss;
use crate::memory::fetch_add;
use crate::sampler;

/// Larger blocks of `kmalloc` are pages.
const LARGEST_OBJECT: u32 = 8192;
/// So close to one another they are one, if an address and a size are the same.
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
        // SAFETY: a helper without arguments.
        time_ns: unsafe { bpf_ktime_get_ns() },
        row,
        size,
        whole: size,
        reserved: 0,
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
    live::take(&KERNEL_LIVE, &key)
}

/// Adds a block to the live table and to its row.
#[inline(always)]
fn insert(key: u64, block: &KernelBlock) {
    if is_told_twice(key, block) {
        return;
    }
    let missed = |old: &KernelBlock| {
        count_released(old);
        note_missed(old.row);
    };
    match live::insert(&KERNEL_LIVE, &key, block, missed) {
        Ok(()) => drop(count(block.row, block.size, block.whole, 0)),
        Err(Refused::Full) => {
            loss::count(KernelLoss::LiveFullBlocks);
            loss::add(KernelLoss::LiveFullBytes, block.size as u64);
        }
        Err(Refused::Failed) => loss::count(KernelLoss::BusyBlocks),
    }
}

/// Whether a block is the one that is in the table already: from 6.10 on the kernel tells of large blocks of `kmalloc` twice, once
/// where it takes the pages and once in the caller (`__do_kmalloc_node`, mm/slub.c).
#[inline(always)]
fn is_told_twice(key: u64, block: &KernelBlock) -> bool {
    if block.size <= LARGEST_OBJECT {
        return false;
    }
    // SAFETY: read at once; another block's entry may take its place meanwhile, which changes nothing here.
    let known = unsafe {
        KERNEL_LIVE
            .get(key)
            .map(|known| (known.size, known.time_ns))
    };
    let Some((size, time_ns)) = known else {
        return false;
    };
    size == block.size && block.time_ns.wrapping_sub(time_ns) < TWICE_WITHIN_NS
}

/// Counts a release that was not seen, on its row too: some caches are released from without a word, and the report names them.
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
    match KERNEL_LIVE.insert(key, part, BPF_NOEXIST as u64) {
        Ok(()) => note_order(part.size),
        Err(_) => {
            count_released(part);
            loss::count(KernelLoss::BusyBlocks);
        }
    }
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
        unsafe { live::add(totals, released, weight) };
    }
    0
}

/// Notes that there are blocks of pages of this size, so that they are looked for when a part is released. Only raised: taking
/// it back would cost more than a search does.
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
    let mut order = 0;
    while order < MAX_ORDER && (PAGE as u32) << order < size {
        order += 1;
    }
    order
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
