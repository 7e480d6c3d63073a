//! The list of stacks, and the details of the selected one: beside it, or below it where the screen is narrow.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::columns::{Cell, Column, Fitted};
use super::processes::{GROWTH, growth_cell, since, since_cell};
use super::theme::Theme;
use super::{details, mark, put, split, width};
use crate::top::data::Tab;
use crate::top::rows::Rising;
use crate::top::stacks::{StackRow, StackSort};
use crate::top::state::{App, Phase, Rows};
use crate::words::elide;
use crate::words::units::{bytes, change, count, duration};

/// From this width on the details stand beside the list.
const WIDE: u16 = 110;

/// Draws both.
pub fn draw(app: &mut App, theme: &Theme, area: Rect, out: &mut Buffer) {
    let (list, rest) = match area.width >= WIDE {
        true => side_by_side(area, theme, out),
        false => above_each_other(area, theme, out),
    };
    draw_list(app, theme, list, out);
    if app.rows.is_empty() {
        put(out, list, 2, Line::raw(why_none(app)));
        return;
    }
    details::draw(app, theme, rest, out);
}

fn side_by_side(area: Rect, theme: &Theme, out: &mut Buffer) -> (Rect, Rect) {
    let left = area.width / 2;
    let list = Rect {
        width: left,
        ..area
    };
    for line in 0..area.height {
        out.set_string(area.x + left + 1, area.y + line, theme.rules.1, theme.faint);
    }
    let rest = Rect {
        x: area.x + left + 3,
        width: area.width - left - 3,
        ..area
    };
    (list, rest)
}

fn above_each_other(area: Rect, theme: &Theme, out: &mut Buffer) -> (Rect, Rect) {
    let (list, rest) = split(area, (area.height * 2 / 5).max(4));
    let (rule, rest) = split(rest, 1);
    let text = theme.rules.0.repeat(width(rule));
    out.set_string(rule.x, rule.y, text, theme.faint);
    (list, rest)
}

fn draw_list(app: &mut App, theme: &Theme, area: Rect, out: &mut Buffer) {
    let (heading, body) = split(area, 1);
    app.list_top = body.y;
    app.list.fit(body.height.into());
    let Rows::Stacks(rows) = &app.rows else {
        return;
    };
    let fitted = Fitted::new(columns(app, rows, theme), width(area));
    put(out, heading, 0, fitted.headings(theme.heading));
    let shown = rows.iter().enumerate().skip(app.list.offset());
    for (line, (index, row)) in (0..body.height).zip(shown) {
        put(out, body, line, fitted.row(row));
        if index == app.list.selected() {
            mark(out, body, line, theme.selected);
        }
    }
}

/// Why there is no stack.
fn why_none(app: &App) -> String {
    let phase = app.trace().and_then(|id| app.phases.get(&id));
    match (phase, app.profile()) {
        (Some(Phase::Failed(why)), _) => why.clone(),
        (Some(Phase::Starting), _) => "placing probes".to_owned(),
        (_, None) => "waiting for the first report".to_owned(),
        (_, Some(_)) if !app.filter().is_empty() => {
            "no stack has a function of this name; Esc shows all".to_owned()
        }
        (_, Some((profile, _))) if !profile.has(app.source()) => {
            "this is not traced: the process has no allocator that can be".to_owned()
        }
        _ => "nothing that was allocated since the start of the trace is held".to_owned(),
    }
}

/// A heading, with a mark where it is what rows are sorted by.
fn heading(app: &App, text: &str, sort: StackSort) -> String {
    match app.stack_sort {
        (by, false) if by == sort => format!("{text} v"),
        (by, true) if by == sort => format!("{text} ^"),
        _ => text.to_owned(),
    }
}

fn columns<'a>(app: &'a App, rows: &[StackRow], theme: &'a Theme) -> Vec<Column<'a, StackRow>> {
    let selected = rows.get(app.list.selected()).map(|row| row.identity);
    let marks = move |row: &StackRow, _: usize| {
        Cell::plain(if selected == Some(row.identity) {
            ">"
        } else {
            " "
        })
    };
    let (level, blocks) = match app.tab {
        Tab::Heap => ("live", "blocks"),
        Tab::Space => ("mapped", "ranges"),
        Tab::Kernel => ("held", "objects"),
    };
    let growth = match (&app.baseline, app.tab) {
        (Some(baseline), _) => since(baseline, &app.settings.time_zone),
        (None, Tab::Heap) => "growth/min".to_owned(),
        (None, _) => "change".to_owned(),
    };
    let mut columns = vec![
        Column::words("", 99, (1, 1), marks),
        Column::figures(
            heading(app, level, StackSort::Level),
            98,
            8,
            |row: &StackRow, _| Cell::plain(bytes(row.level)),
        ),
        Column::words(
            heading(app, &growth, StackSort::Growth),
            90,
            GROWTH,
            |row: &StackRow, width| grown(app.tab, row, width, theme),
        )
        .right(),
        Column::figures(
            heading(app, blocks, StackSort::Blocks),
            50,
            9,
            |row: &StackRow, _| Cell::plain(count(row.blocks)),
        ),
        Column::figures(
            heading(app, "oldest", StackSort::Age),
            40,
            8,
            |row: &StackRow, _| Cell::plain(row.oldest_ms.map_or_else(|| "-".to_owned(), age)),
        ),
    ];
    if rows.iter().any(|row| !row.verdict.is_empty()) {
        let verdict = heading(app, "verdict", StackSort::Verdict);
        columns.push(Column::words(verdict, 60, (10, 13), |row: &StackRow, _| {
            Cell::plain(row.verdict).style(theme.pressing)
        }));
    }
    let name = |row: &StackRow, width: usize| {
        let name = elide::symbol(&row.name, width);
        Cell::plain(name).style(if row.has_stack {
            theme.strong
        } else {
            theme.faint
        })
    };
    if app.tab == Tab::Kernel {
        columns.push(Column::words("kind", 70, (14, 18), |row: &StackRow, _| {
            Cell::plain(&row.what)
        }));
    }
    columns.push(Column::words("function", 95, (16, 200), name));
    columns
}

fn age(ms: u64) -> String {
    duration(std::time::Duration::from_millis(ms))
}

fn grown(tab: Tab, row: &StackRow, width: usize, theme: &Theme) -> Cell {
    if let Some(since) = row.since {
        return since_cell(since, theme);
    }
    match (row.per_min, row.change) {
        (Some((per_min, at_least)), _) => {
            let growth = Rising {
                per_min: Some(per_min),
                at_least,
            };
            growth_cell(growth, width, theme)
        }
        // A change since the last report is no growth a minute.
        (None, Some(bytes)) if tab != Tab::Heap => Cell::plain(change(bytes)),
        (None, _) => Cell::plain("-").style(theme.faint),
    }
}
