//! What is done with the whole table: inserting, taking and moving a key's block.

use super::bucket::{Bucket, Cell, Payload, SLOTS, lowest_free};
use super::place::{Generation, Phase, Place};
use super::word::{self, MOVED, State, is, word};
use crate::bits::count;

/// Most attempts to claim a slot. Each that fails means that another CPU has claimed that very slot in these
/// nanoseconds.
pub const CLAIMS: u32 = 4;

/// Most attempts to take a block while blocks are moved: it can be in the older generation, a copy, and in the newer
/// one.
pub const TAKES: u32 = 3;

/// Memory that a table lies in.
pub trait Memory: Sized {
    /// Its words.
    type Cell: Cell;

    /// The size of a generation.
    fn generation(&self, index: u32) -> Generation;

    /// A bucket of a segment of a generation; `None` where there is no such segment.
    fn bucket(&self, index: u32, segment: u32, number: u32) -> Option<&Bucket<Self::Cell>>;

    /// As [`search`]: a program may have it once for all the places that it searches from.
    #[inline(always)]
    fn find(&self, index: u32, wanted: u64) -> Option<Found> {
        search(self, index, wanted)
    }

    /// As [`choose`], likewise.
    #[inline(always)]
    fn free(&self, index: u32, key: u64) -> Option<Found> {
        choose(self, index, key)
    }
}

/// There is no slot for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// It takes more than a look at a key's first cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsure;

/// Which slot of a key's buckets something is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// It is in the second bucket.
    pub second: bool,
    /// The slot.
    pub slot: usize,
}

/// The two buckets of a key in one generation.
struct Buckets<'a, M> {
    memory: &'a M,
    index: u32,
    place: Place,
}

impl<'a, M: Memory> Buckets<'a, M> {
    #[inline(always)]
    fn of(memory: &'a M, index: u32, key: u64) -> Self {
        Self {
            memory,
            index,
            place: memory.generation(index).place(key),
        }
    }

    #[inline(always)]
    fn bucket(&self, is_second: bool) -> Option<&'a Bucket<M::Cell>> {
        let Place {
            segment,
            first,
            second,
        } = self.place;
        // Without a branch, both sides of which the kernel's verifier would follow to the end.
        let number = first ^ (first ^ second) & 0u32.wrapping_sub(is_second as u32);
        self.memory.bucket(self.index, segment, number)
    }

    #[inline(always)]
    fn first(&self) -> Option<&'a Bucket<M::Cell>> {
        self.bucket(false)
    }

    #[inline(always)]
    fn find(&self, wanted: u64) -> Option<Found> {
        let first = self.first()?;
        if let Some(slot) = first.find(wanted) {
            return Some(Found {
                second: false,
                slot,
            });
        }
        if !first.may_overflow() {
            return None;
        }
        let slot = self.bucket(true)?.find(wanted)?;
        Some(Found { second: true, slot })
    }

    /// A free slot: one of the first cache line, else the lowest one of the bucket that has more of them.
    #[inline(always)]
    fn free(&self) -> Option<Found> {
        let first = self.first()?;
        if let Some(slot) = first.free_early() {
            return Some(Found {
                second: false,
                slot,
            });
        }
        let (first, second) = (first.used(), self.bucket(true)?.used());
        let is_second = count(second) < count(first);
        let slot = lowest_free(if is_second { second } else { first });
        (slot < SLOTS).then_some(Found {
            second: is_second,
            slot,
        })
    }
}

/// Where in a generation a word is.
#[inline(always)]
pub fn search<M: Memory>(memory: &M, index: u32, wanted: u64) -> Option<Found> {
    Buckets::of(memory, index, word::key(wanted)).find(wanted)
}

/// Where in a generation a key's block may go.
#[inline(always)]
pub fn choose<M: Memory>(memory: &M, index: u32, key: u64) -> Option<Found> {
    Buckets::of(memory, index, key).free()
}

/// Whether a block is the one meant, by the mark that its payload must have.
#[inline(always)]
fn has_mark(payload: &Payload, mark: Option<u32>) -> bool {
    match mark {
        Some(mark) => word::mark(payload) == mark,
        None => true,
    }
}

