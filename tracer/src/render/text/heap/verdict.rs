//! The verdict: a sentence for each stack and process that deserves one, with the figures that it rests on.

use std::io;
use std::time::Duration;

use super::chosen::Chosen;
use crate::analysis::verdict::mark;
use crate::profile::{Finding, FindingKind, Measure, Number, Profile, Values};
use crate::render::term::line::{Line, Writer};
use crate::words::units::{bytes, count, counted, duration, speed};

/// Findings of one kind on one process that are told one by one; the others are summed up.
const MOST_ALIKE: usize = 3;

/// Writes all of it.
pub fn write(out: &mut Writer<'_>, profile: &Profile, chosen: &Chosen<'_>) -> io::Result<()> {
    let findings: Vec<&Finding> = profile
        .findings
        .iter()
        .filter(|finding| mark(finding.kind).is_some())
        .collect();
    if findings.is_empty() {
        return nothing_grows(out, profile);
    }
    // Of many processes the kinds are summed up over all.
    let key = |finding: &Finding| {
        let subject = finding
            .subject
            .filter(|_| profile.sections.host_wide.is_none());
        (finding.kind, subject)
    };
    for (index, finding) in findings.iter().enumerate() {
        let alike = |other: &&&Finding| key(other) == key(finding);
        match findings[..index].iter().filter(alike).count() {
            before if before < MOST_ALIKE => one(out, finding, chosen)?,
            MOST_ALIKE => {
                let rest: Vec<&Finding> = findings[index..].iter().filter(alike).copied().collect();
                others(out, finding.kind, &rest)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Says that nothing grows, where it is known how the stacks go on.
fn nothing_grows(out: &mut Writer<'_>, profile: &Profile) -> io::Result<()> {
    let stacks = profile.samples.iter().filter_map(|sample| sample.course);
    let subjects = profile.subjects.iter().filter_map(|subject| subject.course);
    let Some(reports) = stacks.chain(subjects).map(|course| course.reports).max() else {
        return Ok(());
    };
    let over = counted(reports.into(), "report");
    let text = format!("by {over} in {}", duration(profile.meta.elapsed));
    out.sentence(Line::default().strong("nothing grows,"), &text, 2)
}

/// A sentence, its figures, and what can be asked further.
fn one(out: &mut Writer<'_>, finding: &Finding, chosen: &Chosen<'_>) -> io::Result<()> {
    let number = chosen.number(finding.subject, finding.stack);
    let number = number.map_or_else(String::new, |number| format!(" (#{number})"));
    let mark = mark(finding.kind).unwrap_or_default();
    let text = finding
        .text
        .strip_prefix(mark)
        .and_then(|text| text.strip_prefix(": "));
    let text = format!("{}{number}", text.unwrap_or(&finding.text));
    out.sentence(Line::default().strong(mark).plain(":"), &text, 2)?;
    list(out, &figures(&finding.figures))?;
    for command in &finding.commands {
        out.line(&Line::of("  ").strong(command))?;
    }
    Ok(())
}

/// What further findings of one kind are together.
fn others(out: &mut Writer<'_>, kind: FindingKind, rest: &[&Finding]) -> io::Result<()> {
    let mut sum = Values::default();
    for finding in rest {
        sum.add(&finding.figures);
    }
    // An interval of a sum is none of theirs.
    let sum: Values = sum
        .iter()
        .filter(|(measure, _)| {
            !matches!(
                measure,
                Measure::HeapGrowthPerSLow | Measure::HeapGrowthPerSHigh
            )
        })
        .collect();
    let more = count(rest.len() as u64);
    let mark = mark(kind).unwrap_or_default();
    out.sentence(
        Line::default().strong(mark).plain(":"),
        &format!("{more} more"),
        2,
    )?;
    list(out, &figures(&sum))
}

fn list(out: &mut Writer<'_>, figures: &[String]) -> io::Result<()> {
    let mut parts: Vec<Line> = figures.iter().map(|figure| Line::of(figure)).collect();
    match parts.first_mut() {
        None => Ok(()),
        Some(first) => {
            *first = Line::of("  ").join(std::mem::take(first));
            out.list(parts, 4)
        }
    }
}

/// The figures that a sentence rests on.
fn figures(values: &Values) -> Vec<String> {
    let real = |measure: Measure| values.get(measure).map(Number::real);
    let growth = real(Measure::HeapGrowthPerS).map(|growth| {
        let sign = if growth > 0.0 { "+" } else { "" };
        let low = real(Measure::HeapGrowthPerSLow);
        let interval = low.zip(real(Measure::HeapGrowthPerSHigh));
        let interval = interval.map_or_else(String::new, |(low, high)| {
            format!(" ({} to {})", speed(low), speed(high))
        });
        format!("{sign}{}{interval}", speed(growth))
    });
    let amount = |words: &str, size: Measure, blocks: Measure| {
        let size = values.amount(size);
        let blocks = counted(values.amount(blocks), "block");
        (size > 0).then(|| format!("{} {words} in {blocks}", bytes(size)))
    };
    let oldest = values.whole(Measure::HeapOldestMs).map(|ms| {
        let age = Duration::from_millis(ms.max(0).cast_unsigned());
        format!("oldest {}", duration(age))
    });
    let all = [
        growth,
        amount("live", Measure::HeapLiveBytes, Measure::HeapLiveBlocks),
        oldest,
        amount("lost", Measure::HeapLostBytes, Measure::HeapLostBlocks),
        amount(
            "lost with them",
            Measure::HeapLostWithBytes,
            Measure::HeapLostWithBlocks,
        ),
        amount("held", Measure::HeapHeldBytes, Measure::HeapHeldBlocks),
        amount(
            "held by a stack or a register only",
            Measure::HeapStackOnlyBytes,
            Measure::HeapStackOnlyBlocks,
        ),
        amount(
            "older than the trace freed",
            Measure::HeapOldFreeBytes,
            Measure::HeapOldFreeBlocks,
        ),
    ];
    all.into_iter().flatten().collect()
}
