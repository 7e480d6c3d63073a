//! The sections of `memlens explain`: where the memory of one process is, what has changed, and whose the growth is.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::named::named;
use super::wire;

/// Where the memory of one process is: the profile's only subject, whose totals are what the kernel counts for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ledger {
    /// Path of the executable; null where it may not be read.
    pub executable: Option<String>,
    /// Start of the process in clock ticks since boot: together with the PID it identifies the process.
    pub start_ticks: u64,
    /// The regions, which add up to the resident memory, in the order of their kinds.
    pub rows: Vec<Row>,
    /// Which part of the address space belongs to which row, in order of address; not on the wire.
    #[serde(skip)]
    pub ranges: Vec<Range>,
    /// Resident bytes of the process less those of the rows: it worked while it was read.
    pub unaccounted_bytes: i64,
    /// Stacks of all threads but the first, where they could be identified.
    pub stacks: Option<ThreadStacks>,
    /// What a sample of its transparent huge pages holds; null where there are none, or none could be read.
    pub huge_pages: Option<HugePages>,
    /// Its allocators.
    pub allocators: Vec<Allocator>,
    /// Its language runtimes.
    pub runtimes: Vec<LanguageRuntime>,
}

named! {
    /// What a region of memory is for, in the order of the ledger's rows.
    pub enum Purpose {
        /// The heap that grows by `brk`.
        BrkHeap = "brk_heap", "brk heap";
        /// Heaps of glibc's thread arenas.
        GlibcArenas = "glibc_arenas", "glibc arenas of threads";
        /// Blocks of glibc that have a mapping of their own.
        GlibcMapped = "glibc_mapped", "glibc blocks with own mappings";
        /// Memory of another allocator.
        Allocator = "allocator";
        /// A language runtime's heap.
        RuntimeHeap = "runtime_heap", "runtime heap";
        /// Code generated at run time.
        GeneratedCode = "generated_code", "code made at run time";
        /// The first thread's stack.
        MainStack = "main_stack", "main stack";
        /// Stacks of the other threads.
        ThreadStacks = "thread_stacks", "thread stacks";
        /// Anonymous memory that the program has given a name.
        Named = "named";
        /// Anonymous memory of which nothing more is known.
        Anonymous = "anonymous", "anonymous, use unknown";
        /// Writable data of the executable.
        ProgramData = "program_data", "program: data and bss";
        /// Writable data of libraries.
        LibraryData = "library_data", "libraries: data and bss";
        /// Code and constants of the executable.
        ProgramCode = "program_code", "program: code, constants";
        /// Code and constants of libraries.
        LibraryCode = "library_code", "libraries: code, constants";
        /// Memory shared with other processes.
        Shared = "shared", "shared memory";
        /// Other files.
        Files = "files", "mapped files";
        /// Memory of devices and of the kernel's own objects.
        Devices = "devices", "devices, kernel objects";
        /// Pages that the kernel maps into every process.
        Kernel = "kernel", "vdso and the like";
        /// Address space without access: reserves and guards.
        Reserved = "reserved", "reserved, no access";
    }
}

impl Purpose {
    /// Whether it is memory of an allocator that hands out blocks.
    pub const fn is_heap(self) -> bool {
        matches!(
            self,
            Self::BrkHeap | Self::GlibcArenas | Self::GlibcMapped | Self::Allocator
        )
    }

    /// Whether it is on the native side of a program with a runtime: neither the runtime's heap nor files.
    pub const fn is_native(self) -> bool {
        self.is_heap() || matches!(self, Self::Named | Self::Anonymous)
    }

    /// Whether it is private memory that the program itself fills, or may fill.
    pub const fn is_private(self) -> bool {
        self.is_native() || matches!(self, Self::RuntimeHeap | Self::ThreadStacks)
    }
}

/// A row of the ledger: what regions are for, and whose they are.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct RowName {
    /// What the regions are for.
    pub kind: Purpose,
    /// Whose they are, or what name they have.
    pub name: Option<String>,
}

impl RowName {
    /// What the row is called.
    pub fn words(&self) -> String {
        match (&self.name, self.kind) {
            (Some(name), Purpose::RuntimeHeap | Purpose::Allocator) => name.clone(),
            (Some(name), kind) => format!("{}: {name}", kind.words()),
            (None, kind) => kind.words().to_owned(),
        }
    }
}

impl From<Purpose> for RowName {
    fn from(kind: Purpose) -> Self {
        Self { kind, name: None }
    }
}

