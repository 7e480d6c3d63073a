//! The table of live blocks: open addressing without locks, which the programs change and user space reads, sweeps and
//! makes larger.
//!
//! # Shape
//!
//! A slot holds one block: a word of 64 bits, with the key and a [`State`](word::State), and a payload of three words.
//! Sixteen slots make a [`Bucket`]: the words first, in two cache lines, then the payloads. A key has two buckets, and
//! its block lies in one of them. Buckets are gathered in segments of [`SEGMENT_BUCKETS`], which is what memory comes
//! in. The segments of one size of the table are a [`Generation`]. There is one generation, or two while the blocks of
//! the older one are moved into the newer, larger or smaller one.
//!
//! # Why no lock is needed
//!
//! The events of one key follow one another: a block is inserted before its allocator hands it out, and taken before
//! its allocator gets it back. So two CPUs never change the block of one *key* at one time, only compete for free
//! *slots*, which one compare-and-swap decides.
//!
//! # Invariants
//!
//! 1. A slot's payload belongs to whoever has claimed it: it is written while the word says `CLAIMED`, and read while
//!    the word says `LIVE` or `COPY`.
//! 2. Whoever changes a word from `LIVE` to anything else has the block; nobody else gets it.
//! 3. A word that has been used is never zero again, and a slot is used only when all before it in its bucket have
//!    been.
//! 4. A key goes beyond the first [`OVERFLOW_AT`] slots of its first bucket, or into its second one, only if these were
//!    all in use. So if the last of them has never been used, the key is not in the second bucket.
//! 5. A generation that is being emptied gets no new blocks. Each of its words that is `LIVE` is a live block unless
//!    the newer generation has the key `LIVE`, too, which does not happen; `MOVED` means that the block is in the newer
//!    generation if it still lives, as `COPY` or `LIVE`; a `COPY` whose older word is not `MOVED` is no block.
//!
//! A traced program that releases a block twice, or two threads of which race for one, breaks the order of events of
//! one key. Then at most what is counted of this key is wrong: 1 to 4 hold for any interleaving.

mod bucket;
#[cfg(any(test, fuzzing))]
pub mod model;
mod place;
mod table;
#[cfg(test)]
mod tests;
pub mod word;

pub use bucket::{Bucket, Cell, LINE, OVERFLOW_AT, PAYLOAD, Payload, SLOTS, equal, used};
pub use place::{Directory, Generation, MAX_SEGMENTS, Phase, Place, SEGMENT_BUCKETS, Segment};
pub use table::{
    Attempt, CLAIMS, Found, Full, Located, Memory, TAKES, Unsure, choose, insert_quickly, locate,
    look_up, move_block, put, search, take, take_at, take_quickly, take_slowly, try_put,
};
