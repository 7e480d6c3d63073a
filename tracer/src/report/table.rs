//! The table of processes in the text report.

use std::io::{self, Write};

use super::line::{Line, Writer};
use super::text::state_name;
use super::units::{bytes, change, count};
use super::{ProcessRow, ProcessState};

/// Whether the processes need a table: there are several, or the only one is gone.
pub fn is_wanted(processes: &[ProcessRow]) -> bool {
    match processes {
        [only] => only.state != ProcessState::Running,
        _ => processes.len() > 1,
    }
}

/// A column: its heading, and its cell for each process.
struct Column {
    heading: &'static str,
    cells: Vec<String>,
    to_the_right: bool,
    strong: bool,
}

impl Column {
    fn new(
        heading: &'static str,
        processes: &[ProcessRow],
        cell: impl Fn(&ProcessRow) -> String,
    ) -> Self {
        Self {
            heading,
            cells: processes.iter().map(cell).collect(),
            to_the_right: true,
            strong: false,
        }
    }

    fn columns(&self) -> usize {
        let lines = self.cells.iter().map(|cell| Line::of(cell).columns());
        lines.max().unwrap_or(0).max(self.heading.len())
    }

    fn cell(&self, line: Line, text: &str, strong: bool) -> Line {
        let start = line.columns();
        let end = start + self.columns();
        let cell = Line::of(text);
        let line = if self.to_the_right {
            line.pad_to(end - cell.columns())
        } else {
            line
        };
        if strong {
            line.strong(text)
        } else {
            line.join(cell)
        }
        .pad_to(end)
    }
}

/// Writes the table; in a narrow terminal the columns that matter least are left out.
pub fn write(out: &mut Writer<'_, impl Write>, processes: &[ProcessRow]) -> io::Result<()> {
    let columns = columns(processes, out.width().unwrap_or(usize::MAX));
    let heading = row(&columns, |column| (column.heading, false));
    out.line(&heading)?;
    for index in 0..processes.len() {
        let cells = row(&columns, |column| {
            (column.cells[index].as_str(), column.strong)
        });
        out.line(&cells)?;
    }
    Ok(())
}

fn row<'a>(columns: &'a [Column], cell: impl Fn(&'a Column) -> (&'a str, bool)) -> Line {
    let used = columns
        .iter()
        .rposition(|column| !cell(column).0.is_empty());
    let used = used.map_or(0, |index| index + 1);
    let mut line = Line::of("  ");
    for (index, column) in columns[..used].iter().enumerate() {
        if index > 0 {
            line = line.plain("  ");
        }
        let (text, strong) = cell(column);
        line = if index + 1 == used && !column.to_the_right {
            line.plain(text)
        } else {
            column.cell(line, text, strong)
        };
    }
    line
}

/// The columns that fit, in order.
fn columns(processes: &[ProcessRow], width: usize) -> Vec<Column> {
    let growth = |row: &ProcessRow| row.growth_bytes.map_or_else(|| "-".to_owned(), change);
    let gone = |row: &ProcessRow| match row.state {
        ProcessState::Running => String::new(),
        gone => state_name(gone).to_owned(),
    };
    let mut columns = vec![
        Column::new("pid", processes, |row| row.pid.to_string()),
        Column::new("command", processes, |row| row.comm.clone()),
        Column::new("live", processes, |row| bytes(row.live_bytes)),
        Column::new("blocks", processes, |row| count(row.live_count)),
        Column::new("change", processes, growth),
        Column::new("allocated", processes, |row| bytes(row.alloc_bytes)),
        Column::new("freed", processes, |row| bytes(row.free_bytes)),
        Column::new("state", processes, gone),
    ];
    columns[1].to_the_right = false;
    columns[2].strong = true;
    columns[7].to_the_right = false;
    if processes.iter().all(|row| row.growth_bytes.is_none()) {
        columns.retain(|column| column.heading != "change");
    }
    if processes
        .iter()
        .all(|row| row.state == ProcessState::Running)
    {
        columns.retain(|column| column.heading != "state");
    }
    for least in ["freed", "allocated", "change", "blocks", "state"] {
        let needed: usize = columns.iter().map(|column| column.columns() + 2).sum();
        if needed <= width {
            break;
        }
        columns.retain(|column| column.heading != least);
    }
    columns
}
