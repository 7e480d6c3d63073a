//! Free chunks that the heap takes for used ones: those in the threads' caches and in the fast bins.
//!
//! A thread's cache lies in a chunk of its own. It is told from other chunks of its size by what it holds: counts, and
//! heads of lists of chunks of one size each. Since glibc 2.32 the links of these lists are mixed with their own
//! address; which way it is shows in the first link that can be read in one way only.

use std::collections::HashMap;
use std::time::Instant;

use super::areas::Areas;
use super::chunk::{Header, LEAST};
use crate::sources::ledger::memory::{Memory, PAGE, ReadError, Window};

/// Chunk of a thread cache with 64 bins, up to glibc 2.41.
const OLD_CACHE: (u64, u64) = (0x290, 64);
/// Chunk of a thread cache with 76 bins, since glibc 2.42.
const NEW_CACHE: (u64, u64) = (0x300, 76);
/// Bins of a thread cache that hold chunks of one size.
const SMALL_BINS: u64 = 64;
/// Largest chunk of a fast bin.
const MOST_FAST: u64 = 176;
/// Most links that a walk keeps: 64 MiB.
const MOST_LINKS: usize = 4 << 20;
/// Pages kept while lists are followed: 16 MiB.
const MOST_PAGES: usize = 4096;

/// Chunks on lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Bytes, headers included.
    pub bytes: u64,
    /// Number.
    pub chunks: u64,
    /// A list was longer than there was time, or did not make sense to its end: there are more.
    pub cut: bool,
}

impl Listed {
    /// Adds another count.
    pub fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.chunks += other.chunks;
        self.cut |= other.cut;
    }
}

/// What a walk saw of lists as it went by.
///
/// Following a list through memory costs two system calls for each chunk, and fast bins may hold millions. The walk
/// reads all of them anyway, so it keeps the links of those small chunks whose first word can be a mixed link: of a
/// block in use that is rare.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// Chunks that may hold a thread's cache.
    caches: Vec<u64>,
    /// Blocks that may be on a list, with the chunk's size in units of 16 bytes in the address's lowest bits, and their
    /// first words.
    links: Vec<(u64, u64)>,
}

impl Hints {
    /// Looks at a chunk whose header has just been read.
    #[inline]
    pub fn note(&mut self, window: &Window, chunk: u64, size: u64) {
        if size <= MOST_FAST {
            let block = chunk + 16;
            let Ok(link) = window.word(block) else { return };
            let next = link ^ (block >> 12);
            let possible = next.is_multiple_of(16) && next >> 47 == 0;
            if possible && self.links.len() < MOST_LINKS {
                self.links.push((block | (size / 16), link));
            }
        } else if may_be_cache(window, chunk, size) {
            self.caches.push(chunk);
        }
    }

    /// Brings what was noted, some of it twice, into order. The chunks that may hold a thread's cache.
    pub fn sort(&mut self) -> Vec<u64> {
        // Of two notes on one block the later one counts.
        self.links.reverse();
        self.links.sort_by_key(|link| link.0 & !15);
        self.links.dedup_by_key(|link| link.0 & !15);
        let mut caches = std::mem::take(&mut self.caches);
        caches.sort_unstable();
        caches.dedup();
        caches
    }

    /// The size of a block's chunk, and its link.
    fn link(&self, block: u64) -> Option<(u64, u64)> {
        let found = self.links.binary_search_by_key(&block, |link| link.0 & !15);
        let (block, link) = self.links[found.ok()?];
        Some(((block & 15) * 16, link))
    }
}

/// How the links of a list are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    Unknown,
    Plain,
    Mixed,
}

/// To what the links of a list lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// To chunks: fast bins. So many of a list are read from memory before what the walk saw is believed.
    Chunk {
        /// Number of chunks.
        fresh: u64,
    },
    /// To the memory behind the chunks' headers: thread caches.
    Block,
}

impl Place {
    /// The block, which is where the next link is.
    const fn block(self, to: u64) -> u64 {
        match self {
            Self::Chunk { .. } => to.wrapping_add(16),
            Self::Block => to,
        }
    }

