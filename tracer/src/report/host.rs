//! What only a report about the whole host holds: where processes belong, who ended, and what the overhead guard did.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::StackRow;
use super::units::{bytes, counted};
use crate::process::cgroup::Place;

/// What the first table of the report has a row for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
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

/// What only a trace of the whole host tells. Its table of processes, its totals and its stacks are of the processes
/// that run; those that ended are here.
#[derive(Clone, Debug)]
pub struct Host {
    /// Which processes the trace is about, in words: "the whole host", "cgroup /system.slice", "user www-data".
    pub scope: String,
    /// What the first table has a row for.
    pub by: Grouping,
    /// Elapsed time of the previous report; zero in the first. What happened since is new to the reader.
    pub previous: Duration,
    /// How many processes of the table the text shows; `None` is all.
    pub top: Option<usize>,
    /// The top stacks of each of the first processes (`--per-process`), in the order of the processes; else empty.
    pub process_stacks: Vec<ProcessStacks>,
    /// Processes that ended during the trace.
    pub ended: Ended,
    /// What the probes cost, and what was done about it.
    pub guard: Guard,
    /// Allocator files that came up during the trace, in order of time.
    pub late_files: Vec<LateFile>,
    /// Files with probes.
    pub probed_files: usize,
    /// Resident memory of memlens itself in bytes; `None` where it is not known.
    pub own_rss_bytes: Option<u64>,
}

impl Grouping {
    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Container => "container",
            Self::User => "user",
            Self::Stack => "stack",
        }
    }
}

impl Host {
    /// Whether what happened at this elapsed time of the trace is to be told in `report`: it is new, or the report is
    /// the last.
    pub(super) fn is_due(&self, at: Duration, last: bool) -> bool {
        is_due(self.previous, at, last)
    }
}

/// Whether what happened at this elapsed time is to be told, where the previous report was made at `previous`.
pub(super) fn is_due(previous: Duration, at: Duration, last: bool) -> bool {
    last || previous.is_zero() || at > previous
}

/// What every whole-host trace knows of a process.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberRow {
    /// Its container, unit and cgroup.
    pub place: Place,
    /// User id that it runs as.
    pub uid: u32,
    /// That user's name; the number where it has none.
    pub user: String,
    /// Elapsed time of the trace when it was first seen; zero for what ran before.
    pub first_seen: Duration,
    /// Whether it started during the trace, so that nothing of it was missed.
    pub started_in_trace: bool,
    /// Growth of what is followed, its live or its mapped bytes, per minute, over the last minute or, if that is shorter, since
    /// it was first seen; `None` in its first second. [`Rates`](super::Rates) reckons it.
    pub growth_per_minute: Option<i64>,
}

/// What a whole-host trace of heaps knows of one process besides its memory totals.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessHost {
    /// What every such trace knows of it.
    pub member: MemberRow,
    /// Allocations per second since the previous report; `None` in its first second.
    pub allocs_per_second: Option<f64>,
    /// Resident memory in bytes; `None` where it could not be read.
    pub rss_bytes: Option<u64>,
    /// Mean bytes between two samples, now; `None`: every block is followed.
    pub sample_bytes: Option<u64>,
    /// Elapsed time of the trace when the guard took its probes off: its numbers stop there.
    pub probes_off_at: Option<Duration>,
}

/// The top stacks of one process.
#[derive(Clone, Debug)]
pub struct ProcessStacks {
    /// Which process.
    pub pid: u32,
    /// Its stacks, in the order of `--sort`.
    pub stacks: Vec<StackRow>,
    /// How many stacks with live memory it has, shown or not.
    pub stacks_total: usize,
    /// Live bytes of those, shown or not.
    pub stacks_live_bytes: u64,
}

/// Processes that ended during the trace; [`EndedTally`](super::EndedTally) gathers them.
#[derive(Clone, Debug, Default)]
pub struct Ended<H = HeapHeld> {
    /// Those that lived long or held much, each, in the order of their ends.
    pub processes: Vec<EndedProcess<H>>,
    /// All others, summed by name, the most held bytes first.
    pub names: Vec<EndedName<H>>,
}

