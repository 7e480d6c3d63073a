//! Heap memory that belongs to no known block: blocks that are older than the trace, and what is known to be free.

use std::ops::Range;
use std::path::Path;

use crate::process::info::{self, Machine};
use crate::process::maps;
use crate::sources::ledger::glibc::{self, used::UsedChunks};
use crate::sources::ledger::memory::{Process as _, ProcessMemory};
use crate::sources::ledger::native::data_of;

/// What is known of the memory of an allocator outside of the blocks of a trace.
pub enum OlderBlocks {
    /// Every block is one of the trace, or young: the rest is free, or the allocator's own.
    None,
    /// glibc's heap, chunk by chunk. What lies elsewhere may hold something.
    Glibc(GlibcBlocks),
    /// Nothing is known: all of it may hold something.
    Unknown,
}

/// glibc's heap.
pub struct GlibcBlocks {
    /// Where its arenas lie, ascending.
    arenas: Vec<Range<u64>>,
    used: UsedChunks,
}

impl OlderBlocks {
    /// Looks for glibc's heap in a process.
    pub fn of(pid: u32) -> Self {
        glibc_blocks(pid).map_or(Self::Unknown, |heap| {
            Self::Glibc(GlibcBlocks {
                used: heap.used.merged(),
                ..heap
            })
        })
    }

    /// Whether a place in heap memory outside of the known blocks may hold something.
    pub fn may_hold(&self, place: u64) -> bool {
        match self {
            Self::None => false,
            Self::Unknown => true,
            Self::Glibc(heap) => !heap.is_arena(place) || heap.used.holds(place),
        }
    }
}

impl OlderBlocks {
    /// Whether a place is in an arena of a heap that is known.
    pub fn is_arena(&self, place: u64) -> bool {
        matches!(self, Self::Glibc(heap) if heap.is_arena(place))
    }
}

impl GlibcBlocks {
    /// Whether a place is in an arena.
    fn is_arena(&self, place: u64) -> bool {
        let behind = self.arenas.partition_point(|arena| arena.start <= place);
        self.arenas[..behind]
            .last()
            .is_some_and(|arena| arena.contains(&place))
    }

    /// Whether an address lies in a block that the program holds.
    pub fn holds(&self, address: u64) -> bool {
        self.used.holds(address)
    }

    /// Address and bytes of each block that the program holds, ascending.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, u64)> {
        self.used.blocks()
    }
}

/// The memory of a process, and where the data of its C library lies.
fn libc_data(pid: u32) -> Option<(ProcessMemory, Vec<(u64, u64)>)> {
    if info::machine(pid) != Some(Machine::Own) {
        return None;
    }
    let mut memory = ProcessMemory::open(pid).ok()?;
    let mappings = memory.mappings().ok()?;
    let files = maps::executable_files(&mappings);
    // A program may have the C library linked in.
    let library = files.iter().find(|file| is_libc(&file.path));
    let library = library.or(files.first())?;
    let data = data_of(&library.path, &mappings);
    Some((memory, data))
}

/// Where glibc's arenas have their own records, ascending. A list of free chunks points to headers, which lie in the
/// last bytes of the blocks before them: it holds no block.
pub fn allocator_records(pid: u32) -> Vec<Range<u64>> {
    let records = || {
        let (mut memory, data) = libc_data(pid)?;
        glibc::arena_records(&mut memory, &data).ok()
    };
    let mut records: Vec<Range<u64>> = records().unwrap_or_default();
    records.sort_unstable_by_key(|record| record.start);
    records
}

/// glibc's heap as it is now; `None` where there is none that can be walked.
pub fn glibc_blocks(pid: u32) -> Option<GlibcBlocks> {
    let (mut memory, data) = libc_data(pid)?;
    let (used, tally) = glibc::chunks(&mut memory, &data).ok()?;
    let whole = tally.arenas.iter().all(|arena| arena.trouble.is_none());
    let pieces = tally.arenas.iter().flat_map(|arena| &arena.pieces);
    let mut arenas: Vec<Range<u64>> = pieces.map(|(start, end)| *start..*end).collect();
    arenas.sort_unstable_by_key(|arena| arena.start);
    // What was not walked to its end is not known to be free.
    (whole && !arenas.is_empty()).then_some(GlibcBlocks { arenas, used })
}

fn is_libc(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name == "libc.so.6" || name.starts_with("libc-2."))
}