    /// How many chunks of a list are read from memory. A thread's cache is short and changes all the time, so what the
    /// walk saw of it is of no use; a fast bin changes at its head alone.
    const fn fresh(self) -> u64 {
        match self {
            Self::Chunk { fresh } => fresh,
            Self::Block => u64::MAX,
        }
    }
}

/// Whether a chunk may hold a thread's cache with anything in it. What the window has only half of may.
#[inline]
fn may_be_cache(window: &Window, chunk: u64, size: u64) -> bool {
    let bins = match size {
        size if size == OLD_CACHE.0 => OLD_CACHE.1,
        size if size == NEW_CACHE.0 => NEW_CACHE.1,
        _ => return false,
    };
    if !window.covers(chunk, size) {
        return true;
    }
    let counts = chunk + 16;
    let heads = counts + bins * 2;
    let mut any = false;
    for bin in 0..bins {
        let Ok(head) = window.word(heads + bin * 8) else {
            return false;
        };
        let Ok(count) = window.word((counts + bin * 2) & !7) else {
            return false;
        };
        let count = count >> ((bin & 3) * 16) & 0xffff;
        // Old caches count chunks, new ones the places that are left.
        let contradicts = bins == OLD_CACHE.1 && (count == 0) != (head == 0);
        if contradicts || head % 16 != 0 || head >> 47 != 0 {
            return false;
        }
        any |= head != 0;
    }
    any
}

/// Follows lists of free chunks.
pub struct Lists<'a> {
    areas: &'a Areas,
    hints: &'a Hints,
    links: Links,
    pages: HashMap<u64, Window>,
    deadline: Instant,
}

impl<'a> Lists<'a> {
    /// Follows lists until a moment.
    pub fn new(areas: &'a Areas, hints: &'a Hints, deadline: Instant) -> Self {
        Self {
            areas,
            hints,
            links: Links::Unknown,
            pages: HashMap::new(),
            deadline,
        }
    }

    /// The chunks in a thread's cache, each told to `each` with its size; `None` if it is no cache. A list of it has
    /// room for `most`.
    ///
    /// # Errors
    /// [`ReadError`], but only where nothing can be read any more.
    pub fn cache<M: Memory>(
        &mut self,
        memory: &mut M,
        chunk: u64,
        most: u64,
        mut each: impl FnMut(u64, u64),
    ) -> Result<Option<Listed>, ReadError> {
        self.pages.clear();
        let Some(size) = self
            .word(memory, chunk + 8)?
            .map(|word| Header(word).size())
        else {
            return Ok(None);
        };
        let mut window = Window::default();
        if let Err(error) = window.load(memory, chunk, size.min(PAGE) as usize) {
            return if error.is_final() {
                Err(error)
            } else {
                Ok(None)
            };
        }
        if !may_be_cache(&window, chunk, size) {
            return Ok(None);
        }
        let old = size == OLD_CACHE.0;
        let bins = if old { OLD_CACHE.1 } else { NEW_CACHE.1 };
        let (mut found, mut lists, mut right) = (Listed::default(), 0, 0);
        for bin in 0..bins {
            let Ok(head) = window.word(chunk + 16 + bins * 2 + bin * 8) else {
                return Ok(None);
            };
            if head == 0 {
                continue;
            }
            let fits = |size: u64| match bin < SMALL_BINS {
                true => size == LEAST + bin * 16,
                false => size > LEAST + SMALL_BINS * 16,
            };
            let Ok(count) = window.bytes_at(chunk + 16 + bin * 2, 2) else {
                return Ok(None);
            };
            let count = u64::from(count[0]) | u64::from(count[1]) << 8;
            // Old caches count what is on a list, new ones what would still fit.
            let on_list = if old {
                count
            } else {
                most.saturating_sub(count)
            };
            let list = self.follow(memory, head, on_list, fits, Place::Block, &mut each)?;
            lists += 1;
            right += u32::from(list.chunks > 0);
            found.add(list);
        }
        // A cache that is in use changes under our eyes, but most of its lists begin with what they should.
        Ok((right * 2 > lists).then_some(found))
    }

