//! The rows of a list of stacks.

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::baseline::Since;
use super::data::Tab;
use super::rows;
use crate::analysis::verdict;
use crate::profile::{Detail, Frame, Measure, Profile, Region, Sample, Source};
use crate::words::clean::clean;
use crate::words::{names, serving};

/// A stack of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct StackRow {
    /// What it is known by from one profile to the next.
    pub identity: u64,
    /// Index of its sample in the profile.
    pub sample: usize,
    /// The function that wants the memory, or what the memory is.
    pub name: String,
    /// What kind of the kernel's memory it is; empty for other memory.
    pub what: String,
    /// Whether a call of the trace has made it.
    pub has_stack: bool,
    /// What the memory is, in a word or two; empty where it deserves none.
    pub verdict: &'static str,
    /// Live or mapped bytes.
    pub level: u64,
    /// Blocks, ranges or objects.
    pub blocks: u64,
    /// Bytes a minute by the slope over the reports, and at least; `None` where that is not followed.
    pub per_min: Option<(f64, f64)>,
    /// Change since the last report.
    pub change: Option<i64>,
    /// Age of the oldest part in milliseconds.
    pub oldest_ms: Option<u64>,
    /// Growth since the baseline, where there is one.
    pub since: Option<Since>,
}

/// Columns to sort stacks by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StackSort {
    /// The most important verdict first; without any, the order of the report.
    #[default]
    Verdict,
    /// Most bytes first.
    Level,
    /// What grows most first.
    Growth,
    /// Most blocks first.
    Blocks,
    /// The oldest first.
    Age,
}

impl StackSort {
    const ALL: [Self; 5] = [
        Self::Verdict,
        Self::Level,
        Self::Growth,
        Self::Blocks,
        Self::Age,
    ];

    /// The next one; after the last the first.
    pub fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }
}

/// What a list shows.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Which source.
    pub tab: Tab,
    /// Index of the subject; `None` is all.
    pub subject: Option<u32>,
    /// In lower case: only stacks with a function of this in its name.
    pub filter: &'a str,
    /// The order.
    pub sort: StackSort,
    /// The other way round.
    pub is_reversed: bool,
}

impl Shown<'_> {
    /// Whether a sample is in the list.
    pub fn has(&self, profile: &Profile, sample: &Sample) -> bool {
        let is_own = |subject| sample.subject == subject || sample.also.contains(&subject);
        sample.source == self.tab.source()
            && self.subject.is_none_or(is_own)
            && (self.filter.is_empty() || has_text(profile, sample, self.filter))
    }
}

/// The rows of a list.
pub fn rows(
    profile: &Profile,
    shown: &Shown<'_>,
    since: impl Fn(u64, u64) -> Option<Since>,
) -> Vec<StackRow> {
    let samples = profile.samples.iter().enumerate();
    let own = samples.filter(|(_, sample)| shown.has(profile, sample));
    let mut rows: Vec<StackRow> = own
        .map(|(index, sample)| {
            let mut row = row(profile, index, sample);
            row.since = since(row.identity, row.level);
            row
        })
        .collect();
    sort(&mut rows, shown.sort);
    if shown.is_reversed {
        rows.reverse();
    }
    rows
}

/// What a stack is known by from one profile to the next: its frames' addresses and what its memory is.
pub fn identity(profile: &Profile, sample: &Sample) -> u64 {
    let mut hasher = DefaultHasher::new();
    sample.source.hash(&mut hasher);
    let subject = profile.subject(sample.subject);
    subject.map(|own| (own.pid, own.image)).hash(&mut hasher);
    for frame in profile.frames(sample) {
        (frame.address, frame.inlined, frame.symbol.as_deref()).hash(&mut hasher);
    }
    profile.cut(sample).hash(&mut hasher);
    match &sample.detail {
        // What lies in the ranges of a stack may change.
        Some(Detail::Region(_)) if sample.stack.is_some() => {}
        detail => detail.hash(&mut hasher),
    }
    hasher.finish()
}

