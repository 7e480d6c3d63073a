//! What has changed between an earlier profile of a process and a later one: row by row, and what follows from it.

use super::ledger::trace_command;
use crate::profile::ledger::{Arena, Ledger, LedgerChange, Purpose, Row, RowChange, RowName};
use crate::profile::{Finding, FindingKind, Measure, Profile, Subject};
use crate::words::units::{bytes, change};

/// Growth below this is not worth a sentence.
const NOTABLE: i64 = 1 << 20;

/// Why two profiles cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// One of them is not what `memlens explain` writes.
    #[error("it has no ledger")]
    NoLedger,
    /// It is of another process.
    #[error(
        "it is about {was}, which is not the process that has PID {pid} now: compare profiles of one process"
    )]
    OtherProcess {
        /// The process that it is about.
        was: String,
        /// The PID of the later one.
        pid: u32,
    },
}

/// Adds to a profile of a process what has changed since an earlier one.
///
/// # Errors
/// [`CompareError`].
pub fn add(before: &Profile, after: &mut Profile) -> Result<(), CompareError> {
    let (old, was) = parts(before).ok_or(CompareError::NoLedger)?;
    let (new, is) = parts(after).ok_or(CompareError::NoLedger)?;
    if (was.pid, old.start_ticks) != (is.pid, new.start_ticks) {
        return Err(CompareError::OtherProcess {
            was: format!("{} ({})", was.command, was.pid.unwrap_or(0)),
            pid: is.pid.unwrap_or(0),
        });
    }
    let of_heap = |value: fn(&Arena) -> u64| {
        let of = |ledger: &Ledger| Some(value(&ledger.heap()?.sum()));
        Some(less(of(new)?, of(old)?))
    };
    let of_rows =
        |kinds: fn(Purpose) -> bool| less(new.resident_bytes(kinds), old.resident_bytes(kinds));
    let of_process = |measure| less(is.totals.amount(measure), was.totals.amount(measure));
    let change = LedgerChange {
        over: after
            .meta
            .time
            .duration_since(before.meta.time)
            .try_into()
            .unwrap_or_default(),
        resident_bytes: of_process(Measure::ProcessRssBytes),
        virtual_bytes: of_process(Measure::ProcessVirtualBytes),
        runtime_heap_bytes: of_rows(|kind| kind == Purpose::RuntimeHeap),
        native_bytes: of_rows(Purpose::is_native),
        heap_in_use_bytes: of_heap(|sum| sum.in_use_bytes),
        heap_free_bytes: of_heap(Arena::all_free_bytes),
        rows: rows(&old.rows, &new.rows),
    };
    let finding = |text| Finding {
        subject: Some(0),
        ..Finding::new(FindingKind::Change, text)
    };
    let findings: Vec<Finding> = sentences(&change, new, is)
        .into_iter()
        .map(finding)
        .collect();
    after.findings.extend(findings);
    after.sections.ledger_change = Some(change);
    Ok(())
}

/// The ledger of a profile and the process that it is of.
pub(super) fn parts(profile: &Profile) -> Option<(&Ledger, &Subject)> {
    Some((profile.sections.ledger.as_ref()?, profile.subjects.first()?))
}

fn less(after: u64, before: u64) -> i64 {
    after.cast_signed().wrapping_sub(before.cast_signed())
}

fn rows(before: &[Row], after: &[Row]) -> Vec<RowChange> {
    fn find<'a>(rows: &'a [Row], name: &RowName) -> Option<&'a Row> {
        rows.iter().find(|row| row.row == *name)
    }
    let change = |row: &Row| {
        let (now, was) = (find(after, &row.row), find(before, &row.row));
        let of = |value: fn(&Row) -> u64| less(now.map_or(0, value), was.map_or(0, value));
        RowChange {
            row: row.row.clone(),
            resident_bytes: of(|row| row.resident_bytes),
            virtual_bytes: of(|row| row.virtual_bytes),
        }
    };
    let gone = before.iter().filter(|was| find(after, &was.row).is_none());
    let changes = after.iter().chain(gone).map(change);
    let mut changes: Vec<RowChange> = changes
        .filter(|change| change.resident_bytes != 0 || change.virtual_bytes != 0)
        .collect();
    changes.sort_by_key(|change| (-change.resident_bytes, change.row.kind));
    changes
}

fn sentences(changed: &LedgerChange, after: &Ledger, process: &Subject) -> Vec<String> {
    let mut sentences = Vec::new();
    let grown = changed.resident_bytes;
    if grown >= NOTABLE && !after.runtimes.is_empty() {
        let (heap, native) = (changed.runtime_heap_bytes, changed.native_bytes);
        let parts = format!(
            "RSS grew by {}: the runtime's heap by {}, native memory by {}",
            bytes(grown.unsigned_abs()),
            change(heap),
            change(native)
        );
        let command = trace_command(process);
        sentences.push(if native > heap && native > grown / 2 {
            format!("{parts}: it is the native side that grows; trace it with {command}")
        } else if heap > grown / 2 {
            format!("{parts}: it is the runtime's own heap that grows; look with its own tools")
        } else {
            parts
        });
    }
    if let (Some(used), Some(free)) = (changed.heap_in_use_bytes, changed.heap_free_bytes)
        && (used.abs() >= NOTABLE || free.abs() >= NOTABLE)
    {
        sentences.push(format!(
            "of glibc's heap the program holds {} and {} is free",
            relative(used),
            relative(free)
        ));
    }
    if grown < NOTABLE && changed.virtual_bytes >= NOTABLE {
        sentences.push(format!(
            "address space grew by {}, RSS by {}: what is not touched costs nothing",
            bytes(changed.virtual_bytes.unsigned_abs()),
            change(grown)
        ));
    }
    sentences
}

fn relative(value: i64) -> String {
    let size = bytes(value.unsigned_abs());
    match value.signum() {
        1 => format!("{size} more"),
        -1 => format!("{size} less"),
        _ => "as much as before".to_owned(),
    }
}
