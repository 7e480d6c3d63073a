//! V8's heap: pages of 256 KiB, each with a header that says how large it is and where its objects lie.
//!
//! The header's first five words are the page's size, its flags, the heap that it belongs to, and the start and end of
//! its objects. One V8 heap has many pages, and all of them name the same heap; that tells them from chance.

use std::collections::HashMap;

use crate::sources::ledger::memory::{Memory, ReadError, Window};

/// To what pages are aligned.
const ALIGNMENT: u64 = 256 << 10;
/// Most bytes of the header and of the marks behind it.
const MOST_HEADER: u64 = 64 << 10;
/// Pages of one heap that must be found.
const LEAST_PAGES: usize = 4;

/// Finds the pages in anonymous mappings, as ranges.
///
/// # Errors
/// [`ReadError`], but only where nothing can be read any more.
pub fn pages<M: Memory>(
    memory: &mut M,
    mappings: &[(u64, u64)],
) -> Result<Vec<(u64, u64)>, ReadError> {
    let mut heaps: HashMap<u64, Vec<(u64, u64)>> = HashMap::new();
    for (start, end) in mappings {
        let mut at = start.next_multiple_of(ALIGNMENT);
        while at < *end {
            match page(memory, at, *end)? {
                Some((heap, size)) => {
                    heaps.entry(heap).or_default().push((at, at + size));
                    at += size.next_multiple_of(ALIGNMENT);
                }
                None => at += ALIGNMENT,
            }
        }
    }
    heaps.retain(|_, pages| pages.len() >= LEAST_PAGES);
    let mut pages: Vec<_> = heaps.into_values().flatten().collect();
    pages.sort_unstable();
    Ok(pages)
}

/// The heap and the size of the page that begins at an address, if one does.
fn page<M: Memory>(memory: &mut M, at: u64, end: u64) -> Result<Option<(u64, u64)>, ReadError> {
    let mut window = Window::default();
    match window.load(memory, at, 40) {
        Ok(()) => {}
        Err(error) if error.is_final() => return Err(error),
        Err(_) => return Ok(None),
    }
    let mut words = [0; 5];
    for (index, word) in words.iter_mut().enumerate() {
        match window.word(at + index as u64 * 8) {
            Ok(value) => *word = value,
            Err(_) => return Ok(None),
        }
    }
    let [size, _flags, heap, first, last] = words;
    let sized = size > 0 && size % 4096 == 0 && size <= end - at;
    if !sized {
        return Ok(None);
    }
    let objects = at < first && first <= at + MOST_HEADER && first < last && last <= at + size;
    Ok((objects && heap % 8 == 0 && heap != 0).then_some((heap, size)))
}
