//! Which part of a process its growth is in, by its two ledgers and by the trace between them.

use crate::profile::ledger::{LedgerChange, Purpose, RowShare, RssGrowth};
use crate::profile::{Measure, Profile, Source};

use super::stacks;

/// Growth between the two ledgers below this tells nothing.
const LEAST: i64 = 16 << 10;

/// The part that more than half of the growth is in.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cause<'a> {
    /// The heap of a language runtime.
    RuntimeHeap,
    /// Shared memory.
    Shared,
    /// Pages of files.
    Files,
    /// Free memory that the allocator keeps.
    Fragmentation,
    /// Blocks of the heap that the program holds.
    Heap,
    /// What was mapped meanwhile, and not by an allocator.
    Mapped,
    /// What was mapped before, and is touched now.
    Older(&'a RowShare),
    /// It is not known.
    Unknown,
}

impl<'a> Cause<'a> {
    /// The cause of what a process has grown by between its two ledgers.
    pub(super) fn of(profile: &'a Profile) -> Self {
        let sections = &profile.sections;
        let Some(change) = &sections.ledger_change else {
            return heap_alone(profile);
        };
        if change.resident_bytes < LEAST {
            return heap_alone(profile);
        }
        let half = change.resident_bytes / 2;
        let rows = |is_wanted: fn(Purpose) -> bool| of_rows(change, is_wanted) > half;
        let parts = sections.growth.as_ref();
        let heap = parts.map_or_else(
            || of_rows(change, Purpose::is_heap),
            |parts| parts.heap_bytes,
        );
        if change.runtime_heap_bytes > half {
            Self::RuntimeHeap
        } else if rows(|kind| kind == Purpose::Shared) {
            Self::Shared
        } else if rows(is_of_files) {
            Self::Files
        } else if heap > half {
            match is_kept_free(profile, change, heap) {
                true => Self::Fragmentation,
                false => Self::Heap,
            }
        } else {
            parts.map_or_else(|| heap_alone(profile), |parts| mapped(profile, parts, half))
        }
    }
}

const fn is_of_files(kind: Purpose) -> bool {
    matches!(
        kind,
        Purpose::Files | Purpose::ProgramCode | Purpose::LibraryCode
    )
}

/// Change of the resident memory of the rows of some kinds.
fn of_rows(change: &LedgerChange, is_wanted: impl Fn(Purpose) -> bool) -> i64 {
    let rows = change.rows.iter().filter(|row| is_wanted(row.row.kind));
    rows.map(|row| row.resident_bytes).sum()
}

/// Whether the growth of a heap is memory that the program has freed: by glibc's own heap where it was read twice, else
/// by the blocks that were allocated meanwhile and are live.
fn is_kept_free(profile: &Profile, change: &LedgerChange, heap: i64) -> bool {
    let is_followed = profile.has(Source::Heap) && stacks::probes_off(profile).is_none();
    let live = is_followed.then(|| live(profile));
    if live.is_some_and(|live| live >= heap / 2) {
        return false;
    }
    match (change.heap_in_use_bytes, change.heap_free_bytes) {
        (Some(used), Some(free)) => free > heap / 2 && free > used,
        _ => live.is_some_and(|live| live < heap / 4),
    }
}

fn live(profile: &Profile) -> i64 {
    profile
        .totals()
        .whole(Measure::HeapLiveBytes)
        .unwrap_or_default()
}

fn mapped<'a>(profile: &'a Profile, parts: &'a RssGrowth, half: i64) -> Cause<'a> {
    let largest = parts.older_rows.iter().max_by_key(|row| row.resident_bytes);
    if parts.mapped_bytes.unwrap_or(0) > half {
        Cause::Mapped
    } else if let Some(row) = largest.filter(|row| row.resident_bytes > half) {
        Cause::Older(row)
    } else {
        heap_alone(profile)
    }
}

/// Where the ledgers do not tell: the heap, if a stack of it grows.
fn heap_alone(profile: &Profile) -> Cause<'_> {
    match stacks::growing(profile).first() {
        Some(first) if super::choose::matters(&first.growth) => Cause::Heap,
        _ => Cause::Unknown,
    }
}
