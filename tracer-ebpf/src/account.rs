//! Live blocks of processes, and what they add to the totals.

use tracer_common::key::{AllocKey, LiveBlock};
use tracer_common::live::word;
use tracer_common::loss::Loss;

use crate::diagnose::lost;
use crate::emit;
use crate::live::{self, Inserted, add};
use crate::loss;
use crate::maps::TOTALS;
use crate::sample;

/// Takes a block of a program image out of the live table; the totals are left alone.
#[inline(always)]
pub fn take(addr: u64, image: u32) -> Option<LiveBlock> {
    let payload = live::take(word::block_key(addr, image)?, word::image_mark(image))?;
    Some(word::block(&payload))
}

/// Puts back a block whose `realloc` failed or was abandoned.
#[inline(always)]
pub fn put_back(key: &AllocKey, block: &LiveBlock) {
    if put(key, block) != IN_TABLE {
        count_free(block);
        loss::count(Loss::LostInRealloc);
    }
}

/// Adds a new block to the live table and to its row's totals.
#[inline(always)]
pub fn insert(key: &AllocKey, block: &LiveBlock) {
    let (blocks, bytes) = match put(key, block) {
        IN_TABLE => {
            count_block(block.size, block.stack, block.function, 0);
            return;
        }
        TABLE_FULL => (Loss::LiveMapFullBlocks, Loss::LiveMapFullBytes),
        TABLE_LATE => (Loss::LiveMapLateBlocks, Loss::LiveMapLateBytes),
        _ => (Loss::FarBlocks, Loss::FarBytes),
    };
    lost(blocks);
    loss::add(bytes, block.size);
}

/// The block is in the table.
const IN_TABLE: u32 = 0;
/// There is no slot for it.
const TABLE_FULL: u32 = 1;
/// There is no slot for it, and user space has not made the table larger yet.
const TABLE_LATE: u32 = 3;
/// It lies where user space has no memory by default, or is larger than that.
const FAR: u32 = 2;

/// Puts a block into the table. One that is already there has been released without our seeing it.
#[inline(always)]
fn put(key: &AllocKey, block: &LiveBlock) -> u32 {
    let place = block.stack as u64 | (block.function as u64) << 32;
    put_block(key.addr, key.owner.image, block.size, place, block.time_ns)
}

/// As [`put`]. Checked by the verifier apart from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn put_block(addr: u64, image: u32, size: u64, place: u64, time_ns: u64) -> u32 {
    let block = LiveBlock {
        size,
        time_ns,
        stack: place as u32,
        function: (place >> 32) as u32,
    };
    let Some(key) = word::block_key(addr, image).filter(|_| size >> word::SIZE_BITS == 0) else {
        return FAR;
    };
    let Inserted {
        placed,
        previous,
        pressed,
    } = live::insert(key, &word::block_payload(image, &block));
    // What another image has left behind would have been swept by user space.
    if let Some(old) = previous.filter(|old| word::mark(old) == word::image_mark(image)) {
        count_free(&word::block(&old));
        loss::count(Loss::MissedFrees);
    }
    if pressed {
        emit::pressure();
    }
    match placed {
        true => IN_TABLE,
        false if live::can_grow() => TABLE_LATE,
        false => TABLE_FULL,
    }
}

/// Adds a released block to its row's totals. The weight is the one of its allocation: it depends on the block alone.
#[inline(always)]
pub fn count_free(block: &LiveBlock) {
    count_block(block.size, block.stack, block.function, 1);
}

/// Adds a block to one side of its row's totals: the allocated ones (0) or the released ones (1). Checked by the
/// verifier apart from its callers.
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
        unsafe { add(totals, released, weight) };
    }
    0
}
