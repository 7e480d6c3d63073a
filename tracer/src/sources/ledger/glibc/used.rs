//! The chunks that a program holds, where they are wanted one by one.

/// Bytes of a chunk before its block.
const HEADER: u64 = 16;
/// Bytes behind a chunk that belong to its block while it is in use (malloc/malloc.c, `chunk2mem` and
/// `memsize`).
const BORROWED: u64 = 8;

/// Chunks in use.
#[derive(Clone, Debug, Default)]
pub struct UsedChunks {
    is_wanted: bool,
    /// Address and size of each; the lowest bit of the size tells that it is on a list of free chunks after all.
    chunks: Vec<(u64, u64)>,
}

impl UsedChunks {
    /// None are listed.
    pub fn counted() -> Self {
        Self::default()
    }

    /// All are listed.
    pub fn listed() -> Self {
        Self {
            is_wanted: true,
            ..Self::default()
        }
    }

    /// Adds a chunk.
    #[inline]
    pub(super) fn add(&mut self, chunk: u64, size: u64) {
        if self.is_wanted {
            self.chunks.push((chunk, size));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Drops those that were added last.
    pub(super) fn truncate(&mut self, len: usize) {
        self.chunks.truncate(len);
    }

    /// Brings them into order, when all were added.
    pub(super) fn sort(&mut self) {
        self.chunks.sort_unstable();
        self.chunks.dedup_by_key(|chunk| chunk.0);
    }

    /// A chunk is free after all: it is on a list of a thread's cache, or in a fast bin.
    pub(super) fn release(&mut self, chunk: u64) {
        if let Ok(found) = self.chunks.binary_search_by_key(&chunk, |own| own.0) {
            self.chunks[found].1 |= 1;
        }
    }

    /// Drops those that are free after all.
    pub(super) fn drop_released(&mut self) {
        self.chunks.retain(|(_, size)| size & 1 == 0);
    }

    /// Address and bytes of each block, ascending.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, u64)> {
        let blocks = self.chunks.iter();
        blocks.map(|(chunk, size)| (chunk + HEADER, size - HEADER + BORROWED))
    }

    /// Whether an address lies in a block that is in use.
    pub fn holds(&self, address: u64) -> bool {
        let behind = self
            .chunks
            .partition_point(|(chunk, _)| chunk + HEADER <= address);
        let before = self.chunks[..behind].last();
        before.is_some_and(|(chunk, size)| address < chunk + size + BORROWED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_chunks_are_dropped() {
        let mut used = UsedChunks::listed();
        for (chunk, size) in [(0x100, 32), (0x120, 48), (0x180, 32)] {
            used.add(chunk, size);
        }
        used.truncate(3);
        used.add(0x120, 48);
        used.sort();
        used.release(0x120);
        used.release(0x130);
        used.drop_released();
        let blocks: Vec<_> = used.blocks().collect();
        assert_eq!(blocks, [(0x110, 24), (0x190, 24)]);
        let held: Vec<u64> = (0x100..0x1b0)
            .step_by(8)
            .filter(|place| used.holds(*place))
            .collect();
        assert_eq!(held, [0x110, 0x118, 0x120, 0x190, 0x198, 0x1a0]);
    }

    #[test]
    fn none_are_listed_where_none_are_wanted() {
        let mut used = UsedChunks::counted();
        used.add(0x100, 32);
        assert_eq!((used.len(), used.holds(0x110)), (0, false));
    }
}
