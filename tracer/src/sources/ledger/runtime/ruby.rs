//! Ruby's heap: pages of 64 KiB whose first word leads to a record that leads back into the page.
//!
//! The record (`struct heap_page`) has the address of the page's first object among its members, at another place in
//! different versions. Where it is follows from the pages themselves: it is the same in all of them.

use std::collections::BTreeMap;

use crate::sources::ledger::memory::{Memory, ReadError};

/// Bytes of a page, and what its address is a multiple of.
const HEAP_PAGE: u64 = 64 << 10;
/// Words of the record that are looked at.
const WORDS: usize = 16;
/// Objects begin within so many bytes of their page.
const FIRST_OBJECT: u64 = 512;
/// Fewer pages may look like Ruby's by chance.
const LEAST: usize = 8;

/// Finds the pages in ranges of anonymous memory.
///
/// # Errors
/// [`ReadError`], but only where nothing can be read any more.
pub fn pages<M: Memory>(
    memory: &mut M,
    anonymous: &[(u64, u64)],
) -> Result<Vec<(u64, u64)>, ReadError> {
    let mut by_member: BTreeMap<usize, Vec<(u64, u64)>> = BTreeMap::new();
    for (start, end) in anonymous {
        let mut page = start.next_multiple_of(HEAP_PAGE);
        while page + HEAP_PAGE <= *end {
            match member(memory, page) {
                Ok(Some(member)) => {
                    let found = by_member.entry(member).or_default();
                    found.push((page, page + HEAP_PAGE));
                }
                Err(error) if error.is_final() => return Err(error),
                Ok(None) | Err(_) => {}
            }
            page += HEAP_PAGE;
        }
    }
    let most = by_member.into_values().max_by_key(Vec::len);
    Ok(most
        .filter(|pages| pages.len() >= LEAST)
        .unwrap_or_default())
}

/// Which word of its record leads back into the page, if one does.
fn member<M: Memory>(memory: &mut M, page: u64) -> Result<Option<usize>, ReadError> {
    let record = memory.word(page)?;
    if record == 0 || !record.is_multiple_of(8) {
        return Ok(None);
    }
    let mut bytes = [0; WORDS * 8];
    memory.read(record, &mut bytes)?;
    let mut words = bytes.chunks_exact(8).map(|word| {
        word.first_chunk()
            .map_or(0, |word| u64::from_le_bytes(*word))
    });
    Ok(words.position(|word| word > page && word <= page + FIRST_OBJECT))
}

#[cfg(test)]
mod tests {
    use memmap2::MmapMut;

    use super::*;
    use crate::sources::ledger::memory::ProcessMemory;

    /// Makes pages in memory of our own, with records behind them; so many of them lead back.
    fn made(pages: usize, leading_back: usize) -> (MmapMut, (u64, u64)) {
        let mut map = MmapMut::map_anon((pages + 2) * HEAP_PAGE as usize).expect("memory");
        let base = map.as_ptr() as u64;
        let start = base.next_multiple_of(HEAP_PAGE);
        let records = start + pages as u64 * HEAP_PAGE;
        let mut put = |at: u64, word: u64| {
            let at = (at - base) as usize;
            map[at..at + 8].copy_from_slice(&word.to_le_bytes());
        };
        for index in 0..pages {
            let (page, record) = (
                start + index as u64 * HEAP_PAGE,
                records + index as u64 * 256,
            );
            put(page, record);
            put(record, 0x0198_0028);
            if index < leading_back {
                put(record + 32, page + 40);
            }
        }
        (map, (start, records))
    }

    #[test]
    fn pages_that_lead_to_themselves_are_found() {
        let mut memory = ProcessMemory::open(std::process::id()).expect("own memory");
        let (_map, range) = made(20, 12);
        let found = pages(&mut memory, &[range]).expect("readable");
        assert_eq!(found.len(), 12);
        assert_eq!(found.first(), Some(&(range.0, range.0 + HEAP_PAGE)));
    }

    #[test]
    fn a_few_may_be_chance() {
        let mut memory = ProcessMemory::open(std::process::id()).expect("own memory");
        let (_map, range) = made(20, LEAST - 1);
        assert_eq!(pages(&mut memory, &[range]), Ok(Vec::new()));
    }
}
