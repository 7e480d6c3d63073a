//! The difference of two profiles, as a profile: what each stack and each subject holds more, or less, in the later
//! one.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measure::{Kind, Measure, Source};
use super::number::{Number, Values};
use super::query::Code;
use super::sample::{Detail, Sample};
use super::stack::{CutReason, Frame};
use super::subject::Subject;
use super::{Builder, Meta, Profile};

/// What a difference is a difference from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The earlier profile's moment, host and version.
    pub before: Meta,
    /// Whether processes were matched by PID and code by address, as of one run; else by names of processes and
    /// functions, as of two runs or two builds.
    pub same_run: bool,
    /// Whether the earlier profile is complete.
    pub before_complete: bool,
}

/// What became of a sample between the two profiles of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is only in the later one.
    New,
    /// There is more of it.
    Grown,
    /// There is as much of it.
    Unchanged,
    /// There is less of it.
    Shrunk,
    /// It is only in the earlier one.
    Gone,
}

impl Fate {
    /// By the amounts before and after.
    pub const fn of(before: i64, after: i64) -> Self {
        match (before, after) {
            (0, 1..) => Self::New,
            (1.., 0) => Self::Gone,
            _ if after > before => Self::Grown,
            _ if after < before => Self::Shrunk,
            _ => Self::Unchanged,
        }
    }

    /// In one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Grown => "grown",
            Self::Unchanged => "unchanged",
            Self::Shrunk => "shrunk",
            Self::Gone => "gone",
        }
    }
}

/// The samples of one source in a difference, by what became of them. Pages under other memory are left out.
#[derive(Debug, Default)]
pub struct Changes<'a> {
    /// What grew and what is new, most first.
    pub grown: Vec<&'a Sample>,
    /// What shrank and what is gone, most first.
    pub shrunk: Vec<&'a Sample>,
    /// How many did neither.
    pub unchanged: usize,
    /// What the source follows, then and now, all samples together.
    pub before: i64,
    /// Now.
    pub after: i64,
}

impl<'a> Changes<'a> {
    /// Of a difference.
    pub fn of(profile: &'a Profile, source: Source) -> Self {
        let mut changes = Self::default();
        for sample in profile
            .samples_of(source)
            .filter(|sample| !sample.is_backing())
        {
            let (before, after) = then_and_now(profile, sample);
            changes.before = changes.before.saturating_add(before);
            changes.after = changes.after.saturating_add(after);
            match Fate::of(before, after) {
                Fate::New | Fate::Grown => changes.grown.push(sample),
                Fate::Shrunk | Fate::Gone => changes.shrunk.push(sample),
                Fate::Unchanged => changes.unchanged += 1,
            }
        }
        let change = |sample: &&Sample| profile.whole(sample, source.level()).unwrap_or(0);
        changes.grown.sort_by_key(|sample| Reverse(change(sample)));
        changes.shrunk.sort_by_key(change);
        changes
    }
}

/// What a sample's source follows of it, then and now.
pub fn then_and_now(profile: &Profile, sample: &Sample) -> (i64, i64) {
    let level = sample.source.level();
    let whole = |value: Option<Number>| value.map_or(0, Number::whole);
    (
        whole(profile.before(sample, level)),
        whole(profile.after(sample, level)),
    )
}

/// What two samples are matched by.
#[derive(PartialEq, Eq, Hash, Clone)]
struct Key<'a> {
    source: Source,
    subject: SubjectKey<'a>,
    stack: Option<(Vec<Place<'a>>, Option<CutReason>)>,
    detail: Option<&'a Detail>,
}

/// Where a frame is: of two builds, the function and its source file.
#[derive(PartialEq, Eq, Hash, Clone)]
enum Place<'a> {
    Exact(Code<'a>),
    Function(&'a str, Option<&'a str>, bool),
}

/// A process is itself as long as it runs; that of another run is known by its name.
type SubjectKey<'a> = (Option<u32>, &'a str);

/// What one key has in both profiles.
struct Row<'a> {
    /// A sample of it, and whether it is of the later profile.
    sample: &'a Sample,
    is_after: bool,
    now: Values,
    was: Values,
}

/// What `after` has more than `before`. Values that add up are differences, others are those of the later profile; the
/// earlier values are kept beside them. Samples come by their growth in each source's first measure, most first; what
/// is only in one of the two is compared with zero.
///
/// Of one run of the same processes, stacks are matched by their code's addresses. Of two runs or two builds, processes
/// are matched by name, and frames by function and source file.
pub fn between(before: &Profile, after: &Profile) -> Profile {
    let same_run = is_same_run(before, after);
    let mut result = Builder::from_profile(after.clone());
    result.measures(before.measures.iter().copied());
    result.profile.samples.clear();
    result.profile.omitted.clear();
    let mut subjects: HashMap<u32, u32> = HashMap::new();
    for row in rows(before, after, same_run) {
        let values = result.row(&less(&row.now, &row.was));
        let was = result.row(&row.was);
        let mut sample = Sample {
            values,
            before: was,
            ..row.sample.clone()
        };
        if !row.is_after {
            let subject = sample.subject;
            sample.subject = *subjects
                .entry(subject)
                .or_insert_with(|| adopt_subject(&mut result, before, subject, same_run));
            sample.stack = sample.stack.map(|stack| result.adopt(before, stack));
            sample = only_values(sample);
        }
        result.add(sample);
    }
    compare_subjects(&mut result.profile, before, same_run);
    let mut profile = result.finish();
    let sources: BTreeSet<Source> = profile.samples.iter().map(|sample| sample.source).collect();
    for source in sources {
        profile.sort(source, source.level());
    }
    profile.complete &= before.complete;
    profile.sections.difference = Some(Difference {
        before: before.meta.clone(),
        same_run,
        before_complete: before.complete,
    });
    profile
}

