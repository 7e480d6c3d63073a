//! Whose the growth of a process is: what a trace saw meanwhile, joined into the ledgers of its beginning and its end.
//!
//! A mapping is looked up by address in the ledger of the end, so what an allocator has mapped for itself is told from
//! what the program has mapped without asking a stack for the names of its functions.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::change::parts;
use crate::process::pagemap::Region;
use crate::profile::ledger::{Ledger, Purpose, Range, RowName, RowShare, RssGrowth};
use crate::profile::{
    Builder, Detail, Finding, FindingKind, Measure, Omitted, Profile, Sample, Source, Values,
};
use crate::words::units::{bytes, change, counted, share};

/// Growth below this is not worth a sentence.
const NOTABLE: i64 = 1 << 20;

/// What a trace saw of one process between two looks at it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The trace's profile. Where it traced the heap, its samples and its first subject's totals are of blocks that
    /// were allocated meanwhile and are live. Its stacks are those of `ranges` too.
    pub trace: Profile,
    /// What was mapped meanwhile and is mapped; `None` where that was not traced.
    pub ranges: Option<Vec<MappedRange>>,
    /// What was not seen, and why, in sentences.
    pub not_seen: Vec<String>,
}

/// A range that was mapped during a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedRange {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Index of the stack that mapped it, in the trace's profile.
    pub stack: u32,
}

/// A part of a mapped range that lies in one row of the ledger.
struct Part<'a> {
    row: &'a RowName,
    size: u64,
    resident: u64,
    stack: u32,
    /// Whether it belongs to an allocator.
    of_heap: bool,
}

/// What was mapped on one stack, but not for an allocator.
#[derive(Default)]
struct Mapped<'a> {
    resident: u64,
    size: u64,
    ranges: u64,
    rows: BTreeSet<&'a RowName>,
}

/// Joins what a trace saw into the profile of the end, which holds the change since that of the beginning: the parts of
/// the growth, the stacks of each, and what follows. `touched` are the pages in memory or in swap of the ranges that
/// were seen, in order of address; `top` is how many stacks are kept of each part.
pub fn add(
    before: &Profile,
    after: Profile,
    seen: &Seen,
    touched: &[Region],
    top: usize,
) -> Profile {
    let mut joined = Builder::from_profile(after.clone());
    let (Some((old, _)), Some((new, _)), Some(change)) =
        (parts(before), parts(&after), &after.sections.ledger_change)
    else {
        return after;
    };
    let ranges = seen.ranges.as_deref().unwrap_or_default();
    let mapped = mapped_parts(ranges, new, &seen.trace, touched);
    let of_program = || mapped.iter().filter(|part| !part.of_heap);
    let mut of_rows: BTreeMap<&RowName, i64> = BTreeMap::new();
    for row in &change.rows {
        *of_rows.entry(&row.row).or_default() += row.resident_bytes;
    }
    for part in of_program() {
        *of_rows.entry(part.row).or_default() -= part.resident.cast_signed();
    }
    let unaccounted_bytes = new.unaccounted_bytes - old.unaccounted_bytes;
    let older = of_rows
        .iter()
        .filter(|(row, resident)| !row.kind.is_heap() && **resident != 0);
    let older = older.map(|(row, resident)| RowShare {
        row: (*row).clone(),
        resident_bytes: *resident,
    });
    let mut older_rows: Vec<RowShare> = older.collect();
    older_rows.sort_by_key(|row| Reverse(row.resident_bytes.abs()));
    let of_heap = of_rows.iter().filter(|(row, _)| row.kind.is_heap());
    let mapped_bytes = of_program().map(|part| part.resident.cast_signed()).sum();
    let growth = RssGrowth {
        traced: change.over,
        resident_bytes: change.resident_bytes,
        heap_bytes: of_heap.map(|(_, resident)| resident).sum(),
        mapped_bytes: seen.ranges.is_some().then_some(mapped_bytes),
        older_bytes: older_rows.iter().map(|row| row.resident_bytes).sum::<i64>()
            + unaccounted_bytes,
        older_rows,
        unaccounted_bytes,
        not_seen: seen.not_seen.clone(),
    };
    if seen.trace.has(Source::Heap) {
        add_blocks(&mut joined, &seen.trace, top);
    }
    if seen.ranges.is_some() {
        add_mapped(&mut joined, &seen.trace, of_program(), top);
    }
    joined.profile.meta.elapsed = growth.traced;
    joined.profile.losses.merge(&seen.trace.losses);
    joined.profile.complete &= seen.trace.complete;
    let finding = |text| Finding {
        subject: Some(0),
        ..Finding::new(FindingKind::Growth, text)
    };
    let sentence = sentence(&growth, &joined.profile);
    joined.profile.findings.extend(sentence.map(finding));
    joined.profile.sections.growth = Some(growth);
    joined.finish()
}

