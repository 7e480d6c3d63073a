//! CPython's object arenas: pools of 4 KiB (up to 3.9) or 16 KiB (since 3.10), each for blocks of one size.
//!
//! A pool's header has the number of its blocks in use, the class of their size, and the last offset at which one fits,
//! which follows from the size: three numbers that must agree. Each pool also says which arena it is in.

use std::collections::BTreeSet;

use crate::sources::ledger::memory::{Memory, ReadError, Window};

/// Sizes of pools.
const POOL_SIZES: [u64; 2] = [16 << 10, 4 << 10];
/// Bytes of the header.
const HEADER: u64 = 48;
/// Classes of sizes: 16 to 512 bytes.
const CLASSES: u32 = 32;
/// Pools that must be found before they are believed.
const LEAST_POOLS: u64 = 8;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arenas {
    /// Where pools lie.
    pub ranges: Vec<(u64, u64)>,
    /// Bytes of blocks that hold objects.
    pub used: u64,
    /// Number of pools.
    pub pools: u64,
    /// Number of arenas.
    pub arenas: u64,
}

/// Finds the pools in anonymous mappings.
///
/// # Errors
/// [`ReadError`], but only where nothing can be read any more.
pub fn arenas<M: Memory>(memory: &mut M, mappings: &[(u64, u64)]) -> Result<Arenas, ReadError> {
    let mut best = Arenas::default();
    for pool_size in POOL_SIZES {
        let found = with_pools(memory, mappings, pool_size)?;
        if found.pools > best.pools {
            best = found;
        }
    }
    Ok(if best.pools < LEAST_POOLS {
        Arenas::default()
    } else {
        best
    })
}

fn with_pools<M: Memory>(
    memory: &mut M,
    mappings: &[(u64, u64)],
    pool_size: u64,
) -> Result<Arenas, ReadError> {
    let mut found = Arenas::default();
    let mut numbers = BTreeSet::new();
    // An arena has 64 pools; a gap of more is no part of one.
    let near = 64 * pool_size;
    for (start, end) in mappings {
        let mut at = start.next_multiple_of(pool_size);
        let mut run: Option<(u64, u64)> = None;
        while at + pool_size <= *end {
            if let Some(pool) = pool(memory, at, pool_size)? {
                found.pools += 1;
                found.used += pool.used;
                numbers.insert(pool.arena);
                match &mut run {
                    Some(run) if at - run.1 < near => run.1 = at + pool_size,
                    _ => found.ranges.extend(run.replace((at, at + pool_size))),
                }
            }
            at += pool_size;
        }
        found.ranges.extend(run);
    }
    found.arenas = numbers.len() as u64;
    Ok(found)
}

/// What a pool's header says.
struct Pool {
    used: u64,
    arena: u32,
}

fn pool<M: Memory>(memory: &mut M, at: u64, pool_size: u64) -> Result<Option<Pool>, ReadError> {
    let mut window = Window::default();
    match window.load(memory, at, HEADER as usize) {
        Ok(()) => {}
        Err(error) if error.is_final() => return Err(error),
        Err(_) => return Ok(None),
    }
    let half = |offset: u64| -> Option<u32> {
        let bytes = window.bytes_at(at + offset, 4).ok()?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    Ok((|| {
        let (count, arena, class) = (half(0)?, half(32)?, half(36)?);
        let (next, last) = (half(40)?, half(44)?);
        if class >= CLASSES {
            return None;
        }
        let block = (u64::from(class) + 1) * 16;
        let fits = u64::from(last) == pool_size - block
            && u64::from(next) >= HEADER
            && u64::from(next) <= pool_size
            && u64::from(count) <= (pool_size - HEADER) / block;
        fits.then_some(Pool {
            used: u64::from(count) * block,
            arena,
        })
    })())
}
