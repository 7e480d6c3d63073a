//! The data of the page: a profile as columns of numbers and indices, which the scripts read (`assets/report/data.js`).

use std::collections::BTreeMap;

use serde::Serialize;

use super::tree::{Frames, NONE, Nodes, Strings, Tree, index};
use crate::analysis::verdict;
use crate::profile::ledger::Ledger;
use crate::profile::{
    Ages, Detail, Finding, FindingKind, Frame, History, Kind, Measure, Number, Profile, Sample,
    Severity, Source, Subject, Unit,
};
use crate::render::Options;
use crate::render::collapse::first_meaningful;
use crate::words::loss::{Sentence, sentences};
use crate::words::{complete, measure, names};

/// All that the page shows.
#[derive(Debug, Serialize)]
pub struct Data {
    version: u32,
    pub title: String,
    meta: About,
    complete: bool,
    losses: Vec<String>,
    notes: Vec<String>,
    findings: Vec<Found>,
    sources: Vec<SourceName>,
    measures: Vec<Figure>,
    strings: Vec<String>,
    frames: Frames,
    nodes: Nodes,
    subjects: Vec<Whose>,
    samples: Samples,
    history: Option<Histories>,
    ledger: Option<Region>,
}

/// When and where.
#[derive(Debug, Serialize)]
struct About {
    time: String,
    elapsed_ms: u64,
    host: String,
    kernel: String,
    memlens: String,
    /// Of a difference: the earlier moment.
    from: Option<String>,
}

/// A finding.
#[derive(Debug, Serialize)]
struct Found {
    kind: FindingKind,
    text: String,
    sample: i64,
    commands: Vec<String>,
    holder: String,
}

#[derive(Debug, Serialize)]
struct SourceName {
    key: &'static str,
    name: &'static str,
}

/// A figure that samples or subjects have.
#[derive(Debug, Serialize)]
struct Figure {
    key: &'static str,
    source: &'static str,
    name: String,
    unit: Unit,
    kind: Kind,
}

/// A process, a group, or the kernel.
#[derive(Debug, Serialize)]
struct Whose {
    name: String,
    pid: Option<u32>,
    place: String,
    state: &'static str,
    totals: BTreeMap<&'static str, Number>,
    verdict: &'static str,
}

/// The samples as columns.
#[derive(Debug, Default, Serialize)]
struct Samples {
    source: Vec<i64>,
    subject: Vec<u32>,
    others: Vec<usize>,
    node: Vec<i64>,
    /// The function that wants the memory: the first that is no part of an allocator.
    caller: Vec<i64>,
    cut: Vec<i64>,
    label: Vec<i64>,
    course: Vec<i64>,
    holders: Vec<Vec<i64>>,
    values: Vec<Vec<Option<Number>>>,
    before: Option<Vec<Vec<Option<Number>>>>,
    ages: Vec<Ages>,
    freed: Vec<Ages>,
}

/// Values over time: lists of differences, each from the value before it.
#[derive(Debug, Serialize)]
struct Histories {
    at_ms: Vec<u64>,
    subjects: Vec<OverTime>,
    samples: Vec<OverTime>,
}

#[derive(Debug, Serialize)]
struct OverTime {
    measure: i64,
    values: Vec<Vec<Option<i64>>>,
}

/// A region of the ledger.
#[derive(Debug, Serialize)]
struct Region {
    total: u64,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    rss: u64,
    size: u64,
    swap: u64,
    rows: Vec<Row>,
}

