//! One line of text in a few styles, which never becomes wider than the terminal.

use std::io::{self, Write};

use crate::words::clean::clean;
use crate::words::elide;

/// The style of a piece of text, where styles are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The default of the terminal.
    Plain,
    /// Bold, for the most important figures.
    Strong,
    /// Dim, for places of frames and other details.
    Faint,
}

impl Style {
    /// The terminal's control sequence that turns the style on.
    const fn sequence(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "\x1b[1m",
            Self::Faint => "\x1b[2m",
        }
    }
}

/// A line under construction.
#[derive(Clone, Debug, Default)]
pub struct Line {
    spans: Vec<(Style, String)>,
    columns: usize,
}

impl Line {
    /// A line of one plain text.
    pub fn of(text: &str) -> Self {
        Self::default().plain(text)
    }

    /// The line with `text` at its end.
    pub fn plain(self, text: &str) -> Self {
        self.styled(Style::Plain, text)
    }

    /// The line with `text` at its end, in bold.
    pub fn strong(self, text: &str) -> Self {
        self.styled(Style::Strong, text)
    }

    /// The line with `text` at its end, dimmed.
    pub fn faint(self, text: &str) -> Self {
        self.styled(Style::Faint, text)
    }

    fn styled(mut self, style: Style, text: &str) -> Self {
        let text = clean(text);
        self.columns += elide::columns(&text);
        self.spans.push((style, text.into_owned()));
        self
    }

    /// The line with spaces at its end up to `column`.
    pub fn pad_to(self, column: usize) -> Self {
        let missing = column.saturating_sub(self.columns);
        self.plain(&" ".repeat(missing))
    }

    /// The line followed by another.
    pub fn join(mut self, other: Self) -> Self {
        self.spans.extend(other.spans);
        self.columns += other.columns;
        self
    }

    /// Columns that it takes.
    pub fn columns(&self) -> usize {
        self.columns
    }
}

/// Writes lines within a width. Its errors are those of the output.
pub struct Writer<'a> {
    out: &'a mut dyn Write,
    width: Option<usize>,
    color: bool,
}

impl<'a> Writer<'a> {
    /// A writer of lines of at most `width` columns.
    pub fn new(out: &'a mut dyn Write, width: Option<usize>, color: bool) -> Self {
        Self { out, width, color }
    }

    /// Columns of a line, where there is a limit.
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// An empty line.
    pub fn blank(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    /// One line; what does not fit ends with "...".
    pub fn line(&mut self, line: &Line) -> io::Result<()> {
        let mut left = self.width.unwrap_or(usize::MAX);
        let cut = line.columns > left;
        if cut {
            left = left.saturating_sub(3);
        }
        for (style, text) in &line.spans {
            let fitting = elide::start(text, left);
            left -= elide::columns(fitting);
            self.span(*style, fitting)?;
            if fitting.len() < text.len() {
                break;
            }
        }
        if cut {
            self.span(Style::Plain, elide::start("...", self.width.unwrap_or(3)))?;
        }
        self.blank()
    }

    fn span(&mut self, style: Style, text: &str) -> io::Result<()> {
        if self.color && style != Style::Plain && !text.is_empty() {
            write!(self.out, "{}{text}\x1b[0m", style.sequence())
        } else {
            self.out.write_all(text.as_bytes())
        }
    }

    /// `parts` in a row, with a space between them; further lines, indented, where they do not fit.
    pub fn flow(&mut self, parts: Vec<Line>, indent: usize) -> io::Result<()> {
        let limit = self.width.unwrap_or(usize::MAX);
        let indent = if indent < limit / 2 { indent } else { 0 };
        let mut line: Option<Line> = None;
        for part in parts {
            line = Some(match line {
                None => part,
                Some(line) if line.columns.saturating_add(1 + part.columns) <= limit => {
                    line.plain(" ").join(part)
                }
                Some(line) => {
                    self.line(&line)?;
                    Line::default().pad_to(indent).join(part)
                }
            });
        }
        line.map_or(Ok(()), |line| self.line(&line))
    }

    /// A sentence in plain text.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.sentence(Line::default(), text, 2)
    }

    /// `parts` as one list with commas.
    pub fn list(&mut self, mut parts: Vec<Line>, indent: usize) -> io::Result<()> {
        let last = parts.len().saturating_sub(1);
        for part in parts.iter_mut().take(last) {
            *part = std::mem::take(part).plain(",");
        }
        self.flow(parts, indent)
    }

    /// A sentence, after `mark` if that is not empty; further lines are indented.
    pub fn sentence(&mut self, mark: Line, text: &str, indent: usize) -> io::Result<()> {
        let max = self.width.map(|width| width.saturating_sub(indent));
        let words = elide::words(text, max);
        let marked = (mark.columns > 0).then_some(mark);
        let parts = marked
            .into_iter()
            .chain(words.iter().map(|word| Line::of(word)));
        self.flow(parts.collect(), indent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(width: Option<usize>, color: bool, line: &Line) -> String {
        let mut out = Vec::new();
        Writer::new(&mut out, width, color)
            .line(line)
            .expect("a vector takes all");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn colors_are_only_written_when_wanted() {
        let line = Line::of("a ").strong("12").faint(" b");
        assert_eq!(written(None, false, &line), "a 12 b\n");
        assert_eq!(
            written(None, true, &line),
            "a \x1b[1m12\x1b[0m\x1b[2m b\x1b[0m\n"
        );
    }

    #[test]
    fn a_line_is_cut_at_the_width_whatever_its_styles() {
        let line = Line::of("abc").strong("defgh").faint("ij");
        assert_eq!(written(Some(10), false, &line), "abcdefghij\n");
        assert_eq!(written(Some(9), false, &line), "abcdef...\n");
        assert_eq!(written(Some(2), true, &line), "..\n");
        assert_eq!(written(Some(0), true, &line), "\n");
    }

    #[test]
    fn lists_flow_over_lines() {
        let mut out = Vec::new();
        let parts = ["one", "two", "three"].map(Line::of).to_vec();
        let mut writer = Writer::new(&mut out, Some(9), false);
        writer.list(parts, 2).expect("a vector takes all");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "one, two,\n  three\n"
        );
    }
}
