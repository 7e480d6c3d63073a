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
    let host = profile.sections.host_wide.as_ref();
    let steps = host
        .and_then(|host| host.guard.as_ref())
        .map(|guard| &guard.steps);
    let steps = steps
        .into_iter()
        .flatten()
        .filter(|step| step.action.ends_tracing());
    let (mut processes, mut programs) = (BTreeSet::new(), BTreeSet::new());
    let mut later = 0_u64;
    for step in steps {
        match step.pid {
            Some(pid) => {
                processes.insert(pid);
                later = later.saturating_add(step.later_processes);
            }
            None => drop(programs.insert(step.command.as_str())),
        }
    }
    let off = profile
        .subjects
        .iter()
        .filter(|subject| subject.probes_off.is_some());
    processes.extend(off.filter_map(|subject| subject.pid));
    let n = later.saturating_add(processes.len() as u64);
    let programs: Vec<&str> = programs.into_iter().collect();
    let whose = match (n, programs.join(", ")) {
        (0, programs) if programs.is_empty() => return None,
        (n, programs) if programs.is_empty() => counted_processes(n),
        (0, programs) => format!("all processes of {programs}"),
        (n, programs) => format!("{} and all processes of {programs}", counted_processes(n)),
    };
    let its = if n == 1 && programs.is_empty() {
        "its"
    } else {
        "their"
    };
    Some(format!(
        "the probes of {whose} were removed: {its} figures end there"
    ))
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
    use crate::profile::{Guard, GuardAction, GuardStep, HostWide, Place};

    /// Processes and programs whose probes were removed, with later processes of the same program.
    fn removed(steps: &[(Option<u32>, &str, u64)]) -> Option<String> {
        let step = |(pid, command, later_processes): &(Option<u32>, &str, u64)| GuardStep {
            at: std::time::Duration::ZERO,
            pid: *pid,
            command: (*command).to_owned(),
            place: Place::default(),
            action: GuardAction::ProbesOff,
            hits_per_second: 1,
            cost_percent: 1.0,
            total_percent: 1.0,
            later_processes: *later_processes,
        };
        let mut profile = Profile::default();
        profile.sections.host_wide = Some(HostWide {
            guard: Some(Guard {
                steps: steps.iter().map(step).collect(),
                ..Guard::default()
            }),
            ..HostWide::default()
        });
        probes_removed(&profile)
    }

    #[test]
    fn processes_without_probes_are_counted_once() {
        assert_eq!(removed(&[]), None);
        let told = |steps: &[(Option<u32>, &str, u64)]| removed(steps).unwrap_or_default();
        assert_eq!(
            told(&[(Some(7), "a", 0), (Some(7), "a", 0)]),
            "the probes of 1 process were removed: its figures end there"
        );
        assert_eq!(
            told(&[(Some(7), "a", 3), (Some(8), "b", 0)]),
            "the probes of 5 processes were removed: their figures end there"
        );
        assert_eq!(
            told(&[(None, "cc1", 9), (None, "as", 2)]),
            "the probes of all processes of as, cc1 were removed: their figures end there"
        );
        assert_eq!(
            told(&[(None, "cc1", 9), (Some(7), "a", 0)]),
            "the probes of 1 process and all processes of cc1 were removed: their figures end there"
        );
    }
}
