//! Results as a Markdown table.

use std::fmt;

/// Rows under column names; the first column is text, the others are numbers with units, aligned right.
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new(columns: &[&str]) -> Self {
        Self {
            columns: columns.iter().map(|&name| name.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells stay empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut cells: Vec<String> = cells.into_iter().collect();
        cells.resize(self.columns.len(), String::new());
        self.rows.push(cells);
    }

    /// Characters of the widest cell of each column.
    fn widths(&self) -> Vec<usize> {
        (0..self.columns.len())
            .map(|column| {
                self.rows
                    .iter()
                    .map(|row| row[column].chars().count())
                    .chain([self.columns[column].chars().count(), 3])
                    .max()
                    .unwrap_or(3)
            })
            .collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        write_row(f, &self.columns, &widths)?;
        for (column, &width) in widths.iter().enumerate() {
            let (dashes, end) = if column == 0 {
                (width, "")
            } else {
                (width - 1, ":")
            };
            write!(f, "| {}{end} ", "-".repeat(dashes))?;
        }
        writeln!(f, "|")?;
        self.rows
            .iter()
            .try_for_each(|row| write_row(f, row, &widths))
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, cells: &[String], widths: &[usize]) -> fmt::Result {
    for (column, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        if column == 0 {
            write!(f, "| {cell:<width$} ")?;
        } else {
            write!(f, "| {cell:>width$} ")?;
        }
    }
    writeln!(f, "|")
}

/// Nanoseconds with as many digits as matter.
pub fn ns(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.1} ns")
    } else {
        format!("{value:.0} ns")
    }
}

/// Milliseconds.
pub fn ms(value: f64) -> String {
    format!("{value:.0} ms")
}

/// How often one value holds the other.
pub fn ratio(value: f64, base: f64) -> String {
    if base > 0.0 {
        format!("{:.2}x", value / base)
    } else {
        "n/a".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_aligned_markdown() {
        let mut table = Table::new(&["what", "cost", "ratio"]);
        table.row(["untraced".to_owned(), ns(5.25)]);
        table.row(["traced".to_owned(), ns(1234.5), ratio(1234.5, 5.0)]);
        assert_eq!(
            table.to_string(),
            "| what     |    cost |   ratio |\n\
             | -------- | ------: | ------: |\n\
             | untraced |  5.2 ns |         |\n\
             | traced   | 1234 ns | 246.90x |\n"
        );
    }

    #[test]
    fn ratio_to_nothing_is_no_number() {
        assert_eq!(ratio(1.0, 0.0), "n/a");
    }
}
