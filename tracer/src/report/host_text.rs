//! The parts of the text report that only a trace of the whole host has.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::Duration;

use super::elide;
use super::group::groups;
use super::host::{
    Ended, EndedName, EndedProcess, Grouping, GuardStep, Held, Host, MemberRow, ProcessHost,
};
use super::line::{Line, Writer};
use super::table::{Column, write_columns};
use super::units::{bytes, change, count, counted, counted_processes, duration, rate};
use super::{ProcessRow, ProcessState, Report};
use crate::process::cgroup::Place;

/// Lines of one kind in a report.
const MOST_LINES: usize = 20;

/// Names of ended processes that are told.
const MOST_NAMES: usize = 5;

/// The column of containers, units and cgroups.
pub const PLACE: &str = "where";

/// Columns of the terminal for a place: fewer tell nothing, more push the numbers away.
const NARROWEST_PLACE: usize = 14;
const WIDEST_PLACE: usize = 40;

/// Columns of the terminal for a user's name.
const WIDEST_USER: usize = 16;

/// Writes the table of processes or of groups, and what it leaves out.
pub fn table(out: &mut Writer<'_, impl Write>, report: &Report, host: &Host) -> io::Result<()> {
    match host.by {
        _ if report.processes.is_empty() => return Ok(()),
        Grouping::Stack => return Ok(()),
        Grouping::Process => processes(out, &report.processes, host.top)?,
        Grouping::User => group_table(out, "user", report, host)?,
        Grouping::Container => group_table(out, PLACE, report, host)?,
    }
    out.blank()
}

/// Columns of the table of processes, in order; `place` is how wide the label of a place may be.
fn columns(rows: &[ProcessRow], shown: &[ProcessRow], place: usize) -> Vec<Column> {
    let host = |cell: fn(&ProcessHost) -> String| {
        move |row: &ProcessRow| row.host.as_ref().map_or_else(|| "-".to_owned(), cell)
    };
    let members = shown.iter().map(|row| Some(&row.host.as_ref()?.member));
    let members: Vec<Option<&MemberRow>> = members.collect();
    let mut intervals = rows
        .iter()
        .filter_map(|row| row.host.as_ref())
        .map(|host| host.sample_bytes);
    let first = intervals.next();
    let some_sampled = intervals.any(|interval| Some(interval) != first);
    let allocs = |host: &ProcessHost| optional(host.allocs_per_second, rate);
    let mut columns = vec![
        Column::new("pid", shown, |row| row.pid.to_string()),
        Column::new("command", shown, |row| row.comm.clone()).words(),
        place_column(&members, place),
        user_column(&members),
        Column::new("live", shown, |row| bytes(row.live_bytes)).strong(),
        growth_column(&members),
        Column::new("allocs/s", shown, host(allocs)),
        Column::new("rss", shown, host(|host| optional(host.rss_bytes, bytes))),
        Column::new("state", shown, |row| state(row, some_sampled)).words(),
    ];
    columns.retain(|column| column.heading != "state" || !column.is_empty());
    columns
}

/// Where processes belong, in labels of at most so many columns of the terminal.
pub fn place_column(members: &[Option<&MemberRow>], most: usize) -> Column {
    let label = |member: &MemberRow| short_label(&member.place, most);
    Column::new(PLACE, members, |member| optional(*member, label)).words()
}

/// The names of the users that they run as.
pub fn user_column(members: &[Option<&MemberRow>]) -> Column {
    let user = |member: &MemberRow| elide::middle(&member.user, WIDEST_USER);
    Column::new("user", members, |member| optional(*member, user)).words()
}

/// How fast they grow.
pub fn growth_column(members: &[Option<&MemberRow>]) -> Column {
    Column::new("growth/min", members, |member| {
        optional(member.and_then(|member| member.growth_per_minute), change)
    })
}

/// A label within `most` columns: of a container's id the beginning, as its tools take it; of a name both ends.
fn short_label(place: &Place, most: usize) -> String {
    let label = place.label();
    match place.container {
        Some(_) => elide::start(&label, most).to_owned(),
        None => elide::middle(&label, most),
    }
}

fn processes(
    out: &mut Writer<'_, impl Write>,
    rows: &[ProcessRow],
    top: Option<usize>,
) -> io::Result<()> {
    let (shown, rest) = rows.split_at(top.unwrap_or(usize::MAX).min(rows.len()));
    let least = ["user", "allocs/s", "rss", "state", "growth/min", PLACE];
    table_with_places(out, shown.len(), &least, |place| {
        columns(rows, shown, place)
    })?;
    left_out_processes(out, rest)
}

