//! The parts of the text report of address spaces that only a trace of the whole host has.

use std::io::{self, Write};

use super::columns::{by_kind, resident, set_aside};
use super::group::{SpaceGroup, groups};
use super::{Amount, SpaceHost, SpaceProcess, SpaceReport};
use crate::report::host_text::{
    PLACE, growth_column, optional, place_column, table_with_places, user_column,
};
use crate::report::line::{Line, Writer};
use crate::report::table::{Column, write_columns};
use crate::report::units::{bytes, change, count};
use crate::report::{Grouping, MemberRow};
use crate::report::{elide, host, host_text, names};

/// Writes the table of processes or of groups, and what it leaves out.
pub fn table(
    out: &mut Writer<'_, impl Write>,
    report: &SpaceReport,
    host: &SpaceHost,
) -> io::Result<()> {
    match host.by {
        _ if report.processes.is_empty() => return Ok(()),
        Grouping::Stack => return Ok(()),
        Grouping::Process => processes(out, &report.processes, host.top)?,
        Grouping::User => group_table(out, "user", report, host)?,
        Grouping::Container => group_table(out, PLACE, report, host)?,
    }
    out.blank()
}

/// Writes what ended, where it is new to the reader.
pub fn ended(
    out: &mut Writer<'_, impl Write>,
    report: &SpaceReport,
    host: &SpaceHost,
) -> io::Result<()> {
    let is_due = |at| host::is_due(host.previous, at, report.last);
    host_text::ended(out, &host.ended, is_due)
}

/// Columns of the table of processes, in order; `place` is how wide the label of a place may be.
fn columns(shown: &[SpaceProcess], place: usize) -> Vec<Column> {
    let members = shown.iter().map(|row| Some(&row.host.as_ref()?.member));
    let members: Vec<Option<&MemberRow>> = members.collect();
    let mut columns = vec![
        Column::new("pid", shown, |row| row.pid.to_string()),
        Column::new("command", shown, |row| names::clean(&row.comm).into_owned()).words(),
        place_column(&members, place),
        user_column(&members),
        Column::new("resident", shown, |row| resident(&row.amount, row.measured)).strong(),
        Column::new("mapped", shown, |row| bytes(row.amount.mapped)),
        growth_column(&members),
    ];
    columns.extend(set_aside(shown, |row| &row.amount));
    columns.extend(by_kind(shown, |row| &row.kinds));
    columns.push(Column::new("state", shown, state).words());
    columns.retain(|column| column.heading != "state" || !column.is_empty());
    columns
}

/// What a reader must know of a row before its numbers are compared with others.
fn state(row: &SpaceProcess) -> String {
    let Some(host) = &row.host else {
        return String::new();
    };
    let words = [
        (!host.map_known, "no map"),
        (host.member.started_in_trace, "new"),
    ];
    let words: Vec<&str> = words
        .into_iter()
        .filter_map(|(is_so, word)| is_so.then_some(word))
        .collect();
    words.join(", ")
}

fn processes(
    out: &mut Writer<'_, impl Write>,
    rows: &[SpaceProcess],
    top: Option<usize>,
) -> io::Result<()> {
    let (shown, rest) = rows.split_at(top.unwrap_or(usize::MAX).min(rows.len()));
    let least = [
        "stacks",
        "shared",
        "state",
        "user",
        "no access",
        "file",
        "brk",
        "anonymous",
        "growth/min",
        PLACE,
    ];
    table_with_places(out, shown.len(), &least, |place| columns(shown, place))?;
    let amounts = rest.iter().map(|row| row.amount);
    left_out(out, rest.len(), ["process", "processes"], sum(amounts))
}

fn group_table(
    out: &mut Writer<'_, impl Write>,
    heading: &'static str,
    report: &SpaceReport,
    host: &SpaceHost,
) -> io::Result<()> {
    let rows = groups(&report.processes, host.by);
    let (shown, rest) = rows.split_at(host.top.unwrap_or(usize::MAX).min(rows.len()));
    let width = out.width().map_or(usize::MAX, |width| width / 2);
    let mut columns = vec![
        Column::new(heading, shown, |row| elide::middle(&row.key, width)).words(),
        Column::new("processes", shown, |row| count(row.processes)),
        Column::new("resident", shown, |row: &SpaceGroup| {
            resident(&row.amount, row.measured)
        })
        .strong(),
        Column::new("mapped", shown, |row| bytes(row.amount.mapped)),
        Column::new("growth/min", shown, |row| {
            optional(row.growth_per_minute, change)
        }),
    ];
    columns.extend(by_kind(shown, |row| &row.kinds));
    let least = [
        "stacks",
        "shared",
        "file",
        "brk",
        "anonymous",
        "processes",
        "growth/min",
    ];
    write_columns(out, columns, shown.len(), &least)?;
    let amounts = rest.iter().map(|row| row.amount);
    left_out(out, rest.len(), ["group", "groups"], sum(amounts))
}

fn sum(amounts: impl Iterator<Item = Amount>) -> Amount {
    let mut sum = Amount::default();
    amounts.for_each(|amount| sum.add(&amount));
    sum
}

fn left_out(
    out: &mut Writer<'_, impl Write>,
    rows: usize,
    [one, many]: [&str; 2],
    rest: Amount,
) -> io::Result<()> {
    if rows == 0 {
        return Ok(());
    }
    let (noun, verb) = match rows {
        1 => (one, "has"),
        _ => (many, "have"),
    };
    let text = format!(
        "{} more {noun} {verb} {} resident, {} mapped",
        count(rows as u64),
        bytes(rest.resident),
        bytes(rest.mapped)
    );
    out.sentence(Line::of(" "), &text, 2)
}
