//! A hunt as one page: the conclusion, what each step found, the stacks that it rests on, and what to run next.

use std::io;

use super::closing;
use crate::profile::hunt::{Hunt, HuntOutcome, HuntStep, StepKind};
use crate::profile::{FindingKind, Measure, Profile, Sample, Source};
use crate::render::Options;
use crate::render::term::frames;
use crate::render::term::line::{Line, Writer};
use crate::words::units::{bytes, counted, duration};
use crate::words::{elide, names};

/// Stacks shown of each source, unless every frame is asked for.
const STACKS_SHOWN: usize = 3;
/// Columns of a command that the words on it stand beside.
const COMMAND: usize = 48;
/// Columns of the name of a step.
const STEP: usize = 9;

/// Writes the page.
///
/// # Errors
/// Those of `out`.
pub(super) fn write(out: &mut Writer<'_>, profile: &Profile, options: &Options) -> io::Result<()> {
    let Some(hunt) = &profile.sections.hunt else {
        return Ok(());
    };
    heading(out, profile, hunt, options)?;
    out.blank()?;
    out.sentence(Line::default().strong("found:"), &hunt.conclusion, 2)?;
    out.blank()?;
    for step in &hunt.steps {
        self::step(out, step)?;
    }
    judgements(out, profile)?;
    stacks(out, profile, Source::Heap, options)?;
    stacks(out, profile, Source::AddressSpace, options)?;
    next(out, hunt)?;
    end(out, profile, hunt, options)
}

/// When, of what, and how long it took.
fn heading(
    out: &mut Writer<'_>,
    profile: &Profile,
    hunt: &Hunt,
    options: &Options,
) -> io::Result<()> {
    let time = profile.meta.time.to_zoned(options.time_zone.clone());
    let what = match profile.subjects.first() {
        Some(process) => names::process(process),
        None => "the whole machine".to_owned(),
    };
    let early = match hunt.interrupted {
        true => format!(", ended early (it was to take {})", duration(hunt.time)),
        false => String::new(),
    };
    out.flow(
        vec![
            Line::of(&format!("{}  hunt:", time.strftime("%Y-%m-%d %H:%M:%S"))),
            Line::default().strong(&what).plain(","),
            Line::of(&format!("took {}{early}", duration(hunt.took))),
        ],
        2,
    )
}

/// What a step found, and the least that it would have seen.
fn step(out: &mut Writer<'_>, step: &HuntStep) -> io::Result<()> {
    let number = step.step as usize + 1;
    let mark = Line::default()
        .strong(&format!("{number} {}", step.step.words()))
        .pad_to(STEP);
    let least = step.least_bytes_per_min.filter(|least| *least > 0);
    let least = least.map_or_else(String::new, |least| {
        format!(", sees growth from {}/min on", bytes(least))
    });
    let text = format!("{} [{}{least}]", step.text, duration(step.took));
    out.sentence(mark, &text, STEP + 1)
}

/// What the stacks are judged to be, in the order of the verdict.
fn judgements(out: &mut Writer<'_>, profile: &Profile) -> io::Result<()> {
    const KINDS: [FindingKind; 8] = [
        FindingKind::Leak,
        FindingKind::Collection,
        FindingKind::Load,
        FindingKind::Cache,
        FindingKind::OneTimeLoss,
        FindingKind::StackOnly,
        FindingKind::Turnover,
        FindingKind::Unexplained,
    ];
    let judged = profile.findings.iter();
    let mut judged = judged
        .filter(|finding| KINDS.contains(&finding.kind))
        .peekable();
    if judged.peek().is_some() {
        out.blank()?;
    }
    for finding in judged {
        out.sentence(Line::of("verdict:"), &finding.text, 2)?;
    }
    Ok(())
}

/// The stacks of one source that the conclusion rests on.
fn stacks(
    out: &mut Writer<'_>,
    profile: &Profile,
    source: Source,
    options: &Options,
) -> io::Result<()> {
    let all: Vec<&Sample> = profile.stack_samples(source).collect();
    let shown = match options.all_frames {
        true => all.len(),
        false => worth_showing(profile, source, &all),
    };
    if shown == 0 {
        return Ok(());
    }
    out.blank()?;
    out.line(&Line::of(match source {
        Source::Heap => "heap stacks, those that certainly grow most first:",
        _ => "mapping stacks, by memory in what they mapped meanwhile:",
    }))?;
    for (index, sample) in all.iter().take(shown).enumerate() {
        let number = Line::default().faint(&format!("#{} ", index + 1));
        let mut parts = match source {
            Source::Heap => heap_figures(profile, sample),
            _ => mapping_figures(profile, sample),
        };
        if let Some(first) = parts.first_mut() {
            *first = number.join(std::mem::take(first));
        }
        out.list(parts, 4)?;
        frames::write(out, profile, sample.stack, options)?;
    }
    let total = profile.stacks_total(source, source.level()).0;
    match total.saturating_sub(shown as u64) {
        0 => Ok(()),
        more => out.line(&Line::of(&format!("  ... {}", counted(more, "more stack")))),
    }
}

