//! The picture: a head, the list that one looks at, with the details of a stack, and a last line for keys.

mod ages;
mod columns;
mod details;
mod footer;
mod head;
mod help;
mod processes;
mod stacks;
mod theme;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Clear, Widget};

use self::theme::Theme;
use super::state::{App, Mode};
use crate::words::elide;

/// The least size of the screen.
pub const LEAST: (u16, u16) = (60, 15);
/// Lines of the head.
const HEAD: u16 = 3;

/// Draws the view.
pub fn draw(app: &mut App, frame: &mut Frame<'_>) {
    let area = frame.area();
    let theme = Theme::new(app.settings.color, app.settings.unicode);
    if area.width < LEAST.0 || area.height < LEAST.1 {
        too_small(area, frame.buffer_mut());
        return;
    }
    let (head, rest) = split(area, HEAD);
    let (body, foot) = split(rest, rest.height - 1);
    head::draw(app, &theme, head, frame.buffer_mut());
    match app.has_stacks() {
        true => stacks::draw(app, &theme, body, frame.buffer_mut()),
        false => processes::draw(app, &theme, body, frame.buffer_mut()),
    }
    let cursor = footer::draw(app, &theme, foot, frame.buffer_mut());
    if let Some(column) = cursor {
        frame.set_cursor_position((column, foot.y));
    }
    if let Mode::Help(from) = app.mode {
        let from = help::draw(from, &theme, body, frame.buffer_mut());
        app.mode = Mode::Help(from);
    }
}

/// The upper part of an area with so many lines, and the rest.
fn split(area: Rect, lines: u16) -> (Rect, Rect) {
    let lines = lines.min(area.height);
    let upper = Rect {
        height: lines,
        ..area
    };
    let lower = Rect {
        y: area.y + lines,
        height: area.height - lines,
        ..area
    };
    (upper, lower)
}

/// Says that the terminal is too small, as well as that fits.
fn too_small(area: Rect, out: &mut Buffer) {
    let (columns, lines) = LEAST;
    let text = format!(
        "too small: {}x{}, at least {columns}x{lines} is needed; q leaves",
        area.width, area.height
    );
    let text = elide::start(&text, area.width.into()).to_owned();
    put(out, area, 0, Line::raw(text));
}

/// Puts a line into an area, unless it is beyond its end.
fn put(out: &mut Buffer, area: Rect, line: u16, text: Line<'_>) {
    if line < area.height {
        out.set_line(area.x, area.y + line, &text, area.width);
    }
}

/// Lets a whole line of an area look different.
fn mark(out: &mut Buffer, area: Rect, line: u16, style: Style) {
    if line < area.height {
        let line = Rect {
            y: area.y + line,
            height: 1,
            ..area
        };
        out.set_style(line, style);
    }
}

/// An empty place for what lies above others.
fn clear(out: &mut Buffer, area: Rect) {
    Clear.render(area, out);
}

/// So many columns.
fn width(area: Rect) -> usize {
    area.width.into()
}
