//! Chains of holders, folded: from a root down to a block, with each run of blocks of one kind as one link.

use rustc_hash::FxHashMap;

use super::graph::{Holder, Marks};

/// A run of blocks of one kind, each of which holds the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kind: what allocated them.
    pub kind: u32,
    /// The last block of the run: the one that is furthest from the root.
    pub last: u32,
    /// How many there are.
    pub length: u32,
}

/// What holds a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The root, by its number.
    pub root: u32,
    /// From the root to the block, which is in the last link.
    pub links: Vec<Link>,
}

impl Chain {
    /// How many blocks there are in it.
    pub fn depth(&self) -> u64 {
        self.links.iter().map(|link| link.length as u64).sum()
    }
}

/// Folds the chains of many blocks. A list of a million is walked once.
pub struct Folder<'a, K> {
    marks: &'a Marks,
    kind_of: K,
    /// For each block that was walked through: the top of its run, and how many of the run are above it.
    runs: FxHashMap<u32, (u32, u32)>,
}

impl<'a, K: Fn(u32) -> u32> Folder<'a, K> {
    /// `kind_of` tells a block's kind.
    pub fn new(marks: &'a Marks, kind_of: K) -> Self {
        Self {
            marks,
            kind_of,
            runs: FxHashMap::default(),
        }
    }

    /// The chain of a block; `None` if nothing holds it.
    pub fn chain(&mut self, block: u32) -> Option<Chain> {
        let mut links = Vec::new();
        let mut last = block;
        loop {
            let (top, above) = self.run(last);
            links.push(Link {
                kind: (self.kind_of)(last),
                last,
                length: above + 1,
            });
            match self.marks.holder(top) {
                Holder::Block(holder) => last = holder,
                Holder::Root(root) => {
                    links.reverse();
                    return Some(Chain { root, links });
                }
                Holder::Nothing => return None,
            }
        }
    }

    /// The top of a block's run, and how many blocks of the run are above it.
    fn run(&mut self, block: u32) -> (u32, u32) {
        let kind = (self.kind_of)(block);
        let mut walked = vec![block];
        let (top, above) = loop {
            let at = walked[walked.len() - 1];
            if let Some(known) = self.runs.get(&at) {
                break *known;
            }
            match self.marks.holder(at) {
                Holder::Block(holder) if (self.kind_of)(holder) == kind => walked.push(holder),
                _ => break (at, 0),
            }
        };
        for (steps, walked) in walked.iter().rev().enumerate() {
            self.runs.insert(*walked, (top, above + steps as u32));
        }
        self.runs[&block]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::reach::graph::{Gathering, Rank, Root};

    fn marks(blocks: u32, pointers: &BTreeSet<(u32, u32)>, roots: &[u32]) -> Marks {
        let mut gathering = Gathering::new(blocks, pointers.len()).expect("room");
        for (source, target) in pointers {
            gathering.add(*source, *target).expect("room");
        }
        let mut marks = Marks::new(blocks).expect("room");
        let root = |target: &u32| Root {
            rank: Rank::Module,
            place: *target as u64,
            target: *target,
        };
        marks.spread(&gathering.finish(), roots.iter().map(root).collect());
        marks
    }

    /// A table (kind 0) that holds the heads of two lists (kind 1), each of which holds a text (kind 2).
    #[test]
    fn lists_below_a_table() {
        const LONG: u32 = 100_000;
        let mut pointers = BTreeSet::from([(0, 1), (0, LONG + 1)]);
        pointers.extend((1..LONG).map(|node| (node, node + 1)));
        pointers.extend((1..=LONG + 1).map(|node| (node, LONG + 1 + node)));
        let blocks = 2 * LONG + 3;
        let marks = marks(blocks, &pointers, &[0]);
        let kind = |block: u32| match block {
            0 => 0,
            node if node <= LONG + 1 => 1,
            _ => 2,
        };
        let mut folder = Folder::new(&marks, kind);
        let texts = (LONG + 2)..(2 * LONG + 3);
        let chains: Vec<Chain> = texts.filter_map(|text| folder.chain(text)).collect();
        assert_eq!(chains.len() as u32, LONG + 1);
        let shape = |chain: &Chain| chain.links.iter().map(|link| link.kind).collect::<Vec<_>>();
        assert!(chains.iter().all(|chain| shape(chain) == [0, 1, 2]));
        let depths = chains.iter().map(Chain::depth);
        assert_eq!(
            (depths.clone().min(), depths.max()),
            (Some(3), Some(LONG as u64 + 2))
        );
        assert_eq!(folder.chain(LONG), chains_of_last(&marks, kind));
        assert_eq!(folder.chain(blocks - 1).map(|chain| chain.root), Some(0));
    }

    fn chains_of_last(marks: &Marks, kind: impl Fn(u32) -> u32) -> Option<Chain> {
        Folder::new(marks, kind).chain(100_000)
    }

    #[test]
    fn nothing_holds_what_is_lost() {
        let marks = marks(2, &BTreeSet::from([(0, 1)]), &[]);
        assert_eq!(Folder::new(&marks, |_| 0).chain(1), None);
    }
}
