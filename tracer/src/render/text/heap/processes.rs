//! The tables of the processes of a heap trace.

use std::io;

use super::live;
use crate::profile::{Measure, Number, State, Subject};
use crate::render::term::line::Writer;
use crate::render::term::table::{ALWAYS, Column, Table};
use crate::render::text::host_wide::{self, Figures, Row, optional};
use crate::words::units::{bytes, change, count, plural, rate};

/// Figures of many processes.
pub const FIGURES: Figures = Figures {
    columns: figures,
    held: |n, totals| format!("{} {}", plural(n, "holds", "hold"), bytes(live(totals))),
    state: 12,
};

/// A row for each process.
pub fn write(out: &mut Writer<'_>, subjects: &[Subject]) -> io::Result<()> {
    let size = |measure: Measure| {
        subjects
            .iter()
            .map(move |row| bytes(row.totals.amount(measure)))
    };
    let changes = subjects
        .iter()
        .map(|row| row.totals.whole(Measure::HeapChangeBytes));
    let state = |row: &Subject| match row.state {
        State::Running => String::new(),
        other => other.word().to_owned(),
    };
    let blocks = |row: &Subject| count(row.totals.amount(Measure::HeapLiveBlocks));
    let mut columns = vec![
        Column::new("pid", ALWAYS, subjects.iter().map(host_wide::pid)),
        Column::new(
            "command",
            ALWAYS,
            subjects.iter().map(|row| row.command.clone()),
        )
        .words(),
        Column::new("live", ALWAYS, size(Measure::HeapLiveBytes)).strong(),
        Column::new("blocks", 4, subjects.iter().map(blocks)),
        Column::new("change", 3, changes.map(|bytes| optional(bytes, change))),
        Column::new("allocated", 2, size(Measure::HeapAllocBytes)),
        Column::new("freed", 1, size(Measure::HeapFreeBytes)),
        Column::new("state", 5, subjects.iter().map(state)).words(),
    ];
    columns.retain(|column| !column.is_empty());
    Table::new(columns).write(out)
}

/// The columns of figures of many processes or of groups.
fn figures(rows: &[Row<'_>], is_group: bool) -> Vec<Column> {
    let cells = |measure: Measure, cell: fn(Number) -> String| {
        rows.iter()
            .map(move |row| optional(row.totals.get(measure), cell))
    };
    let size = |number: Number| bytes(number.whole().max(0).cast_unsigned());
    let blocks = rows
        .iter()
        .map(|row| count(row.totals.amount(Measure::HeapLiveBlocks)));
    let mut columns = vec![
        Column::new(
            "live",
            ALWAYS,
            rows.iter().map(|row| bytes(live(row.totals))),
        )
        .strong(),
        Column::new(
            "growth/min",
            18,
            cells(Measure::HeapGrowthPerMin, |growth| change(growth.whole())),
        ),
        Column::new(
            "allocs/s",
            9,
            cells(Measure::HeapAllocsPerS, |allocs| rate(allocs.real())),
        ),
        Column::new("rss", 10, cells(Measure::ProcessRssBytes, size)),
    ];
    if is_group {
        columns.insert(1, Column::new("blocks", 2, blocks));
    }
    columns
}
