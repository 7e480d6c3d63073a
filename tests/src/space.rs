//! The JSON report of `memlens vm`, typed, and what the maps of a process say.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::Memlens;
use crate::host::ProcessHost;
use crate::memlens::Ended;
use crate::need;
use crate::report::Frame;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// A report.
#[derive(Clone, Debug, Deserialize)]
pub struct SpaceReport {
    /// Whether the account agreed with the maps.
    pub complete: bool,
    /// The loss counters.
    pub loss: BTreeMap<String, u64>,
    /// Sentences.
    pub notes: Vec<String>,
    /// All processes together.
    pub totals: Amount,
    /// One row for each program.
    pub processes: Vec<SpaceProcess>,
    /// The stacks.
    pub stacks: Vec<SpaceStack>,
    /// What no call has mapped.
    pub others: Vec<SpaceOther>,
    /// All page faults, where they were followed.
    pub fault_totals: Option<Faults>,
    /// Page faults by stack.
    pub faults: Option<Vec<FaultStack>>,
    /// How the command ended.
    pub command_exit: Option<serde_json::Value>,
    /// What only the whole host has.
    pub host: Option<SpaceHost>,
}

/// The host's part of a report.
#[derive(Clone, Debug, Deserialize)]
pub struct SpaceHost {
    /// What is traced, in words.
    pub scope: String,
    /// Rows of the first table.
    pub groups: Vec<SpaceGroup>,
    /// Processes that ended.
    pub ended: SpaceEnded,
}

/// A row of the first table.
#[derive(Clone, Debug, Deserialize)]
pub struct SpaceGroup {
    /// The container or user.
    pub key: String,
    /// Its processes.
    pub processes: u64,
    /// Their address spaces.
    #[serde(flatten)]
    pub amount: Amount,
}

/// Processes that ended.
#[derive(Clone, Debug, Deserialize)]
pub struct SpaceEnded {
    /// How many.
    pub count: u64,
    /// Those that are named.
    pub processes: Vec<SpaceEndedProcess>,
    /// The others, by name.
    pub names: Vec<SpaceEndedName>,
}

/// A process that ended.
#[derive(Clone, Debug, Deserialize)]
pub struct SpaceEndedProcess {
    /// Its PID.
    pub pid: u32,
    /// What it held.
    #[serde(flatten)]
    pub held: SpaceHeld,
}

/// Processes of one name that ended.
#[derive(Clone, Debug, Deserialize)]
pub struct SpaceEndedName {
    /// Their name.
    pub comm: String,
    /// How many.
    pub processes: u64,
    /// What they held.
    #[serde(flatten)]
    pub held: SpaceHeld,
}

/// What was mapped at the end.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct SpaceHeld {
    /// All that is known.
    pub mapped_bytes: u64,
    /// By calls of the trace.
    pub called_bytes: u64,
    /// Of these, memory.
    pub anonymous_bytes: u64,
    /// Processes whose maps were not read in time.
    pub unread: u64,
}

/// Bytes of a part.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct Amount {
    /// Mapped.
    pub mapped_bytes: u64,
    /// Without access.
    pub reserved_bytes: u64,
    /// In memory.
    pub resident_bytes: Option<u64>,
    /// In the swap.
    pub swapped_bytes: Option<u64>,
}

/// A program's row.
#[derive(Clone, Debug, Deserialize)]
pub struct SpaceProcess {
    /// Its PID.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// What became of it.
    pub state: String,
    /// How much.
    #[serde(flatten)]
    pub amount: Amount,
    /// Where it belongs, in a trace of the whole host.
    pub host: Option<ProcessHost>,
    /// What the account had to take over from the maps.
    pub corrections: BTreeMap<String, u64>,
}

