//! Sentences on whether the figures are exact, and on what makes them inexact besides losses.

use std::collections::BTreeSet;

use super::names;
use super::units::{bytes, count, counted, counted_processes, plural};
use crate::profile::{Cut, Measure, Profile, Severity, Source, Subject};

/// Most sentences about cut stacks of one reason and place.
const MOST_CUT: usize = 5;

/// Whether the figures are complete: a word and a clause.
pub fn verdict(profile: &Profile) -> (&'static str, &'static str) {
    let mark = if profile.complete {
        "complete:"
    } else {
        "incomplete:"
    };
    (mark, clause(profile))
}

fn clause(profile: &Profile) -> &'static str {
    let mut lost = profile.losses.iter().filter(|(_, count)| *count > 0);
    let is_detail_lost = lost.any(|(key, _)| key.severity() == Severity::Detail);
    let heap = profile.sections.heap.as_ref();
    let is_sampled = heap.is_some_and(|heap| heap.sampling.is_some());
    match (profile.main_source(), profile.complete) {
        (Source::AddressSpace | Source::PageFaults, true) => {
            "tracked mappings match /proc/PID/maps"
        }
        (Source::AddressSpace | Source::PageFaults, false) if !corrections(profile).is_empty() => {
            "tracked mappings did not always match /proc/PID/maps"
        }
        (Source::Kernel, false) => "some allocations or releases were not seen",
        (_, false) if is_sampled => "the sample has gaps",
        (_, false) => "the totals are not exact",
        (_, true) if is_detail_lost && is_sampled => {
            "the sample has no gaps, but some detail was lost"
        }
        (_, true) if is_detail_lost => "the totals are exact, but some detail was lost",
        (_, true) => "nothing was lost",
    }
}

/// Whose probes were removed, if any were: their figures are no longer current.
pub fn probes_removed(profile: &Profile) -> Option<String> {
    let off = profile
        .subjects
        .iter()
        .filter(|subject| subject.probes_off.is_some());
    let processes: BTreeSet<u32> = off.filter_map(|subject| subject.pid).collect();
    let n = processes.len() as u64;
    let its = plural(n, "its", "their");
    (n > 0).then(|| {
        let whose = counted_processes(n);
        format!("the probes of {whose} were removed: {its} figures end there")
    })
}

/// Where the tracked mappings of each process differed from its maps and were corrected.
pub fn corrections(profile: &Profile) -> Vec<String> {
    const KINDS: [(Measure, &str); 4] = [
        (Measure::VmFoundBytes, "mapped by calls that were not seen"),
        (Measure::VmGoneBytes, "unmapped by calls that were not seen"),
        (
            Measure::VmAccessBytes,
            "with access changed by calls that were not seen",
        ),
        (
            Measure::VmRepairedBytes,
            "recovered from /proc/PID/maps where calls were lost",
        ),
    ];
    let of_subject = |subject: &Subject| {
        let whose = names::process(subject);
        let kinds = KINDS.map(|(measure, what)| (subject.totals.amount(measure), what));
        let told = kinds.into_iter().filter(|(size, _)| *size > 0);
        let told = told.map(|(size, what)| format!("{whose}: {} {what}", bytes(size)));
        told.collect::<Vec<_>>()
    };
    profile.subjects.iter().flat_map(of_subject).collect()
}

/// A sentence for each of the first reasons and places where stacks are cut, and one for the rest.
pub fn cut(profile: &Profile) -> Vec<String> {
    let rows = &profile.sections.cut;
    let (told, rest) = rows.split_at(rows.len().min(MOST_CUT));
    let mut sentences: Vec<String> = told.iter().map(|row| cut_at(profile, row)).collect();
    if !rest.is_empty() {
        let stacks = rest
            .iter()
            .map(|row| row.stacks)
            .fold(0, u64::saturating_add);
        let size = rest.iter().map(held).fold(0, u64::saturating_add);
        let places = match rest.len() as u64 {
            1 => "another place".to_owned(),
            many => format!("{} other places", count(many)),
        };
        sentences.push(format!(
            "{} more {} with {} {} cut in {places}",
            count(stacks),
            plural(stacks, "stack", "stacks"),
            bytes(size),
            plural(stacks, "is", "are")
        ));
    }
    sentences
}

/// What stacks hold that are cut.
fn held(row: &Cut) -> u64 {
    let levels = [Source::Heap, Source::AddressSpace, Source::Kernel].map(Source::level);
    levels
        .map(|level| row.values.amount(level))
        .into_iter()
        .sum()
}

fn cut_at(profile: &Profile, row: &Cut) -> String {
    let whose = match profile.is_of_many() {
        true => format!(" of {}", names::subject_at(profile, row.subject)),
        false => String::new(),
    };
    let module = row
        .module
        .and_then(|module| profile.modules.get(module as usize));
    let place = module.map_or_else(String::new, |module| {
        format!(" in {}", names::module(&module.path))
    });
    format!(
        "{}{whose} with {} {} cut{place}: {}",
        counted(row.stacks, "stack"),
        bytes(held(row)),
        plural(row.stacks, "is", "are"),
        row.reason.clause()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_without_probes_are_counted() {
        let removed = |pids: &[u32]| {
            let mut profile = Profile::default();
            profile.subjects.extend(pids.iter().map(|pid| Subject {
                probes_off: Some(std::time::Duration::ZERO),
                ..Subject::process(*pid, "app")
            }));
            profile.subjects.push(Subject::process(1, "init"));
            probes_removed(&profile)
        };
        assert_eq!(removed(&[]), None);
        assert_eq!(
            removed(&[7]).as_deref(),
            Some("the probes of 1 process were removed: its figures end there")
        );
        assert_eq!(
            removed(&[7, 8]).as_deref(),
            Some("the probes of 2 processes were removed: their figures end there")
        );
    }
}
