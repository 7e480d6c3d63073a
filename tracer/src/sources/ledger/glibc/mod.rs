//! glibc's heap, read from outside while the program goes on: arenas, chunks, thread caches, fast bins.

pub mod areas;
pub mod arena;
pub mod chunk;
pub mod heaps;
pub mod lists;
mod mapped;
pub mod params;
pub mod used;
pub mod walk;

#[cfg(test)]
mod image;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use super::memory::{Process, ReadError};
use areas::Areas;
use arena::{Arena, Layout, NotFound};
pub use mapped::{mapped_blocks, mapped_blocks_within};

use lists::{Hints, Listed, Lists};
use params::Params;
use used::UsedChunks;
use walk::{Bounds, Piece, Tally, Trouble, Walk};

/// How often the arenas are looked for.
const TRIES: u32 = 4;
/// How long chunks are walked, in all: some 50 GiB of them.
const WALK_LIMIT: Duration = Duration::from_secs(30);
/// How many chunks at the head of a fast bin are read from memory, at each try.
const FRESH: [u64; 3] = [64, 1024, 8192];
/// Chunks on a list of a thread cache at most, unless a tunable says otherwise, since glibc 2.42.
const USUAL_MOST_CACHED: u64 = 16;
/// How long lists of free chunks are followed, in all.
const LISTS_LIMIT: Duration = Duration::from_millis(800);

/// What was found in one arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArenaTally {
    /// It is the main one, on the `brk` heap.
    pub main: bool,
    /// Threads that allocate from it.
    pub threads: u64,
    /// Bytes that it obtained from the kernel, as it says itself.
    pub system: u64,
    /// Where its pieces lie: start and end of the memory that is theirs, reserved parts included.
    pub pieces: Vec<(u64, u64)>,
    /// Its chunks.
    pub tally: Tally,
    /// Chunks in its fast bins, which the tally counts as used.
    pub fast: Listed,
    /// Chunks of it in thread caches, which the tally counts as used.
    pub cached: Listed,
    /// Why its walk ended early.
    pub trouble: Option<Trouble>,
}

impl ArenaTally {
    /// Bytes of chunks that the program holds, headers included.
    pub const fn in_use(&self) -> u64 {
        let listed = self.fast.bytes + self.cached.bytes;
        self.tally.used.saturating_sub(listed)
    }

    /// Bytes of which the walk says nothing.
    pub const fn not_walked(&self) -> u64 {
        self.tally.unknown + self.system.saturating_sub(self.tally.total())
    }
}

/// What was found in all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeapTally {
    /// The arenas, the main one first.
    pub arenas: Vec<ArenaTally>,
    /// Thread caches with something in them.
    pub caches: u64,
    /// glibc's own counters of blocks with mappings of their own, where they were found.
    pub params: Option<Params>,
}

/// Finds the arenas. One that grows is beyond the mappings that were just read, so there is more than one try.
fn find<P: Process>(
    process: &mut P,
    data: &[(u64, u64)],
) -> Result<(Areas, Layout, Vec<Arena>), NotFound> {
    let mut tries = 0;
    loop {
        tries += 1;
        let areas = Areas::of(&process.mappings()?);
        match arena::find(process, data, &areas) {
            Ok((layout, arenas)) => return Ok((areas, layout, arenas)),
            Err(NotFound::NoPattern | NotFound::OpenList) if tries < TRIES => {}
            Err(why) => return Err(why),
        }
    }
}

/// Reads the whole heap. `data` is the writable data of the libc, as ranges of addresses.
///
/// # Errors
/// [`NotFound`] where there is no way in; what goes wrong further on is in the arena's `trouble`.
pub fn read<P: Process>(process: &mut P, data: &[(u64, u64)]) -> Result<HeapTally, NotFound> {
    read_with(process, data, &mut UsedChunks::counted())
}

/// Where the arenas keep what they know of themselves, lists of free chunks among it: ranges of addresses.
///
/// # Errors
/// [`NotFound`].
pub fn arena_records<P: Process>(
    process: &mut P,
    data: &[(u64, u64)],
) -> Result<Vec<std::ops::Range<u64>>, NotFound> {
    let (_, layout, arenas) = find(process, data)?;
    let records = arenas
        .iter()
        .map(|arena| arena.address..arena.address + layout.size());
    Ok(records.collect())
}

