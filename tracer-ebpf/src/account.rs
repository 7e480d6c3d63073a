//! Live blocks of processes, and what they add to the totals.

use core::ptr::read_volatile;

use tracer_common::key::{AllocKey, LiveBlock};
use tracer_common::lifetime;
use tracer_common::live::word;
use tracer_common::loss::Loss;

use crate::clock;
use crate::config::config;
use crate::diagnose::lost;
use crate::emit;
use crate::live::{self, Inserted, add};
use crate::loss;
use crate::maps::{LIFETIMES, OLD_FREES, TOTALS};
use crate::memory::{atomic_add, atomic_add_u32, read_user};
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
        count_end(block);
        loss::count(Loss::LostInRealloc);
    }
}

/// Adds a new block to the live table and to its row's totals.
#[inline(always)]
pub fn insert(key: &AllocKey, block: &LiveBlock) {
    let (blocks, bytes) = match put(key, block) {
        IN_TABLE => {
            count_block(block.size, block.stack, block.function, 0, 0);
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
        count_end(&word::block(&old));
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

/// Adds a released block to its row's totals, and to the ages at which its blocks are released. The weight is the one
/// of its allocation: it depends on the block alone.
#[inline(always)]
pub fn count_free(block: &LiveBlock) {
    count_block(block.size, block.stack, block.function, 1, block.time_ns);
}

/// As [`count_free`], of a block that was released at another time, or that is only no longer followed: its age says
/// nothing.
#[inline(always)]
fn count_end(block: &LiveBlock) {
    count_block(block.size, block.stack, block.function, 1, 0);
}

/// Adds a block to one side of its row's totals: the allocated ones (0) or the released ones (1), these with their age
/// where it is known when they were allocated. Checked by the verifier apart from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn count_block(size: u64, row: u32, function: u32, released: u32, born_ns: u64) -> u64 {
    let block = LiveBlock {
        size,
        time_ns: born_ns,
        stack: row,
        function,
    };
    let weight = sample::weight(&block);
    if let Some(totals) = TOTALS.get_ptr_mut(row) {
        // SAFETY: checked for null.
        unsafe { add(totals, released, weight) };
    }
    if born_ns != 0
        && let Some(lifetimes) = LIFETIMES.get_ptr_mut(row)
    {
        let now = clock::tick_ns();
        let age = now.saturating_sub(born_ns);
        let bucket = lifetime::bucket(age);
        // Volatile, or the compiler drops the mask by which the verifier sees the bound.
        // SAFETY: checked for null; the index is masked.
        unsafe {
            let bucket = read_volatile(&raw const bucket) & (lifetime::BUCKETS - 1);
            atomic_add_u32(&raw mut (*lifetimes).counts[bucket], 1);
        }
    }
    0
}

/// Whether a release that the trace does not know is of a block that is older than the trace: not where blocks are left
/// out.
#[inline(always)]
fn follows_all() -> bool {
    config!(sample_bytes) == 0 && config!(min_size) == 0 && config!(max_size) == u64::MAX
}

/// What a block that the trace does not know could hold, by the header that glibc's blocks have; 0 where that does not
/// tell. It must not have been released yet.
#[inline(always)]
pub fn room_of_unknown(addr: u64, has_headers: bool) -> u64 {
    if !follows_all() || !has_headers {
        return 0;
    }
    room_by_header(addr)
}

/// Rarely called, and checked by the verifier apart from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn room_by_header(addr: u64) -> u64 {
    let header = read_user(addr.wrapping_sub(8));
    header.and_then(lifetime::glibc_room).unwrap_or(0)
}

/// Counts the release of a block that the trace does not know, of the process in a row.
#[inline(always)]
pub fn count_unknown_free(slot: u32, room: u64) {
    loss::count(Loss::UnknownFrees);
    if follows_all() {
        count_old(slot, room);
    }
}

/// As [`room_by_header`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn count_old(slot: u32, room: u64) -> u64 {
    if let Some(old) = OLD_FREES.get_ptr_mut(slot) {
        // SAFETY: aligned counters of an element that was checked for null.
        unsafe {
            atomic_add(&raw mut (*old).blocks, 1);
            if room != 0 {
                atomic_add(&raw mut (*old).sized, 1);
                atomic_add(&raw mut (*old).bytes, room);
            }
        }
    }
    0
}

/// The process in a row has another program, which has released nothing yet.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn forget_old(slot: u32) -> u64 {
    if let Some(old) = OLD_FREES.get_ptr_mut(slot) {
        // SAFETY: checked for null; no other program of the process runs.
        unsafe { *old = lifetime::OldFrees::default() };
    }
    0
}