/// Whether the same processes are in both, on one host: then it is one run of them, seen twice.
fn is_same_run(before: &Profile, after: &Profile) -> bool {
    let processes: HashSet<_> = before
        .subjects
        .iter()
        .filter_map(|subject| Some((subject.pid?, &subject.command)))
        .collect();
    let mut later = after
        .subjects
        .iter()
        .filter_map(|subject| Some((subject.pid?, &subject.command)));
    let has_none = processes.is_empty() && before.subjects.len() == after.subjects.len();
    before.meta.host == after.meta.host && (has_none || later.any(|own| processes.contains(&own)))
}

/// What each key has in both profiles; the order is that of the later one, and then of the earlier one.
fn rows<'a>(before: &'a Profile, after: &'a Profile, same_run: bool) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = Vec::new();
    let mut places: HashMap<Key<'a>, usize> = HashMap::new();
    for (profile, is_after) in [(after, true), (before, false)] {
        for sample in &profile.samples {
            let new = rows.len();
            let place = *places.entry(key(profile, sample, same_run)).or_insert(new);
            if place == new {
                rows.push(Row {
                    sample,
                    is_after,
                    now: Values::default(),
                    was: Values::default(),
                });
            }
            let row = &mut rows[place];
            let values = if is_after { &mut row.now } else { &mut row.was };
            values.add(&profile.values(sample));
        }
    }
    rows
}

/// A sample of the earlier profile, without what tells of that moment alone.
fn only_values(sample: Sample) -> Sample {
    Sample {
        also: Vec::new(),
        history: Vec::new(),
        ages: Default::default(),
        freed: Default::default(),
        course: None,
        holders: Vec::new(),
        blocks: None,
        detail: sample
            .detail
            .filter(|detail| !matches!(detail, Detail::Touched(_))),
        ..sample
    }
}

fn key<'a>(profile: &'a Profile, sample: &'a Sample, same_run: bool) -> Key<'a> {
    let place = |frame: &'a Frame| match (same_run, frame.symbol.as_deref()) {
        (false, Some(symbol)) => Place::Function(symbol, file_name(frame), frame.inlined),
        _ => Place::Exact(profile.code(frame)),
    };
    let stack = sample.stack.map(|_| {
        let places = profile.frames(sample).map(place);
        (places.collect(), profile.cut(sample))
    });
    let detail = sample.detail.as_ref();
    Key {
        source: sample.source,
        subject: subject_key(profile.subject(sample.subject), same_run),
        stack,
        detail: detail.filter(|detail| !matches!(detail, Detail::Touched(_))),
    }
}

/// The name of a frame's source file: its folder may be another one where another build was made.
fn file_name(frame: &Frame) -> Option<&str> {
    let file = frame.file.as_deref()?;
    file.rsplit('/').next()
}

fn subject_key(subject: Option<&Subject>, same_run: bool) -> SubjectKey<'_> {
    let pid = subject.and_then(|subject| subject.pid).filter(|_| same_run);
    (pid, subject.map_or("", |subject| subject.command.as_str()))
}

/// The subject of a sample that is only in the earlier profile.
fn adopt_subject(result: &mut Builder, before: &Profile, index: u32, same_run: bool) -> u32 {
    let was = before.subject(index);
    let wanted = subject_key(was, same_run);
    let known = result
        .profile
        .subjects
        .iter()
        .position(|own| subject_key(Some(own), same_run) == wanted);
    match known.and_then(|known| u32::try_from(known).ok()) {
        Some(known) => known,
        None => result.subject(Subject {
            totals: Values::default(),
            ..was.cloned().unwrap_or_default()
        }),
    }
}

/// Makes the subjects' figures differences, and keeps the earlier ones.
fn compare_subjects(profile: &mut Profile, before: &Profile, same_run: bool) {
    let mut old: HashMap<SubjectKey<'_>, Values> = HashMap::new();
    for subject in &before.subjects {
        old.entry(subject_key(Some(subject), same_run))
            .or_default()
            .add(&subject.totals);
    }
    let was: Vec<Values> = profile
        .subjects
        .iter()
        .map(|subject| {
            old.remove(&subject_key(Some(subject), same_run))
                .unwrap_or_default()
        })
        .collect();
    for (subject, was) in profile.subjects.iter_mut().zip(was) {
        subject.totals = less(&subject.totals, &was);
        subject.before = was;
    }
}

/// The later values less the earlier ones, where values of their kind can be subtracted.
fn less(after: &Values, before: &Values) -> Values {
    let measures: BTreeSet<Measure> = after
        .iter()
        .chain(before.iter())
        .map(|(measure, _)| measure)
        .collect();
    let difference = |measure: Measure| {
        let (now, was) = (after.get(measure), before.get(measure));
        match measure.kind() {
            Kind::Level | Kind::Total => Some(minus(
                now.unwrap_or(Number::Whole(0)),
                was.unwrap_or(Number::Whole(0)),
            )),
            Kind::Change | Kind::Rate | Kind::Age | Kind::Property => now,
        }
    };
    measures
        .into_iter()
        .filter_map(|measure| Some((measure, difference(measure)?)))
        .collect()
}

fn minus(now: Number, was: Number) -> Number {
    match (now, was) {
        (Number::Whole(now), Number::Whole(was)) => Number::Whole(now.saturating_sub(was)),
        (now, was) => Number::Real(now.real() - was.real()),
    }
}
