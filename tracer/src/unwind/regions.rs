//! Free space of an array whose entries are taken and given back in runs. Pure.

use std::collections::BTreeMap;

/// The free runs of an array. Neighbouring ones are always joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions {
    /// First entry to length of each free run.
    free: BTreeMap<u32, u32>,
    size: u32,
    left: u32,
}

impl Regions {
    /// An array of `size` entries, all free.
    pub fn new(size: u32) -> Self {
        let mut regions = Self {
            free: BTreeMap::new(),
            size,
            left: 0,
        };
        regions.give(0, size);
        regions
    }

    /// Takes `count` entries in a row and returns the first; `None` if no free run is as long.
    ///
    /// From the shortest run that is long enough, since a few files have by far the longest tables: their room is not
    /// to be broken up for short ones.
    pub fn take(&mut self, count: u32) -> Option<u32> {
        if count == 0 {
            return Some(0);
        }
        let fits = self.free.iter().filter(|(_, length)| **length >= count);
        let (first, length) = fits
            .min_by_key(|(_, length)| **length)
            .map(|(first, length)| (*first, *length))?;
        self.free.remove(&first);
        if length > count {
            self.free.insert(first + count, length - count);
        }
        self.left -= count;
        Some(first)
    }

    /// Gives a run back that was taken, or a part of one.
    pub fn give(&mut self, first: u32, count: u32) {
        if count == 0 {
            return;
        }
        self.left += count;
        let (mut start, mut length) = (first, count);
        if let Some(behind) = self.free.remove(&(first + count)) {
            length += behind;
        }
        if let Some((before, run)) = self.free.range(..first).next_back()
            && before + run == first
        {
            start = *before;
            length += run;
        }
        self.free.insert(start, length);
    }

    /// Entries that are free, in however many runs.
    pub const fn left(&self) -> u32 {
        self.left
    }

    /// Entries of the longest free run.
    pub fn longest(&self) -> u32 {
        self.free.values().copied().max().unwrap_or(0)
    }

    /// Entries that are taken.
    pub const fn used(&self) -> u32 {
        self.size - self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_shortest_run_that_fits_is_used() {
        let mut regions = Regions::new(100);
        let runs: Vec<u32> = [10, 20, 5, 65]
            .map(|count| regions.take(count).expect("room"))
            .to_vec();
        assert_eq!(runs, [0, 10, 30, 35]);
        regions.give(10, 20);
        regions.give(30, 2);
        assert_eq!(regions.left(), 22);
        assert_eq!(regions.take(23), None);
        assert_eq!(regions.take(22), Some(10), "the two runs are one");
        regions.give(0, 10);
        regions.give(10, 22);
        regions.give(35, 4);
        assert_eq!(regions.take(3), Some(35), "not out of the long run");
        assert_eq!(regions.take(0), Some(0));
        assert_eq!(regions.used(), 100 - 33);
    }

    /// What is done to an array: a run of that many entries taken, or one of those that are taken given back.
    #[derive(Clone, Debug)]
    enum Action {
        Take(u32),
        Give(prop::sample::Index),
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            (0u32..40).prop_map(Action::Take),
            any::<prop::sample::Index>().prop_map(Action::Give),
        ]
    }

    proptest! {
        /// Against an array in which every entry is marked: nothing is given out twice, and a run is refused only where
        /// none is as long.
        #[test]
        fn like_an_array_with_every_entry_marked(
            size in 0u32..200,
            actions in prop::collection::vec(action(), 0..200),
        ) {
            let mut regions = Regions::new(size);
            let mut taken = vec![false; size as usize];
            let mut runs: Vec<(u32, u32)> = Vec::new();
            for action in actions {
                match action {
                    Action::Take(count) => {
                        let longest = taken
                            .split(|taken| *taken)
                            .map(<[bool]>::len)
                            .max()
                            .unwrap_or(0);
                        prop_assert_eq!(regions.longest() as usize, longest);
                        let first = regions.take(count);
                        prop_assert_eq!(first.is_some(), count as usize <= longest);
                        if let Some(first) = first.filter(|_| count > 0) {
                            for entry in &mut taken[first as usize..(first + count) as usize] {
                                prop_assert!(!*entry);
                                *entry = true;
                            }
                            runs.push((first, count));
                        }
                    }
                    Action::Give(which) if !runs.is_empty() => {
                        let (first, count) = runs.swap_remove(which.index(runs.len()));
                        regions.give(first, count);
                        taken[first as usize..(first + count) as usize].fill(false);
                    }
                    Action::Give(_) => {}
                }
                let free = taken.iter().filter(|taken| !**taken).count();
                prop_assert_eq!(regions.left() as usize, free);
            }
            for (first, count) in runs {
                regions.give(first, count);
            }
            prop_assert_eq!(regions, Regions::new(size));
        }
    }
}
