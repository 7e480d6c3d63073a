//! Which stacks of the heap grow, and what they are judged to be.

use std::time::Duration;

use crate::analysis::holders;
use crate::analysis::verdict::{self, Stacks};
use crate::profile::{
    Finding, FindingKind, Frame, Growth, Measure, Module, Profile, Sample, Source, Values, trend,
};
use crate::render::collapse;
use crate::words::names;

/// The kinds of judgements on stacks, the most serious first.
const JUDGED: [FindingKind; 8] = [
    FindingKind::Leak,
    FindingKind::Collection,
    FindingKind::Growing,
    FindingKind::Load,
    FindingKind::Cache,
    FindingKind::OneTimeLoss,
    FindingKind::StackOnly,
    FindingKind::Turnover,
];

/// Judges the stacks of a heap's trace: verdicts are findings. Without any, the conclusion rests on how the live bytes
/// of the stacks move.
pub fn judge_stacks(profile: &mut Profile) {
    holders::name(profile);
    verdict::add(profile, Stacks::MostImportant);
}

/// The judgements on stacks, the most serious first.
pub(super) fn judged(profile: &Profile) -> Vec<&Finding> {
    let rank = |finding: &Finding| JUDGED.iter().position(|kind| *kind == finding.kind);
    let mut judged: Vec<(usize, &Finding)> = profile
        .findings
        .iter()
        .filter_map(|finding| Some((rank(finding)?, finding)))
        .collect();
    judged.sort_by_key(|(rank, _)| *rank);
    judged.into_iter().map(|(_, finding)| finding).collect()
}

/// A stack of the heap that certainly grows.
pub(super) struct Grows<'a> {
    pub sample: &'a Sample,
    /// Its number in the order of the samples, from 1.
    pub number: usize,
    pub growth: Growth,
}

/// The stacks of the heap that certainly grow, the one that certainly grows most first.
pub(super) fn growing(profile: &Profile) -> Vec<Grows<'_>> {
    let stacks = profile.stack_samples(Source::Heap).enumerate();
    let mut growing: Vec<Grows<'_>> = stacks
        .filter_map(|(index, sample)| {
            let growth = growth(&profile.values(sample))?;
            (growth.certain > 0.0).then_some(Grows {
                sample,
                number: index + 1,
                growth,
            })
        })
        .collect();
    growing.sort_by(|one, other| other.growth.certain.total_cmp(&one.growth.certain));
    growing
}

/// How the live bytes of a stack or of a process move, where that is known.
pub(super) fn growth(values: &Values) -> Option<Growth> {
    let per_min = |measure| Some(values.get(measure)?.real() * 60.0);
    let slope = per_min(Measure::HeapGrowthPerS)?;
    let (low, high) = (
        per_min(Measure::HeapGrowthPerSLow),
        per_min(Measure::HeapGrowthPerSHigh),
    );
    let certain = low.filter(|low| *low > 0.0).unwrap_or(0.0);
    Some(Growth {
        per_min: slope,
        low,
        high,
        certain,
        verdict: match certain > 0.0 {
            true => trend::Verdict::Growing,
            false => trend::Verdict::Unclear,
        },
        samples: 0,
    })
}

/// When the probes of the process were removed, since they cost more than was allowed; its figures end there.
pub(super) fn probes_off(profile: &Profile) -> Option<Duration> {
    let subject = profile.subjects.first()?;
    subject.probes_off.filter(|_| subject.state.is_alive())
}

/// The function that a stack is called by: the innermost that does more than allocate, and is not the C library's;
/// empty where there is no stack.
pub(super) fn function(profile: &Profile, stack: Option<u32>) -> String {
    let frames: Vec<_> = profile.frames_of(stack).collect();
    let is_own = |frame: &&Frame| !profile.module(frame).is_some_and(is_c_library);
    let first = frames.iter().position(is_own).unwrap_or(0);
    let frames = &frames[first..];
    let frame = collapse::first_meaningful(profile, frames);
    frame.map_or_else(String::new, |frame| names::frame(profile, frame))
}

/// Whether a file is a C library, whose functions map and allocate for others.
fn is_c_library(module: &Module) -> bool {
    let name = names::module(&module.path);
    name.starts_with("libc.so") || name.starts_with("libc-") || name.starts_with("ld-musl")
}
