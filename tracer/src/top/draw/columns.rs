//! A table on the screen: columns that fit its width, the most important ones first.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::words::elide;

/// Columns between two columns.
const GAP: usize = 2;

/// A text and how it looks.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// The text.
    pub text: String,
    /// How it looks.
    pub style: Style,
}

impl Cell {
    /// A text without a style.
    pub fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            style: Style::default(),
        }
    }

    /// The same in a style.
    pub fn style(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

/// What a cell of a row is, in a column of so many terminal columns.
type CellOf<'a, R> = Box<dyn Fn(&R, usize) -> Cell + 'a>;

/// A column.
pub struct Column<'a, R> {
    /// Its heading.
    heading: String,
    /// Terminal columns that it takes at least, and at most.
    width: (usize, usize),
    is_right: bool,
    /// Columns of a greater importance are the last to be left out.
    importance: u8,
    cell: CellOf<'a, R>,
}

impl<'a, R> Column<'a, R> {
    /// A column of figures, right-aligned.
    pub fn figures(
        heading: impl Into<String>,
        importance: u8,
        width: usize,
        cell: impl Fn(&R, usize) -> Cell + 'a,
    ) -> Self {
        Self {
            heading: heading.into(),
            width: (width, width),
            is_right: true,
            importance,
            cell: Box::new(cell),
        }
    }

    /// A column of words, left-aligned, which may become wider.
    pub fn words(
        heading: impl Into<String>,
        importance: u8,
        width: (usize, usize),
        cell: impl Fn(&R, usize) -> Cell + 'a,
    ) -> Self {
        Self {
            width,
            is_right: false,
            ..Self::figures(heading, importance, width.0, cell)
        }
    }

    /// The same, right-aligned.
    pub fn right(self) -> Self {
        Self {
            is_right: true,
            ..self
        }
    }
}

/// Columns that fit a width.
pub struct Fitted<'a, R> {
    columns: Vec<(Column<'a, R>, usize)>,
}

impl<'a, R> Fitted<'a, R> {
    /// As many of the columns as fit; those to the left grow first where there is room.
    pub fn new(columns: Vec<Column<'a, R>>, width: usize) -> Self {
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(columns[*index].importance));
        let mut left = width + GAP;
        let mut is_shown = vec![false; columns.len()];
        for index in order {
            let needed = columns[index].width.0 + GAP;
            if needed > left {
                break;
            }
            left -= needed;
            is_shown[index] = true;
        }
        let shown = columns.into_iter().zip(is_shown);
        let shown = shown.filter_map(|(column, is_shown)| is_shown.then_some(column));
        let mut columns: Vec<(Column<'a, R>, usize)> = shown
            .map(|column| (column.width.0, column))
            .map(|(width, column)| (column, width))
            .collect();
        // In the order of importance, each as far as it goes.
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(columns[*index].0.importance));
        for index in order {
            let (column, width) = &mut columns[index];
            let more = column.width.1.saturating_sub(*width).min(left);
            *width += more;
            left -= more;
        }
        Self { columns }
    }

    /// The headings.
    pub fn headings(&self, style: Style) -> Line<'static> {
        let cells = self.columns.iter();
        let cells = cells.map(|(column, width)| {
            let cell = Cell::plain(&column.heading).style(style);
            (cell, *width, column.is_right)
        });
        line(cells)
    }

    /// A row.
    pub fn row(&self, row: &R) -> Line<'static> {
        let cells = self.columns.iter();
        line(cells.map(|(column, width)| ((column.cell)(row, *width), *width, column.is_right)))
    }
}

/// Cells beside each other, each in its width.
fn line(cells: impl Iterator<Item = (Cell, usize, bool)>) -> Line<'static> {
    let mut spans = Vec::new();
    for (index, (cell, width, is_right)) in cells.enumerate() {
        let text = elide::middle(&cell.text, width);
        let padding = " ".repeat(width.saturating_sub(elide::columns(&text)));
        let gap = if index > 0 {
            " ".repeat(GAP)
        } else {
            String::new()
        };
        let (before, after) = match is_right {
            true => (gap + &padding, String::new()),
            false => (gap, padding),
        };
        spans.push(Span::raw(before));
        spans.push(Span::styled(text, cell.style));
        spans.push(Span::raw(after));
    }
    spans.retain(|span| !span.content.is_empty());
    Line::from(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column<'static, u32>> {
        let text = |row: &u32, _: usize| Cell::plain(row.to_string());
        vec![
            Column::figures("pid", 9, 5, text),
            Column::words("name", 8, (6, 10), text),
            Column::figures("rare", 1, 8, text),
        ]
    }

    fn shown(width: usize) -> String {
        Fitted::new(columns(), width).row(&42).to_string()
    }

    #[test]
    fn the_most_important_columns_stay() {
        assert_eq!(shown(40), "   42  42                42");
        assert_eq!(shown(23), "   42  42            42");
        assert_eq!(shown(22), "   42  42        ");
        assert_eq!(shown(13), "   42  42    ");
        assert_eq!(shown(12), "   42");
        assert_eq!(shown(0), "");
    }
}
