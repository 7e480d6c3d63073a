//! The report of `memlens kernel` as text.

use std::io::{self, Write};

use tracer_common::kernel_memory::Kind;

use super::loss::sentences;
use super::{CacheGrowth, Held, KernelReport, KernelStack};
use crate::report::line::{Line, Writer};
use crate::report::parts::{self, Heading, changed, number};
use crate::report::table::{Column, write_columns};
use crate::report::text::TextOptions;
use crate::report::units::{bytes, change, count, counted, duration, share};
use crate::report::{frames, names};

/// Writes the report; one that is not the last is followed by an empty line.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &KernelReport, options: &TextOptions, out: &mut impl Write) -> io::Result<()> {
    let mut out = Writer::new(out, options.width, options.colour);
    let only = report.only.as_deref();
    let heading = Heading {
        time: report.time,
        subject: "kernel memory",
        before: &only.map_or(String::new(), |only| {
            format!("{} only, ", names::clean(only))
        }),
        elapsed: report.elapsed,
        last: report.last,
    };
    parts::heading(&mut out, &heading, options)?;
    totals(&mut out, report)?;
    out.blank()?;
    for (index, stack) in report.stacks.iter().enumerate() {
        stack_head(&mut out, report, index, stack)?;
        frames::write(&mut out, &stack.frames, stack.truncated.as_deref(), options)?;
        out.blank()?;
    }
    stacks_left_out(&mut out, report)?;
    caches(&mut out, report)?;
    closing(&mut out, report, options)?;
    if !report.last {
        out.blank()?;
    }
    Ok(())
}

const fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Slab => "object",
        Kind::Pages | Kind::PerCpu => "block",
    }
}

const fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Slab => "slab",
        Kind::Pages => "pages",
        Kind::PerCpu => "per-CPU",
    }
}

/// What is held since the start, by kind, and what of it lies under what.
fn totals(out: &mut Writer<'_, impl Write>, report: &KernelReport) -> io::Result<()> {
    let held = |kind: Kind, held: &Held| {
        Line::of(&format!("{} ", words(kind)))
            .strong(&bytes(held.live_bytes))
            .plain(&format!(" in {}", counted(held.live_count, noun(kind))))
    };
    let mut parts: Vec<Line> = report
        .kinds
        .iter()
        .map(|(kind, amount)| held(*kind, amount))
        .collect();
    if let (Some(first), true) = (parts.first_mut(), report.kinds.len() > 1) {
        let sum = bytes(report.held().live_bytes);
        let head = Line::of("held ").strong(&sum).plain(": ");
        *first = head.join(std::mem::take(first));
    }
    out.list(parts, 2)?;
    let sum = report.held();
    out.list(
        vec![
            Line::of(&format!(
                "allocated since the start {} in {}",
                bytes(sum.alloc_bytes),
                count(sum.alloc_count)
            )),
            Line::of(&format!(
                "held by {}",
                counted(report.stacks_total as u64, "stack")
            )),
        ],
        2,
    )?;
    for (kind, amount) in report
        .backing
        .iter()
        .filter(|(_, held)| held.live_bytes > 0)
    {
        let text = format!(
            "under the {} lie {} of pages, which are not added",
            match kind {
                Kind::PerCpu => "per-CPU memory",
                _ => "slab objects",
            },
            bytes(amount.live_bytes),
        );
        out.sentence(Line::default(), &text, 2)?;
    }
    if let Some(sampling) = report.sampling {
        let text = format!(
            "estimates from a sample, one in about {}: +- {}",
            bytes(sampling.interval_bytes),
            bytes(sampling.standard_error_bytes)
        );
        out.sentence(Line::default(), &text, 2)?;
    }
    Ok(())
}

