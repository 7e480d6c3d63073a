//! What each step of a hunt found, in a sentence or two. Pure.

use std::time::Duration;

use super::choose::{self, Candidate, least, least_of_all, matters, resident_step};
use super::{rate, rate_of, stacks};
use crate::analysis::advice;
use crate::profile::hunt::{HuntStep, StepKind};
use crate::profile::ledger::{Ledger, LedgerChange};
use crate::profile::machine::{Figure, MachineSection, Of};
use crate::profile::trend::Verdict;
use crate::profile::{Measure, Profile, Source, Subject};
use crate::words::units::{bytes, change, count, counted, counted_processes, duration, percent};

/// Rows of the ledger that are named.
const ROWS_NAMED: usize = 4;

/// Is the machine's memory shrinking, and who takes it. `profile` is of the watch alone.
pub fn machine(profile: &Profile, took: Duration) -> HuntStep {
    let Some(machine) = &profile.sections.machine else {
        return HuntStep::new(
            StepKind::Machine,
            "the machine could not be looked at",
            took,
        );
    };
    let growth = machine.figure(Figure::Available).growth;
    HuntStep {
        growth,
        least_bytes_per_min: growth.and_then(|growth| least(&growth, took, 1)),
        ..HuntStep::new(StepKind::Machine, outlook(profile, machine, took), took)
    }
}

fn outlook(profile: &Profile, machine: &MachineSection, took: Duration) -> String {
    let available = machine.figure(Figure::Available);
    match available.growth {
        Some(growth) if growth.verdict == Verdict::Unclear => format!(
            "available memory is {}, {} in {}: no clear trend",
            bytes(available.bytes),
            change(available.change_bytes),
            duration(took)
        ),
        _ => advice::outlook(profile, machine),
    }
}

/// Which process certainly grows most, of all that were watched, which are in that order; `row` is that of the one to
/// go after.
pub fn choice(all: &[Candidate], row: Option<&Subject>, kernel: &str, took: Duration) -> HuntStep {
    let step = resident_step(kernel);
    let each: Vec<Option<u64>> = all
        .iter()
        .map(|one| least(&one.growth, took, step))
        .collect();
    let seen = least_of_all(&each);
    let least_of_others = seen.map_or(choose::NEGLIGIBLE, |(least, _)| {
        (least as f64).max(choose::NEGLIGIBLE)
    });
    let text = match row {
        Some(row) => {
            let growing = all.iter().filter(|one| matters(&one.growth)).count();
            let others = match growing.saturating_sub(1) as u64 {
                0 => "no other process grows for certain".to_owned(),
                1 => "one other process grows for certain".to_owned(),
                more => format!("{} other processes grow for certain", count(more)),
            };
            format!("{}; {others}", advice::grows(row))
        }
        None => format!(
            "none of {} grows by {} or more for certain",
            counted_processes(all.len() as u64),
            rate(least_of_others)
        ),
    };
    let noisy = seen.and_then(|(_, widest)| {
        let (index, least) = widest?;
        let one = all.get(index).filter(|_| row.is_none())?;
        Some(format!(
            "; least is known of {} ({}), where {} could hide",
            one.command,
            one.pid,
            rate(least as f64)
        ))
    });
    let growth = row.and_then(|row| row.growth.get(&Of::Total.measure()).copied());
    HuntStep {
        growth,
        least_bytes_per_min: match growth {
            Some(growth) => least(&growth, took, step),
            None => seen.map(|(least, _)| least),
        },
        ..HuntStep::new(StepKind::Process, text + &noisy.unwrap_or_default(), took)
    }
}

/// How the process moved that the user has asked for.
pub fn asked_for(row: &Subject, kernel: &str, took: Duration) -> HuntStep {
    let growth = row.growth.get(&Of::Total.measure()).copied();
    let resident = row.totals.amount(Measure::ProcessTotalBytes);
    let name = format!("PID {} ({})", row.pid.unwrap_or(0), row.command);
    let text = match growth {
        Some(growth) if matters(&growth) => advice::grows(row),
        Some(growth) if growth.verdict == Verdict::Shrinking => {
            format!("{name} shrinks by {}", rate(growth.per_min))
        }
        Some(growth) if growth.error().is_some() => format!(
            "{name} has {} resident and in swap, and no growth is certain so far: {}",
            bytes(resident),
            rate_of(&growth)
        ),
        _ => format!("{name} has {} resident and in swap", bytes(resident)),
    };
    let step = resident_step(kernel);
    HuntStep {
        growth,
        least_bytes_per_min: growth.and_then(|growth| least(&growth, took, step)),
        ..HuntStep::new(StepKind::Process, text, took)
    }
}

