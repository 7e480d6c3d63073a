//! The report as text: for a person, in a terminal or a log.

use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::machine::Figure;
use super::report::{By, HostReport, MachineReport, Turnover};
use super::{columns, table};
use crate::report::line::{Line, Writer};
use crate::report::units::{bytes, change, count, counted, duration};

/// How the text is to look.
#[derive(Clone, Debug)]
pub struct TextOptions {
    /// Columns of the terminal, which no line exceeds; `None` cuts and wraps nothing.
    pub width: Option<usize>,
    /// Whether to write bold and dim text.
    pub colour: bool,
    /// The time zone of the time in the first line.
    pub time_zone: TimeZone,
    /// Only the figures of the machine that matter most, for a low screen.
    pub brief: bool,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self {
            width: None,
            colour: false,
            time_zone: TimeZone::system(),
            brief: false,
        }
    }
}

/// Writes the report.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &HostReport, options: &TextOptions, out: &mut impl Write) -> io::Result<()> {
    let mut out = Writer::new(out, options.width, options.colour);
    heading(&mut out, report, options)?;
    out.sentence(Line::default(), &report.outlook, 2)?;
    out.blank()?;
    machine(&mut out, report, options.brief)?;
    if !options.brief {
        list(&mut out, limits(report))?;
    }
    list(&mut out, pressure(report))?;
    if !report.rows.is_empty() {
        out.blank()?;
        table::write(&mut out, columns::of_rows(report))?;
    }
    others(&mut out, report)?;
    if !report.cgroups.is_empty() {
        out.blank()?;
        table::write(&mut out, columns::of_cgroups(&report.cgroups))?;
        let hidden = report.cgroups_total - report.cgroups.len();
        if hidden > 0 {
            let noun = if hidden == 1 { "cgroup" } else { "cgroups" };
            let more = format!("  {} more {noun}", count(hidden as u64));
            out.line(&Line::default().faint(&more))?;
        }
    }
    closing(&mut out, report)
}

/// When, of what and for how long.
fn heading(
    out: &mut Writer<'_, impl Write>,
    report: &HostReport,
    options: &TextOptions,
) -> io::Result<()> {
    let time = Timestamp::try_from(report.time).map_err(io::Error::other)?;
    let time = time.to_zoned(options.time_zone.clone());
    let processes = match report.processes_total {
        1 => "1 process".to_owned(),
        more => format!("{} processes", count(more as u64)),
    };
    let last = if report.last { ", last report" } else { "" };
    out.flow(
        vec![
            Line::of(&time.strftime("%Y-%m-%d %H:%M:%S").to_string()).plain(" "),
            Line::default().strong(&bytes(report.machine.now.get(Figure::Total))),
            Line::of("of memory,"),
            Line::of(&processes).plain(","),
            Line::of(&format!("watched for {},", duration(report.elapsed))),
            Line::of(&format!(
                "changes of the last {}{last}",
                duration(report.changed_over)
            )),
        ],
        2,
    )
}

/// Figures that a low screen shows.
const BRIEF: [Figure; 8] = [
    Figure::Available,
    Figure::Free,
    Figure::Anonymous,
    Figure::Shared,
    Figure::Cache,
    Figure::SlabUnreclaimable,
    Figure::Other,
    Figure::Swap,
];

/// What the grid calls the machine's figures.
const GRID: [(Figure, &str); 15] = [
    (Figure::Available, "available"),
    (Figure::Free, "free"),
    (Figure::Anonymous, "anonymous"),
    (Figure::Shared, "shared"),
    (Figure::Cache, "page cache"),
    (Figure::SlabReclaimable, "slab, reclaimable"),
    (Figure::SlabUnreclaimable, "slab, kept"),
    (Figure::PageTables, "page tables"),
    (Figure::KernelStacks, "kernel stacks"),
    (Figure::PerCpu, "per CPU"),
    (Figure::Vmalloc, "vmalloc"),
    (Figure::HugePages, "huge pages"),
    (Figure::Other, "other"),
    (Figure::Swap, "swap used"),
    (Figure::Committed, "committed"),
];

/// Columns of a figure in the grid, and with a gap between two of them.
const CELL: usize = 40;
const WIDE_CELL: usize = 46;

/// One figure: its name, its value and what it changed by.
fn cell(machine: &MachineReport, figure: Figure, name: &str) -> Line {
    let value = bytes(machine.now.get(figure));
    let line = Line::of("  ")
        .plain(name)
        .pad_to(29 - value.len().min(8))
        .strong(&value);
    match machine.change(figure) {
        0 => line,
        changed => {
            let change = change(changed);
            line.pad_to(CELL - change.len().min(10)).faint(&change)
        }
    }
}

