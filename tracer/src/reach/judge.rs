//! Judges the blocks of a live process: which of them something holds, and which are lost.

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::graph::{Edges, Gathering, Marks, Rank, Root, TooMany, block};
use super::index::{BlockIndex, Starts};
use super::lost::Lost;
use super::passes::{End, Limits, Passes};
use super::scan::{Amount, Memory, Part, Sink, Wanted, scan, scan_disguised};
use crate::process::ProcessError;

/// A word outside of the memory that may hold a block: a register, or what the kernel keeps for the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// What kind of place it is in.
    pub rank: Rank,
    /// Stands for the place.
    pub place: u64,
    /// The word.
    pub value: u64,
}

/// The process. What it tells is of the moment at which it is asked.
pub trait Target: Memory {
    /// The parts of its memory that are to be read, ascending, where these are its blocks.
    ///
    /// # Errors
    /// Why it cannot be told; the process may have ended.
    fn parts(&mut self, blocks: &BlockIndex) -> Result<Vec<Part>, ProcessError>;
    /// Words outside of its memory.
    fn words(&mut self) -> Vec<Word>;
    /// The blocks that were allocated since the list of blocks was made.
    fn newer(&mut self) -> Vec<Range<u64>>;
    /// Whether a place in heap memory that belongs to no block of the list, and to no young one, may hold something: it
    /// is not known to be free.
    fn may_hold(&mut self, place: u64) -> bool;
    /// For each range something that changes with its content; `None` if it cannot be read.
    fn contents(&mut self, ranges: &[Range<u64>]) -> Vec<Option<u64>>;
    /// Lets the process go on for a while before the next pass. How long the passes have taken so far.
    fn pause(&mut self) -> Duration;
}

/// What is known of the blocks.
pub struct Judgment {
    /// The blocks.
    pub index: BlockIndex,
    /// What holds them.
    pub marks: Marks,
    /// The pointers from block to block.
    pub edges: Edges,
    /// What was done.
    pub passes: Passes,
    /// Why there were no more of them.
    pub end: End,
    /// What the first pass has read.
    pub read: Amount,
    /// Blocks that only pointers in disguise hold: with tags, at odd addresses, past the end.
    pub disguised: u64,
}

/// Why a process cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// There is not enough memory.
    #[error("not enough memory to look for the holders of so many blocks: {0}")]
    Memory(#[from] io::Error),
    /// See [`TooMany`].
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// The process does not let itself be looked at any more.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// How to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When to end.
    pub limits: Limits,
    /// Bytes that are read at a time.
    pub piece: usize,
}

/// Judges blocks, but for those that are too `young`, by all pointers that are seen during repeated passes over the
/// process's memory, which goes on meanwhile.
///
/// # Errors
/// [`JudgeError`].
pub fn judge(
    target: &mut impl Target,
    index: BlockIndex,
    young: &[u32],
    plan: &Plan,
) -> Result<Judgment, JudgeError> {
    let parts = target.parts(&index)?;
    let bytes: u64 = parts
        .iter()
        .map(|part| part.range.end - part.range.start)
        .sum();
    let mut first = Seen {
        pointers: All {
            gathering: Gathering::new(index.count(), (bytes / 8) as usize)?,
            overflow: None,
        },
        roots: Roots::default(),
    };
    let mut marks = Marks::new(index.count())?;
    let mut newer = Vec::new();
    let mut read = pass(target, plan, &parts, Wanted::all(&index), &mut first);
    first.pointers.overflow.map_or(Ok(()), Err)?;
    let mut edges = first.pointers.gathering.finish();
    first.roots.spread(target, &mut marks, &edges, &mut newer);
    // What is young may be held in a way that no pass sees before it is stored.
    let as_root = |number: &u32| Root {
        rank: Rank::YoungBlock,
        place: index.start(*number),
        target: *number,
    };
    marks.spread(&edges, young.iter().map(as_root).collect());
    let lost = lost_of(&index, &marks);
    let mut passes = Passes::first(lost.len() as u64);
    let mut candidates = Candidates::new(lost, &index)?;
    let mut contents = match read.is_cut {
        true => Vec::new(),
        false => candidates.contents(target),
    };
    let mut took = Duration::ZERO;
    let end = loop {
        if read.is_cut {
            break End::Time;
        }
        if let Some(end) = passes.end(&plan.limits, took) {
            break end;
        }
        took = target.pause();
        let mut seen = Seen::<Vec<_>>::default();
        let parts = target.parts(&index)?;
        let wanted = candidates.wanted(&index);
        // Those that the pass before has met may be gone when this one ends.
        newer = match newer.is_empty() {
            true => Vec::new(),
            false => target.newer(),
        };
        read.is_cut = pass(target, plan, &parts, wanted, &mut seen).is_cut;
        let now = candidates.contents(target);
        seen.roots.known.extend(candidates.changed(&contents, &now));
        let rescued = seen.rescue(target, &mut marks, &mut edges, &mut newer);
        passes.note(rescued);
        if rescued > 0 {
            candidates = Candidates::new(lost_of(&index, &marks), &index)?;
            contents = candidates.contents(target);
        }
    };
    let disguised = match end {
        End::Quiet if marks.held() < index.count() as u64 => {
            let parts = target.parts(&index)?;
            let mut seen = Seen::<Vec<_>>::default();
            let wanted = candidates.wanted(&index);
            scan_disguised(target, plan.piece, &parts, wanted, &mut seen);
            seen.rescue(target, &mut marks, &mut edges, &mut newer)
        }
        _ => 0,
    };
    Ok(Judgment {
        index,
        marks,
        edges,
        passes,
        end,
        read,
        disguised,
    })
}

