//! The metrics of the traced heaps.

use std::collections::BTreeMap;

use super::{HEAP_GROWTH, Known, Slope, family, growth_of, labels, pid_of};
use crate::agent::counters::{Counts, Whose};
use crate::profile::{Frame, Measure, Profile, Source, Subject};
use crate::render::openmetrics::{Exposition, Kind};
use crate::words::names;
use crate::words::serving::first_meaningful;

/// Functions that have rows at most.
const FUNCTIONS: usize = 20;

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    live_bytes: u64,
    live_blocks: u64,
    slope: Option<Slope>,
    to_limit: Option<f64>,
    is_sampled: bool,
}

pub(super) fn write(out: &mut Exposition, heaps: &Profile, known: &Known<'_>) {
    let mut rows: BTreeMap<Whose, Row> = BTreeMap::new();
    for subject in &heaps.subjects {
        let row = rows.entry(Whose::of(subject, known.with_pid)).or_default();
        add(row, subject);
    }
    let mut of = |name, help: &str, value: &dyn Fn(&Row) -> Option<f64>| {
        family(out, (name, Kind::Gauge, help), &rows, value);
    };
    of(
        "memlens_process_heap_live_bytes",
        "Heap memory allocated since the process is traced and not released.",
        &|row| Some(row.live_bytes as f64),
    );
    of(
        "memlens_process_heap_live_blocks",
        "Blocks allocated since the process is traced and not released.",
        &|row| Some(row.live_blocks as f64),
    );
    of(
        "memlens_process_heap_sampled",
        "1 where only a sample of the blocks is followed, and scaled up.",
        &|row| Some(f64::from(u8::from(row.is_sampled))),
    );
    of(
        "memlens_process_heap_time_to_limit_seconds",
        "Time until a limit is reached, if the heap goes on to grow.",
        &|row| row.to_limit,
    );
    let slopes = rows
        .iter()
        .filter_map(|(whose, row)| Some((whose.clone(), row.slope?)));
    growth_of(out, &HEAP_GROWTH, slopes);
    counters(out, known);
    verdicts(out, heaps, known.with_pid);
    losses(out, heaps);
    if known.with_functions {
        functions(out, heaps);
    }
}

fn add(row: &mut Row, subject: &Subject) {
    row.live_bytes += subject.totals.amount(Measure::HeapLiveBytes);
    row.live_blocks += subject.totals.amount(Measure::HeapLiveBlocks);
    row.is_sampled |= subject.sample_bytes.is_some();
    let real = |measure| subject.totals.get(measure).map(|number| number.real());
    let slope = real(Measure::HeapGrowthPerS).map(|mean| Slope {
        mean,
        low: real(Measure::HeapGrowthPerSLow),
        high: real(Measure::HeapGrowthPerSHigh),
    });
    row.slope = match (row.slope, slope) {
        (Some(one), Some(other)) => Some(one.plus(other)),
        (one, other) => one.or(other),
    };
    let reached = subject.limit.map(|limit| limit.reached.as_secs_f64());
    row.to_limit = match (row.to_limit, reached) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
}

fn counters(out: &mut Exposition, known: &Known<'_>) {
    let rows: BTreeMap<Whose, Counts> = known
        .counters
        .all()
        .map(|(whose, counts)| (whose.clone(), *counts))
        .collect();
    let names = [
        (
            "memlens_process_heap_allocated_bytes",
            "Bytes allocated while traced.",
        ),
        (
            "memlens_process_heap_allocations",
            "Blocks allocated while traced.",
        ),
        (
            "memlens_process_heap_freed_bytes",
            "Bytes released of those.",
        ),
        ("memlens_process_heap_frees", "Blocks released of those."),
    ];
    for (index, (name, help)) in names.into_iter().enumerate() {
        family(out, (name, Kind::Counter, help), &rows, |counts| {
            Some(counts[index] as f64)
        });
    }
}

/// The verdicts on each process, one sample for each kind.
fn verdicts(out: &mut Exposition, heaps: &Profile, with_pid: bool) {
    let mut found: BTreeMap<(Whose, String), ()> = BTreeMap::new();
    for finding in &heaps.findings {
        let subject = finding.subject.and_then(|index| heaps.subject(index));
        let kind = serde_json::to_value(finding.kind).ok();
        let kind = kind.as_ref().and_then(serde_json::Value::as_str);
        if let (Some(subject), Some(kind)) = (subject, kind) {
            found.insert((Whose::of(subject, with_pid), kind.to_owned()), ());
        }
    }
    let help = "What is found of the heap's growth: leak, growing, load, cache and others.";
    let mut family = out.family("memlens_process_heap_verdict", Kind::Info, help);
    for (whose, kind) in found.keys() {
        let pid = pid_of(whose);
        let mut labels = labels(whose, &pid);
        labels.push(("verdict", kind));
        family.sample(&labels, 1.0);
    }
}

fn losses(out: &mut Exposition, heaps: &Profile) {
    out.family(
        "memlens_complete",
        Kind::Gauge,
        "1 if nothing was lost that changes a total.",
    )
    .sample(&[], f64::from(u8::from(heaps.complete)));
    let help = "What was lost, by reason; resets where the trace begins anew.";
    let mut family = out.family("memlens_lost", Kind::Counter, help);
    for (key, count) in heaps.losses.iter() {
        family.sample(&[("reason", &key.key())], count as f64);
    }
    let sections = &heaps.sections;
    let cost = sections
        .guard
        .as_ref()
        .map(|guard| guard.cost_percent / 100.0);
    let help = "Part of the machine's CPUs that the probes take, estimated from their hits.";
    out.family("memlens_overhead_ratio", Kind::Gauge, help)
        .maybe(&[], cost);
}

/// The functions that hold most, named as the one that wants the memory.
fn functions(out: &mut Exposition, heaps: &Profile) {
    let mut sums: BTreeMap<(&str, String), u64> = BTreeMap::new();
    for sample in heaps.stack_samples(Source::Heap) {
        let frames: Vec<&Frame> = heaps.frames(sample).collect();
        let (Some(frame), Some(subject)) = (
            first_meaningful(heaps, &frames),
            heaps.subject(sample.subject),
        ) else {
            continue;
        };
        let key = (subject.command.as_str(), names::frame(heaps, frame));
        *sums.entry(key).or_default() += heaps.amount(sample, Measure::HeapLiveBytes);
    }
    let mut largest: Vec<_> = sums.into_iter().collect();
    largest.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let help = "Live heap memory by the function that wants it; the largest only.";
    let mut family = out.family("memlens_top_function_live_bytes", Kind::Gauge, help);
    for ((comm, function), bytes) in largest.into_iter().take(FUNCTIONS) {
        family.sample(&[("comm", comm), ("function", &function)], bytes as f64);
    }
}