impl Data {
    /// The data of a profile.
    pub fn of(profile: &Profile, _options: &Options) -> Self {
        let mut strings = Strings::default();
        let mut tree = Tree::default();
        let measures = measures(profile);
        let samples: Vec<&Sample> = profile
            .samples
            .iter()
            .filter(|sample| !sample.is_backing())
            .collect();
        let sources = sources(profile);
        let meta = &profile.meta;
        let from = profile.sections.difference.as_ref();
        let (mark, why) = complete::verdict(profile);
        let (covers, lost): (Vec<Sentence>, Vec<Sentence>) = sentences(profile)
            .into_iter()
            .partition(|told| told.severity == Severity::Coverage);
        let lost = lost.into_iter().map(|lost| lost.text);
        let covers = covers.into_iter().map(|covers| covers.text);
        let incomplete = (!profile.complete).then(|| format!("{mark} {why}"));
        let samples_data = columns(
            profile,
            &samples,
            &sources,
            &measures,
            &mut tree,
            &mut strings,
        );
        let history = profile.sections.history.as_ref();
        Self {
            version: 1,
            title: names::subject(profile),
            meta: About {
                time: format!("{:.3}", meta.time),
                elapsed_ms: crate::profile::wire::milliseconds(meta.elapsed),
                host: meta.host.clone(),
                kernel: meta.kernel.clone(),
                memlens: meta.version.clone(),
                from: from.map(|from| format!("{:.3}", from.before.time)),
            },
            complete: profile.complete,
            losses: incomplete.into_iter().chain(lost).collect(),
            notes: covers.chain(profile.notes.iter().cloned()).collect(),
            findings: profile
                .findings
                .iter()
                .map(|finding| found(finding, &samples))
                .collect(),
            sources: sources
                .iter()
                .map(|source| SourceName {
                    key: source.name(),
                    name: title_of(*source),
                })
                .collect(),
            history: history.map(|history| histories(profile, history, &samples, &measures)),
            measures: measures.iter().map(|measure| figure(*measure)).collect(),
            strings: strings.all,
            frames: tree.frames,
            nodes: tree.nodes,
            subjects: profile.subjects.iter().map(whose).collect(),
            samples: samples_data,
            ledger: profile.sections.ledger.as_ref().map(ledger),
        }
    }
}

/// The figures that are not zero throughout, and what the profile is about in the first place.
fn measures(profile: &Profile) -> Vec<Measure> {
    let is_there = |value: &Option<Number>| value.is_some_and(|value| value.real() != 0.0);
    let is_used = |(column, _): &(usize, &Measure)| {
        let mut rows = profile
            .samples
            .iter()
            .flat_map(|sample| [&sample.values, &sample.before]);
        rows.any(|row| row.get(*column).is_some_and(is_there))
    };
    let columns = profile.measures.iter().enumerate().filter(is_used);
    let mut measures: Vec<Measure> = columns
        .map(|(_, measure)| *measure)
        .filter(|measure| *measure != Measure::Unknown)
        .collect();
    let levels = sources(profile).into_iter().map(Source::level);
    for level in levels.chain([profile.main_source().level()]) {
        if !measures.contains(&level) {
            measures.push(level);
        }
    }
    measures
}

/// The sources that samples come from, the main one first.
fn sources(profile: &Profile) -> Vec<Source> {
    let mut sources = vec![profile.main_source()];
    for sample in &profile.samples {
        if !sources.contains(&sample.source) {
            sources.push(sample.source);
        }
    }
    sources
}

const fn title_of(source: Source) -> &'static str {
    match source {
        Source::Heap => "heap",
        Source::AddressSpace => "address space",
        Source::PageFaults => "page faults",
        Source::Kernel => "kernel",
        Source::Process => "processes",
    }
}

fn figure(measure: Measure) -> Figure {
    Figure {
        key: measure.key(),
        source: measure.source().name(),
        name: measure::name(measure),
        unit: measure.unit(),
        kind: measure.kind(),
    }
}

fn whose(subject: &Subject) -> Whose {
    let has_place = subject.place.container.is_some() || subject.place.unit.is_some();
    let totals = subject
        .totals
        .iter()
        .map(|(measure, value)| (measure.key(), value));
    Whose {
        name: subject.command.clone(),
        pid: subject.pid,
        place: match has_place {
            true => subject.place.label(),
            false => String::new(),
        },
        state: subject.state.word(),
        totals: totals.collect(),
        verdict: subject.course.map_or("", |course| course.form.name()),
    }
}

/// A finding, and the place of the sample that it is about.
fn found(finding: &Finding, samples: &[&Sample]) -> Found {
    let is_about = |sample: &&&Sample| {
        let subject = finding
            .subject
            .is_none_or(|subject| sample.subject == subject);
        finding.stack.is_some() && sample.stack == finding.stack && subject
    };
    let sample = samples.iter().position(|sample| is_about(&sample));
    Found {
        kind: finding.kind,
        text: finding.text.clone(),
        sample: sample.map_or(NONE, index),
        commands: finding.commands.clone(),
        holder: finding
            .holder
            .as_ref()
            .map_or_else(String::new, |holder| holder.text.clone()),
    }
}

