//! A table for a terminal: columns as wide as their cells; where it is narrow, the least important ones are left out.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;

use super::line::{Line, Writer};
use crate::words::clean::clean;
use crate::words::elide;

/// The importance of a column that is never left out.
pub const ALWAYS: u8 = u8::MAX;

/// Columns of the terminal before each column.
const GAP: usize = 2;

/// A column: its heading, and its cell in each row.
#[derive(Clone, Debug)]
pub struct Column {
    heading: Cow<'static, str>,
    cells: Vec<String>,
    importance: u8,
    to_the_left: bool,
    strong: bool,
    shorten: Option<Shorten>,
}

/// How cells can be shortened, in columns of the terminal.
#[derive(Clone, Copy, Debug)]
struct Shorten {
    least: usize,
    most: usize,
    /// The text within so many columns.
    to: fn(&str, usize) -> String,
}

impl Column {
    /// A column of numbers, aligned to the right. The least important column is left out first; of equal ones the
    /// rightmost.
    pub fn new(
        heading: impl Into<Cow<'static, str>>,
        importance: u8,
        cells: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            heading: heading.into(),
            cells: cells
                .into_iter()
                .map(|cell| clean(&cell).into_owned())
                .collect(),
            importance,
            to_the_left: false,
            strong: false,
            shorten: None,
        }
    }

    /// The column as one of words, aligned to the left.
    pub fn words(mut self) -> Self {
        self.to_the_left = true;
        self
    }

    /// The column in bold.
    pub fn strong(mut self) -> Self {
        self.strong = true;
        self
    }

    /// The column with cells that `to` shortens: down to `least` columns of the terminal before any column is left out,
    /// and to `most` wherever the width is limited.
    pub fn shortened(mut self, least: usize, most: usize, to: fn(&str, usize) -> String) -> Self {
        self.shorten = Some(Shorten { least, most, to });
        self
    }

    /// Whether no cell says anything.
    pub fn is_empty(&self) -> bool {
        self.cells.iter().all(|cell| cell.is_empty() || cell == "-")
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| elide::columns(cell));
        cells.max().unwrap_or(0).max(self.heading.len())
    }

    /// The width that it can have at least.
    fn least_width(&self) -> usize {
        let least = self.shorten.map_or(usize::MAX, |shorten| shorten.least);
        self.width().min(least)
    }

    /// Shortens the cells to `available` columns of the terminal.
    fn fit(&mut self, available: usize) {
        let Some(shorten) = self.shorten else { return };
        let max = available.min(shorten.most).max(shorten.least);
        self.cells
            .iter_mut()
            .for_each(|cell| *cell = (shorten.to)(cell, max));
    }

    fn cell(&self, line: Line, text: &str, width: usize, strong: bool) -> Line {
        let end = line.columns() + width;
        let line = match self.to_the_left {
            true => line,
            false => line.pad_to(end - elide::columns(text)),
        };
        if strong {
            line.strong(text)
        } else {
            line.plain(text)
        }
    }
}

/// A table to be written.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    strong_rows: BTreeSet<usize>,
}

impl Table {
    /// A table of these columns, which have equally many cells.
    pub fn new(columns: Vec<Column>) -> Self {
        Self {
            columns,
            strong_rows: BTreeSet::new(),
        }
    }

    /// The table with a row in bold, counted from 0.
    pub fn strong_row(mut self, row: usize) -> Self {
        self.strong_rows.insert(row);
        self
    }

    /// Writes the headings and the rows.
    ///
    /// # Errors
    /// Those of the output.
    pub fn write(mut self, out: &mut Writer<'_>) -> io::Result<()> {
        if let Some(width) = out.width() {
            self.fit(width);
        }
        let widths: Vec<usize> = self.columns.iter().map(Column::width).collect();
        out.line(&self.row(&widths, |column| (&column.heading, false)))?;
        let rows = self.columns.iter().map(|column| column.cells.len());
        for row in 0..rows.max().unwrap_or(0) {
            let strong = self.strong_rows.contains(&row);
            let line = self.row(&widths, |column| {
                let cell = column.cells.get(row).map_or("", String::as_str);
                (cell, strong || column.strong)
            });
            out.line(&line)?;
        }
        Ok(())
    }