impl Judgment {
    /// The blocks that nothing holds, with the tops of their structures. `is_live`: whether a block has lived all the
    /// time, by its number.
    pub fn lost(&self, mut is_live: impl FnMut(u32) -> bool) -> Lost {
        let mut lost = lost_of(&self.index, &self.marks);
        lost.retain(|block| is_live(*block));
        Lost::new(&self.edges, lost)
    }
}

fn lost_of(index: &BlockIndex, marks: &Marks) -> Vec<u32> {
    (0..index.count())
        .filter(|block| marks.rank(*block).is_none())
        .collect()
}

/// Reads all parts once, and the words before and after, as a pointer may move from one to the other meanwhile.
fn pass<P: Pointers>(
    target: &mut impl Target,
    plan: &Plan,
    parts: &[Part],
    wanted: Wanted<'_>,
    seen: &mut Seen<P>,
) -> Amount {
    seen.roots.words(target.words(), wanted);
    let read = scan(target, plan.piece, parts, wanted, seen);
    seen.roots.words(target.words(), wanted);
    read
}

/// What keeps the pointers from block to block that a pass has seen.
trait Pointers {
    fn keep(&mut self, source: u32, target: u32);
}

/// The first pass gathers all of them.
struct All {
    gathering: Gathering,
    overflow: Option<TooMany>,
}

impl Pointers for All {
    fn keep(&mut self, source: u32, target: u32) {
        if let Err(overflow) = self.gathering.add(source, target) {
            self.overflow = Some(overflow);
        }
    }
}

/// A later pass gathers those to what was lost until then.
impl Pointers for Vec<(u32, u32)> {
    fn keep(&mut self, source: u32, target: u32) {
        self.push((source, target));
    }
}

/// What a pass has seen.
#[derive(Default)]
struct Seen<P> {
    pointers: P,
    roots: Roots,
}

impl<P: Pointers> Sink for Seen<P> {
    fn root(&mut self, rank: Rank, place: u64, target: u32) {
        self.roots.known.push(Root {
            rank,
            place,
            target,
        });
    }

    fn edge(&mut self, source: u32, target: u32) {
        self.pointers.keep(source, target);
    }

    fn unknown(&mut self, place: u64, target: u32) {
        self.roots.unknown.push((place, target));
    }
}

impl Seen<Vec<(u32, u32)>> {
    /// Marks what a later pass has seen to be held after all; how many blocks that are.
    fn rescue(
        self,
        target: &mut impl Target,
        marks: &mut Marks,
        edges: &mut Edges,
        newer: &mut Vec<Range<u64>>,
    ) -> u64 {
        let before = marks.held();
        edges.add(&self.pointers);
        marks.spread_from(edges, &self.pointers);
        self.roots.spread(target, marks, edges, newer);
        marks.held() - before
    }
}

