//! The evidence of all steps in one profile.

use super::trace::Traced;
use crate::profile::{Builder, Profile, Source, Subject, Values};

/// Joins what was seen of the machine and of a process: the subject is the process, the samples are the trace's, and of
/// what was mapped only what was not for its allocator.
pub fn joined(machine: Profile, row: Subject, traced: Traced, stacks: usize) -> Profile {
    let ledger = traced.parts.or(traced.ledger);
    let mut profile = match (traced.trace, &ledger) {
        (Some(trace), _) => with_mappings(trace, ledger.as_ref(), stacks),
        (None, Some(ledger)) => ledger.clone(),
        (None, None) => Profile {
            sections: Default::default(),
            ..machine.clone()
        },
    };
    if let Some(ledger) = ledger {
        take_ledger(&mut profile, ledger);
    }
    match profile.subjects.first_mut() {
        Some(subject) => describe(subject, row),
        None => profile.subjects.push(row),
    }
    add_notes(&mut profile, machine.notes);
    profile.sections.machine = machine.sections.machine;
    profile
}

/// The trace with the mappings that are not the allocator's in place of all.
fn with_mappings(mut trace: Profile, ledger: Option<&Profile>, stacks: usize) -> Profile {
    let source = Source::AddressSpace;
    trace.omitted.retain(|omitted| omitted.source != source);
    let mut build = Builder::from_profile(trace.filter(|sample| sample.source != source));
    let Some(ledger) = ledger.filter(|ledger| ledger.has(source)) else {
        return build.finish();
    };
    build.measures(ledger.measures.iter().copied());
    for sample in ledger.stack_samples(source).take(stacks) {
        let stack = sample.stack.map(|stack| build.adopt(ledger, stack));
        let values = build.row(&ledger.values(sample));
        build.add(crate::profile::Sample {
            stack,
            values,
            ..sample.clone()
        });
    }
    let omitted = ledger.omitted.iter();
    let omitted = omitted.filter(|omitted| omitted.source == source).cloned();
    build.profile.omitted.extend(omitted);
    build.finish()
}

/// Takes over what the ledgers tell. Figures that the trace has are as of the same moment, and stay.
fn take_ledger(profile: &mut Profile, ledger: Profile) {
    profile.sections.ledger = ledger.sections.ledger;
    profile.sections.ledger_change = ledger.sections.ledger_change;
    profile.sections.growth = ledger.sections.growth;
    if let (Some(subject), Some(looked)) = (profile.subjects.first_mut(), ledger.subjects.first()) {
        fill(&mut subject.totals, &looked.totals);
    }
    for finding in ledger.findings {
        // What names stacks by number does so in an order of its own.
        if finding.kind == crate::profile::FindingKind::Change
            && !profile.findings.contains(&finding)
        {
            profile.findings.push(finding);
        }
    }
    add_notes(profile, ledger.notes);
}

/// What the watch knows of a process that the trace does not.
fn describe(subject: &mut Subject, row: Subject) {
    fill(&mut subject.totals, &row.totals);
    subject.place = row.place;
    subject.uid = row.uid;
    subject.user = row.user;
    subject.age = row.age;
    subject.growth = row.growth;
}

/// Sets the values that are not there.
fn fill(values: &mut Values, others: &Values) {
    for (measure, value) in others.iter() {
        if values.get(measure).is_none() {
            values.set(measure, value);
        }
    }
}

fn add_notes(profile: &mut Profile, notes: Vec<String>) {
    for note in notes {
        if !profile.notes.contains(&note) {
            profile.notes.push(note);
        }
    }
}
