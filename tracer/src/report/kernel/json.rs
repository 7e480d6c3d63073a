//! The report of `memlens kernel` as JSON: one object, one line. Its form is a promise, written down in `docs/kernel.md`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use tracer_common::kernel_memory::{KernelLoss, Kind};

use super::{CacheGrowth, Held, KernelReport, KernelStack};
use crate::report::json::WireFrame;

/// Name and version of the form; the number changes when a reader could break.
pub const SCHEMA: &str = "memlens.kernel/1";

/// Writes the report as one line.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &KernelReport, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &WireReport::of(report)?)?;
    out.write_all(b"\n")
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
    sampling: Option<WireSampling>,
    totals: WireHeld,
    kinds: BTreeMap<&'static str, WireHeld>,
    backing: BTreeMap<&'static str, WireHeld>,
    stacks_total: usize,
    stacks_live_bytes: u64,
    stacks: Vec<WireStack<'a>>,
    caches_total: usize,
    caches_grown_bytes: Option<u64>,
    caches_explained_bytes: Option<u64>,
    caches: Vec<WireCache<'a>>,
}

#[derive(Serialize)]
struct WireSampling {
    interval_bytes: u64,
    live_samples: u64,
    standard_error_bytes: u64,
}

#[derive(Serialize)]
struct WireHeld {
    live_bytes: u64,
    live_count: u64,
    alloc_bytes: u64,
    alloc_count: u64,
}

#[derive(Serialize)]
struct WireStack<'a> {
    kind: &'static str,
    what: &'a str,
    size: Option<u64>,
    #[serde(flatten)]
    held: WireHeld,
    growth_bytes: Option<i64>,
    oldest_age_ms: Option<u64>,
    backing: Option<&'static str>,
    truncated: Option<&'a str>,
    frames: Vec<WireFrame<'a>>,
}

#[derive(Serialize)]
struct WireCache<'a> {
    name: &'a str,
    objects: u64,
    objects_change: i64,
    bytes: u64,
    bytes_change: i64,
    held_bytes: Option<u64>,
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl WireHeld {
    fn of(held: &Held) -> Self {
        let Held {
            live_bytes,
            live_count,
            alloc_bytes,
            alloc_count,
        } = *held;
        Self {
            live_bytes,
            live_count,
            alloc_bytes,
            alloc_count,
        }
    }
}

fn by_name(kinds: &BTreeMap<Kind, Held>) -> BTreeMap<&'static str, WireHeld> {
    let kinds = kinds.iter();
    kinds
        .map(|(kind, held)| (kind.name(), WireHeld::of(held)))
        .collect()
}

impl<'a> WireReport<'a> {
    fn of(report: &'a KernelReport) -> io::Result<Self> {
        let told = super::loss::sentences(&report.loss).into_iter();
        let loss = KernelLoss::ALL.iter().map(|counter| {
            let count = report.loss.get(counter.name()).copied();
            (counter.name(), count.unwrap_or(0))
        });
        Ok(Self {
            schema: SCHEMA,
            time: format!("{:.3}", crate::report::timestamp(report.time)?),
            elapsed_ms: milliseconds(report.elapsed),
            last: report.last,
            complete: report.complete(),
            loss: loss.collect(),
            taken_over: report.taken_over,
            notes: told
                .map(|sentence| sentence.text)
                .chain(report.notes.iter().cloned())
                .collect(),
            only: report.only.as_deref(),
            older_ms: (!report.older.is_zero()).then(|| milliseconds(report.older)),
            sampling: report.sampling.map(|sampling| WireSampling {
                interval_bytes: sampling.interval_bytes,
                live_samples: sampling.live_samples,
                standard_error_bytes: sampling.standard_error_bytes,
            }),
            totals: WireHeld::of(&report.held()),
            kinds: by_name(&report.kinds),
            backing: by_name(&report.backing),
            stacks_total: report.stacks_total,
            stacks_live_bytes: report.stacks_live_bytes,
            stacks: report.stacks.iter().map(WireStack::of).collect(),
            caches_total: report.caches_total,
            caches_grown_bytes: report.grown.map(|grown| grown.bytes),
            caches_explained_bytes: report.grown.map(|grown| grown.explained),
            caches: report.caches.iter().map(WireCache::of).collect(),
        })
    }
}

impl<'a> WireStack<'a> {
    fn of(row: &'a KernelStack) -> Self {
        Self {
            kind: row.kind.name(),
            what: &row.what,
            size: row.size,
            held: WireHeld::of(&row.held),
            growth_bytes: row.growth,
            oldest_age_ms: row.oldest.map(milliseconds),
            backing: row.backing.map(Kind::name),
            truncated: row.truncated.as_deref(),
            frames: row.frames.iter().map(WireFrame::of).collect(),
        }
    }
}

impl<'a> WireCache<'a> {
    fn of(row: &'a CacheGrowth) -> Self {
        Self {
            name: &row.name,
            objects: row.objects,
            objects_change: row.objects_change,
            bytes: row.bytes,
            bytes_change: row.bytes_change,
            held_bytes: row.held_bytes,
        }
    }
}
