//! glibc's own counters of blocks that have a mapping of their own, and where its `brk` heap begins (`mp_`).
//!
//! They are found by what must hold among them: counts below their maxima, sizes in whole pages, an address that is the
//! start of the `brk` heap, and the settings of the thread caches behind it.

use super::areas::Areas;
use crate::sources::ledger::memory::{Memory, ReadError, Window};

/// `M_MMAP_MAX` unless the program sets it.
const USUAL_MOST_MAPPED: u32 = 65_536;
/// Bins of a thread cache: 64, or 76 since glibc 2.42.
const MOST_CACHE_BINS: u64 = 76;
/// How often the record is looked for: while one of its numbers changes it does not agree with the others.
const TRIES: u32 = 4;
/// Most bytes of data searched.
const MOST_DATA: usize = 16 << 20;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Where the `brk` heap begins; 0 before its first use.
    pub brk_start: u64,
    /// Blocks that have a mapping of their own.
    pub mapped_blocks: u64,
    /// Bytes of these mappings.
    pub mapped_bytes: u64,
    /// Most chunks on one list of a thread cache.
    pub most_cached: u64,
}

/// Looks for the record in the libc's writable data. `None` where nothing fits, or several do.
///
/// # Errors
/// [`ReadError`].
pub fn find<M: Memory>(
    memory: &mut M,
    data: &[(u64, u64)],
    areas: &Areas,
) -> Result<Option<Params>, ReadError> {
    for _ in 1..TRIES {
        let found = find_now(memory, data, areas)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    find_now(memory, data, areas)
}

fn find_now<M: Memory>(
    memory: &mut M,
    data: &[(u64, u64)],
    areas: &Areas,
) -> Result<Option<Params>, ReadError> {
    let mut window = Window::default();
    let mut found: Option<Params> = None;
    for (start, end) in data {
        let length = usize::try_from(end - start).map_or(MOST_DATA, |all| all.min(MOST_DATA));
        match window.load(memory, *start, length) {
            Err(error) if error.is_final() => return Err(error),
            Err(_) => continue,
            Ok(()) => {}
        }
        for at in (start + 40..start + length as u64 - 32).step_by(8) {
            match (params_at(&window, at, areas), found) {
                (Some(params), None) => found = Some(params),
                (Some(params), Some(other)) if params != other => return Ok(None),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// The record whose `sbrk_base` is at an address.
fn params_at(window: &Window, at: u64, areas: &Areas) -> Option<Params> {
    let word = |distance: i64| window.word(at.wrapping_add_signed(distance)).ok();
    let cache_bins = word(8)?;
    let most_cached = word(24)?;
    if cache_bins == 0 || cache_bins > MOST_CACHE_BINS || most_cached > 65_535 {
        return None;
    }
    let (mapped_bytes, most_bytes) = (word(-16)?, word(-8)?);
    if mapped_bytes > most_bytes || (mapped_bytes | most_bytes) % 4096 != 0 {
        return None;
    }
    let counts = counts(word(-40)?, word(-32)?, word(-24)?)?;
    let brk_start = word(0)?;
    // A static program's thread-local data comes first.
    let sure = areas
        .brk()
        .is_some_and(|brk| (brk.0..brk.1.min(brk.0 + (1 << 20))).contains(&brk_start));
    let likely = brk_start == 0
        && counts.most == USUAL_MOST_MAPPED
        && (cache_bins == 64 || cache_bins == MOST_CACHE_BINS);
    let consistent = (counts.now == 0) == (mapped_bytes == 0);
    ((sure || likely) && consistent).then_some(Params {
        brk_start,
        mapped_blocks: u64::from(counts.now),
        mapped_bytes,
        most_cached,
    })
}

/// `n_mmaps` and `n_mmaps_max`.
struct Counts {
    now: u32,
    most: u32,
}

/// Reads four numbers of 32 bits out of the three words before `mapped_bytes`: up to glibc 2.34 they end with the last
/// word; since then a number before them has pushed them on by half a word.
fn counts(first: u64, second: u64, third: u64) -> Option<Counts> {
    let low = |word: u64| (word & 0xffff_ffff) as u32;
    let high = |word: u64| (word >> 32) as u32;
    let old = [low(second), high(second), low(third), high(third)];
    let new = [high(first), low(second), high(second), low(third)];
    let valid = |[now, most, ever, fixed]: [u32; 4]| now <= ever && ever <= most && fixed <= 1;
    let of = |[now, most, ..]: [u32; 4]| Counts { now, most };
    // Read the wrong way the greatest number stands where a small one is, so both cannot be right.
    match (valid(old), valid(new) && high(third) == 0) {
        (true, false) => Some(of(old)),
        (false, true) => Some(of(new)),
        _ => None,
    }
}
