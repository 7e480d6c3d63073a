//! The report of `memlens vm` as one plain value: whose address space holds what, mapped by whom, and how much of it is memory.

mod columns;
pub mod faults;
pub mod group;
mod host;
mod host_text;
pub mod json;
mod json_host;
mod picture;
pub mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tracer_common::loss::Loss;

use self::faults::FaultReport;
use super::loss::is_exact;
use super::{CommandExit, ProcessState};
use crate::space::Kind;
use crate::symbolize::Frame;

pub use host::{SpaceHeld, SpaceHost, SpaceProcessHost};
pub use picture::{Width, folded, svg};

/// Bytes of a part of an address space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Mapped.
    pub mapped: u64,
    /// Of these, without any access (`PROT_NONE`): address space that is set aside.
    pub reserved: u64,
    /// Of these, in memory. Pages that processes share count in each.
    pub resident: u64,
    /// Of these, in swap.
    pub swapped: u64,
    /// Ranges that lie together and came from one call.
    pub ranges: u64,
}

impl Amount {
    /// Adds another part.
    pub fn add(&mut self, other: &Self) {
        self.mapped += other.mapped;
        self.reserved += other.reserved;
        self.resident += other.resident;
        self.swapped += other.swapped;
        self.ranges += other.ranges;
    }
}

/// What a trace of address spaces knows at one moment.
#[derive(Clone, Debug)]
pub struct SpaceReport {
    /// When it was taken.
    pub time: SystemTime,
    /// How long the trace had run by then.
    pub elapsed: Duration,
    /// Whether this is the last report of the trace.
    pub last: bool,
    /// Every loss counter that is not zero, by its stable name.
    pub loss: BTreeMap<&'static str, u64>,
    /// Sentences about what the numbers do not cover.
    pub notes: Vec<String>,
    /// One row for each program, the most resident first.
    pub processes: Vec<SpaceProcess>,
    /// The stacks to show, in the order to show them.
    pub stacks: Vec<SpaceStack>,
    /// How many stacks have mapped memory, shown or not.
    pub stacks_total: usize,
    /// What they have mapped, shown or not.
    pub stacks_amount: Amount,
    /// What no call of the trace has mapped, by kind and name, the most resident first.
    pub others: Vec<SpaceOther>,
    /// How many such rows there are, shown or not.
    pub others_total: usize,
    /// Page faults, where they were followed.
    pub faults: Option<FaultReport>,
    /// What the width of pictures means.
    pub width: Width,
    /// The exit of the traced command, where the trace started it.
    pub command_exit: Option<CommandExit>,
    /// What only a trace of the whole host tells.
    pub host: Option<SpaceHost>,
}

/// The address space of one program.
#[derive(Clone, Debug, PartialEq)]
pub struct SpaceProcess {
    /// Its PID.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Whether it still runs.
    pub state: ProcessState,
    /// All of it. Of a program that is gone: as it was at its end, without what was in memory.
    pub amount: Amount,
    /// Whether what is in memory is known: the program runs, and its page map could be read.
    pub measured: bool,
    /// By kind.
    pub kinds: BTreeMap<Kind, Amount>,
    /// Change of the mapped bytes since the previous report; `None` in the first.
    pub growth: Option<i64>,
    /// How the account was found to differ from the maps, and was corrected, since the start.
    pub corrections: Corrections,
    /// What only a trace of the whole host knows of it.
    pub host: Option<SpaceProcessHost>,
}

/// What the maps showed and no call had told, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Corrections {
    /// Mapped.
    pub found: u64,
    /// Not mapped any more.
    pub gone: u64,
    /// Access was other.
    pub access: u64,
    /// Found where events were known to be lost; not counted above.
    pub repaired: u64,
}

/// What one call stack has mapped.
#[derive(Clone, Debug)]
pub struct SpaceStack {
    /// Whose stack.
    pub pid: u32,
    /// Other processes that have the same stack, where those are one row.
    pub also: Vec<u32>,
    /// What it has mapped and not unmapped.
    pub amount: Amount,
    /// Whether what is in memory is known.
    pub measured: bool,
    /// Kinds, most bytes first.
    pub kinds: Vec<Kind>,
    /// Files, most bytes first; empty where no file is mapped or its name is not known.
    pub files: Vec<PathBuf>,
    /// Bytes mapped since the start.
    pub mapped_total: u64,
    /// Bytes unmapped of these.
    pub unmapped_total: u64,
    /// Change of the mapped bytes since the previous report; `None` in the first.
    pub growth: Option<i64>,
    /// Age of the oldest range.
    pub oldest: Duration,
    /// Why the stack is cut, where it is.
    pub truncated: Option<String>,
    /// Frames, innermost first.
    pub frames: Vec<Frame>,
}

/// What no call of the trace has mapped.
#[derive(Clone, Debug, PartialEq)]
pub struct SpaceOther {
    /// Whose.
    pub pid: u32,
    /// What it is.
    pub kind: Kind,
    /// The file, where it is one and its name is known.
    pub name: Option<PathBuf>,
    /// It came during the trace: the kernel mapped it by itself, or its call was not seen.
    pub during: bool,
    /// How much.
    pub amount: Amount,
    /// Whether what is in memory is known.
    pub measured: bool,
}

impl SpaceReport {
    /// Whether the account has agreed with the maps, but for what is known to have been lost or is the kernel's own doing.
    pub fn complete(&self) -> bool {
        let unexplained = |row: &SpaceProcess| {
            let Corrections {
                found,
                gone,
                access,
                ..
            } = row.corrections;
            found + gone + access > 0
        };
        !self.processes.iter().any(unexplained) && is_exact::<Loss>(&self.loss)
    }

    /// Whose address space the report is about.
    pub fn subject(&self) -> String {
        let subject = match (&self.host, self.processes.as_slice()) {
            (Some(host), _) => host.scope.clone(),
            (None, []) => "no process".to_owned(),
            (None, [only]) => format!("{} ({})", only.comm, only.pid),
            (None, several) => {
                let mut pids: Vec<u32> = several.iter().map(|row| row.pid).collect();
                pids.sort_unstable();
                pids.dedup();
                match (pids.as_slice(), several.last()) {
                    ([pid], Some(last)) => format!("{} ({pid})", last.comm),
                    _ => format!("{} processes", pids.len()),
                }
            }
        };
        super::names::clean(&subject).into_owned()
    }

    /// The name of a stack's process, where the report has several; "pid" for one that it does not have.
    fn comm_among_several(&self, pid: u32) -> Option<&str> {
        let row = self.processes.iter().rfind(|row| row.pid == pid);
        (self.processes.len() > 1).then(|| row.map_or("pid", |row| row.comm.as_str()))
    }

    /// All processes together.
    pub fn amount(&self) -> Amount {
        let mut sum = Amount::default();
        self.processes.iter().for_each(|row| sum.add(&row.amount));
        sum
    }

    /// Whether anything in memory could be measured.
    pub fn measured(&self) -> bool {
        self.processes.iter().any(|row| row.measured)
    }
}

#[cfg(test)]
mod tests;