/// The regions of one row together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// Which row.
    #[serde(flatten)]
    pub row: RowName,
    /// Number of mappings, or of pieces of mappings.
    pub mappings: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// In memory.
    pub resident_bytes: u64,
    /// In memory, shared pages divided among their users.
    pub proportional_bytes: u64,
    /// In memory without a file behind it.
    pub anonymous_bytes: u64,
    /// Swapped out.
    pub swapped_bytes: u64,
    /// In transparent huge pages.
    pub huge_bytes: u64,
}

/// A part of the address space and the row that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// The row.
    pub row: RowName,
}

impl Range {
    /// A part of the address space that belongs to a row.
    pub fn new(start: u64, end: u64, row: impl Into<RowName>) -> Self {
        Self {
            start,
            end,
            row: row.into(),
        }
    }
}

/// Stacks of all threads but the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadStacks {
    /// How many were found.
    pub count: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// In memory.
    pub resident_bytes: u64,
}

/// A sample of transparent huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HugePages {
    /// How many were read.
    pub read: u64,
    /// Bytes in them that lie in small pages full of zeros: most likely they were never touched.
    pub zero_bytes: u64,
    /// Such bytes in all huge pages, estimated from the sample.
    pub zero_estimate_bytes: u64,
}

/// An allocator and what could be read of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Allocator {
    /// Its name, and its version where that is known.
    pub name: String,
    /// The file that it is in, as the process sees it.
    pub file: String,
    /// Its heap, where it could be read.
    pub heap: Option<Heap>,
    /// What else it publishes.
    pub figures: Vec<PublishedFigure>,
    /// Why its heap could not be read.
    pub unreadable: Option<String>,
}

/// glibc's heap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heap {
    /// The arenas, the main one first.
    pub arenas: Vec<Arena>,
    /// Blocks with mappings of their own, as glibc counts them; null where its counters were not found.
    pub mapped: Option<MappedBlocks>,
    /// Thread caches that hold something.
    pub thread_caches: u64,
    /// Lists of free chunks were not followed to their ends: more is free, and less in use.
    pub lists_cut: bool,
}

/// Blocks with mappings of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MappedBlocks {
    /// How many.
    pub blocks: u64,
    /// Bytes of their mappings.
    pub bytes: u64,
}

/// An arena. Sizes are those of chunks: what was asked for plus 8 bytes, rounded up to 16.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Arena {
    /// Whether it is the one on the `brk` heap.
    pub main: bool,
    /// Threads that allocate from it.
    pub threads: u64,
    /// Pieces of memory that it has.
    pub pieces: u64,
    /// Obtained from the kernel, as the arena itself says.
    pub system_bytes: u64,
    /// Held by the program.
    pub in_use_bytes: u64,
    /// Blocks that the program holds.
    pub blocks: u64,
    /// Free, in thread caches.
    pub thread_cached_bytes: u64,
    /// Free, in fast bins.
    pub fast_bytes: u64,
    /// Free, in bins.
    pub free_bytes: u64,
    /// Free, at the end that grows.
    pub top_bytes: u64,
    /// Headers of the arena itself.
    pub overhead_bytes: u64,
    /// Skipped or never reached: it is not known what this is.
    pub unknown_bytes: u64,
    /// Free and not in memory: never touched, or already given back.
    pub free_untouched_bytes: u64,
    /// In memory that `malloc_trim(0)` would give back at least.
    pub trimmable_bytes: u64,
    /// The largest free chunks, largest first.
    pub largest_free_bytes: Vec<u64>,
    /// Why the walk through it ended early.
    pub trouble: Option<String>,
}

impl Arena {
    /// Free bytes, whoever keeps them.
    pub const fn all_free_bytes(&self) -> u64 {
        self.thread_cached_bytes + self.fast_bytes + self.free_bytes + self.top_bytes
    }

