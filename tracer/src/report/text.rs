//! The report as text: for a person, in a terminal or a log.

use std::collections::BTreeSet;
use std::io::{self, Write};

use jiff::tz::TimeZone;
use nix::sys::signal::Signal;

use super::line::{Line, Writer};
use super::loss::{Severity, sentences};
use super::parts::{self, Heading, changed};
use super::units::{bytes, count, counted, counted_processes};
use super::{CommandExit, ProcessRow, ProcessState, Report, Sampling};
use super::{cut, host_text, names, stacks, table};

/// How the text is to look.
#[derive(Clone, Debug)]
pub struct TextOptions {
    /// Columns of the terminal, which no line exceeds; `None` cuts and wraps nothing.
    pub width: Option<usize>,
    /// Whether to write bold and dim text.
    pub colour: bool,
    /// Whether to show source files and lines.
    pub source: bool,
    /// Whether to show the address of each frame.
    pub addresses: bool,
    /// Whether to show the blocks of each stack, if the report has them.
    pub show_blocks: bool,
    /// Whether every frame has its line, also those that only allocate and those of a runtime.
    pub all_frames: bool,
    /// Notes that were shown before; the last report shows them once more.
    pub known_notes: BTreeSet<String>,
    /// The time zone of the time in the first line.
    pub time_zone: TimeZone,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self {
            width: None,
            colour: false,
            source: true,
            addresses: false,
            show_blocks: false,
            all_frames: false,
            known_notes: BTreeSet::new(),
            time_zone: TimeZone::system(),
        }
    }
}

/// Writes the report; one that is not the last is followed by an empty line.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &Report, options: &TextOptions, out: &mut impl Write) -> io::Result<()> {
    let mut out = Writer::new(out, options.width, options.colour);
    let heading = Heading {
        time: report.time,
        subject: &names::subject(report),
        before: "",
        elapsed: report.elapsed,
        last: report.last,
    };
    parts::heading(&mut out, &heading, options)?;
    totals(&mut out, report)?;
    filtered(&mut out, report)?;
    if let Some(host) = &report.host {
        out.sentence(Line::default(), &host.overhead(), 2)?;
        out.blank()?;
        host_text::table(&mut out, report, host)?;
    } else {
        if table::is_wanted(&report.processes) {
            out.blank()?;
            table::write(&mut out, &report.processes)?;
        }
        out.blank()?;
    }
    stacks::write(&mut out, report, options)?;
    stacks::write_left_out(&mut out, report)?;
    if let Some(host) = &report.host {
        stacks::write_of_processes(&mut out, report, host, options)?;
        host_text::ended(&mut out, &host.ended, |at| host.is_due(at, report.last))?;
    }
    closing(&mut out, report, options)?;
    if !report.last {
        out.blank()?;
    }
    Ok(())
}

/// Live, allocated and released memory of all processes.
fn totals(out: &mut Writer<'_, impl Write>, report: &Report) -> io::Result<()> {
    if report.processes.is_empty() {
        let text = match &report.host {
            None => "nothing is being traced",
            Some(_) => "no process has allocated yet",
        };
        return out.line(&Line::of(text));
    }
    let sum = |value: fn(&ProcessRow) -> u64| report.processes.iter().map(value).sum::<u64>();
    let live = report.live_bytes();
    let exact = if live < 1024 || report.sampling.is_some() {
        String::new()
    } else {
        format!(" ({} bytes)", count(live))
    };
    let about = report.sampling.map_or("", |_| "about ");
    let growth = growth(&report.processes);
    let comma = if growth.is_some() { "," } else { "" };
    let live = Line::of(&format!("live {about}")).strong(&bytes(live));
    let blocks = format!("in {}", counted(report.live_count(), "block"));
    let stacks = format!("on {}", counted(report.stacks_total as u64, "stack"));
    let mut parts = vec![live.plain(&exact)];
    if report.stacks_total > 0 && report.filter.age().is_none() {
        parts.extend([Line::of(&blocks), Line::of(&stacks).plain(comma)]);
    } else {
        parts.push(Line::of(&blocks).plain(comma));
    }
    parts.extend(growth.map(|growth| changed(growth).plain(" since the last report")));
    out.flow(parts, 2)?;
    let flow = |verb: &str, size: u64, blocks: u64| {
        Line::of(&format!(
            "{verb} {about}{} in {}",
            bytes(size),
            counted(blocks, "block")
        ))
    };
    out.list(
        vec![
            flow(
                "allocated",
                sum(|row| row.alloc_bytes),
                sum(|row| row.alloc_count),
            ),
            flow(
                "freed",
                sum(|row| row.free_bytes),
                sum(|row| row.free_count),
            ),
        ],
        2,
    )
}

