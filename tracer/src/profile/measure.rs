//! What is measured: each figure with its key on the wire, its unit, and how it adds up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where samples come from.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Calls of the allocator's functions.
    Heap,
    /// System calls that change the address space.
    AddressSpace,
    /// Page faults.
    PageFaults,
    /// The kernel's own allocators.
    Kernel,
    /// What `/proc` tells of a process.
    Process,
}

impl Source {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::AddressSpace => "address_space",
            Self::PageFaults => "page_faults",
            Self::Kernel => "kernel",
            Self::Process => "process",
        }
    }

    /// What it follows in the first place: the bytes that are held.
    pub const fn level(self) -> Measure {
        match self {
            Self::Heap => Measure::HeapLiveBytes,
            Self::AddressSpace => Measure::VmMappedBytes,
            Self::PageFaults => Measure::FaultsNewBytes,
            Self::Kernel => Measure::KernelLiveBytes,
            Self::Process => Measure::ProcessRssBytes,
        }
    }
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// A number of things.
    Count,
    /// Milliseconds.
    Ms,
    /// Bytes per minute.
    BytesPerMin,
    /// Bytes per second.
    BytesPerS,
    /// A number of things per second.
    CountPerS,
}

/// How a figure behaves over time, and what several of them are together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An amount at one moment; several add up.
    Level,
    /// An amount since the start of the trace; several add up.
    Total,
    /// A change since the previous profile; several add up.
    Change,
    /// A rate; several add up.
    Rate,
    /// An age: of several the greatest.
    Age,
    /// A property of the thing itself: several do not add up.
    Property,
}