    /// Leaves out columns and shortens others until the table fits.
    fn fit(&mut self, width: usize) {
        while self.least_width() > width {
            let dispensable = self.columns.iter().enumerate().rev();
            let dispensable = dispensable.filter(|(_, column)| column.importance < ALWAYS);
            match dispensable.min_by_key(|(_, column)| column.importance) {
                Some((least, _)) => drop(self.columns.remove(least)),
                None => break,
            }
        }
        let spare = width.saturating_sub(self.least_width());
        for column in &mut self.columns {
            column.fit(column.least_width().saturating_add(spare));
        }
    }

    fn least_width(&self) -> usize {
        self.columns
            .iter()
            .map(|column| GAP + column.least_width())
            .sum()
    }

    /// A line of cells, with nothing after the last that says anything.
    fn row<'a>(&'a self, widths: &[usize], cell: impl Fn(&'a Column) -> (&'a str, bool)) -> Line {
        let mut line = Line::default();
        let mut end = 0;
        for (column, width) in self.columns.iter().zip(widths) {
            let (text, strong) = cell(column);
            end += GAP;
            if !text.is_empty() {
                line = column.cell(line.pad_to(end), text, *width, strong);
            }
            end += width;
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(heading: &'static str, importance: u8, cells: [&str; 2]) -> Column {
        Column::new(heading, importance, cells.map(str::to_owned))
    }

    fn written(width: Option<usize>, table: Table) -> String {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, width, true);
        table.write(&mut writer).expect("a vector takes all");
        String::from_utf8(out).expect("text")
    }

    fn table() -> Table {
        Table::new(vec![
            column("pid", ALWAYS, ["7", "4242"]),
            column("name", ALWAYS, ["a", "worker"]).words(),
            column("rss", 9, ["1 MiB", "20.5 MiB"]).strong(),
            column("virtual", 1, ["9 GiB", "10 GiB"]),
            column("state", 2, ["new", ""]).words(),
        ])
    }

    #[test]
    fn columns_are_aligned_and_nothing_follows_the_last_cell() {
        let expected = "   pid  name         rss  virtual  state\n\
                        \x20    7  a          \x1b[1m1 MiB\x1b[0m    9 GiB  new\n\
                        \x20 4242  worker  \x1b[1m20.5 MiB\x1b[0m   10 GiB\n";
        assert_eq!(written(None, table()), expected);
    }

    #[test]
    fn a_narrow_terminal_loses_what_matters_least() {
        let headings = |width| {
            let text = written(Some(width), table());
            text.lines()
                .next()
                .unwrap_or("")
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(headings(40), ["pid", "name", "rss", "virtual", "state"]);
        assert_eq!(headings(39), ["pid", "name", "rss", "state"]);
        assert_eq!(headings(30), ["pid", "name", "rss"]);
        assert_eq!(headings(23), ["pid", "name"]);
        assert!(
            written(Some(5), table())
                .lines()
                .all(|line| line.len() <= 5)
        );
    }

    #[test]
    fn cells_are_shortened_before_a_column_goes() {
        let place = || column("where", 3, ["a-rather-long-name", "x"]).words();
        let table = || {
            let place = place().shortened(9, 14, elide::middle);
            Table::new(vec![place, column("rss", ALWAYS, ["1 MiB", "2 MiB"])])
        };
        let second = |width| {
            written(width, table())
                .lines()
                .nth(1)
                .unwrap_or("")
                .to_owned()
        };
        assert_eq!(second(None), "  a-rather-long-name  1 MiB");
        assert_eq!(second(Some(80)), "  a-rath...-name  1 MiB");
        assert_eq!(second(Some(18)), "  a-r...ame  1 MiB");
        assert_eq!(second(Some(17)), "  1 MiB");
    }

    #[test]
    fn a_row_can_stand_out() {
        let text = written(
            None,
            Table::new(vec![column("n", ALWAYS, ["1", "2"])]).strong_row(1),
        );
        assert_eq!(text, "  n\n  1\n  \x1b[1m2\x1b[0m\n");
    }
}
