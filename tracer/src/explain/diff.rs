//! What changed between an earlier explanation of a process and this one.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::value::{Explanation, Row};
use super::{json, words};
use crate::report::units::{bytes, change};

/// Growth below this is not worth a sentence.
const NOTABLE: i64 = 1 << 20;

/// Why there is nothing to compare with.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no explanation.
    #[error("{} is not what `memlens explain --json` writes: {why}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It is of another process.
    #[error(
        "{} is about {was}, which is not the process that has PID {pid} now: compare explanations of one process",
        path.display()
    )]
    OtherProcess {
        /// The file.
        path: PathBuf,
        /// The process that it is about.
        was: String,
        /// The PID asked for.
        pid: u32,
    },
}

/// What changed. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Time between the two, in seconds.
    pub seconds: f64,
    /// Resident memory of the process.
    pub resident: i64,
    /// Address space.
    pub virtual_size: i64,
    /// Resident memory of the runtimes' heaps.
    pub runtime_heap: i64,
    /// Resident memory that is neither a runtime's heap nor files nor stacks.
    pub native: i64,
    /// What the program holds of glibc's heap, in both cases where it was read.
    pub heap_in_use: Option<i64>,
    /// What glibc's heap has free.
    pub heap_free: Option<i64>,
    /// The rows that changed, the ones that grew most first.
    pub rows: Vec<RowChange>,
    /// What follows from it.
    pub findings: Vec<String>,
}

/// A row that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowChange {
    /// What it is for.
    pub kind: Kind,
    /// Whose.
    pub name: Option<String>,
    /// Change of its resident memory.
    pub resident: i64,
    /// Change of its address space.
    pub virtual_size: i64,
}

/// Reads an earlier explanation that must be of the process `pid`, which began at `start_ticks`.
///
/// # Errors
/// [`DiffError`].
pub fn read(path: &Path) -> Result<Explanation, DiffError> {
    let text = std::fs::read(path).map_err(|source| DiffError::Io {
        path: path.into(),
        source,
    })?;
    json::parse(&text).map_err(|why| DiffError::Form {
        path: path.into(),
        why,
    })
}

/// Compares two explanations of one process; `path` is where the earlier one is from.
///
/// # Errors
/// [`DiffError::OtherProcess`].
pub fn compare(
    path: &Path,
    before: &Explanation,
    after: &Explanation,
) -> Result<Change, DiffError> {
    let (was, is) = (&before.process, &after.process);
    if (was.pid, was.start_ticks) != (is.pid, is.start_ticks) {
        return Err(DiffError::OtherProcess {
            path: path.into(),
            was: format!("{} ({})", was.comm, was.pid),
            pid: is.pid,
        });
    }
    Ok(between(before, after))
}

/// What changed between two explanations of one process.
pub fn between(before: &Explanation, after: &Explanation) -> Change {
    let heap =
        |explanation: &Explanation| sum_heap(explanation, |row| row.kind == Kind::RuntimeHeap);
    let of_heap = |value: fn(&super::value::HeapArena) -> u64| {
        let of = |explanation: &Explanation| {
            let heap = explanation
                .allocators
                .iter()
                .find_map(|allocator| allocator.heap.as_ref());
            heap.map(|heap| value(&heap.sum()))
        };
        Some(less(of(after)?, of(before)?))
    };
    let mut changes = Change {
        seconds: after.time - before.time,
        resident: less(after.totals.resident, before.totals.resident),
        virtual_size: less(after.totals.virtual_size, before.totals.virtual_size),
        runtime_heap: less(heap(after), heap(before)),
        native: less(words::native(after), words::native(before)),
        heap_in_use: of_heap(|sum| sum.in_use),
        heap_free: of_heap(super::value::HeapArena::all_free),
        rows: rows(&before.ledger, &after.ledger),
        findings: Vec::new(),
    };
    changes.findings = findings(&changes, after);
    changes
}

fn less(after: u64, before: u64) -> i64 {
    after.cast_signed().wrapping_sub(before.cast_signed())
}

fn sum_heap(explanation: &Explanation, of: impl Fn(&Row) -> bool) -> u64 {
    let rows = explanation.ledger.iter().filter(|row| of(row));
    rows.map(|row| row.resident).sum()
}

fn rows(before: &[Row], after: &[Row]) -> Vec<RowChange> {
    let same = |one: &Row, other: &Row| one.kind == other.kind && one.name == other.name;
    let mut changes: Vec<RowChange> = after
        .iter()
        .map(|row| {
            let was = before.iter().find(|was| same(was, row));
            RowChange {
                kind: row.kind,
                name: row.name.clone(),
                resident: less(row.resident, was.map_or(0, |was| was.resident)),
                virtual_size: less(row.virtual_size, was.map_or(0, |was| was.virtual_size)),
            }
        })
        .collect();
    let gone = before
        .iter()
        .filter(|was| !after.iter().any(|row| same(was, row)));
    changes.extend(gone.map(|was| RowChange {
        kind: was.kind,
        name: was.name.clone(),
        resident: less(0, was.resident),
        virtual_size: less(0, was.virtual_size),
    }));
    changes.retain(|change| change.resident != 0 || change.virtual_size != 0);
    changes.sort_by_key(|change| (-change.resident, change.kind));
    changes
}

fn findings(changes: &Change, after: &Explanation) -> Vec<String> {
    let mut sentences = Vec::new();
    let pid = after.process.pid;
    let grown = changes.resident;
    if grown >= NOTABLE && !after.runtimes.is_empty() {
        let parts = format!(
            "RSS grew by {}: the runtime's heap by {}, native memory by {}",
            bytes(grown.unsigned_abs()),
            change(changes.runtime_heap),
            change(changes.native)
        );
        sentences.push(if changes.native > changes.runtime_heap && changes.native > grown / 2 {
            format!("{parts}: it is the native side that grows; trace it with `memlens leaks -p {pid}`")
        } else if changes.runtime_heap > grown / 2 {
            format!("{parts}: it is the runtime's own heap that grows; look with its own tools")
        } else {
            parts
        });
    }
    if let (Some(used), Some(free)) = (changes.heap_in_use, changes.heap_free)
        && (used.abs() >= NOTABLE || free.abs() >= NOTABLE)
    {
        sentences.push(format!(
            "of glibc's heap the program holds {} and {} is free",
            relative(used),
            relative(free)
        ));
    }
    if grown < NOTABLE && changes.virtual_size >= NOTABLE {
        sentences.push(format!(
            "address space grew by {}, RSS by {}: what is not touched costs nothing",
            change(changes.virtual_size).trim_start_matches('+'),
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