/// The chunks that the program holds, ascending, but for blocks with mappings of their own; and what was found in all.
///
/// # Errors
/// As [`read`].
pub fn chunks<P: Process>(
    process: &mut P,
    data: &[(u64, u64)],
) -> Result<(UsedChunks, HeapTally), NotFound> {
    let mut used = UsedChunks::listed();
    let tally = read_with(process, data, &mut used)?;
    Ok((used, tally))
}

fn read_with<P: Process>(
    process: &mut P,
    data: &[(u64, u64)],
    used: &mut UsedChunks,
) -> Result<HeapTally, NotFound> {
    let (areas, layout, arenas) = find(process, data)?;
    let params = params::find(process, data, &areas)?;
    let mut hints = Hints::default();
    let mut walk = Common {
        hints: &mut hints,
        used,
        deadline: Instant::now() + WALK_LIMIT,
    };
    let mut tallies = Vec::new();
    for arena in &arenas {
        tallies.push(walk_arena(process, layout, arena, params, &mut walk)?);
    }
    let mut heap = HeapTally {
        arenas: tallies,
        caches: 0,
        params,
    };
    let areas = Areas::of(&process.mappings()?);
    let caches = hints.sort();
    let mut lists = Lists::new(&areas, &hints, Instant::now() + LISTS_LIMIT);
    count_caches(process, &mut lists, &mut heap, caches, used)?;
    for (arena, tally) in arenas.iter().zip(&mut heap.arenas) {
        // Where a busy list leads astray, more of its head is read anew.
        for fresh in FRESH {
            let now = arena::read(process, layout, arena.address, arenas[0].address)?;
            let most = now.system / chunk::LEAST;
            let fast = lists.fast(process, &now.fast, most, fresh, |chunk| used.release(chunk))?;
            if fresh == FRESH[0] || fast.chunks > tally.fast.chunks {
                tally.fast = fast;
            }
            if !fast.cut {
                break;
            }
        }
    }
    Ok(heap)
}

/// What all walks share.
struct Common<'a> {
    hints: &'a mut Hints,
    used: &'a mut UsedChunks,
    deadline: Instant,
}

/// Looks into the chunks that may be thread caches.
fn count_caches<P: Process>(
    process: &mut P,
    lists: &mut Lists<'_>,
    heap: &mut HeapTally,
    caches: Vec<u64>,
    used: &mut UsedChunks,
) -> Result<(), ReadError> {
    for chunk in caches {
        let mut chunks = Vec::new();
        let most = heap
            .params
            .map_or(USUAL_MOST_CACHED, |params| params.most_cached);
        let cache = lists.cache(process, chunk, most, |chunk, size| {
            chunks.push((chunk, size))
        })?;
        let Some(cache) = cache else { continue };
        heap.caches += 1;
        for (chunk, size) in chunks {
            used.release(chunk);
            let inside = |(start, end): &(u64, u64)| (*start..*end).contains(&chunk);
            let owner = heap
                .arenas
                .iter_mut()
                .find(|arena| arena.pieces.iter().any(inside));
            if let Some(arena) = owner {
                arena.cached.add(Listed {
                    bytes: size,
                    chunks: 1,
                    cut: false,
                });
            }
        }
        if cache.cut
            && let Some(main) = heap.arenas.first_mut()
        {
            main.cached.cut = true;
        }
    }
    Ok(())
}

/// Walks all pieces of an arena.
fn walk_arena<P: Process>(
    process: &mut P,
    layout: Layout,
    arena: &Arena,
    params: Option<Params>,
    common: &mut Common<'_>,
) -> Result<ArenaTally, ReadError> {
    let mut found = ArenaTally {
        main: arena.main,
        threads: arena.threads,
        system: arena.system,
        pieces: Vec::new(),
        tally: Tally::default(),
        fast: Listed::default(),
        cached: Listed::default(),
        trouble: None,
    };
    if arena.top.is_none() {
        return Ok(found);
    }
    let walked = if arena.main {
        walk_main(process, layout, arena, params, common, &mut found)
    } else {
        walk_heaps(process, layout, arena, common, &mut found)
    };
    match walked {
        Err(Trouble::Read(error)) if error.is_final() => return Err(error),
        Err(trouble) => found.trouble = Some(trouble),
        Ok(()) => {}
    }
    // The arena may have grown meanwhile: what it says now is nearer to what was counted.
    found.system = arena::read(process, layout, arena.address, arena.address)?.system;
    Ok(found)
}

