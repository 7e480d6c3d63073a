//! What became of each block of a process, what holds those of each kind, and how sure all of that is.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::fold::{Chain, Folder};
use super::graph::{Marks, Rank};
use super::holders::{Way, ways};
use super::huge::HugeArray;
use super::index::{BlockIndex, Starts};
use super::judge::{JudgeError, Judgment, Plan, judge};
use super::passes::{End, Limits};
use super::process::{Names, NewerBlocks, ProcessTarget};
use super::scan::PIECE;
use crate::ahead::{Ahead, prefetch};
use crate::profile::{Measure, Reachability, Values};

/// Blocks of a kind whose holders are looked for.
const SAMPLED: usize = 100;
/// Kinds whose holders are looked for: those with most bytes.
const MOST_KINDS: usize = 100;

/// What became of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Nothing is said of it.
    #[default]
    NotJudged,
    /// Nothing points to it.
    Lost,
    /// Only lost blocks point to it.
    LostWith,
    /// Something other than a stack or a register holds it.
    Held,
    /// A stack or a register holds it, and nothing else.
    StackOnly,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::NotJudged,
        Self::Lost,
        Self::LostWith,
        Self::Held,
        Self::StackOnly,
    ];

    /// The measures of its bytes and of its blocks.
    pub const fn measures(self) -> [Measure; 2] {
        match self {
            Self::NotJudged => [Measure::HeapNotJudgedBytes, Measure::HeapNotJudgedBlocks],
            Self::Lost => [Measure::HeapLostBytes, Measure::HeapLostBlocks],
            Self::LostWith => [Measure::HeapLostWithBytes, Measure::HeapLostWithBlocks],
            Self::Held => [Measure::HeapHeldBytes, Measure::HeapHeldBlocks],
            Self::StackOnly => [Measure::HeapStackOnlyBytes, Measure::HeapStackOnlyBlocks],
        }
    }

    /// Sets its figures.
    pub fn set(self, values: &mut Values, bytes: u64, blocks: u64) {
        let [of_bytes, of_blocks] = self.measures();
        values.set(of_bytes, bytes);
        values.set(of_blocks, blocks);
    }

    /// Whether nothing that is in use points to it.
    pub const fn is_lost(self) -> bool {
        matches!(self, Self::Lost | Self::LostWith)
    }

    fn held(rank: Rank) -> Self {
        match rank {
            Rank::Stack | Rank::Register => Self::StackOnly,
            _ => Self::Held,
        }
    }
}

fn class_of(class: u8) -> Class {
    Class::ALL[class as usize % Class::ALL.len()]
}

/// The blocks that are to be judged.
pub struct Blocks {
    /// Where they are.
    pub index: BlockIndex,
    /// What kind each is of: the row of its stack, or its size; 0 where that is not known.
    pub kinds: HugeArray<u32>,
    /// Those that are too young to be judged. They hold what they point to.
    pub young: Vec<u32>,
}

/// What became of all blocks of a process.
pub struct Outcome {
    index: BlockIndex,
    classes: HugeArray<u8>,
    /// Lost blocks, and the top block of the structure that each belongs to.
    tops: Vec<(u32, u32)>,
    /// Types of lost blocks, where the first word tells them.
    pub types: FxHashMap<u32, String>,
    /// What holds the blocks of each kind: how many were looked at, and the ways to them.
    pub holders: BTreeMap<u32, (u32, Vec<Way>)>,
    /// How sure it is.
    pub reachability: Reachability,
}

impl Outcome {
    /// The number of the block at an address, if there is one.
    pub fn find(&self, address: u64) -> Option<u32> {
        self.index.starting_at(address)
    }

    /// Lets the CPU fetch what [`Self::find`] of this address will need.
    pub fn prefetch(&self, address: u64) {
        self.index.prefetch(address);
    }

    /// Lets the CPU fetch what [`Self::class_of`] of this block will need.
    pub fn prefetch_class(&self, number: u32) {
        self.classes.all().get(number as usize).map(prefetch);
    }

    /// What became of a block, by its number.
    pub fn class_of(&self, number: u32) -> Class {
        class_of(self.classes.all()[number as usize])
    }

    /// Lost blocks that are not the top of a structure, and that top.
    pub fn below(&self) -> impl Iterator<Item = (u32, u32)> {
        self.tops
            .iter()
            .copied()
            .filter(|(block, top)| block != top)
    }

    /// The blocks.
    pub fn index(&self) -> &BlockIndex {
        &self.index
    }
}

/// Why the blocks of a process are not judged.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// See [`JudgeError`].
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// There is not enough memory.
    #[error("not enough memory for so many blocks: {0}")]
    Memory(#[from] io::Error),
    /// The program ended.
    #[error("it exited, or replaced its program, while it was looked at")]
    Ended,
}