/// Writes a table with a column of places, [`PLACE`], whose labels may be as wide as `columns` is told; in a narrow terminal with
/// shorter places, and then without the columns that matter least.
pub fn table_with_places(
    out: &mut Writer<'_, impl Write>,
    rows: usize,
    least: &[&str],
    columns: impl Fn(usize) -> Vec<Column>,
) -> io::Result<()> {
    let width = out.width().unwrap_or(usize::MAX);
    for dropped in 0..least.len() {
        let others = columns(0);
        let kept = |heading: &str| heading != PLACE && !least[..dropped].contains(&heading);
        let taken: usize = others
            .iter()
            .filter(|column| kept(column.heading))
            .map(|column| column.columns() + 2)
            .sum();
        let place = width.saturating_sub(taken + 2);
        if place < NARROWEST_PLACE {
            continue;
        }
        let most = if width == usize::MAX {
            width
        } else {
            WIDEST_PLACE
        };
        let mut columns = columns(place.min(most));
        columns.retain(|column| column.heading == PLACE || kept(column.heading));
        return write_columns(out, columns, rows, &[]);
    }
    write_columns(out, columns(NARROWEST_PLACE), rows, least)
}

fn left_out_processes(out: &mut Writer<'_, impl Write>, rest: &[ProcessRow]) -> io::Result<()> {
    let held = rest
        .iter()
        .map(|row| row.live_bytes)
        .fold(0, u64::saturating_add);
    left_out(out, rest.len(), ["process", "processes"], held)
}

fn group_table(
    out: &mut Writer<'_, impl Write>,
    heading: &'static str,
    report: &Report,
    host: &Host,
) -> io::Result<()> {
    let rows = groups(&report.processes, host.by);
    let (shown, rest) = rows.split_at(host.top.unwrap_or(usize::MAX).min(rows.len()));
    let width = out.width().map_or(usize::MAX, |width| width / 2);
    let columns = vec![
        Column::new(heading, shown, |row| elide::middle(&row.key, width)).words(),
        Column::new("processes", shown, |row| count(row.processes)),
        Column::new("live", shown, |row| bytes(row.live_bytes)).strong(),
        Column::new("blocks", shown, |row| count(row.live_count)),
        Column::new("growth/min", shown, |row| {
            optional(row.growth_per_minute, change)
        }),
        Column::new("allocs/s", shown, |row| {
            optional(row.allocs_per_second, rate)
        }),
        Column::new("rss", shown, |row| optional(row.rss_bytes, bytes)),
    ];
    let least = ["blocks", "allocs/s", "rss", "processes", "growth/min"];
    write_columns(out, columns, shown.len(), &least)?;
    let held = rest
        .iter()
        .map(|row| row.live_bytes)
        .fold(0, u64::saturating_add);
    left_out(out, rest.len(), ["group", "groups"], held)
}

pub fn optional<T>(value: Option<T>, print: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), print)
}

/// What a reader must know of a row before its numbers are compared with others. That all are sampled alike is no
/// matter of a row.
fn state(row: &ProcessRow, some_sampled: bool) -> String {
    let Some(host) = &row.host else {
        return String::new();
    };
    let sampled = some_sampled && host.sample_bytes.is_some() && host.probes_off_at.is_none();
    let words = [
        (row.state == ProcessState::Exited, "exited"),
        (row.state == ProcessState::Replaced, "replaced"),
        (host.probes_off_at.is_some(), "off"),
        (sampled, "sampled"),
        (host.member.started_in_trace, "new"),
    ];
    let words: Vec<&str> = words
        .into_iter()
        .filter_map(|(is_so, word)| is_so.then_some(word))
        .collect();
    words.join(", ")
}

pub fn left_out(
    out: &mut Writer<'_, impl Write>,
    rows: usize,
    [one, many]: [&str; 2],
    held: u64,
) -> io::Result<()> {
    if rows == 0 {
        return Ok(());
    }
    let (noun, verb) = if rows == 1 {
        (one, "holds")
    } else {
        (many, "hold")
    };
    let text = format!("{} more {noun} {verb} {}", count(rows as u64), bytes(held));
    out.sentence(Line::of(" "), &text, 2)
}