    /// The chunks in an arena's fast bins, whose heads are given; each is told to `each`. The first `fresh` of each are
    /// read from memory, the ones behind are taken as the walk saw them.
    ///
    /// # Errors
    /// As [`Lists::cache`].
    pub fn fast<M: Memory>(
        &mut self,
        memory: &mut M,
        heads: &[u64],
        most: u64,
        fresh: u64,
        mut each: impl FnMut(u64),
    ) -> Result<Listed, ReadError> {
        self.pages.clear();
        let mut found = Listed::default();
        for (bin, head) in heads.iter().enumerate() {
            if *head == 0 {
                continue;
            }
            let fits = |size: u64| size == LEAST + bin as u64 * 16;
            found.add(self.follow(
                memory,
                *head,
                most,
                fits,
                Place::Chunk { fresh },
                &mut |chunk, _| each(chunk),
            )?);
        }
        Ok(found)
    }

    /// Follows one list from its head.
    fn follow<M: Memory>(
        &mut self,
        memory: &mut M,
        head: u64,
        most: u64,
        fits: impl Fn(u64) -> bool,
        place: Place,
        each: &mut impl FnMut(u64, u64),
    ) -> Result<Listed, ReadError> {
        let mut found = Listed::default();
        let mut block = place.block(head);
        loop {
            let Some((size, link)) =
                self.size_and_link(memory, block, found.chunks >= place.fresh())?
            else {
                found.cut = true;
                return Ok(found);
            };
            if !fits(size) {
                found.cut = true;
                return Ok(found);
            }
            found.bytes += size;
            found.chunks += 1;
            each(block - 16, size);
            let late = found.chunks.is_multiple_of(1024) && Instant::now() > self.deadline;
            match self.next(block, link) {
                Some(0) => {
                    // What the walk saw may be long past: an end is believed only if it is still one.
                    let now = self.size_and_link(memory, block, false)?;
                    found.cut = now != Some((size, link));
                    return Ok(found);
                }
                Some(next) if found.chunks < most && !late => block = place.block(next),
                _ => {
                    found.cut = true;
                    return Ok(found);
                }
            }
        }
    }

    /// The size of a block's chunk and the block's link: from the walk, else from memory.
    fn size_and_link<M: Memory>(
        &mut self,
        memory: &mut M,
        block: u64,
        use_hints: bool,
    ) -> Result<Option<(u64, u64)>, ReadError> {
        if use_hints && let Some(known) = self.hints.link(block) {
            return Ok(Some(known));
        }
        let header = self.word(memory, block.wrapping_sub(8))?;
        let link = self.word(memory, block)?;
        Ok(header
            .zip(link)
            .map(|(header, link)| (Header(header).size(), link)))
    }

    /// What a link at an address leads to, 0 at the end; `None` where it makes no sense.
    fn next(&mut self, at: u64, raw: u64) -> Option<u64> {
        let valid = |next: u64| next.is_multiple_of(16) && self.areas.contains(next);
        let mixed = raw ^ (at >> 12);
        let plain = (raw == 0 || valid(raw)).then_some(raw);
        let mixed = (mixed == 0 || valid(mixed)).then_some(mixed);
        match (self.links, plain, mixed) {
            (Links::Plain, plain, _) => plain,
            (Links::Mixed, _, mixed) => mixed,
            (Links::Unknown, Some(next), None) => {
                self.links = Links::Plain;
                Some(next)
            }
            (Links::Unknown, None, Some(next)) => {
                self.links = Links::Mixed;
                Some(next)
            }
            (Links::Unknown, _, _) => None,
        }
    }

    /// A word through the kept pages; `None` where it cannot be read.
    fn word<M: Memory>(&mut self, memory: &mut M, at: u64) -> Result<Option<u64>, ReadError> {
        if !at.is_multiple_of(8) || !self.areas.contains(at) {
            return Ok(None);
        }
        let page = at - at % PAGE;
        if !self.pages.contains_key(&page) {
            if self.pages.len() == MOST_PAGES {
                self.pages.clear();
            }
            let mut window = Window::default();
            match window.load(memory, page, PAGE as usize) {
                Err(error) if error.is_final() => return Err(error),
                // A window that could not be loaded has no words, which is remembered, too.
                Err(_) | Ok(()) => self.pages.insert(page, window),
            };
        }
        Ok(self
            .pages
            .get(&page)
            .and_then(|window| window.word(at).ok()))
    }
}
