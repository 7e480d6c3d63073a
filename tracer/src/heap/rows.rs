//! The rows of a report: one for each stack, ordered and cut to what is to be shown.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tracer_common::key::Owner;

use super::{BlockSums, Totals};

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
}

impl Row {
    /// Age of the oldest live block.
    pub fn oldest(&self) -> Option<Duration> {
        self.sums
            .as_ref()
            .filter(|sums| sums.samples > 0)
            .map(|sums| sums.oldest)
    }
}

impl Row {
    /// Adds another row of the same stack.
    fn merge(&mut self, other: Self) {
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

/// Makes one row of those with the same key, which name one stack: the same code, seen before and after a library was
/// unmapped. Rows without a key stay as they are.
pub fn merge<K: Eq + Hash>(rows: Vec<Row>, mut key: impl FnMut(&Row) -> Option<K>) -> Vec<Row> {
    let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
    let mut places: HashMap<K, usize> = HashMap::new();
    for row in rows {
        let place = key(&row).map(|key| *places.entry(key).or_insert(merged.len()));
        match place.and_then(|place| merged.get_mut(place)) {
            Some(first) => first.merge(row),
            None => merged.push(row),
        }
    }
    merged
}

/// Order of the rows, largest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By live bytes.
    Bytes,
    /// By live blocks.
    Count,
    /// By the change of live bytes.
    Growth,
    /// By the age of the oldest block.
    Age,
}

/// The rows that a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those with live memory.
    Live,
    /// All that allocated.
    All,
}

/// The rows asked for, in order; ties are broken by bytes, then by age of the row, so that reports are stable.
pub fn select(rows: &[Row], order: Order, which: Which) -> Vec<&Row> {
    let mut selected: Vec<&Row> = rows
        .iter()
        .filter(|row| which == Which::All || row.live_bytes > 0 || row.live_count > 0)
        .collect();
    selected.sort_by(|a, b| {
        let by_order = match order {
            Order::Bytes => b.live_bytes.cmp(&a.live_bytes),
            Order::Count => b.live_count.cmp(&a.live_count),
            Order::Growth => b.growth.cmp(&a.growth),
            Order::Age => b.oldest().cmp(&a.oldest()),
        };
        by_order
            .then(b.live_bytes.cmp(&a.live_bytes))
            .then(a.row.cmp(&b.row))
    });
    selected
}