/// A process that ended, with what it still held.
#[derive(Clone, Debug, PartialEq)]
pub struct EndedProcess<H = HeapHeld> {
    /// Its PID.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Its container, unit and cgroup.
    pub place: Place,
    /// Name of the user that it ran as.
    pub user: String,
    /// Elapsed time of the trace at its end.
    pub at: Duration,
    /// For how long it was traced.
    pub traced: Duration,
    /// What it held.
    pub held: H,
}

/// Processes of one name that ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndedName<H = HeapHeld> {
    /// Their name.
    pub comm: String,
    /// How many.
    pub processes: u64,
    /// Elapsed time of the trace at the last one's end.
    pub last_at: Duration,
    /// What they held together.
    pub held: H,
}

/// What a process can hold at its end.
pub trait Held: Clone + Default {
    /// Bytes: what makes one process matter more than another.
    fn bytes(&self) -> u64;
    /// Adds what another one held.
    fn add(&mut self, other: &Self);
    /// In words: "29.3 KiB in 3 blocks", or "nothing".
    fn words(&self) -> String;
}

/// Heap memory that was held at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeapHeld {
    /// Bytes that were allocated since the start and not released.
    pub live_bytes: u64,
    /// Blocks that were allocated since the start and not released.
    pub live_count: u64,
    /// Bytes that were allocated since the start.
    pub alloc_bytes: u64,
    /// Blocks that were allocated since the start.
    pub alloc_count: u64,
}

impl Held for HeapHeld {
    fn bytes(&self) -> u64 {
        self.live_bytes
    }

    fn add(&mut self, other: &Self) {
        for (sum, value) in [
            (&mut self.live_bytes, other.live_bytes),
            (&mut self.live_count, other.live_count),
            (&mut self.alloc_bytes, other.alloc_bytes),
            (&mut self.alloc_count, other.alloc_count),
        ] {
            *sum = sum.saturating_add(value);
        }
    }

    fn words(&self) -> String {
        match self.live_count {
            0 => "nothing".to_owned(),
            blocks => format!("{} in {}", bytes(self.live_bytes), counted(blocks, "block")),
        }
    }
}

/// The overhead guard: what the probes cost, and what was done about it.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Most that probes may cost, in percent of the machine's CPUs (`--cpu-budget`); `None` is no limit.
    pub budget_percent: Option<f64>,
    /// What they cost now, estimated from hits, in percent of the machine's CPUs.
    pub cost_percent: f64,
    /// Probe hits per second now, over all processes.
    pub hits_per_second: u64,
    /// What was done, in order of time.
    pub steps: Vec<GuardStep>,
}

/// One thing that the guard did.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardStep {
    /// Elapsed time of the trace.
    pub at: Duration,
    /// Whose probes; `None` for all processes of the program.
    pub pid: Option<u32>,
    /// That process's name, or the program's.
    pub comm: String,
    /// Its container, unit and cgroup.
    pub place: Place,
    /// What was done.
    pub action: GuardAction,
    /// Its probe hits per second before.
    pub hits_per_second: u64,
    /// What they would have gone on to cost, in percent of the machine's CPUs.
    pub cost_percent: f64,
    /// What all probes on the host cost then, in the same way.
    pub total_percent: f64,
    /// Processes of the same program that began since, and to which the same was done.
    pub later_processes: u64,
}

/// What the guard can do to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardAction {
    /// Follow one block in about so many bytes; `None` is every block. More than before, or less.
    Sample {
        /// Mean bytes between two samples before.
        from: Option<u64>,
        /// Mean bytes between two samples from now on.
        to: Option<u64>,
    },
    /// Take its probes off.
    ProbesOff,
}

/// An allocator file that came up during the trace, and for how long its calls may have been missed.
#[derive(Clone, Debug, PartialEq)]
pub struct LateFile {
    /// Elapsed time of the trace when it was mapped.
    pub at: Duration,
    /// Who mapped it first.
    pub pid: u32,
    /// That process's name.
    pub comm: String,
    /// Its container, unit and cgroup.
    pub place: Place,
    /// The file, as the process sees it.
    pub path: PathBuf,
    /// From the mapping until its probes were in place.
    pub missed: Duration,
}
