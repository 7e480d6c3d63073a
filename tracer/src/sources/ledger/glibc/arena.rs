//! Finds glibc's arenas in a process: the main one among the data of the libc, the others along its list.
//!
//! No offset is taken from a version number. What all versions from 2.27 on share is the array of bins: 127 pairs of
//! list heads, and an empty list's head points to itself. That pattern is looked for. `top` lies just before it, the
//! list of arenas just behind it, and where an arena begins is what that list comes back to. glibc 2.43 has no fast
//! bins, so there an arena begins 88 bytes later than in 2.42: the same search finds both.

use super::areas::Areas;
use crate::sources::ledger::memory::{Memory, ReadError, Window};

/// Pairs of list heads.
const BINS: u64 = 127;
/// Bytes of the bins.
const BINS_SIZE: u64 = BINS * 16;
/// From the bins to `next`: the bins and 16 bytes of bit map.
const NEXT: u64 = BINS_SIZE + 16;
/// From the bins to `attached_threads`, behind `next` and `next_free`.
const ATTACHED: u64 = NEXT + 16;
/// From the bins to `system_mem`.
const SYSTEM: u64 = NEXT + 24;
/// From the bins to the end of an arena, behind `max_system_mem`.
const END: u64 = NEXT + 40;
/// Least distance from an arena's start to its bins: lock, flags, `top`, `last_remainder`.
const LEAST: u64 = 24;
/// Greatest distance: glibc up to 2.42 has ten fast bins and a flag before `top`, at 112 in all.
const MOST: u64 = 256;
/// Most arenas followed; glibc makes eight for each processor.
const MOST_ARENAS: usize = 65_536;
/// Bytes of data searched at once.
const PIECE: usize = 1 << 20;
/// Most bytes of data searched: a statically linked program may have gigabytes of it.
const MOST_DATA: u64 = 256 << 20;

/// The distance from an arena's start to its bins, in bytes. All else follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    bins: u64,
}

impl Layout {
    /// Bytes of an arena.
    pub const fn size(self) -> u64 {
        self.bins + END
    }

    /// Fast bins: pointers between the lock, the flags and `have_fastchunks` (16 bytes) and `top`.
    const fn fast_bins(self) -> u64 {
        self.bins.saturating_sub(32) / 8
    }
}

/// What an arena said of itself at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arena {
    /// Its address.
    pub address: u64,
    /// It is the first one, whose memory comes from `brk`.
    pub main: bool,
    /// Its memory is known not to be in one piece (`NONCONTIGUOUS_BIT`).
    pub in_pieces: bool,
    /// First chunk of each fast bin; 0 where it is empty.
    pub fast: Vec<u64>,
    /// The chunk that grows; `None` before the first allocation.
    pub top: Option<u64>,
    /// Bytes obtained from the kernel.
    pub system: u64,
    /// Threads that allocate from it.
    pub threads: u64,
    next: u64,
}

/// Why no arena was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// The pattern is nowhere in the data.
    #[error("its main arena was not found in the data of its libc")]
    NoPattern,
    /// The list of arenas leads elsewhere.
    #[error("its list of arenas does not come back to its start")]
    OpenList,
    /// Memory could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Reads one arena.
///
/// # Errors
/// [`ReadError`].
pub fn read<M: Memory>(
    memory: &mut M,
    layout: Layout,
    address: u64,
    main: u64,
) -> Result<Arena, ReadError> {
    let mut window = Window::default();
    window.load(memory, address, layout.size() as usize)?;
    let bins = address + layout.bins;
    let top = window.word(bins - 16)?;
    let fast = (0..layout.fast_bins()).map(|index| window.word(address + 16 + index * 8));
    Ok(Arena {
        address,
        main: address == main,
        in_pieces: window.word(address)? >> 32 & 2 != 0,
        fast: fast.collect::<Result<_, _>>()?,
        // An arena without memory has its own first bin for a top.
        top: (top != 0 && top != bins - 16).then_some(top),
        system: window.word(bins + SYSTEM)?,
        threads: window.word(bins + ATTACHED)?,
        next: window.word(bins + NEXT)?,
    })
}

/// Reads where an arena's top is now.
///
/// # Errors
/// [`ReadError`].
pub fn top<M: Memory>(memory: &mut M, layout: Layout, address: u64) -> Result<u64, ReadError> {
    memory.word(address + layout.bins - 16)
}

/// Finds all arenas, the main one first, given the libc's writable data.
///
/// # Errors
/// [`NotFound`].
pub fn find<M: Memory>(
    memory: &mut M,
    data: &[(u64, u64)],
    areas: &Areas,
) -> Result<(Layout, Vec<Arena>), NotFound> {
    let mut found = Err(NotFound::NoPattern);
    for bins in self_pointing_runs(memory, data, areas)? {
        match follow(memory, bins, areas) {
            Ok(arenas) => return Ok(arenas),
            Err(NotFound::Read(error)) if error.is_final() => return Err(error.into()),
            Err(why) => found = Err(why),
        }
    }
    found
}

