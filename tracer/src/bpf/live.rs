//! Reading the live map in batches, and clearing what a process left in it.

use std::mem::MaybeUninit;

use tracer_common::key::{AllocKey, LiveBlock, Owner};

use super::load::{LoadError, Tracer};
use super::sys::{self, BatchCursor};

/// Elements read by one system call: 160 KiB of buffers.
const BATCH: usize = 4096;

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

    /// Calls `visit` once for each live block. Blocks that come and go meanwhile may be missed.
    pub fn for_each(&self, mut visit: impl FnMut(&AllocKey, &LiveBlock)) -> Result<(), LoadError> {
        let map = self.tracer.live_map()?;
        let mut cursor = BatchCursor::default();
        let mut keys = vec![MaybeUninit::<AllocKey>::uninit(); BATCH];
        let mut values = vec![MaybeUninit::<LiveBlock>::uninit(); BATCH];
        loop {
            // SAFETY: these are LIVE's key and value types, plain integers.
            let step = unsafe { sys::lookup_batch(map, &mut cursor, &mut keys, &mut values) }
                .map_err(failed)?;
            for (key, value) in keys.iter().zip(&values).take(step.count) {
                // SAFETY: the kernel has written the first `count` elements.
                unsafe { visit(key.assume_init_ref(), value.assume_init_ref()) };
            }
            if step.done {
                return Ok(());
            }
        }
    }

    /// Removes the blocks of programs that are gone; returns how many there were.
    pub fn remove_owned_by(&self, gone: impl Fn(Owner) -> bool) -> Result<usize, LoadError> {
        let mut keys = Vec::new();
        self.for_each(|key, _| {
            if gone(key.owner) {
                keys.push(*key);
            }
        })?;
        // SAFETY: LIVE's key type.
        unsafe { sys::delete_batch(self.tracer.live_map()?, &keys) }.map_err(failed)?;
        Ok(keys.len())
    }
}
