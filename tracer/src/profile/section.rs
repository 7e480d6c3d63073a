//! What of a profile is neither a sample nor a total: typed sections. A renderer passes over those that it does not
//! know.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracer_common::sampling::COUNT_ONE;

use super::blocks::HeapBlocks;
use super::diff::Difference;
use super::history::History;
use super::hunt::Hunt;
use super::ledger::{Ledger, LedgerChange, RssGrowth};
use super::machine::MachineSection;
use super::number::Values;
use super::place::Place;
use super::reach::Reachability;
use super::sample::KernelKind;
use super::stack::CutReason;
use super::wire;

/// The sections that there are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sections {
    /// Of a trace of heaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heap: Option<HeapSection>,
    /// Of the processes whose blocks were judged by what points to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reachability: Vec<Reachability>,
    /// The blocks of a heap that was looked at without a trace, by what holds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heap_blocks: Option<HeapBlocks>,
    /// Of a trace of page faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_faults: Option<PageFaults>,
    /// Of a trace of the kernel's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelSection>,
    /// Of a trace of many processes: the whole host, a cgroup, a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_wide: Option<HostWide>,
    /// What the probes cost, and what was done about it; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<Guard>,
    /// Stacks with memory that ended early, in the samples or not, most bytes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<Cut>,
    /// The unwind tables in the kernel; absent where stacks are walked without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwind: Option<TableUse>,
    /// Of a look at the whole machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineSection>,
    /// Of a look at one process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<Ledger>,
    /// What has changed since an earlier look at the same process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger_change: Option<LedgerChange>,
    /// The parts of what a process has grown by while it was traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth: Option<RssGrowth>,
    /// Of a difference of two profiles: the earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    /// The times at which the histories of subjects and samples have values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// Of a hunt for what takes the machine's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hunt: Option<Hunt>,
}

/// What only a trace of heaps has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeapSection {
    /// Which blocks count.
    pub filter: Filter,
    /// How the sample was drawn; null where every block is followed.
    pub sampling: Option<Sampling>,
    /// Whether every call of the allocator was seen, from the program's first instruction on: no block is older than
    /// the trace.
    #[serde(default)]
    pub from_start: bool,
    /// What each process has grown by, blocks older than the trace taken off; of those that have released such blocks,
    /// or whose heap was read at both ends of the trace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub net: Vec<NetGrowth>,
}

/// What the heap of one process has grown by since the trace began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetGrowth {
    /// Index of the subject.
    pub subject: u32,
    /// Live bytes of the trace less bytes of released blocks that are older; null where that is not known: in a sample,
    /// or with a filter by size.
    pub bytes: Option<i64>,
    /// Where the sizes of those blocks come from; null where there are none.
    pub old_sizes: Option<OldSizes>,
    /// Bytes in use in its glibc heap when the trace began, chunk headers included; null where it was not read.
    pub in_use_before_bytes: Option<u64>,
    /// The same now.
    pub in_use_bytes: Option<u64>,
}

/// Where the sizes of released blocks come from that are older than the trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OldSizes {
    /// Each block's header tells it (glibc).
    Headers,
    /// They are taken for as large as the mean live block of the trace.
    #[default]
    Mean,
}

/// Which blocks count. Sizes hold for every figure, the age for the samples alone: totals count every age.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Filter {
    /// Least age; 0 for all.
    #[serde(rename = "older_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub older: Duration,
    /// Smallest size, included; null for all.
    pub min_size: Option<u64>,
    /// Largest size, included; null for all.
    pub max_size: Option<u64>,
    /// What is traced, where that is not everything: `slab cache dentry`.
    #[serde(default)]
    pub only: Option<String>,
}

/// How a sample was drawn, and how far off the totals may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sampling {
    /// Mean bytes between two samples; of many processes the least of those that are sampled.
    pub interval_bytes: u64,
    /// Blocks in the sample that are live.
    pub live_samples: u64,
    /// Standard error of the live bytes.
    pub standard_error_bytes: u64,
}

impl Sampling {
    /// What a block that stands for so many bytes, and so many blocks in 1/[`COUNT_ONE`], adds to the variance of the
    /// bytes: (size / p)^2 (1 - p), where it was sampled with probability p (Horvitz-Thompson); nothing where it was
    /// certain.
    pub fn variance(bytes: u64, count: u64) -> f64 {
        if count <= COUNT_ONE {
            return 0.0;
        }
        let p = COUNT_ONE as f64 / count as f64;
        (bytes as f64).powi(2) * (1.0 - p)
    }
}

