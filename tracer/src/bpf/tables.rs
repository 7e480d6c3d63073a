//! The unwind tables and mappings in the kernel: stored before they are referred to, never moved.

use std::collections::HashMap;
use std::sync::atomic::{Ordering, fence};

use aya::Ebpf;
use tracer_common::limits;
use tracer_common::unwind::{MAX_MAPPINGS, Mapping, Range, bucket_rebased};

use super::load::{LoadError, TableSize, view};
use super::view::ArrayView;

/// A table has no room left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the unwind tables are full; give them more room with --unwind-memory")]
pub struct TableFull;

/// The two places of a process's mappings: one in use, one to write into.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    places: [Range; 2],
    used: usize,
}

/// The kernel's unwind tables, written through shared memory.
pub struct UnwindTables {
    rows: ArrayView<u64>,
    buckets: ArrayView<u64>,
    mappings: ArrayView<Mapping>,
    size: TableSize,
    used: TableSize,
    mappings_used: u32,
    places: HashMap<u32, Places>,
    /// Places of processes that have ended.
    spare: Vec<Range>,
}

impl UnwindTables {
    pub(super) fn new(ebpf: &Ebpf, size: TableSize) -> Result<Self, LoadError> {
        Ok(Self {
            rows: view(ebpf, "UNWIND_ROWS", size.rows as usize)?,
            buckets: view(ebpf, "UNWIND_BUCKETS", size.buckets as usize)?,
            mappings: view(ebpf, "MAPPINGS", limits::MAX_MAPPINGS as usize)?,
            size,
            used: TableSize::default(),
            mappings_used: 0,
            places: HashMap::new(),
            spare: Vec::new(),
        })
    }

    /// Stores a file's table, whose buckets count its rows from 0. Returns the number of its first bucket.
    pub fn store(&mut self, rows: &[u64], buckets: &[u64]) -> Result<u32, TableFull> {
        let TableSize {
            rows: first_row,
            buckets: first_bucket,
        } = self.used;
        let end = |first: u32, count: usize| {
            u32::try_from(count)
                .ok()
                .and_then(|count| first.checked_add(count))
        };
        let rows_end = end(first_row, rows.len())
            .filter(|end| *end <= self.size.rows)
            .ok_or(TableFull)?;
        let buckets_end = end(first_bucket, buckets.len())
            .filter(|end| *end <= self.size.buckets)
            .ok_or(TableFull)?;
        for (at, row) in (first_row as usize..).zip(rows) {
            self.rows.write(at, *row);
        }
        for (at, bucket) in (first_bucket as usize..).zip(buckets) {
            self.buckets.write(at, bucket_rebased(*bucket, first_row));
        }
        self.used = TableSize {
            rows: rows_end,
            buckets: buckets_end,
        };
        Ok(first_bucket)
    }

    /// Writes a process's mappings where no program reads, and returns where that is. The place before stays as it
    /// is until the time after next, so that a walk that has begun ends with the mappings that it began with.
    pub(super) fn place(&mut self, slot: u32, mappings: &[Mapping]) -> Result<Range, TableFull> {
        let mappings = &mappings[..mappings.len().min(MAX_MAPPINGS as usize)];
        let count = mappings.len() as u32;
        let mut places = self.places.get(&slot).copied().unwrap_or_default();
        let next = places.used ^ 1;
        if places.places[next].count < count {
            // Room to grow, since a process that loads one library often loads more.
            let room = count + count / 2 + 16;
            places.places[next] = self.room_for(count, room).ok_or(TableFull)?;
        }
        let first = places.places[next].first;
        for (at, mapping) in (first as usize..).zip(mappings) {
            self.mappings.write(at, *mapping);
        }
        fence(Ordering::SeqCst);
        places.used = next;
        self.places.insert(slot, places);
        Ok(Range { first, count })
    }

    /// A place for so many mappings: one that was left, or else one with room to grow.
    fn room_for(&mut self, count: u32, room: u32) -> Option<Range> {
        if let Some(left) = self.spare.iter().position(|range| range.count >= count) {
            return Some(self.spare.swap_remove(left));
        }
        let first = self.mappings_used;
        self.mappings_used = first
            .checked_add(room)
            .filter(|end| *end <= limits::MAX_MAPPINGS)?;
        Some(Range { first, count: room })
    }

    /// Takes back the places of a process that has ended.
    pub(super) fn release(&mut self, slot: u32) {
        if let Some(places) = self.places.remove(&slot) {
            let used = places.places.into_iter().filter(|range| range.count > 0);
            self.spare.extend(used);
        }
    }

    /// Room and use, in entries.
    pub fn usage(&self) -> (TableSize, TableSize) {
        (self.used, self.size)
    }
}
