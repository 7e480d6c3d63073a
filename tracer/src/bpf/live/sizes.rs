//! How large the table of live blocks is: by what lives, within what was asked for.

use tracer_common::live::{Generation, MAX_SEGMENTS, SEGMENT_BUCKETS, SLOTS};

/// Slots of a segment.
const SEGMENT_SLOTS: u64 = (SEGMENT_BUCKETS * SLOTS) as u64;

/// Segments of the first sizes, from 4 MiB on. The third holds a million blocks in 46 MiB; from there on each is half
/// as large again as the one before.
const FIRST_SIZES: [u32; 3] = [2, 8, 23];

/// Slots for so many blocks: in large tables 85 % of them are in use before a block finds none.
const fn slots_for(blocks: u64) -> u64 {
    blocks + blocks.div_ceil(4)
}

/// Percentage of slots in use from which on a table of this size is to be larger, and the slot of a bucket that blocks
/// begin to go into then: at 40 % one of two hundred goes into the tenth slot or a later one, at 55 % one of a thousand
/// into the twelfth, at 70 % one of eleven into the thirteenth. Small tables grow early: what can come until the larger
/// one is there has to find room.
const fn limits(size: Generation) -> (u64, u32) {
    match size.segments {
        0..8 => (40, 9),
        8..23 => (55, 11),
        _ => (70, 12),
    }
}

/// Whether a table of this size is to be larger for so many blocks.
const fn is_pressed(size: Generation, live: u64) -> bool {
    live * 100 > size.slots() * limits(size).0
}

/// Whether so many blocks leave room in a table of this size for as many again.
const fn has_room(size: Generation, live: u64) -> bool {
    live * 2 <= size.slots() && !is_pressed(size, live)
}

/// The sizes that a table can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    most: Generation,
}

impl Sizes {
    /// Those of a table for so many blocks.
    pub fn up_to(max_live: u32) -> Self {
        let buckets = slots_for(max_live.into()).div_ceil(SLOTS as u64);
        let segments = buckets
            .div_ceil(SEGMENT_BUCKETS as u64)
            .clamp(1, MAX_SEGMENTS.into());
        let each = buckets.div_ceil(segments).min(SEGMENT_BUCKETS as u64);
        Self {
            most: Generation {
                segments: segments as u32,
                buckets: each as u32,
            },
        }
    }

    /// The largest one.
    pub fn most(&self) -> Generation {
        self.most
    }

    /// All of them, the smallest one first.
    fn all(&self) -> impl Iterator<Item = Generation> + use<> {
        let most = self.most;
        let last = FIRST_SIZES[FIRST_SIZES.len() - 1];
        let further = std::iter::successors(Some(last + last / 2), |segments| {
            Some(segments + segments / 2)
        });
        FIRST_SIZES
            .into_iter()
            .chain(further)
            .map(|segments| Generation {
                segments,
                buckets: SEGMENT_BUCKETS as u32,
            })
            .take_while(move |size| size.slots() < most.slots())
            .chain([most])
    }

    /// The slot of a bucket that tells that there is little room in a table of this size.
    pub fn press_at(size: Generation) -> u32 {
        limits(size).1
    }

    /// What to begin with.
    pub fn first(&self) -> Generation {
        self.all().next().unwrap_or(self.most)
    }

    /// The size for so many blocks where it has this one; `None` if it is to stay.
    ///
    /// It becomes larger where more of the slots are in use than [`limits`] says, and smaller where less than 10 % are;
    /// then it has twice the slots that are in use, at least.
    pub fn better(&self, now: Generation, live: u64) -> Option<Generation> {
        let slots = now.slots();
        if live >= slots / 10 && !is_pressed(now, live) {
            return None;
        }
        let fits = self.all().find(|size| has_room(*size, live));
        let size = fits.unwrap_or(self.most);
        let is_better = match live > slots / 10 {
            true => size.slots() > slots,
            false => size.slots() < slots,
        };
        is_better.then_some(size)
    }
}

const _: () = assert!(SEGMENT_SLOTS == 1 << 16);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mib(size: Generation) -> u64 {
        size.segments as u64 * 2
    }

    #[test]
    fn a_million_blocks_take_46_mib() {
        let sizes = Sizes::up_to(1 << 21);
        let mut size = sizes.first();
        assert_eq!(mib(size), 4);
        for live in (0..=1_000_000).step_by(1_000) {
            size = sizes.better(size, live).unwrap_or(size);
            assert!(!is_pressed(size, live), "{live} blocks in {size:?}");
        }
        assert_eq!(mib(size), 46);
        assert_eq!(sizes.better(size, 100), Some(sizes.first()));
    }

    #[test]
    fn a_small_bound_is_kept() {
        let sizes = Sizes::up_to(1_000);
        let only = Generation {
            segments: 1,
            buckets: 79,
        };
        assert_eq!((sizes.first(), sizes.most()), (only, only));
        assert_eq!(sizes.better(only, 1_200), None);
        assert_eq!(sizes.better(only, 0), None);
    }

    proptest! {
        /// A better size has room, is within the bound, and is good enough for what lives.
        #[test]
        fn a_better_size_is_good(max_live in 1u32..=1 << 27, live in 0u64..1 << 27) {
            let sizes = Sizes::up_to(max_live);
            for now in sizes.all() {
                prop_assert!(now.slots() <= sizes.most().slots());
                if let Some(better) = sizes.better(now, live) {
                    prop_assert!(better != now && better.slots() <= sizes.most().slots());
                    prop_assert!(better == sizes.most() || has_room(better, live));
                    prop_assert_eq!(sizes.better(better, live), None);
                }
            }
            prop_assert!(sizes.most().slots() * 4 >= u64::from(max_live) * 5);
        }
    }
}