/// Splits the ranges by the rows of the ledger.
fn mapped_parts<'a>(
    ranges: &[MappedRange],
    ledger: &'a Ledger,
    trace: &Profile,
    touched: &[Region],
) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    for range in ranges {
        let first = ledger.ranges.partition_point(|own| own.end <= range.start);
        let own = ledger.ranges[first..]
            .iter()
            .take_while(|own| own.start < range.end);
        for own in own.filter(|own| !is_the_kernels_own(own.row.kind)) {
            let (start, end) = (own.start.max(range.start), own.end.min(range.end));
            parts.push(Part {
                row: &own.row,
                size: end - start,
                resident: resident(touched, start, end),
                stack: range.stack,
                of_heap: own.row.kind.is_heap() && !is_foreign(own, range.stack, ledger, trace),
            });
        }
    }
    parts
}

/// The kernel maps it without a call: the page for probes, too, which the trace itself brings.
const fn is_the_kernels_own(kind: Purpose) -> bool {
    matches!(kind, Purpose::Kernel | Purpose::MainStack)
}

/// Whether memory is an allocator's by elimination alone, and no function of the allocator's file has mapped it.
fn is_foreign(range: &Range, stack: u32, ledger: &Ledger, trace: &Profile) -> bool {
    let mut frames = trace.frames_of(Some(stack)).peekable();
    let has_frames = frames.peek().is_some();
    let mut files = frames.filter_map(|frame| trace.module(frame));
    let is_allocator = |file: &str| {
        ledger
            .allocators
            .iter()
            .any(|allocator| allocator.file == file)
    };
    range.row.kind == Purpose::Allocator
        && has_frames
        && !files.any(|file| is_allocator(&file.path))
}

/// Bytes in memory of a range.
fn resident(touched: &[Region], start: u64, end: u64) -> u64 {
    let first = touched.partition_point(|region| region.end <= start);
    let inside = touched[first..]
        .iter()
        .take_while(|region| region.start < end);
    inside
        .filter(|region| !region.swapped)
        .map(|region| region.end.min(end) - region.start.max(start))
        .sum()
}

/// Adds the blocks that were allocated meanwhile and are live.
fn add_blocks(joined: &mut Builder, trace: &Profile, top: usize) {
    let measures = [Measure::HeapLiveBytes, Measure::HeapLiveBlocks];
    let only_live = |values: &Values| {
        let live = measures
            .iter()
            .filter_map(|measure| Some((*measure, values.get(*measure)?)));
        live.collect::<Values>()
    };
    joined.measures(measures);
    if let (Some(process), Some(traced)) =
        (joined.profile.subjects.first_mut(), trace.subjects.first())
    {
        process.totals.add(&only_live(&traced.totals));
    }
    let kept = trace.stack_samples(Source::Heap).take(top);
    for sample in kept {
        let stack = sample.stack.map(|stack| joined.adopt(trace, stack));
        let live = only_live(&trace.values(sample));
        let sample = joined.sample(Source::Heap, 0, stack, &live);
        joined.add(sample);
    }
    let (mut samples, mut values) = trace.omitted(Source::Heap, true);
    for sample in trace.stack_samples(Source::Heap).skip(top) {
        samples += 1;
        values.add(&trace.values(sample));
    }
    omit(joined, Source::Heap, samples, only_live(&values));
}

/// Adds what was mapped meanwhile, but not for an allocator, by stack: most in memory first.
fn add_mapped<'a>(
    joined: &mut Builder,
    trace: &Profile,
    parts: impl Iterator<Item = &'a Part<'a>>,
    top: usize,
) {
    joined.measures([
        Measure::VmMappedBytes,
        Measure::VmResidentBytes,
        Measure::VmRanges,
    ]);
    let mut stacks: BTreeMap<u32, Mapped<'_>> = BTreeMap::new();
    for part in parts {
        let mapped = stacks.entry(part.stack).or_default();
        mapped.resident += part.resident;
        mapped.size += part.size;
        mapped.ranges += 1;
        mapped.rows.insert(part.row);
    }
    let mut order: Vec<(u32, Mapped<'_>)> = stacks.into_iter().collect();
    order.sort_by_key(|(stack, mapped)| (Reverse((mapped.resident, mapped.size)), *stack));
    let values = |mapped: &Mapped<'_>| {
        Values::default()
            .with(Measure::VmMappedBytes, mapped.size)
            .with(Measure::VmResidentBytes, mapped.resident)
            .with(Measure::VmRanges, mapped.ranges)
    };
    let (kept, rest) = order.split_at(top.min(order.len()));
    for (stack, mapped) in kept {
        let stack = joined.adopt(trace, *stack);
        let sample = joined.sample(Source::AddressSpace, 0, Some(stack), &values(mapped));
        joined.add(Sample {
            detail: Some(Detail::Ledger(
                mapped.rows.iter().copied().cloned().collect(),
            )),
            ..sample
        });
    }
    let mut sum = Values::default();
    rest.iter().for_each(|(_, mapped)| sum.add(&values(mapped)));
    omit(joined, Source::AddressSpace, rest.len() as u64, sum);
}

