//! The section of `memlens host`: the machine's memory, its cgroups, and which processes came and went.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measure::Measure;
use super::named::named;
use super::number::Values;
use super::subject::{Growth, Subject};
use super::wire;

/// What only a look at the whole machine has. The subjects are the rows of its table: processes, or groups without a
/// PID.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MachineSection {
    /// The machine's memory, by figure.
    #[serde(deserialize_with = "wire::known_keys")]
    pub figures: BTreeMap<Figure, Amount>,
    /// Who holds the memory, by holder.
    #[serde(deserialize_with = "wire::known_keys")]
    pub holders: BTreeMap<Holder, Amount>,
    /// The pool of huge pages of the default size.
    pub huge_pool: HugePool,
    /// Tasks that wait for memory; null where the kernel does not measure it.
    pub pressure: Option<Pressure>,
    /// Share of the time since the previous report in which tasks waited for memory; null where that is not known.
    pub stalled_percent: Option<Stalled>,
    /// Processes killed for lack of memory since boot; null where the kernel does not count them.
    pub oom_kills: Option<u64>,
    /// Those killed since the previous report.
    pub oom_kills_new: Option<u64>,
    /// What the subjects are.
    pub by: By,
    /// The order of the subjects.
    pub sort: Order,
    /// The figure that the order is about.
    pub of: Of,
    /// Processes that have memory.
    pub processes_total: usize,
    /// Rows that there are, whether they are among the subjects or not.
    pub rows_total: usize,
    /// Sum of the rows that are not among the subjects.
    pub rest: Values,
    /// The processes that certainly grow most, most first, whatever the subjects are.
    pub growers: Vec<Subject>,
    /// Processes that appeared since the previous report and still run.
    pub appeared: Turnover,
    /// Processes of the previous report that have ended, with what they had last.
    pub vanished: Turnover,
    /// Cgroups: first the one that reaches its limit first, then by how full they are, by growth and by size.
    pub cgroups: Vec<Cgroup>,
    /// Cgroups that there are, shown or not.
    pub cgroups_total: usize,
    /// Passes over `/proc` so far.
    pub passes: u64,
    /// How long the last pass took, in milliseconds.
    pub pass_ms: f64,
    /// Time that changes refer to: since the previous report, or since the first pass.
    #[serde(rename = "changed_over_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub changed_over: Duration,
}

/// An amount of memory, and how it moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Amount {
    /// Now.
    pub bytes: u64,
    /// Change since the previous report, or since the first pass.
    pub change_bytes: i64,
    /// How it grows; null after a single pass.
    pub growth: Option<Growth>,
}

named! {
    /// A figure of the machine's memory.
    pub enum Figure {
        /// All memory that the kernel manages.
        Total = "total";
        /// What programs could allocate without swapping, as the kernel estimates it (`MemAvailable`).
        Available = "available";
        /// Unused.
        Free = "free";
        /// Anonymous memory of processes: heaps, stacks, arenas.
        Anonymous = "anonymous";
        /// Contents of files and block devices; reclaimed when needed, once written back.
        Cache = "cache", "page cache";
        /// tmpfs, System V and shared anonymous memory; only swapping frees it.
        Shared = "shared";
        /// Kernel objects that can be reclaimed: mostly cached file names and inodes.
        SlabReclaimable = "slab_reclaimable", "slab, reclaimable";
        /// Kernel objects that cannot.
        SlabUnreclaimable = "slab_unreclaimable", "slab, kept";
        /// Page tables, including those of virtual machines and IOMMUs.
        PageTables = "page_tables", "page tables";
        /// Kernel stacks of threads.
        KernelStacks = "kernel_stacks", "kernel stacks";
        /// Per-CPU memory of the kernel.
        PerCpu = "per_cpu", "per CPU";
        /// Large areas of the kernel (vmalloc), without its stacks.
        Vmalloc = "vmalloc";
        /// Pool of huge pages (hugetlbfs), used or not.
        HugePages = "huge_pages", "huge pages";
        /// Swapped pages that are kept compressed in memory.
        Zswap = "zswap", "compressed swap";
        /// The rest of the total: pages that drivers, balloons of virtual machines and others allocated directly.
        Other = "other";
        /// Swap space in use.
        Swap = "swap", "swap used";
        /// Size of the swap space.
        SwapTotal = "swap_total", "swap space";
        /// Address space promised to processes, touched or not.
        Committed = "committed";
        /// The most that the kernel promises in strict mode (`vm.overcommit_memory` 2).
        CommitLimit = "commit_limit", "commit limit";
        /// Anonymous memory in transparent huge pages; part of the anonymous memory.
        AnonymousHuge = "anonymous_huge", "anonymous huge pages";
        /// Page cache in huge pages, including shared memory.
        FileHuge = "file_huge", "huge pages of files";
    }
}

named! {
    /// Who holds memory of the machine.
    pub enum Holder {
        /// Anonymous memory, and what of it is swapped and kept compressed.
        Processes = "processes", "processes (anonymous)";
        /// Shared memory.
        Shared = "shared", "shared memory and tmpfs";
        /// Page cache and reclaimable kernel objects.
        Cache = "cache", "cache (given back when needed)";
        /// Kernel memory that cannot be reclaimed.
        Kernel = "kernel", "the kernel";
        /// Pool of huge pages.
        HugePages = "huge_pages", "the pool of huge pages";
        /// Drivers and others.
        Other = "other", "drivers and others (not accounted)";
    }
}

