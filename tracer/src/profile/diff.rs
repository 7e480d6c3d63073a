//! The difference of two profiles, as a profile: what each stack and each subject holds more, or less, in the later
//! one.

use std::collections::{BTreeSet, HashMap};

use super::measure::{Kind, Measure, Source};
use super::number::{Number, Values};
use super::query::Code;
use super::sample::{Detail, Sample};
use super::stack::CutReason;
use super::subject::Subject;
use super::{Builder, Profile};

/// What two samples are matched by: not by addresses, so that two runs and two builds can be compared.
type Key<'a> = (
    Source,
    SubjectKey<'a>,
    Option<(Vec<Code<'a>>, Option<CutReason>)>,
    Option<&'a Detail>,
);

/// A process is itself as long as it runs; that of another run is known by its name.
type SubjectKey<'a> = (Option<u32>, &'a str);

/// What `after` has more than `before`. Values that add up are differences, others are those of the later profile.
/// Samples come by their growth in each source's first measure, most first; what is only in one of the two is compared
/// with zero. Processes are matched by PID and name where `same_processes`, else by name alone.
pub fn between(before: &Profile, after: &Profile, same_processes: bool) -> Profile {
    let mut result = Builder::from_profile(after.clone());
    result.measures(before.measures.iter().copied());
    result.profile.samples.clear();
    result.profile.omitted.clear();
    let mut old: HashMap<Key<'_>, Values> = HashMap::new();
    let mut origins: HashMap<Key<'_>, &Sample> = HashMap::new();
    for sample in &before.samples {
        let key = key(before, sample, same_processes);
        old.entry(key.clone())
            .or_default()
            .add(&before.values(sample));
        origins.entry(key).or_insert(sample);
    }
    for sample in &after.samples {
        let was = old
            .remove(&key(after, sample, same_processes))
            .unwrap_or_default();
        let values = less(&after.values(sample), &was);
        let values = result.row(&values);
        result.add(Sample {
            values,
            ..sample.clone()
        });
    }
    let mut gone: Vec<(&Sample, Values)> = old
        .iter()
        .filter_map(|(key, values)| Some((*origins.get(key)?, less(&Values::default(), values))))
        .collect();
    // The same order each time.
    gone.sort_by_key(|(sample, _)| (sample.source, sample.subject, sample.stack));
    let mut subjects: HashMap<u32, u32> = HashMap::new();
    for (sample, values) in gone {
        let subject = *subjects
            .entry(sample.subject)
            .or_insert_with(|| adopt_subject(&mut result, before, sample.subject, same_processes));
        let stack = sample.stack.map(|stack| result.adopt(before, stack));
        let values = result.row(&values);
        result.add(Sample {
            subject,
            stack,
            values,
            ages: Default::default(),
            freed: Default::default(),
            course: None,
            holders: Vec::new(),
            blocks: None,
            ..sample.clone()
        });
    }
    compare_subjects(&mut result.profile, before, same_processes);
    let mut profile = result.finish();
    let sources: BTreeSet<Source> = profile.samples.iter().map(|sample| sample.source).collect();
    for source in sources {
        if let Some(measure) = profile
            .measures
            .iter()
            .copied()
            .find(|measure| measure.source() == source)
        {
            profile.sort(source, measure);
        }
    }
    profile
}

fn key<'a>(profile: &'a Profile, sample: &'a Sample, same_processes: bool) -> Key<'a> {
    let subject = profile.subject(sample.subject);
    let stack = sample.stack.map(|_| {
        let code = profile
            .frames(sample)
            .map(|frame| within_builds(profile.code(frame)));
        (code.collect(), profile.cut(sample))
    });
    let detail = sample
        .detail
        .as_ref()
        .filter(|detail| !matches!(detail, Detail::Touched(_)));
    (
        sample.source,
        subject_key(subject, same_processes),
        stack,
        detail,
    )
}

/// Another build has its code elsewhere: a function is known by its name.
fn within_builds((symbol, module, place, inlined): Code<'_>) -> Code<'_> {
    match symbol {
        Some(_) => (symbol, None, None, inlined),
        None => (symbol, module, place, inlined),
    }
}

fn subject_key(subject: Option<&Subject>, same_processes: bool) -> SubjectKey<'_> {
    let pid = subject
        .and_then(|subject| subject.pid)
        .filter(|_| same_processes);
    (pid, subject.map_or("", |subject| subject.command.as_str()))
}

/// The subject of a sample that is only in the earlier profile.
fn adopt_subject(result: &mut Builder, before: &Profile, index: u32, same_processes: bool) -> u32 {
    let was = before.subject(index);
    let wanted = subject_key(was, same_processes);
    let known = result
        .profile
        .subjects
        .iter()
        .position(|own| subject_key(Some(own), same_processes) == wanted);
    match known.and_then(|known| u32::try_from(known).ok()) {
        Some(known) => known,
        None => result.subject(was.cloned().unwrap_or_default()),
    }
}

/// Makes the subjects' figures differences, and keeps the earlier ones.
fn compare_subjects(profile: &mut Profile, before: &Profile, same_processes: bool) {
    let mut old: HashMap<SubjectKey<'_>, Values> = HashMap::new();
    for subject in &before.subjects {
        old.entry(subject_key(Some(subject), same_processes))
            .or_default()
            .add(&subject.totals);
    }
    let was: Vec<Values> = profile
        .subjects
        .iter()
        .map(|subject| {
            old.remove(&subject_key(Some(subject), same_processes))
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