/// Judges the blocks of a live process.
///
/// # Errors
/// [`ReachError`].
pub fn reach<Y: NewerBlocks>(
    mut target: ProcessTarget<Y>,
    blocks: Blocks,
    limits: Limits,
) -> Result<Outcome, ReachError> {
    let begun = Instant::now();
    let plan = Plan {
        limits,
        piece: PIECE,
    };
    let judgment = judge(&mut target, blocks.index, &blocks.young, &plan)?;
    if !target.is_there() {
        return Err(ReachError::Ended);
    }
    let mut classes = HugeArray::zeroed(judgment.index.count() as usize)?;
    let (mut tops, unknown_holder_bytes) = classify(&judgment, &mut classes);
    for number in &blocks.young {
        classes.all_mut()[*number as usize] = Class::NotJudged as u8;
    }
    let mut unsure = Vec::new();
    if judgment.end != End::Quiet {
        withhold(&mut classes);
        tops.clear();
        unsure.push(words_of(judgment.end, limits.quiet));
    }
    let runtimes = target.runtimes();
    let sampled = sample(&blocks.kinds, &classes, &judgment.index);
    let holders = holders(&mut target, &judgment, &blocks.kinds, &sampled, &runtimes);
    let types = types_of_lost(&mut target, &judgment.index, &tops);
    let not_read = judgment.read.unread + target.swapped;
    let reachability = Reachability {
        subject: 0,
        passes: judgment.passes.count(),
        quiet_passes: judgment.passes.quiet(),
        took: begun.elapsed(),
        bytes_read: judgment.read.bytes,
        bytes_unread: not_read,
        blocks_judged: judgment.index.count() as u64 - blocks.young.len() as u64,
        blocks_young: blocks.young.len() as u64,
        registers: target.registers(),
        estimated_false: judgment.passes.estimated_false().unwrap_or(0.0),
        lost_before: 0,
        freed_after_lost: 0,
        unknown_holder_bytes,
        limits: [unsure, target.limits()].concat(),
    };
    Ok(Outcome {
        index: judgment.index,
        classes,
        tops,
        types,
        holders,
        reachability,
    })
}

fn words_of(end: End, quiet: u32) -> String {
    let why = match end {
        End::Time => "the time for it was over",
        End::Passes | End::Quiet => "there were as many as there may be",
    };
    format!(
        "no block is called lost: pointers moved so much that {quiet} passes in a row without a change did not come \
         about before {why}"
    )
}

/// Notes what became of each block. The lost ones with the tops of their structures, and bytes that only memory of
/// unknown content holds.
fn classify(judgment: &Judgment, classes: &mut HugeArray<u8>) -> (Vec<(u32, u32)>, u64) {
    let mut unknown = 0;
    let classes = classes.all_mut();
    for number in 0..judgment.index.count() {
        let rank = judgment.marks.rank(number);
        let class = rank.map_or(Class::LostWith, Class::held);
        if rank == Some(Rank::UnknownHeap) {
            unknown += judgment.index.size(number);
        }
        classes[number as usize] = class as u8;
    }
    let tops = judgment.lost(|_| true).tops;
    for (block, top) in &tops {
        if block == top {
            classes[*block as usize] = Class::Lost as u8;
        }
    }
    (tops, unknown)
}

/// Lost blocks whose types are looked for.
const MOST_TYPES: usize = 100_000;

fn types_of_lost<Y: NewerBlocks>(
    target: &mut ProcessTarget<Y>,
    index: &BlockIndex,
    tops: &[(u32, u32)],
) -> FxHashMap<u32, String> {
    let lost = tops.iter().filter(|(block, top)| block == top);
    let words: Vec<(u32, u64)> = lost
        .take(MOST_TYPES)
        .filter_map(|(block, _)| Some((*block, target.word(index.start(*block))?)))
        .collect();
    let names = target.names(&[]);
    let types = words
        .into_iter()
        .filter_map(|(block, word)| Some((block, names.class(word)?)));
    types.collect()
}

/// Calls nothing lost.
fn withhold(classes: &mut HugeArray<u8>) {
    let all = classes.all_mut().iter_mut();
    all.filter(|class| class_of(**class).is_lost())
        .for_each(|class| *class = Class::NotJudged as u8);
}

/// Blocks of each kind that are held, evenly out of all of them, of the kinds that hold most.
fn sample(
    kinds: &HugeArray<u32>,
    classes: &HugeArray<u8>,
    index: &BlockIndex,
) -> BTreeMap<u32, Vec<u32>> {
    let held = || {
        let both = (0_u32..).zip(kinds.all().iter().zip(classes.all()));
        both.filter(|(_, (kind, class))| **kind != 0 && **class == Class::Held as u8)
            .map(|(number, (kind, _))| (number, *kind))
    };
    let mut sums: FxHashMap<u32, (u64, usize)> = FxHashMap::default();
    for (number, kind) in held() {
        let sum = sums.entry(kind).or_default();
        sum.0 += index.size(number);
        sum.1 += 1;
    }
    let mut order: Vec<_> = sums
        .iter()
        .map(|(kind, (bytes, _))| (*bytes, *kind))
        .collect();
    order.sort_unstable_by(|one, other| other.cmp(one));
    order.truncate(MOST_KINDS);
    let mut sampled: FxHashMap<u32, (usize, Vec<u32>)> = order
        .into_iter()
        .map(|(_, kind)| (kind, (0, Vec::new())))
        .collect();
    for (number, kind) in held() {
        if let Some((seen, taken)) = sampled.get_mut(&kind) {
            let count = sums[&kind].1;
            // The first of each part of equal length.
            if *seen * SAMPLED / count >= taken.len() && taken.len() < SAMPLED {
                taken.push(number);
            }
            *seen += 1;
        }
    }
    sampled
        .into_iter()
        .map(|(kind, (_, blocks))| (kind, blocks))
        .collect()
}

