//! The chunks that a program holds, where they are wanted one by one.

use std::ops::Range;

use rustc_hash::FxHashMap;

/// Bytes of a chunk before its block.
const HEADER: u64 = 16;
/// Bytes behind a chunk that belong to its block while it is in use (malloc/malloc.c, `chunk2mem` and
/// `memsize`).
const BORROWED: u64 = 8;
/// Chunks begin and end at multiples of this many bytes (`MALLOC_ALIGNMENT` of malloc/malloc-internal.h).
const GRAIN: u64 = 16;
/// Grains of a page, and bytes.
const PAGE_GRAINS: u64 = 4096;
const PAGE: u64 = PAGE_GRAINS * GRAIN;
/// Bytes that a word of bits tells of, and such words of a page.
const WORD: u64 = 64 * GRAIN;
const WORDS: usize = (PAGE / WORD) as usize;

/// Chunks in use. Ten million of 112 bytes take 17 MB.
#[derive(Clone, Debug, Default)]
pub struct UsedChunks {
    is_wanted: bool,
    /// Of each page, where chunks in use begin.
    starts: Vec<Bits>,
    /// Of each page, what belongs to chunks in use.
    used: Vec<Bits>,
    /// Places of pages in these, by address.
    places: FxHashMap<u64, u32>,
    /// The page that was written last: chunks come by ascending address.
    last: Option<(u64, u32)>,
}

/// Bits for the grains of 64 KiB.
type Bits = [u64; WORDS];

/// The word and the bit of a grain in its page.
const fn bit(address: u64) -> (usize, u64) {
    let grain = address / GRAIN % PAGE_GRAINS;
    ((grain / 64) as usize, 1 << (grain % 64))
}

impl UsedChunks {
    /// None are listed.
    pub fn counted() -> Self {
        Self::default()
    }

    /// All are listed.
    pub fn listed() -> Self {
        Self {
            is_wanted: true,
            ..Self::default()
        }
    }

    /// Adds a chunk.
    #[inline]
    pub(super) fn add(&mut self, chunk: u64, size: u64) {
        if self.is_wanted {
            let (word, bit) = bit(chunk);
            let page = self.page_or_new(chunk);
            self.starts[page][word] |= bit;
            self.change(chunk..chunk + size, |_, used, bits| *used |= bits);
        }
    }

    /// Takes back the chunks of a range.
    pub(super) fn forget(&mut self, range: Range<u64>) {
        if self.is_wanted {
            self.change(range, |starts, used, bits| {
                *starts &= !bits;
                *used &= !bits;
            });
        }
    }

    /// A chunk is free after all: it is on a list of a thread's cache, or in a fast bin.
    pub(super) fn release(&mut self, chunk: u64) {
        if chunk.is_multiple_of(GRAIN) && self.has(&self.starts, chunk) {
            self.forget(chunk..self.end(chunk));
        }
    }

    /// Forgets where the chunks begin, where it is only wanted to know what they hold: [`Self::blocks`] lists none
    /// then.
    pub fn merged(mut self) -> Self {
        self.starts = Vec::new();
        self
    }