/// Which blocks count, where not all do.
fn filtered(out: &mut Writer<'_, impl Write>, report: &Report) -> io::Result<()> {
    if let Some(sizes) = report.filter.sizes() {
        out.sentence(Line::default(), &format!("only blocks {sizes}"), 2)?;
    }
    if let Some(age) = report.filter.age() {
        let text = format!(
            "only blocks {age} in the stacks, {} on {}; the totals count every age",
            bytes(report.stacks_live_bytes),
            counted(report.stacks_total as u64, "stack")
        );
        out.sentence(Line::default(), &text, 2)?;
    }
    Ok(())
}

/// The change of the live total; `None` in the first report.
fn growth(processes: &[ProcessRow]) -> Option<i64> {
    let known = processes.iter().filter_map(|row| row.growth_bytes);
    known.reduce(i64::saturating_add)
}

/// Whether the numbers can be trusted, and what they do not cover.
fn closing(
    out: &mut Writer<'_, impl Write>,
    report: &Report,
    options: &TextOptions,
) -> io::Result<()> {
    let told = sentences(&report.loss);
    let sampled = report.sampling.is_some();
    let detail = told.iter().any(|told| told.severity == Severity::Detail);
    match (report.complete(), detail) {
        (false, _) => {
            let of = if sampled {
                "the sample has gaps"
            } else {
                "the totals are not exact"
            };
            out.sentence(Line::default().strong("incomplete:"), of, 2)?;
        }
        (true, true) => {
            let of = if sampled {
                "the sample has no gaps"
            } else {
                "the totals are exact"
            };
            out.sentence(
                Line::default().strong("complete:"),
                &format!("{of}, but some detail was lost"),
                2,
            )?;
        }
        (true, false) => {
            out.sentence(Line::default().strong("complete:"), "nothing was lost", 2)?
        }
    }
    parts::losses(out, &told)?;
    for sentence in cut::sentences(report) {
        parts::note(out, &sentence)?;
    }
    parts::notes(out, &report.notes, report.last, options)?;
    if let Some(host) = &report.host {
        host_text::sentences(out, report, host)?;
    }
    if let Some(sampling) = report.sampling {
        out.sentence(Line::default(), &estimate(sampling, report), 2)?;
    }
    if let Some(exit) = report.command_exit {
        out.sentence(Line::default(), &command_exit(exit), 2)?;
    }
    Ok(())
}

fn estimate(sampling: Sampling, report: &Report) -> String {
    let hosts = report.processes.iter().filter_map(|row| row.host.as_ref());
    let intervals: Vec<u64> = hosts.filter_map(|host| host.sample_bytes).collect();
    let which = match (intervals.iter().min(), intervals.iter().max()) {
        (Some(least), Some(most)) if least < most => format!(
            "one per {} to {} on average in {}",
            bytes(*least),
            bytes(*most),
            counted_processes(intervals.len() as u64)
        ),
        (Some(only), _) => format!(
            "one per {} on average in {}",
            bytes(*only),
            counted_processes(intervals.len() as u64)
        ),
        _ => format!("one per {} on average", bytes(sampling.interval_bytes)),
    };
    format!(
        "estimates from {}, {which}; live total {} +- {} (1 standard error)",
        counted(sampling.live_samples, "sampled block"),
        bytes(report.live_bytes()),
        bytes(sampling.standard_error_bytes)
    )
}

pub(super) fn command_exit(exit: CommandExit) -> String {
    match exit {
        CommandExit::Code(code) => format!("the command exited with code {code}"),
        CommandExit::Signal(number) => match Signal::try_from(number) {
            Ok(signal) => format!("the command was killed by signal {number} ({signal})"),
            Err(_) => format!("the command was killed by signal {number}"),
        },
    }
}

/// What became of a process, in one word.
pub(super) fn state_name(state: ProcessState) -> &'static str {
    match state {
        ProcessState::Running => "running",
        ProcessState::Exited => "exited",
        ProcessState::Replaced => "replaced",
    }
}
