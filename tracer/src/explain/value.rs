//! The explanation as a plain value: what every dress shows, and what `--diff` compares.
//!
//! All sizes are in bytes.

use serde::{Deserialize, Serialize};

use super::kind::Kind;

/// Where the memory of one process is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// When, in seconds since 1970.
    pub time: f64,
    /// Which process.
    pub process: ProcessFacts,
    /// What the kernel says of it as a whole.
    pub totals: Totals,
    /// The regions, which add up to `totals.resident`; rows are in the order of their kinds.
    pub ledger: Vec<Row>,
    /// Which part of the address space each row has, in order of address; not written down.
    #[serde(skip)]
    pub places: Vec<Place>,
    /// Resident bytes of the process less those of the rows: it worked while it was read.
    pub unaccounted: i64,
    /// Thread stacks, where they could be told.
    pub stacks: Option<Stacks>,
    /// What a sample of its transparent huge pages holds; `None` where it has none, or none could be read.
    #[serde(default)]
    pub huge_pages: Option<HugePages>,
    /// Its allocators.
    pub allocators: Vec<Allocator>,
    /// Its language runtimes.
    pub runtimes: Vec<Runtime>,
    /// What follows from the figures, in sentences.
    pub findings: Vec<String>,
    /// What could not be seen, and why.
    pub notes: Vec<String>,
}

/// Which process it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// PID.
    pub pid: u32,
    /// Name.
    pub comm: String,
    /// The executable's path; `None` where it may not be read.
    pub exe: Option<String>,
    /// Start of the process in clock ticks since boot; with the PID it tells a process from all others.
    pub start_ticks: u64,
    /// Number of threads.
    pub threads: u64,
}

/// What the kernel says of the process as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// In memory (RSS).
    pub resident: u64,
    /// Address space.
    pub virtual_size: u64,
    /// In memory, shared pages divided among their users (PSS).
    pub proportional: Option<u64>,
    /// In memory without a file behind it.
    pub anonymous: u64,
    /// In memory with a file behind it.
    pub file: u64,
    /// In memory and shared.
    pub shared: u64,
    /// Swapped out.
    pub swapped: u64,
    /// In transparent huge pages.
    pub huge: Option<u64>,
    /// In pages of hugetlbfs, which RSS does not count.
    pub hugetlb: u64,
    /// Page tables, which RSS does not count.
    pub page_tables: u64,
}

/// Regions of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What they are for.
    pub kind: Kind,
    /// Whose, or what name they have.
    pub name: Option<String>,
    /// Number of mappings, or of the pieces of mappings.
    pub mappings: u64,
    /// Address space.
    pub virtual_size: u64,
    /// In memory.
    pub resident: u64,
    /// In memory, shared pages divided among their users.
    pub proportional: u64,
    /// In memory without a file behind it.
    pub anonymous: u64,
    /// Swapped out.
    pub swapped: u64,
    /// In transparent huge pages.
    pub huge: u64,
}

impl Row {
    /// What the row is called.
    pub fn words(&self) -> String {
        row_words(self.kind, self.name.as_deref())
    }
}

/// What a row of this kind and name is called.
pub fn row_words(kind: Kind, name: Option<&str>) -> String {
    match (name, kind) {
        (Some(name), Kind::RuntimeHeap | Kind::Allocator) => name.to_owned(),
        (Some(name), kind) => format!("{}: {name}", kind.words()),
        (None, kind) => kind.words().to_owned(),
    }
}

/// A part of the address space and the row that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// What it is for.
    pub kind: Kind,
    /// Whose, or what name it has.
    pub name: Option<String>,
}

impl Place {
    /// What its row is called.
    pub fn words(&self) -> String {
        row_words(self.kind, self.name.as_deref())
    }
}

/// Stacks of all threads but the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stacks {
    /// Number found.
    pub count: u64,
    /// Address space.
    pub virtual_size: u64,
    /// In memory.
    pub resident: u64,
}

