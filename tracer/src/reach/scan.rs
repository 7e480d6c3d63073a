//! Reads a process's memory and finds the pointers to blocks in it.

use std::ops::Range;

use tracer_common::arch::native::ADDRESS_BITS;
use zerocopy::IntoBytes;

use super::filter::filter;
use super::graph::{INTERIOR, Rank};
use super::index::{BlockIndex, Found, GRAIN};
use crate::ahead::AHEAD;

pub use crate::process::memory::Memory;

/// Bytes that are read at a time. They stay in the CPU's cache until they have been looked at; smaller pieces are
/// slower, and hold up a process that maps memory for longer in all.
pub const PIECE: usize = 256 << 10;

/// What lies in a part of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Blocks, and what the allocator needs for itself.
    Heap,
    /// No blocks: each pointer in it is a root.
    Roots(Rank),
}

/// A part of the memory that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its addresses, multiples of 8.
    pub range: Range<u64>,
    /// What lies in it.
    pub kind: Kind,
}

/// What becomes of the pointers that are found.
pub trait Sink {
    /// A root.
    fn root(&mut self, rank: Rank, place: u64, target: u32);
    /// A pointer from a block to another. Sources ascend if the parts do.
    fn edge(&mut self, source: u32, target: u32);
    /// A pointer in heap memory that belongs to no known block.
    fn unknown(&mut self, place: u64, target: u32);
}

/// The blocks that pointers are looked for in, and those that they may point to.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// All known blocks.
    pub sources: &'a BlockIndex,
    /// The blocks that pointers to are wanted.
    pub targets: &'a BlockIndex,
    /// The numbers that these have among all; `None` if they are all.
    pub numbers: Option<&'a [u32]>,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Bytes.
    pub bytes: u64,
    /// Bytes that could not be read: their pages are in swap, or have gone.
    pub unread: u64,
    /// There was no time for the rest.
    pub is_cut: bool,
}

const PAGE: u64 = 4096;

/// Looks through parts of a process's memory, which must ascend, so many bytes at a time: [`PIECE`], where it is a real
/// one.
pub fn scan(
    memory: &mut impl Memory,
    piece: usize,
    parts: &[Part],
    wanted: Wanted<'_>,
    sink: &mut impl Sink,
) -> Amount {
    let span = wanted.targets.span();
    let mut words = vec![0_u64; piece / 8];
    let mut places = Vec::new();
    let mut read = Amount::default();
    for part in parts {
        let mut source = Source::default();
        let mut at = part.range.start;
        while at < part.range.end {
            if !memory.has_time() {
                read.is_cut = true;
                return read;
            }
            let want = (part.range.end - at).min(piece as u64) as usize;
            let got = memory.read(at, &mut words.as_mut_bytes()[..want]) & !7;
            if got == 0 {
                let next = ((at | (PAGE - 1)) + 1).min(part.range.end);
                read.unread += next - at;
                at = next;
                continue;
            }
            read.bytes += got as u64;
            let seen = &words[..got / 8];
            places.clear();
            filter(seen, &span, &mut places);
            for (number, place) in places.iter().enumerate() {
                if let Some(ahead) = places.get(number + AHEAD) {
                    wanted.targets.prefetch(seen[*ahead as usize]);
                }
                let Some(target) = wanted.target(seen[*place as usize]) else {
                    continue;
                };
                let place = at + *place as u64 * 8;
                match part.kind {
                    Kind::Roots(rank) => sink.root(rank, place, target),
                    Kind::Heap => match source.at(wanted.sources, place) {
                        Some(own) if own == target & !INTERIOR => {}
                        Some(own) => sink.edge(own, target),
                        None => sink.unknown(place, target),
                    },
                }
            }
            at += got as u64;
        }
    }
    read
}

/// Bits of a pointer that are its address; programs keep tags in the others.
const ADDRESS: u64 = (1 << ADDRESS_BITS) - 1;

/// Looks once more for pointers to the starts of blocks that [`scan`] does not take for such: with a tag in the upper
/// bits, at any byte, or one past the end of a block where no other one may begin. It takes eight times as long, and by
/// chance more words look like such pointers, so it is for few blocks that would be called lost without it.
pub fn scan_disguised(
    memory: &mut impl Memory,
    piece: usize,
    parts: &[Part],
    wanted: Wanted<'_>,
    sink: &mut impl Sink,
) {
    let mut span = wanted.targets.span();
    // One past the end may be the end of the span, or the beginning of its hole.
    span.all.end += 1;
    span.hole.start = (span.hole.start + 1).min(span.hole.end);
    let mut bytes = vec![0_u8; piece];
    let (mut words, mut places) = (Vec::new(), Vec::new());
    for part in parts {
        let mut source = Source::default();
        let mut at = part.range.start;
        while at < part.range.end {
            if !memory.has_time() {
                return;
            }
            let want = (part.range.end - at).min(piece as u64) as usize;
            let got = memory.read(at, &mut bytes[..want]) & !7;
            if got == 0 {
                at = ((at | (PAGE - 1)) + 1).min(part.range.end);
                continue;
            }
            for shift in 0..8 {
                let (eights, _) = bytes[shift..got].as_chunks::<8>();
                words.clear();
                words.extend(
                    eights
                        .iter()
                        .map(|word| u64::from_ne_bytes(*word) & ADDRESS),
                );
                places.clear();
                filter(&words, &span, &mut places);
                for place in &places {
                    let word = words[*place as usize];
                    let Some(target) = wanted.start_or_end(word) else {
                        continue;
                    };
                    let place = at + *place as u64 * 8 + shift as u64;
                    match part.kind {
                        Kind::Roots(rank) => sink.root(rank, place, target),
                        Kind::Heap => match source.at(wanted.sources, place) {
                            Some(own) if own == target => {}
                            Some(own) => sink.edge(own, target),
                            None => sink.unknown(place, target),
                        },
                    }
                }
            }
            at += got as u64;
        }
    }
}