/// A stack.
#[derive(Clone, Debug, Deserialize)]
pub struct SpaceStack {
    /// Whose.
    pub pid: u32,
    /// Others that have it.
    pub also_pids: Vec<u32>,
    /// How much.
    #[serde(flatten)]
    pub amount: Amount,
    /// Its first kind.
    pub kind: String,
    /// Files.
    pub files: Vec<String>,
    /// Mapped since the start.
    pub mapped_total_bytes: u64,
    /// Unmapped of these.
    pub unmapped_total_bytes: u64,
    /// Frames, innermost first.
    pub frames: Vec<Frame>,
}

/// Page faults.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Faults {
    /// Minor and major.
    pub faults: u64,
    /// Major.
    pub major: u64,
    /// Memory that came with them.
    pub new_bytes: u64,
    /// Of `faults`.
    pub standard_error: u64,
    /// Faults that were seen.
    pub samples: u64,
    /// What the kernel has counted; of all faults only.
    pub kernel_minor: Option<u64>,
    /// Of these, major ones.
    pub kernel_major: Option<u64>,
}

/// The page faults of a stack.
#[derive(Clone, Debug, Deserialize)]
pub struct FaultStack {
    /// How many.
    #[serde(flatten)]
    pub amount: Faults,
    /// What was touched.
    pub touched: Vec<Touched>,
    /// Why the stack is cut.
    pub truncated: Option<String>,
    /// Frames, innermost first.
    pub frames: Vec<Frame>,
}

/// What a stack touched.
#[derive(Clone, Debug, Deserialize)]
pub struct Touched {
    /// What it is.
    pub kind: Option<String>,
    /// Its file.
    pub file: Option<String>,
    /// The stack that mapped it.
    pub mapped_by: Option<Vec<Frame>>,
}

/// A row without a stack.
#[derive(Clone, Debug, Deserialize)]
pub struct SpaceOther {
    /// Its kind.
    pub kind: String,
    /// The file.
    pub name: Option<String>,
    /// Whether it came during the trace.
    pub during_trace: bool,
}

/// Traces the address space of a process, as JSON with all stacks; returns once it is traced.
pub fn trace(target: &[&str], more: &[&str]) -> Result<Memlens> {
    need::root()?;
    let mut command = std::process::Command::new(crate::paths::memlens()?);
    command.args(["vm", "3600", "--json", "--top", "0"]);
    if let Some(ring) = more.first() {
        command.env("MEMLENS_SPACE_RING", ring);
    }
    command.args(target);
    let mut memlens = Memlens::start_command(command)?;
    memlens.wait_until_tracing()?;
    Ok(memlens)
}

/// The last report of a memlens that ended well.
pub fn last_report(ended: &Ended) -> Result<SpaceReport> {
    ensure!(
        ended.status.code() == Some(0),
        "memlens ended with {}: {}",
        ended.status,
        ended.errors.join("\n")
    );
    let line = ended.output.last().context("no report came")?;
    serde_json::from_str(line).with_context(|| format!("not a report: {line}"))
}

/// Bytes mapped, and mapped without access, as `/proc/PID/maps` has them; the vsyscall page is nobody's.
pub fn mapped(pid: u32) -> Result<(u64, u64)> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).context("cannot read maps")?;
    let (mut mapped, mut reserved) = (0, 0);
    for line in maps.lines().filter(|line| !line.contains("[vsyscall]")) {
        let (range, rest) = line.split_once(' ').context("no range")?;
        let (start, end) = range.split_once('-').context("no range")?;
        let len = u64::from_str_radix(end, 16)? - u64::from_str_radix(start, 16)?;
        mapped += len;
        if rest.starts_with("---") {
            reserved += len;
        }
    }
    Ok((mapped, reserved))
}

impl SpaceReport {
    /// Nothing was lost, and nothing had to be corrected.
    pub fn check_complete(&self) -> Result<()> {
        ensure!(self.complete, "incomplete: {:?}", self.notes);
        let corrected: Vec<_> = self
            .processes
            .iter()
            .filter(|row| row.corrections.values().any(|bytes| *bytes > 0))
            .collect();
        ensure!(corrected.is_empty(), "corrected: {corrected:?}");
        ensure!(self.loss["space_ring_full"] == 0, "events were lost");
        Ok(())
    }