/// The block of a key while there is one generation. It may be released at any time.
#[inline(always)]
pub fn look_up<M: Memory>(memory: &M, index: u32, key: u64) -> Option<Payload> {
    let found = memory.find(index, word(key, State::Live))?;
    let bucket = Buckets::of(memory, index, key).bucket(found.second)?;
    Some(bucket.payload(found.slot))
}

/// Takes a block while there is one generation, if a look at the key's first cache line is enough.
#[inline(always)]
pub fn take_quickly<M: Memory>(
    memory: &M,
    index: u32,
    key: u64,
    mark: u32,
) -> Result<Option<Payload>, Unsure> {
    let Some(first) = Buckets::of(memory, index, key).first() else {
        return Ok(None);
    };
    let Some(slot) = first.find_early(word(key, State::Live)) else {
        return if first.may_overflow() {
            Err(Unsure)
        } else {
            Ok(None)
        };
    };
    let payload = first.payload(slot);
    let taken = has_mark(&payload, Some(mark)) && first.change(slot, key, State::Live, State::Free);
    Ok(taken.then_some(payload))
}

/// What an attempt to take a block found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// This block, which is taken.
    Taken(Payload),
    /// No block that is meant.
    Nothing,
    /// It was moved meanwhile, or somebody else has taken it.
    Again,
}

/// Where a key's block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The generation.
    pub index: u32,
    /// Its slot there. None: it is no copy any more, so it is `LIVE` in the newer generation, or has been released
    /// since it was moved.
    pub found: Option<Found>,
    /// It is a copy.
    pub is_copy: bool,
}

/// Where a key's block is; `None` if there is no such block.
#[inline(always)]
pub fn locate<M: Memory>(memory: &M, phase: Phase, key: u64) -> Option<Located> {
    let (newer, older) = (phase.newer(), phase.older());
    let located = |index, found, is_copy| Located {
        index,
        found,
        is_copy,
    };
    let newest = memory.find(newer, word(key, State::Live));
    if newest.is_some() {
        return Some(located(newer, newest, false));
    }
    if !phase.is_moving() {
        return None;
    }
    let unmoved = memory.find(older, word(key, State::Live));
    if unmoved.is_some() {
        return Some(located(older, unmoved, false));
    }
    memory.find(older, word(key, MOVED))?;
    let copy = memory.find(newer, word(key, State::Copy));
    Some(located(newer, copy, true))
}

/// Tries to take a block from where it was found.
#[inline(always)]
pub fn take_at<M: Memory>(memory: &M, at: Located, key: u64, mark: Option<u32>) -> Attempt {
    let Some(found) = at.found else {
        return Attempt::Again;
    };
    let Some(bucket) = Buckets::of(memory, at.index, key).bucket(found.second) else {
        return Attempt::Again;
    };
    let payload = bucket.payload(found.slot);
    if !has_mark(&payload, mark) {
        return Attempt::Nothing;
    }
    let from = match at.is_copy {
        true => State::Copy,
        false => State::Live,
    };
    match bucket.change(found.slot, key, from, State::Free) {
        true => Attempt::Taken(payload),
        false => Attempt::Again,
    }
}

/// Takes a block, wherever it is.
#[inline(always)]
pub fn take_slowly<M: Memory>(
    memory: &M,
    phase: Phase,
    key: u64,
    mark: Option<u32>,
) -> Option<Payload> {
    let mut attempt = 0;
    while attempt < TAKES {
        let at = locate(memory, phase, key)?;
        match take_at(memory, at, key, mark) {
            Attempt::Taken(payload) => return Some(payload),
            Attempt::Nothing => return None,
            Attempt::Again => attempt += 1,
        }
    }
    None
}

/// Takes a block out of the table: of those who do so at one time, one gets it. A block of the same key with another
/// mark stays.
#[inline(always)]
pub fn take<M: Memory>(memory: &M, phase: Phase, key: u64, mark: u32) -> Option<Payload> {
    match phase.is_moving() {
        false => match take_quickly(memory, phase.newer(), key, mark) {
            Ok(taken) => taken,
            Err(Unsure) => take_slowly(memory, phase, key, Some(mark)),
        },
        true => take_slowly(memory, phase, key, Some(mark)),
    }
}

