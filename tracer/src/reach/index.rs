//! Which block an address lies in, for millions of blocks.
//!
//! A bitmap has a bit for each place where a block may start, and each page of it the number of its first block. A
//! block's number is its rank, so addresses need neither be kept nor sorted: ten million blocks take 56 MiB, sizes
//! included.

use std::io;
use std::ops::Range;

use rustc_hash::FxHashMap;
use tracer_common::arch::native::ADDRESS_BITS;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::huge::HugeArray;
use crate::ahead::prefetch;

/// Blocks start at multiples of this many bytes: the least that an allocator of 64-bit words aligns to.
pub const GRAIN: u64 = 8;

const PAGE_BITS: u32 = 12;
const LEAF_BITS: u32 = 21;
const MIDDLE_BITS: u32 = 30;

/// Places of a page, and pages of a leaf.
const PAGES: usize = 1 << (LEAF_BITS - PAGE_BITS);
const WORDS: usize = (1 << PAGE_BITS) / GRAIN as usize / 64;
const LEAVES: usize = 1 << (MIDDLE_BITS - LEAF_BITS);

/// No leaf, or no part of the middle level: numbers begin with 1.
const NONE: u32 = 0;

/// The places of 4 KiB.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Page {
    /// A bit for each place where a block starts.
    starts: [u64; WORDS],
    /// Number of the first block that starts here or beyond.
    first: u32,
    /// How many pages before this one the last start before it is; 0 where that is too far to tell, or there is none.
    back: u32,
}

impl Page {
    fn count(&self) -> u32 {
        self.starts.iter().map(|word| word.count_ones()).sum()
    }

    /// The last place where a block starts.
    fn last(&self) -> Option<u64> {
        let word = self.starts.iter().rposition(|word| *word != 0)?;
        Some(word as u64 * 64 + self.starts[word].ilog2() as u64)
    }
}

/// The places of 2 MiB.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Leaf {
    pages: [Page; PAGES],
}

impl Leaf {
    /// Number of the block behind the last one.
    fn end(&self) -> u32 {
        let last = &self.pages[PAGES - 1];
        last.first + last.count()
    }
}

/// Where leaves are: a table of two levels over the address space.
struct Leaves {
    top: Vec<u32>,
    middle: Vec<[u32; LEAVES]>,
    leaves: HugeArray<Leaf>,
    /// First address of each leaf that is in use.
    bases: Vec<u64>,
}

impl Leaves {
    fn number(&self, address: u64) -> Option<usize> {
        let middle = *self.top.get((address >> MIDDLE_BITS) as usize)?;
        let middle = self.middle.get((middle as usize).wrapping_sub(1))?;
        let number = middle[(address >> LEAF_BITS) as usize % LEAVES];
        (number != NONE).then(|| number as usize - 1)
    }

    /// The number of an address's leaf, a new one if need be; `None` beyond the address space or where all are in use.
    fn number_or_new(&mut self, address: u64) -> Option<usize> {
        let top = self.top.get_mut((address >> MIDDLE_BITS) as usize)?;
        if *top == NONE {
            self.middle.push([NONE; LEAVES]);
            *top = self.middle.len() as u32;
        }
        let middle = &mut self.middle[*top as usize - 1];
        let number = &mut middle[(address >> LEAF_BITS) as usize % LEAVES];
        if *number == NONE {
            if self.bases.len() == self.leaves.all().len() {
                return None;
            }
            self.bases.push(address >> LEAF_BITS << LEAF_BITS);
            *number = self.bases.len() as u32;
        }
        Some(*number as usize - 1)
    }

    fn prefetch(&self, address: u64) {
        if let Some(leaf) = self.number(address) {
            prefetch(&self.leaves.all()[leaf].pages[page_of(address)]);
        }
    }
}

fn page_of(address: u64) -> usize {
    (address >> PAGE_BITS) as usize % PAGES
}

fn place_of(address: u64) -> (usize, u32) {
    let place = (address / GRAIN) as usize % (WORDS * 64);
    (place / 64, (place % 64) as u32)
}

/// The starts of blocks, being gathered.
pub struct Starts {
    leaves: Leaves,
}

impl Starts {
    /// None yet. `heap` is the most address space that blocks lie in, in bytes, and `mappings` how many parts it has.
    ///
    /// # Errors
    /// `ENOMEM` where so much address space may not be reserved.
    pub fn new(heap: u64, mappings: usize) -> io::Result<Self> {
        // Each mapping may begin and end within a leaf.
        Self::in_leaves((heap >> LEAF_BITS) as usize + 2 * mappings + 2)
    }

    /// None yet, for some blocks out of those of an index.
    ///
    /// # Errors
    /// As for [`Starts::new`].
    pub fn some_of(all: &BlockIndex, count: usize) -> io::Result<Self> {
        Self::in_leaves(count.min(all.order.len()))
    }

