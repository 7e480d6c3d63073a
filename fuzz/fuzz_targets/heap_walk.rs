//! Any bytes as a libc's data and a heap: the reader must end, and count no byte twice.

#![no_main]

use libfuzzer_sys::fuzz_target;
use memlens::explain::glibc::{self, Process};
use memlens::explain::memory::{Memory, PAGE, Page, ReadError};
use memlens::process::maps::{self, Mapping};

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

fuzz_target!(|bytes: &[u8]| {
    let size = (bytes.len() as u64).max(DATA_SIZE + PAGE).next_multiple_of(PAGE);
    let mut bytes = bytes.to_vec();
    bytes.resize(size as usize, 0);
    let mut input = Input(bytes);
    if let Ok(heap) = glibc::read(&mut input, &[(DATA, DATA + DATA_SIZE)]) {
        for arena in &heap.arenas {
            let room: u64 = arena.pieces.iter().map(|piece| piece.1 - piece.0).sum();
            assert!(arena.tally.total() <= room + 64);
        }
    }
});
