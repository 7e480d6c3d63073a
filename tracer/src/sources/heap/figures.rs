//! From counters and sums of live blocks to the figures of each stack and program: arithmetic only, no clock but the
//! caller's.

use std::collections::HashMap;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tracer_common::key::{Owner, StackTotals};
use tracer_common::sampling::COUNT_ONE;

use super::census::{BlockSums, Filter};
use crate::profile::Sampling;
use crate::profile::form::Judged;

/// One stack's numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Row of the stack tables.
    pub row: u32,
    /// Whose stack.
    pub owner: Owner,
    /// Since the start.
    pub totals: Totals,
    /// Live bytes, of blocks that are old enough.
    pub live_bytes: u64,
    /// Live blocks that are old enough.
    pub live_count: u64,
    /// Change of `live_bytes` since the previous report; `None` in the first.
    pub growth: Option<i64>,
    /// The live blocks summed; `None` where they were not looked at.
    pub sums: Option<BlockSums>,
    /// Other rows that were merged into this one.
    pub merged: Vec<u32>,
    /// How its live bytes go on; `None` until that was judged.
    pub judged: Option<Judged>,
}

impl Row {
    /// Age of the oldest live block.
    pub fn oldest(&self) -> Option<Duration> {
        self.sums
            .as_ref()
            .filter(|sums| sums.samples > 0)
            .map(|sums| sums.oldest)
    }

    /// The rows of the stack tables that it stands for.
    pub fn rows(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.row).chain(self.merged.iter().copied())
    }

    /// Adds another row of the same stack.
    pub fn merge(&mut self, other: Self) {
        self.merged.extend(other.rows());
        self.totals.add(&other.totals);
        self.live_bytes += other.live_bytes;
        self.live_count += other.live_count;
        self.growth = self.growth.zip(other.growth).map(|(a, b)| a + b);
        self.sums = match (self.sums.take(), other.sums) {
            (Some(mut sums), Some(other)) => {
                sums.merge(other);
                Some(sums)
            }
            (sums, other) => sums.or(other),
        };
    }
}

/// Totals of a row in whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Blocks allocated.
    pub alloc_count: u64,
    /// Bytes released.
    pub free_bytes: u64,
    /// Blocks released.
    pub free_count: u64,
}

/// From the kernel side's fixed-point counts to whole blocks, rounded.
pub fn whole(count: u64) -> u64 {
    (count + COUNT_ONE / 2) / COUNT_ONE
}

impl From<StackTotals> for Totals {
    fn from(totals: StackTotals) -> Self {
        // Rounded so that allocated minus freed is live, in estimates too.
        let alloc_count = whole(totals.alloc_count);
        let live_count = whole(totals.alloc_count.saturating_sub(totals.free_count));
        Self {
            alloc_bytes: totals.alloc_bytes,
            alloc_count,
            free_bytes: totals.free_bytes,
            free_count: alloc_count.saturating_sub(live_count),
        }
    }
}

impl Totals {
    /// Bytes allocated and not released.
    pub fn live_bytes(&self) -> u64 {
        self.alloc_bytes.saturating_sub(self.free_bytes)
    }

    /// Blocks allocated and not released.
    pub fn live_count(&self) -> u64 {
        self.alloc_count.saturating_sub(self.free_count)
    }

    /// Adds another row's.
    pub fn add(&mut self, other: &Self) {
        self.alloc_bytes += other.alloc_bytes;
        self.alloc_count += other.alloc_count;
        self.free_bytes += other.free_bytes;
        self.free_count += other.free_count;
    }
}

/// What a trace remembers between two reports.
#[derive(Debug, Default)]
pub struct History {
    /// Live bytes of each row at the previous report, and whose it was: rows are used again.
    previous: Option<HashMap<(u32, Owner), u64>>,
    /// Live bytes of each owner at the previous report.
    previous_owners: HashMap<Owner, u64>,
    /// Block sums of programs that are gone, taken when their blocks were still in the map.
    gone: HashMap<u32, BlockSums>,
}

