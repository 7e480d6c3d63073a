//! One report as one plain value, and its several dresses: text, JSON, folded stacks and SVG.

mod cut;
pub(crate) mod elide;
mod ended;
pub mod file;
mod filter;
pub mod folded;
pub(crate) mod frames;
mod group;
mod guard;
mod host;
mod host_text;
pub mod json;
mod json_host;
pub mod kernel;
pub(crate) mod line;
pub mod loss;
mod names;
mod parts;
mod plumbing;
mod rates;
pub mod space;
mod stacks;
pub mod svg;
mod table;
mod tables;
pub mod text;
pub mod units;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Serialize;
use tracer_common::loss::Loss;

use crate::symbolize::Frame;

pub use cut::{CutRow, CutTally};
pub use ended::EndedTally;
pub use filter::BlockFilter;
pub use group::{GroupRow, by_stack, groups};
pub use host::{
    Ended, EndedName, EndedProcess, Grouping, Guard, GuardAction, GuardStep, HeapHeld, Held, Host,
    LateFile, MemberRow, ProcessHost, ProcessStacks,
};
pub use rates::Rates;
pub use tables::TableUse;

/// What a trace knows at one moment.
#[derive(Clone, Debug)]
pub struct Report {
    /// When it was taken.
    pub time: SystemTime,
    /// How long the trace had run by then.
    pub elapsed: Duration,
    /// Whether this is the last report of the trace.
    pub last: bool,
    /// Every loss counter that is not zero, by its stable name.
    pub loss: BTreeMap<&'static str, u64>,
    /// Sentences about what the numbers do not cover, already in plain words.
    pub notes: Vec<String>,
    /// Which blocks count.
    pub filter: BlockFilter,
    /// Set when the numbers are estimates from a sample.
    pub sampling: Option<Sampling>,
    /// One row per traced process, largest first.
    pub processes: Vec<ProcessRow>,
    /// The stacks to show, in the order to show them.
    pub stacks: Vec<StackRow>,
    /// How many stacks with live memory there are, shown or not.
    pub stacks_total: usize,
    /// Live bytes of those stacks, shown or not.
    pub stacks_live_bytes: u64,
    /// Stacks with live memory that ended early, shown or not, the most bytes first.
    pub cut: Vec<CutRow>,
    /// The unwind tables; `None` where stacks are walked without any.
    pub unwind: Option<TableUse>,
    /// The exit of the traced command, where the trace started it.
    pub command_exit: Option<CommandExit>,
    /// What only a trace of the whole host tells; `None` in others.
    pub host: Option<Host>,
}

impl Report {
    /// Whether the totals are exact: nothing was lost that could change them, and every process was followed to its end.
    pub fn complete(&self) -> bool {
        let cut_off = |host: &Host| {
            let mut actions = host.guard.steps.iter().map(|step| step.action);
            actions.any(GuardAction::ends_tracing)
        };
        !self.host.as_ref().is_some_and(cut_off) && loss::is_exact::<Loss>(&self.loss)
    }

    /// Live bytes of all processes.
    pub fn live_bytes(&self) -> u64 {
        self.processes.iter().map(|row| row.live_bytes).sum()
    }

    /// Live blocks of all processes.
    pub fn live_count(&self) -> u64 {
        self.processes.iter().map(|row| row.live_count).sum()
    }

    /// The process that a PID of a stack means: after an `exec`, the newer image.
    pub fn process(&self, pid: u32) -> Option<&ProcessRow> {
        let rows = || self.processes.iter().filter(|row| row.pid == pid);
        rows()
            .find(|row| row.state != ProcessState::Replaced)
            .or_else(|| rows().next())
    }

    /// The same for all PIDs at once, for who asks once for each of many stacks.
    fn by_pid(&self) -> HashMap<u32, &ProcessRow> {
        let mut rows: HashMap<u32, &ProcessRow> = HashMap::with_capacity(self.processes.len());
        for row in &self.processes {
            let known = rows.entry(row.pid).or_insert(row);
            if known.state == ProcessState::Replaced && row.state != ProcessState::Replaced {
                *known = row;
            }
        }
        rows
    }
}

/// The time of a report; an error in years that no calendar has.
fn timestamp(time: SystemTime) -> io::Result<Timestamp> {
    Timestamp::try_from(time).map_err(io::Error::other)
}

/// How the sample was drawn, and how far off the totals may be. In JSON as it is here.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sampling {
    /// Mean number of bytes between two samples.
    pub interval_bytes: u64,
    /// Blocks in the sample that are live.
    pub live_samples: u64,
    /// Standard error of the live bytes, in bytes.
    pub standard_error_bytes: u64,
}

/// Totals of one process (one program image: an `exec` starts a new row).
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessRow {
    /// Its PID, as the initial PID namespace sees it.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Whether it still runs.
    pub state: ProcessState,
    /// Bytes allocated since the start and not released.
    pub live_bytes: u64,
    /// Blocks allocated since the start and not released.
    pub live_count: u64,
    /// Bytes allocated since the start.
    pub alloc_bytes: u64,
    /// Blocks allocated since the start.
    pub alloc_count: u64,
    /// Change of `live_bytes` since the previous report; `None` in the first.
    pub growth_bytes: Option<i64>,
    /// Bytes released since the start.
    pub free_bytes: u64,
    /// Blocks released since the start.
    pub free_count: u64,
    /// What only a trace of the whole host tells; `None` in others.
    pub host: Option<ProcessHost>,
}

/// What became of a traced process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// It runs.
    Running,
    /// It has exited; the row shows what it held at that moment.
    Exited,
    /// It has called `exec`; the row shows what the old program held.
    Replaced,
}

/// How the traced command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandExit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// One call stack and the memory that it holds.
#[derive(Clone, Debug)]
pub struct StackRow {
    /// Whose stack; with `--by stack` that of the process that holds most on it.
    pub pid: u32,
    /// The other processes with the same stack, whose memory is in this row (`--by stack`); else empty.
    pub also: Vec<u32>,
    /// Bytes allocated here and not released (after `--older`, `--min-size` and `--max-size`).
    pub live_bytes: u64,
    /// Blocks allocated here and not released.
    pub live_count: u64,
    /// Bytes allocated here since the start.
    pub alloc_bytes: u64,
    /// Blocks allocated here since the start.
    pub alloc_count: u64,
    /// Bytes released since the start.
    pub free_bytes: u64,
    /// Blocks released since the start.
    pub free_count: u64,
    /// Change of `live_bytes` since the previous report; `None` in the first.
    pub growth_bytes: Option<i64>,
    /// Age of the oldest live block; `None` where blocks are not kept (`--combined`).
    pub oldest_age: Option<Duration>,
    /// Why the stack is cut, where it is: a short clause, such as "deeper than 127 frames".
    pub truncated: Option<String>,
    /// Frames, innermost first. Inlined frames stand before the function that holds them.
    pub frames: Vec<Frame>,
    /// The blocks themselves, oldest first (`--show-allocs`).
    pub blocks: Vec<BlockRow>,
}

/// One live block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRow {
    /// Its address.
    pub addr: u64,
    /// Bytes that the program asked for.
    pub size: u64,
    /// How long it has lived.
    pub age: Duration,
}
