//! The table of processes, or of groups of them.

use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::columns::{Cell, Column, Fitted};
use super::theme::Theme;
use super::{mark, put, split, width};
use crate::top::baseline::{Baseline, Since};
use crate::top::data::Tab;
use crate::top::history::heights;
use crate::top::rows::{Key, Rising, Row, Sort};
use crate::top::state::{App, Rows};
use crate::words::units::{bytes, change, count, rate};

/// Columns of the growth with its lower bound.
pub const GROWTH: (usize, usize) = (12, 23);

/// Draws the table.
pub fn draw(app: &mut App, theme: &Theme, area: Rect, out: &mut Buffer) {
    let (heading, body) = split(area, 1);
    app.list_top = body.y;
    app.list.fit(body.height.into());
    let Rows::Processes(rows) = &app.rows else {
        return;
    };
    let fitted = Fitted::new(columns(app, theme), width(area));
    put(out, heading, 0, fitted.headings(theme.heading));
    if rows.is_empty() {
        let why = match (app.filter().is_empty(), app.shown().machine.is_some()) {
            (false, _) => "no process has this in its name, PID or container; Esc shows all",
            (true, true) => "no processes",
            (true, false) => "",
        };
        put(out, body, 1, Line::raw(why));
    }
    let shown = rows.iter().enumerate().skip(app.list.offset());
    for (line, (index, row)) in (0..body.height).zip(shown) {
        put(out, body, line, fitted.row(row));
        if index == app.list.selected() {
            mark(out, body, line, theme.selected);
        }
    }
}

/// A heading, with a mark where it is what rows are sorted by.
fn heading(app: &App, text: &str, sort: Sort) -> String {
    match app.sort {
        (by, false) if by == sort => format!("{text} v"),
        (by, true) if by == sort => format!("{text} ^"),
        _ => text.to_owned(),
    }
}

fn columns<'a>(app: &'a App, theme: &'a Theme) -> Vec<Column<'a, Row>> {
    let is_grouped = matches!(app.place, super::super::Place::Machine)
        && app.settings.by != crate::profile::machine::By::Process;
    let optional = |value: Option<u64>, print: fn(u64) -> String| {
        Cell::plain(value.map_or_else(|| "-".to_owned(), print))
    };
    let selected = app.list.selected();
    let selected = match &app.rows {
        Rows::Processes(rows) => rows.get(selected).map(|row| row.key.clone()),
        Rows::Stacks(_) => None,
    };
    let (level, per_s) = match app.tab {
        Tab::Heap => ("live", "allocs/s"),
        Tab::Space | Tab::Kernel => ("mapped", "calls/s"),
    };
    let marks = move |row: &Row| {
        let is_selected = selected.as_ref() == Some(&row.key);
        match (is_selected, row.is_traced) {
            (true, true) => ">*",
            (true, false) => "> ",
            (false, true) => " *",
            (false, false) => "  ",
        }
    };
    let (who, number): (_, fn(&Row) -> String) = match is_grouped {
        true => ("processes".to_owned(), |row| count(row.processes)),
        false => (heading(app, "PID", Sort::Pid), pid),
    };
    let who = Column::figures(who, 99, 9, move |row: &Row, _| {
        Cell::plain(format!("{}{:>7}", marks(row), number(row)))
    });
    let growth = match &app.baseline {
        None => heading(app, "growth/min", Sort::Growth),
        Some(baseline) => heading(app, &since(baseline, &app.settings.time_zone), Sort::Growth),
    };
    let mut columns = vec![
        who,
        Column::words(
            heading(app, "name", Sort::Name),
            if is_grouped { 98 } else { 96 },
            (12, if is_grouped { 40 } else { 24 }),
            |row: &Row, _| Cell::plain(&row.name).style(theme.strong),
        ),
        Column::figures(
            heading(app, level, Sort::Level),
            90,
            8,
            move |row: &Row, _| optional(row.level, bytes),
        ),
        Column::words(growth, 97, GROWTH, move |row: &Row, width| {
            match app.since(row) {
                Some(since) => since_cell(since, theme),
                None => growth_cell(row.growth, width, theme),
            }
        })
        .right(),
        Column::figures(heading(app, per_s, Sort::Rate), 60, 8, |row: &Row, _| {
            Cell::plain(row.rate.map_or_else(|| "-".to_owned(), rate))
        }),
        Column::figures(
            heading(app, "RSS", Sort::Rss),
            80,
            8,
            move |row: &Row, _| optional(row.rss, bytes),
        ),
        Column::words("last minutes", 50, (12, 60), move |row: &Row, width| {
            Cell::plain(course(&row.course, width, theme))
        }),
        Column::words("verdict", 95, (10, 13), move |row: &Row, _| {
            let style = if row.is_pressing {
                theme.pressing
            } else {
                theme.faint
            };
            Cell::plain(row.verdict).style(style)
        }),
    ];
    if !is_grouped {
        columns.push(Column::words("where", 40, (12, 28), |row: &Row, _| {
            Cell::plain(&row.place)
        }));
        columns.push(Column::words("user", 30, (8, 12), |row: &Row, _| {
            Cell::plain(&row.user)
        }));
    }
    columns
}

fn pid(row: &Row) -> String {
    match row.key {
        Key::Process(pid) => pid.to_string(),
        Key::Group(_) => String::new(),
    }
}

/// The heading of growth since a baseline.
pub fn since(baseline: &Baseline, zone: &TimeZone) -> String {
    let time = baseline.time.to_zoned(zone.clone());
    format!("+ {}", time.strftime("%H:%M:%S"))
}

/// Growth a minute, with what it is at least where there is room: `+98.4 KiB >= 90.1 KiB`.
pub fn growth_cell(growth: Rising, width: usize, theme: &Theme) -> Cell {
    let Some(per_min) = growth.per_min else {
        return Cell::plain("-").style(theme.faint);
    };
    let whole = per_min.round() as i64;
    if growth.at_least <= 0.0 {
        return Cell::plain(change(whole)).style(theme.faint);
    }
    let at_least = bytes(growth.at_least.round() as u64);
    let text = match width >= GROWTH.1 {
        true => format!("{} >= {at_least}", change(whole)),
        false => change(whole),
    };
    Cell::plain(text).style(theme.strong)
}

/// Growth since a baseline.
pub fn since_cell(since: Since, theme: &Theme) -> Cell {
    match since {
        Since::Bytes(0) => Cell::plain("0 B").style(theme.faint),
        Since::Bytes(bytes) => Cell::plain(change(bytes)).style(theme.strong),
        Since::New => Cell::plain("new"),
        Since::Unknown => Cell::plain("-").style(theme.faint),
    }
}

/// A line of the last minutes, its end at the right.
fn course(points: &[u64], width: usize, theme: &Theme) -> String {
    let most = theme.heights.len() - 1;
    let cells = heights(points, width, most).into_iter();
    let line: String = cells.map(|height| theme.heights[height]).collect();
    " ".repeat(width.saturating_sub(points.len().min(width))) + &line
}
