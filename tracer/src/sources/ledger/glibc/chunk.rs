//! The header of a chunk: its size, three bits, and before it the size of a free neighbour.
//!
//! `size` counts the header's eight bytes and is a multiple of 16. A chunk's own state is written in the chunk behind
//! it: bit 0 there says that this one is in use. Only where it is clear do the eight bytes before hold this one's size.

/// Smallest chunk.
pub const LEAST: u64 = 32;
/// Size of the chunks that fence off the end of a piece of heap.
pub const FENCE: u64 = 16;

const PREVIOUS_IN_USE: u64 = 1;
const MAPPED: u64 = 2;
const THREAD_ARENA: u64 = 4;

/// A chunk's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header(pub u64);

impl Header {
    /// Bytes of the chunk, header included.
    pub const fn size(self) -> u64 {
        self.0 & !7
    }

    /// Whether the chunk before this one is in use: by the program, a thread cache or a fast bin.
    pub const fn previous_in_use(self) -> bool {
        self.0 & PREVIOUS_IN_USE != 0
    }

    /// Whether the chunk has a mapping of its own.
    pub const fn is_mapped(self) -> bool {
        self.0 & MAPPED != 0
    }

    /// Whether the chunk, if it is in use, belongs to a thread's arena.
    pub const fn in_thread_arena(self) -> bool {
        self.0 & THREAD_ARENA != 0
    }

    /// Whether this is the last header of a thread's heap that is full: of no size, behind something in use.
    pub const fn ends_heap(self) -> bool {
        self.0 == PREVIOUS_IN_USE
    }

    /// Whether this can be the header of a chunk within `room` bytes.
    pub const fn is_sane(self, room: u64) -> bool {
        let size = self.size();
        size >= LEAST && size.is_multiple_of(16) && size <= room && !self.is_mapped()
    }
}

/// The whole pages inside a free chunk that `malloc_trim` gives back: behind the chunk's links, up to its end.
pub const fn trimmable(chunk: u64, size: u64) -> Option<(u64, u64)> {
    const LINKS: u64 = 48;
    const PAGE: u64 = 4096;
    let start = (chunk + LINKS).next_multiple_of(PAGE);
    let end = chunk + size;
    let end = end - end % PAGE;
    if size >= PAGE + LINKS && start < end {
        Some((start, end))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_behind_the_links_can_be_given_back() {
        assert_eq!(trimmable(0x1000, 0x1000), None);
        assert_eq!(trimmable(0x1000, 0x2000), Some((0x2000, 0x3000)));
        assert_eq!(trimmable(0x1fd0, 0x1030), Some((0x2000, 0x3000)));
        assert_eq!(trimmable(0x1fe0, 0x1030), None);
        assert_eq!(trimmable(0x1010, 0x2ff0), Some((0x2000, 0x4000)));
        assert_eq!(trimmable(0x1010, 0x2fe0), Some((0x2000, 0x3000)));
    }

    #[test]
    fn a_header_is_sane_or_not() {
        assert!(Header(0x21).is_sane(0x20));
        for (header, room) in [
            (0x21, 0x1f),
            (0x11, 0x100),
            (0x29, 0x100),
            (0x23, 0x100),
            (1, 9),
        ] {
            assert!(!Header(header).is_sane(room), "{header:#x} {room:#x}");
        }
    }
}
