//! The last line: what is typed, what was said, or what keys do.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::theme::Theme;
use super::{put, width};
use crate::top::keys::{Action, BINDINGS, Binding};
use crate::top::line_edit::LineEdit;
use crate::top::state::{App, Mode, Place};
use crate::words::clean::clean;
use crate::words::elide;

/// Draws the line; the column of the cursor, where something is typed.
pub fn draw(app: &App, theme: &Theme, area: Rect, out: &mut Buffer) -> Option<u16> {
    let prompt = match &app.mode {
        Mode::Filter(line, _) => Some(("filter: ", line)),
        Mode::Older(line) => Some(("older than (30s, 5m; 0 for all): ", line)),
        Mode::Export(line) => Some(("write what is seen to: ", line)),
        Mode::Keys | Mode::Help(_) => None,
    };
    if let Some((prompt, line)) = prompt {
        return Some(draw_prompt(prompt, line, area, out));
    }
    let line = match &app.message {
        Some(message) => {
            let text = elide::start(&clean(message), width(area)).to_owned();
            Line::styled(text, theme.pressing)
        }
        None => keys(app, theme, width(area)),
    };
    put(out, area, 0, line);
    None
}

/// The end of a long line is shown, and its cursor.
fn draw_prompt(prompt: &str, line: &LineEdit, area: Rect, out: &mut Buffer) -> u16 {
    let room = width(area).saturating_sub(prompt.len() + 1);
    let before = line.before();
    let mut from = 0;
    while elide::columns(&before[from..]) > room {
        from += before[from..].chars().next().map_or(1, char::len_utf8);
    }
    let text = format!("{prompt}{}", clean(&line.text()[from..]));
    put(out, area, 0, Line::raw(text));
    let column = prompt.len() + elide::columns(&before[from..]);
    area.x + u16::try_from(column).unwrap_or(0)
}

/// What keys do, as many as fit.
fn keys(app: &App, theme: &Theme, width: usize) -> Line<'static> {
    let is_at_the_top = app.place == Place::Machine && !app.has_stacks();
    let own = BINDINGS.iter().filter(|binding| !binding.short.is_empty());
    let own = own.filter(|binding| match binding.action {
        Action::Back => !is_at_the_top || !app.filter().is_empty(),
        Action::Open | Action::Baseline if app.has_stacks() => binding.action != Action::Open,
        Action::Older => app.has_stacks(),
        _ => true,
    });
    let mut own: Vec<&Binding> = own.collect();
    // Where few fit, the ways out are there.
    let columns = |binding: &Binding| label(binding).len() + 1 + binding.short.len() + 2;
    while own.iter().map(|binding| columns(binding)).sum::<usize>() > width {
        let least = own.iter().rposition(|binding| !is_vital(binding.action));
        own.remove(least.unwrap_or(own.len() - 1));
    }
    let spans = own.iter().flat_map(|binding| {
        let does = format!(" {}  ", binding.short);
        [
            Span::styled(label(binding), theme.strong),
            Span::styled(does, theme.faint),
        ]
    });
    spans.collect()
}

/// The first of the keys that do the same.
fn label(binding: &Binding) -> &'static str {
    binding.label.split(',').next().unwrap_or_default()
}

/// Whether a key is shown however narrow the screen is.
const fn is_vital(action: Action) -> bool {
    matches!(
        action,
        Action::Open | Action::Back | Action::Help | Action::Leave
    )
}