/// What only a trace of page faults has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PageFaults {
    /// All page faults of the trace.
    pub totals: Values,
    /// What the kernel has counted for the same processes; null where one has ended, and its count with it.
    pub kernel: Option<KernelFaults>,
}

/// The kernel's own count of page faults. It also counts pages that were brought in without a fault (`MAP_POPULATE`,
/// `mlock`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelFaults {
    /// Minor faults.
    pub minor: u64,
    /// Major faults.
    pub major: u64,
}

/// What only a trace of the kernel's memory has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KernelSection {
    /// What is followed, and the least age of what the samples hold.
    pub filter: Filter,
    /// How the sample was drawn; null where everything is followed.
    pub sampling: Option<Sampling>,
    /// All stacks together, by the allocators that are followed; without pages that lie under another of them.
    pub kinds: BTreeMap<KernelKind, Values>,
    /// Pages under slab objects and per-CPU memory, by that allocator.
    pub backing: BTreeMap<KernelKind, Values>,
    /// Events in interrupts that the second program has counted in place of the first.
    pub taken_over: u64,
    /// Slab caches that have grown; null where the kernel's own count cannot be read.
    pub slab: Option<SlabGrowth>,
}

/// Slab caches that have grown since the start, as the kernel counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlabGrowth {
    /// Bytes of slabs that all of them have grown by.
    pub bytes: u64,
    /// Of these, what the stacks of the trace hold: of each cache, at most what it has grown by.
    pub explained_bytes: u64,
    /// Those that have grown most, most first.
    pub caches: Vec<SlabCache>,
    /// How many have grown, shown or not.
    pub caches_total: usize,
}

/// A slab cache that has grown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlabCache {
    /// Its name.
    pub name: String,
    /// Objects that are allocated now.
    pub objects: u64,
    /// Change of these since the start.
    pub objects_change: i64,
    /// Bytes of its slabs now.
    pub bytes: u64,
    /// Change of these since the start.
    pub bytes_change: i64,
    /// Bytes of it that the stacks of the trace hold; null if it is not followed.
    pub held_bytes: Option<u64>,
}

/// What the first table of a report has a row for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// Each process.
    #[default]
    Process,
    /// Each container; each unit or cgroup outside of containers.
    Container,
    /// Each user.
    User,
    /// Each stack, over all processes that have it.
    Stack,
}

/// What only a trace of many processes has. Its subjects and samples are those of processes that run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostWide {
    /// Which processes, in words: `the whole host`, `cgroup /system.slice, user www-data`.
    pub scope: String,
    /// What the first table has a row for.
    pub by: Grouping,
    /// The processes summed by container or user, most first; empty otherwise.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// Processes that ended during the trace.
    pub ended: Ended,
    /// Which processes have probes, and which have none and why; null where there are none.
    #[serde(default)]
    pub admission: Option<Admission>,
    /// Allocator files that were mapped during the trace, in order of time.
    #[serde(default)]
    pub late_files: Vec<LateFile>,
    /// Files with probes.
    #[serde(default)]
    pub probed_files: usize,
    /// Resident memory of memlens itself; null where it is not known.
    pub own_rss_bytes: Option<u64>,
}

/// Processes that have something in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// What they have in common: the label of a container, unit or cgroup, or a user's name.
    pub name: String,
    /// How many.
    pub processes: u64,
    /// Their figures together.
    pub totals: Values,
    /// What is mapped of each kind, together.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub regions: BTreeMap<super::sample::RegionKind, Values>,
}

/// Processes that ended during the trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// How many.
    pub count: u64,
    /// What they held together.
    pub totals: Values,
    /// Those that were traced for long or held much, in order of their ends.
    pub processes: Vec<EndedProcess>,
    /// All others, summed by name, most held bytes first.
    pub names: Vec<EndedName>,
}

/// A process that ended, with what it still held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndedProcess {
    /// Its PID.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// Where it belonged.
    #[serde(flatten)]
    pub place: Place,
    /// Name of the user that it ran as.
    pub user: String,
    /// Elapsed time of the trace at its end.
    #[serde(rename = "ended_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub at: Duration,
    /// For how long it was traced.
    #[serde(rename = "traced_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub traced: Duration,
    /// What it held.
    pub totals: Values,
}

