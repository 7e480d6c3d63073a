//! Sums the live blocks by stack row: this is done for each of millions of blocks.

use std::time::Duration;

use rustc_hash::FxHashMap;
use tracer_common::key::LiveBlock;
use tracer_common::lifetime::glibc_room_for;
use tracer_common::rows::ROWS;

use super::reach::ClassSums;
use crate::profile::{Ages, Block, Sampling};
use crate::reach::outcome::Class;

/// Which live blocks a report counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Only blocks that are at least this old.
    pub older: Duration,
    /// Mean bytes between two samples; `None` in an exact trace.
    pub sample_bytes: Option<u64>,
    /// List the blocks themselves.
    pub keep_blocks: bool,
}

/// The live blocks of one stack row, summed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockSums {
    /// Bytes, or their estimate in a sampled trace.
    pub bytes: u64,
    /// Blocks, in 1/[`COUNT_ONE`](tracer_common::sampling::COUNT_ONE).
    pub count: u64,
    /// Blocks seen.
    pub samples: u64,
    /// Age of the oldest.
    pub oldest: Duration,
    /// Variance of `bytes` in a sampled trace, in bytes squared.
    pub variance: f64,
    /// Bytes that the chunks of glibc would hold for the blocks seen, beyond what was asked for.
    pub slack: u64,
    /// Bytes by age.
    pub ages: Ages,
    /// The blocks, where they are listed, oldest first.
    pub blocks: Vec<Block>,
    /// By what holds them, where that was looked for.
    pub classes: Option<ClassSums>,
    /// Blocks of any age that were called lost.
    pub lost: u64,
}

impl BlockSums {
    /// Adds the sums of other blocks of the same stack.
    pub(super) fn merge(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.count += other.count;
        self.samples += other.samples;
        self.oldest = self.oldest.max(other.oldest);
        self.variance += other.variance;
        self.slack += other.slack;
        self.lost += other.lost;
        self.ages.merge(&other.ages);
        self.classes = match (self.classes.take(), other.classes) {
            (Some(mut own), Some(other)) => {
                own.merge(&other);
                Some(own)
            }
            (own, other) => own.or(other),
        };
        self.blocks.extend(other.blocks);
        sort(&mut self.blocks);
    }
}

/// Puts the oldest block first.
fn sort(blocks: &mut [Block]) {
    blocks.sort_by_key(|block| (std::cmp::Reverse(block.age), block.address));
}

/// What is added up of a row with every block: a cache line.
#[derive(Default)]
#[repr(align(64))]
struct Sums {
    row: u32,
    bytes: u64,
    count: u64,
    samples: u64,
    oldest_ns: u64,
    variance: f64,
    slack: u64,
}

/// Sums the live blocks by stack row. Feed it every block, then take the sums.
pub struct Census {
    filter: Filter,
    now_ns: u64,
    older_ns: u64,
    /// By row: the number of its sums plus one, or 0. Rows are small numbers that follow one another.
    numbers: Vec<u32>,
    sums: Vec<Sums>,
    /// Bytes by age, so many for each of the sums.
    ages: Vec<u64>,
    age_count: usize,
    /// The blocks of each row, where they are listed.
    blocks: FxHashMap<u32, Vec<Block>>,
    /// By what holds them, and how many were called lost, of the rows whose program was judged.
    classes: FxHashMap<u32, (ClassSums, u64)>,
}

impl Census {
    /// A census at the time `now_ns` (`CLOCK_MONOTONIC`).
    pub fn new(filter: Filter, now_ns: u64) -> Self {
        Self {
            filter,
            now_ns,
            older_ns: u64::try_from(filter.older.as_nanos()).unwrap_or(u64::MAX),
            numbers: Vec::new(),
            sums: Vec::new(),
            ages: Vec::new(),
            // No block is older than the clock.
            age_count: Ages::bucket(now_ns) + 1,
            blocks: FxHashMap::default(),
            classes: FxHashMap::default(),
        }
    }

    /// Counts a block by what holds it, if it is old enough.
    pub fn judge(&mut self, block: &LiveBlock, class: Class) {
        if block.stack >= ROWS {
            return;
        }
        let (classes, lost) = self.classes.entry(block.stack).or_default();
        *lost += u64::from(class.is_lost());
        if self.now_ns.saturating_sub(block.time_ns) >= self.older_ns {
            classes.add(class, block.size, 1);
        }
    }

    /// Counts a block of a row that there is, if it is old enough.
    pub fn add(&mut self, addr: u64, block: &LiveBlock) {
        let age_ns = self.now_ns.saturating_sub(block.time_ns);
        if age_ns < self.older_ns || block.stack >= ROWS {
            return;
        }
        let (bytes, count) = block.weight(self.filter.sample_bytes.unwrap_or(0));
        let number = self.number(block.stack);
        self.ages[number * self.age_count + Ages::bucket(age_ns)] += bytes;
        let sums = &mut self.sums[number];
        sums.bytes += bytes;
        sums.count += count;
        sums.samples += 1;
        sums.oldest_ns = sums.oldest_ns.max(age_ns);
        sums.variance += Sampling::variance(bytes, count);
        sums.slack += glibc_room_for(block.size) - block.size;
        if self.filter.keep_blocks {
            self.blocks.entry(block.stack).or_default().push(Block {
                address: addr,
                size: block.size,
                age: Duration::from_nanos(age_ns),
            });
        }
    }

    /// The number of a row's sums.
    fn number(&mut self, row: u32) -> usize {
        match self.numbers.get(row as usize) {
            Some(&number) if number != 0 => number as usize - 1,
            _ => self.first_of(row),
        }
    }

    /// Begins a row's sums.
    #[cold]
    fn first_of(&mut self, row: u32) -> usize {
        let index = row as usize;
        if self.numbers.len() <= index {
            self.numbers.resize(index + 1, 0);
        }
        let number = self.sums.len();
        self.numbers[index] = number as u32 + 1;
        self.sums.push(Sums {
            row,
            ..Sums::default()
        });
        self.ages.resize(self.ages.len() + self.age_count, 0);
        number
    }

    /// The sums, by stack row.
    pub fn finish(mut self) -> FxHashMap<u32, BlockSums> {
        let ages = self.ages.chunks_exact(self.age_count);
        let whole = self.sums.iter().zip(ages).map(|(sums, ages)| {
            let mut blocks = self.blocks.remove(&sums.row).unwrap_or_default();
            sort(&mut blocks);
            let (classes, lost) = self.classes.remove(&sums.row).unzip();
            let sums_of_row = BlockSums {
                bytes: sums.bytes,
                count: sums.count,
                samples: sums.samples,
                oldest: Duration::from_nanos(sums.oldest_ns),
                variance: sums.variance,
                slack: sums.slack,
                ages: Ages::from_buckets(ages),
                blocks,
                classes,
                lost: lost.unwrap_or(0),
            };
            (sums.row, sums_of_row)
        });
        whole.collect()
    }
}
