//! The machine as text: its memory, the table of processes or groups, cgroups, and what to look at next.

use std::io;

use crate::profile::machine::{By, Cgroup, Figure, MachineSection, Turnover};
use crate::profile::trend::Verdict;
use crate::profile::{FindingKind, Growth, Measure, Profile, Subject};
use crate::render::Options;
use crate::render::term::line::{Line, Writer};
use crate::render::term::table::{ALWAYS, Column, Table};
use crate::words::clean::clean;
use crate::words::elide;
use crate::words::units::{bytes, change, count, counted, counted_processes, duration};

/// Writes the machine.
///
/// # Errors
/// Those of `out`.
pub(super) fn write(out: &mut Writer<'_>, profile: &Profile, options: &Options) -> io::Result<()> {
    let Some(machine) = &profile.sections.machine else {
        return Ok(());
    };
    heading(out, profile, machine, options)?;
    for finding in profile
        .findings
        .iter()
        .filter(|finding| finding.kind == FindingKind::Outlook)
    {
        out.sentence(Line::default(), &finding.text, 2)?;
    }
    out.blank()?;
    figures(out, machine)?;
    list(out, limits(machine))?;
    list(out, pressure(machine))?;
    if !profile.subjects.is_empty() {
        out.blank()?;
        rows(&profile.subjects, machine).write(out)?;
    }
    others(out, profile, machine)?;
    if !machine.cgroups.is_empty() {
        out.blank()?;
        cgroups(&machine.cgroups).write(out)?;
        let hidden = machine.cgroups_total - machine.cgroups.len();
        if hidden > 0 {
            let more = format!("  {}", counted(hidden as u64, "more cgroup"));
            out.line(&Line::default().faint(&more))?;
        }
    }
    closing(out, profile)
}

/// When, of what and for how long.
fn heading(
    out: &mut Writer<'_>,
    profile: &Profile,
    machine: &MachineSection,
    options: &Options,
) -> io::Result<()> {
    let meta = &profile.meta;
    let time = meta.time.to_zoned(options.time_zone.clone());
    let last = if meta.last { ", last report" } else { "" };
    let changed_over = duration(machine.changed_over);
    out.flow(
        vec![
            Line::of(&time.strftime("%Y-%m-%d %H:%M:%S").to_string()).plain(" "),
            Line::default().strong(&bytes(machine.figure(Figure::Total).bytes)),
            Line::of("of memory,"),
            Line::of(&counted_processes(machine.processes_total as u64)).plain(","),
            Line::of(&format!("watched for {},", duration(meta.elapsed))),
            Line::of(&format!("changes of the last {changed_over}{last}")),
        ],
        2,
    )
}

/// The figures in the grid.
const GRID: [Figure; 15] = [
    Figure::Available,
    Figure::Free,
    Figure::Anonymous,
    Figure::Shared,
    Figure::Cache,
    Figure::SlabReclaimable,
    Figure::SlabUnreclaimable,
    Figure::PageTables,
    Figure::KernelStacks,
    Figure::PerCpu,
    Figure::Vmalloc,
    Figure::HugePages,
    Figure::Other,
    Figure::Swap,
    Figure::Committed,
];

/// Columns of a figure in the grid, and with a gap between two of them.
const CELL: usize = 40;
const WIDE_CELL: usize = 46;

/// The machine's figures, each with its change, in as many columns as fit.
fn figures(out: &mut Writer<'_>, machine: &MachineSection) -> io::Result<()> {
    let mut grid = GRID.to_vec();
    if machine.figure(Figure::Zswap).bytes > 0 {
        grid.push(Figure::Zswap);
    }
    let (columns, width) = match out.width().unwrap_or(2 * WIDE_CELL) {
        width if width >= 2 * WIDE_CELL => (2, WIDE_CELL),
        width if width >= 2 * CELL => (2, CELL),
        _ => (1, CELL),
    };
    let rows = grid.len().div_ceil(columns);
    for row in 0..rows {
        let mut line = Line::default();
        for column in 0..columns {
            if let Some(figure) = grid.get(column * rows + row) {
                line = line.pad_to(column * width).join(cell(machine, *figure));
            }
        }
        out.line(&line)?;
    }
    Ok(())
}

/// One figure: its name, its value and what it changed by.
fn cell(machine: &MachineSection, figure: Figure) -> Line {
    let amount = machine.figure(figure);
    let value = bytes(amount.bytes);
    let line = Line::of("  ")
        .plain(figure.words())
        .pad_to(29 - value.len().min(8))
        .strong(&value);
    match amount.change_bytes {
        0 => line,
        changed => {
            let change = change(changed);
            line.pad_to(CELL - change.len().min(10)).faint(&change)
        }
    }
}