    fn in_leaves(most: usize) -> io::Result<Self> {
        Ok(Self {
            leaves: Leaves {
                top: vec![NONE; 1 << (ADDRESS_BITS - MIDDLE_BITS)],
                middle: Vec::new(),
                leaves: HugeArray::zeroed(most)?,
                bases: Vec::new(),
            },
        })
    }

    /// Adds a block; `false` if it cannot be known, as it starts at no multiple of [`GRAIN`] or beyond the space that
    /// was told.
    pub fn add(&mut self, start: u64) -> bool {
        if !start.is_multiple_of(GRAIN) {
            return false;
        }
        let Some(leaf) = self.leaves.number_or_new(start) else {
            return false;
        };
        let (word, bit) = place_of(start);
        self.leaves.leaves.all_mut()[leaf].pages[page_of(start)].starts[word] |= 1 << bit;
        true
    }

    /// Lets the CPU fetch what adding a block at this address will need.
    pub fn prefetch(&self, address: u64) {
        self.leaves.prefetch(address);
    }

    /// Numbers the blocks, whose sizes are zero until they are told.
    ///
    /// # Errors
    /// `ENOMEM`, as above.
    pub fn finish(self) -> io::Result<BlockIndex> {
        let mut leaves = self.leaves;
        let mut order: Vec<u32> = (0..leaves.bases.len() as u32).collect();
        order.sort_unstable_by_key(|leaf| leaves.bases[*leaf as usize]);
        let (mut number, mut last) = (0, 0);
        for leaf in &order {
            let base = leaves.bases[*leaf as usize] >> PAGE_BITS;
            for (at, page) in (base..).zip(&mut leaves.leaves.all_mut()[*leaf as usize].pages) {
                page.first = number;
                page.back = u32::try_from(at - last).unwrap_or(0);
                let count = page.count();
                if count > 0 {
                    (number, last) = (number + count, at);
                }
            }
        }
        Ok(BlockIndex {
            leaves,
            order,
            len: number,
            sizes: HugeArray::zeroed(number as usize)?,
            large: FxHashMap::default(),
        })
    }
}

/// Where an address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The block's number.
    pub number: u32,
    /// How far from its start.
    pub offset: u64,
}

/// The blocks, by number and by address.
pub struct BlockIndex {
    leaves: Leaves,
    /// Numbers of the leaves by ascending address.
    order: Vec<u32>,
    len: u32,
    /// Bytes of each block; [`u32::MAX`] where `large` has them.
    sizes: HugeArray<u32>,
    large: FxHashMap<u32, u64>,
}

impl BlockIndex {
    /// How many blocks there are.
    pub fn count(&self) -> u32 {
        self.len
    }

    /// Tells a block's size. A block of no bytes is never found but by its start.
    pub fn set_size(&mut self, number: u32, size: u64) {
        let small = u32::try_from(size).unwrap_or(u32::MAX);
        if small == u32::MAX {
            self.large.insert(number, size);
        }
        if let Some(own) = self.sizes.all_mut().get_mut(number as usize) {
            *own = small;
        }
    }

    /// A block's size.
    pub fn size(&self, number: u32) -> u64 {
        match self.sizes.all()[number as usize] {
            u32::MAX => self.large.get(&number).copied().unwrap_or(0),
            size => size as u64,
        }
    }

    /// The block that an address lies in, or is the start of.
    pub fn find(&self, address: u64) -> Option<Found> {
        let (number, start) = self.last_before(address)?;
        let offset = address - start;
        (offset == 0 || offset < self.size(number)).then_some(Found { number, offset })
    }

    /// The number of the block that starts at an address.
    pub fn starting_at(&self, address: u64) -> Option<u32> {
        let found = self.find(address).filter(|found| found.offset == 0)?;
        Some(found.number)
    }

    /// Whether a block lies in a range, or reaches into it.
    pub fn reaches(&self, range: &Range<u64>) -> bool {
        let last = range.end.checked_sub(1);
        let last = last.and_then(|last| self.last_before(last));
        last.is_some_and(|(number, start)| {
            start >= range.start || start + self.size(number) > range.start
        })
    }

