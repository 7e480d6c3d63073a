//! The report as a flame graph: width is live bytes, leaves are the allocating functions.

use std::io::{self, Write};

use inferno::flamegraph::color::{BasicPalette, Palette};
use inferno::flamegraph::{self, Options};

use super::units::{bytes, counted};
use super::{Report, folded, names};

/// Writes the flame graph as SVG; a report without live memory gives a small picture that says so.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    draw(title(report), subtitle(report), &folded::lines(report), out)
}

/// Draws folded stacks; without any, a small picture says so.
pub(super) fn draw(
    title: String,
    subtitle: Option<String>,
    lines: &[String],
    out: &mut impl Write,
) -> io::Result<()> {
    if lines.is_empty() {
        return write_empty(&title, out);
    }
    let mut options = Options::default();
    options.title = title;
    options.subtitle = subtitle;
    options.count_name = "bytes".to_owned();
    options.colors = Palette::Basic(BasicPalette::Mem);
    // The same name has the same colour in every picture, so that two can be compared.
    options.hash = true;
    // Through a buffer, so that an error of `out` comes back as it is.
    let mut picture = Vec::new();
    let lines = lines.iter().map(String::as_str);
    flamegraph::from_lines(&mut options, lines, &mut picture)?;
    out.write_all(&picture)
}

/// Whose memory, and how much.
fn title(report: &Report) -> String {
    let subject = names::subject(report);
    let live = bytes(report.live_bytes());
    let blocks = counted(report.live_count(), "block");
    names::clean(&format!("memlens: {subject}, {live} live in {blocks}")).into_owned()
}

/// What the picture leaves out, where it does.
fn subtitle(report: &Report) -> Option<String> {
    let shown: u64 = report.stacks.iter().map(|stack| stack.live_bytes).sum();
    let mut parts = Vec::new();
    if shown < report.live_bytes() {
        parts.push(format!("{} are in this picture", bytes(shown)));
    }
    if let Some(sampling) = report.sampling {
        let error = bytes(sampling.standard_error_bytes);
        parts.push(format!("estimates from a sample, +- {error}"));
    }
    if !report.complete() {
        parts.push("incomplete: the report says what was lost".to_owned());
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn write_empty(title: &str, out: &mut impl Write) -> io::Result<()> {
    let title = escape(title);
    writeln!(
        out,
        r##"<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<svg version="1.1" width="1200" height="90" viewBox="0 0 1200 90" xmlns="http://www.w3.org/2000/svg">
<rect width="100%" height="100%" fill="#eeeeff"/>
<text x="600" y="36" font-family="monospace" font-size="17" text-anchor="middle">{title}</text>
<text x="600" y="64" font-family="monospace" font-size="12" text-anchor="middle">no live memory to draw</text>
</svg>"##
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            other => escaped.push(other),
        }
    }
    escaped
}
