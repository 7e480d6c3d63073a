//! A profile as Markdown, for a job summary, an issue or a chat: how much is held, the top stacks, what was lost.

use std::io::{self, Write};

use super::term::frames;
use super::{FileOption, Options, Render, collapse};
use crate::profile::diff::{Changes, then_and_now};
use crate::profile::{
    Detail, Difference, Frame, Kind, Measure, Profile, Sample, Severity, Source, Unit,
};
use crate::words::difference::since;
use crate::words::exit::command_exit;
use crate::words::loss::sentences;
use crate::words::markdown::{cell, code, escaped};
use crate::words::units::{bytes, change, count, counted, duration, plural};
use crate::words::{complete, measure, names};

/// The option that asks for a file of it.
pub const FILE: FileOption = FileOption {
    name: "markdown",
    help: "Write a table to FILE with every report, for the summary of a job or an issue",
    details: "It has the verdict, the stacks with most, and what was lost. Each report replaces the file.\n\nExample: \
              --markdown summary.md",
};

/// The renderer.
pub struct Markdown;

impl Render for Markdown {
    fn render(&self, profile: &Profile, options: &Options, out: &mut dyn Write) -> io::Result<()> {
        let source = profile.main_source();
        match &profile.sections.difference {
            Some(difference) => compared(out, profile, difference, options)?,
            None => {
                writeln!(out, "{}", verdict(profile, source))?;
                if profile.has(source) {
                    stacks(out, profile, source, options)?;
                }
            }
        }
        let remarks = remarks(profile);
        if !remarks.is_empty() {
            writeln!(out)?;
        }
        for (mark, text) in remarks {
            writeln!(out, "* {mark}{}", escaped(&text))?;
        }
        Ok(())
    }
}

/// What holds how much, and whether that is complete.
fn verdict(profile: &Profile, source: Source) -> String {
    let level = source.level();
    let amount = match profile.has(source) {
        true => {
            let amount = measure::words(level, profile.totals().amount(level));
            let (stacks, _) = profile.stacks_total(source, level);
            format!("{amount}, {}, ", counted(stacks, "stack"))
        }
        false => String::new(),
    };
    let subject = code(&names::subject(profile));
    let traced = duration(profile.meta.elapsed);
    let (mark, why) = complete::verdict(profile);
    format!("{subject}: {amount}traced for {traced}; **{mark}** {why}")
}

/// What a difference has more, and the stacks that grew or shrank.
fn compared(
    out: &mut dyn Write,
    profile: &Profile,
    difference: &Difference,
    options: &Options,
) -> io::Result<()> {
    let amount = |value: i64| bytes(value.max(0).cast_unsigned());
    let changes = Changes::of(profile, profile.main_source());
    let (mark, why) = complete::verdict(profile);
    writeln!(
        out,
        "{}: {}, {} before, {} now, {}; **{mark}** {why}",
        code(&names::subject(profile)),
        change(changes.after.saturating_sub(changes.before)),
        amount(changes.before),
        amount(changes.after),
        since(profile, difference)
    )?;
    let most = options.top.unwrap_or(usize::MAX);
    let shown: Vec<&Sample> = [changes.grown, changes.shrunk].concat();
    if shown.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n| # | change | before | now | function | place |\n| --: | --: | --: | --: | --- | --- |"
    )?;
    for (rank, sample) in (1..).zip(shown.iter().take(most)) {
        let (before, after) = then_and_now(profile, sample);
        let [function, place] = caller(profile, sample);
        let moved = change(after.saturating_sub(before));
        let amounts = format!("{moved} | {} | {}", amount(before), amount(after));
        writeln!(out, "| {rank} | {amounts} | {function} | {place} |")?;
    }
    match shown.len().saturating_sub(most) as u64 {
        0 => Ok(()),
        more => writeln!(
            out,
            "\n{} more {}",
            count(more),
            plural(more, "stack", "stacks")
        ),
    }
}

/// The columns of figures.
const fn columns(source: Source) -> &'static [(&'static str, Measure)] {
    match source {
        Source::Heap | Source::Process => &[
            ("live", Measure::HeapLiveBytes),
            ("blocks", Measure::HeapLiveBlocks),
            ("growth", Measure::HeapChangeBytes),
        ],
        Source::AddressSpace => &[
            ("mapped", Measure::VmMappedBytes),
            ("resident", Measure::VmResidentBytes),
            ("ranges", Measure::VmRanges),
            ("growth", Measure::VmChangeBytes),
        ],
        Source::PageFaults => &[
            ("new memory", Measure::FaultsNewBytes),
            ("page faults", Measure::FaultsCount),
            ("growth", Measure::FaultsChangeBytes),
        ],
        Source::Kernel => &[
            ("held", Measure::KernelLiveBytes),
            ("blocks", Measure::KernelLiveBlocks),
            ("growth", Measure::KernelChangeBytes),
        ],
    }
}

