//! A slot's word: the key of a block and the state of the slot; and how a block of a process is kept in a slot.

use crate::arch::native::ADDRESS_BITS;
use crate::key::LiveBlock;

use super::bucket::Payload;

/// Lowest bits of a word, which hold the state. The rest is the key, without the highest bit, which is zero in every
/// word.
pub const STATE_BITS: u32 = 2;

/// The bits of the state.
pub const STATE_MASK: u64 = (1 << STATE_BITS) - 1;

/// State of a slot, the lowest bits of its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum State {
    /// No block. The rest of the word is zero if there has never been one.
    Free = 0,
    /// A block that is being written.
    Claimed = 1,
    /// A block.
    Live = 2,
    /// The copy of a block that is being moved here from the older generation.
    Copy = 3,
}

/// In the older generation, where nothing is claimed: the block is in the newer one.
pub const MOVED: State = State::Claimed;

/// The word of a key in a state.
#[inline(always)]
pub const fn word(key: u64, state: State) -> u64 {
    key | state as u64
}

/// The key of a word.
#[inline(always)]
pub const fn key(word: u64) -> u64 {
    word & !STATE_MASK
}

/// Whether the slot is in this state.
#[inline(always)]
pub const fn is(word: u64, state: State) -> bool {
    word & STATE_MASK == state as u64
}

/// Bits of an image's number that are a part of the key; the others are in the payload.
const IMAGE_BITS: u32 = 63 - STATE_BITS - ADDRESS_BITS;

/// Bits of a size.
pub const SIZE_BITS: u32 = 64 - (32 - IMAGE_BITS);

/// Key of a block of a process: its address and the lower bits of the image's number. `None` for an address that user
/// space does not have by default, and for none.
#[inline(always)]
pub const fn block_key(addr: u64, image: u32) -> Option<u64> {
    if addr == 0 || addr >> ADDRESS_BITS != 0 {
        return None;
    }
    let low = image as u64 & ((1 << IMAGE_BITS) - 1);
    Some(addr << (STATE_BITS + IMAGE_BITS) | low << STATE_BITS)
}

/// A block of a process as a payload. Its size must be below 2^[`SIZE_BITS`].
#[inline(always)]
pub const fn block_payload(image: u32, block: &LiveBlock) -> Payload {
    [
        (image_mark(image) as u64) << SIZE_BITS | block.size,
        block.time_ns,
        block.stack as u64 | (block.function as u64) << 32,
    ]
}

/// The mark of a payload: what is at the top of its first word.
#[inline(always)]
pub const fn mark(payload: &Payload) -> u32 {
    (payload[0] >> SIZE_BITS) as u32
}

/// The mark of an image's blocks: the upper bits of its number. Numbers that differ by a multiple of 2^[`IMAGE_BITS`]
/// have the same keys.
#[inline(always)]
pub const fn image_mark(image: u32) -> u32 {
    image >> IMAGE_BITS
}

/// The block in a payload.
#[inline(always)]
pub const fn block(payload: &Payload) -> LiveBlock {
    LiveBlock {
        size: payload[0] & ((1 << SIZE_BITS) - 1),
        time_ns: payload[1],
        stack: payload[2] as u32,
        function: (payload[2] >> 32) as u32,
    }
}

/// The block of a process in a slot: its address, its image and itself.
#[inline(always)]
pub const fn block_in(word: u64, payload: &Payload) -> (u64, u32, LiveBlock) {
    let key = key(word);
    let low = (key >> STATE_BITS) as u32 & ((1 << IMAGE_BITS) - 1);
    let high = mark(payload);
    (
        key >> (STATE_BITS + IMAGE_BITS),
        high << IMAGE_BITS | low,
        block(payload),
    )
}
