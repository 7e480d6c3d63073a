//! A table for a terminal: columns as wide as they must be, and in a narrow one those left out that matter least.

use std::io::{self, Write};

use crate::report::elide;
use crate::report::line::{Line, Writer};

/// Columns of a name at most; longer ones are cut.
const WIDEST_NAME: usize = 28;

/// One column.
pub struct Column {
    heading: String,
    cells: Vec<String>,
    is_name: bool,
    strong: bool,
    /// Columns of the least importance go first in a narrow terminal; those of importance 9 stay.
    importance: u8,
}

impl Column {
    /// A column of numbers, aligned to the right.
    pub fn number(heading: impl Into<String>, importance: u8, cells: Vec<String>) -> Self {
        Self {
            heading: heading.into(),
            cells,
            is_name: false,
            strong: false,
            importance,
        }
    }

    /// A column of names, aligned to the left.
    pub fn name(heading: impl Into<String>, importance: u8, cells: Vec<String>) -> Self {
        Self {
            is_name: true,
            cells: cells.iter().map(|cell| clipped(cell)).collect(),
            ..Self::number(heading, importance, Vec::new())
        }
    }

    /// The same in bold.
    pub fn strong(mut self) -> Self {
        self.strong = true;
        self
    }

    fn columns(&self) -> usize {
        let cells = self.cells.iter().map(|cell| Line::of(cell).columns());
        cells.max().unwrap_or(0).max(self.heading.len())
    }

    fn cell(&self, line: Line, text: &str, strong: bool) -> Line {
        let end = line.columns() + self.columns();
        let line = match self.is_name {
            true => line,
            false => line.pad_to(end - Line::of(text).columns()),
        };
        let line = match strong {
            true => line.strong(text),
            false => line.plain(text),
        };
        match self.is_name {
            true => line.pad_to(end),
            false => line,
        }
    }
}

/// A name that fits a column.
fn clipped(name: &str) -> String {
    if Line::of(name).columns() <= WIDEST_NAME {
        return name.to_owned();
    }
    format!("{}...", elide::start(name, WIDEST_NAME - 3))
}

/// Writes a table, each line indented by two.
pub fn write(out: &mut Writer<'_, impl Write>, mut columns: Vec<Column>) -> io::Result<()> {
    let width = out.width().unwrap_or(usize::MAX);
    while total(&columns) > width {
        let least = columns.iter().map(|column| column.importance).min();
        let Some(least) = least.filter(|least| *least < 9) else {
            break;
        };
        // Of equals the one that is farthest to the right.
        if let Some(index) = columns
            .iter()
            .rposition(|column| column.importance == least)
        {
            columns.remove(index);
        }
    }
    let rows = columns
        .iter()
        .map(|column| column.cells.len())
        .max()
        .unwrap_or(0);
    out.line(&row(&columns, |column| (&column.heading, false)))?;
    for index in 0..rows {
        let line = row(&columns, |column| {
            let cell = column.cells.get(index).map_or("", String::as_str);
            (cell, column.strong)
        });
        out.line(&line)?;
    }
    Ok(())
}

fn total(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.columns() + 2).sum()
}

fn row<'a>(columns: &'a [Column], cell: impl Fn(&'a Column) -> (&'a str, bool)) -> Line {
    let mut line = Line::default();
    for column in columns {
        let (text, strong) = cell(column);
        line = column.cell(line.plain("  "), text, strong);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(width: Option<usize>) -> String {
        let cells = |texts: [&str; 2]| texts.map(str::to_owned).to_vec();
        let columns = vec![
            Column::number("pid", 9, cells(["7", "4242"])),
            Column::name("name", 9, cells(["a", "worker"])),
            Column::number("rss", 9, cells(["1 MiB", "20.5 MiB"])).strong(),
            Column::number("virtual", 1, cells(["9 GiB", "10 GiB"])),
        ];
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out, width, false), columns).expect("a vector takes all");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn columns_are_aligned() {
        let expected = "   pid  name         rss  virtual\n     7  a          1 MiB    9 GiB\n  4242  worker  20.5 MiB   10 GiB\n";
        assert_eq!(written(None), expected);
    }

    #[test]
    fn a_narrow_terminal_loses_what_matters_least() {
        assert!(!written(Some(30)).contains("virtual"));
        assert!(written(Some(30)).contains("20.5 MiB"));
        assert!(written(Some(10)).lines().all(|line| line.len() <= 10));
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(clipped(&"x".repeat(28)), "x".repeat(28));
        assert_eq!(clipped(&"x".repeat(29)), format!("{}...", "x".repeat(25)));
    }
}