macro_rules! measures {
    ($($(#[$doc:meta])+ $name:ident = $key:literal, $source:ident, $unit:ident, $kind:ident;)+) => {
        /// A figure. In Rust an enum, on the wire its key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Measure {
            $($(#[$doc])+ $name,)+
            /// A figure of a later version, which this one does not know.
            Unknown,
        }

        impl Measure {
            /// All figures that are known.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its key on the wire.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)+ Self::Unknown => "unknown" }
            }

            /// The source that it comes from.
            pub const fn source(self) -> Source {
                match self { $(Self::$name => Source::$source,)+ Self::Unknown => Source::Process }
            }

            /// Its unit.
            pub const fn unit(self) -> Unit {
                match self { $(Self::$name => Unit::$unit,)+ Self::Unknown => Unit::Count }
            }

            /// How it behaves over time.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)+ Self::Unknown => Kind::Property }
            }
        }
    };
}

measures! {
    /// Bytes allocated since the start and not released.
    HeapLiveBytes = "heap.live_bytes", Heap, Bytes, Level;
    /// Blocks allocated since the start and not released.
    HeapLiveBlocks = "heap.live_blocks", Heap, Count, Level;
    /// Bytes allocated since the start.
    HeapAllocBytes = "heap.alloc_bytes", Heap, Bytes, Total;
    /// Blocks allocated since the start.
    HeapAllocBlocks = "heap.alloc_blocks", Heap, Count, Total;
    /// Bytes released of those.
    HeapFreeBytes = "heap.free_bytes", Heap, Bytes, Total;
    /// Blocks released of those.
    HeapFreeBlocks = "heap.free_blocks", Heap, Count, Total;
    /// Change of the live bytes since the previous profile.
    HeapChangeBytes = "heap.change_bytes", Heap, Bytes, Change;
    /// Age of the oldest live block.
    HeapOldestMs = "heap.oldest_ms", Heap, Ms, Age;
    /// Growth of the live bytes over the last minute, or since the process was first seen if that is shorter.
    HeapGrowthPerMin = "heap.growth_bytes_per_min", Heap, BytesPerMin, Rate;
    /// Allocations per second since the previous profile.
    HeapAllocsPerS = "heap.allocs_per_s", Heap, CountPerS, Rate;

    /// Slope of the live bytes over the reports of the trace, in bytes per second; of a process without turnover.
    HeapGrowthPerS = "heap.growth_bytes_per_s", Heap, BytesPerS, Rate;
    /// Lower end of that slope's 95 % interval. Of several together the sum, which is on the safe side.
    HeapGrowthPerSLow = "heap.growth_bytes_per_s_low", Heap, BytesPerS, Rate;
    /// Upper end of that slope's 95 % interval, summed likewise.
    HeapGrowthPerSHigh = "heap.growth_bytes_per_s_high", Heap, BytesPerS, Rate;
    /// Bytes of released blocks that are older than the trace.
    HeapOldFreeBytes = "heap.old_free_bytes", Heap, Bytes, Total;
    /// Released blocks that are older than the trace.
    HeapOldFreeBlocks = "heap.old_free_blocks", Heap, Count, Total;
    /// Bytes of blocks that nothing points to.
    HeapLostBytes = "heap.lost_bytes", Heap, Bytes, Level;
    /// Blocks that nothing points to.
    HeapLostBlocks = "heap.lost_blocks", Heap, Count, Level;
    /// Blocks that an earlier report called lost and that were released since: they were not lost.
    HeapFreedAfterLostBlocks = "heap.freed_after_lost_blocks", Heap, Count, Total;
    /// Bytes of blocks that only lost blocks point to.
    HeapLostWithBytes = "heap.lost_with_bytes", Heap, Bytes, Level;
    /// Blocks that only lost blocks point to.
    HeapLostWithBlocks = "heap.lost_with_blocks", Heap, Count, Level;
    /// Bytes of blocks that something other than a stack or a register holds.
    HeapHeldBytes = "heap.held_bytes", Heap, Bytes, Level;
    /// Blocks that something other than a stack or a register holds.
    HeapHeldBlocks = "heap.held_blocks", Heap, Count, Level;
    /// Bytes of blocks that only a stack or a register holds.
    HeapStackOnlyBytes = "heap.stack_only_bytes", Heap, Bytes, Level;
    /// Blocks that only a stack or a register holds.
    HeapStackOnlyBlocks = "heap.stack_only_blocks", Heap, Count, Level;
    /// Bytes of live blocks of which reachability says nothing: too young, in memory that was not read, not sampled.
    HeapNotJudgedBytes = "heap.not_judged_bytes", Heap, Bytes, Level;
    /// Live blocks of which reachability says nothing.
    HeapNotJudgedBlocks = "heap.not_judged_blocks", Heap, Count, Level;

    /// Bytes mapped.
    VmMappedBytes = "vm.mapped_bytes", AddressSpace, Bytes, Level;
    /// Bytes mapped without any access (`PROT_NONE`).
    VmReservedBytes = "vm.reserved_bytes", AddressSpace, Bytes, Level;
    /// Bytes mapped and in memory. Pages that processes share count in each.
    VmResidentBytes = "vm.resident_bytes", AddressSpace, Bytes, Level;
    /// Bytes mapped and in swap.
    VmSwappedBytes = "vm.swapped_bytes", AddressSpace, Bytes, Level;
    /// Ranges that are adjacent and came from one call.
    VmRanges = "vm.ranges", AddressSpace, Count, Level;
    /// Bytes mapped since the start.
    VmMappedTotalBytes = "vm.mapped_total_bytes", AddressSpace, Bytes, Total;
    /// Bytes unmapped of those.
    VmUnmappedTotalBytes = "vm.unmapped_total_bytes", AddressSpace, Bytes, Total;
    /// Change of the mapped bytes since the previous profile.
    VmChangeBytes = "vm.change_bytes", AddressSpace, Bytes, Change;
    /// Age of the oldest range.
    VmOldestMs = "vm.oldest_ms", AddressSpace, Ms, Age;
    /// Growth of the mapped bytes over the last minute, or since the process was first seen if that is shorter.
    VmGrowthPerMin = "vm.growth_bytes_per_min", AddressSpace, BytesPerMin, Rate;
    /// Calls that changed the address space, per second since the previous profile.
    VmCallsPerS = "vm.calls_per_s", AddressSpace, CountPerS, Rate;
    /// Bytes that the maps showed and that no call had mapped.
    VmFoundBytes = "vm.found_bytes", AddressSpace, Bytes, Total;
    /// Bytes that the maps did not show and that no call had unmapped.
    VmGoneBytes = "vm.gone_bytes", AddressSpace, Bytes, Total;
    /// Bytes whose access differed from what calls had set.
    VmAccessBytes = "vm.access_bytes", AddressSpace, Bytes, Total;
    /// Bytes corrected from the maps where events were known to be lost; not in the three before.
    VmRepairedBytes = "vm.repaired_bytes", AddressSpace, Bytes, Total;
    /// Of an ended process: bytes mapped by calls of the trace, without what a child had from its parent.
    VmCalledBytes = "vm.called_bytes", AddressSpace, Bytes, Level;
    /// Of those, memory without a file that allows access: heap, anonymous, stacks.
    VmAnonymousBytes = "vm.anonymous_bytes", AddressSpace, Bytes, Level;
    /// Processes whose maps could not be read in time: of them only what calls have mapped is known.
    VmUnreadMaps = "vm.unread_maps", AddressSpace, Count, Level;

    /// Page faults, minor and major.
    FaultsCount = "faults.count", PageFaults, Count, Total;
    /// Page faults that waited for a disk or the swap.
    FaultsMajor = "faults.major", PageFaults, Count, Total;
    /// Bytes of pages that were not in memory before and are now.
    FaultsNewBytes = "faults.new_bytes", PageFaults, Bytes, Total;
    /// Of these, since the previous profile.
    FaultsChangeBytes = "faults.change_bytes", PageFaults, Bytes, Change;
    /// One standard error of the number of faults; 0 where each one was seen.
    FaultsError = "faults.standard_error", PageFaults, Count, Property;
    /// Faults that were seen.
    FaultsSamples = "faults.samples", PageFaults, Count, Total;

    /// Bytes that the kernel has allocated since the start and not released.
    KernelLiveBytes = "kernel.live_bytes", Kernel, Bytes, Level;
    /// Objects or blocks allocated since the start and not released.
    KernelLiveBlocks = "kernel.live_blocks", Kernel, Count, Level;
    /// Bytes allocated since the start.
    KernelAllocBytes = "kernel.alloc_bytes", Kernel, Bytes, Total;
    /// Objects or blocks allocated since the start.
    KernelAllocBlocks = "kernel.alloc_blocks", Kernel, Count, Total;
    /// Change of the live bytes since the previous profile.
    KernelChangeBytes = "kernel.change_bytes", Kernel, Bytes, Change;
    /// Age of the oldest live object.
    KernelOldestMs = "kernel.oldest_ms", Kernel, Ms, Age;

    /// Resident and swapped memory together: it does not change when the kernel swaps pages out.
    ProcessTotalBytes = "process.total_bytes", Process, Bytes, Level;
    /// Resident memory (RSS). Pages that processes share count in each.
    ProcessRssBytes = "process.rss_bytes", Process, Bytes, Level;
    /// Proportional set size: shared pages divided among their users.
    ProcessPssBytes = "process.pss_bytes", Process, Bytes, Level;
    /// Resident anonymous memory.
    ProcessAnonymousBytes = "process.anonymous_bytes", Process, Bytes, Level;
    /// Resident memory of files.
    ProcessFileBytes = "process.file_bytes", Process, Bytes, Level;
    /// Resident shared memory.
    ProcessSharedBytes = "process.shared_bytes", Process, Bytes, Level;
    /// Swapped memory.
    ProcessSwapBytes = "process.swap_bytes", Process, Bytes, Level;
    /// Address space, touched or not.
    ProcessVirtualBytes = "process.virtual_bytes", Process, Bytes, Level;
    /// Page tables.
    ProcessPageTableBytes = "process.page_table_bytes", Process, Bytes, Level;
    /// Memory in transparent huge pages.
    ProcessHugeBytes = "process.huge_bytes", Process, Bytes, Level;
    /// Pages of hugetlbfs, which the resident memory does not include.
    ProcessHugetlbBytes = "process.hugetlb_bytes", Process, Bytes, Level;
    /// Threads.
    ProcessThreads = "process.threads", Process, Count, Level;
    /// Open file descriptors.
    ProcessFds = "process.fds", Process, Count, Level;
}

impl Measure {
    /// The figure of a key; [`Self::Unknown`] for one that this version does not know.
    pub fn from_key(key: &str) -> Self {
        let known = Self::ALL.iter().find(|measure| measure.key() == key);
        known.copied().unwrap_or(Self::Unknown)
    }

    /// The figures of a source, in the order in which they are declared.
    pub fn of(source: Source) -> impl Iterator<Item = Self> {
        let of_source = move |measure: &Self| measure.source() == source;
        Self::ALL.iter().copied().filter(of_source)
    }
}

/// A column of the samples on the wire.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(super) struct Column {
    key: String,
    unit: Unit,
    kind: Kind,
}

/// The columns on the wire: key, unit and kind of each.
pub(super) mod columns {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::{Column, Measure};

    pub fn serialize<S: Serializer>(measures: &[Measure], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(measures.iter().map(|measure| Column {
            key: measure.key().to_owned(),
            unit: measure.unit(),
            kind: measure.kind(),
        }))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Measure>, D::Error> {
        let columns = Vec::<Column>::deserialize(from)?;
        let measures = columns.iter().map(|column| Measure::from_key(&column.key));
        Ok(measures.collect())
    }
}
