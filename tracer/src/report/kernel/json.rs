//! The report of `memlens kernel` as JSON: one object, one line. Its form is a promise, written down in `docs/kernel.md`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;
use tracer_common::kernel_memory::{KernelLoss, Kind};

use super::loss::sentences;
use super::{CacheGrowth, Held, KernelReport, KernelStack};
use crate::report::Sampling;
use crate::report::json::{WireFrame, all_notes, millis, to_milliseconds, write_line};

/// Name and version of the form; the number changes when a reader could break.
pub const SCHEMA: &str = "memlens.kernel/1";

/// Writes the report as one line.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &KernelReport, out: &mut impl Write) -> io::Result<()> {
    write_line(&WireReport::of(report)?, out)
}

#[derive(Serialize)]
struct WireReport<'a> {
    schema: &'static str,
    time: String,
    elapsed_ms: u64,
    last: bool,
    complete: bool,
    loss: BTreeMap<&'static str, u64>,
    taken_over: u64,
    notes: Vec<String>,
    only: Option<&'a str>,
    older_ms: Option<u64>,
    sampling: Option<Sampling>,
    totals: Held,
    kinds: BTreeMap<&'static str, &'a Held>,
    backing: BTreeMap<&'static str, &'a Held>,
    stacks_total: usize,
    stacks_live_bytes: u64,
    stacks: Vec<WireStack<'a>>,
    caches_total: usize,
    caches_grown_bytes: Option<u64>,
    caches_explained_bytes: Option<u64>,
    caches: &'a [CacheGrowth],
}

#[derive(Serialize)]
struct WireStack<'a> {
    kind: &'static str,
    what: &'a str,
    size: Option<u64>,
    #[serde(flatten)]
    held: &'a Held,
    growth_bytes: Option<i64>,
    oldest_age_ms: Option<u64>,
    backing: Option<&'static str>,
    truncated: Option<&'a str>,
    frames: Vec<WireFrame<'a>>,
}

fn by_name(kinds: &BTreeMap<Kind, Held>) -> BTreeMap<&'static str, &Held> {
    let kinds = kinds.iter();
    kinds.map(|(kind, held)| (kind.name(), held)).collect()
}

impl<'a> WireReport<'a> {
    fn of(report: &'a KernelReport) -> io::Result<Self> {
        let loss = KernelLoss::ALL.iter().map(|counter| {
            let count = report.loss.get(counter.name()).copied();
            (counter.name(), count.unwrap_or(0))
        });
        Ok(Self {
            schema: SCHEMA,
            time: to_milliseconds(report.time)?,
            elapsed_ms: millis(report.elapsed),
            last: report.last,
            complete: report.complete(),
            loss: loss.collect(),
            taken_over: report.taken_over,
            notes: all_notes(sentences(&report.loss), &report.notes),
            only: report.only.as_deref(),
            older_ms: (!report.older.is_zero()).then(|| millis(report.older)),
            sampling: report.sampling,
            totals: report.held(),
            kinds: by_name(&report.kinds),
            backing: by_name(&report.backing),
            stacks_total: report.stacks_total,
            stacks_live_bytes: report.stacks_live_bytes,
            stacks: report.stacks.iter().map(WireStack::of).collect(),
            caches_total: report.caches_total,
            caches_grown_bytes: report.grown.map(|grown| grown.bytes),
            caches_explained_bytes: report.grown.map(|grown| grown.explained),
            caches: &report.caches,
        })
    }
}

impl<'a> WireStack<'a> {
    fn of(row: &'a KernelStack) -> Self {
        Self {
            kind: row.kind.name(),
            what: &row.what,
            size: row.size,
            held: &row.held,
            growth_bytes: row.growth,
            oldest_age_ms: row.oldest.map(millis),
            backing: row.backing.map(Kind::name),
            truncated: row.truncated.as_deref(),
            frames: row.frames.iter().map(WireFrame::of).collect(),
        }
    }
}
