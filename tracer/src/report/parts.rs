//! What the text reports of all kinds of traces have in common: how they begin and end, and how they count.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use super::line::{Line, Writer};
use super::loss::{Sentence, Severity};
use super::text::TextOptions;
use super::timestamp;
use super::units::{change, count, duration};

/// The first line of a report.
pub struct Heading<'a> {
    /// When it was taken.
    pub time: SystemTime,
    /// What it is about, in bold.
    pub subject: &'a str,
    /// What stands before "traced for", with its comma and space; or nothing.
    pub before: &'a str,
    /// How long the trace had run.
    pub elapsed: Duration,
    /// Whether it is the last report.
    pub last: bool,
}

/// Writes when, what and for how long.
pub fn heading(
    out: &mut Writer<'_, impl Write>,
    heading: &Heading<'_>,
    options: &TextOptions,
) -> io::Result<()> {
    let time = timestamp(heading.time)?.to_zoned(options.time_zone.clone());
    let subject = Line::default().plain(" ").strong(heading.subject);
    let last = if heading.last { ", last report" } else { "" };
    let traced = duration(heading.elapsed);
    out.flow(
        vec![
            Line::of(&time.strftime("%Y-%m-%d %H:%M:%S").to_string()),
            subject.plain(","),
            Line::of(&format!("{}traced for {traced}{last}", heading.before)),
        ],
        2,
    )
}

/// The number of the stack at this index, from 1.
pub fn number(index: usize) -> Line {
    Line::default().faint(&format!("#{} ", index + 1))
}

/// A change in bold, or that there is none.
pub fn changed(growth: i64) -> Line {
    match growth {
        0 => Line::of("unchanged"),
        _ => Line::default().strong(&change(growth)),
    }
}

/// Writes how many rows of a table or a list are left out, if any are.
pub fn more(out: &mut Writer<'_, impl Write>, left_out: usize) -> io::Result<()> {
    match left_out {
        0 => Ok(()),
        more => out.line(&Line::of(&format!("  ... {} more", count(more as u64)))),
    }
}

/// Writes what was lost, what makes the totals wrong first; then what the trace does not cover.
pub fn losses(out: &mut Writer<'_, impl Write>, told: &[Sentence]) -> io::Result<()> {
    let with = |severity: Severity| told.iter().filter(move |told| told.severity == severity);
    for sentence in with(Severity::Totals).chain(with(Severity::Detail)) {
        out.sentence(Line::default().strong("  lost:"), &sentence.text, 4)?;
    }
    for sentence in with(Severity::Coverage) {
        note(out, &sentence.text)?;
    }
    Ok(())
}

/// Writes the notes that are new to the reader; in the `last` report all.
pub fn notes(
    out: &mut Writer<'_, impl Write>,
    notes: &[String],
    last: bool,
    options: &TextOptions,
) -> io::Result<()> {
    let is_due = |note: &&String| last || !options.known_notes.contains(*note);
    for text in notes.iter().filter(is_due) {
        note(out, text)?;
    }
    Ok(())
}

/// Writes a note.
pub fn note(out: &mut Writer<'_, impl Write>, text: &str) -> io::Result<()> {
    out.sentence(Line::default().strong("note:"), text, 2)
}
