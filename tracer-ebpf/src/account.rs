//! Live blocks of processes, and what they add to the totals.

use aya_ebpf::bindings::BPF_NOEXIST;
use tracer_common::key::{AllocKey, LiveBlock};
use tracer_common::loss::Loss;

use crate::diagnose::lost;
use crate::live::{self, Refused};
use crate::loss;
use crate::maps::{LIVE, TOTALS};
use crate::sample;

/// Takes a block out of the live map; the totals are left alone.
#[inline(always)]
pub fn take(key: &AllocKey) -> Option<LiveBlock> {
    live::take(&LIVE, key)
}

/// Puts back a block whose `realloc` failed or was abandoned.
#[inline(always)]
pub fn put_back(key: &AllocKey, block: &LiveBlock) {
    if LIVE.insert(key, block, BPF_NOEXIST as u64).is_err() {
        count_free(block);
        loss::count(Loss::LostInRealloc);
    }
}

/// Adds a new block to the live map and to its row's totals.
#[inline(always)]
pub fn insert(key: &AllocKey, block: &LiveBlock) {
    let missed = |old: &LiveBlock| {
        count_free(old);
        loss::count(Loss::MissedFrees);
    };
    let (blocks, bytes) = match live::insert(&LIVE, key, block, missed) {
        Ok(()) => {
            count_block(block.size, block.stack, block.function, 0);
            return;
        }
        Err(Refused::Full) => (Loss::LiveMapFullBlocks, Loss::LiveMapFullBytes),
        Err(Refused::Failed) => (Loss::NoMemoryBlocks, Loss::NoMemoryBytes),
    };
    lost(blocks);
    loss::add(bytes, block.size);
}

/// Adds a released block to its row's totals. The weight is the one of its allocation: it depends on the block alone.
#[inline(always)]
pub fn count_free(block: &LiveBlock) {
    count_block(block.size, block.stack, block.function, 1);
}

/// Adds a block to one side of its row's totals: the allocated ones (0) or the released ones (1). Checked by the verifier
/// apart from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn count_block(size: u64, row: u32, function: u32, released: u32) -> u64 {
    let block = LiveBlock {
        size,
        time_ns: 0,
        stack: row,
        function,
    };
    let weight = sample::weight(&block);
    if let Some(totals) = TOTALS.get_ptr_mut(row) {
        // SAFETY: checked for null.
        unsafe { live::add(totals, released, weight) };
    }
    0
}
