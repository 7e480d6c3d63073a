//! The part of the text about page faults: who brings pages into memory, and into what.

use std::io;

use super::{all_stacks, more, number, owners, shown};
use crate::profile::{Detail, Mapper, Measure, Profile, RegionKind, Source, Touched, Values};
use crate::render::Options;
use crate::render::term::frames;
use crate::render::term::line::{Line, Writer};
use crate::words::names;
use crate::words::units::{bytes, count, counted, plural};

/// Ranges named below a stack.
const PLACES_NAMED: usize = 3;

/// Frames named of the stack that mapped a range.
const MAPPERS_NAMED: usize = 5;

/// Writes all of it.
pub fn write(out: &mut Writer<'_>, profile: &Profile, options: &Options) -> io::Result<()> {
    out.list(totals(profile), 2)?;
    out.blank()?;
    let stacks = shown(profile, Source::PageFaults, options);
    for (index, sample) in stacks.iter().enumerate() {
        let mut head = amount(&profile.values(sample), number(index));
        let new = profile.amount(sample, Measure::FaultsChangeBytes);
        head.extend((new > 0).then(|| Line::default().strong(&format!("+{}", bytes(new)))));
        head.extend(owners(profile, sample));
        out.list(head, 4)?;
        frames::write(out, profile, sample.stack, options)?;
        if let Some(Detail::Touched(places)) = &sample.detail {
            for place in places.iter().take(PLACES_NAMED) {
                let text = words(profile, place, places.len() > 1);
                out.sentence(Line::default().faint("  touched"), &text, 6)?;
            }
            more(out, places.len().saturating_sub(PLACES_NAMED) as u64)?;
        }
        out.blank()?;
    }
    let (all, _) = all_stacks(profile, Source::PageFaults);
    match all.saturating_sub(stacks.len() as u64) {
        0 => return Ok(()),
        1 => out.say("1 more stack has page faults")?,
        more => out.say(&format!("{} more stacks have page faults", count(more)))?,
    }
    out.blank()
}

/// How many there are, how exact that is, and what the kernel counted.
fn totals(profile: &Profile) -> Vec<Line> {
    let faults = profile.sections.page_faults.clone().unwrap_or_default();
    let totals = &faults.totals;
    let mut parts = amount(totals, Line::of("since the start "));
    let (samples, error) = (
        totals.amount(Measure::FaultsSamples),
        totals.amount(Measure::FaultsError),
    );
    parts.push(Line::of(&match (samples, error) {
        (0, _) => "none was seen".to_owned(),
        (_, 0) => "each fault was seen".to_owned(),
        _ => format!(
            "estimates from {}, faults +- {} (1 standard error)",
            counted(samples, "sampled fault"),
            count(error)
        ),
    }));
    if let Some(kernel) = faults.kernel {
        let counted = count(kernel.minor + kernel.major);
        let major = match kernel.major {
            0 => String::new(),
            major => format!(" (major {})", count(major)),
        };
        parts.push(Line::of(&format!("the kernel counted {counted}{major}")));
    }
    parts
}

fn amount(values: &Values, before: Line) -> Vec<Line> {
    let faults = values.amount(Measure::FaultsCount);
    let mut parts =
        vec![
            before
                .strong(&count(faults))
                .plain(plural(faults, " page fault", " page faults")),
        ];
    let major = values.amount(Measure::FaultsMajor);
    if major > 0 {
        parts.push(
            Line::default()
                .strong(&count(major))
                .plain(" of them major"),
        );
    }
    let new = bytes(values.amount(Measure::FaultsNewBytes));
    parts.push(Line::of("new memory ").strong(&new));
    parts
}

/// What was touched, in a sentence; with its figures where it is one of several.
fn words(profile: &Profile, place: &Touched, is_one_of_several: bool) -> String {
    let mut text = match (&place.file, place.kind) {
        (Some(file), _) => file.clone(),
        (None, Some(RegionKind::Stack)) => "a stack".to_owned(),
        (None, Some(RegionKind::Brk)) => "the brk heap".to_owned(),
        (None, Some(RegionKind::File)) => "a file".to_owned(),
        (None, Some(kind)) => format!("{} memory", kind.name()),
        (None, None) => "memory that is not known to be mapped".to_owned(),
    };
    if is_one_of_several {
        let faults = counted(place.faults, "page fault");
        text = format!("{text} ({faults}, new memory {})", bytes(place.new_bytes));
    }
    match place.mapper {
        Mapper::Unknown => text,
        Mapper::Before => format!("{text}, mapped before the trace"),
        Mapper::Stack(stack) => format!("{text}, {}", mapped_by(profile, stack)),
    }
}

fn mapped_by(profile: &Profile, stack: u32) -> String {
    let frames = profile
        .frames_of(Some(stack))
        .filter(|frame| !frame.inlined);
    let mut named: Vec<String> = frames.map(|frame| names::frame(profile, frame)).collect();
    if named.is_empty() {
        return "mapped by a call whose stack was not kept".to_owned();
    }
    if named.len() > MAPPERS_NAMED {
        named.truncate(MAPPERS_NAMED);
        named.push("...".to_owned());
    }
    format!("mapped by {}", named.join(" < "))
}
