//! Blocks of glibc that have a mapping of their own: by the headers at their starts.

use super::chunk;
use crate::sources::ledger::memory::{Memory, PAGE, ReadError, Window};

/// Bytes of memory read at once where a header may be at every page.
const STEP: u64 = 256 << 10;

/// The blocks with mappings of their own that lie in anonymous memory from `start` to `end`: from the start on, one
/// after the other, each with its size. Neighbours share a mapping, so there may be many.
///
/// # Errors
/// [`ReadError`], but only where nothing can be read any more.
pub fn mapped_blocks<M: Memory>(
    memory: &mut M,
    start: u64,
    end: u64,
) -> Result<Vec<(u64, u64)>, ReadError> {
    let mut blocks = Vec::new();
    let mut at = start;
    while at < end {
        let mut words = [0; 16];
        match memory.read(at, &mut words) {
            Ok(()) => {}
            Err(error) if error.is_final() => return Err(error),
            Err(_) => break,
        }
        let Some(size) = block_at(&words, end - at) else {
            break;
        };
        blocks.push((at, at + size));
        at += size;
    }
    Ok(blocks)
}

/// The same where other memory may lie between the blocks: every page that is in memory is looked at, `most` bytes of
/// them at the most. Memory of others may look like a header by chance, so the sum is to be held against glibc's own.
///
/// # Errors
/// As [`mapped_blocks`].
pub fn mapped_blocks_within<M: Memory>(
    memory: &mut M,
    start: u64,
    end: u64,
    most: &mut u64,
) -> Result<Vec<(u64, u64)>, ReadError> {
    let mut blocks = Vec::new();
    let mut window = Window::default();
    let mut at = start;
    while at < end && *most > 0 {
        let step = STEP.min(end - at);
        *most = most.saturating_sub(step);
        match window.load(memory, at, step as usize) {
            Err(error) if error.is_final() => return Err(error),
            Err(_) => at += step,
            Ok(()) => {
                let loaded = at + step;
                while at < loaded {
                    let words = window.bytes_at(at, 16).ok();
                    let size = words.and_then(|words| block_at(words.first_chunk()?, end - at));
                    blocks.extend(size.map(|size| (at, at + size)));
                    at += size.unwrap_or(PAGE);
                }
            }
        }
    }
    Ok(blocks)
}

/// The size of the block whose header this is, if it is one and fits into `room`.
fn block_at(words: &[u8; 16], room: u64) -> Option<u64> {
    let word = |from: usize| {
        let bytes = words[from..].first_chunk();
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    let (before, header) = (word(0), chunk::Header(word(8)));
    // glibc 2.43 leaves the header's 16 bytes out of the size.
    let size = header.size().checked_next_multiple_of(PAGE)?;
    let own = header.is_mapped() && !header.previous_in_use() && !header.in_thread_arena();
    let whole = matches!(size - header.size(), 0 | 16);
    (before == 0 && own && whole && size != 0 && size <= room).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::ledger::glibc::image::Image;

    const START: u64 = 0x7f30_0000_0000;

    /// Blocks of one, two and three pages with memory of others between them, and a page that was never touched.
    fn mixed() -> Image {
        let mut image = Image::default();
        image.map(START, START + 16 * PAGE, "");
        for page in (0..16).filter(|page| *page != 9) {
            image.put(START + page * PAGE + 64, 77);
        }
        for (page, pages) in [(0, 1), (1, 2), (4, 3), (12, 1)] {
            image.put(START + page * PAGE + 8, (pages * PAGE) | 2);
        }
        // No header: it would not fit, it is not of whole pages, the word before it is not zero.
        image.put(START + 13 * PAGE + 8, (8 * PAGE) | 2);
        image.put(START + 14 * PAGE + 8, (PAGE + 32) | 2);
        image.put(START + 15 * PAGE, 1);
        image.put(START + 15 * PAGE + 8, PAGE | 2);
        image
    }

    #[test]
    fn blocks_are_found_one_after_the_other() {
        let found = mapped_blocks(&mut mixed(), START, START + 16 * PAGE);
        let block = |page: u64, pages: u64| (START + page * PAGE, START + (page + pages) * PAGE);
        assert_eq!(found, Ok(vec![block(0, 1), block(1, 2)]));
    }

    #[test]
    fn blocks_are_found_between_other_memory() {
        let block = |page: u64, pages: u64| (START + page * PAGE, START + (page + pages) * PAGE);
        let all = vec![block(0, 1), block(1, 2), block(4, 3), block(12, 1)];
        let mut most = u64::MAX;
        let found = mapped_blocks_within(&mut mixed(), START, START + 16 * PAGE, &mut most);
        assert_eq!(found, Ok(all));
        let mut most = 0;
        let found = mapped_blocks_within(&mut mixed(), START, START + 16 * PAGE, &mut most);
        assert_eq!(found, Ok(Vec::new()), "nothing is read without leave");
    }
}