/// A sample of transparent huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugePages {
    /// How many were read.
    pub read: u64,
    /// Bytes in them that lie in small pages full of zeros: they came with the rest, and were most likely never touched.
    pub zero: u64,
    /// So many bytes of all huge pages, by that sample.
    pub zero_estimate: u64,
}

/// An allocator and what could be read of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocator {
    /// Its name, and its version where it tells.
    pub name: String,
    /// The file that it is in, as the process sees it.
    pub file: String,
    /// Its heap, where it could be read.
    pub heap: Option<Heap>,
    /// What else it publishes, by name.
    #[serde(default)]
    pub figures: Vec<Figure>,
    /// Why its heap could not be read.
    pub unreadable: Option<String>,
}

/// glibc's heap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heap {
    /// The arenas, the main one first.
    pub arenas: Vec<HeapArena>,
    /// Blocks with mappings of their own, as glibc counts them; `None` where its counters were not found.
    pub mapped: Option<MappedBlocks>,
    /// Thread caches with something in them.
    pub thread_caches: u64,
    /// Lists of free chunks were not followed to their ends: more is free, and less in use.
    pub lists_cut: bool,
}

/// Blocks with mappings of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedBlocks {
    /// Number.
    pub blocks: u64,
    /// Bytes of their mappings.
    pub bytes: u64,
}

/// One arena. Sizes are those of chunks: what was asked for plus 8 bytes, rounded up to 16.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapArena {
    /// It is the one on the `brk` heap.
    pub main: bool,
    /// Threads that allocate from it.
    pub threads: u64,
    /// Pieces of memory that it has.
    pub pieces: u64,
    /// Obtained from the kernel, as the arena says itself.
    pub system: u64,
    /// Held by the program.
    pub in_use: u64,
    /// Blocks that the program holds.
    pub blocks: u64,
    /// Free, in thread caches.
    pub thread_cached: u64,
    /// Free, in fast bins.
    pub fast: u64,
    /// Free, in bins.
    pub free: u64,
    /// Free, at the end that grows.
    pub top: u64,
    /// Headers of the arena itself.
    pub overhead: u64,
    /// Passed over, or never reached: what it is, is not known.
    pub unknown: u64,
    /// Free and not in memory: never touched, or given back already.
    pub free_untouched: u64,
    /// In memory that `malloc_trim(0)` would give back at least.
    pub trimmable: u64,
    /// Largest free chunks, descending.
    pub largest_free: Vec<u64>,
    /// Why the walk through it ended early.
    pub trouble: Option<String>,
}

impl HeapArena {
    /// Free bytes, whoever holds them back.
    pub const fn all_free(&self) -> u64 {
        self.thread_cached + self.fast + self.free + self.top
    }
}

impl Heap {
    /// Sum over the arenas; `main`, `trouble` and the largest chunks are left out.
    pub fn sum(&self) -> HeapArena {
        let add = |value: fn(&HeapArena) -> u64| self.arenas.iter().map(value).sum();
        HeapArena {
            threads: add(|arena| arena.threads),
            pieces: add(|arena| arena.pieces),
            system: add(|arena| arena.system),
            in_use: add(|arena| arena.in_use),
            blocks: add(|arena| arena.blocks),
            thread_cached: add(|arena| arena.thread_cached),
            fast: add(|arena| arena.fast),
            free: add(|arena| arena.free),
            top: add(|arena| arena.top),
            overhead: add(|arena| arena.overhead),
            unknown: add(|arena| arena.unknown),
            free_untouched: add(|arena| arena.free_untouched),
            trimmable: add(|arena| arena.trimmable),
            ..HeapArena::default()
        }
    }
}

/// A language runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Its name, and its version where it tells.
    pub name: String,
    /// Resident bytes of its own heap; `None` where that could not be told from other memory.
    pub heap_resident: Option<u64>,
    /// Bytes of objects in it, where they are known.
    pub objects: Option<u64>,
    /// What else is known of it, by name.
    pub figures: Vec<Figure>,
    /// What is not known, and how to ask.
    pub unreadable: Option<String>,
}

/// A figure that a runtime publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
}