    /// The last block that starts at an address or before it, and its start.
    fn last_before(&self, address: u64) -> Option<(u32, u64)> {
        let leaves = self.leaves.leaves.all();
        let Some(leaf) = self.leaves.number(address) else {
            // Of a leaf without a start only a block that begins in one before it can have a part.
            let behind = self
                .order
                .partition_point(|leaf| self.leaves.bases[*leaf as usize] <= address);
            let leaf = *self.order.get(behind.checked_sub(1)?)?;
            return self.before(leaves[leaf as usize].end());
        };
        let page = &leaves[leaf].pages[page_of(address)];
        let (last, bit) = place_of(address);
        // The bits up to the address's own.
        let upper = page.starts[last] & (u64::MAX >> (63 - bit));
        let before: u32 = page.starts[..last]
            .iter()
            .map(|word| word.count_ones())
            .sum();
        let count = before + upper.count_ones();
        if count == 0 {
            return self.before_page(address >> PAGE_BITS, page);
        }
        let (mut word, mut bits) = (last, upper);
        while bits == 0 {
            word -= 1;
            bits = page.starts[word];
        }
        let place = word as u64 * 64 + (63 - bits.leading_zeros() as u64);
        let start = (address >> PAGE_BITS << PAGE_BITS) + place * GRAIN;
        Some((page.first + count - 1, start))
    }

    /// The last block that starts before a page.
    fn before_page(&self, at: u64, page: &Page) -> Option<(u32, u64)> {
        let number = page.first.checked_sub(1)?;
        let base = (at - page.back as u64) << PAGE_BITS;
        let leaf = self.leaves.number(base).filter(|_| page.back > 0);
        let earlier = leaf.map(|leaf| &self.leaves.leaves.all()[leaf].pages[page_of(base)]);
        match earlier.and_then(Page::last) {
            Some(place) => Some((number, base + place * GRAIN)),
            None => self.before(page.first),
        }
    }

    fn before(&self, number: u32) -> Option<(u32, u64)> {
        let number = number.checked_sub(1)?;
        Some((number, self.start(number)))
    }

    /// The address of a block.
    pub fn start(&self, number: u32) -> u64 {
        let leaves = self.leaves.leaves.all();
        let behind = self
            .order
            .partition_point(|leaf| leaves[*leaf as usize].pages[0].first <= number);
        let leaf = behind.saturating_sub(1);
        let pages = &leaves[self.order[leaf] as usize].pages;
        let page = pages.partition_point(|page| page.first <= number) - 1;
        self.start_in(leaf, page, number)
    }

    /// The addresses of blocks, whose numbers ascend: each is looked for from where the one before it was.
    pub fn starts(&self, numbers: impl Iterator<Item = u32>) -> impl Iterator<Item = u64> {
        let leaves = self.leaves.leaves.all();
        let first_in = |leaf: usize, page: usize| {
            let leaf = self.order.get(leaf)?;
            Some(leaves[*leaf as usize].pages[page].first)
        };
        let (mut leaf, mut page) = (0, 0);
        numbers.map(move |number| {
            while first_in(leaf + 1, 0).is_some_and(|first| first <= number) {
                (leaf, page) = (leaf + 1, 0);
            }
            while page + 1 < PAGES && first_in(leaf, page + 1).is_some_and(|first| first <= number)
            {
                page += 1;
            }
            self.start_in(leaf, page, number)
        })
    }

    /// The address of a block in a page of a leaf, which is told by its place in the order.
    fn start_in(&self, leaf: usize, page: usize, number: u32) -> u64 {
        let leaf = self.order[leaf] as usize;
        let Page { starts, first, .. } = self.leaves.leaves.all()[leaf].pages[page];
        let mut left = number - first;
        let mut address = self.leaves.bases[leaf] + ((page as u64) << PAGE_BITS);
        for word in starts {
            if left < word.count_ones() {
                let bits = (0..left).fold(word, |bits, _| bits & (bits - 1));
                return address + bits.trailing_zeros() as u64 * GRAIN;
            }
            left -= word.count_ones();
            address += 64 * GRAIN;
        }
        address
    }

    /// The part of the address space that the blocks lie in, with the widest hole in it. To be asked for when the sizes
    /// are told.
    pub fn span(&self) -> Span {
        let bases = self
            .order
            .iter()
            .map(|leaf| self.leaves.bases[*leaf as usize]);
        let end_of = |base: u64| {
            let whole = base + (1 << LEAF_BITS);
            // A block may reach beyond the leaf that it begins in.
            let last = self.last_before(whole - 1);
            last.map_or(whole, |(number, start)| {
                whole.max(start + self.size(number))
            })
        };
        let mut span = Span::default();
        let mut end = 0;
        for base in bases {
            if span.all.is_empty() {
                span.all.start = base;
            } else if base > end && base - end > span.hole.end - span.hole.start {
                span.hole = end..base;
            }
            end = end.max(end_of(base));
            span.all.end = end;
        }
        span
    }

    /// Lets the CPU fetch what a look-up of this address will need.
    pub fn prefetch(&self, address: u64) {
        self.leaves.prefetch(address);
    }
}

/// A part of the address space.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// From the first address to behind the last.
    pub all: Range<u64>,
    /// Addresses in between at which nothing lies; empty if there is no such hole.
    pub hole: Range<u64>,
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
