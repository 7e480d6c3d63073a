//! Which blocks point to which, what holds each of them, and what nothing holds.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use super::huge::HugeArray;
use crate::ahead::{AHEAD, prefetch};

/// Set in a target: the pointer is to the inside of the block, not to its start.
pub const INTERIOR: u32 = 1 << 31;

/// The block of a target.
pub const fn block(target: u32) -> u32 {
    target & !INTERIOR
}

/// What kind of place a root is, the best explanation first: a block that is held by several is said to be held by the
/// first of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rank {
    /// Data of a module: a global.
    Module,
    /// Data of a thread.
    ThreadLocal,
    /// The kernel, on the program's behalf: an event's or a timer's data.
    Kernel,
    /// A mapping of another kind.
    Mapping,
    /// A block that is younger than the list of blocks.
    YoungBlock,
    /// Memory of an allocator in which no known block lies.
    UnknownHeap,
    /// A stack.
    Stack,
    /// A register.
    Register,
    /// No place is known, but the block was written to.
    Written,
}

impl Rank {
    /// All, in order.
    pub const ALL: [Self; 9] = [
        Self::Module,
        Self::ThreadLocal,
        Self::Kernel,
        Self::Mapping,
        Self::YoungBlock,
        Self::UnknownHeap,
        Self::Stack,
        Self::Register,
        Self::Written,
    ];
}

/// A pointer from outside of the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// What kind of place it is in.
    pub rank: Rank,
    /// The place: an address, or what stands for one.
    pub place: u64,
    /// The block, and [`INTERIOR`].
    pub target: u32,
}

/// The pointers from block to block.
pub struct Edges {
    /// For each block where its own begin in `targets`, and behind the last where they end.
    first: HugeArray<u32>,
    targets: HugeArray<u32>,
    /// Those of later passes, by source.
    later: Vec<(u32, u32)>,
}

impl Edges {
    /// The targets of a block's pointers.
    pub fn of(&self, source: u32) -> impl Iterator<Item = u32> {
        let from = self.later.partition_point(|(other, _)| *other < source);
        let later = self.later[from..].iter();
        let later = later.take_while(move |(other, _)| *other == source);
        let own = &self.targets.all()[self.range(source)];
        own.iter().copied().chain(later.map(|(_, target)| *target))
    }

    /// Where the pointers of a block that the first pass has seen are in `targets`.
    fn range(&self, source: u32) -> Range<usize> {
        let first = self.first.all();
        first[source as usize] as usize..first[source as usize + 1] as usize
    }

    /// Adds those that a later pass has seen.
    pub fn add(&mut self, seen: &[(u32, u32)]) {
        self.later.extend_from_slice(seen);
        self.later.sort_unstable();
        self.later.dedup();
    }
}

/// The pointers of the first pass, gathered by ascending source.
pub struct Gathering {
    edges: Edges,
    /// Sources whose first edge is known.
    sources: usize,
    count: usize,
}

/// There are more pointers than can be kept: than were told, or than four billion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more pointers than can be kept")]
pub struct TooMany;

impl Gathering {
    /// None yet, of so many blocks, with at most so many pointers.
    ///
    /// # Errors
    /// `ENOMEM` where so much address space may not be reserved.
    pub fn new(blocks: u32, most: usize) -> io::Result<Self> {
        Ok(Self {
            edges: Edges {
                first: HugeArray::zeroed(blocks as usize + 1)?,
                targets: HugeArray::zeroed(most)?,
                later: Vec::new(),
            },
            sources: 0,
            count: 0,
        })
    }

    /// Adds a pointer; of several in a row that are the same only one counts.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn add(&mut self, source: u32, target: u32) -> Result<(), TooMany> {
        let is_new = self.sources <= source as usize;
        self.begin(source as usize + 1);
        let targets = self.edges.targets.all_mut();
        if !is_new && targets[self.count - 1] == target {
            return Ok(());
        }
        let next = targets
            .get_mut(self.count)
            .filter(|_| self.count < u32::MAX as usize);
        *next.ok_or(TooMany)? = target;
        self.count += 1;
        Ok(())
    }

    /// Notes where the edges of all sources before this one begin.
    fn begin(&mut self, end: usize) {
        let first = self.edges.first.all_mut();
        let count = self.count as u32;
        first[self.sources.min(end)..end].fill(count);
        self.sources = self.sources.max(end);
    }

    /// All that there are.
    pub fn finish(mut self) -> Edges {
        let end = self.edges.first.all().len();
        self.begin(end);
        self.edges
    }
}

