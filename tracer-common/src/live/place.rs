//! Where a key belongs: the sizes of a table, and which of them there are.

use zerocopy::{FromBytes, IntoBytes};

use super::bucket::{Bucket, SLOTS};

/// Buckets of a segment, which is 2 MiB: below what every kernel allows as an element of an array (`KMALLOC_MAX_SIZE`).
pub const SEGMENT_BUCKETS: usize = 1 << 12;

/// Most segments of a generation: 8 GiB, 268 million slots.
pub const MAX_SEGMENTS: u32 = 1 << 12;

/// What memory comes in.
#[derive(Debug)]
#[repr(C)]
pub struct Segment<C> {
    /// The buckets, of which a small table uses the first ones.
    pub buckets: [Bucket<C>; SEGMENT_BUCKETS],
}

impl<C> Segment<C> {
    /// A bucket.
    #[inline(always)]
    pub const fn bucket(&self, number: u32) -> &Bucket<C> {
        // What the remainder says of the number the kernel's verifier does not know otherwise.
        &self.buckets[number as usize % SEGMENT_BUCKETS]
    }
}

/// The size of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Generation {
    /// Number of segments.
    pub segments: u32,
    /// Buckets of each that are in use.
    pub buckets: u32,
}

/// Where a key belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Segment of the generation.
    pub segment: u32,
    /// First bucket in it.
    pub first: u32,
    /// Second bucket in it; may be the first one.
    pub second: u32,
}

impl Generation {
    /// Number of slots.
    pub const fn slots(&self) -> u64 {
        self.segments as u64 * self.buckets as u64 * SLOTS as u64
    }

    /// Where a key belongs.
    #[inline(always)]
    pub const fn place(&self, key: u64) -> Place {
        let hash = mix(key);
        Place {
            segment: scale(hash >> 43, self.segments),
            first: scale(hash >> 22, self.buckets),
            second: scale(hash, self.buckets),
        }
    }
}

/// Bits of a hash that choose one thing.
const CHOICE_BITS: u32 = 21;

/// One of `count` things, by the lowest bits of a hash.
#[inline(always)]
const fn scale(hash: u64, count: u32) -> u32 {
    (((hash & ((1 << CHOICE_BITS) - 1)) * count as u64) >> CHOICE_BITS) as u32
}

/// A hash all bits of which depend on all bits of the key (the finalizer of MurmurHash3).
#[inline(always)]
const fn mix(key: u64) -> u64 {
    let mut hash = key;
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

/// Which generations there are, and how large they are; one element, written by user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Directory {
    /// A [`Phase`].
    pub phase: u32,
    /// 1: the programs have found little room since user space last looked.
    pub pressed: u32,
    /// A block that goes into this slot of its bucket, or a later one, has found little room.
    pub press_at: u32,
    /// 1: the table is not made larger any more.
    pub at_most: u32,
    /// The two generations that there can be.
    pub generations: [Generation; 2],
}

/// Which of the two generations is the newer one, and whether the other one is being emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Phase(pub u32);

impl Phase {
    /// The phase in which the blocks of the other generation are being moved into this one.
    pub const fn moving_to(index: u32) -> Self {
        Self(index << 1 | 1)
    }

    /// The phase in which this generation is the only one.
    pub const fn settled_in(index: u32) -> Self {
        Self(index << 1)
    }

    /// Index of the generation that new blocks go into.
    #[inline(always)]
    pub const fn newer(self) -> u32 {
        self.0 >> 1 & 1
    }

    /// Index of the other one.
    #[inline(always)]
    pub const fn older(self) -> u32 {
        self.newer() ^ 1
    }

    /// Whether the older generation is being emptied.
    #[inline(always)]
    pub const fn is_moving(self) -> bool {
        self.0 & 1 != 0
    }
}

const _: () = assert!(size_of::<Segment<u64>>() == 2 << 20);
const _: () = assert!(size_of::<Generation>() == 8);
const _: () = assert!(size_of::<Directory>() == 32);
const _: () = assert!(MAX_SEGMENTS as usize * SEGMENT_BUCKETS <= 1 << 32);