/// Writes what ended and is due: since the previous report, or all in the last one.
pub fn ended<H: Held>(
    out: &mut Writer<'_, impl Write>,
    ended: &Ended<H>,
    is_due: impl Fn(Duration) -> bool,
) -> io::Result<()> {
    let due = ended.processes.iter().filter(|process| is_due(process.at));
    let mut processes: Vec<&EndedProcess<H>> = due.collect();
    let due = ended.names.iter().filter(|name| is_due(name.last_at));
    let names: Vec<&EndedName<H>> = due.collect();
    if processes.is_empty() && names.is_empty() {
        return Ok(());
    }
    let all = ended.count();
    let text = format!(
        "{} in all, which held {}",
        counted_processes(all),
        ended.held().words()
    );
    out.sentence(Line::default().strong("ended:"), &text, 2)?;
    processes.sort_by_key(|process| Reverse(process.held.bytes()));
    for process in processes.iter().take(MOST_LINES) {
        let text = format!(
            "{} ({}), {}, after {}: {}",
            process.comm,
            process.pid,
            process.place.label(),
            duration(process.traced),
            process.held.words()
        );
        out.sentence(Line::of(" "), &text, 4)?;
    }
    for name in names.iter().take(MOST_NAMES) {
        let text = format!(
            "{}, {} short-lived: {}",
            name.comm,
            count(name.processes),
            name.held.words()
        );
        out.sentence(Line::of(" "), &text, 4)?;
    }
    let untold =
        processes.len().saturating_sub(MOST_LINES) + names.len().saturating_sub(MOST_NAMES);
    if untold == 0 {
        return Ok(());
    }
    let text = format!("and {} more (--json has all)", count(untold as u64));
    out.sentence(Line::of(" "), &text, 4)
}

/// Writes what the guard did, and what came up late: since the previous report, or all in the last one.
pub fn sentences(out: &mut Writer<'_, impl Write>, report: &Report, host: &Host) -> io::Result<()> {
    let is_due = |at| host.is_due(at, report.last);
    marked(out, "guard:", &guard_sentences(&host.guard.steps, is_due))?;
    let files = host.late_files.iter().filter(|file| is_due(file.at));
    let files: Vec<String> = files.map(|file| file.sentence()).collect();
    marked(out, "late:", &files)
}

/// The last due step of each process, and what is still so although it was said before.
fn guard_sentences(steps: &[GuardStep], is_due: impl Fn(Duration) -> bool) -> Vec<String> {
    // A step for a whole program has no PID, but its name.
    let whose = |step: &GuardStep| (step.pid, step.pid.is_none().then(|| step.comm.clone()));
    let mut last: BTreeMap<_, (u64, &GuardStep)> = BTreeMap::new();
    let mut off: BTreeSet<u32> = BTreeSet::new();
    for step in steps {
        if is_due(step.at) {
            let before = last.get(&whose(step)).map_or(0, |(steps, _)| *steps);
            last.insert(whose(step), (before + 1, step));
        } else if step.action.ends_tracing() {
            off.extend(step.pid);
        }
    }
    let mut last: Vec<(u64, &GuardStep)> = last.into_values().collect();
    last.sort_by_key(|(_, step)| step.at);
    let told = last.into_iter().map(|(steps, step)| match steps {
        1 => step.sentence(),
        steps => format!(
            "{} ({} before this)",
            step.sentence(),
            counted(steps - 1, "step")
        ),
    });
    let still_off = (!off.is_empty()).then(|| {
        let pids: Vec<String> = off.iter().take(MOST_LINES).map(u32::to_string).collect();
        let more = if off.len() > pids.len() { ", ..." } else { "" };
        let (noun, verb) = if off.len() == 1 {
            ("process", "has")
        } else {
            ("processes", "have")
        };
        format!("{noun} {}{more} {verb} no probes any more", pids.join(", "))
    });
    still_off.into_iter().chain(told).collect()
}

fn marked(out: &mut Writer<'_, impl Write>, mark: &str, sentences: &[String]) -> io::Result<()> {
    let left_out = sentences.len().saturating_sub(MOST_LINES);
    if left_out > 0 {
        let text = format!("{} earlier ones (--json has all)", count(left_out as u64));
        out.sentence(Line::default().strong(mark), &text, 2)?;
    }
    for sentence in &sentences[left_out..] {
        out.sentence(Line::default().strong(mark), sentence, 2)?;
    }
    Ok(())
}
