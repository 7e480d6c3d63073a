//! All blocks of a process's glibc heap by what holds them, also those from before any trace: what is lost already.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::process::maps;
use crate::profile::ledger::{Ledger, Purpose};
use crate::profile::{BlockGroup, HeapBlocks, Holder, HolderLink, Profile, Reachability, Values};
use crate::reach::holders::Way;
use crate::reach::outcome::{Blocks, Class, Outcome, ReachError, blocks, reach};
use crate::reach::passes::Limits;
use crate::reach::process::{
    GlibcBlocks, NewerBlocks, OlderBlocks, ProcessTarget, Refusal, glibc_blocks,
};

/// Groups that are listed.
const MOST_GROUPS: usize = 20;
/// Bytes of the header of a block with a mapping of its own.
const MAPPED_HEADER: u64 = 16;

/// Why the blocks of a process cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum BlocksError {
    /// Its blocks cannot be listed.
    #[error(
        "its heap is not glibc's, or could not be walked to its end, so its blocks are not known: `memlens leaks -p \
         {0}` judges those that it allocates from now on"
    )]
    NoList(u32),
    /// See [`Refusal`].
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// See [`ReachError`].
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// Its mappings cannot be read.
    #[error(transparent)]
    Process(#[from] crate::process::ProcessError),
}

/// Adds the blocks by what holds them to a profile that has a ledger.
///
/// # Errors
/// [`BlocksError`].
pub fn add(profile: &mut Profile) -> Result<(), BlocksError> {
    let (Some(ledger), Some(process)) = (&profile.sections.ledger, profile.subjects.first()) else {
        return Ok(());
    };
    let pid = process.pid.unwrap_or(0);
    let first = glibc_blocks(pid).ok_or(BlocksError::NoList(pid))?;
    let mapped = mapped_blocks(ledger);
    let known = list(pid, &first, &mapped)?;
    let young = Rewalk {
        pid,
        known: first.blocks().map(|(start, _)| start).collect(),
    };
    let target = ProcessTarget::new(pid, OlderBlocks::Glibc(first), young)?;
    let outcome = reach(target, known, Limits::DEFAULT)?;
    // A block that was released meanwhile was not lost.
    let last = glibc_blocks(pid).ok_or(BlocksError::NoList(pid))?;
    let is_there =
        |address: u64| last.holds(address) || mapped.iter().any(|block| block.start == address);
    let mut reachability = outcome.reachability.clone();
    let section = section(&outcome, is_there, &mut reachability);
    profile.sections.reachability.push(reachability);
    profile.sections.heap_blocks = Some(section);
    Ok(())
}

/// Blocks that have mappings of their own.
fn mapped_blocks(ledger: &Ledger) -> Vec<Range<u64>> {
    let mapped = ledger
        .ranges
        .iter()
        .filter(|range| range.row.kind == Purpose::GlibcMapped);
    mapped
        .map(|range| range.start + MAPPED_HEADER..range.end)
        .collect()
}

fn list(pid: u32, heap: &GlibcBlocks, mapped: &[Range<u64>]) -> Result<Blocks, BlocksError> {
    let mappings = maps::read(pid)?;
    let writable = mappings.iter().filter(|mapping| mapping.write);
    let (bytes, count) = writable.fold((0, 0), |(bytes, count), mapping| {
        (bytes + mapping.end - mapping.start, count + 1)
    });
    let blocks = blocks(bytes, count, |each| {
        for (start, size) in heap.blocks() {
            each(start, size, kind(size), false);
        }
        for block in mapped {
            let size = block.end - block.start;
            each(block.start, size, kind(size), false);
        }
    });
    Ok(blocks.map_err(ReachError::from)?)
}

/// Blocks of one size are of one kind.
fn kind(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// Blocks that have come since the first walk.
struct Rewalk {
    pid: u32,
    /// Starts of those of the first walk, ascending.
    known: Vec<u64>,
}

impl NewerBlocks for Rewalk {
    fn list(&mut self) -> Vec<Range<u64>> {
        let Some(now) = glibc_blocks(self.pid) else {
            return Vec::new();
        };
        let new = now
            .blocks()
            .filter(|(start, _)| self.known.binary_search(start).is_err());
        new.map(|(start, size)| start..start + size).collect()
    }
}

/// What is said of the blocks together.
fn section(
    outcome: &Outcome,
    is_there: impl Fn(u64) -> bool,
    reachability: &mut Reachability,
) -> HeapBlocks {
    let index = outcome.index();
    let mut sums: BTreeMap<Class, (u64, u64)> = BTreeMap::new();
    let mut lost: BTreeMap<(u64, Option<String>), BlockGroup> = BTreeMap::new();
    let mut held: BTreeMap<u64, BlockGroup> = BTreeMap::new();
    let mut top_groups: HashMap<u32, (u64, Option<String>)> = HashMap::new();
    for (number, address) in (0..index.count()).zip(index.starts(0..index.count())) {
        let size = index.size(number);
        let class = match outcome.class_of(number) {
            class @ (Class::Lost | Class::LostWith) => {
                reachability.lost_before += 1;
                if is_there(address) {
                    class
                } else {
                    reachability.freed_after_lost += 1;
                    continue;
                }
            }
            class => class,
        };
        let sum = sums.entry(class).or_default();
        sum.0 += size;
        sum.1 += 1;
        let group = match class {
            Class::Lost => {
                let key = (size, outcome.types.get(&number).cloned());
                top_groups.insert(number, key.clone());
                let group = lost.entry(key.clone()).or_default();
                group.type_name = key.1;
                group
            }
            Class::Held => held.entry(size).or_default(),
            _ => continue,
        };
        group.size = size;
        group.blocks += 1;
        group.bytes += size;
    }
    for (number, top) in outcome.below() {
        let key = top_groups.get(&top);
        if let Some(group) = key.and_then(|key| lost.get_mut(key))
            && is_there(index.start(number))
        {
            group.below_blocks += 1;
            group.below_bytes += index.size(number);
        }
    }
    let mut totals = Values::default();
    for class in Class::ALL {
        let (size, count) = sums.get(&class).copied().unwrap_or_default();
        class.set(&mut totals, size, count);
    }
    for (size, group) in &mut held {
        if let Some((sampled, ways)) = outcome.holders.get(&kind(*size)) {
            group.holders = ways.iter().map(|way| holder(*sampled, way)).collect();
        }
    }
    let (lost, lost_more) = largest(lost.into_values().collect());
    let (held, held_more) = largest(held.into_values().collect());
    HeapBlocks {
        totals,
        lost,
        lost_more,
        held,
        held_more,
    }
}

/// The largest groups, and how many there are besides.
fn largest(mut groups: Vec<BlockGroup>) -> (Vec<BlockGroup>, u64) {
    groups.sort_by_key(|group| std::cmp::Reverse((group.bytes + group.below_bytes, group.size)));
    let more = groups.len().saturating_sub(MOST_GROUPS);
    groups.truncate(MOST_GROUPS);
    (groups, more as u64)
}

fn holder(sampled: u32, way: &Way) -> Holder {
    let links = way.links.iter().map(|link| HolderLink {
        stack: None,
        function: None,
        type_name: link.type_name.clone(),
        size_min: link.sizes.0,
        size_max: link.sizes.1,
        length_min: link.lengths.0,
        length_max: link.lengths.1,
    });
    Holder {
        sampled,
        shared: way.shared,
        root: way.root.clone(),
        links: links.collect(),
        more_links: way.more_links,
        text: String::new(),
    }
}
