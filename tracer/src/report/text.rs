//! The report as text: for a person, in a terminal or a log.

use std::collections::BTreeSet;
use std::io::{self, Write};

use jiff::tz::TimeZone;
use nix::sys::signal::Signal;

use super::line::{Line, Writer};
use super::loss::{Severity, sentences};
use super::units::{bytes, change, count, counted, duration, share};
use super::{CommandExit, ProcessRow, ProcessState, Report, Sampling, StackRow};
use super::{cut, frames, names, table};

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
    heading(&mut out, report, options)?;
    totals(&mut out, report)?;
    filtered(&mut out, report)?;
    if table::is_wanted(&report.processes) {
        out.blank()?;
        table::write(&mut out, &report.processes)?;
    }
    out.blank()?;
    for (index, stack) in report.stacks.iter().enumerate() {
        stack_head(&mut out, report, index, stack)?;
        frames::write(&mut out, stack, options)?;
        if options.show_blocks {
            blocks(&mut out, report, stack)?;
        }
        out.blank()?;
    }
    stacks_left_out(&mut out, report)?;
    closing(&mut out, report, options)?;
    if !report.last {
        out.blank()?;
    }
    Ok(())
}

/// When, what and for how long.
fn heading(
    out: &mut Writer<'_, impl Write>,
    report: &Report,
    options: &TextOptions,
) -> io::Result<()> {
    let time = super::timestamp(report)?.to_zoned(options.time_zone.clone());
    let subject = Line::default().plain(" ").strong(&names::subject(report));
    let last = if report.last { ", last report" } else { "" };
    let traced = format!("traced for {}{last}", duration(report.elapsed));
    out.flow(
        vec![
            Line::of(&time.strftime("%Y-%m-%d %H:%M:%S").to_string()),
            subject.plain(","),
            Line::of(&traced),
        ],
        2,
    )
}

/// Live, allocated and released memory of all processes.
fn totals(out: &mut Writer<'_, impl Write>, report: &Report) -> io::Result<()> {
    if report.processes.is_empty() {
        return out.line(&Line::of("nothing is being traced"));
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

fn changed(growth: i64) -> Line {
    match growth {
        0 => Line::of("unchanged"),
        _ => Line::default().strong(&change(growth)),
    }
}

/// What a stack holds, and whose it is.
fn stack_head(
    out: &mut Writer<'_, impl Write>,
    report: &Report,
    index: usize,
    stack: &StackRow,
) -> io::Result<()> {
    let held = Line::default()
        .faint(&format!("#{} ", index + 1))
        .strong(&bytes(stack.live_bytes))
        .plain(" in ")
        .strong(&count(stack.live_count))
        .plain(if stack.live_count == 1 {
            " block"
        } else {
            " blocks"
        });
    let mut parts = vec![held];
    parts.extend(stack.growth_bytes.map(changed));
    let (whole, of) = match report.filter.age() {
        None => (report.live_bytes(), "live"),
        Some(_) => (report.stacks_live_bytes, "these"),
    };
    let share = share(stack.live_bytes, whole);
    parts.push(Line::of(&format!("{share} of {of}")));
    if let Some(age) = stack.oldest_age {
        parts.push(Line::of(&format!("oldest {}", duration(age))));
    }
    if report.processes.len() > 1 {
        let name = match report.process(stack.pid) {
            Some(row) => names::process(row),
            None => format!("pid {}", stack.pid),
        };
        parts.push(Line::of(&name));
    }
    out.list(parts, 4)
}

/// The blocks of a stack, one per line.
fn blocks(out: &mut Writer<'_, impl Write>, report: &Report, stack: &StackRow) -> io::Result<()> {
    let sizes: Vec<String> = stack.blocks.iter().map(|block| count(block.size)).collect();
    let widest = sizes.iter().map(String::len).max().unwrap_or(0);
    for (block, size) in stack.blocks.iter().zip(&sizes) {
        let addr = format!("{:#014x}", block.addr);
        let size = format!("{size:>widest$} bytes");
        let age = format!("age {}", duration(block.age));
        let line = Line::of("    block ").plain(&addr).plain("  ");
        out.line(&line.strong(&size).plain("  ").plain(&age))?;
    }
    let left_out = stack.live_count.saturating_sub(stack.blocks.len() as u64);
    if left_out > 0 && !stack.blocks.is_empty() && report.sampling.is_none() {
        out.line(&Line::of(&format!(
            "    ... {} more",
            counted(left_out, "block")
        )))?;
    }
    Ok(())
}

/// What the stacks hold that are not shown, or why there is none.
fn stacks_left_out(out: &mut Writer<'_, impl Write>, report: &Report) -> io::Result<()> {
    let left_out = report.stacks_total.saturating_sub(report.stacks.len());
    if left_out > 0 {
        let shown: u64 = report.stacks.iter().map(|stack| stack.live_bytes).sum();
        let held = report.stacks_live_bytes.saturating_sub(shown);
        let stacks = if report.stacks.is_empty() {
            counted(left_out as u64, "stack")
        } else {
            format!(
                "{} more {}",
                count(left_out as u64),
                if left_out == 1 { "stack" } else { "stacks" }
            )
        };
        let verb = if left_out == 1 { "holds" } else { "hold" };
        return out.sentence(
            Line::default(),
            &format!("{stacks} {verb} {}", bytes(held)),
            2,
        );
    }
    if !report.stacks.is_empty() || report.processes.is_empty() {
        return Ok(());
    }
    let allocated = report.processes.iter().any(|row| row.alloc_count > 0);
    let text = if report.live_count() > 0 {
        "no stack to show: none of the live blocks passes the filters"
    } else if allocated {
        "no live memory: all that was allocated since the start has been freed"
    } else {
        "no live memory: nothing has been allocated since the start"
    };
    out.sentence(Line::default(), text, 2)
}

/// Whether the numbers can be trusted, and what they do not cover.
fn closing(
    out: &mut Writer<'_, impl Write>,
    report: &Report,
    options: &TextOptions,
) -> io::Result<()> {
    let told = sentences(&report.loss);
    let with = |severity: Severity| told.iter().filter(move |s| s.severity == severity);
    let sampled = report.sampling.is_some();
    let detail = with(Severity::Detail).count() > 0;
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
    for sentence in with(Severity::Totals).chain(with(Severity::Detail)) {
        out.sentence(Line::default().strong("  lost:"), &sentence.text, 4)?;
    }
    for sentence in with(Severity::Coverage) {
        out.sentence(Line::default().strong("note:"), &sentence.text, 2)?;
    }
    for sentence in cut::sentences(report) {
        out.sentence(Line::default().strong("note:"), &sentence, 2)?;
    }
    let is_due = |note: &&String| report.last || !options.known_notes.contains(*note);
    for note in report.notes.iter().filter(is_due) {
        out.sentence(Line::default().strong("note:"), note, 2)?;
    }
    if let Some(sampling) = report.sampling {
        out.sentence(Line::default(), &estimate(sampling, report.live_bytes()), 2)?;
    }
    if let Some(exit) = report.command_exit {
        out.sentence(Line::default(), &command_exit(exit), 2)?;
    }
    Ok(())
}

fn estimate(sampling: Sampling, live: u64) -> String {
    format!(
        "estimates from {}, one per {} on average; live total {} +- {} (1 standard error)",
        counted(sampling.live_samples, "sampled block"),
        bytes(sampling.interval_bytes),
        bytes(live),
        bytes(sampling.standard_error_bytes)
    )
}

fn command_exit(exit: CommandExit) -> String {
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