/// What a stack holds.
fn stack_head(
    out: &mut Writer<'_, impl Write>,
    report: &KernelReport,
    index: usize,
    stack: &KernelStack,
) -> io::Result<()> {
    let noun = counted(stack.held.live_count, noun(stack.kind));
    let each = match stack.size {
        Some(size) if stack.kind == Kind::Slab => format!(" of {}", bytes(size)),
        _ => String::new(),
    };
    let mut parts = vec![
        number(index)
            .strong(&bytes(stack.held.live_bytes))
            .plain(&format!(" in {noun}{each}")),
        Line::default().strong(&names::clean(&stack.what)),
    ];
    parts.extend(stack.growth.map(changed));
    match stack.backing {
        None => {
            let share = share(stack.held.live_bytes, report.stacks_live_bytes);
            parts.push(Line::of(&format!("{share} of these")));
        }
        Some(Kind::PerCpu) => parts.push(Line::of("under per-CPU memory, not added")),
        Some(_) => parts.push(Line::of("under slab objects, not added")),
    }
    if let Some(oldest) = stack.oldest {
        parts.push(Line::of(&format!("oldest {}", duration(oldest))));
    }
    out.list(parts, 4)
}

fn stacks_left_out(out: &mut Writer<'_, impl Write>, report: &KernelReport) -> io::Result<()> {
    let left_out = report.stacks_total.saturating_sub(report.stacks.len());
    let text = match (left_out, report.stacks.is_empty(), report.older.is_zero()) {
        (0, true, true) => "nothing that was allocated since the start is held".to_owned(),
        (0, true, false) => format!(
            "nothing that was allocated since the start has been held for {}",
            duration(report.older)
        ),
        (0, false, _) => return Ok(()),
        (1, ..) => "1 more stack holds memory".to_owned(),
        (more, ..) => format!("{} more stacks hold memory", count(more as u64)),
    };
    out.sentence(Line::default(), &text, 2)?;
    out.blank()
}

/// Caches that have grown, and how much of it the stacks explain.
fn caches(out: &mut Writer<'_, impl Write>, report: &KernelReport) -> io::Result<()> {
    let Some(grown) = report.grown.filter(|_| !report.caches.is_empty()) else {
        return Ok(());
    };
    out.line(&Line::of(
        "slab caches that have grown since the start, as the kernel counts them:",
    ))?;
    let rows = &report.caches;
    let held = |row: &CacheGrowth| row.held_bytes.map_or_else(|| "-".to_owned(), bytes);
    let columns = vec![
        Column::new("change", rows, |row| change(row.bytes_change)).strong(),
        Column::new("bytes", rows, |row| bytes(row.bytes)),
        Column::new("objects", rows, |row| count(row.objects)),
        Column::new("change of these", rows, |row| {
            let sign = if row.objects_change > 0 { "+" } else { "" };
            format!("{sign}{}", row.objects_change)
        }),
        Column::new("held by stacks", rows, held),
        Column::new("cache", rows, |row| names::clean(&row.name).into_owned()).words(),
    ];
    write_columns(
        out,
        columns,
        rows.len(),
        &["objects", "bytes", "change of these"],
    )?;
    parts::more(out, report.caches_total.saturating_sub(rows.len()))?;
    let text = format!(
        "these caches have grown by {} of slabs; the stacks of this trace hold {} of that ({})",
        bytes(grown.bytes),
        bytes(grown.explained),
        share(grown.explained, grown.bytes)
    );
    out.sentence(Line::default(), &text, 2)?;
    out.blank()
}

/// Whether the totals are exact, and what the numbers do not cover.
fn closing(
    out: &mut Writer<'_, impl Write>,
    report: &KernelReport,
    options: &TextOptions,
) -> io::Result<()> {
    let (mark, text) = match report.complete() {
        true => ("complete:", "nothing was lost"),
        false => ("incomplete:", "some allocations or releases were not seen"),
    };
    out.sentence(Line::default().strong(mark), text, 2)?;
    parts::losses(out, &sentences(&report.loss))?;
    parts::notes(out, &report.notes, report.last, options)
}