impl<'a> Wanted<'a> {
    /// Pointers to all blocks.
    pub fn all(blocks: &'a BlockIndex) -> Self {
        Self {
            sources: blocks,
            targets: blocks,
            numbers: None,
        }
    }

    /// The block that begins at an address, or ends there.
    fn start_or_end(&self, word: u64) -> Option<u32> {
        let begins = |found: &Found| found.offset == 0;
        let ends = |found: &Found| found.offset + 1 == self.targets.size(found.number);
        // Where another block may begin it is a pointer to that one.
        let may_begin = word.is_multiple_of(GRAIN);
        let before = || self.targets.find(word.checked_sub(1)?).filter(ends);
        let found = match self.targets.find(word).filter(begins) {
            Some(found) => found,
            None if may_begin => return None,
            None => before()?,
        };
        Some(
            self.numbers
                .map_or(found.number, |numbers| numbers[found.number as usize]),
        )
    }

    /// The block that a word points to.
    pub fn target(&self, word: u64) -> Option<u32> {
        let Found { number, offset } = self.targets.find(word)?;
        let number = self
            .numbers
            .map_or(number, |numbers| numbers[number as usize]);
        Some(number | if offset == 0 { 0 } else { INTERIOR })
    }
}

/// The block in which the last pointer was found: the next one is often in it, too.
#[derive(Default)]
struct Source {
    range: Range<u64>,
    number: u32,
}

impl Source {
    fn at(&mut self, blocks: &BlockIndex, place: u64) -> Option<u32> {
        if !self.range.contains(&place) {
            let Found { number, offset } = blocks.find(place)?;
            let start = place - offset;
            self.range = start..start + blocks.size(number);
            self.number = number;
        }
        self.range.contains(&place).then_some(self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::Starts;
    use super::*;

    /// A memory of words that all point to one block, with time for so many reads.
    struct Pointers {
        block: u64,
        reads: usize,
    }

    impl Memory for Pointers {
        fn read(&mut self, _address: u64, into: &mut [u8]) -> usize {
            self.reads = self.reads.saturating_sub(1);
            for word in into.chunks_exact_mut(8) {
                word.copy_from_slice(&self.block.to_ne_bytes());
            }
            into.len()
        }

        fn has_time(&self) -> bool {
            self.reads > 0
        }
    }

    #[derive(Default)]
    struct Roots(Vec<(u64, u32)>);

    impl Sink for Roots {
        fn root(&mut self, _rank: Rank, place: u64, target: u32) {
            self.0.push((place, target));
        }

        fn edge(&mut self, _source: u32, _target: u32) {}

        fn unknown(&mut self, _place: u64, _target: u32) {}
    }

    const BLOCK: u64 = 0x7f00_0000_1000;

    fn index() -> BlockIndex {
        let mut starts = Starts::new(1 << 20, 1).expect("room");
        assert!(starts.add(BLOCK));
        let mut index = starts.finish().expect("room");
        index.set_size(0, 20);
        index
    }

    fn part() -> Part {
        Part {
            range: 0x1000..0x1040,
            kind: Kind::Roots(Rank::Module),
        }
    }

    #[test]
    fn it_ends_when_the_time_is_over() {
        let index = index();
        let read = |reads: usize| {
            let mut memory = Pointers {
                block: BLOCK,
                reads,
            };
            let mut roots = Roots::default();
            let parts = [part()];
            let amount = scan(&mut memory, 32, &parts, Wanted::all(&index), &mut roots);
            (roots.0.len(), amount.is_cut)
        };
        assert_eq!(read(9), (8, false));
        assert_eq!(read(1), (4, true));
    }

    #[test]
    fn pointers_in_disguise() {
        let index = index();
        let found = |word: u64| {
            let mut memory = Pointers {
                block: word,
                reads: 9,
            };
            let mut roots = Roots::default();
            let parts = [part()];
            scan_disguised(&mut memory, 64, &parts, Wanted::all(&index), &mut roots);
            roots.0.first().copied()
        };
        let at = |place: u64| Some((0x1000 + place, 0));
        assert_eq!(found(BLOCK | 0x7 << 56), at(0));
        assert_eq!(found(BLOCK + 20), at(0));
        assert_eq!(found(BLOCK.rotate_left(24)), at(3));
        // Inside, and where another block may begin.
        assert_eq!((found(BLOCK + 8), found(BLOCK + 24)), (None, None));
    }
}