/// What holds a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nothing that is known.
    Nothing,
    /// Another block.
    Block(u32),
    /// A root, by its number.
    Root(u32),
}

/// What holds each block: by the best rank from which it can be reached, on a shortest way.
pub struct Marks {
    /// Rank plus one; 0 is held by nothing.
    ranks: HugeArray<u8>,
    /// Number of the holding block plus one, or of the root with the uppermost bit set; 0 is none.
    holders: HugeArray<u32>,
    roots: Vec<Root>,
    held: u64,
}

const OF_ROOT: u32 = 1 << 31;

impl Marks {
    /// No block is held yet.
    ///
    /// # Errors
    /// `ENOMEM` where so much address space may not be reserved.
    pub fn new(blocks: u32) -> io::Result<Self> {
        Ok(Self {
            ranks: HugeArray::zeroed(blocks as usize)?,
            holders: HugeArray::zeroed(blocks as usize)?,
            roots: Vec::new(),
            held: 0,
        })
    }

    /// The rank from which a block is held; `None` if nothing holds it.
    pub fn rank(&self, block: u32) -> Option<Rank> {
        let rank = self.ranks.all()[block as usize];
        Rank::ALL.get((rank as usize).wrapping_sub(1)).copied()
    }

    /// What holds a block.
    pub fn holder(&self, block: u32) -> Holder {
        match self.holders.all()[block as usize] {
            0 => Holder::Nothing,
            root if root & OF_ROOT != 0 => Holder::Root(root & !OF_ROOT),
            block => Holder::Block(block - 1),
        }
    }

    /// A root by its number.
    pub fn root(&self, number: u32) -> &Root {
        &self.roots[number as usize]
    }

    /// How many blocks are held.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Marks what roots hold, and what is held by that: each block by the best rank.
    pub fn spread(&mut self, edges: &Edges, mut roots: Vec<Root>) {
        // Pointers to the start of a block explain more than those to its inside.
        roots.sort_by_key(|root| (root.rank, root.target & INTERIOR));
        let mut queue = VecDeque::new();
        for of_rank in roots.chunk_by(|one, other| one.rank == other.rank) {
            for root in of_rank {
                let holder = OF_ROOT | self.roots.len() as u32;
                if self.hold(block(root.target), root.rank, holder) {
                    self.roots.push(*root);
                    queue.push_back(block(root.target));
                }
            }
            self.follow(edges, of_rank[0].rank, &mut queue);
        }
    }

    /// Marks what is held by pointers from block to block that were not known before.
    pub fn spread_from(&mut self, edges: &Edges, seen: &[(u32, u32)]) {
        for rank in Rank::ALL {
            let mut queue = VecDeque::new();
            for (source, target) in seen {
                if self.rank(*source) == Some(rank) && self.hold(block(*target), rank, source + 1) {
                    queue.push_back(block(*target));
                }
            }
            self.follow(edges, rank, &mut queue);
        }
    }

    /// Follows the pointers of the blocks in the queue, breadth first, those to the starts of blocks first.
    fn follow(&mut self, edges: &Edges, rank: Rank, queue: &mut VecDeque<u32>) {
        // Blocks that point into others which nothing else may hold.
        let mut inside = VecDeque::new();
        loop {
            if let Some(source) = queue.pop_front() {
                self.fetch_ahead(edges, queue);
                let mut points_inside = false;
                for target in edges.of(source) {
                    if target & INTERIOR != 0 {
                        points_inside |= !self.is_held(block(target), rank);
                    } else if self.hold(target, rank, source + 1) {
                        queue.push_back(target);
                    }
                }
                if points_inside {
                    inside.push_back(source);
                }
            } else if let Some(source) = inside.pop_front() {
                for target in edges.of(source) {
                    if self.hold(block(target), rank, source + 1) {
                        queue.push_back(block(target));
                    }
                }
            } else {
                break;
            }
        }
    }

    /// Lets the CPU fetch what following the blocks that are next in the queue will need, a step further for each that
    /// is nearer.
    fn fetch_ahead(&self, edges: &Edges, queue: &VecDeque<u32>) {
        let at = |ahead: usize| queue.get(ahead).copied();
        if let Some(far) = at(AHEAD) {
            prefetch(&edges.first.all()[far as usize]);
        }
        let targets = edges.targets.all();
        if let Some(near) = at(AHEAD / 2) {
            targets.get(edges.range(near).start).map(prefetch);
        }
        if let Some(next) = at(AHEAD / 4) {
            for target in &targets[edges.range(next)][..2.min(edges.range(next).len())] {
                prefetch(&self.ranks.all()[block(*target) as usize]);
                prefetch(&self.holders.all()[block(*target) as usize]);
            }
        }
    }