/// Which part of the process has grown between two looks; with one look, what it has.
pub fn ledger(ledger: Option<&Ledger>, changed: Option<&LedgerChange>, took: Duration) -> HuntStep {
    let text = match (ledger, changed) {
        (_, Some(changed)) => changes(changed),
        (Some(ledger), None) => {
            let mut rows: Vec<_> = ledger.rows.iter().collect();
            rows.sort_by_key(|row| std::cmp::Reverse(row.resident_bytes));
            let named = rows.iter().take(ROWS_NAMED);
            let named: Vec<String> = named
                .map(|row| format!("{} {}", row.row.words(), bytes(row.resident_bytes)))
                .collect();
            format!("looked at once: {}", named.join(", "))
        }
        (None, None) => "there is none".to_owned(),
    };
    HuntStep::new(StepKind::Ledger, text, took)
}

fn changes(changed: &LedgerChange) -> String {
    let rows = changed.rows.iter().filter(|row| row.resident_bytes != 0);
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.resident_bytes.abs()));
    let named = rows.iter().take(ROWS_NAMED);
    let mut parts: Vec<String> = named
        .map(|row| format!("{} {}", row.row.words(), change(row.resident_bytes)))
        .collect();
    if rows.len() > ROWS_NAMED {
        parts.push(counted((rows.len() - ROWS_NAMED) as u64, "more row"));
    }
    let parts = match parts.is_empty() {
        true => String::new(),
        false => format!(": {}", parts.join(", ")),
    };
    let used = changed.heap_in_use_bytes.zip(changed.heap_free_bytes);
    let heap = used.filter(|used| *used != (0, 0)).map(|(used, free)| {
        format!(
            "; of glibc's heap the program holds {} and {} is free",
            relative(used),
            relative(free)
        )
    });
    format!(
        "RSS {} in {}{parts}{}",
        match changed.resident_bytes {
            0 => "unchanged".to_owned(),
            changed => change(changed),
        },
        duration(changed.over),
        heap.unwrap_or_default()
    )
}

fn relative(value: i64) -> String {
    let size = bytes(value.unsigned_abs());
    match value.signum() {
        1 => format!("{size} more"),
        -1 => format!("{size} less"),
        _ => "as much as before".to_owned(),
    }
}

/// Which stacks grow. `profile` is the trace's.
pub fn trace(profile: &Profile, took: Duration) -> HuntStep {
    let mut sentences = Vec::new();
    let totals = profile.totals();
    let growth = stacks::growth(&totals);
    let allocated = totals.amount(Measure::HeapAllocBytes);
    if profile.has(Source::Heap) && allocated == 0 {
        sentences.push("nothing was allocated".to_owned());
    } else if profile.has(Source::Heap) {
        let stacks = profile.stacks_total(Source::Heap, Measure::HeapLiveBytes).0;
        sentences.push(format!(
            "of {} allocated meanwhile {} in {} is live, on {}, {} of which certainly {}",
            bytes(allocated),
            bytes(totals.amount(Measure::HeapLiveBytes)),
            counted(totals.amount(Measure::HeapLiveBlocks), "block"),
            counted(stacks, "stack"),
            stacks::growing(profile).len(),
            crate::words::units::plural(stacks::growing(profile).len() as u64, "grows", "grow"),
        ));
    }
    let mapped = profile.stacks_total(Source::AddressSpace, Measure::VmMappedBytes);
    if mapped.1 > 0 {
        sentences.push(format!(
            "{} was mapped, and not for its allocator, on {}",
            bytes(mapped.1),
            counted(mapped.0, "stack")
        ));
    }
    let cost = profile
        .subjects
        .first()
        .and_then(|subject| subject.probe_percent);
    sentences.extend(
        cost.map(|cost| format!("its probes took about {} of its CPU time", percent(cost))),
    );
    if sentences.is_empty() {
        sentences.push("nothing was mapped but by its allocator".to_owned());
    }
    let error = growth.and_then(|growth| growth.error());
    HuntStep {
        growth,
        // A cast of a float ends at the largest number.
        least_bytes_per_min: error.map(|error| error.ceil() as u64),
        ..HuntStep::new(StepKind::Trace, sentences.join("; "), took)
    }
}

/// A trace that there is none of.
pub fn not_traced(why: &str, took: Duration) -> HuntStep {
    HuntStep::new(StepKind::Trace, format!("not traced: {why}"), took)
}