/// How many of the first stacks say something: of the heap those that grow, of mappings those with a tenth of the
/// growth. Where the conclusion is about the source there are several, and the first one in any case; else one, which
/// may be worth a look.
fn worth_showing(profile: &Profile, source: Source, all: &[&Sample]) -> usize {
    let outcome = profile.sections.hunt.as_ref().map(|hunt| hunt.outcome);
    let (least, most) = match (source, outcome) {
        (Source::Heap, Some(HuntOutcome::Heap | HuntOutcome::Ended))
        | (Source::AddressSpace, Some(HuntOutcome::Mappings)) => (1, STACKS_SHOWN),
        // What a runtime maps is its heap, whoever happens to ask for more.
        (Source::AddressSpace, Some(HuntOutcome::RuntimeHeap)) => (0, 0),
        _ => (0, 1),
    };
    let grown = profile.sections.ledger_change.as_ref();
    let grown = grown.map_or(0, |change| change.resident_bytes.max(0).unsigned_abs());
    let says = |sample: &&&Sample| match source {
        Source::Heap => profile
            .value(sample, Measure::HeapGrowthPerSLow)
            .is_some_and(|low| low.real() > 0.0),
        _ => {
            let size = profile.amount(sample, Measure::VmResidentBytes);
            size > 0 && size >= grown / 10 && size >= 64 << 10
        }
    };
    let worth = all.iter().take_while(says).count();
    worth.clamp(least, most).min(all.len())
}

fn heap_figures(profile: &Profile, sample: &Sample) -> Vec<Line> {
    let amount = |measure| profile.amount(sample, measure);
    let mut parts = vec![
        Line::default()
            .strong(&bytes(amount(Measure::HeapLiveBytes)))
            .plain(&format!(
                " in {}",
                counted(amount(Measure::HeapLiveBlocks), "block")
            )),
    ];
    parts.extend(slope(profile, sample).map(|slope| Line::default().strong(&slope)));
    parts
}

/// "+6.00 MiB/min (5.90 MiB to 6.10 MiB)".
fn slope(profile: &Profile, sample: &Sample) -> Option<String> {
    let per_min = |measure| {
        let per_s = profile.value(sample, measure)?.real();
        let sign = if per_s < 0.0 { "-" } else { "" };
        // A cast of a float ends at the largest number.
        Some((sign, bytes((per_s.abs() * 60.0).round() as u64)))
    };
    let (sign, slope) = per_min(Measure::HeapGrowthPerS)?;
    let sign = if sign.is_empty() { "+" } else { sign };
    let interval = per_min(Measure::HeapGrowthPerSLow).zip(per_min(Measure::HeapGrowthPerSHigh));
    let interval = interval.map_or_else(String::new, |((low_sign, low), (high_sign, high))| {
        format!(" ({low_sign}{low} to {high_sign}{high})")
    });
    Some(format!("{sign}{slope}/min{interval}"))
}

fn mapping_figures(profile: &Profile, sample: &Sample) -> Vec<Line> {
    let amount = |measure| profile.amount(sample, measure);
    let ranges = counted(amount(Measure::VmRanges), "range");
    let mut parts = vec![
        Line::default()
            .strong(&bytes(amount(Measure::VmResidentBytes)))
            .plain(&format!(" in {ranges}")),
        Line::of(&format!("{} mapped", bytes(amount(Measure::VmMappedBytes)))),
    ];
    let rows = sample.ledger_rows();
    if !rows.is_empty() {
        parts.push(Line::of(&rows));
    }
    parts
}

/// The commands, each with what it is good for.
fn next(out: &mut Writer<'_>, hunt: &Hunt) -> io::Result<()> {
    if hunt.next.is_empty() {
        return Ok(());
    }
    out.blank()?;
    out.line(&Line::of("next:"))?;
    let commands = hunt.next.iter().map(|next| elide::columns(&next.command));
    let widest = commands.filter(|columns| *columns <= COMMAND).max();
    for next in &hunt.next {
        let command = Line::of("  ").strong(&next.command);
        let column = widest.unwrap_or(0) + 4;
        let end = column + elide::columns(&next.what);
        let fits = command.columns() < column && end <= out.width().unwrap_or(usize::MAX);
        if fits {
            out.line(&command.pad_to(column).plain(&next.what))?;
        } else {
            out.line(&command)?;
            out.sentence(Line::of("     "), &next.what, 6)?;
        }
    }
    Ok(())
}

/// Whether the figures of the trace are complete, and what they do not cover.
fn end(out: &mut Writer<'_>, profile: &Profile, hunt: &Hunt, options: &Options) -> io::Result<()> {
    out.blank()?;
    if hunt.step(StepKind::Trace).is_some() && hunt.not_traced.is_none() {
        return closing::write(out, profile, options);
    }
    for note in &profile.notes {
        out.sentence(Line::default().strong("note:"), note, 2)?;
    }
    Ok(())
}