/// Limits of the machine, and huge pages.
fn limits(machine: &MachineSection) -> Vec<String> {
    let size = |figure| bytes(machine.figure(figure).bytes);
    let has = |figure| machine.figure(figure).bytes > 0;
    let mut parts = vec![match has(Figure::SwapTotal) {
        false => "no swap space".to_owned(),
        true => format!("swap space {}", size(Figure::SwapTotal)),
    }];
    parts.push(format!("commit limit {}", size(Figure::CommitLimit)));
    if has(Figure::AnonymousHuge) || has(Figure::FileHuge) {
        parts.push(format!(
            "transparent huge pages: {} anonymous and {} of files",
            size(Figure::AnonymousHuge),
            size(Figure::FileHuge)
        ));
    }
    let pool = machine.huge_pool;
    if pool.pages > 0 {
        parts.push(format!(
            "{} of {} huge pages of {} used and {} reserved",
            count(pool.pages.saturating_sub(pool.free)),
            count(pool.pages),
            bytes(pool.page_bytes),
            count(pool.reserved)
        ));
    }
    parts
}

/// Waiting for memory, and processes killed for lack of it.
fn pressure(machine: &MachineSection) -> Vec<String> {
    let mut parts = Vec::new();
    match (&machine.pressure, machine.stalled_percent) {
        (Some(pressure), Some(stalled)) => {
            parts.push(format!(
                "tasks waited for memory {:.2}% of the time (all of them {:.2}%)",
                stalled.some, stalled.full
            ));
            parts.push(format!(
                "{:.2}% in the last five minutes",
                pressure.some.avg300
            ));
        }
        (Some(pressure), None) => parts.push(format!(
            "tasks waited for memory {:.2}% of the last minute",
            pressure.some.avg60
        )),
        (None, _) => parts.push("the kernel does not measure memory pressure".into()),
    }
    parts.extend(match (machine.oom_kills, machine.oom_kills_new) {
        (Some(0), _) => Some("no OOM kills since boot".into()),
        (Some(all), Some(new)) if new > 0 => Some(format!(
            "{} new, {} since boot",
            counted(new, "OOM kill"),
            count(all)
        )),
        (Some(all), _) => Some(format!("{} since boot", counted(all, "OOM kill"))),
        (None, _) => None,
    });
    parts
}

/// A list with commas, indented by two.
fn list(out: &mut Writer<'_>, parts: Vec<String>) -> io::Result<()> {
    let mut lines: Vec<Line> = parts.iter().map(|part| Line::of(part)).collect();
    if let Some(first) = lines.first_mut() {
        *first = Line::of("  ").join(std::mem::take(first));
    }
    out.list(lines, 4)
}

/// What the table left out, and who came and went.
fn others(out: &mut Writer<'_>, profile: &Profile, machine: &MachineSection) -> io::Result<()> {
    let hidden = machine.rows_total - profile.subjects.len();
    let mut parts = Vec::new();
    if hidden > 0 {
        let noun = match (machine.by, hidden) {
            (By::Process, 1) => "process",
            (By::Process, _) => "processes",
            (_, 1) => "group",
            _ => "groups",
        };
        parts.push(format!(
            "{} more {noun} with {} resident",
            count(hidden as u64),
            bytes(machine.rest.amount(Measure::ProcessRssBytes))
        ));
    }
    parts.extend(turnover("new", &machine.appeared));
    parts.extend(turnover("ended", &machine.vanished));
    list(out, parts)
}

fn turnover(what: &str, turnover: &Turnover) -> Option<String> {
    let largest = turnover.largest.as_ref()?;
    let name = format!(
        "{} ({}) with {}",
        largest.pid,
        largest.command,
        bytes(largest.bytes)
    );
    Some(match turnover.processes {
        1 => format!("1 {what}: {name}"),
        more => format!(
            "{} {what} with {}, the largest {name}",
            count(more as u64),
            bytes(turnover.bytes)
        ),
    })
}

/// What to run next, and what could not be seen.
fn closing(out: &mut Writer<'_>, profile: &Profile) -> io::Result<()> {
    let hints = profile
        .findings
        .iter()
        .filter(|finding| finding.kind == FindingKind::Next);
    for (index, hint) in hints.enumerate() {
        if index == 0 {
            out.blank()?;
        }
        let text = match hint.commands.is_empty() {
            true => hint.text.clone(),
            false => format!("{}: {}", hint.text, hint.commands.join(", ")),
        };
        out.sentence(Line::default(), &text, 2)?;
    }
    if !profile.notes.is_empty() {
        out.blank()?;
    }
    for note in &profile.notes {
        out.sentence(Line::default().faint("note:"), note, 2)?;
    }
    Ok(())
}

