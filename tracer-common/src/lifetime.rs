//! How long blocks live: the ages at which they are released, counted in powers of two; and what is kept of released
//! blocks that are older than the trace.

use zerocopy::{FromBytes, IntoBytes};

/// Number of counts.
pub const BUCKETS: usize = 16;

/// The first count is of ages below this. Ages are told by the kernel's ticks, to less than two of them: 20 ms at 100
/// Hz, 8 ms at 250 Hz.
pub const FIRST_NS: u64 = 16_000_000;

/// The number of an age's count: 0 below [`FIRST_NS`], then one for each power of two; the last has no upper bound.
///
/// The programs have no instruction for a logarithm. Without branches, of which the kernel's verifier would follow both
/// ways each time. `age_ns` must be below 2^63.
#[inline(always)]
pub const fn bucket(age_ns: u64) -> usize {
    let mut age = age_ns;
    let mut bucket = 0;
    let mut step = 8;
    while step > 0 {
        // The highest bit of a negative difference.
        let is_older = ((FIRST_NS / 2) << step).wrapping_sub(age + 1) >> 63;
        age >>= is_older * step;
        bucket += is_older * step;
        step /= 2;
    }
    bucket as usize & (BUCKETS - 1)
}

/// Ages at which the blocks of one row were released. The counts wrap around; in a sampled trace they are of the
/// sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Lifetimes {
    /// Blocks, youngest first.
    pub counts: [u32; BUCKETS],
}

/// Released blocks of one process that the trace does not know: in an exact trace those that are older than it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct OldFrees {
    /// How many.
    pub blocks: u64,
    /// Of these, those whose size was read.
    pub sized: u64,
    /// What these could hold, together.
    pub bytes: u64,
    /// Keeps rows of different processes in different cache lines of a pair.
    pub reserved: u64,
}

/// Least chunk of glibc, header included (malloc/malloc.c, `MINSIZE`).
const LEAST_CHUNK: u64 = 32;
/// Largest that is believed.
const LARGEST_CHUNK: u64 = 1 << 44;
/// What a chunk's size is a multiple of.
const CHUNK_ALIGNMENT: u64 = 16;
/// In the size word: the chunk has a mapping of its own.
const IS_MAPPED: u64 = 2;

/// Bytes that a block of glibc can hold, by the word before it: the chunk's size, with flags in the low three bits
/// (malloc/malloc.c, `struct malloc_chunk`). `None` if that is no such word.
#[inline(always)]
pub const fn glibc_room(word: u64) -> Option<u64> {
    let size = word & !7;
    if size < LEAST_CHUNK || size > LARGEST_CHUNK || !size.is_multiple_of(CHUNK_ALIGNMENT) {
        return None;
    }
    // A chunk in use has the first word of the next one, too; behind one with a mapping of its own there is none.
    Some(size - if word & IS_MAPPED != 0 { 16 } else { 8 })
}

/// What glibc's chunk for a request can hold.
pub const fn glibc_room_for(size: u64) -> u64 {
    let chunk = (size.saturating_add(8 + CHUNK_ALIGNMENT - 1)) & !(CHUNK_ALIGNMENT - 1);
    (if chunk < LEAST_CHUNK {
        LEAST_CHUNK
    } else {
        chunk
    }) - 8
}

const _: () = assert!(size_of::<Lifetimes>() == 64);
const _: () = assert!(size_of::<OldFrees>() == 32);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the programs count, said plainly.
    fn model(age_ns: u64) -> usize {
        let mut bucket = 0;
        let mut end = FIRST_NS;
        while age_ns >= end && bucket < BUCKETS - 1 {
            bucket += 1;
            end *= 2;
        }
        bucket
    }

    #[test]
    fn bounds_belong_to_the_older() {
        for power in 0..BUCKETS - 1 {
            let end = FIRST_NS << power;
            assert_eq!((bucket(end - 1), bucket(end)), (power, power + 1));
        }
        assert_eq!((bucket(0), bucket(i64::MAX as u64 - 1)), (0, BUCKETS - 1));
    }

    #[test]
    fn size_words_of_glibc_are_told_from_others() {
        assert_eq!(glibc_room(0x21), Some(24));
        assert_eq!(glibc_room(0x75), Some(0x68));
        assert_eq!(glibc_room(0x23002), Some(0x22ff0));
        for word in [0, 1, 0x11, 0x29, 0x7f12_3456_7890 | 8, u64::MAX] {
            assert_eq!(glibc_room(word), None, "{word:#x}");
        }
    }

    proptest! {
        #[test]
        fn ages_are_counted_as_the_model_does(age_ns in 0u64..1 << 62, shift in 0u32..62) {
            prop_assert_eq!(bucket(age_ns >> shift), model(age_ns >> shift));
        }

        /// A request fits into its chunk, with less than sixteen bytes to spare beyond the least one.
        #[test]
        fn requests_fit(size in 0u64..1 << 40) {
            let room = glibc_room_for(size);
            prop_assert!(room >= size && (room < size + 16 || room == 24));
            prop_assert_eq!(glibc_room((room + 8) | 1), Some(room));
        }
    }
}
