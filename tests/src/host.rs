//! What only the report of a whole host has, as typed values, and what must hold for one process among many.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::report::{Live, Process, Report, Stack};

/// The host's part of a report.
#[derive(Clone, Debug, Deserialize)]
pub struct Host {
    /// What is traced, in words.
    pub scope: String,
    /// What the first table has rows for.
    pub by: String,
    /// Those rows.
    pub groups: Vec<Group>,
    /// The stacks of each process (`--per-process`).
    pub process_stacks: Vec<ProcessStacks>,
    /// Processes that ended.
    pub ended: Ended,
    /// What the probes cost.
    pub guard: Guard,
    /// Files that came up during the trace.
    pub late_files: Vec<LateFile>,
    /// Files with probes.
    pub probed_files: u64,
    /// Resident memory of memlens.
    pub own_rss_bytes: Option<u64>,
}

/// A row of the first table.
#[derive(Clone, Debug, Deserialize)]
pub struct Group {
    /// The container, user or process.
    pub key: String,
    /// Its processes.
    pub processes: u64,
    /// Their live bytes.
    pub live_bytes: u64,
    /// Their live blocks.
    pub live_count: u64,
}

/// The stacks of one process.
#[derive(Clone, Debug, Deserialize)]
pub struct ProcessStacks {
    /// Which process.
    pub pid: u32,
    /// How many stacks it has.
    pub stacks_total: u64,
    /// Those that are shown.
    pub stacks: Vec<Stack>,
}

/// What is told of a process.
#[derive(Clone, Debug, Deserialize)]
pub struct ProcessHost {
    /// Container, unit or cgroup.
    pub r#where: String,
    /// Its container.
    pub container: Option<Container>,
    /// Its cgroup's path.
    pub cgroup: String,
    /// Its user's id.
    pub uid: u32,
    /// Its user's name.
    pub user: String,
    /// Whether it started during the trace.
    pub started_in_trace: bool,
    /// Allocations a second.
    pub allocs_per_second: Option<f64>,
    /// Resident memory.
    pub rss_bytes: Option<u64>,
    /// Its sampling interval.
    pub sample_bytes: Option<u64>,
    /// When its probes were taken off.
    pub probes_off_ms: Option<u64>,
}

/// A container.
#[derive(Clone, Debug, Deserialize)]
pub struct Container {
    /// Who runs it.
    pub runtime: String,
    /// Its whole id.
    pub id: String,
}

/// Processes that ended.
#[derive(Clone, Debug, Deserialize)]
pub struct Ended {
    /// How many.
    pub count: u64,
    /// Those that are named.
    pub processes: Vec<EndedProcess>,
    /// The others, by name.
    pub names: Vec<EndedName>,
}

/// A process that ended.
#[derive(Clone, Debug, Deserialize)]
pub struct EndedProcess {
    /// Its PID.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Container, unit or cgroup.
    pub r#where: String,
    /// Bytes that it held.
    pub live_bytes: u64,
    /// Blocks that it held.
    pub live_count: u64,
}

/// Processes of one name that ended.
#[derive(Clone, Debug, Deserialize)]
pub struct EndedName {
    /// Their name.
    pub comm: String,
    /// How many.
    pub processes: u64,
    /// Bytes that they held.
    pub live_bytes: u64,
    /// Blocks that they held.
    pub live_count: u64,
    /// Blocks that they made.
    pub alloc_count: u64,
}

/// The overhead guard.
#[derive(Clone, Debug, Deserialize)]
pub struct Guard {
    /// What the probes may cost.
    pub budget_percent: Option<f64>,
    /// What they cost by its estimate.
    pub cost_percent: f64,
    /// Hits a second.
    pub hits_per_second: u64,
    /// What it did.
    pub steps: Vec<Step>,
}

/// One thing that the guard did.
#[derive(Clone, Debug, Deserialize)]
pub struct Step {
    /// When.
    pub at_ms: u64,
    /// To whom; to all processes of a program if there is none.
    pub pid: Option<u32>,
    /// "sample" or "probes_off".
    pub action: String,
    /// The interval from then on.
    pub sample_bytes: Option<u64>,
    /// Processes that began since and were treated the same.
    pub later_processes: u64,
    /// The same in words, as on standard error.
    pub sentence: String,
}