/// Walks the main arena: the `brk` heap, and the piece of memory that its top is in if that is another one.
fn walk_main<P: Process>(
    process: &mut P,
    layout: Layout,
    arena: &Arena,
    params: Option<Params>,
    common: &mut Common<'_>,
    found: &mut ArenaTally,
) -> Result<(), Trouble> {
    let areas = Areas::of(&process.mappings()?);
    let top = arena.top.unwrap_or(0);
    if let Some((start, end)) = areas.brk() {
        let told = params.map_or(0, |params| params.brk_start);
        let first = if (start..end).contains(&told) {
            told
        } else {
            start
        };
        found.pieces.push((start, end));
        let piece = Piece {
            first: first.next_multiple_of(16),
            main: true,
        };
        let now =
            |process: &mut P, careful: bool| main_bounds(process, layout, arena, start, careful);
        walk_piece(process, piece, now, common, found)?;
        if (start..end).contains(&top) {
            return Ok(());
        }
    }
    // Where `brk` could not grow, glibc maps memory for the main arena. Such pieces are on no list, so only
    // the one with the top can be found; what is missing shows against `system_mem`.
    let (start, end) = areas
        .around(top)
        .ok_or(Trouble::new(top, "is a top outside of writable memory"))?;
    if found.pieces.iter().any(|piece| piece.0 == start) {
        return Ok(());
    }
    found.pieces.push((start, end));
    let piece = Piece {
        first: start,
        main: true,
    };
    let now = |process: &mut P, _| {
        Ok(Bounds {
            top: arena::top(process, layout, arena.address)?,
            end,
        })
    };
    walk_piece(process, piece, now, common, found)
}

/// Where the `brk` heap ends now.
fn main_bounds<P: Process>(
    process: &mut P,
    layout: Layout,
    arena: &Arena,
    start: u64,
    careful: bool,
) -> Result<Bounds, ReadError> {
    let top = arena::top(process, layout, arena.address)?;
    let end = if careful {
        let brk = Areas::of(&process.mappings()?).brk();
        brk.filter(|brk| brk.0 == start).map_or(start, |brk| brk.1)
    } else {
        // The top ends where the memory does; its own size tells without reading all mappings.
        let size = process
            .word(top + 8)
            .map_or(0, |word| chunk::Header(word).size());
        top.saturating_add(size)
    };
    Ok(Bounds { top, end })
}

/// Walks the heaps of a thread's arena.
fn walk_heaps<P: Process>(
    process: &mut P,
    layout: Layout,
    arena: &Arena,
    common: &mut Common<'_>,
    found: &mut ArenaTally,
) -> Result<(), Trouble> {
    let mut trouble = None;
    for heap in heaps::of(process, layout, arena)? {
        found.pieces.push((heap.start, heap.end));
        // The heap's own record, and in the first one the arena itself.
        found.tally.fences += heap.first - heap.start;
        let piece = Piece {
            first: heap.first,
            main: false,
        };
        let now = |process: &mut P, _| {
            Ok(Bounds {
                top: arena::top(process, layout, arena.address)?,
                end: heaps::end_now(process, heap.start)?,
            })
        };
        match walk_piece(process, piece, now, common, found) {
            Err(error @ Trouble::Read(read)) if read.is_final() => return Err(error),
            Err(error) => trouble = Some(error),
            Ok(()) => {}
        }
    }
    trouble.map_or(Ok(()), Err)
}

/// Walks one piece and adds what it counts, whether it comes to the end or not.
fn walk_piece<P: Process>(
    process: &mut P,
    piece: Piece,
    mut now: impl FnMut(&mut P, bool) -> Result<Bounds, ReadError>,
    common: &mut Common<'_>,
    found: &mut ArenaTally,
) -> Result<(), Trouble> {
    let bounds = now(process, true)?;
    let (tally, trouble) = Walk::new(
        process,
        piece,
        bounds,
        common.hints,
        common.used,
        common.deadline,
    )
    .run(now);
    found.tally.add(&tally);
    trouble.map_or(Ok(()), Err)
}
