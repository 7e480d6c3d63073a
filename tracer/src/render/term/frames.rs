//! The frames of one stack: names in one column, places in another.

use std::io;

use super::line::{Line, Writer};
use crate::profile::{CutReason, Frame, Missing, Profile};
use crate::render::Options;
use crate::render::collapse::{self, Part};
use crate::words::clean::{clean, short_source};
use crate::words::{elide, names};

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
    fn of(profile: &Profile, frame: &Frame, options: &Options) -> Self {
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
            name: clean(&names::frame(profile, frame)).into_owned(),
            suffix,
            place: match source {
                Some(source) => source,
                None if known => module(profile, frame),
                None => unknown(profile, frame),
            },
        }
    }

    /// Several frames in one line, all of it faint.
    fn run(frames: usize, of: &str) -> Self {
        Self {
            address: None,
            name: String::new(),
            suffix: format!("({frames} frames of {})", clean(of)),
            place: String::new(),
        }
    }

    fn name_columns(&self) -> usize {
        elide::columns(&self.name) + elide::columns(&self.suffix)
    }
}

/// Writes the frames of a stack, innermost first, and why it ends where it is cut.
///
/// # Errors
/// Those of the output.
pub fn write(
    out: &mut Writer<'_>,
    profile: &Profile,
    stack: Option<u32>,
    options: &Options,
) -> io::Result<()> {
    let frames: Vec<&Frame> = profile.frames_of(stack).collect();
    // Who wants addresses wants those of all frames.
    let parts = match options.all_frames || options.addresses {
        true => (0..frames.len()).map(Part::Frame).collect(),
        false => collapse::parts(&frames),
    };
    let rows = parts.iter().map(|part| match part {
        Part::Frame(index) => Row::of(profile, frames[*index], options),
        Part::Run { frames, of } => Row::run(*frames, of),
    });
    let rows: Vec<Row> = rows.collect();
    let before = INDENT + if options.addresses { 18 + GAP } else { 0 };
    let available = options
        .width
        .map_or(usize::MAX, |width| width.saturating_sub(before));
    let column = name_column(&rows, available);
    for row in &rows {
        out.line(&line(row, column, available))?;
    }
    match stack.and_then(|stack| profile.stack(stack)?.cut) {
        Some(why) => out.sentence(Line::of("    ... cut:"), CutReason::clause(why), INDENT + 4),
        None if rows.is_empty() => out.line(&Line::of("    (no stack)")),
        None => Ok(()),
    }
}

/// Columns of the name column: the widest name that leaves enough for the places.
fn name_column(rows: &[Row], available: usize) -> usize {
    let widest_place = rows.iter().map(|row| elide::columns(&row.place)).max();
    let limit = available
        .saturating_sub(GAP + widest_place.unwrap_or(0))
        .max(available / 2)
        .min(WIDEST_NAME_COLUMN);
    let names = rows.iter().map(Row::name_columns);
    names.filter(|columns| *columns <= limit).max().unwrap_or(0)
}

/// One frame within `available` columns: first the folders of the place are shortened, then the name.
fn line(row: &Row, column: usize, available: usize) -> Line {
    let indent = Line::default().pad_to(INDENT);
    let line = match &row.address {
        Some(address) => indent.faint(address).pad_to(INDENT + 18 + GAP),
        None => indent,
    };
    let name = row.name_columns();
    let place = elide::columns(&row.place);
    let start = line.columns();
    if row.place.is_empty() {
        return named(line, row, available);
    }
    let for_place = available
        .saturating_sub(GAP + name)
        .max(elide::least_path(&row.place).min(available.saturating_mul(2) / 5))
        .min(place);
    let line = named(line, row, available.saturating_sub(GAP + for_place));
    let used = line.columns() - start;
    let column = column.min(available.saturating_sub(GAP + place)).max(used);
    let rest = available.saturating_sub(column + GAP);
    line.pad_to(start + column + GAP)
        .faint(&elide::path(&row.place, rest))
}

fn named(line: Line, row: &Row, available: usize) -> Line {
    let suffix = elide::columns(&row.suffix);
    let name = elide::symbol(&row.name, available.saturating_sub(suffix));
    line.plain(&name).faint(&row.suffix)
}

/// "file:line", where debug information tells it. Safe to print.
pub fn source(frame: &Frame) -> Option<String> {
    let file = short_source(frame.file.as_deref()?);
    let file = clean(&file);
    Some(match frame.line {
        Some(line) => format!("{file}:{line}"),
        None => file.into_owned(),
    })
}

fn module(profile: &Profile, frame: &Frame) -> String {
    let name = profile
        .module(frame)
        .map(|file| clean(names::module(&file.path)));
    match name {
        None => String::new(),
        Some(name) if name.starts_with('[') => name.into_owned(),
        Some(name) => format!("[{name}]"),
    }
}

/// What helps to find a frame's name elsewhere: the build id, and why it is not known here.
fn unknown(profile: &Profile, frame: &Frame) -> String {
    let file = profile.module(frame);
    let has_offset = file.is_some() && frame.module_offset.is_some();
    let build_id = file.and_then(|file| file.build_id.as_deref());
    let build_id =
        build_id.map(|id| format!("[build-id {}]", elide::start(&clean(id), BUILD_ID_DIGITS)));
    let missing = frame.missing.map_or("no symbol", Missing::words);
    let parts = [
        (!has_offset).then(|| module(profile, frame)),
        build_id,
        Some(missing.to_owned()),
    ];
    let parts = parts.into_iter().flatten().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(" ")
}
