//! Heaps made up for tests: bytes at addresses, laid out as glibc lays them out.

use std::collections::BTreeMap;

use crate::process::maps::{self, Mapping};
use crate::sources::ledger::memory::{Memory, PAGE, Page, Process, ReadError};

/// Memory of a made-up process.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pages: BTreeMap<u64, Vec<u8>>,
    maps: String,
}

impl Image {
    /// Maps memory that can be written to. Pages come into being when they are written.
    pub fn map(&mut self, start: u64, end: u64, name: &str) {
        self.maps += &format!("{start:x}-{end:x} rw-p 00000000 00:00 0 {name}\n");
    }

    /// Writes a word.
    pub fn put(&mut self, address: u64, word: u64) {
        for (index, byte) in word.to_le_bytes().into_iter().enumerate() {
            let address = address + index as u64;
            let page = self
                .pages
                .entry(address - address % PAGE)
                .or_insert_with(|| vec![0; PAGE as usize]);
            page[(address % PAGE) as usize] = byte;
        }
    }

    /// Forgets whole pages.
    pub fn drop_pages(&mut self, start: u64, end: u64) {
        self.pages.retain(|page, _| !(start..end).contains(page));
    }

    /// Start addresses of all pages.
    pub fn page_starts(&self) -> Vec<u64> {
        self.pages.keys().copied().collect()
    }
}

impl Memory for Image {
    fn pages(&mut self, start: u64, count: usize) -> Result<Vec<Page>, ReadError> {
        let page = |index: usize| match self.pages.contains_key(&(start + index as u64 * PAGE)) {
            true => Page::Present,
            false => Page::Absent,
        };
        Ok((0..count).map(page).collect())
    }

    fn copy(&mut self, start: u64, pages: &[Page], into: &mut [u8]) -> Result<(), ReadError> {
        for (index, _) in pages.iter().enumerate() {
            if let Some(page) = self.pages.get(&(start + index as u64 * PAGE)) {
                into[index * PAGE as usize..][..PAGE as usize].copy_from_slice(page);
            }
        }
        Ok(())
    }
}

impl Process for Image {
    fn mappings(&mut self) -> Result<Vec<Mapping>, ReadError> {
        let mut lines: Vec<&str> = self.maps.lines().collect();
        lines
            .sort_by_key(|line| u64::from_str_radix(line.split('-').next().unwrap_or(""), 16).ok());
        Ok(maps::parse(lines.join("\n").as_bytes()).expect("made-up maps parse"))
    }
}