/// One report's numbers.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Every stack row that allocated anything.
    pub rows: Vec<Row>,
    /// Totals of each owner, and the change of its live bytes since the previous report.
    pub owners: HashMap<Owner, (Totals, Option<i64>)>,
    /// Set in a sampled trace.
    pub sampling: Option<Sampling>,
}

impl History {
    /// Turns the counters into rows. `blocks` is `None` where blocks are not looked at (`--combined`); `is_gone` tells
    /// which programs have ended.
    pub fn report(
        &mut self,
        totals: &[(u32, Owner, StackTotals)],
        blocks: Option<FxHashMap<u32, BlockSums>>,
        filter: &Filter,
        is_gone: impl Fn(Owner) -> bool,
    ) -> Figures {
        let mut blocks = blocks.map(|blocks| self.with_gone(blocks, totals, is_gone));
        let mut figures = Figures::default();
        let mut live_by_row = HashMap::new();
        for (row, owner, totals) in totals {
            let totals = Totals::from(*totals);
            if totals.alloc_count == 0 && totals.alloc_bytes == 0 {
                continue;
            }
            figures.owners.entry(*owner).or_default().0.add(&totals);
            let sums = blocks
                .as_mut()
                .map(|blocks| blocks.remove(row).unwrap_or_default());
            let row = self.row(*row, *owner, totals, sums, filter);
            live_by_row.insert((row.row, row.owner), row.live_bytes);
            figures.rows.push(row);
        }
        let mut live_by_owner = HashMap::with_capacity(figures.owners.len());
        for (owner, (totals, growth)) in &mut figures.owners {
            let live = totals.live_bytes();
            if self.previous.is_some() {
                let before = self.previous_owners.get(owner).copied().unwrap_or(0);
                *growth = Some(live.cast_signed().wrapping_sub(before.cast_signed()));
            }
            live_by_owner.insert(*owner, live);
        }
        self.previous_owners = live_by_owner;
        figures.sampling = filter
            .sample_bytes
            .map(|interval| sampling_of(&figures.rows, interval));
        self.previous = Some(live_by_row);
        figures
    }

    /// Adds what is remembered of programs that are gone, and remembers those that have gone now.
    fn with_gone(
        &mut self,
        mut blocks: FxHashMap<u32, BlockSums>,
        totals: &[(u32, Owner, StackTotals)],
        is_gone: impl Fn(Owner) -> bool,
    ) -> FxHashMap<u32, BlockSums> {
        for (row, owner, _) in totals {
            if !is_gone(*owner) {
                continue;
            }
            match self.gone.get(row) {
                Some(sums) => {
                    blocks.insert(*row, sums.clone());
                }
                None => {
                    self.gone
                        .insert(*row, blocks.get(row).cloned().unwrap_or_default());
                }
            }
        }
        blocks
    }

    fn row(
        &self,
        row: u32,
        owner: Owner,
        totals: Totals,
        sums: Option<BlockSums>,
        filter: &Filter,
    ) -> Row {
        // Without an age limit the counters tell the live memory, and tell it exactly.
        let by_age = !filter.older.is_zero();
        let (live_bytes, live_count) = match &sums {
            Some(sums) if by_age => (sums.bytes, whole(sums.count)),
            _ => (totals.live_bytes(), totals.live_count()),
        };
        let growth = self.previous.as_ref().map(|previous| {
            let before = previous.get(&(row, owner)).copied().unwrap_or(0);
            live_bytes.cast_signed().wrapping_sub(before.cast_signed())
        });
        Row {
            row,
            owner,
            totals,
            live_bytes,
            live_count,
            growth,
            sums,
            merged: Vec::new(),
            judged: None,
        }
    }
}

fn sampling_of(rows: &[Row], interval_bytes: u64) -> Sampling {
    let sums = || rows.iter().filter_map(|row| row.sums.as_ref());
    Sampling {
        interval_bytes,
        live_samples: sums().map(|sums| sums.samples).sum(),
        standard_error_bytes: sums().map(|sums| sums.variance).sum::<f64>().sqrt().round() as u64,
    }
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
