//! The JSON report as typed values, and what must hold in every report.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::host::{Host, ProcessHost};

/// Counters that do not mean that the totals are wrong.
const HARMLESS: [&str; 2] = ["unknown_frees", "untraced_children"];
/// Counters that every report must have.
const COUNTERS: [&str; 14] = [
    "live_map_full_blocks",
    "live_map_full_bytes",
    "no_memory_blocks",
    "no_memory_bytes",
    "stack_table_full",
    "missed_returns",
    "missed_frees",
    "no_thread_state",
    "unreadable_result",
    "ring_buffer_full",
    "lifecycle_full",
    "lost_in_realloc",
    "unknown_frees",
    "untraced_children",
];

/// Bytes and blocks that are outstanding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Bytes that the program asked for.
    pub bytes: u64,
    /// Blocks.
    pub blocks: u64,
}

impl Live {
    /// So many bytes in so many blocks.
    pub const fn new(bytes: u64, blocks: u64) -> Self {
        Self { bytes, blocks }
    }
}

/// What is outstanding, and what was allocated and released since the start.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Totals {
    /// Bytes not released.
    pub live_bytes: u64,
    /// Blocks not released.
    pub live_count: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Blocks allocated.
    pub alloc_count: u64,
    /// Bytes released.
    pub free_bytes: u64,
    /// Blocks released.
    pub free_count: u64,
}

impl Totals {
    /// What is outstanding.
    pub fn live(&self) -> Live {
        Live::new(self.live_bytes, self.live_count)
    }

    /// Allocated less released is outstanding, in bytes and in blocks.
    pub fn check_balance(&self, whose: &str) -> Result<()> {
        let bytes = self.alloc_bytes.checked_sub(self.free_bytes);
        let blocks = self.alloc_count.checked_sub(self.free_count);
        ensure!(
            bytes == Some(self.live_bytes) && blocks == Some(self.live_count),
            "{whose} does not balance: {self:?}"
        );
        Ok(())
    }
}

/// A row of a process.
#[derive(Clone, Debug, Deserialize)]
pub struct Process {
    /// Its PID.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// "running", "exited" or "replaced".
    pub state: String,
    /// Its totals.
    #[serde(flatten)]
    pub totals: Totals,
    /// What a trace of the whole host tells of it.
    pub host: Option<ProcessHost>,
}

/// A row of a call stack.
#[derive(Clone, Debug, Deserialize)]
pub struct Stack {
    /// Whose.
    pub pid: u32,
    /// Who else has it, where stacks are summed over processes.
    #[serde(default)]
    pub also_pids: Vec<u32>,
    /// Its totals.
    #[serde(flatten)]
    pub totals: Totals,
    /// Growth since the report before.
    pub growth_bytes: Option<i64>,
    /// Age of its oldest block.
    pub oldest_age_ms: Option<f64>,
    /// Why it is cut, where it is.
    pub truncated: Value,
    /// Its frames, innermost first.
    pub frames: Vec<Frame>,
    /// Its blocks, where asked for.
    #[serde(default)]
    pub blocks: Vec<Block>,
}

/// Stacks of one process that ended early for one reason in one file.
#[derive(Clone, Debug, Deserialize)]
pub struct Cut {
    /// Whose.
    pub pid: u32,
    /// Why.
    pub reason: String,
    /// Where.
    pub module: Option<String>,
    /// How many.
    pub stacks: u64,
    /// Their live bytes.
    pub live_bytes: u64,
    /// Their live blocks.
    pub live_count: u64,
}

/// A frame of a stack.
#[derive(Clone, Debug, Deserialize)]
pub struct Frame {
    /// Where, in hexadecimal digits: the return address into this function.
    pub address: String,
    /// Demangled name.
    pub symbol: Option<String>,
    /// Path of the file that the code is in.
    pub module: Option<String>,
    /// Where in that file.
    pub module_offset: Option<Value>,
    /// The file's build-id.
    pub build_id: Option<String>,
    /// Source file.
    pub file: Option<String>,
    /// Source line.
    pub line: Option<u32>,
    /// Whether this is a function inlined into the next frame.
    #[serde(default)]
    pub inlined: Option<bool>,
    /// Why there is no name.
    #[serde(default)]
    pub missing: Option<String>,
}

/// A live block.
#[derive(Clone, Debug, Deserialize)]
pub struct Block {
    /// Where, as a number or in hexadecimal digits.
    pub address: Value,
    /// Bytes asked for.
    pub size: u64,
    /// Its age.
    pub age_ms: f64,
}

/// What the unwind tables take.
#[derive(Clone, Debug, Deserialize)]
pub struct Tables {
    /// Files with a table.
    pub files: u64,
    /// Bytes of the tables.
    pub bytes: u64,
    /// Bytes that there are.
    pub room_bytes: u64,
    /// Mapped files without room.
    pub left_out: u64,
    /// Tables that made room.
    pub departed: u64,
}

/// One report.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// Version of the format.
    pub schema: Value,
    /// When.
    pub time: Value,
    /// How long the trace had run.
    pub elapsed_ms: f64,
    /// Whether it is the last.
    pub last: bool,
    /// Whether the totals are exact.
    pub complete: bool,
    /// What was lost, by name.
    pub loss: BTreeMap<String, u64>,
    /// Sentences.
    pub notes: Vec<String>,
    /// The sample, where there is one.
    pub sampling: Option<Value>,
    /// Totals of all processes.
    pub totals: Totals,
    /// A row for each process.
    pub processes: Vec<Process>,
    /// How many stacks hold memory, shown or not.
    pub stacks_total: u64,
    /// The stacks that are shown.
    pub stacks: Vec<Stack>,
    /// Stacks that ended early, by process, reason and file.
    pub cut: Vec<Cut>,
    /// The unwind tables.
    pub unwind: Option<Tables>,
    /// How a traced command ended.
    pub command_exit: Option<Value>,
    /// What only a trace of the whole host tells.
    pub host: Option<Host>,
}