fn sort(rows: &mut [StackRow], by: StackSort) {
    let grown = |row: &StackRow| match (row.since, row.per_min, row.change) {
        (Some(Since::Bytes(bytes)), ..) => bytes,
        (Some(Since::New), ..) => i64::try_from(row.level).unwrap_or(i64::MAX),
        (Some(Since::Unknown), ..) => 0,
        (None, Some((_, at_least)), _) if at_least > 0.0 => at_least as i64,
        (None, _, change) => change.unwrap_or(0),
    };
    match by {
        // The profile is in this order.
        StackSort::Verdict => {}
        StackSort::Level => rows.sort_by_key(|row| Reverse(row.level)),
        StackSort::Growth => rows.sort_by_key(|row| Reverse(grown(row))),
        StackSort::Blocks => rows.sort_by_key(|row| Reverse(row.blocks)),
        StackSort::Age => rows.sort_by_key(|row| Reverse(row.oldest_ms)),
    }
}

/// The figures of a source.
struct Figures {
    blocks: Measure,
    change: Measure,
    oldest: Measure,
}

const fn figures(source: Source) -> Figures {
    match source {
        Source::AddressSpace => Figures {
            blocks: Measure::VmRanges,
            change: Measure::VmChangeBytes,
            oldest: Measure::VmOldestMs,
        },
        Source::Kernel => Figures {
            blocks: Measure::KernelLiveBlocks,
            change: Measure::KernelChangeBytes,
            oldest: Measure::KernelOldestMs,
        },
        _ => Figures {
            blocks: Measure::HeapLiveBlocks,
            change: Measure::HeapChangeBytes,
            oldest: Measure::HeapOldestMs,
        },
    }
}

fn row(profile: &Profile, index: usize, sample: &Sample) -> StackRow {
    let of = figures(sample.source);
    let real = |measure| profile.value(sample, measure).map(|value| value.real());
    let per_s = real(Measure::HeapGrowthPerS);
    let low = real(Measure::HeapGrowthPerSLow).unwrap_or(0.0).max(0.0);
    let oldest = profile.whole(sample, of.oldest);
    let kind = match sample.source {
        Source::Heap => verdict::class(profile, sample).kind(),
        _ => None,
    };
    let verdict = kind.and_then(verdict::mark).map_or("", rows::short);
    StackRow {
        identity: identity(profile, sample),
        sample: index,
        name: name(profile, sample),
        what: what(sample),
        has_stack: sample.stack.is_some(),
        verdict,
        level: profile.amount(sample, sample.source.level()),
        blocks: profile.amount(sample, of.blocks),
        per_min: per_s.map(|per_s| (per_s * 60.0, low * 60.0)),
        change: profile.whole(sample, of.change),
        oldest_ms: oldest.map(|age| age.max(0).cast_unsigned()),
        since: None,
    }
}

/// What kind of the kernel's memory it is.
fn what(sample: &Sample) -> String {
    match &sample.detail {
        Some(Detail::Kernel(object)) => clean(&object.what).into_owned(),
        _ => String::new(),
    }
}

/// What a stack is called: the function that wants the memory; without a stack what is mapped.
fn name(profile: &Profile, sample: &Sample) -> String {
    let frames: Vec<&Frame> = profile.frames(sample).collect();
    let function = serving::first_meaningful(profile, &frames);
    let function = function.map(|frame| names::frame(profile, frame));
    let name = match (&sample.detail, function) {
        (_, Some(function)) => function,
        (Some(Detail::Region(region)), None) if sample.stack.is_none() => mapped(region),
        (_, None) => "(no stack)".to_owned(),
    };
    clean(&name).into_owned()
}

/// What was mapped: the file, or else the kinds.
fn mapped(region: &Region) -> String {
    let kinds: Vec<&str> = region.kinds.iter().map(|kind| kind.name()).collect();
    let file = region.files.first().map(|file| names::module(file));
    file.map_or_else(|| kinds.join(", "), str::to_owned)
}

/// Whether a function of a stack, or what its memory is, has this text in its name.
fn has_text(profile: &Profile, sample: &Sample, text: &str) -> bool {
    let has = |name: &str| name.to_lowercase().contains(text);
    let mut frames = profile.frames(sample);
    frames.any(|frame| has(&names::frame(profile, frame)))
        || has(&name(profile, sample))
        || has(&what(sample))
}
