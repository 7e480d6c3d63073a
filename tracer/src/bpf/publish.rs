//! Which unwind tables hold where: the files' and each process's mappings.

use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{HashMap, MapData};
use tracer_common::config::Process;
use tracer_common::unwind::{FileKey, FileTable, Mapping, Range};

use super::error::LoadError;
use super::load::Tracer;
use super::object::map_mut;
use super::tables::{MappingsFull, TablePlace};

impl Tracer {
    fn files(&mut self) -> Result<HashMap<&mut MapData, FileKey, FileTable>, LoadError> {
        map_mut(&mut self.ebpf, "FILES")
    }

    /// Lets stacks be walked through a file that a process maps before its mappings are published again.
    pub fn publish_file(&mut self, key: FileKey, table: FileTable) -> Result<(), LoadError> {
        Ok(self.files()?.insert(key, table, 0)?)
    }

    /// Lets a process's stacks be walked by these mappings, which must be sorted by address and refer to tables that
    /// are stored.
    ///
    /// # Errors
    /// [`MappingsFull`] if there is no room for them: stacks are then walked by what the kernel says is mapped.
    pub fn publish_mappings(
        &mut self,
        tgid: u32,
        mappings: &[Mapping],
    ) -> Result<(), MappingsFull> {
        let Some(slot) = self.row_of(tgid) else {
            return Ok(());
        };
        let placed = self.tables.place(slot, mappings);
        // Those before are out of date.
        self.switch_mappings(slot, None, placed.unwrap_or_default());
        if placed.is_err() {
            self.tables.release(slot);
        }
        placed.map(drop)
    }

    /// Gives the room of a process's mappings back; none of its threads may have a stack walked any more.
    pub fn release_mappings(&mut self, tgid: u32) {
        let rows: Vec<u32> = self
            .process_rows()
            .filter(|(_, process)| process.owner.tgid == tgid)
            .map(|(row, _)| row)
            .collect();
        for row in rows {
            self.tables.release(row);
        }
    }

    /// Takes tables out of the kernel: `files` no longer lead to them, the mappings of the processes that have them
    /// mapped say so, and when no program can be reading them any more their room is free.
    ///
    /// # Errors
    /// [`LoadError`] if that could not be waited for; the room is lost then.
    pub fn evict(&mut self, files: &[FileKey], places: &[TablePlace]) -> Result<(), LoadError> {
        let mut known = self.files()?;
        for key in files {
            // A file of several segments is not there.
            let _ = known.remove(key);
        }
        for (slot, before, mappings) in self.tables.referring(places) {
            let after = self.tables.place(slot, &mappings).unwrap_or_default();
            self.switch_mappings(slot, Some(before), after);
        }
        self.tables.free(places).map_err(|source| LoadError::Map {
            map: "UNWIND_ROWS",
            source,
        })
    }

    /// Lets a process's stacks be walked by the mappings in `after`; only if those in `before` are in force, if they
    /// are given.
    fn switch_mappings(&mut self, slot: u32, before: Option<Range>, after: Range) {
        const {
            assert!(
                std::mem::offset_of!(Process, mappings).is_multiple_of(8),
                "first and count are written as one word, or a walk could use one of them with another one's part"
            )
        };
        let generation = self.draw_image();
        let Some(process) = self.processes.pointer(slot as usize) else {
            return;
        };
        let word = |range: Range| u64::from(range.first) | u64::from(range.count) << 32;
        // SAFETY: a mapped row, in which the field is aligned; besides us the exec program writes it, while the process
        // can have no stack walked.
        let mappings = unsafe { AtomicU64::from_ptr((&raw mut (*process).mappings).cast()) };
        match before {
            None => mappings.store(word(after), Ordering::SeqCst),
            Some(before) => {
                let exchanged = mappings.compare_exchange(
                    word(before),
                    word(after),
                    Ordering::SeqCst,
                    Ordering::SeqCst,
                );
                if exchanged.is_err() {
                    return; // the process has just replaced its program
                }
            }
        }
        // SAFETY: as above; a mapped, aligned u32.
        unsafe { (&raw mut (*process).generation).write_volatile(generation) };
    }
}
