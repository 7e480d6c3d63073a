//! A libc's data and a heap, made up of any bytes, or made well and then damaged: the reader must end, and count no
//! byte twice.

#![no_main]

use libfuzzer_sys::fuzz_target;
use memlens::process::maps::{self, Mapping};
use memlens::sources::ledger::glibc;
use memlens::sources::ledger::memory::{Memory, PAGE, Page, Process, ReadError};

/// Where the libc's data lies, and the heap behind it.
const DATA: u64 = 0x7f00_0000_0000;
const DATA_SIZE: u64 = 2 * PAGE;

/// The input, from `DATA` on.
struct Input(Vec<u8>);

impl Input {
    fn end(&self) -> u64 {
        DATA + self.0.len() as u64
    }
}

impl Memory for Input {
    fn pages(&mut self, start: u64, count: usize) -> Result<Vec<Page>, ReadError> {
        let page = |index: usize| {
            let at = start + index as u64 * PAGE;
            if (DATA..self.end()).contains(&at) { Page::Present } else { Page::Absent }
        };
        Ok((0..count).map(page).collect())
    }

    fn copy(&mut self, start: u64, pages: &[Page], into: &mut [u8]) -> Result<(), ReadError> {
        for (index, page) in pages.iter().enumerate() {
            if *page == Page::Present {
                let at = (start - DATA) as usize + index * PAGE as usize;
                into[index * PAGE as usize..][..PAGE as usize].copy_from_slice(&self.0[at..][..PAGE as usize]);
            }
        }
        Ok(())
    }
}

impl Process for Input {
    fn mappings(&mut self) -> Result<Vec<Mapping>, ReadError> {
        let heap = DATA + DATA_SIZE;
        let text = format!(
            "{DATA:x}-{heap:x} rw-p 00000000 00:00 0\n{heap:x}-{:x} rw-p 00000000 00:00 0 [heap]\n",
            self.end()
        );
        maps::parse(text.as_bytes()).map_err(|_| ReadError::Gone)
    }
}

/// Where the main arena lies in the data, and its bins in it (glibc 2.27 to 2.42).
const ARENA: usize = 0xc60;
const BINS: usize = ARENA + 112;
/// Chunks of a heap that is made well.
const CHUNKS: usize = 256;

fn put(bytes: &mut [u8], at: usize, word: u64) {
    if let Some(place) = bytes.get_mut(at..at + 8) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

/// Any bytes as they are.
fn raw(bytes: &[u8]) -> Vec<u8> {
    let size = (bytes.len() as u64).max(DATA_SIZE + PAGE).next_multiple_of(PAGE);
    let mut image = bytes.to_vec();
    image.resize(size as usize, 0);
    image
}

/// A heap whose chunks have the sizes that the first bytes say; the others damage it, ten for each word.
fn made(bytes: &[u8]) -> Vec<u8> {
    let (sizes, damage) = bytes.split_at(bytes.len().min(CHUNKS));
    let total: usize = sizes.iter().map(|size| chunk(*size)).sum();
    let end = (DATA_SIZE as usize + total + 4096).next_multiple_of(PAGE as usize);
    let mut image = vec![0; end];
    let mut at = DATA_SIZE as usize;
    let mut before = (true, 0);
    for size in sizes {
        if !before.0 {
            put(&mut image, at, before.1 as u64);
        }
        put(&mut image, at + 8, chunk(*size) as u64 | u64::from(before.0));
        before = (size & 1 == 0, chunk(*size));
        at += chunk(*size);
    }
    put(&mut image, at + 8, (end - at) as u64 | u64::from(before.0));
    put(&mut image, BINS - 16, DATA + at as u64);
    for bin in 0..127 {
        let own = DATA + (BINS + bin * 16 - 16) as u64;
        put(&mut image, BINS + bin * 16, own);
        put(&mut image, BINS + bin * 16 + 8, own);
    }
    let system = end as u64 - DATA_SIZE;
    for (index, word) in [DATA + ARENA as u64, 0, 1, system, system].into_iter().enumerate() {
        put(&mut image, BINS + 2048 + index * 8, word);
    }
    for patch in damage.chunks_exact(10) {
        let at = usize::from(u16::from_le_bytes([patch[0], patch[1]])) * 8 % end;
        let word = patch[2..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        put(&mut image, at, word);
    }
    image
}

/// The size of a chunk; whether it is in use is the lowest bit of what it is made of.
fn chunk(of: u8) -> usize {
    32 + usize::from(of >> 1) * 16
}

fuzz_target!(|bytes: &[u8]| {
    let image = match bytes.split_first() {
        Some((0, rest)) => raw(rest),
        Some((_, rest)) => made(rest),
        None => return,
    };
    let mut input = Input(image);
    if let Ok(heap) = glibc::read(&mut input, &[(DATA, DATA + DATA_SIZE)]) {
        for arena in &heap.arenas {
            let room: u64 = arena.pieces.iter().map(|piece| piece.1 - piece.0).sum();
            assert!(arena.tally.total() <= room + 64);
        }
    }
    let end = input.end();
    let mut most = u64::MAX;
    let blocks = glibc::mapped_blocks_within(&mut input, DATA, end, &mut most);
    let blocks = blocks.unwrap_or_default();
    assert!(blocks.is_sorted_by(|one, next| one.1 <= next.0));
    assert!(blocks.iter().all(|(start, after)| start < after && *after <= end));
});