/// Processes of one name that ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndedName {
    /// Their name.
    pub command: String,
    /// How many.
    pub processes: u64,
    /// Elapsed time of the trace at the last one's end.
    #[serde(rename = "last_ended_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub last_at: Duration,
    /// What they held together.
    pub totals: Values,
}

/// Which processes of a scope have probes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Admission {
    /// Processes with probes, whether they have allocated anything or not.
    pub traced: usize,
    /// Processes that have run for less than a second.
    pub young: usize,
    /// Processes whose turn has not come yet.
    pub waiting: usize,
    /// Most processes that have probes at the same time.
    pub most: usize,
    /// Processes whose probes would cost more than the budget leaves.
    pub left: usize,
    /// Processes without an allocator that can be probed.
    pub without_allocator: usize,
    /// Processes that ended before they had probes.
    pub ended_before: u64,
    /// Processes that must not be probed.
    pub refused: Vec<Refused>,
}

/// A process of a scope that is not probed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// Its PID.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// Where it belongs.
    #[serde(flatten)]
    pub place: Place,
    /// Why not, in words.
    pub reason: String,
}

/// The overhead guard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Guard {
    /// Most that probes may cost, in percent of the machine's CPUs, in a trace of a scope; null is no limit.
    pub budget_percent: Option<f64>,
    /// Most that probes may cost a named process, in percent of its CPU time; null is no limit.
    #[serde(default)]
    pub slowdown_percent: Option<f64>,
    /// What they cost now, estimated from their hits, in percent of the machine's CPUs.
    pub cost_percent: f64,
    /// Probe hits per second now.
    pub hits_per_second: u64,
    /// What was done, in order of time.
    pub steps: Vec<GuardStep>,
}

/// One thing that the guard did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GuardStep {
    /// Elapsed time of the trace.
    #[serde(rename = "at_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub at: Duration,
    /// Whose probes.
    pub pid: u32,
    /// That process's name.
    pub command: String,
    /// Where it belongs.
    #[serde(flatten)]
    pub place: Place,
    /// What was done.
    #[serde(flatten)]
    pub action: GuardAction,
    /// Its probe hits per second before.
    pub hits_per_second: u64,
    /// What they would have gone on to cost, in percent of the machine's CPUs.
    pub cost_percent: f64,
    /// What all probes on the host cost then.
    pub total_percent: f64,
    /// What they cost, in percent of the CPU time of the process; null where that was not the reason.
    #[serde(default)]
    pub own_percent: Option<f64>,
}

/// What the guard can do to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum GuardAction {
    /// Follow one block in about so many bytes; null is every block. More than before, or fewer.
    Sample {
        /// Mean bytes between two samples before.
        #[serde(rename = "sample_bytes_before")]
        from: Option<u64>,
        /// Mean bytes between two samples from then on.
        #[serde(rename = "sample_bytes")]
        to: Option<u64>,
    },
    /// Remove its probes.
    ProbesOff,
}

impl GuardAction {
    /// Whether the process is not followed any more.
    pub const fn ends_tracing(self) -> bool {
        matches!(self, Self::ProbesOff)
    }
}

/// An allocator file that was mapped during the trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LateFile {
    /// Elapsed time of the trace when it was mapped.
    #[serde(rename = "at_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub at: Duration,
    /// Who mapped it first.
    pub pid: u32,
    /// That process's name.
    pub command: String,
    /// Where it belongs.
    #[serde(flatten)]
    pub place: Place,
    /// The file, as the process sees it.
    pub path: String,
    /// From the mapping until its probes were in place: calls of that time were not seen.
    #[serde(rename = "missed_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub missed: Duration,
}

/// Stacks with memory that ended early for one reason at one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cut {
    /// Index of the subject.
    pub subject: u32,
    /// Why.
    pub reason: CutReason,
    /// Index of the file of their last frames; null where it is not known, or has nothing to do with the reason.
    pub module: Option<u32>,
    /// How many stacks.
    pub stacks: u64,
    /// What they hold.
    pub values: Values,
}

/// What the unwind tables take in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableUse {
    /// Files whose tables are in the kernel.
    pub files: u64,
    /// Bytes that these take.
    pub bytes: u64,
    /// Bytes that there are.
    pub capacity_bytes: u64,
    /// Files that processes have mapped and whose tables have no room: stacks through them are cut.
    pub left_out: u64,
    /// Tables that were evicted so far to make room for others.
    pub evicted: u64,
}
