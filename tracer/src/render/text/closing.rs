//! The end of the text: whether the figures are complete, what was lost, and what they do not cover.

use std::io;

use super::host_wide;
use crate::profile::{Measure, Profile, Sampling, Severity};
use crate::render::Options;
use crate::render::term::line::{Line, Writer};
use crate::words::complete;
use crate::words::exit::command_exit;
use crate::words::loss::sentences;
use crate::words::units::{bytes, count, counted, counted_processes};

/// Corrections that are listed.
const MOST_CORRECTIONS: usize = 10;

/// Writes all of it.
pub fn write(out: &mut Writer<'_>, profile: &Profile, options: &Options) -> io::Result<()> {
    let lost = sentences(profile);
    let with = |severity: Severity| lost.iter().filter(move |told| told.severity == severity);
    let (mark, why) = complete::verdict(profile);
    out.sentence(Line::default().strong(mark), why, 2)?;
    let corrected = complete::corrections(profile);
    let mark = || Line::default().strong("  corrected:");
    for sentence in corrected.iter().take(MOST_CORRECTIONS) {
        out.sentence(mark(), sentence, 4)?;
    }
    if corrected.len() > MOST_CORRECTIONS {
        let more = count((corrected.len() - MOST_CORRECTIONS) as u64);
        out.sentence(mark(), &format!("{more} more (--json lists all)"), 4)?;
    }
    let lost = with(Severity::Totals).chain(with(Severity::Detail));
    let removed = complete::probes_removed(profile);
    for text in removed.iter().chain(lost.map(|lost| &lost.text)) {
        out.sentence(Line::default().strong("  lost:"), text, 4)?;
    }
    for sentence in with(Severity::Coverage) {
        note(out, &sentence.text)?;
    }
    for sentence in complete::cut(profile) {
        note(out, &sentence)?;
    }
    let is_new = |text: &&String| profile.meta.last || !options.known_notes.contains(*text);
    for text in profile.notes.iter().filter(is_new) {
        note(out, text)?;
    }
    host_wide::events(out, profile)?;
    if let Some(sampling) = profile
        .sections
        .heap
        .as_ref()
        .and_then(|heap| heap.sampling)
    {
        out.say(&estimate(profile, sampling))?;
    }
    match profile.meta.command_exit {
        Some(exit) => out.say(&command_exit(exit)),
        None => Ok(()),
    }
}

fn note(out: &mut Writer<'_>, text: &str) -> io::Result<()> {
    out.sentence(Line::default().strong("note:"), text, 2)
}

fn estimate(profile: &Profile, sampling: Sampling) -> String {
    let intervals: Vec<u64> = match profile.sections.host_wide {
        Some(_) => profile
            .subjects
            .iter()
            .filter_map(|subject| subject.sample_bytes)
            .collect(),
        None => Vec::new(),
    };
    let processes = counted_processes(intervals.len() as u64);
    let which = match (intervals.iter().min(), intervals.iter().max()) {
        (Some(least), Some(most)) if least < most => format!(
            "one per {} to {} on average in {processes}",
            bytes(*least),
            bytes(*most)
        ),
        (Some(only), _) => format!("one per {} on average in {processes}", bytes(*only)),
        _ => format!("one per {} on average", bytes(sampling.interval_bytes)),
    };
    let live = profile.totals().amount(Measure::HeapLiveBytes);
    format!(
        "estimates from {}, {which}; live total {} +- {} (1 standard error)",
        counted(sampling.live_samples, "sampled block"),
        bytes(live),
        bytes(sampling.standard_error_bytes)
    )
}
