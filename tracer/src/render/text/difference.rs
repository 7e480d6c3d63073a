//! The text of a difference of two profiles: the sums, the stacks that grew most, new ones among them, and those that
//! shrank.

use std::cmp::Reverse;
use std::io;

use super::{closing, number};
use crate::profile::diff::{Changes, Difference, Fate, then_and_now};
use crate::profile::{Measure, Number, Profile, Sample, Source, Subject};
use crate::render::Options;
use crate::render::term::frames::{self, Neighbors};
use crate::render::term::line::{Line, Writer};
use crate::words::names;
use crate::words::units::{bytes, change, count, counted, duration, plural};

/// Of those that shrank so many are shown where ten that grew are: they matter less.
const SHRUNK_OF_TEN: usize = 3;

/// Writes all of it.
pub fn write(
    out: &mut Writer<'_>,
    profile: &Profile,
    difference: &Difference,
    options: &Options,
) -> io::Result<()> {
    heading(out, profile, difference, options)?;
    let source = profile.main_source();
    if source == Source::Process {
        return processes(out, profile, options);
    }
    let rows = Changes::of(profile, source);
    sums(out, profile, &rows)?;
    out.blank()?;
    let most = options.top.unwrap_or(usize::MAX);
    let least = most.saturating_mul(SHRUNK_OF_TEN).div_ceil(10);
    let shown = rows
        .grown
        .iter()
        .take(most)
        .chain(rows.shrunk.iter().take(least));
    let mut neighbors = Neighbors::default();
    for (index, sample) in shown.enumerate() {
        out.list(head(profile, index, sample), 4)?;
        frames::write_beside(out, profile, sample.stack, options, &mut neighbors)?;
        out.blank()?;
    }
    left_out(out, rows.grown.len(), most, "grew")?;
    left_out(out, rows.shrunk.len(), least, "shrank")?;
    closing::write(out, profile, options)
}

/// What became of a sample.
fn fate(profile: &Profile, sample: &Sample) -> Fate {
    let (before, after) = then_and_now(profile, sample);
    Fate::of(before, after)
}

/// How much more a sample holds.
fn changed(profile: &Profile, sample: &Sample) -> i64 {
    profile.whole(sample, sample.source.level()).unwrap_or(0)
}

/// The figure that counts what the bytes of a source are in.
const fn counts(source: Source) -> Option<(Measure, &'static str)> {
    Some(match source {
        Source::Heap => (Measure::HeapLiveBlocks, "block"),
        Source::Kernel => (Measure::KernelLiveBlocks, "block"),
        Source::AddressSpace => (Measure::VmRanges, "range"),
        Source::PageFaults => (Measure::FaultsCount, "fault"),
        Source::Process => return None,
    })
}

/// What is compared with what.
fn heading(
    out: &mut Writer<'_>,
    profile: &Profile,
    difference: &Difference,
    options: &Options,
) -> io::Result<()> {
    let (now, then) = (&profile.meta, &difference.before);
    let shown = |time: jiff::Timestamp| {
        let time = time.to_zoned(options.time_zone.clone());
        time.strftime("%Y-%m-%d %H:%M:%S").to_string()
    };
    let how = match difference.same_run {
        true => {
            let apart = now.time.duration_since(then.time).unsigned_abs();
            format!("{} earlier", duration(apart))
        }
        false => format!(
            "of another run on {}: matched by names of processes, functions and source files",
            then.host
        ),
    };
    let parts = vec![
        Line::of(&shown(now.time)),
        Line::of(" ").strong(&names::subject(profile)).plain(","),
        Line::of(&format!("compared with {},", shown(then.time))),
        Line::of(&how),
    ];
    out.flow(parts, 2)
}