/// Addresses in the data where an array of bins may begin.
fn self_pointing_runs<M: Memory>(
    memory: &mut M,
    data: &[(u64, u64)],
    areas: &Areas,
) -> Result<Vec<u64>, ReadError> {
    let mut window = Window::default();
    let mut found = Vec::new();
    let mut left = MOST_DATA;
    for (start, end) in data {
        let mut at = *start;
        while at < *end && left > 0 {
            // Pieces overlap by an array, so that none is cut in two.
            let length = (PIECE + BINS_SIZE as usize).min((end - at) as usize);
            match window.load(memory, at, length) {
                Ok(()) => runs_in(&window, at, length as u64, areas, &mut found),
                Err(error) if error.is_final() => return Err(error),
                Err(_) => {}
            }
            at += PIECE as u64;
            left = left.saturating_sub(PIECE as u64);
        }
    }
    Ok(found)
}

fn runs_in(window: &Window, start: u64, length: u64, areas: &Areas, found: &mut Vec<u64>) {
    let mut at = start.next_multiple_of(8);
    let end = (start + length).saturating_sub(BINS_SIZE);
    while at <= end {
        // The bins of the largest blocks are the ones most often empty; one of them gives the array away.
        let empty = (BINS - 8..BINS).any(|bin| points_to_itself(window, at + bin * 16));
        if empty && (0..BINS).all(|bin| is_list_head(window, at + bin * 16, areas)) {
            found.push(at);
        }
        at += 8;
    }
}

fn points_to_itself(window: &Window, head: u64) -> bool {
    window.word(head) == Ok(head - 16) && window.word(head + 8) == Ok(head - 16)
}

/// Whether two words are the head of a list of free chunks: of none, or of chunks in writable memory.
fn is_list_head(window: &Window, head: u64, areas: &Areas) -> bool {
    let chunk = |word: u64| word.is_multiple_of(16) && areas.contains(word);
    match (window.word(head), window.word(head + 8)) {
        (Ok(first), Ok(last)) => {
            first == head - 16 && last == head - 16 || chunk(first) && chunk(last)
        }
        _ => false,
    }
}

/// Follows the list of arenas from a place that looks like the main arena's bins.
fn follow<M: Memory>(
    memory: &mut M,
    bins: u64,
    areas: &Areas,
) -> Result<(Layout, Vec<Arena>), NotFound> {
    let next = memory.word(bins + NEXT)?;
    let before = bins.wrapping_sub(next);
    let layout = if (LEAST..=MOST).contains(&before) {
        Layout { bins: before }
    } else {
        layout_of(memory, next, areas)?
    };
    let main = bins - layout.bins;
    let mut arenas = vec![read(memory, layout, main, main)?];
    loop {
        let last = &arenas[arenas.len() - 1];
        if !is_plausible(last, areas) {
            return Err(NotFound::NoPattern);
        }
        if last.next == main {
            return Ok((layout, arenas));
        }
        if arenas.len() == MOST_ARENAS || !areas.contains(last.next) {
            return Err(NotFound::OpenList);
        }
        let next = last.next;
        arenas.push(read(memory, layout, next, main)?);
    }
}

/// The layout of an arena that begins at an address: where its bins are.
fn layout_of<M: Memory>(memory: &mut M, address: u64, areas: &Areas) -> Result<Layout, NotFound> {
    if !areas.contains(address) {
        return Err(NotFound::NoPattern);
    }
    let mut window = Window::default();
    window.load(memory, address, (MOST + END) as usize)?;
    // `top` and `last_remainder` just before the bins look like one more head of a list, the bit map behind them does
    // not: of several places the last one is right.
    (LEAST / 8..=MOST / 8)
        .rev()
        .map(|words| words * 8)
        .find(|offset| {
            let bins = address + offset;
            let empty = (BINS - 8..BINS).any(|bin| points_to_itself(&window, bins + bin * 16));
            empty && (0..BINS).all(|bin| is_list_head(&window, bins + bin * 16, areas))
        })
        .map(|bins| Layout { bins })
        .ok_or(NotFound::NoPattern)
}

/// Whether an arena's numbers can be true.
fn is_plausible(arena: &Arena, areas: &Areas) -> bool {
    arena
        .top
        .is_none_or(|top| top.is_multiple_of(16) && areas.contains(top))
        // A static program's first piece begins behind its thread-local data, so this is no number of pages.
        && arena.system.is_multiple_of(16)
        && arena.threads < 1 << 22
}
