//! The growth of a process as text: its parts, which add up, and the stacks of each.

use std::io;

use crate::profile::ledger::RssGrowth;
use crate::profile::{Measure, Profile, Sample, Source};
use crate::render::Options;
use crate::render::term::frames;
use crate::render::term::line::{Line, Writer};
use crate::words::units::{bytes, change, count, counted, share};

/// Stacks shown of each part, unless every frame is asked for.
const STACKS_SHOWN: usize = 5;
/// Rows of the ledger that are named behind a part.
const ROWS_NAMED: usize = 3;

/// Writes the parts of the growth and their stacks.
///
/// # Errors
/// Those of `out`.
pub(super) fn write(
    out: &mut Writer<'_>,
    profile: &Profile,
    growth: &RssGrowth,
    options: &Options,
) -> io::Result<()> {
    let seconds = growth.traced.as_secs_f64();
    let title = Line::default()
        .strong("growth")
        .plain(&format!(" of RSS, traced for {seconds:.1} s: "));
    out.line(&title.strong(&change(growth.resident_bytes)))?;
    parts(out, profile, growth)?;
    let blocks = "heap stacks, by blocks allocated meanwhile and live:";
    stacks(out, profile, Source::Heap, blocks, options)?;
    let mapped = "mapping stacks, by memory in what they mapped meanwhile:";
    stacks(out, profile, Source::AddressSpace, mapped, options)?;
    for text in &growth.not_seen {
        out.sentence(Line::of("  not seen:"), text, 4)?;
    }
    Ok(())
}

fn parts(out: &mut Writer<'_>, profile: &Profile, growth: &RssGrowth) -> io::Result<()> {
    let mut parts = vec![(change(growth.heap_bytes), heap(profile))];
    if let Some(resident) = growth.mapped_bytes {
        let sum = |measure| profile.stacks_total(Source::AddressSpace, measure).1;
        let text = format!(
            "mapped meanwhile, but not by the allocator: {} of address space in {}",
            bytes(sum(Measure::VmMappedBytes)),
            counted(sum(Measure::VmRanges), "range")
        );
        parts.push((change(resident), text));
    }
    parts.push((change(growth.older_bytes), older(growth)));
    let widest = parts.iter().map(|(size, _)| size.len()).max().unwrap_or(0);
    for (size, text) in &parts {
        let mark = Line::default().strong(&format!("  {size:>widest$}"));
        out.sentence(mark.plain(" "), text, widest + 4)?;
    }
    Ok(())
}

fn heap(profile: &Profile) -> String {
    if !profile.has(Source::Heap) {
        return "heap; its blocks were not traced".to_owned();
    }
    let totals = profile.totals();
    format!(
        "heap; of what was allocated meanwhile, {} in {} is live",
        bytes(totals.amount(Measure::HeapLiveBytes)),
        counted(totals.amount(Measure::HeapLiveBlocks), "block")
    )
}

/// What was mapped before, and the rows that changed most.
fn older(growth: &RssGrowth) -> String {
    let rows = growth
        .older_rows
        .iter()
        .map(|row| (row.row.words(), row.resident_bytes));
    let while_read = (
        "changed while it was read".to_owned(),
        growth.unaccounted_bytes,
    );
    let mut rows: Vec<(String, i64)> = rows
        .chain([while_read])
        .filter(|(_, size)| *size != 0)
        .collect();
    rows.sort_by(|(one_row, one), (other_row, other)| {
        let by_size = other.abs().cmp(&one.abs());
        by_size.then_with(|| one_row.cmp(other_row))
    });
    let named = rows.iter().take(ROWS_NAMED);
    let mut named: Vec<String> = named
        .map(|(row, size)| format!("{row} {}", change(*size)))
        .collect();
    if rows.len() > ROWS_NAMED {
        named.push(format!("{} more", count((rows.len() - ROWS_NAMED) as u64)));
    }
    let what = "mapped before, and touched or given back meanwhile";
    match named.is_empty() {
        true => what.to_owned(),
        false => format!("{what}: {}", named.join("; ")),
    }
}

/// The stacks of one part, if it has any.
fn stacks(
    out: &mut Writer<'_>,
    profile: &Profile,
    source: Source,
    title: &str,
    options: &Options,
) -> io::Result<()> {
    let by = match source {
        Source::Heap => Measure::HeapLiveBytes,
        _ => Measure::VmResidentBytes,
    };
    let (total, mapped) = profile.stacks_total(source, by);
    if total == 0 {
        return Ok(());
    }
    // Blocks whose stack was not kept are in the totals of the process alone.
    let whole = match source {
        Source::Heap => profile.totals().amount(by),
        _ => mapped,
    };
    out.blank()?;
    out.line(&Line::of(title))?;
    let sizes = profile
        .stack_samples(source)
        .map(|sample| profile.amount(sample, by));
    let shown = worth_showing(sizes, whole, options);
    for (index, sample) in profile.stack_samples(source).take(shown).enumerate() {
        let number = Line::default().faint(&format!("#{} ", index + 1));
        let size = profile.amount(sample, by);
        let mut parts = details(profile, sample, source, size, whole);
        if let Some(first) = parts.first_mut() {
            *first = number.strong(&bytes(size)).join(std::mem::take(first));
        }
        out.list(parts, 4)?;
        frames::write(out, profile, sample.stack, options)?;
    }
    match total.saturating_sub(shown as u64) {
        0 => Ok(()),
        more => out.line(&Line::of(&format!("  ... {}", counted(more, "more stack")))),
    }
}

/// What a stack holds besides its size.
fn details(profile: &Profile, sample: &Sample, source: Source, size: u64, whole: u64) -> Vec<Line> {
    let amount = |measure| profile.amount(sample, measure);
    match source {
        Source::Heap => vec![
            Line::of(&format!(
                " in {}",
                counted(amount(Measure::HeapLiveBlocks), "block")
            )),
            Line::of(&format!("{} of these", share(size, whole))),
        ],
        _ => vec![
            Line::of(&format!(
                " in {}",
                counted(amount(Measure::VmRanges), "range")
            )),
            Line::of(&format!("{} mapped", bytes(amount(Measure::VmMappedBytes)))),
            Line::of(&sample.ledger_rows()),
        ],
    }
}

/// How many of the stacks, most first, are worth their lines: those with a hundredth of the whole.
fn worth_showing(sizes: impl Iterator<Item = u64>, whole: u64, options: &Options) -> usize {
    if options.all_frames {
        return sizes.count();
    }
    let worth = sizes.take_while(|size| *size > 0 && *size >= whole / 100);
    worth.count().clamp(1, STACKS_SHOWN)
}
