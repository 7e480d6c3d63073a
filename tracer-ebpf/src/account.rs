//! The live map and the totals: what was really inserted or removed, and nothing else.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use tracer_common::key::{AllocKey, LiveBlock};
use tracer_common::loss::Loss;
use tracer_common::sampling;

use crate::globals;
use crate::loss;
use crate::maps::{LIVE, TOTALS};
use crate::memory::atomic_add;

const EEXIST: i32 = -17;
const E2BIG: i32 = -7;

/// Takes a block out of the live map. The value is copied before its element goes back to the allocator; the
/// totals are left alone.
#[inline(always)]
pub fn take(key: &AllocKey) -> Option<LiveBlock> {
    // SAFETY: copied at once; an element is not reused before the program ends (RCU).
    let block = unsafe { LIVE.get(key).copied() }?;
    // Another thread may have freed the same address meanwhile: only one of them removes it.
    LIVE.remove(key).ok()?;
    Some(block)
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
///
/// A block that is already there has been released without our seeing it; it is released now.
#[inline(always)]
pub fn insert(key: &AllocKey, block: &LiveBlock) {
    match LIVE.insert(key, block, BPF_NOEXIST as u64) {
        Ok(()) => count_alloc(block),
        Err(EEXIST) => {
            if let Some(old) = take(key) {
                count_free(&old);
            }
            loss::count(Loss::MissedFrees);
            match LIVE.insert(key, block, BPF_ANY as u64) {
                Ok(()) => count_alloc(block),
                Err(error) => not_tracked(block, error),
            }
        }
        Err(error) => not_tracked(block, error),
    }
}

#[inline(always)]
fn not_tracked(block: &LiveBlock, error: i32) {
    let (blocks, bytes) = if error == E2BIG {
        (Loss::LiveMapFullBlocks, Loss::LiveMapFullBytes)
    } else {
        (Loss::NoMemoryBlocks, Loss::NoMemoryBytes)
    };
    loss::count(blocks);
    loss::add(bytes, block.size);
}

/// What a block stands for, in bytes and blocks.
#[inline(always)]
fn weight(block: &LiveBlock) -> (u64, u64) {
    let base = globals::sample_bytes();
    if globals::adaptive() == 0 {
        sampling::weight(block.size, base)
    } else {
        block.weight(base)
    }
}

#[inline(always)]
fn count_alloc(block: &LiveBlock) {
    let (bytes, count) = weight(block);
    if let Some(totals) = TOTALS.get_ptr_mut(block.stack) {
        // SAFETY: aligned fields of a map element that was checked for null.
        unsafe {
            atomic_add(&raw mut (*totals).alloc_bytes, bytes);
            atomic_add(&raw mut (*totals).alloc_count, count);
        }
    }
}

/// Adds a released block to its row's totals. The weight is the one of its allocation: it depends on the block alone.
#[inline(always)]
pub fn count_free(block: &LiveBlock) {
    let (bytes, count) = weight(block);
    if let Some(totals) = TOTALS.get_ptr_mut(block.stack) {
        // SAFETY: as in `count_alloc`.
        unsafe {
            atomic_add(&raw mut (*totals).free_bytes, bytes);
            atomic_add(&raw mut (*totals).free_count, count);
        }
    }
}
