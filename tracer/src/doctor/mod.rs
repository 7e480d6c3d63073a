//! `memlens doctor`: what works on this machine and in a process, as text or JSON. Rows in, text out; no I/O.

mod json;
mod layout;
mod probes;
mod runtimes;
mod text;
mod unwind;

use serde::Serialize;

use crate::preflight::{Finding, State};

pub use runtimes::{RuntimeReport, RuntimeRow};
pub use unwind::{UnsupportedRows, UnwindReport, UnwindRow, UnwindTotals, Walk};

/// All that `memlens doctor` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// The machine and the privileges.
    pub findings: Vec<Finding>,
    /// Allocators found, a row for each process and file.
    pub allocators: Vec<AllocatorRow>,
    /// Processes without an allocator that can be traced.
    pub untraceable: Vec<UntraceableRow>,
    /// Probe sites, a table for each process; `None` where they were not asked for.
    pub probes: Option<Vec<ProbeTable>>,
    /// How stacks are walked, one for each process; `None` where it was not asked for.
    pub unwind: Option<Vec<UnwindReport>>,
    /// Language runtimes, one for each process; `None` where they were not asked for.
    pub runtimes: Option<Vec<RuntimeReport>>,
}

/// An allocator in a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AllocatorRow {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// The file that holds the allocator, as the process sees it.
    pub file: String,
    /// Its kind, in plain words: "glibc", "jemalloc (prefix je_)".
    pub kind: String,
    /// The functions to trace.
    pub functions: Vec<String>,
}

/// A process in which nothing can be traced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UntraceableRow {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Why, as a clause.
    pub why: String,
}

/// The probe sites of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeTable {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// One row for each function, files together.
    pub probes: Vec<ProbeRow>,
    /// Functions that need no probe of their own, or cannot have one.
    pub left_out: Vec<LeftOutRow>,
}

/// One function and where its probe sits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeRow {
    /// The file, as the process sees it.
    pub file: String,
    /// Best-known name of the function.
    pub symbol: String,
    /// Its other names.
    pub aliases: Vec<String>,
    /// File offset of the probe.
    pub offset: u64,
    /// Bytes from the function's entry to the probe.
    pub from_entry: u32,
    /// The instruction under the probe.
    pub instruction: String,
    /// What a hit costs.
    pub speed: Speed,
    /// How the return is seen: "return probe", "2 ret instructions", "not needed".
    pub ending: String,
    /// Why this instruction, as a clause.
    pub why: String,
}

/// What a probe hit costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Speed {
    /// One trap.
    Fast,
    /// Two traps: the kernel single-steps the instruction.
    Slow,
}

/// A function without a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOutRow {
    /// The file, as the process sees it.
    pub file: String,
    /// Name of the function.
    pub symbol: String,
    /// Why, as a clause.
    pub reason: String,
}

impl Diagnosis {
    /// Whether `memlens leaks` can work: nothing required is missing, and where processes were looked at, one of
    /// them can be traced.
    pub fn is_able(&self) -> bool {
        self.missing().next().is_none() && !self.is_target_untraceable()
    }

    /// One sentence: all is here, or what to do.
    pub fn verdict(&self) -> String {
        let missing: Vec<&str> = self.missing().map(|finding| finding.what).collect();
        if !missing.is_empty() {
            return format!(
                "memlens leaks cannot work here yet: mend what is marked MISSING ({}), then run \
                 memlens doctor again",
                missing.join(", ")
            );
        }
        if self.is_target_untraceable() {
            return "this machine is ready, but no allocator was found in the target: name it with \
                    --object or --symbols-prefix"
                .to_owned();
        }
        let here = "everything that memlens leaks needs is here";
        match self.count(State::Warn) {
            0 => here.to_owned(),
            1 => format!("{here}; one warning above says what could be better"),
            many => format!("{here}; {many} warnings above say what could be better"),
        }
    }

    fn missing(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.state == State::Missing)
    }

    fn is_target_untraceable(&self) -> bool {
        self.allocators.is_empty() && !self.untraceable.is_empty()
    }

    fn count(&self, state: State) -> usize {
        let has_state = |finding: &&Finding| finding.state == state;
        self.findings.iter().filter(has_state).count()
    }
}