named! {
    /// What the table has rows for.
    #[derive(Default)]
    pub enum By {
        /// Each process.
        #[default]
        Process = "process";
        /// All processes of one name.
        Name = "name";
        /// All processes of one container; outside of containers, of one systemd unit or cgroup.
        Container = "container";
        /// All processes of one user.
        User = "user";
    }
}

named! {
    /// The order of the rows.
    #[derive(Default)]
    pub enum Order {
        /// The largest certain growth first, then the largest.
        #[default]
        Growth = "growth";
        /// The largest first.
        Size = "size";
    }
}

named! {
    /// The figure that the order and the column of growth are about.
    #[derive(Default)]
    pub enum Of {
        /// Resident and swapped memory together: it does not shrink when the kernel swaps pages out.
        #[default]
        Total = "total";
        /// Resident memory.
        Rss = "rss";
        /// Proportional set size: shared pages divided by their users. It takes longer to read.
        Pss = "pss";
        /// Resident anonymous memory.
        Anonymous = "anonymous";
        /// Swapped memory.
        Swap = "swap";
        /// Address space, touched or not.
        Virtual = "virtual";
    }
}

impl Of {
    /// The figure.
    pub const fn measure(self) -> Measure {
        match self {
            Self::Total => Measure::ProcessTotalBytes,
            Self::Rss => Measure::ProcessRssBytes,
            Self::Pss => Measure::ProcessPssBytes,
            Self::Anonymous => Measure::ProcessAnonymousBytes,
            Self::Swap => Measure::ProcessSwapBytes,
            Self::Virtual => Measure::ProcessVirtualBytes,
        }
    }
}

/// The pool of huge pages (hugetlbfs) of the default size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HugePool {
    /// Pages in it.
    pub pages: u64,
    /// Pages that nobody uses.
    pub free: u64,
    /// Of those, pages that are reserved.
    pub reserved: u64,
    /// Bytes of a page.
    pub page_bytes: u64,
}

/// How long tasks waited for memory (pressure stall information, Documentation/accounting/psi.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pressure {
    /// At least one task waited.
    pub some: Stall,
    /// All tasks waited that had something to do.
    pub full: Stall,
}

/// Share of the time in which tasks waited, over several windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stall {
    /// Percent of the last 10 seconds.
    pub avg10: f32,
    /// Percent of the last minute.
    pub avg60: f32,
    /// Percent of the last five minutes.
    pub avg300: f32,
    /// Time in all, since boot or since the cgroup was created.
    #[serde(rename = "total_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub total: Duration,
}

/// Share of the time in which tasks waited for memory, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stalled {
    /// At least one task waited.
    pub some: f64,
    /// All tasks waited that had something to do.
    pub full: f64,
}

/// Processes that appeared, or vanished.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Turnover {
    /// How many.
    pub processes: usize,
    /// What they have, or had last: resident and swapped.
    pub bytes: u64,
    /// The one with most.
    pub largest: Option<Named>,
}

/// A process and what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Named {
    /// Its PID.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// Resident and swapped memory.
    pub bytes: u64,
}

/// A memory cgroup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cgroup {
    /// Path from the root of its hierarchy.
    pub path: String,
    /// Container, unit or last part of the path.
    pub label: String,
    /// All that is charged to it, page cache included.
    pub current_bytes: u64,
    /// Of that, what cannot be reclaimed; this is what has to fit the limit.
    pub kept_bytes: u64,
    /// What is swapped out; null where the kernel does not tell.
    pub swap_bytes: Option<u64>,
    /// The limit at which processes are killed; null is no limit.
    pub max_bytes: Option<u64>,
    /// The limit above which allocations are slowed down (version 2); null is no limit.
    pub high_bytes: Option<u64>,
    /// Processes in it and below it that were killed for lack of memory; null where the kernel does not count them.
    pub oom_kills: Option<u64>,
    /// How `kept_bytes` grows; null after a single pass.
    pub growth: Option<Growth>,
    /// Time until `kept_bytes` reaches the limit, if it certainly grows.
    #[serde(rename = "full_in_ms", with = "wire::optional_millis", default)]
    #[schemars(with = "Option<u64>")]
    pub full_in: Option<Duration>,
    /// Tasks in it that wait for memory; null where the kernel does not measure it.
    pub pressure: Option<Pressure>,
}

impl Cgroup {
    /// Share of the limit that is in use and cannot be reclaimed.
    pub fn fullness(&self) -> Option<f64> {
        let max = self.max_bytes?.max(1);
        Some(self.kept_bytes as f64 / max as f64)
    }
}

impl MachineSection {
    /// One of the machine's figures.
    pub fn figure(&self, figure: Figure) -> Amount {
        self.figures.get(&figure).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_on_the_wire() {
        for figure in Figure::ALL {
            assert_eq!(serde_json::json!(figure), figure.name());
        }
        assert_eq!(
            (Holder::Kernel.name(), Holder::Kernel.words()),
            ("kernel", "the kernel")
        );
    }
}