impl Report {
    /// Reads one line.
    pub fn parse(line: &str) -> Result<Self> {
        let report: Self =
            serde_json::from_str(line).with_context(|| format!("not a report: {line:.300}"))?;
        for name in COUNTERS {
            ensure!(
                report.loss.contains_key(name),
                "the report has no counter {name}"
            );
        }
        Ok(report)
    }

    /// A loss counter.
    pub fn lost(&self, name: &str) -> u64 {
        self.loss.get(name).copied().unwrap_or(0)
    }

    /// The row of a process: that of its present program, or of its last one.
    pub fn process(&self, pid: u32) -> Result<&Process> {
        self.processes
            .iter()
            .filter(|row| row.pid == pid)
            .min_by_key(|row| row.state == "replaced")
            .with_context(|| format!("no row for PID {pid}"))
    }

    /// What the stacks hold that have a frame with this function.
    pub fn in_function(&self, name: &str) -> Live {
        self.stacks_with(name)
            .iter()
            .fold(Live::default(), |sum, stack| {
                Live::new(
                    sum.bytes + stack.totals.live_bytes,
                    sum.blocks + stack.totals.live_count,
                )
            })
    }

    /// The stacks that have a frame with this function.
    pub fn stacks_with(&self, name: &str) -> Vec<&Stack> {
        self.stacks.iter().filter(|stack| stack.has(name)).collect()
    }

    /// Nothing was lost that could change a number.
    pub fn check_complete(&self) -> Result<()> {
        let lost: Vec<_> = self
            .loss
            .iter()
            .filter(|(name, count)| **count > 0 && !HARMLESS.contains(&name.as_str()))
            .collect();
        ensure!(
            self.complete && lost.is_empty(),
            "the report is not complete ({}), lost: {lost:?}",
            self.complete
        );
        Ok(())
    }

    /// Every row balances, and the stacks add up to the processes and to the totals.
    ///
    /// Holds for a last report with every stack shown; while threads allocate, rows are read one after the other.
    pub fn check_balance(&self) -> Result<()> {
        self.totals.check_balance("the sum of all processes")?;
        for row in &self.processes {
            let whose = format!("PID {} ({})", row.pid, row.state);
            row.totals.check_balance(&whose)?;
        }
        let mut of_stacks = Live::default();
        for (index, stack) in self.stacks.iter().enumerate() {
            let whose = format!("stack {index} in {:?}", stack.names());
            stack.totals.check_balance(&whose)?;
            of_stacks.bytes += stack.totals.live_bytes;
            of_stacks.blocks += stack.totals.live_count;
        }
        ensure!(
            of_stacks == self.totals.live(),
            "the stacks hold {of_stacks:?}, the processes {:?}",
            self.totals.live()
        );
        Ok(())
    }

    /// A complete report that balances, in which this process holds exactly this.
    pub fn check_exact(&self, pid: u32, expected: Live) -> Result<()> {
        let live = self.process(pid)?.totals.live();
        ensure!(
            live == expected,
            "PID {pid} holds {live:?}, expected {expected:?}"
        );
        self.check_complete()?;
        self.check_balance()
    }

    /// The stacks through this function hold exactly this.
    pub fn check_function(&self, name: &str, expected: Live) -> Result<()> {
        let live = self.in_function(name);
        ensure!(
            live == expected,
            "{name} holds {live:?}, expected {expected:?}"
        );
        Ok(())
    }
}

impl Stack {
    /// Whether a frame is of this function.
    pub fn has(&self, name: &str) -> bool {
        self.frames.iter().any(|frame| frame.is(name))
    }

    /// The frames' names, innermost first; "?" where there is none.
    pub fn names(&self) -> Vec<&str> {
        self.frames
            .iter()
            .map(|frame| frame.symbol.as_deref().unwrap_or("?"))
            .collect()
    }

    /// The addresses, innermost first; an inlined function has none of its own.
    pub fn addresses(&self) -> Result<Vec<u64>> {
        self.frames
            .iter()
            .filter(|frame| frame.inlined != Some(true))
            .map(Frame::address)
            .collect()
    }

    /// The stack is marked as cut.
    pub fn is_truncated(&self) -> bool {
        !matches!(self.truncated, Value::Null | Value::Bool(false))
    }

    /// Functions that stand directly one above the other, innermost first, beginning at any frame.
    pub fn has_run(&self, names: &[&str]) -> bool {
        self.frames
            .windows(names.len())
            .any(|frames| frames.iter().zip(names).all(|(frame, name)| frame.is(name)))
    }
}

impl Frame {
    /// Its address as a number.
    pub fn address(&self) -> Result<u64> {
        u64::from_str_radix(self.address.trim_start_matches("0x"), 16)
            .with_context(|| format!("{:?} is no address", self.address))
    }

    /// Whether it is of this function: the name alone, or with a path before it or parameters after it.
    pub fn is(&self, name: &str) -> bool {
        self.symbol.as_deref().is_some_and(|symbol| {
            let bare = symbol.split('(').next().unwrap_or(symbol);
            bare == name || bare.ends_with(&format!("::{name}"))
        })
    }
}

impl Block {
    /// Its address as a number.
    pub fn address(&self) -> Result<u64> {
        match &self.address {
            Value::String(text) => u64::from_str_radix(text.trim_start_matches("0x"), 16)
                .with_context(|| format!("{text:?} is no address")),
            other => other
                .as_u64()
                .with_context(|| format!("{other} is no address")),
        }
    }
}