fn columns(
    profile: &Profile,
    samples: &[&Sample],
    sources: &[Source],
    measures: &[Measure],
    tree: &mut Tree,
    strings: &mut Strings,
) -> Samples {
    let mut columns = Samples::default();
    for sample in samples {
        let place = sources.iter().position(|source| *source == sample.source);
        columns.source.push(place.map_or(NONE, index));
        columns.subject.push(sample.subject);
        columns.others.push(sample.also.len());
        columns.node.push(tree.node(profile, sample, strings));
        let frames: Vec<&Frame> = profile.frames(sample).collect();
        let caller = first_meaningful(profile, &frames);
        let caller = caller.map_or_else(String::new, |frame| names::frame(profile, frame));
        columns.caller.push(strings.place(&caller));
        let cut = profile.cut(sample).map_or("", |reason| reason.clause());
        columns.cut.push(strings.place(cut));
        columns.label.push(strings.place(&label(sample)));
        columns.course.push(strings.place(course(profile, sample)));
        let holders = sample.holders.iter().map(|holder| {
            let share = format!("{} of {}: {}", holder.shared, holder.sampled, holder.text);
            strings.place(&share)
        });
        columns.holders.push(holders.collect());
        columns.ages.push(sample.ages.clone());
        columns.freed.push(sample.freed.clone());
    }
    let of = |value: fn(&Profile, &Sample, Measure) -> Option<Number>| {
        let column = |measure: &Measure| {
            let values = samples
                .iter()
                .map(|sample| value(profile, sample, *measure));
            values.collect::<Vec<_>>()
        };
        measures.iter().map(column).collect::<Vec<_>>()
    };
    columns.values = of(Profile::after);
    columns.before = profile
        .sections
        .difference
        .as_ref()
        .map(|_| of(Profile::before));
    columns
}

/// What kind of memory a sample is of.
fn label(sample: &Sample) -> String {
    match &sample.detail {
        Some(Detail::Kernel(object)) => object.what.clone(),
        Some(Detail::Region(region)) => {
            let kinds = region.kinds.iter().map(|kind| kind.name());
            kinds.collect::<Vec<_>>().join(", ")
        }
        Some(Detail::Ledger(_)) => sample.ledger_rows(),
        Some(Detail::Touched(_)) | None => String::new(),
    }
}

/// What a sample is, as text has it, or else how it goes on.
fn course(profile: &Profile, sample: &Sample) -> &'static str {
    let kind = match sample.source {
        Source::Heap => verdict::class(profile, sample).kind(),
        _ => None,
    };
    let course = || sample.course.map(|course| course.form.name());
    kind.and_then(verdict::mark)
        .or_else(course)
        .unwrap_or_default()
}

fn histories(
    profile: &Profile,
    history: &History,
    samples: &[&Sample],
    measures: &[Measure],
) -> Histories {
    let column = |level: Measure| {
        measures
            .iter()
            .position(|known| *known == level)
            .map_or(NONE, index)
    };
    let of_subjects = OverTime {
        measure: column(profile.main_source().level()),
        values: profile
            .subjects
            .iter()
            .map(|subject| steps(&subject.history))
            .collect(),
    };
    let of_samples = sources(profile).into_iter().map(|source| OverTime {
        measure: column(source.level()),
        values: samples
            .iter()
            .map(|sample| match sample.source == source {
                true => steps(&sample.history),
                false => Vec::new(),
            })
            .collect(),
    });
    Histories {
        at_ms: history
            .at
            .iter()
            .map(|at| crate::profile::wire::milliseconds(*at))
            .collect(),
        subjects: vec![of_subjects],
        samples: of_samples.collect(),
    }
}

/// Values as steps from one to the next.
fn steps(values: &[Option<i64>]) -> Vec<Option<i64>> {
    let mut before = 0;
    let step = |value: &Option<i64>| {
        let value = (*value)?;
        Some(value - std::mem::replace(&mut before, value))
    };
    values.iter().map(step).collect()
}

fn ledger(ledger: &Ledger) -> Region {
    let row = |row: &crate::profile::ledger::Row| Row {
        name: row.row.words(),
        rss: row.resident_bytes,
        size: row.virtual_bytes,
        swap: row.swapped_bytes,
        rows: Vec::new(),
    };
    Region {
        total: ledger.rows.iter().map(|row| row.resident_bytes).sum(),
        rows: ledger.rows.iter().map(row).collect(),
    }
}
