//! The unwind tables and mappings in the kernel: stored before they are referred to, and written over only when no
//! program can be reading them any more.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{Ordering, fence};

use aya::Ebpf;
use tracer_common::unwind::{MAX_MAPPINGS, Mapping, Range, Rule, bucket_rebased};

use super::error::LoadError;
use super::grace::GracePeriod;
use super::object::view;
use super::view::ArrayView;
use crate::unwind::{Regions, Size};

/// Room for unwind tables, in 8-byte entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TableSize {
    /// Rows.
    pub rows: u32,
    /// Buckets.
    pub buckets: u32,
    /// Executable mappings of all processes together, old and new ones side by side; at least
    /// [`MAX_MAPPINGS`](tracer_common::limits::MAX_MAPPINGS) are made room for. An entry takes 32 bytes.
    pub mappings: u32,
}

/// There is no room for a file's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the unwind tables are full; give them more room with --unwind-memory")]
pub struct TableFull;

/// There is no room for a process's mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the table of mapped code is full")]
pub struct MappingsFull;

/// Where a file's table is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TablePlace {
    /// Its rows.
    pub rows: Range,
    /// Its buckets.
    pub buckets: Range,
}

/// The kernel's unwind tables, written through shared memory.
pub struct UnwindTables {
    rows: ArrayView<u64>,
    buckets: ArrayView<u64>,
    mappings: ArrayView<Mapping>,
    free_rows: Regions,
    free_buckets: Regions,
    free_mappings: Regions,
    size: TableSize,
    /// Where each process's mappings are, by its row.
    places: HashMap<u32, Range>,
    /// Mappings that were replaced; a walk may still be reading them.
    left: Vec<Range>,
    /// Made when it is first needed.
    grace: Option<GracePeriod>,
}

impl UnwindTables {
    pub(super) fn new(ebpf: &Ebpf, size: TableSize) -> Result<Self, LoadError> {
        Ok(Self {
            rows: view(ebpf, "UNWIND_ROWS", size.rows as usize)?,
            buckets: view(ebpf, "UNWIND_BUCKETS", size.buckets as usize)?,
            mappings: view(ebpf, "MAPPINGS", size.mappings as usize)?,
            free_rows: Regions::new(size.rows),
            free_buckets: Regions::new(size.buckets),
            free_mappings: Regions::new(size.mappings),
            size,
            places: HashMap::new(),
            left: Vec::new(),
            grace: None,
        })
    }

    /// Stores a file's table, whose buckets count its rows from 0. Nothing refers to it yet.
    pub fn store(&mut self, rows: &[u64], buckets: &[u64]) -> Result<TablePlace, TableFull> {
        let row_range = take(&mut self.free_rows, rows.len()).ok_or(TableFull)?;
        let Some(bucket_range) = take(&mut self.free_buckets, buckets.len()) else {
            self.free_rows.give(row_range.first, row_range.count);
            return Err(TableFull);
        };
        for (at, row) in (row_range.first as usize..).zip(rows) {
            self.rows.write(at, *row);
        }
        for (at, bucket) in (bucket_range.first as usize..).zip(buckets) {
            self.buckets
                .write(at, bucket_rebased(*bucket, row_range.first));
        }
        fence(Ordering::SeqCst);
        Ok(TablePlace {
            rows: row_range,
            buckets: bucket_range,
        })
    }

    /// Writes a process's mappings where no program reads, and returns where that is. Those before stay as they are
    /// until every walk that may have begun with them has ended.
    pub(super) fn place(&mut self, slot: u32, mappings: &[Mapping]) -> Result<Range, MappingsFull> {
        let mappings = &mappings[..mappings.len().min(MAX_MAPPINGS as usize)];
        let mut range = take(&mut self.free_mappings, mappings.len());
        if range.is_none() && !self.left.is_empty() && self.free(&[]).is_ok() {
            range = take(&mut self.free_mappings, mappings.len());
        }
        let range = range.ok_or(MappingsFull)?;
        for (at, mapping) in (range.first as usize..).zip(mappings) {
            self.mappings.write(at, *mapping);
        }
        fence(Ordering::SeqCst);
        // The caller has yet to switch to the new ones; the next call may wait for walks through the old ones.
        self.left.extend(self.places.insert(slot, range));
        Ok(range)
    }

    /// Gives the room of a process's mappings back.
    pub(super) fn release(&mut self, slot: u32) {
        self.left.extend(self.places.remove(&slot));
    }

    /// Processes whose mappings refer to one of these tables: row, where the mappings are, and the mappings as they are
    /// without the tables.
    pub(super) fn referring(&self, tables: &[TablePlace]) -> Vec<(u32, Range, Vec<Mapping>)> {
        let refers = |mapping: &Mapping| {
            let at = |table: &TablePlace| mapping.first_bucket == table.buckets.first;
            mapping.buckets > 0 && tables.iter().any(at)
        };
        let without = |mapping: Mapping| match refers(&mapping) {
            true => Mapping::uniform(mapping.start, mapping.end, Rule::NO_TABLE),
            false => mapping,
        };
        self.places
            .iter()
            .filter_map(|(slot, range)| {
                let indices = range.first as usize..(range.first + range.count) as usize;
                let mappings: Vec<Mapping> =
                    indices.filter_map(|at| self.mappings.read(at)).collect();
                mappings
                    .iter()
                    .any(refers)
                    .then(|| (*slot, *range, mappings.into_iter().map(without).collect()))
            })
            .collect()
    }

    /// Frees the room of tables that nothing refers to any more, and that of mappings that were replaced, when every
    /// program that may have found them before has ended.
    pub(super) fn free(&mut self, tables: &[TablePlace]) -> io::Result<()> {
        match &self.grace {
            Some(grace) => grace.wait()?,
            None => self.grace.insert(GracePeriod::new()?).wait()?,
        }
        for table in tables {
            self.free_rows.give(table.rows.first, table.rows.count);
            self.free_buckets
                .give(table.buckets.first, table.buckets.count);
        }
        for range in self.left.drain(..) {
            self.free_mappings.give(range.first, range.count);
        }
        Ok(())
    }

    /// What is left of the room for rows and buckets.
    pub fn room(&self) -> TableRoom {
        let size = |rows: u32, buckets: u32| Size {
            rows: rows.into(),
            buckets: buckets.into(),
        };
        TableRoom {
            made: size(self.size.rows, self.size.buckets),
            left: size(self.free_rows.left(), self.free_buckets.left()),
            longest: size(self.free_rows.longest(), self.free_buckets.longest()),
        }
    }

    /// Entries in use, and how many there are.
    pub fn usage(&self) -> (TableSize, TableSize) {
        let used = TableSize {
            rows: self.free_rows.used(),
            buckets: self.free_buckets.used(),
            mappings: self.free_mappings.used(),
        };
        (used, self.size)
    }
}

/// What is left of the room for tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableRoom {
    /// All of it.
    pub made: Size,
    /// What is free.
    pub left: Size,
    /// The longest free runs.
    pub longest: Size,
}

fn take(regions: &mut Regions, count: usize) -> Option<Range> {
    let count = u32::try_from(count).ok()?;
    let first = regions.take(count)?;
    Some(Range { first, count })
}
