//! Reading the live map in batches, and clearing what a process left in it.

use tracer_common::key::{AllocKey, LiveBlock, Owner};

use super::batch::HashTable;
use super::error::LoadError;
use super::load::Tracer;

fn failed(source: std::io::Error) -> LoadError {
    LoadError::Map {
        map: "LIVE",
        source,
    }
}

/// A walk through the live map.
pub struct LiveScan<'a> {
    tracer: &'a Tracer,
}

impl<'a> LiveScan<'a> {
    /// A walk through this trace's live map.
    pub fn new(tracer: &'a Tracer) -> Self {
        Self { tracer }
    }

    fn table(&self) -> Result<HashTable<'a, AllocKey, LiveBlock>, LoadError> {
        HashTable::new(self.tracer.map("LIVE")?).map_err(failed)
    }

    /// Calls `visit` once for each live block. Blocks that come and go meanwhile may be missed.
    ///
    /// # Errors
    /// [`LoadError::Map`] if the map cannot be read.
    pub fn for_each(&self, visit: impl FnMut(&AllocKey, &LiveBlock)) -> Result<(), LoadError> {
        self.table()?.for_each(visit).map_err(failed)
    }

    /// Removes the blocks of programs that are gone; returns how many there were.
    ///
    /// # Errors
    /// [`LoadError::Map`] if the map cannot be read or written.
    pub fn remove_owned_by(&self, gone: impl Fn(Owner) -> bool) -> Result<usize, LoadError> {
        let mut keys = Vec::new();
        self.for_each(|key, _| {
            if gone(key.owner) {
                keys.push(*key);
            }
        })?;
        self.table()?.remove(&keys).map_err(failed)?;
        Ok(keys.len())
    }
}