/// The ways to the sampled blocks of each kind.
fn holders<Y: NewerBlocks>(
    target: &mut ProcessTarget<Y>,
    judgment: &Judgment,
    kinds: &HugeArray<u32>,
    sampled: &BTreeMap<u32, Vec<u32>>,
    runtimes: &[crate::profile::ledger::Range],
) -> BTreeMap<u32, (u32, Vec<Way>)> {
    let marks: &Marks = &judgment.marks;
    let mut folder = Folder::new(marks, |block: u32| kinds.all()[block as usize]);
    let chains: Vec<(u32, Vec<Chain>)> = sampled
        .iter()
        .map(|(kind, blocks)| {
            let chains = blocks.iter().filter_map(|block| folder.chain(*block));
            (*kind, chains.collect())
        })
        .collect();
    let words = first_words(target, &judgment.index, &chains);
    let names = target.names(runtimes);
    let mut describe = |block: u32| {
        let class = words.get(&block).and_then(|word| names.class(*word));
        (judgment.index.size(block), class)
    };
    let ways = chains.into_iter().map(|(kind, chains)| {
        let named = named(&names, marks, chains);
        (kind, (named.len() as u32, ways(&named, &mut describe)))
    });
    ways.collect()
}

fn named(
    names: &Names<'_>,
    marks: &Marks,
    chains: Vec<Chain>,
) -> Vec<(crate::profile::HeldFrom, Chain)> {
    let chains = chains.into_iter();
    chains
        .map(|chain| (names.of(marks.root(chain.root)), chain))
        .collect()
}

/// The first word of the last block of each link: of an object with virtual functions it tells the class.
fn first_words<Y: NewerBlocks>(
    target: &mut ProcessTarget<Y>,
    index: &BlockIndex,
    chains: &[(u32, Vec<Chain>)],
) -> FxHashMap<u32, u64> {
    let links = chains
        .iter()
        .flat_map(|(_, chains)| chains)
        .flat_map(|chain| &chain.links);
    let mut words = FxHashMap::default();
    for link in links {
        if let std::collections::hash_map::Entry::Vacant(entry) = words.entry(link.last)
            && let Some(word) = target.word(index.start(link.last))
        {
            entry.insert(word);
        }
    }
    words
}

/// Takes in a block: address, bytes, kind, and whether it is too young to be judged.
pub type List<'a> = dyn FnMut(u64, u64, u32, bool) + 'a;

/// Numbers the blocks and tells their sizes and kinds, from two looks at a list that may change meanwhile: what comes
/// in between is left out, what goes has no size.
///
/// # Errors
/// `ENOMEM` where there is no room for them.
pub fn blocks(
    heap_bytes: u64,
    mappings: usize,
    mut each: impl FnMut(&mut List<'_>),
) -> io::Result<Blocks> {
    let mut starts = Starts::new(heap_bytes, mappings)?;
    let mut ahead = Ahead::default();
    each(&mut |address, _, _, _| {
        starts.prefetch(address);
        if let Some(address) = ahead.push(address) {
            starts.add(address);
        }
    });
    for address in ahead.rest() {
        starts.add(address);
    }
    let index = starts.finish()?;
    let mut blocks = Blocks {
        kinds: HugeArray::zeroed(index.count() as usize)?,
        index,
        young: Vec::new(),
    };
    let mut ahead = Ahead::default();
    each(&mut |address, size, kind, is_young| {
        blocks.index.prefetch(address);
        if let Some((address, size, kind, is_young)) = ahead.push((address, size, kind, is_young)) {
            blocks.describe(address, size, kind, is_young);
        }
    });
    for (address, size, kind, is_young) in ahead.rest() {
        blocks.describe(address, size, kind, is_young);
    }
    Ok(blocks)
}

impl Blocks {
    /// Notes what is known of a block, if it is one of those that were numbered.
    fn describe(&mut self, address: u64, size: u64, kind: u32, is_young: bool) {
        let Some(number) = self.index.starting_at(address) else {
            return;
        };
        self.index.set_size(number, size);
        self.kinds.all_mut()[number as usize] = kind;
        if is_young {
            self.young.push(number);
        }
    }
}
