//! Stacks that ended early, summed up by process, reason and file: where callers are missing, and why.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::units::{bytes, count, counted};
use super::{Report, names};

/// Most sentences about single rows.
const MOST: usize = 5;

/// Stacks with live memory that ended early for one reason at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutRow {
    /// Whose stacks.
    pub pid: u32,
    /// Why they are cut, as a clause.
    pub reason: String,
    /// File of their last frames, as the process sees it, or the mapping's name; `None` where it is not known, or
    /// has nothing to do with the reason.
    pub module: Option<PathBuf>,
    /// How many stacks.
    pub stacks: u64,
    /// Their live bytes.
    pub live_bytes: u64,
    /// Their live blocks.
    pub live_count: u64,
}

/// Sums cut stacks up.
#[derive(Clone, Debug, Default)]
pub struct CutTally(BTreeMap<Place, [u64; 3]>);

/// Process, reason and file.
type Place = (u32, &'static str, Option<PathBuf>);

impl CutTally {
    /// Adds one stack with its live bytes and blocks.
    pub fn add(
        &mut self,
        pid: u32,
        reason: &'static str,
        module: Option<PathBuf>,
        (live_bytes, live_count): (u64, u64),
    ) {
        let sums = self.0.entry((pid, reason, module)).or_default();
        for (sum, value) in sums.iter_mut().zip([1, live_bytes, live_count]) {
            *sum = sum.saturating_add(value);
        }
    }

    /// The rows, that with the most live bytes first.
    pub fn rows(self) -> Vec<CutRow> {
        let row = |((pid, reason, module), sums): (Place, [u64; 3])| CutRow {
            pid,
            reason: String::from(reason),
            module,
            stacks: sums[0],
            live_bytes: sums[1],
            live_count: sums[2],
        };
        let mut rows: Vec<CutRow> = self.0.into_iter().map(row).collect();
        // Stable: the same report is the same text.
        rows.sort_by_key(|row| Reverse((row.live_bytes, row.stacks)));
        rows
    }
}

/// A sentence for each of the first rows of a report, and one for all others.
pub(super) fn sentences(report: &Report) -> Vec<String> {
    let (told, rest) = report.cut.split_at(report.cut.len().min(MOST));
    let mut sentences: Vec<String> = told.iter().map(|row| sentence(report, row)).collect();
    if !rest.is_empty() {
        let sum = |value: fn(&CutRow) -> u64| rest.iter().map(value).fold(0, u64::saturating_add);
        let stacks = sum(|row| row.stacks);
        sentences.push(format!(
            "{} more {} with {} {} cut in {}",
            count(stacks),
            if stacks == 1 { "stack" } else { "stacks" },
            bytes(sum(|row| row.live_bytes)),
            be(stacks),
            match rest.len() {
                1 => "another place".to_owned(),
                many => format!("{} other places", count(many as u64)),
            }
        ));
    }
    sentences
}

fn sentence(report: &Report, row: &CutRow) -> String {
    let whose = match report.process(row.pid) {
        _ if report.processes.len() < 2 && report.host.is_none() => String::new(),
        Some(process) => format!(" of {}", names::process(process)),
        None => format!(" of pid {}", row.pid),
    };
    let place = row.module.as_deref().map_or_else(String::new, |module| {
        format!(" in {}", names::module(module))
    });
    format!(
        "{}{whose} with {} {} cut{place}: {}",
        counted(row.stacks, "stack"),
        bytes(row.live_bytes),
        be(row.stacks),
        row.reason
    )
}

fn be(n: u64) -> &'static str {
    if n == 1 { "is" } else { "are" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_summed_by_process_reason_and_file() {
        let mut tally = CutTally::default();
        let foo = || Some(PathBuf::from("/lib/libfoo.so"));
        tally.add(1, "unsupported", foo(), (10, 1));
        tally.add(1, "unsupported", foo(), (20, 2));
        tally.add(1, "unsupported", None, (5, 1));
        tally.add(1, "unreadable", foo(), (70, 7));
        tally.add(2, "unsupported", foo(), (6, 1));
        let rows: Vec<_> = tally
            .rows()
            .into_iter()
            .map(|row| {
                (
                    row.pid,
                    row.module,
                    row.stacks,
                    row.live_bytes,
                    row.live_count,
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                (1, foo(), 1, 70, 7),
                (1, foo(), 2, 30, 3),
                (2, foo(), 1, 6, 1),
                (1, None, 1, 5, 1),
            ]
        );
    }
}