/// The machine's figures, each with its change, in as many columns as fit.
fn machine(out: &mut Writer<'_, impl Write>, report: &HostReport, brief: bool) -> io::Result<()> {
    let machine = &report.machine;
    let mut grid = GRID.to_vec();
    if brief {
        grid.retain(|(figure, _)| BRIEF.contains(figure));
    } else if machine.now.get(Figure::Zswap) > 0 {
        grid.push((Figure::Zswap, "compressed swap"));
    }
    let cells: Vec<Line> = grid
        .iter()
        .map(|(figure, name)| cell(machine, *figure, name))
        .collect();
    let width = out.width().unwrap_or(2 * WIDE_CELL);
    let (columns, width) = match width {
        width if width >= 2 * WIDE_CELL => (2, WIDE_CELL),
        width if width >= 2 * CELL => (2, CELL),
        _ => (1, CELL),
    };
    let rows = cells.len().div_ceil(columns);
    for row in 0..rows {
        let mut line = Line::default();
        for column in 0..columns {
            if let Some(cell) = cells.get(column * rows + row) {
                line = line.pad_to(column * width).join(cell.clone());
            }
        }
        out.line(&line)?;
    }
    Ok(())
}

/// Limits of the machine, and huge pages.
fn limits(report: &HostReport) -> Vec<String> {
    let now = &report.machine.now;
    let mut parts = vec![match now.get(Figure::SwapTotal) {
        0 => "no swap space".to_owned(),
        size => format!("swap space {}", bytes(size)),
    }];
    parts.push(format!(
        "commit limit {}",
        bytes(now.get(Figure::CommitLimit))
    ));
    let (anonymous, file) = (now.get(Figure::AnonymousHuge), now.get(Figure::FileHuge));
    if anonymous + file > 0 {
        parts.push(format!(
            "transparent huge pages: {} anonymous and {} of files",
            bytes(anonymous),
            bytes(file)
        ));
    }
    if now.pool.pages > 0 {
        let used = now.pool.pages.saturating_sub(now.pool.free);
        parts.push(format!(
            "{} of {} huge pages of {} used and {} reserved",
            count(used),
            count(now.pool.pages),
            bytes(now.pool.page_bytes),
            count(now.pool.reserved)
        ));
    }
    parts
}

/// Waiting for memory, and processes killed for want of it.
fn pressure(report: &HostReport) -> Vec<String> {
    let machine = &report.machine;
    let mut parts = Vec::new();
    match (&machine.pressure, machine.stalled) {
        (Some(pressure), Some((some, full))) => {
            parts.push(format!(
                "tasks waited for memory {some:.2}% of the time (all of them {full:.2}%)"
            ));
            parts.push(format!(
                "{:.2}% in the last five minutes",
                pressure.some.avg300
            ));
        }
        (Some(pressure), None) => {
            parts.push(format!(
                "tasks waited for memory {:.2}% of the last minute",
                pressure.some.avg60
            ));
        }
        (None, _) => parts.push("the kernel does not measure memory pressure".into()),
    }
    match (machine.oom_kills, machine.oom_kills_new) {
        (Some(0), _) => parts.push("no OOM kills since boot".into()),
        (Some(all), Some(new)) if new > 0 => {
            parts.push(format!(
                "{} new, {} since boot",
                counted(new, "OOM kill"),
                count(all)
            ));
        }
        (Some(all), _) => parts.push(format!("{} since boot", counted(all, "OOM kill"))),
        (None, _) => {}
    }
    parts
}

/// A list with commas, indented by two.
fn list(out: &mut Writer<'_, impl Write>, parts: Vec<String>) -> io::Result<()> {
    let mut lines: Vec<Line> = parts.iter().map(|part| Line::of(part)).collect();
    if let Some(first) = lines.first_mut() {
        *first = Line::of("  ").join(std::mem::take(first));
    }
    out.list(lines, 4)
}

/// What the table left out, and who came and went.
fn others(out: &mut Writer<'_, impl Write>, report: &HostReport) -> io::Result<()> {
    let hidden = report.rows_total - report.rows.len();
    let mut parts = Vec::new();
    if hidden > 0 {
        let noun = match (report.by, hidden) {
            (By::Process, 1) => "process",
            (By::Process, _) => "processes",
            (_, 1) => "group",
            _ => "groups",
        };
        let rss = bytes(report.rest.rss);
        parts.push(format!(
            "{} more {noun} with {rss} resident",
            count(hidden as u64)
        ));
    }
    parts.extend(turnover("new", &report.appeared));
    parts.extend(turnover("ended", &report.vanished));
    list(out, parts)
}

fn turnover(what: &str, turnover: &Turnover) -> Option<String> {
    let largest = turnover.largest.as_ref()?;
    let size = bytes(largest.bytes);
    Some(match turnover.processes {
        1 => format!("1 {what}: {} ({}) with {size}", largest.pid, largest.name),
        more => format!(
            "{} {what} with {}, the largest {} ({}) with {size}",
            count(more as u64),
            bytes(turnover.bytes),
            largest.pid,
            largest.name
        ),
    })
}

/// What to run next, and what could not be seen.
fn closing(out: &mut Writer<'_, impl Write>, report: &HostReport) -> io::Result<()> {
    if !report.next.is_empty() {
        out.blank()?;
    }
    for hint in &report.next {
        let text = match hint.commands.is_empty() {
            true => hint.text.clone(),
            false => format!("{}: {}", hint.text, hint.commands.join(", ")),
        };
        out.sentence(Line::default(), &text, 2)?;
    }
    if !report.notes.is_empty() {
        out.blank()?;
    }
    for note in &report.notes {
        out.sentence(Line::default().faint("note:"), note, 2)?;
    }
    Ok(())
}