/// The top stacks, and how many more there are.
fn stacks(
    out: &mut dyn Write,
    profile: &Profile,
    source: Source,
    options: &Options,
) -> io::Result<()> {
    let level = source.level();
    let (all, total) = profile.stacks_total(source, level);
    let most = options.top.unwrap_or(usize::MAX);
    let shown: Vec<&Sample> = profile.stack_samples(source).take(most).collect();
    if !shown.is_empty() {
        table(out, profile, source, &shown)?;
    }
    let own = shown.iter().filter(|sample| !sample.is_backing());
    let held: u64 = own.map(|sample| profile.amount(sample, level)).sum();
    match all.saturating_sub(shown.len() as u64) {
        0 => Ok(()),
        more => {
            let stacks = plural(more, "stack", "stacks");
            let rest = measure::words(level, total.saturating_sub(held));
            writeln!(out, "\n{} more {stacks}: {rest}", count(more))
        }
    }
}

/// The table of these stacks, without columns that would be empty.
fn table(
    out: &mut dyn Write,
    profile: &Profile,
    source: Source,
    shown: &[&Sample],
) -> io::Result<()> {
    let has = |measure| {
        shown
            .iter()
            .any(|sample| profile.value(sample, measure).is_some())
    };
    let mut figures = columns(source).to_vec();
    figures.retain(|(_, measure)| has(*measure));
    let is_of_many = profile.is_of_many();
    let mut headings = vec!["#"];
    headings.extend(figures.iter().map(|(heading, _)| heading));
    let mut lines = vec!["--:"; headings.len()];
    headings.extend(["function", "place"]);
    headings.extend(is_of_many.then_some("process"));
    lines.resize(headings.len(), "---");
    writeln!(
        out,
        "\n| {} |\n| {} |",
        headings.join(" | "),
        lines.join(" | ")
    )?;
    for (rank, sample) in (1..).zip(shown) {
        let mut cells = vec![rank.to_string()];
        cells.extend(
            figures
                .iter()
                .map(|(_, measure)| figure(profile, sample, *measure)),
        );
        cells.extend(caller(profile, sample));
        cells.extend(is_of_many.then(|| cell(&names::owners(profile, sample))));
        writeln!(out, "| {} |", cells.join(" | "))?;
    }
    Ok(())
}

fn figure(profile: &Profile, sample: &Sample, measure: Measure) -> String {
    let value = profile.whole(sample, measure);
    let amount = profile.amount(sample, measure);
    match (measure.kind(), measure.unit()) {
        _ if value.is_none() => "-".to_owned(),
        (Kind::Change, _) => change(value.unwrap_or(0)),
        (_, Unit::Bytes) => bytes(amount),
        _ => count(amount),
    }
}

/// The function that wants the memory, with the cache of the kernel, and its line or its file.
fn caller(profile: &Profile, sample: &Sample) -> [String; 2] {
    let stack: Vec<&Frame> = profile.frames(sample).collect();
    let Some(frame) = collapse::first_meaningful(profile, &stack) else {
        let why = profile.cut(sample).map_or("no stack", |cut| cut.clause());
        return [escaped(why), "-".to_owned()];
    };
    let mut function = cell(&names::frame(profile, frame));
    if let Some(Detail::Kernel(object)) = &sample.detail {
        let under = object.backing.map_or("", |_| ", under other memory");
        function = format!("{function} ({}{under})", cell(&object.what));
    }
    let module = || Some(names::module(&profile.module(frame)?.path).to_owned());
    let place = frames::source(frame).or_else(module);
    [function, cell(&place.unwrap_or_default())]
}

/// What follows from the figures, what makes them wrong or incomplete, and how the command ended.
fn remarks(profile: &Profile) -> Vec<(&'static str, String)> {
    let mark = |severity: Severity| match severity {
        Severity::Totals | Severity::Detail => "**lost:** ",
        Severity::Coverage => "note: ",
    };
    let with = |mark| move |text| (mark, text);
    let lost = sentences(profile).into_iter();
    let findings = profile.findings.iter().map(|finding| finding.text.clone());
    let notes = complete::cut(profile)
        .into_iter()
        .chain(profile.notes.iter().cloned());
    let mut remarks: Vec<(&str, String)> = findings.map(with("")).collect();
    remarks.extend(
        complete::corrections(profile)
            .into_iter()
            .map(with("**corrected:** ")),
    );
    remarks.extend(complete::probes_removed(profile).map(with("**lost:** ")));
    remarks.extend(lost.map(|lost| (mark(lost.severity), lost.text)));
    remarks.extend(notes.map(with("note: ")));
    remarks.extend(profile.meta.command_exit.map(command_exit).map(with("")));
    remarks
}
