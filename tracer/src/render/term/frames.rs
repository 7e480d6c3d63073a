//! The frames of one stack: names in one column, places in another.

use std::io;

use super::line::{Line, Writer};
use crate::profile::{CutReason, Frame, Missing, Profile};
use crate::render::Options;
use crate::render::collapse::{self, Part};
use crate::words::clean::{clean, short_source};
use crate::words::{elide, names, serving};

/// Columns before a frame.
const INDENT: usize = 4;

/// Columns between a frame's name and its place.
const GAP: usize = 2;

/// Names wider than this do not push the places of the other frames to the right.
const WIDEST_NAME_COLUMN: usize = 56;

/// Digits of a build id that are shown: enough to tell files apart, as git does with commits.
const BUILD_ID_DIGITS: usize = 12;

/// So many outer frames that two neighbors have in common are left out of the second one: at least these.
const MIN_COMMON: usize = 3;

/// A frame, or several in one line, as its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    /// How many frames.
    frames: usize,
    address: Option<String>,
    name: String,
    /// What follows the name and is never cut: "+0x1f", " (inlined)".
    suffix: String,
    place: String,
    /// The file that the code is in, where the place does not tell it.
    module: String,
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
        let module_beside = source.as_ref().map(|_| module(profile, frame));
        Self {
            frames: 1,
            module: module_beside.unwrap_or_default(),
            address: options
                .addresses
                .then(|| format!("{:#018x}", frame.address)),
            name: clean(&names::frame(profile, frame)).into_owned(),
            suffix,
            place: match source {
                Some(source) => source,
                None if known => module(profile, frame),
                None => unknown(profile, frame, options),
            },
        }
    }

    /// Several frames in one line, all of it faint.
    fn run(frames: usize, of: &str) -> Self {
        Self {
            frames,
            suffix: format!("({frames} frames of {})", clean(of)),
            ..Self::default()
        }
    }

    /// Columns before its place. Several frames in one line have none, and move no other line's.
    fn name_columns(&self) -> usize {
        match self.place.is_empty() {
            true => 0,
            false => elide::columns(&self.name) + elide::columns(&self.suffix),
        }
    }
}

/// The stacks that were written before, so that outer frames of neighbors are written once.
#[derive(Debug, Default)]
pub struct Neighbors {
    /// Stacks so far.
    written: usize,
    /// Rows of the last one, if it is whole.
    rows: Vec<Row>,
    /// How many of its outer rows were left out, and the number of the stack that has them.
    left_out: (usize, usize),
}

impl Neighbors {
    /// How many outer rows of the next stack need not be written, and the number of the stack that has them; none where
    /// that would not make it much shorter. `own` inner rows are written in any case.
    fn common(&self, rows: &[Row], own: usize) -> Option<(usize, usize)> {
        let pairs = rows.iter().rev().zip(self.rows.iter().rev());
        let common = pairs.take_while(|(one, other)| one == other).count();
        let common = common.min(rows.len().saturating_sub(own));
        let (left_out, by) = self.left_out;
        let number = if common <= left_out { by } else { self.written };
        (common >= MIN_COMMON).then_some((common, number))
    }

    fn push(&mut self, rows: Vec<Row>, left_out: Option<(usize, usize)>) {
        self.written += 1;
        self.rows = rows;
        self.left_out = left_out.unwrap_or((0, self.written));
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
    write_beside(out, profile, stack, options, &mut Neighbors::default())
}

/// The same, without the outer frames that it has in common with the stack that was written before it. The innermost
/// frame that wants the memory is written in any case.
///
/// # Errors
/// Those of the output.
pub fn write_beside(
    out: &mut Writer<'_>,
    profile: &Profile,
    stack: Option<u32>,
    options: &Options,
    neighbors: &mut Neighbors,
) -> io::Result<()> {
    let frames: Vec<&Frame> = profile.frames_of(stack).collect();
    // Who wants addresses wants those of all frames.
    let is_whole = options.all_frames || options.addresses;
    let parts = match is_whole {
        true => (0..frames.len()).map(Part::Frame).collect(),
        false => collapse::parts(&frames),
    };
    let rows = parts.iter().map(|part| match part {
        Part::Frame(index) => Row::of(profile, frames[*index], options),
        Part::Run { frames, of } => Row::run(*frames, of),
    });
    let rows: Vec<Row> = rows.collect();
    let wants = |part: &Part<'_>| matches!(part, Part::Frame(index) if !serving::serves(profile, frames[*index]));
    let own = parts
        .iter()
        .position(wants)
        .map_or(rows.len(), |index| index + 1);
    let cut = stack.and_then(|stack| profile.stack(stack)?.cut);
    let left_out = neighbors
        .common(&rows, own)
        .filter(|_| !is_whole && cut.is_none());
    let shown = rows.len() - left_out.map_or(0, |(common, _)| common);
    let before = INDENT + if options.addresses { 18 + GAP } else { 0 };
    let available = options
        .width
        .map_or(usize::MAX, |width| width.saturating_sub(before));
    let column = name_column(&rows[..shown], available);
    for row in &rows[..shown] {
        out.line(&line(row, column, available))?;
    }
    if let Some((_, number)) = left_out {
        let outer: usize = rows[shown..].iter().map(|row| row.frames).sum();
        let text = format!("    ... the outer {outer} frames as of #{number}");
        out.line(&Line::default().faint(&text))?;
    }
    let is_empty = rows.is_empty();
    neighbors.push(if cut.is_none() { rows } else { Vec::new() }, left_out);
    match cut {
        Some(why) => out.sentence(Line::of("    ... cut:"), CutReason::clause(why), INDENT + 4),
        None if is_empty => out.line(&Line::of("    (no stack)")),
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
    let line = line
        .pad_to(start + column + GAP)
        .faint(&elide::path(&row.place, rest));
    // The file is told where there is room for it.
    match row.module.is_empty() || place + 1 + elide::columns(&row.module) > rest {
        true => line,
        false => line.faint(" ").faint(&row.module),
    }
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
fn unknown(profile: &Profile, frame: &Frame, options: &Options) -> String {
    let file = profile.module(frame);
    let has_offset = file.is_some() && frame.module_offset.is_some();
    let build_id = file.and_then(|file| file.build_id.as_deref());
    let digits = match options.all_frames {
        true => usize::MAX,
        false => BUILD_ID_DIGITS,
    };
    let build_id = build_id.map(|id| format!("[build-id {}]", elide::start(&clean(id), digits)));
    let missing = frame.missing.map_or("no symbol", Missing::words);
    let parts = [
        (!has_offset).then(|| module(profile, frame)),
        build_id,
        Some(missing.to_owned()),
    ];
    let parts = parts.into_iter().flatten().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(" ")
}
