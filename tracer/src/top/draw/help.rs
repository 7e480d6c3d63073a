//! The help: all keys, from the very table that gives them their meaning.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::theme::Theme;
use super::{clear, put, width};
use crate::top::keys::BINDINGS;
use crate::words::elide;

/// Columns of the keys.
const KEYS: usize = 16;
/// Columns of the whole help at most.
const WIDEST: u16 = 92;

/// What stands below the keys.
const NOTES: [&str; 7] = [
    "",
    "growth/min: of the heap's live bytes where a process is traced (*), else of",
    "resident and swapped memory; after >= what it is at least, as far as 95 % go.",
    "allocs/s, live and the stacks are known of traced processes only.",
    "last minutes: the same figure; each line has a scale of its own.",
    "Files: by the name's ending, such as .svg, .folded, .md and .json.",
    "With the mouse captured, Shift selects text in most terminals.",
];

/// Draws the help above an area; the first line that was shown, which is such that none is left empty.
pub fn draw(from: usize, theme: &Theme, area: Rect, out: &mut Buffer) -> usize {
    let columns = WIDEST.min(area.width);
    let inner = usize::from(columns).saturating_sub(4);
    let lines = lines(inner, theme);
    let height = u16::try_from(lines.len() + 2)
        .unwrap_or(u16::MAX)
        .min(area.height);
    let frame = Rect {
        x: area.x + (area.width - columns) / 2,
        y: area.y + (area.height - height) / 2,
        width: columns,
        height,
    };
    clear(out, frame);
    let shown = usize::from(height.saturating_sub(2));
    let from = from.min(lines.len().saturating_sub(shown));
    let title = match lines.len() > shown {
        true => " keys; Down for more, any other key closes ",
        false => " keys; any key closes ",
    };
    border(frame, title, theme, out);
    let inside = Rect {
        x: frame.x + 2,
        y: frame.y + 1,
        width: columns - 4,
        height: height.saturating_sub(2),
    };
    for (line, text) in (0..inside.height).zip(lines.into_iter().skip(from)) {
        put(out, inside, line, text);
    }
    from
}

fn border(frame: Rect, title: &str, theme: &Theme, out: &mut Buffer) {
    let (across, down) = theme.rules;
    let rule = across.repeat(width(frame));
    out.set_string(frame.x, frame.y, &rule, theme.faint);
    let last = frame.y + frame.height - 1;
    out.set_string(frame.x, last, &rule, theme.faint);
    for line in frame.y + 1..last {
        out.set_string(frame.x, line, down, theme.faint);
        out.set_string(frame.x + frame.width - 1, line, down, theme.faint);
    }
    out.set_string(frame.x + 2, frame.y, title, theme.strong);
}

fn lines(columns: usize, theme: &Theme) -> Vec<Line<'static>> {
    let keys = BINDINGS.iter().map(|binding| {
        let keys = Span::styled(format!("{:<KEYS$}", binding.label), theme.strong);
        let room = columns.saturating_sub(KEYS);
        Line::from(vec![keys, Span::raw(elide::start(binding.help, room))])
    });
    let notes = NOTES.iter();
    let notes = notes.flat_map(|note| wrapped(note, columns)).map(Line::raw);
    keys.chain(notes).collect()
}

/// A note in as many lines as it takes.
fn wrapped(note: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in note.split(' ') {
        let last = lines.last().map_or(0, String::len);
        if last > 0 && last + 1 + word.len() > columns {
            lines.push(word.to_owned());
        } else if let Some(line) = lines.last_mut() {
            let gap = if line.is_empty() { "" } else { " " };
            line.push_str(gap);
            line.push_str(word);
        }
    }
    lines
}