/// A file that came up during the trace.
#[derive(Clone, Debug, Deserialize)]
pub struct LateFile {
    /// Who mapped it first.
    pub pid: u32,
    /// Container, unit or cgroup of that.
    pub r#where: String,
    /// The file.
    pub path: String,
    /// How long calls may have been missed.
    pub missed_ms: u64,
}

impl Report {
    /// The host's part.
    pub fn host(&self) -> Result<&Host> {
        self.host
            .as_ref()
            .context("the report has no part about the host")
    }

    /// What this process holds by its row and by its stacks is this; the others may do what they like meanwhile.
    pub fn check_process(&self, pid: u32, expected: Live) -> Result<&Process> {
        let row = self.process(pid)?;
        row.totals.check_balance(&format!("PID {pid}"))?;
        let live = row.totals.live();
        ensure!(
            live == expected,
            "PID {pid} ({}) holds {live:?}, expected {expected:?}; its stacks: {:?}",
            row.comm,
            self.stacks_of(pid)
                .map(|stack| (stack.totals.live(), stack.names()))
                .collect::<Vec<_>>()
        );
        let of_stacks = sum(self.stacks_of(pid));
        ensure!(
            of_stacks == expected,
            "the stacks of PID {pid} hold {of_stacks:?}, its row {expected:?}"
        );
        Ok(row)
    }

    /// What a process holds through a function.
    pub fn in_function_of(&self, pid: u32, name: &str) -> Live {
        sum(self.stacks_of(pid).filter(|stack| stack.has(name)))
    }

    /// What a process holds through a function is this.
    pub fn check_function_of(&self, pid: u32, name: &str, expected: Live) -> Result<()> {
        let live = self.in_function_of(pid, name);
        ensure!(
            live == expected,
            "{name} of PID {pid} holds {live:?}, expected {expected:?}"
        );
        Ok(())
    }

    /// The stacks of a process.
    pub fn stacks_of(&self, pid: u32) -> impl Iterator<Item = &Stack> {
        self.stacks.iter().filter(move |stack| stack.pid == pid)
    }

    /// A process has no row, or it has made no call.
    pub fn has_row(&self, pid: u32) -> bool {
        self.processes.iter().any(|row| row.pid == pid)
    }
}

impl Process {
    /// What is told of it in a trace of the host.
    pub fn host(&self) -> Result<&ProcessHost> {
        self.host
            .as_ref()
            .with_context(|| format!("the row of PID {} says nothing of the host", self.pid))
    }
}

impl Host {
    /// The sum of the short-lived processes of a name.
    pub fn ended_name(&self, comm: &str) -> Result<&EndedName> {
        self.ended
            .names
            .iter()
            .find(|name| name.comm == comm)
            .with_context(|| {
                let names = self
                    .ended
                    .names
                    .iter()
                    .map(|name| (&name.comm, name.processes));
                format!(
                    "nothing named {comm} ended: {:?}",
                    names.collect::<Vec<_>>()
                )
            })
    }

    /// What the guard did to a process.
    pub fn steps_of(&self, pid: u32) -> impl Iterator<Item = &Step> {
        self.guard
            .steps
            .iter()
            .filter(move |step| step.pid == Some(pid))
    }
}

impl EndedName {
    /// So many ended, and they held this.
    pub fn check(&self, processes: u64, expected: Live) -> Result<()> {
        let live = Live::new(self.live_bytes, self.live_count);
        ensure!(
            self.processes == processes && live == expected,
            "{} processes named {} held {live:?}, expected {processes} and {expected:?}",
            self.processes,
            self.comm
        );
        Ok(())
    }
}

fn sum<'a>(stacks: impl Iterator<Item = &'a Stack>) -> Live {
    stacks.fold(Live::default(), |sum, stack| {
        Live::new(
            sum.bytes + stack.totals.live_bytes,
            sum.blocks + stack.totals.live_count,
        )
    })
}
