//! Verdicts on processes: growth that no stack explains, turnover as a whole, and whether it is too early to say.

use super::sentence::{at_least, marked};
use crate::profile::{
    Finding, FindingKind, Form, Measure, Number, Profile, Sample, Source, Subject, Values,
};
use crate::words::names;
use crate::words::units::{bytes, speed};

/// Part of a process's growth that must be unexplained to be told.
const NOTABLE: f64 = 0.25;

/// The subjects of a heap trace that run, with their index.
fn running(profile: &Profile) -> impl Iterator<Item = (u32, &Subject)> {
    (0..)
        .zip(&profile.subjects)
        .filter(|(_, subject)| subject.state.is_alive() && subject.pid.is_some())
}

/// The stacks of a subject.
fn stacks(profile: &Profile, index: u32) -> impl Iterator<Item = &Sample> {
    let of_heap = profile.stack_samples(Source::Heap);
    of_heap.filter(move |sample| sample.subject == index)
}

fn form(sample: &Sample) -> Option<Form> {
    sample.course.map(|course| course.form)
}

fn about(kind: FindingKind, index: u32, text: &str, figures: Values) -> Finding {
    Finding {
        subject: Some(index),
        figures,
        ..Finding::new(kind, marked(kind, text))
    }
}

/// Growth of processes that their stacks do not explain. Whether a stack grows is known only where the profile has all
/// that do.
pub fn unexplained(profile: &Profile, has_all: bool) -> Vec<Finding> {
    let beyond_heap = running(profile).filter_map(|(index, subject)| beyond_heap(index, subject));
    let in_heap = running(profile)
        .filter(|_| has_all)
        .filter_map(|(index, subject)| spread(profile, index, subject));
    in_heap.chain(beyond_heap).collect()
}

/// A heap that grows although none of its stacks does for certain.
fn spread(profile: &Profile, index: u32, subject: &Subject) -> Option<Finding> {
    let grows = subject.course?.form == Form::Growing;
    let explained = stacks(profile, index).any(|sample| form(sample) == Some(Form::Growing));
    if !grows || explained {
        return None;
    }
    let growth = real(&subject.totals, Measure::HeapGrowthPerS)?;
    let text = format!(
        "the heap of {} grows by {}, and none of its stacks does for certain: watch for longer",
        names::process(subject),
        speed(growth)
    );
    Some(about(
        FindingKind::Unexplained,
        index,
        &text,
        growth_of(subject),
    ))
}

/// Resident memory that grows by more than the heap does.
fn beyond_heap(index: u32, subject: &Subject) -> Option<Finding> {
    let measures = [Measure::ProcessTotalBytes, Measure::ProcessRssBytes];
    let growth = measures
        .iter()
        .find_map(|measure| subject.growth.get(measure))?;
    let certain = growth.certain / 60.0;
    let heap = real(&subject.totals, Measure::HeapGrowthPerSHigh)
        .or_else(|| real(&subject.totals, Measure::HeapGrowthPerS))?
        .max(0.0);
    let rest = certain - heap;
    if certain <= 0.0 || rest < NOTABLE * certain {
        return None;
    }
    let text = format!(
        "the memory of {} grows by {} for certain, and its heap by {} at most: the rest is fragmentation, the allocator's \
         own, a runtime's heap or mappings",
        names::process(subject),
        speed(certain),
        speed(heap)
    );
    let finding = about(FindingKind::Unexplained, index, &text, growth_of(subject));
    let command = subject.pid.map(|pid| format!("memlens explain {pid}"));
    Some(Finding {
        commands: command.into_iter().collect(),
        ..finding
    })
}

/// Processes that only replace what is older than the trace, where no stack tells.
pub fn turnover(profile: &Profile) -> Vec<Finding> {
    let told =
        |index: u32| stacks(profile, index).any(|sample| form(sample) == Some(Form::Turnover));
    let own = running(profile).filter(|(index, subject)| {
        subject
            .course
            .is_some_and(|course| course.form == Form::Turnover)
            && !told(*index)
    });
    own.map(|(index, subject)| {
        let freed = subject.totals.amount(Measure::HeapOldFreeBytes);
        let text = format!(
            "the heap of {} does not grow: its new blocks take the place of {} that are older than the trace",
            names::process(subject),
            bytes(freed)
        );
        about(FindingKind::Turnover, index, &text, growth_of(subject))
    })
    .collect()
}

/// Processes of which it cannot be told yet whether they grow.
pub fn too_early(profile: &Profile) -> Vec<Finding> {
    let waits = running(profile).filter_map(|(index, subject)| {
        let own = subject
            .course
            .filter(|course| course.form == Form::TooEarly);
        let wait = match subject.course {
            Some(_) => own?.wait,
            None => of_stacks(profile, index)?,
        };
        let another = wait.map_or_else(
            || "the trace must go on".to_owned(),
            |wait| format!("another {}", at_least(wait)),
        );
        let whose = match profile.is_of_many() {
            true => format!(" for {}", names::process(subject)),
            false => String::new(),
        };
        let text = format!("{another}{whose}");
        Some(about(
            FindingKind::TooEarly,
            index,
            &text,
            Values::default(),
        ))
    });
    waits.collect()
}

/// How long to wait for the stacks of a process, where it can be told of none of them yet.
fn of_stacks(profile: &Profile, index: u32) -> Option<Option<std::time::Duration>> {
    let courses: Vec<_> = stacks(profile, index)
        .filter_map(|sample| sample.course)
        .collect();
    let all = !courses.is_empty() && courses.iter().all(|course| course.form == Form::TooEarly);
    all.then(|| courses.iter().filter_map(|course| course.wait).max())
}

fn real(values: &Values, measure: Measure) -> Option<f64> {
    values.get(measure).map(Number::real)
}

fn growth_of(subject: &Subject) -> Values {
    let figures = [
        Measure::HeapLiveBytes,
        Measure::HeapLiveBlocks,
        Measure::HeapGrowthPerS,
        Measure::HeapGrowthPerSLow,
        Measure::HeapGrowthPerSHigh,
        Measure::HeapOldFreeBytes,
        Measure::HeapOldFreeBlocks,
    ];
    let known = figures.into_iter();
    known
        .filter_map(|measure| Some((measure, subject.totals.get(measure)?)))
        .collect()
}