/// The table of processes, or of groups.
fn rows(rows: &[Subject], machine: &MachineSection) -> Table {
    let of = machine.of.measure();
    let name = |row: &Subject| clipped(&row.command);
    let has_some = |measure| rows.iter().any(|row| row.totals.amount(measure) > 0);
    let figure = |heading: &'static str, importance, measure, words: fn(u64) -> String| {
        column(heading, importance, rows, |row| {
            or_dash(
                row.totals
                    .whole(measure)
                    .map(|value| words(value.max(0).cast_unsigned())),
            )
        })
    };
    let mut columns = match machine.by {
        By::Process => vec![
            column("pid", ALWAYS, rows, |row| {
                row.pid.map_or_else(String::new, |pid| pid.to_string())
            }),
            column("name", ALWAYS, rows, name).words(),
            column("where", 4, rows, |row| match row.place.cgroup.is_empty() {
                true => "-".to_owned(),
                false => clipped(&row.place.label()),
            })
            .words(),
            column("user", 2, rows, |row| {
                or_dash(row.user.as_deref().map(clipped))
            })
            .words(),
        ],
        by => vec![
            column(by.name(), ALWAYS, rows, name).words(),
            column("processes", 7, rows, |row| count(row.processes)),
        ],
    };
    columns.push(figure("rss", 8, Measure::ProcessRssBytes, bytes).strong());
    if has_some(Measure::ProcessPssBytes) {
        columns.push(figure("pss", 3, Measure::ProcessPssBytes, bytes));
    }
    columns.push(figure("anon", 6, Measure::ProcessAnonymousBytes, bytes));
    if has_some(Measure::ProcessSwapBytes) {
        columns.push(figure("swap", 7, Measure::ProcessSwapBytes, bytes));
    }
    columns.push(figure("virtual", 1, Measure::ProcessVirtualBytes, bytes));
    columns.push(figure("threads", 3, Measure::ProcessThreads, count));
    if has_some(Measure::ProcessFds) {
        columns.push(figure("fds", 3, Measure::ProcessFds, count));
    }
    columns.push(column("change", 5, rows, |row| {
        match row.before.is_empty() {
            true => "new".into(),
            false => or_dash(row.change(of).map(change)),
        }
    }));
    let per_min = format!("{}/min", machine.of.name());
    columns.push(column(per_min, 8, rows, |row| growth(row.growth.get(&of))));
    Table::new(columns)
}

/// The table of cgroups.
fn cgroups(rows: &[Cgroup]) -> Table {
    let mut columns = vec![
        column("cgroup", ALWAYS, rows, |row| clipped(&row.label)).words(),
        column("use", 5, rows, |row| bytes(row.current_bytes)),
        column("without cache", 7, rows, |row| bytes(row.kept_bytes)).strong(),
        column("limit", 8, rows, |row| or_dash(row.max_bytes.map(bytes))),
        column("full", 8, rows, |row| {
            or_dash(row.fullness().map(|share| format!("{:.0}%", share * 100.0)))
        }),
        column("growth/min", 6, rows, |row| growth(row.growth.as_ref())),
        column("full in", 8, rows, |row| or_dash(row.full_in.map(duration))),
    ];
    let waited = |row: &Cgroup| row.pressure.map(|pressure| pressure.some.avg60);
    if rows
        .iter()
        .any(|row| waited(row).is_some_and(|percent| percent > 0.0))
    {
        columns.push(column("waited", 3, rows, |row| {
            or_dash(waited(row).map(|percent| format!("{percent:.1}%")))
        }));
    }
    if rows
        .iter()
        .any(|row| row.oom_kills.is_some_and(|kills| kills > 0))
    {
        columns.push(column("OOM kills", 4, rows, |row| {
            or_dash(row.oom_kills.map(count))
        }));
    }
    Table::new(columns)
}

fn column<T>(
    heading: impl Into<std::borrow::Cow<'static, str>>,
    importance: u8,
    rows: &[T],
    cell: impl Fn(&T) -> String,
) -> Column {
    Column::new(heading, importance, rows.iter().map(cell))
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// A name that fits a column.
fn clipped(name: &str) -> String {
    const WIDEST: usize = 28;
    let name = clean(name);
    match elide::columns(&name) <= WIDEST {
        true => name.into_owned(),
        false => format!("{}...", elide::start(&name, WIDEST - 3)),
    }
}

/// A growth for a table: the slope and half the width of its interval where there is one, else what can be said.
fn growth(growth: Option<&Growth>) -> String {
    // A cast of a float ends at the largest number.
    let amount = |per_min: f64| bytes(per_min.abs().round() as u64);
    let of = |sign: &str, growth: &Growth| {
        let error = growth.error().unwrap_or(f64::INFINITY);
        format!("{sign}{} ±{}", amount(growth.per_min), amount(error))
    };
    match growth {
        Some(growth) if growth.verdict == Verdict::Growing => of("+", growth),
        Some(growth) if growth.verdict == Verdict::Shrinking => of("-", growth),
        Some(growth) if growth.verdict == Verdict::Steady => "steady".into(),
        _ => "unclear".into(),
    }
}