    /// Whether a block is known to be held from a place of this rank or of a better one.
    fn is_held(&self, block: u32, rank: Rank) -> bool {
        let own = self.ranks.all()[block as usize];
        own != 0 && own <= rank as u8 + 1
    }

    /// Notes a holder, if it is of a better rank than what is known; whether it is.
    fn hold(&mut self, block: u32, rank: Rank, holder: u32) -> bool {
        if self.is_held(block, rank) {
            return false;
        }
        let own = &mut self.ranks.all_mut()[block as usize];
        self.held += u64::from(*own == 0);
        *own = rank as u8 + 1;
        self.holders.all_mut()[block as usize] = holder;
        true
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    pub fn edges(blocks: u32, pointers: &BTreeSet<(u32, u32)>) -> Edges {
        let mut gathering = Gathering::new(blocks, pointers.len()).expect("room");
        for (source, target) in pointers {
            gathering.add(*source, *target).expect("room");
        }
        gathering.finish()
    }

    fn root(rank: Rank, target: u32) -> Root {
        Root {
            rank,
            place: 0,
            target,
        }
    }

    /// All blocks that can be reached from some, by trying all pointers until nothing changes.
    pub fn reached(pointers: &BTreeSet<(u32, u32)>, from: BTreeSet<u32>) -> BTreeSet<u32> {
        let mut all = from;
        loop {
            let more = pointers.iter().filter(|(source, _)| all.contains(source));
            let more: Vec<u32> = more.map(|(_, target)| block(*target)).collect();
            let before = all.len();
            all.extend(more);
            if all.len() == before {
                return all;
            }
        }
    }

    pub const BLOCKS: u32 = 12;

    pub fn pointers() -> impl Strategy<Value = BTreeSet<(u32, u32)>> {
        let target = (0..BLOCKS, any::<bool>())
            .prop_map(|(target, interior)| target | if interior { INTERIOR } else { 0 });
        prop::collection::btree_set((0..BLOCKS, target), 0..24)
    }

    fn roots() -> impl Strategy<Value = Vec<Root>> {
        let one = (0..Rank::ALL.len(), 0..BLOCKS);
        let one = one.prop_map(|(rank, target)| root(Rank::ALL[rank], target));
        prop::collection::vec(one, 0..5)
    }

    proptest! {
        /// Each block is held by the best rank that reaches it, and its chain of holders ends at a root of that rank.
        #[test]
        fn the_best_rank_holds(pointers in pointers(), roots in roots(), later in pointers(), late in roots()) {
            let mut edges = edges(BLOCKS, &pointers);
            let mut marks = Marks::new(BLOCKS).expect("room");
            marks.spread(&edges, roots.clone());
            // What later passes see comes on top, as if it had been there from the beginning.
            let seen: Vec<(u32, u32)> = later.iter().copied().collect();
            edges.add(&seen);
            marks.spread_from(&edges, &seen);
            marks.spread(&edges, late.clone());
            let all: BTreeSet<_> = pointers.union(&later).copied().collect();
            let roots: Vec<Root> = roots.into_iter().chain(late).collect();
            let mut wanted = BTreeMap::new();
            for rank in Rank::ALL {
                let from = roots.iter().filter(|root| root.rank == rank).map(|root| root.target).collect();
                for block in reached(&all, from) {
                    wanted.entry(block).or_insert(rank);
                }
            }
            prop_assert_eq!(marks.held(), wanted.len() as u64);
            for number in 0..BLOCKS {
                let rank = wanted.get(&number).copied();
                prop_assert_eq!(marks.rank(number), rank, "{}", number);
                let (mut at, mut links) = (number, 0);
                while let Holder::Block(holder) = marks.holder(at) {
                    prop_assert!(edges.of(holder).any(|target| block(target) == at));
                    (at, links) = (holder, links + 1);
                    prop_assert!(links <= BLOCKS, "a circle of holders");
                }
                match marks.holder(at) {
                    Holder::Root(root) => {
                        prop_assert_eq!(marks.root(root).target, at);
                        prop_assert_eq!(Some(marks.root(root).rank), rank);
                    }
                    _ => prop_assert_eq!(rank, None),
                }
            }
        }
    }

    #[test]
    fn more_pointers_than_told_are_an_error() {
        let mut gathering = Gathering::new(2, 1).expect("room");
        assert_eq!(gathering.add(0, 1), Ok(()));
        assert_eq!(gathering.add(0, 1), Ok(()));
        assert_eq!(gathering.add(1, 0), Err(TooMany));
    }
}
