//! The frames of one stack in the text report: names in one column, places in another.

use std::io::{self, Write};

use super::elide;
use super::line::{Line, Writer};
use super::names;
use super::plumbing::{self, Part};
use super::text::TextOptions;
use crate::symbolize::Frame;

/// Columns before a frame.
const INDENT: usize = 4;

/// Columns between a frame's name and its place.
const GAP: usize = 2;

/// Names wider than this do not push the places of the other frames to the right.
const WIDEST_NAME_COLUMN: usize = 56;

/// Digits of a build id that are shown: enough to tell files apart, as git does with commits.
const BUILD_ID_DIGITS: usize = 12;

/// A frame as its parts.
struct Row {
    address: Option<String>,
    name: String,
    /// What follows the name and is never cut: "+0x1f", " (inlined)".
    suffix: String,
    place: String,
}

impl Row {
    fn of(frame: &Frame, options: &TextOptions) -> Self {
        let source = options.source.then(|| source(frame)).flatten();
        let known = names::symbol(frame).is_some();
        let suffix = match frame.offset {
            _ if frame.inlined => " (inlined)".to_owned(),
            Some(offset) if known && (source.is_none() || options.addresses) => {
                format!("+{offset:#x}")
            }
            _ => String::new(),
        };
        Self {
            address: options
                .addresses
                .then(|| format!("{:#018x}", frame.address)),
            name: names::clean(&names::frame(frame)).into_owned(),
            suffix,
            place: match source {
                Some(source) => source,
                None if known => module(frame),
                None => unknown(frame),
            },
        }
    }

    /// Several frames in one line, all of it faint.
    fn run(frames: usize, of: &str) -> Self {
        Self {
            address: None,
            name: String::new(),
            suffix: format!("({frames} frames of {})", names::clean(of)),
            place: String::new(),
        }
    }

    fn name_columns(&self) -> usize {
        elide::columns(&self.name) + elide::columns(&self.suffix)
    }
}

/// Writes the frames, innermost first, and why the stack ends where it is cut.
pub fn write(
    out: &mut Writer<'_, impl Write>,
    stack: &[Frame],
    truncated: Option<&str>,
    options: &TextOptions,
) -> io::Result<()> {
    // Who wants addresses wants those of all frames.
    let parts = if options.all_frames || options.addresses {
        (0..stack.len()).map(Part::Frame).collect()
    } else {
        plumbing::parts(stack)
    };
    let rows: Vec<Row> = parts
        .iter()
        .map(|part| match part {
            Part::Frame(index) => Row::of(&stack[*index], options),
            Part::Run { frames, of } => Row::run(*frames, of),
        })
        .collect();
    let before = INDENT + if options.addresses { 18 + GAP } else { 0 };
    let room = options
        .width
        .map_or(usize::MAX, |width| width.saturating_sub(before));
    let column = name_column(&rows, room);
    for row in &rows {
        out.line(&line(row, column, room))?;
    }
    match truncated {
        Some(why) => out.sentence(Line::of("    ... cut:"), why, INDENT + 4),
        None if rows.is_empty() => out.line(&Line::of("    (no stack)")),
        None => Ok(()),
    }
}

/// Columns of the name column: the widest name that leaves the places room.
fn name_column(rows: &[Row], room: usize) -> usize {
    let widest_place = rows.iter().map(|row| elide::columns(&row.place)).max();
    let limit = room
        .saturating_sub(GAP + widest_place.unwrap_or(0))
        .max(room / 2)
        .min(WIDEST_NAME_COLUMN);
    let names = rows.iter().map(Row::name_columns);
    names.filter(|columns| *columns <= limit).max().unwrap_or(0)
}

/// One frame within `room` columns: the folders of the place give way to the name, then the name
/// to the file.
fn line(row: &Row, column: usize, room: usize) -> Line {
    let indent = Line::default().pad_to(INDENT);
    let line = match &row.address {
        Some(address) => indent.faint(address).pad_to(INDENT + 18 + GAP),
        None => indent,
    };
    let name = row.name_columns();
    let place = elide::columns(&row.place);
    let start = line.columns();
    if row.place.is_empty() {
        return named(line, row, room);
    }
    let for_place = room
        .saturating_sub(GAP + name)
        .max(elide::least_path(&row.place).min(room.saturating_mul(2) / 5))
        .min(place);
    let line = named(line, row, room.saturating_sub(GAP + for_place));
    let used = line.columns() - start;
    let column = column.min(room.saturating_sub(GAP + place)).max(used);
    let rest = room.saturating_sub(column + GAP);
    line.pad_to(start + column + GAP)
        .faint(&elide::path(&row.place, rest))
}

fn named(line: Line, row: &Row, room: usize) -> Line {
    let suffix = elide::columns(&row.suffix);
    let name = elide::symbol(&row.name, room.saturating_sub(suffix));
    line.plain(&name).faint(&row.suffix)
}

/// "file:line", where debug information tells it.
fn source(frame: &Frame) -> Option<String> {
    let file = frame.file.as_ref()?.to_string_lossy();
    let file = names::short_source(&file);
    let file = names::clean(&file);
    Some(match frame.line {
        Some(line) => format!("{file}:{line}"),
        None => file.into_owned(),
    })
}

fn module(frame: &Frame) -> String {
    let Some(path) = &frame.module else {
        return String::new();
    };
    let name = names::module(path);
    if name.starts_with('[') {
        return names::clean(&name).into_owned();
    }
    format!("[{}]", names::clean(&name))
}

/// What helps to find a frame's name elsewhere: the build id, and why it is not known here.
fn unknown(frame: &Frame) -> String {
    let module = match frame.module_offset {
        Some(_) if frame.module.is_some() => None,
        _ => Some(module(frame)),
    };
    let build_id = frame.build_id.as_ref().map(|id| {
        format!(
            "[build-id {}]",
            id.chars().take(BUILD_ID_DIGITS).collect::<String>()
        )
    });
    let missing = frame.missing.as_deref().unwrap_or("no symbol");
    let parts = [module, build_id, Some(names::clean(missing).into_owned())];
    let parts: Vec<String> = parts
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .collect();
    parts.join(" ")
}
