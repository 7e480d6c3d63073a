//! The kernel memory for unwind tables: how large it is made, and which tables are evicted when it is full.

use super::file_key;
use super::files::{Files, Key, State};
use crate::bpf::{TablePlace, TableSize, Tracer};
use crate::profile::TableUse;
use crate::unwind::{Size, Table};
use crate::words::units::{bytes, counted};

/// Bytes of a row or a bucket.
const ENTRY_BYTES: u64 = 8;
/// Room for files that are mapped later: 2 and 1 MiB.
const SPARE: Size = Size {
    rows: 1 << 18,
    buckets: 1 << 17,
};
/// Mappings of the processes of a host: 8 MiB. A program has 10 to 50, pieces of one file side by side being one.
const HOST_MAPPINGS: u32 = 1 << 18;
/// When unused tables leave, so much of the room is made free at one go: each time the kernel has to be waited for.
const AT_ONE_GO: u64 = 8;

/// What is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A few processes that are known at the start.
    Processes,
    /// All processes, those that are still to come included.
    Host,
}

/// The room, and what it was too small for.
#[derive(Debug, Default)]
pub struct Capacity {
    /// Most bytes for rows and buckets.
    memory: u64,
    /// What it was made, and what of it is free, in all and in the longest run.
    made: Size,
    left: Size,
    longest: Size,
    /// Tables that left although processes had them mapped, and those that nobody had mapped.
    displaced: u64,
    unused: u64,
}

impl Capacity {
    /// At most `memory` bytes, see [`Self::size`].
    pub fn new(memory: u64) -> Self {
        Self {
            memory,
            ..Self::default()
        }
    }

    /// How large the arrays are to be made where so much is needed at the start: they cannot grow.
    ///
    /// A quarter more for a few processes, twice as much for a host: what is mapped later is mostly mapped already. The
    /// memory is the kernel's from the start and counts as memlens' own, so it is not made as large as the user allows.
    /// Within the user's limit rows and buckets shrink alike.
    pub fn size(&self, need: Size, extent: Extent) -> TableSize {
        let more = |need: u64| match extent {
            Extent::Processes => need / 4,
            Extent::Host => need,
        };
        let rows = need.rows + more(need.rows) + SPARE.rows;
        let buckets = need.buckets + more(need.buckets) + SPARE.buckets;
        let most = self.memory / ENTRY_BYTES;
        let shrink = |entries: u64| {
            let entries =
                u128::from(entries) * u128::from(most) / u128::from((rows + buckets).max(most));
            u32::try_from(entries).unwrap_or(u32::MAX)
        };
        TableSize {
            rows: shrink(rows),
            buckets: shrink(buckets),
            mappings: match extent {
                Extent::Processes => 0,
                Extent::Host => HOST_MAPPINGS,
            },
        }
    }

    /// Whether a table of this size would find room, others leaving if need be.
    pub fn has(&self, files: &Files, key: &Key, size: Size) -> bool {
        let fits = size.rows <= self.longest.rows && size.buckets <= self.longest.buckets;
        fits || !files
            .leaving(key, self.missing(size), Size::default())
            .is_empty()
    }

    /// Stores a table, in the place of others if need be; `None` if there is no room.
    pub fn store(
        &mut self,
        tracer: &mut Tracer,
        files: &mut Files,
        key: &Key,
        table: &Table,
    ) -> Option<TablePlace> {
        loop {
            let stored = tracer.tables().store(&table.rows, &table.buckets);
            self.look(tracer);
            if let Ok(place) = stored {
                return Some(place);
            }
            let spare = Size {
                rows: self.made.rows / AT_ONE_GO,
                buckets: self.made.buckets / AT_ONE_GO,
            };
            let missing = self.missing(Size::of(table));
            let leaving = files.leaving(key, missing, spare);
            if leaving.is_empty() || !self.evict(tracer, files, &leaving) {
                return None;
            }
        }
    }

    /// Takes tables out; false if their room could not be made free.
    fn evict(&mut self, tracer: &mut Tracer, files: &mut Files, leaving: &[Key]) -> bool {
        let (mut keys, mut places) = (Vec::new(), Vec::new());
        for key in leaving {
            let Some(State::Stored(stored)) = files.state(key) else {
                continue;
            };
            keys.extend(file_key(*key));
            places.push(stored.place);
            let size = stored.size();
            match files.users(key).next() {
                Some(_) => self.displaced += 1,
                None => self.unused += 1,
            }
            files.set(*key, State::LeftOut(size));
        }
        let evicted = tracer.evict(&keys, &places).is_ok();
        self.look(tracer);
        evicted
    }

    /// How much more must be free for a table of this size. At least one row: the free room may be in pieces.
    fn missing(&self, size: Size) -> Size {
        Size {
            rows: size.rows.saturating_sub(self.left.rows).max(1),
            buckets: size.buckets.saturating_sub(self.left.buckets),
        }
    }

    fn look(&mut self, tracer: &mut Tracer) {
        let room = tracer.tables().room();
        (self.made, self.left, self.longest) = (room.made, room.left, room.longest);
    }

    /// What the tables take.
    pub fn table_use(&self, files: &Files) -> TableUse {
        let states = files.states();
        TableUse {
            files: states
                .filter(|(_, state)| matches!(state, State::Stored(_)))
                .count() as u64,
            bytes: self.made.bytes() - self.left.bytes(),
            capacity_bytes: self.made.bytes(),
            left_out: files.left_out().count() as u64,
            evicted: self.displaced + self.unused,
        }
    }

    /// Says that tables had to leave, and how many files are without theirs now.
    pub fn note(&self, left_out: u64) -> Option<String> {
        let full = format!("the unwind tables are full ({})", bytes(self.made.bytes()));
        if left_out > 0 {
            let files = counted(left_out, "file");
            return Some(format!(
                "{full}: stacks through {files} are cut; give them more room with --unwind-memory"
            ));
        }
        let unused = counted(self.unused, "file");
        (self.unused > 0).then(|| {
            format!("{full}: tables of {unused} that no process had mapped any more have left")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(rows: u64, buckets: u64) -> Size {
        Size { rows, buckets }
    }

    #[test]
    fn room_is_made_for_what_is_there_and_some_more() {
        let room = Capacity::new(256 << 20);
        let few = room.size(size(1 << 20, 1 << 16), Extent::Processes);
        assert_eq!(few.rows, (1 << 20) + (1 << 18) + (1 << 18));
        assert_eq!(few.buckets, (1 << 16) + (1 << 14) + (1 << 17));
        let host = room.size(size(1 << 20, 1 << 16), Extent::Host);
        assert_eq!(host.rows, (2 << 20) + (1 << 18));
        assert!(host.mappings > few.mappings);
    }

    #[test]
    fn the_limit_holds_and_both_arrays_shrink_alike() {
        let room = Capacity::new(64 << 20);
        let made = room.size(size(90 << 20, 30 << 20), Extent::Host);
        let (rows, buckets) = (u64::from(made.rows), u64::from(made.buckets));
        assert!((rows + buckets) * ENTRY_BYTES <= 64 << 20);
        assert!((rows + buckets + 2) * ENTRY_BYTES > 64 << 20);
        assert!(rows > 2 * buckets && rows < 4 * buckets, "{made:?}");
    }
}