    /// Address and bytes of each block, ascending.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut pages: Vec<(u64, u32)> = self
            .places
            .iter()
            .map(|(base, place)| (*base, *place))
            .collect();
        pages.sort_unstable();
        let words = pages.into_iter().flat_map(|(base, place)| {
            let words = (0_u64..).zip(
                self.starts
                    .get(place as usize)
                    .copied()
                    .unwrap_or([0; WORDS]),
            );
            words.map(move |(number, word)| (base + number * WORD, word))
        });
        let starts = words.flat_map(|(base, word)| {
            let bits = std::iter::successors(Some(word), |bits| Some(bits & bits.wrapping_sub(1)));
            let bits = bits.take_while(|bits| *bits != 0);
            bits.map(move |bits| base + u64::from(bits.trailing_zeros()) * GRAIN)
        });
        starts.map(|chunk| (chunk + HEADER, self.end(chunk) + BORROWED - chunk - HEADER))
    }

    /// Whether an address lies in a block that is in use.
    pub fn holds(&self, address: u64) -> bool {
        // A block begins and ends as much behind its chunk's own beginning and end, but for the header's second word,
        // the size. Where it is not known where chunks begin it counts as held: it is no pointer.
        let Some(place) = address.checked_sub(BORROWED) else {
            return false;
        };
        let is_size = place % GRAIN < HEADER - BORROWED && self.has(&self.starts, place);
        self.has(&self.used, place) && !is_size
    }

    /// The end of a chunk that is in use.
    fn end(&self, chunk: u64) -> u64 {
        let mut at = chunk + GRAIN;
        loop {
            let Some(page) = self.page(at) else {
                return at;
            };
            let (word, bit) = bit(at);
            // Bits from here on that tell of another chunk, or of none.
            let others = (self.starts[page][word] | !self.used[page][word]) & !(bit - 1);
            if others != 0 {
                return at / WORD * WORD + u64::from(others.trailing_zeros()) * GRAIN;
            }
            at = (at / WORD + 1) * WORD;
        }
    }

    fn has(&self, bits: &[Bits], address: u64) -> bool {
        let (word, bit) = bit(address);
        let bits = self.page(address).and_then(|page| bits.get(page));
        bits.is_some_and(|bits| bits[word] & bit != 0)
    }

    fn page(&self, address: u64) -> Option<usize> {
        let place = self.places.get(&(address / PAGE * PAGE))?;
        Some(*place as usize)
    }

    fn page_or_new(&mut self, address: u64) -> usize {
        let base = address / PAGE * PAGE;
        let place = match self.last {
            Some((last, place)) if last == base => place,
            _ => *self.places.entry(base).or_insert_with(|| {
                self.starts.push([0; WORDS]);
                self.used.push([0; WORDS]);
                self.used.len() as u32 - 1
            }),
        };
        self.last = Some((base, place));
        place as usize
    }

    /// Changes the words of a range, with the bits of them that lie in it.
    fn change(&mut self, range: Range<u64>, change: impl Fn(&mut u64, &mut u64, u64)) {
        let mut at = range.start;
        while at < range.end {
            let next = (at / WORD + 1) * WORD;
            let (word, first) = bit(at);
            let bits = match range.end < next {
                true => bit(range.end).1 - first,
                false => first.wrapping_neg(),
            };
            let page = self.page_or_new(at);
            change(
                &mut self.starts[page][word],
                &mut self.used[page][word],
                bits,
            );
            at = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn released_chunks_are_dropped() {
        let mut used = UsedChunks::listed();
        for (chunk, size) in [(0x100, 32), (0x120, 48), (0x180, 32)] {
            used.add(chunk, size);
        }
        used.release(0x120);
        used.release(0x130);
        let blocks: Vec<_> = used.blocks().collect();
        assert_eq!(blocks, [(0x110, 24), (0x190, 24)]);
        let held: Vec<u64> = (0x100..0x1b0)
            .step_by(8)
            .filter(|place| used.holds(*place))
            .collect();
        assert_eq!(held, [0x110, 0x118, 0x120, 0x190, 0x198, 0x1a0]);
    }

    #[test]
    fn none_are_listed_where_none_are_wanted() {
        let mut used = UsedChunks::counted();
        used.add(0x100, 32);
        assert_eq!((used.blocks().count(), used.holds(0x110)), (0, false));
    }

    /// Chunks one after the other, used or not, of so many grains; some are as large as several pages.
    fn chunks() -> impl Strategy<Value = (u64, Vec<(bool, u64)>)> {
        let grains = prop_oneof![8 => 2_u64..9, 2 => 2_u64..200, 1 => 4_000_u64..9_000];
        let chunks = prop::collection::vec((any::<bool>(), grains), 1..60);
        (0_u64..9_000, chunks)
    }

    proptest! {
        #[test]
        fn is_as_a_list((first, chunks) in chunks(), gone in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
            from in any::<prop::sample::Index>()) {
            let mut used = UsedChunks::listed();
            let mut list = BTreeMap::new();
            let mut at = 0x7f00_0000_0000 + first * GRAIN;
            let begin = at;
            for (is_used, grains) in &chunks {
                if *is_used {
                    used.add(at, grains * GRAIN);
                    list.insert(at, grains * GRAIN);
                }
                at += grains * GRAIN;
            }
            let end = at;
            if !list.is_empty() {
                for chunk in gone {
                    let starts: Vec<u64> = list.keys().copied().collect();
                    if starts.is_empty() {
                        break;
                    }
                    let chunk = starts[chunk.index(starts.len())];
                    used.release(chunk);
                    list.remove(&chunk);
                }
            }
            let listed = |list: &BTreeMap<u64, u64>| -> Vec<(u64, u64)> {
                list.iter().map(|(chunk, size)| (chunk + 16, size - 8)).collect()
            };
            prop_assert_eq!(used.blocks().collect::<Vec<_>>(), listed(&list));
            for place in (begin..end + 64).step_by(8).take(3_000) {
                let before = list.range(..=place - 16).next_back();
                let is_held = before.is_some_and(|(chunk, size)| place < chunk + size + 8);
                prop_assert_eq!(used.holds(place), is_held, "{:#x}", place);
            }
            let merged = used.clone().merged();
            for (chunk, size) in &list {
                prop_assert!((chunk + 16..chunk + size + 8).step_by(8).all(|place| merged.holds(place)));
                let behind = chunk + size + 16;
                prop_assert_eq!(merged.holds(behind), used.holds(behind));
            }
            prop_assert_eq!(merged.blocks().count(), 0);
            if !list.is_empty() {
                let starts: Vec<u64> = list.keys().copied().collect();
                let from = starts[from.index(starts.len())];
                used.forget(from..end);
                list.split_off(&from);
                prop_assert_eq!(used.blocks().collect::<Vec<_>>(), listed(&list));
            }
        }
    }
}