    /// What is tracked is what the maps say.
    pub fn check_maps(&self, maps: (u64, u64)) -> Result<()> {
        let tracked = (self.totals.mapped_bytes, self.totals.reserved_bytes);
        ensure!(tracked == maps, "tracked {tracked:?}, mapped {maps:?}");
        Ok(())
    }

    /// Page faults of stacks through a function, of these major ones, and pages that came with them.
    pub fn faults_of(&self, function: &str) -> [u64; 3] {
        let mut sum = [0; 3];
        for stack in self.fault_stacks(function) {
            let amount = stack.amount;
            let parts = [amount.faults, amount.major, amount.new_bytes / PAGE];
            for (sum, part) in sum.iter_mut().zip(parts) {
                *sum += part;
            }
        }
        sum
    }

    /// Stacks of page faults through a function.
    pub fn fault_stacks(&self, function: &str) -> impl Iterator<Item = &FaultStack> {
        let through =
            move |stack: &&FaultStack| stack.frames.iter().any(|frame| frame.is(function));
        self.faults.iter().flatten().filter(through)
    }

    /// What stacks through a function hold, in pages: mapped, resident, without access, unmapped again.
    pub fn pages_of(&self, function: &str) -> [u64; 4] {
        pages(self.stacks.iter().filter(|stack| stack.has(function)))
    }

    /// The same of one process.
    pub fn pages_in(&self, pid: u32, function: &str) -> [u64; 4] {
        let own = self.stacks.iter().filter(|stack| stack.pid == pid);
        pages(own.filter(|stack| stack.has(function)))
    }

    /// The host's part.
    pub fn host(&self) -> Result<&SpaceHost> {
        let host = self.host.as_ref();
        host.context("the report has no part about the host")
    }

    /// The row of a process.
    pub fn process(&self, pid: u32) -> Result<&SpaceProcess> {
        let mut rows = self.processes.iter();
        let row = rows.find(|row| row.pid == pid);
        row.with_context(|| format!("no row of PID {pid}"))
    }

    /// What is tracked of a process is what its maps say, without a correction.
    pub fn check_process(&self, pid: u32, maps: (u64, u64)) -> Result<&SpaceProcess> {
        let row = self.process(pid)?;
        let tracked = (row.amount.mapped_bytes, row.amount.reserved_bytes);
        ensure!(
            tracked == maps,
            "PID {pid} ({}): tracked {tracked:?}, mapped {maps:?}",
            row.comm
        );
        ensure!(
            row.corrections.values().all(|bytes| *bytes == 0),
            "PID {pid} ({}) was corrected: {:?}",
            row.comm,
            row.corrections
        );
        Ok(row)
    }
}

impl SpaceStack {
    /// Whether it goes through a function.
    pub fn has(&self, function: &str) -> bool {
        self.frames.iter().any(|frame| frame.is(function))
    }
}

impl SpaceHost {
    /// The sum of the short-lived processes of a name.
    pub fn ended_name(&self, comm: &str) -> Result<&SpaceEndedName> {
        let mut names = self.ended.names.iter();
        let name = names.find(|name| name.comm == comm);
        name.with_context(|| format!("nothing named {comm} ended: {:?}", self.ended))
    }
}

fn pages<'a>(stacks: impl Iterator<Item = &'a SpaceStack>) -> [u64; 4] {
    let mut sum = [0; 4];
    for stack in stacks {
        let parts = [
            stack.amount.mapped_bytes,
            stack.amount.resident_bytes.unwrap_or(0),
            stack.amount.reserved_bytes,
            stack.unmapped_total_bytes,
        ];
        for (sum, part) in sum.iter_mut().zip(parts) {
            *sum += part / PAGE;
        }
    }
    sum
}