/// The roots that a pass has seen.
#[derive(Default)]
struct Roots {
    known: Vec<Root>,
    /// Pointers in heap memory outside of the known blocks.
    unknown: Vec<(u64, u32)>,
}

impl Roots {
    fn words(&mut self, words: Vec<Word>, wanted: Wanted<'_>) {
        self.known.extend(words.into_iter().filter_map(|word| {
            Some(Root {
                rank: word.rank,
                place: word.place,
                target: wanted.target(word.value)?,
            })
        }));
    }

    /// Marks what the roots hold. What nothing holds then, or only a stack, may be held from heap memory outside of the
    /// known blocks: by newer blocks, those that were known before the pass and those of now, or by memory that is not
    /// known to be free.
    fn spread(
        self,
        target: &mut impl Target,
        marks: &mut Marks,
        edges: &Edges,
        newer: &mut Vec<Range<u64>>,
    ) {
        marks.spread(edges, self.known);
        let mut unknown = self.unknown;
        let is_better = |rank: Option<Rank>| rank.is_none_or(|rank| rank > Rank::UnknownHeap);
        unknown.retain(|(_, held)| is_better(marks.rank(block(*held))));
        if unknown.is_empty() {
            newer.clear();
            return;
        }
        // Listing them takes as long as there are blocks, so it is done only where it tells something.
        newer.extend(target.newer());
        newer.sort_unstable_by_key(|range| (range.start, range.end));
        newer.dedup();
        let is_newer = |place: u64| {
            let behind = newer.partition_point(|range| range.start <= place);
            let before = newer[..behind].iter().rev().take(2);
            before.into_iter().any(|range| range.contains(&place))
        };
        let roots = unknown.into_iter().filter_map(|(place, target_block)| {
            let rank = if is_newer(place) {
                Rank::YoungBlock
            } else if target.may_hold(place) {
                Rank::UnknownHeap
            } else {
                return None;
            };
            Some(Root {
                rank,
                place,
                target: target_block,
            })
        });
        let roots = roots.collect();
        marks.spread(edges, roots);
    }
}

/// The blocks that are lost so far, with an index of their own, so that few words are looked up.
struct Candidates {
    numbers: Vec<u32>,
    index: BlockIndex,
    /// What is compared of each.
    compared: Vec<Range<u64>>,
}

/// Bytes of a block whose content is compared.
const COMPARED: u64 = 512;

impl Candidates {
    fn new(numbers: Vec<u32>, all: &BlockIndex) -> io::Result<Self> {
        let mut starts = Starts::some_of(all, numbers.len())?;
        let mut compared = Vec::with_capacity(numbers.len());
        let addresses = all.starts(numbers.iter().copied());
        for (number, start) in numbers.iter().zip(addresses) {
            starts.add(start);
            compared.push(start..start + all.size(*number).min(COMPARED));
        }
        let mut index = starts.finish()?;
        for (own, number) in numbers.iter().enumerate() {
            index.set_size(own as u32, all.size(*number));
        }
        Ok(Self {
            numbers,
            index,
            compared,
        })
    }

    fn wanted<'a>(&'a self, all: &'a BlockIndex) -> Wanted<'a> {
        Wanted {
            sources: all,
            targets: &self.index,
            numbers: Some(&self.numbers),
        }
    }

    fn contents(&self, target: &mut impl Target) -> Vec<Option<u64>> {
        target.contents(&self.compared)
    }

    /// Blocks whose content has changed: somebody has written into them, and so holds them.
    fn changed(&self, before: &[Option<u64>], now: &[Option<u64>]) -> Vec<Root> {
        let both = before.iter().zip(now).zip(&self.numbers);
        let changed = both.filter_map(|((before, now), number)| {
            let (before, now) = ((*before)?, (*now)?);
            (before != now).then_some(Root {
                rank: Rank::Written,
                place: 0,
                target: *number,
            })
        });
        changed.collect()
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