fn omit(joined: &mut Builder, source: Source, samples: u64, values: Values) {
    if samples > 0 {
        joined.profile.omitted.push(Omitted {
            source,
            subject: 0,
            with_stack: true,
            samples,
            values,
        });
    }
}

/// What follows, if anything does.
fn sentence(growth: &RssGrowth, profile: &Profile) -> Option<String> {
    let half = growth.resident_bytes / 2;
    let mapped = growth.mapped_bytes.unwrap_or(0);
    let largest = growth
        .older_rows
        .iter()
        .max_by_key(|row| row.resident_bytes);
    if growth.resident_bytes < NOTABLE {
        no_growth(growth, profile)
    } else if growth.heap_bytes > half {
        Some(heap_grows(growth, profile))
    } else if mapped > half {
        Some(mappings_grow(growth, mapped, profile))
    } else {
        largest.filter(|row| row.resident_bytes > half).map(|row| {
            format!(
                "RSS grew by pages of what was mapped before, which were touched now: {} of {} is {}",
                bytes(row.resident_bytes.unsigned_abs()),
                bytes(growth.resident_bytes.unsigned_abs()),
                row.row.words()
            )
        })
    }
}

/// Bytes that were allocated meanwhile and are live, and how many blocks these are in words; `None` if not traced.
fn live_blocks(profile: &Profile) -> Option<(u64, String)> {
    let totals = &profile.subjects.first()?.totals;
    totals.get(Measure::HeapLiveBytes)?;
    let live = totals.amount(Measure::HeapLiveBytes);
    let blocks = counted(totals.amount(Measure::HeapLiveBlocks), "block");
    Some((live, format!("{} in {blocks}", bytes(live))))
}

/// Resident memory stays, but blocks are left behind in what the heap had.
fn no_growth(growth: &RssGrowth, profile: &Profile) -> Option<String> {
    let (live, words) = live_blocks(profile)?;
    (live.cast_signed() >= NOTABLE).then(|| {
        format!(
            "RSS changed by {}, yet {words} was allocated and is live: it lies in memory that the heap had, or is not \
             touched yet",
            change(growth.resident_bytes)
        )
    })
}

fn heap_grows(growth: &RssGrowth, profile: &Profile) -> String {
    let heap = bytes(growth.heap_bytes.unsigned_abs());
    let of = format!(
        "of {} of growth {heap} is the heap's",
        change(growth.resident_bytes)
    );
    let Some((live, words)) = live_blocks(profile) else {
        return of;
    };
    if live.cast_signed().saturating_mul(2) < growth.heap_bytes {
        return format!(
            "{of}, but only {words} of what was allocated meanwhile is live: the rest is free memory that the \
             allocator keeps, or pages of older blocks"
        );
    }
    let first = profile.stack_samples(Source::Heap).next();
    let first = first.map_or(0, |sample| profile.amount(sample, Measure::HeapLiveBytes));
    format!(
        "{of}: {words} was allocated meanwhile and is live, {} of it on heap stack #1; a leak if nobody frees it",
        share(first, live)
    )
}

fn mappings_grow(growth: &RssGrowth, mapped: i64, profile: &Profile) -> String {
    let first = profile.stack_samples(Source::AddressSpace).next();
    let resident = first.map_or(0, |sample| profile.amount(sample, Measure::VmResidentBytes));
    let rows = first.map_or_else(String::new, Sample::ledger_rows);
    format!(
        "of {} of growth {} was mapped meanwhile by calls that are not the allocator's, {} of it on mapping stack #1 \
         ({rows})",
        change(growth.resident_bytes),
        bytes(mapped.unsigned_abs()),
        share(resident, mapped.unsigned_abs())
    )
}

#[cfg(test)]
#[path = "growth_tests.rs"]
mod tests;