/// Inserts a block while there is one generation, if a look at the key's first cache line is enough: there is room in
/// it, and there can be no block of the key.
#[inline(always)]
pub fn insert_quickly<M: Memory>(
    memory: &M,
    index: u32,
    key: u64,
    payload: &Payload,
) -> Result<(), Unsure> {
    let first = Buckets::of(memory, index, key).first().ok_or(Unsure)?;
    if first.may_overflow() || first.find_early(word(key, State::Live)).is_some() {
        return Err(Unsure);
    }
    let slot = first.free_early().ok_or(Unsure)?;
    if !first.claim(slot, key) {
        return Err(Unsure);
    }
    first.fill(slot, key, payload, State::Live);
    Ok(())
}

/// Puts a block into a generation, where no block of its key is. The number of its slot: high ones tell that the table
/// fills up.
#[inline(always)]
pub fn put<M: Memory>(memory: &M, index: u32, key: u64, payload: &Payload) -> Result<usize, Full> {
    let claimed = claim(memory, index, key)?;
    claimed.fill(key, payload, State::Live);
    Ok(claimed.slot)
}

/// As [`put`], but only one attempt: `None` if another CPU was faster.
#[inline(always)]
pub fn try_put<M: Memory>(
    memory: &M,
    index: u32,
    key: u64,
    payload: &Payload,
) -> Result<Option<usize>, Full> {
    let Some(claimed) = try_to_claim(memory, index, key)? else {
        return Ok(None);
    };
    claimed.fill(key, payload, State::Live);
    Ok(Some(claimed.slot))
}

/// A slot that was claimed.
struct Claimed<'a, C> {
    bucket: &'a Bucket<C>,
    slot: usize,
}

impl<C: Cell> Claimed<'_, C> {
    #[inline(always)]
    fn fill(&self, key: u64, payload: &Payload, state: State) {
        self.bucket.fill(self.slot, key, payload, state);
    }
}

#[inline(always)]
fn claim<M: Memory>(memory: &M, index: u32, key: u64) -> Result<Claimed<'_, M::Cell>, Full> {
    let mut attempt = 0;
    while attempt < CLAIMS {
        if let Some(claimed) = try_to_claim(memory, index, key)? {
            return Ok(claimed);
        }
        attempt += 1;
    }
    Err(Full)
}

/// Claims a slot, unless another CPU claims it first.
#[inline(always)]
fn try_to_claim<M: Memory>(
    memory: &M,
    index: u32,
    key: u64,
) -> Result<Option<Claimed<'_, M::Cell>>, Full> {
    let Found { second, slot } = memory.free(index, key).ok_or(Full)?;
    let buckets = Buckets::of(memory, index, key);
    let bucket = buckets.bucket(second).ok_or(Full)?;
    let claimed = bucket.claim(slot, key);
    Ok(claimed.then_some(Claimed { bucket, slot }))
}

/// Moves the block in a slot of the older generation, if there is one, into the newer one. If it is released meanwhile,
/// it is in neither. Only one at a time may move.
///
/// # Errors
/// [`Full`] if the newer generation has no room for it: it stays where it is, where it is found.
pub fn move_block<M: Memory>(
    memory: &M,
    phase: Phase,
    older: &Bucket<M::Cell>,
    slot: usize,
) -> Result<(), Full> {
    let word = older.words[slot].load();
    if !is(word, State::Live) {
        return Ok(());
    }
    let key = word::key(word);
    // Its words stay as they are even if the block is taken now: nothing is written into the older generation.
    let payload = older.payload(slot);
    let copy = claim(memory, phase.newer(), key)?;
    copy.fill(key, &payload, State::Copy);
    let to = match older.change(slot, key, State::Live, MOVED) {
        true => State::Live,
        false => State::Free,
    };
    // If it fails, the block was released between the two changes.
    copy.bucket.change(copy.slot, key, State::Copy, to);
    Ok(())
}
