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

/// A column: its heading, and its cell for each row.
pub struct Column {
    /// What is in it.
    pub heading: &'static str,
    cells: Vec<String>,
    to_the_right: bool,
    strong: bool,
}

impl Column {
    /// A column of numbers: to the right.
    pub fn new<T>(heading: &'static str, rows: &[T], cell: impl Fn(&T) -> String) -> Self {
        Self {
            heading,
            cells: rows.iter().map(cell).collect(),
            to_the_right: true,
            strong: false,
        }
    }

    /// The column as one of words: to the left.
    pub fn words(mut self) -> Self {
        self.to_the_right = false;
        self
    }

    /// The column in bold.
    pub fn strong(mut self) -> Self {
        self.strong = true;
        self
    }

    /// Whether no cell says anything.
    pub fn is_empty(&self) -> bool {
        self.cells.iter().all(|cell| cell.is_empty() || cell == "-")
    }

    /// Columns of the terminal that it takes.
    pub fn columns(&self) -> usize {
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

/// Writes the table of processes.
pub fn write(out: &mut Writer<'_, impl Write>, processes: &[ProcessRow]) -> io::Result<()> {
    let least = ["freed", "allocated", "change", "blocks", "state"];
    write_columns(out, columns(processes), processes.len(), &least)
}

/// Writes a table; in a narrow terminal the columns that matter least are left out, the first of `least` first.
pub fn write_columns(
    out: &mut Writer<'_, impl Write>,
    mut columns: Vec<Column>,
    rows: usize,
    least: &[&str],
) -> io::Result<()> {
    for least in least {
        let needed: usize = columns.iter().map(|column| column.columns() + 2).sum();
        if needed <= out.width().unwrap_or(usize::MAX) {
            break;
        }
        columns.retain(|column| column.heading != *least);
    }
    let heading = row(&columns, |column| (column.heading, false));
    out.line(&heading)?;
    for index in 0..rows {
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

/// The columns, in order.
fn columns(processes: &[ProcessRow]) -> Vec<Column> {
    let growth = |row: &ProcessRow| row.growth_bytes.map_or_else(|| "-".to_owned(), change);
    let gone = |row: &ProcessRow| match row.state {
        ProcessState::Running => String::new(),
        gone => state_name(gone).to_owned(),
    };
    let mut columns = vec![
        Column::new("pid", processes, |row| row.pid.to_string()),
        Column::new("command", processes, |row| row.comm.clone()).words(),
        Column::new("live", processes, |row| bytes(row.live_bytes)).strong(),
        Column::new("blocks", processes, |row| count(row.live_count)),
        Column::new("change", processes, growth),
        Column::new("allocated", processes, |row| bytes(row.alloc_bytes)),
        Column::new("freed", processes, |row| bytes(row.free_bytes)),
        Column::new("state", processes, gone).words(),
    ];
    if processes.iter().all(|row| row.growth_bytes.is_none()) {
        columns.retain(|column| column.heading != "change");
    }
    if processes
        .iter()
        .all(|row| row.state == ProcessState::Running)
    {
        columns.retain(|column| column.heading != "state");
    }
    columns
}
