//! Sixteen slots side by side, and what one CPU does with one of them.

use super::word::{State, is, word};
use crate::bits::count;

/// Slots of a bucket, whose words take two cache lines. With two buckets to choose from, 85 % of the slots of a large
/// table are in use before a block finds none; with eight slots it would be 70 %.
pub const SLOTS: usize = 16;

/// Words of a payload.
pub const PAYLOAD: usize = 3;

/// Words of a cache line.
pub const LINE: usize = 8;

/// So many slots of a key's first bucket are in use before it may go into its second one: those of the first cache
/// line.
pub const OVERFLOW_AT: usize = LINE;

/// What is kept of a block.
pub type Payload = [u64; PAYLOAD];

/// A word in memory that several CPUs read and write.
pub trait Cell: Sized {
    /// Reads it; what is read after it is not older.
    fn load(&self) -> u64;
    /// Writes it; what was written before it is seen by whoever reads it.
    fn store(&self, value: u64);
    /// Writes it if it has the expected value; whether it had. In one order with all others of this kind.
    fn replace(&self, expected: u64, new: u64) -> bool;

    /// As [`equal`]: a program may have it once for all the places that search from.
    fn equal(line: &[Self; LINE], wanted: u64) -> u32 {
        equal(line, wanted)
    }

    /// As [`used`].
    fn used(line: &[Self; LINE]) -> u32 {
        used(line)
    }
}

/// Which words of a cache line are the wanted one, a bit for each. Without branches, of which the CPU would often guess
/// the wrong one, and the kernel's verifier would follow all.
#[inline(always)]
pub fn equal<C: Cell>(line: &[C; LINE], wanted: u64) -> u32 {
    let at = |slot: usize| same(line[slot].load(), wanted) << slot;
    at(0) | at(1) | at(2) | at(3) | at(4) | at(5) | at(6) | at(7)
}

/// Which slots of a cache line are in use, a bit for each.
#[inline(always)]
pub fn used<C: Cell>(line: &[C; LINE]) -> u32 {
    let at = |slot: usize| {
        let state = line[slot].load();
        (((state | state >> 1) & 1) as u32) << slot
    };
    at(0) | at(1) | at(2) | at(3) | at(4) | at(5) | at(6) | at(7)
}

/// Sixteen slots.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Bucket<C> {
    /// Keys and states.
    pub words: [C; SLOTS],
    /// The blocks.
    pub payloads: [[C; PAYLOAD]; SLOTS],
}

impl<C: Cell> Bucket<C> {
    /// The words of a cache line, the first or the second one.
    #[inline(always)]
    fn line<const FIRST: usize>(&self) -> &[C; LINE] {
        const { assert!(FIRST.is_multiple_of(LINE) && FIRST < SLOTS) };
        // SAFETY: the words from `FIRST` on, which is one of the two starts of a line.
        unsafe { &*self.words.as_ptr().add(FIRST).cast() }
    }

    /// The slot with this word, which is not zero.
    #[inline(always)]
    pub fn find(&self, wanted: u64) -> Option<usize> {
        let early = C::equal(self.line::<0>(), wanted);
        if early != 0 || !self.may_overflow() {
            return first_of(early);
        }
        first_of(C::equal(self.line::<LINE>(), wanted) << LINE)
    }

    /// The slot with this word, if it is in the first cache line.
    #[inline(always)]
    pub fn find_early(&self, wanted: u64) -> Option<usize> {
        first_of(equal(self.line::<0>(), wanted))
    }

    /// Whether a key may lie beyond the first cache line, or in its second bucket, where this is the first one.
    #[inline(always)]
    pub fn may_overflow(&self) -> bool {
        self.words[OVERFLOW_AT - 1].load() != 0
    }

    /// Which slots are in use, a bit for each.
    #[inline(always)]
    pub fn used(&self) -> u32 {
        C::used(self.line::<0>()) | C::used(self.line::<LINE>()) << LINE
    }

    /// The first slot of those before [`OVERFLOW_AT`] that is not in use.
    #[inline(always)]
    pub fn free_early(&self) -> Option<usize> {
        let slot = lowest_free(used(self.line::<0>()));
        (slot < OVERFLOW_AT).then_some(slot)
    }

    /// Reads a slot's payload.
    #[inline(always)]
    pub fn payload(&self, slot: usize) -> Payload {
        let cells = &self.payloads[slot % SLOTS];
        [cells[0].load(), cells[1].load(), cells[2].load()]
    }

    /// Changes a slot's word, if it is the key's in this state; whether it was.
    #[inline(always)]
    pub fn change(&self, slot: usize, key: u64, from: State, to: State) -> bool {
        self.words[slot % SLOTS].replace(word(key, from), word(key, to))
    }

    /// Claims a free slot for a key; `false` if it is not free any more.
    #[inline(always)]
    pub fn claim(&self, slot: usize, key: u64) -> bool {
        let cell = &self.words[slot % SLOTS];
        let found = cell.load();
        is(found, State::Free) && cell.replace(found, word(key, State::Claimed))
    }

    /// Fills a slot that was claimed.
    #[inline(always)]
    pub fn fill(&self, slot: usize, key: u64, payload: &Payload, state: State) {
        let cells = &self.payloads[slot % SLOTS];
        cells[0].store(payload[0]);
        cells[1].store(payload[1]);
        cells[2].store(payload[2]);
        self.words[slot % SLOTS].store(word(key, state));
    }

    /// Reads a slot while others may change it: its word and payload if it is a live block.
    #[inline(always)]
    pub fn read(&self, slot: usize) -> Option<(u64, Payload)> {
        let cell = &self.words[slot % SLOTS];
        let word = cell.load();
        if !is(word, State::Live) {
            return None;
        }
        let payload = self.payload(slot);
        // Another block of the key may have taken the slot meanwhile: a mixture does not read the same twice.
        let [one, two, three] = self.payload(slot);
        // Word by word: by an array's comparison both would go through memory, and wait for all loads before.
        let changed = (payload[0] ^ one) | (payload[1] ^ two) | (payload[2] ^ three);
        let is_whole = changed == 0 && cell.load() == word;
        is_whole.then_some((word, payload))
    }
}

/// 1 if two words are the same, 0 otherwise: where neither has the highest bit, one less than their difference has it
/// only if there is none.
#[inline(always)]
const fn same(one: u64, other: u64) -> u32 {
    ((one ^ other).wrapping_sub(1) >> 63) as u32
}

/// The lowest slot whose bit is set.
#[inline(always)]
fn first_of(slots: u32) -> Option<usize> {
    match slots {
        0 => None,
        some => Some(lowest_free(!some & ((1 << SLOTS) - 1))),
    }
}

/// The lowest slot that is not in use; [`SLOTS`] if all are.
#[inline(always)]
pub const fn lowest_free(used: u32) -> usize {
    // The bits below the lowest zero.
    count(used & !(used + 1)) as usize
}

const _: () = assert!(size_of::<Bucket<u64>>() == 512);

/// A word that user space reaches through a mapping, or that tests have in plain memory.
#[cfg(any(test, feature = "user"))]
impl Cell for core::sync::atomic::AtomicU64 {
    #[inline(always)]
    fn load(&self) -> u64 {
        self.load(core::sync::atomic::Ordering::Acquire)
    }

    #[inline(always)]
    fn store(&self, value: u64) {
        self.store(value, core::sync::atomic::Ordering::Release);
    }

    #[inline(always)]
    fn replace(&self, expected: u64, new: u64) -> bool {
        use core::sync::atomic::Ordering::SeqCst;
        self.compare_exchange(expected, new, SeqCst, SeqCst).is_ok()
    }
}