/// The sums: how much more, how many stacks.
fn sums(out: &mut Writer<'_>, profile: &Profile, rows: &Changes<'_>) -> io::Result<()> {
    let amount = |value: i64| bytes(value.max(0).cast_unsigned());
    let line = Line::default()
        .strong(&change(rows.after.saturating_sub(rows.before)))
        .plain(&format!(
            ": {} before, {} now",
            amount(rows.before),
            amount(rows.after)
        ));
    out.line(&line)?;
    let part = |samples: &[&Sample], verb: &str, of: Fate| {
        let moved: i64 = samples.iter().map(|sample| changed(profile, sample)).sum();
        let special = samples.iter().filter(|sample| fate(profile, sample) == of);
        let special = match special.count() {
            0 => String::new(),
            some => format!(" ({} of them {})", count(some as u64), of.word()),
        };
        let stacks = counted(samples.len() as u64, "stack");
        let moved = bytes(moved.unsigned_abs());
        (!samples.is_empty()).then(|| format!("{stacks} {verb} by {moved}{special}"))
    };
    let grew = part(&rows.grown, "grew", Fate::New);
    let shrank = part(&rows.shrunk, "shrank", Fate::Gone);
    let unchanged =
        (rows.unchanged > 0).then(|| format!("{} unchanged", count(rows.unchanged as u64)));
    let parts: Vec<String> = grew.into_iter().chain(shrank).chain(unchanged).collect();
    match parts.is_empty() {
        true => out.say("no stack in either"),
        false => out.say(&parts.join(", ")),
    }
}

/// How much more a stack holds, and whose it is.
fn head(profile: &Profile, index: usize, sample: &Sample) -> Vec<Line> {
    let level = sample.source.level();
    let amount =
        |value: Option<Number>| bytes(value.map_or(0, Number::whole).max(0).cast_unsigned());
    let fate = fate(profile, sample);
    let mut parts = vec![
        number(index)
            .plain(&format!("{}: ", fate.word()))
            .strong(&change(changed(profile, sample))),
    ];
    if !matches!(fate, Fate::New | Fate::Gone) {
        parts.push(Line::of(&format!(
            "{} before and {} now",
            amount(profile.before(sample, level)),
            amount(profile.after(sample, level))
        )));
    }
    if let Some((measure, noun)) = counts(sample.source)
        && let Some(more) = profile.whole(sample, measure)
        && more != 0
    {
        let sign = if more < 0 { '-' } else { '+' };
        parts.push(Line::of(&format!(
            "{sign}{}",
            counted(more.unsigned_abs(), noun)
        )));
    }
    if profile.is_of_many() {
        parts.push(Line::of(&names::owners(profile, sample)));
    }
    parts
}

fn left_out(out: &mut Writer<'_>, all: usize, shown: usize, verb: &str) -> io::Result<()> {
    match all.saturating_sub(shown) as u64 {
        0 => Ok(()),
        more => out.say(&format!(
            "{} more {} {verb} (--top 0 shows all)",
            count(more),
            plural(more, "stack", "stacks")
        )),
    }
}

/// Of the machine: the processes that have changed most.
fn processes(out: &mut Writer<'_>, profile: &Profile, options: &Options) -> io::Result<()> {
    const OF: Measure = Measure::ProcessTotalBytes;
    let moved = |subject: &&Subject| subject.totals.whole(OF).is_some_and(|moved| moved != 0);
    let mut subjects: Vec<&Subject> = profile.subjects.iter().filter(moved).collect();
    subjects.sort_by_key(|subject| Reverse(subject.totals.whole(OF)));
    let most = options.top.unwrap_or(usize::MAX);
    for subject in subjects.iter().take(most) {
        let moved = subject.totals.whole(OF).unwrap_or(0);
        let was = subject.before.amount(OF);
        let line = Line::of(&format!("{:>12}  ", change(moved)));
        let now = was.saturating_add_signed(moved);
        out.line(&line.strong(&names::process(subject)).plain(&format!(
            ", {} before and {} now",
            bytes(was),
            bytes(now)
        )))?;
    }
    if subjects.is_empty() {
        out.say("no process that is in both has changed")?;
    }
    super::more(out, subjects.len().saturating_sub(most) as u64)
}
