//! A small table: the first column to the left, numbers to the right, and fewer columns where the terminal is narrow.

use std::io::{self, Write};

use crate::report::line::{Line, Writer};

/// A table to be written.
#[derive(Clone, Debug, Default)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<(bool, Vec<String>)>,
}

impl Table {
    /// A table with these columns.
    pub fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with a cell for each column.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push((false, cells));
    }

    /// Adds a row that stands out.
    pub fn strong(&mut self, cells: Vec<String>) {
        self.rows.push((true, cells));
    }

    /// Leaves out a column.
    pub fn drop_column(&mut self, heading: &str) {
        let Some(place) = self.headings.iter().position(|own| *own == heading) else {
            return;
        };
        self.headings.remove(place);
        for (_, cells) in &mut self.rows {
            cells.remove(place);
        }
    }

    /// Leaves out a column whose cells all say `empty`, or nothing.
    pub fn drop_if_all(&mut self, heading: &str, empty: &str) {
        let place = self.headings.iter().position(|own| *own == heading);
        let is_empty = |place: usize| {
            let mut cells = self.rows.iter().map(|(_, cells)| &cells[place]);
            cells.all(|cell| cell.is_empty() || cell == empty)
        };
        if place.is_some_and(is_empty) {
            self.drop_column(heading);
        }
    }

    fn widths(&self) -> Vec<usize> {
        let cell = |row: &Vec<String>, column: usize| Line::of(&row[column]).columns();
        (0..self.headings.len())
            .map(|column| {
                let cells = self.rows.iter().map(|(_, cells)| cell(cells, column));
                cells.max().unwrap_or(0).max(self.headings[column].len())
            })
            .collect()
    }

    /// Writes the table, indented; `least` names the columns to do without first.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(mut self, out: &mut Writer<'_, impl Write>, least: &[&str]) -> io::Result<()> {
        let limit = out.width().unwrap_or(usize::MAX);
        for heading in least {
            if self.widths().iter().map(|width| width + 2).sum::<usize>() <= limit {
                break;
            }
            self.drop_column(heading);
        }
        let widths = self.widths();
        let headings = self.headings.iter().map(|heading| (*heading).to_owned());
        let headings: Vec<String> = headings.collect();
        out.line(&line(&headings, &widths, false))?;
        for (strong, cells) in &self.rows {
            out.line(&line(cells, &widths, *strong))?;
        }
        Ok(())
    }
}

fn line(cells: &[String], widths: &[usize], strong: bool) -> Line {
    let mut line = Line::default();
    let used = cells.iter().rposition(|cell| !cell.is_empty());
    let cells = &cells[..used.map_or(0, |last| last + 1)];
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        line = line.plain("  ");
        let start = line.columns();
        let own = Line::of(cell).columns();
        if index > 0 {
            line = line.pad_to(start + width - own);
        }
        line = if strong {
            line.strong(cell)
        } else {
            line.plain(cell)
        };
        if index + 1 < cells.len() {
            line = line.pad_to(start + width);
        }
    }
    line
}
