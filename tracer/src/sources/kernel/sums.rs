//! What each stack holds, added up from the programs' rows and the live blocks.

use tracer_common::kernel_memory::{KernelBlock, Kind};
use tracer_common::key::StackTotals;
use tracer_common::sampling::COUNT_ONE;

use crate::profile::{Ages, Measure, Sampling, Values};

/// What a stack holds: one of the stacks that are known, or a kind's rest without a stack.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Place {
    Stack(usize),
    Spare(Kind),
}

/// Counters of a stack, counts in 1/[`COUNT_ONE`].
#[derive(Clone, Default)]
pub(super) struct Sums {
    totals: StackTotals,
    /// Bytes and blocks of the age that is wanted.
    aged: (u64, u64),
    /// When the oldest block was allocated.
    pub oldest_ns: Option<u64>,
    /// Bytes by age.
    pub ages: Ages,
    /// Live blocks in the sample, and the variance of the bytes that they stand for.
    pub samples: u64,
    pub variance: f64,
    /// Blocks that were allocated again although no release had been seen.
    pub missed_frees: u64,
}

impl Sums {
    /// Adds a row.
    pub fn add_totals(&mut self, other: &StackTotals) {
        self.totals.alloc_bytes += other.alloc_bytes;
        self.totals.alloc_count += other.alloc_count;
        self.totals.free_bytes += other.free_bytes;
        self.totals.free_count += other.free_count;
    }

    /// Adds a live block of an age in nanoseconds; `older` is the least age that is wanted.
    pub fn add_block(&mut self, block: &KernelBlock, interval: u64, age: u64, older: u64) {
        let (bytes, count) = block.weight(interval);
        self.samples += 1;
        self.ages.add(age, bytes);
        self.variance += Sampling::variance(bytes, count);
        if age >= older {
            self.aged = (self.aged.0 + bytes, self.aged.1 + count);
            let oldest = self.oldest_ns.unwrap_or(u64::MAX);
            self.oldest_ns = Some(oldest.min(block.time_ns));
        }
    }

    /// What is held; with `by_age`, of the wanted age alone.
    pub fn held(&self, by_age: bool) -> Values {
        let totals = &self.totals;
        let (bytes, count) = match by_age {
            true => self.aged,
            false => (
                totals.alloc_bytes.saturating_sub(totals.free_bytes),
                totals.alloc_count.saturating_sub(totals.free_count),
            ),
        };
        Values::default()
            .with(Measure::KernelLiveBytes, bytes)
            .with(Measure::KernelLiveBlocks, whole(count))
            .with(Measure::KernelAllocBytes, totals.alloc_bytes)
            .with(Measure::KernelAllocBlocks, whole(totals.alloc_count))
    }
}

/// Blocks, rounded; a part of a block that is the only one left counts as one.
fn whole(count: u64) -> u64 {
    match count {
        0 => 0,
        count => ((count + COUNT_ONE / 2) / COUNT_ONE).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_block_is_a_block() {
        assert_eq!(
            [0, 1, COUNT_ONE / 8, COUNT_ONE, COUNT_ONE * 5 / 2].map(whole),
            [0, 1, 1, 1, 3]
        );
    }

    #[test]
    fn age_decides_what_is_held_and_not_what_was_allocated() {
        let mut sums = Sums::default();
        sums.add_totals(&StackTotals {
            alloc_bytes: 300,
            alloc_count: 3 * COUNT_ONE,
            free_bytes: 100,
            free_count: COUNT_ONE,
        });
        let block = |time_ns| KernelBlock {
            time_ns,
            size: 100,
            whole: 100,
            ..KernelBlock::default()
        };
        sums.add_block(&block(5), 0, 14, 14);
        sums.add_block(&block(9), 0, 10, 14);
        let held = |by_age, measure| sums.held(by_age).amount(measure);
        assert_eq!(
            (
                held(false, Measure::KernelLiveBytes),
                held(true, Measure::KernelLiveBytes)
            ),
            (200, 100)
        );
        assert_eq!(
            (
                held(true, Measure::KernelAllocBlocks),
                held(true, Measure::KernelLiveBlocks)
            ),
            (3, 1)
        );
        assert_eq!((sums.oldest_ns, sums.samples), (Some(5), 2));
        assert!(sums.variance == 0.0);
    }
}
