//! The rows of a report: one for each stack, ordered and cut to what is to be shown.

use std::collections::HashMap;
use std::hash::Hash;

use super::figures::Row;
use crate::analysis::verdict::{Evidence, Rank, Reach};
use crate::profile::form::Judged;
use crate::reach::outcome::Class;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By what the memory is: leaks first, then what grows fastest, is lost, and holds most.
    #[default]
    Verdict,
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
            Order::Verdict => rank(a).compare(&rank(b)),
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

/// Where a row stands in the order of the verdicts, as far as it is known before the stacks have names.
fn rank(row: &Row) -> Rank {
    let classes = row.sums.as_ref().and_then(|sums| sums.classes.as_ref());
    let reach = classes.map(|classes| {
        let bytes = |class: Class| classes.of(class).0;
        Reach {
            lost: bytes(Class::Lost) + bytes(Class::LostWith),
            held: bytes(Class::Held),
            stack_only: bytes(Class::StackOnly),
            ..Reach::default()
        }
    });
    let slope = row.judged.as_ref().and_then(Judged::slope);
    Rank::of(&Evidence {
        form: row.judged.map(|judged| judged.form),
        growth_low: slope.map(|(_, low, _)| low),
        grown_bytes: None,
        live_bytes: row.live_bytes,
        oldest: row.oldest(),
        reach,
    })
}
