//! A profile as a flame graph: width is what is measured, leaves are the functions that allocated, mapped or touched.

use std::io::{self, Write};

use inferno::flamegraph::color::{BasicPalette, Palette};
use inferno::flamegraph::{self, Options as Drawing};

use super::folded::{Frames, compared, lines};
use super::{FileOption, Options, Render, drawn};
use crate::profile::{Difference, Measure, Number, Profile, Source};
use crate::words::clean::clean;
use crate::words::difference::since;
use crate::words::units::{bytes, change, counted};
use crate::words::{measure, names};

/// The option that asks for a file of it.
pub const FILE: FileOption = FileOption {
    name: "svg",
    help: "Write a flame graph to FILE with every report; the width is live bytes",
    details: "All stacks are included, regardless of --top; runs of frames that only allocate or start a program are one \
              box, and with -v are not. Each report replaces the file.\n\nExample: --svg heap.svg",
};

/// The renderer. A profile without anything to draw gives a small picture that says so.
pub struct Svg;

impl Render for Svg {
    fn render(&self, profile: &Profile, options: &Options, out: &mut dyn Write) -> io::Result<()> {
        let measure = drawn(profile, options);
        let frames = match options.all_frames || options.addresses {
            true => Frames::All,
            false => Frames::Telling,
        };
        let Picture {
            title,
            subtitle,
            lines,
            drawn,
        } = match &profile.sections.difference {
            Some(difference) => compared_picture(profile, difference, measure, frames),
            None => picture(profile, measure, frames),
        };
        if lines.is_empty() {
            return write_empty(&title, out);
        }
        let mut drawing = Drawing::default();
        drawing.title = title;
        drawing.subtitle = subtitle;
        drawing.count_name = measure::noun(measure).to_owned();
        drawing.colors = Palette::Basic(BasicPalette::Mem);
        // The same name has the same color in every picture, so that two can be compared.
        drawing.hash = true;
        // Through a buffer, so that an error of `out` comes back as it is.
        let mut picture = Vec::new();
        flamegraph::from_lines(&mut drawing, lines.iter().map(String::as_str), &mut picture)?;
        let root = format!("all: {}", measure::words(measure, drawn));
        out.write_all(with_root(&String::from_utf8_lossy(&picture), &root).as_bytes())
    }
}

/// What is drawn.
struct Picture {
    title: String,
    subtitle: Option<String>,
    /// Folded stacks, with one value, or with two of a difference.
    lines: Vec<String>,
    /// The width of it all.
    drawn: u64,
}

fn picture(profile: &Profile, measure: Measure, frames: Frames) -> Picture {
    let lines = lines(profile, measure, frames);
    let drawn = lines.values().sum();
    let line = |(stack, value): (&String, &u64)| format!("{stack} {value}");
    Picture {
        title: title(profile, measure),
        subtitle: subtitle(profile, measure, drawn),
        lines: lines.iter().map(line).collect(),
        drawn,
    }
}

/// Widths are of the later profile; red has grown, blue has shrunk.
fn compared_picture(
    profile: &Profile,
    difference: &Difference,
    measure: Measure,
    frames: Frames,
) -> Picture {
    let value = |value: Option<Number>| value.map_or(0, Number::whole).max(0).cast_unsigned();
    let (mut before, mut after, mut gone) = (0_u64, 0_u64, 0_u64);
    for sample in profile.stack_samples(measure.source()) {
        let (was, now) = (
            value(profile.before(sample, measure)),
            value(profile.after(sample, measure)),
        );
        before += was;
        after += now;
        gone += if now == 0 { was } else { 0 };
    }
    let since = since(profile, difference);
    let subject = names::subject(profile);
    let title = format!(
        "memlens: {subject}, {}, {} {since}",
        measure::words(measure, after),
        change(crate::profile::difference(after, before))
    );
    let not_drawn = match gone {
        0 => String::new(),
        gone => format!(
            "; {} of stacks that are gone not drawn",
            measure::words(measure, gone)
        ),
    };
    Picture {
        title: clean(&title).into_owned(),
        subtitle: Some(format!("red has grown, blue has shrunk{not_drawn}")),
        lines: compared(profile, measure, frames),
        drawn: after,
    }
}

/// The picture with a label in its root frame, which the library leaves without one.
fn with_root(picture: &str, name: &str) -> String {
    // Only the share of the root has no decimals.
    let place = picture.find(", 100%)</title>").and_then(|end| {
        let title = picture[..end].rfind("<title>all (")?;
        let text = end + picture[end..].find("></text>")?;
        Some((title + "<title>".len(), text + 1))
    });
    match place {
        None => picture.to_owned(),
        Some((title, text)) => {
            let after = title + "all".len();
            [
                &picture[..title],
                name,
                &picture[after..text],
                name,
                &picture[text..],
            ]
            .concat()
        }
    }
}

/// How much there is of what is drawn, drawn or not.
fn total(profile: &Profile, measure: Measure) -> u64 {
    match measure.source() {
        Source::Heap => profile.totals().amount(measure),
        Source::PageFaults => {
            let faults = profile.sections.page_faults.as_ref();
            faults.map_or(0, |faults| faults.totals.amount(measure))
        }
        source => profile.stacks_total(source, measure).1,
    }
}

/// Whose memory, and how much.
fn title(profile: &Profile, measure: Measure) -> String {
    let subject = names::subject(profile);
    let amount = measure::words(measure, total(profile, measure));
    let blocks = profile.totals().amount(Measure::HeapLiveBlocks);
    let more = match (measure, measure.source()) {
        (Measure::HeapLiveBytes, _) => format!(" in {}", counted(blocks, "block")),
        (_, Source::AddressSpace) => " by calls of the trace".to_owned(),
        (_, Source::Kernel) => " by allocations of the trace".to_owned(),
        _ => String::new(),
    };
    clean(&format!("memlens: {subject}, {amount}{more}")).into_owned()
}

/// What the picture leaves out, where it does.
fn subtitle(profile: &Profile, measure: Measure, drawn: u64) -> Option<String> {
    let mut parts = Vec::new();
    if drawn < total(profile, measure) {
        parts.push(format!(
            "{} in this picture",
            measure::words(measure, drawn)
        ));
    }
    let sections = &profile.sections;
    let sampling = match measure.source() {
        Source::Heap => sections.heap.as_ref().and_then(|heap| heap.sampling),
        Source::Kernel => sections.kernel.as_ref().and_then(|kernel| kernel.sampling),
        _ => None,
    };
    if let Some(sampling) = sampling {
        let error = bytes(sampling.standard_error_bytes);
        parts.push(format!("estimates from a sample, +- {error}"));
    }
    if !profile.complete {
        parts.push("incomplete: the report says why".to_owned());
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn write_empty(title: &str, out: &mut dyn Write) -> io::Result<()> {
    let title = title
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    writeln!(
        out,
        r##"<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<svg version="1.1" width="1200" height="90" viewBox="0 0 1200 90" xmlns="http://www.w3.org/2000/svg">
<rect width="100%" height="100%" fill="#eeeeff"/>
<text x="600" y="36" font-family="monospace" font-size="17" text-anchor="middle">{title}</text>
<text x="600" y="64" font-family="monospace" font-size="12" text-anchor="middle">nothing to draw</text>
</svg>"##
    )
}
