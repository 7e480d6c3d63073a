//! What the memory of a heap trace is: a leak, a collection that never shrinks, load, a cache. How it grows and what
//! holds it are joined to one sentence for each stack and process that deserves one. Pure.

mod class;
mod evidence;
mod process;
mod sentence;
#[cfg(test)]
mod tests;

pub use class::{Class, Evidence, Holders, Rank, Reach, class_of};
pub use sentence::mark;

use crate::profile::{Finding, FindingKind, Measure, Profile, Sample, Source};

/// A cache, or memory that replaces older memory, deserves a finding from this part of its process's live bytes on.
const WORTH_TELLING: f64 = 0.01;

/// The class of a stack of a heap trace.
pub fn class(profile: &Profile, sample: &Sample) -> Class {
    class_of(&evidence::of(profile, sample))
}

/// Whether anything is known of how the stacks go on, or of what holds their blocks.
pub fn is_known(profile: &Profile) -> bool {
    let judged = !profile.sections.reachability.is_empty();
    let mut courses = profile.samples.iter().map(|sample| sample.course);
    judged || courses.any(|course| course.is_some())
}

/// Whether blocks of a stack that were called lost have been released since, so that none of them is lost for certain.
pub fn is_taken_back(profile: &Profile, sample: &Sample) -> bool {
    let reach = evidence::of(profile, sample).reach;
    reach.is_some_and(|reach| reach.is_taken_back && reach.lost > 0)
}

/// Sorts the stacks of a heap trace: the most important verdict first, then what grows fastest. Equal ones stay in
/// their order.
pub fn sort(profile: &mut Profile) {
    if !is_known(profile) {
        return;
    }
    let rank = |sample: &Sample| Rank::of(&evidence::of(profile, sample));
    let ranks = profile.samples.iter().map(|sample| match sample.source {
        Source::Heap if sample.stack.is_some() => Some(rank(sample)),
        _ => None,
    });
    let ranks: Vec<Option<Rank>> = ranks.collect();
    let mut order: Vec<usize> = (0..ranks.len()).collect();
    order.sort_by(|one, other| match (&ranks[*one], &ranks[*other]) {
        (Some(one), Some(other)) => one.compare(other),
        (own, others) => own.is_none().cmp(&others.is_none()),
    });
    let mut samples: Vec<Option<Sample>> = std::mem::take(&mut profile.samples)
        .into_iter()
        .map(Some)
        .collect();
    profile.samples = order
        .into_iter()
        .filter_map(|index| samples[index].take())
        .collect();
}

/// Which stacks of the trace a profile has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stacks {
    /// All, or the first ones in the order of the verdicts: none that is left out grows unless one that is there does.
    MostImportant,
    /// The first ones in another order.
    Others,
}

/// Adds a finding for each stack and process of a heap trace that deserves one, the most important first.
pub fn add(profile: &mut Profile, stacks: Stacks) {
    if profile.sections.heap.is_none() || !is_known(profile) {
        return;
    }
    let mut ranked: Vec<(Rank, Finding)> = profile
        .stack_samples(Source::Heap)
        .filter_map(|sample| of_stack(profile, sample))
        .collect();
    ranked.sort_by(|(one, _), (other, _)| one.compare(other));
    let has_all = stacks == Stacks::MostImportant || profile.omitted(Source::Heap, true).0 == 0;
    let mut findings: Vec<Finding> = Vec::with_capacity(ranked.len());
    for (_, finding) in ranked {
        if !findings.iter().any(|first| names(first, &finding)) {
            findings.push(finding);
        }
    }
    // What no stack explains comes after what grows, and before what does not.
    let grows = |finding: &Finding| {
        use FindingKind::{Collection, Growing, Leak, Load};
        matches!(finding.kind, Leak | Collection | Growing | Load)
    };
    let end = findings.iter().take_while(|finding| grows(finding)).count();
    let unexplained = process::unexplained(profile, has_all);
    findings.splice(end..end, unexplained);
    findings.extend(process::turnover(profile));
    findings.extend(process::too_early(profile));
    profile.findings.extend(findings);
}

/// Whether a collection's finding speaks of another one's stack: it is a part of the same collection.
fn names(first: &Finding, other: &Finding) -> bool {
    let is_collection = |finding: &Finding| finding.kind == FindingKind::Collection;
    let mut links = first.holder.iter().flat_map(|holder| &holder.links);
    is_collection(first)
        && is_collection(other)
        && first.subject == other.subject
        && links.any(|link| link.stack.is_some() && link.stack == other.stack)
}

/// The finding on a stack, with its rank.
fn of_stack(profile: &Profile, sample: &Sample) -> Option<(Rank, Finding)> {
    let known = evidence::of(profile, sample);
    let rank = Rank::of(&known);
    let kind = rank.class.kind()?;
    let is_small = || {
        let subject = profile.subject(sample.subject);
        let whole = subject.map_or(0, |subject| subject.totals.amount(Measure::HeapLiveBytes));
        (known.live_bytes as f64) < WORTH_TELLING * whole as f64
    };
    if matches!(rank.class, Class::Cache | Class::Turnover) && is_small() {
        return None;
    }
    let finding = Finding {
        subject: Some(sample.subject),
        stack: sample.stack,
        figures: evidence::figures(&profile.values(sample), !is_taken_back(profile, sample)),
        holder: sample.holders.first().cloned(),
        commands: sentence::commands(profile, sample, rank.class, &known),
        ..Finding::new(kind, sentence::of(profile, sample, rank.class, &known))
    };
    Some((rank, finding))
}