    /// Several arenas as one; `main`, `trouble` and the largest chunks are left out.
    pub fn sum<'a>(arenas: impl Iterator<Item = &'a Self>) -> Self {
        arenas.fold(Self::default(), |sum, arena| Self {
            threads: sum.threads + arena.threads,
            pieces: sum.pieces + arena.pieces,
            system_bytes: sum.system_bytes + arena.system_bytes,
            in_use_bytes: sum.in_use_bytes + arena.in_use_bytes,
            blocks: sum.blocks + arena.blocks,
            thread_cached_bytes: sum.thread_cached_bytes + arena.thread_cached_bytes,
            fast_bytes: sum.fast_bytes + arena.fast_bytes,
            free_bytes: sum.free_bytes + arena.free_bytes,
            top_bytes: sum.top_bytes + arena.top_bytes,
            overhead_bytes: sum.overhead_bytes + arena.overhead_bytes,
            unknown_bytes: sum.unknown_bytes + arena.unknown_bytes,
            free_untouched_bytes: sum.free_untouched_bytes + arena.free_untouched_bytes,
            trimmable_bytes: sum.trimmable_bytes + arena.trimmable_bytes,
            ..Self::default()
        })
    }
}

impl Heap {
    /// All arenas together.
    pub fn sum(&self) -> Arena {
        Arena::sum(self.arenas.iter())
    }
}

impl Ledger {
    /// glibc's heap, where it could be read.
    pub fn heap(&self) -> Option<&Heap> {
        self.allocators
            .iter()
            .find_map(|allocator| allocator.heap.as_ref())
    }

    /// Resident bytes of the rows of some kinds.
    pub fn resident_bytes(&self, is_wanted: impl Fn(Purpose) -> bool) -> u64 {
        let rows = self.rows.iter().filter(|row| is_wanted(row.row.kind));
        rows.map(|row| row.resident_bytes).sum()
    }
}

/// A language runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LanguageRuntime {
    /// Its name, and its version where that is known.
    pub name: String,
    /// Resident bytes of its own heap; null where that could not be told from other memory.
    pub heap_resident_bytes: Option<u64>,
    /// Bytes of objects in it, where they are known.
    pub objects_bytes: Option<u64>,
    /// What else it publishes.
    pub figures: Vec<PublishedFigure>,
    /// What is not known, and how to ask.
    pub unreadable: Option<String>,
}

/// A figure that a runtime or an allocator publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublishedFigure {
    /// Its name.
    pub name: String,
    /// Its value.
    pub bytes: u64,
}

impl PublishedFigure {
    /// A figure of this name.
    pub fn new(name: &str, bytes: u64) -> Self {
        Self {
            name: name.to_owned(),
            bytes,
        }
    }
}

/// What has changed since an earlier profile of the same process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerChange {
    /// Time between the two profiles.
    #[serde(rename = "over_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub over: Duration,
    /// Change of the resident memory.
    pub resident_bytes: i64,
    /// Change of the address space.
    pub virtual_bytes: i64,
    /// Change of the resident memory of the runtimes' heaps.
    pub runtime_heap_bytes: i64,
    /// Change of the resident memory that is neither a runtime's heap nor files nor stacks.
    pub native_bytes: i64,
    /// Change of what the program holds of glibc's heap, if that was read both times.
    pub heap_in_use_bytes: Option<i64>,
    /// Change of what is free in glibc's heap.
    pub heap_free_bytes: Option<i64>,
    /// The rows that changed, those that grew most first.
    pub rows: Vec<RowChange>,
}

/// A row that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RowChange {
    /// Which row.
    #[serde(flatten)]
    pub row: RowName,
    /// Change of its resident memory.
    pub resident_bytes: i64,
    /// Change of its address space.
    pub virtual_bytes: i64,
}

/// The growth of a process during a trace, in parts that add up to it. The stacks of the parts are samples: of source
/// `heap` the blocks that were allocated meanwhile and are live, of source `address_space` what was mapped meanwhile,
/// but not by an allocator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RssGrowth {
    /// Time between the two looks at the process.
    #[serde(rename = "traced_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub traced: Duration,
    /// Change of the resident memory: the sum of the next three.
    pub resident_bytes: i64,
    /// Of it, in the rows of allocators.
    pub heap_bytes: i64,
    /// Of it, in what was mapped meanwhile, but not by an allocator; null where that was not traced.
    pub mapped_bytes: Option<i64>,
    /// Of it, the rest: pages touched, or given back, of what was mapped before.
    pub older_bytes: i64,
    /// That rest by rows of the ledger.
    pub older_rows: Vec<RowShare>,
    /// What of that rest is in no row: the process worked while it was read.
    pub unaccounted_bytes: i64,
    /// What was not seen, and why, in sentences.
    pub not_seen: Vec<String>,
}

/// A part of the growth that is in one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RowShare {
    /// Which row.
    #[serde(flatten)]
    pub row: RowName,
    /// Change of its resident memory.
    pub resident_bytes: i64,
}
