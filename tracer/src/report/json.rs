//! The report as JSON: one object, one line. Its form is a promise, written down in `docs/json.md`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tracer_common::loss::Loss;

use super::json_host::{WireHost, WireProcessHost};
use super::loss::{self, Sentence};
use super::text::state_name;
use super::{
    BlockFilter, BlockRow, CommandExit, CutRow, ProcessRow, Report, Sampling, StackRow, TableUse,
};
use crate::symbolize::Frame;

/// Name and version of the form; the number changes when a reader could break.
pub const SCHEMA: &str = "memlens.leaks/1";

/// What the JSON report holds beyond the fixed form.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonOptions {
    /// Whether stacks have their `blocks`.
    pub blocks: bool,
}

/// Writes the report as one line.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &Report, options: JsonOptions, out: &mut impl Write) -> io::Result<()> {
    write_line(&WireReport::of(report, options)?, out)
}

/// Writes one object as one line.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write_line(object: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, object)?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
struct WireReport<'a> {
    schema: &'static str,
    time: String,
    elapsed_ms: u64,
    last: bool,
    complete: bool,
    #[serde(serialize_with = "all_counters")]
    loss: &'a BTreeMap<&'static str, u64>,
    notes: Vec<String>,
    filter: WireFilter,
    sampling: Option<Sampling>,
    totals: WireTotals,
    processes: Vec<WireProcess<'a>>,
    stacks_total: usize,
    stacks_live_bytes: u64,
    stacks: Vec<WireStack<'a>>,
    cut: Vec<WireCut<'a>>,
    unwind: Option<TableUse>,
    command_exit: Option<WireExit>,
    host: Option<WireHost<'a>>,
}

#[derive(Serialize)]
struct WireFilter {
    older_ms: Option<u64>,
    min_size: Option<u64>,
    max_size: Option<u64>,
}

#[derive(Serialize)]
struct WireTotals {
    live_bytes: u64,
    live_count: u64,
    alloc_bytes: u64,
    alloc_count: u64,
    free_bytes: u64,
    free_count: u64,
}

#[derive(Serialize)]
struct WireProcess<'a> {
    pid: u32,
    comm: &'a str,
    state: &'static str,
    #[serde(flatten)]
    totals: WireTotals,
    growth_bytes: Option<i64>,
    host: Option<WireProcessHost<'a>>,
}

/// A stack.
#[derive(Serialize)]
pub(super) struct WireStack<'a> {
    pid: u32,
    also_pids: &'a [u32],
    #[serde(flatten)]
    totals: WireTotals,
    growth_bytes: Option<i64>,
    oldest_age_ms: Option<u64>,
    truncated: Option<&'a str>,
    frames: Vec<WireFrame<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocks: Option<Vec<WireBlock>>,
}

#[derive(Serialize)]
pub(crate) struct WireFrame<'a> {
    address: String,
    symbol: Option<&'a str>,
    offset: Option<u64>,
    module: Option<String>,
    module_offset: Option<String>,
    build_id: Option<&'a str>,
    file: Option<String>,
    line: Option<u32>,
    inlined: bool,
    missing: Option<&'a str>,
}

#[derive(Serialize)]
struct WireBlock {
    address: String,
    size: u64,
    age_ms: u64,
}

#[derive(Serialize)]
struct WireCut<'a> {
    pid: u32,
    reason: &'a str,
    module: Option<String>,
    stacks: u64,
    live_bytes: u64,
    live_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WireExit {
    Code(i32),
    Signal(i32),
}

/// Every counter, also those that are zero, so that a reader need not know which there are.
pub(super) fn all_counters<S: Serializer>(
    loss: &BTreeMap<&'static str, u64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    for counter in Loss::ALL {
        let value = loss.get(counter.name()).copied().unwrap_or(0);
        map.serialize_entry(counter.name(), &value)?;
    }
    for (name, value) in loss {
        if !Loss::ALL.iter().any(|counter| counter.name() == *name) {
            map.serialize_entry(name, value)?;
        }
    }
    map.end()
}

impl<'a> WireReport<'a> {
    fn of(report: &'a Report, options: JsonOptions) -> io::Result<Self> {
        Ok(Self {
            schema: SCHEMA,
            time: to_milliseconds(report.time)?,
            elapsed_ms: millis(report.elapsed),
            last: report.last,
            complete: report.complete(),
            loss: &report.loss,
            notes: all_notes(loss::sentences(&report.loss), &report.notes),
            filter: WireFilter::of(&report.filter),
            sampling: report.sampling,
            totals: WireTotals::sum(&report.processes),
            processes: report.processes.iter().map(WireProcess::of).collect(),
            stacks_total: report.stacks_total,
            stacks_live_bytes: report.stacks_live_bytes,
            stacks: report
                .stacks
                .iter()
                .map(|stack| WireStack::of(stack, options))
                .collect(),
            cut: report.cut.iter().map(WireCut::of).collect(),
            unwind: report.unwind,
            command_exit: report.command_exit.map(WireExit::of),
            host: report
                .host
                .as_ref()
                .map(|host| WireHost::of(report, host, options)),
        })
    }
}

impl WireFilter {
    fn of(filter: &BlockFilter) -> Self {
        Self {
            older_ms: (!filter.older.is_zero()).then(|| millis(filter.older)),
            min_size: (filter.min_size > 0).then_some(filter.min_size),
            max_size: (filter.max_size < u64::MAX).then_some(filter.max_size),
        }
    }
}

impl WireTotals {
    fn sum(processes: &[ProcessRow]) -> Self {
        let sum = |value: fn(&ProcessRow) -> u64| processes.iter().map(value).sum();
        Self {
            live_bytes: sum(|row| row.live_bytes),
            live_count: sum(|row| row.live_count),
            alloc_bytes: sum(|row| row.alloc_bytes),
            alloc_count: sum(|row| row.alloc_count),
            free_bytes: sum(|row| row.free_bytes),
            free_count: sum(|row| row.free_count),
        }
    }
}

impl<'a> WireProcess<'a> {
    fn of(row: &'a ProcessRow) -> Self {
        Self {
            pid: row.pid,
            comm: &row.comm,
            state: state_name(row.state),
            totals: WireTotals::sum(std::slice::from_ref(row)),
            growth_bytes: row.growth_bytes,
            host: row.host.as_ref().map(WireProcessHost::of),
        }
    }
}

impl<'a> WireStack<'a> {
    /// The stack as it is written.
    pub(super) fn of(stack: &'a StackRow, options: JsonOptions) -> Self {
        let blocks = || stack.blocks.iter().map(WireBlock::of).collect();
        Self {
            pid: stack.pid,
            also_pids: &stack.also,
            totals: WireTotals {
                live_bytes: stack.live_bytes,
                live_count: stack.live_count,
                alloc_bytes: stack.alloc_bytes,
                alloc_count: stack.alloc_count,
                free_bytes: stack.free_bytes,
                free_count: stack.free_count,
            },
            growth_bytes: stack.growth_bytes,
            oldest_age_ms: stack.oldest_age.map(millis),
            truncated: stack.truncated.as_deref(),
            frames: stack.frames.iter().map(WireFrame::of).collect(),
            blocks: options.blocks.then(blocks),
        }
    }
}

impl WireExit {
    pub(super) fn of(exit: CommandExit) -> Self {
        match exit {
            CommandExit::Code(code) => Self::Code(code),
            CommandExit::Signal(number) => Self::Signal(number),
        }
    }
}

impl<'a> WireFrame<'a> {
    /// The frame as it is written.
    pub(crate) fn of(frame: &'a Frame) -> Self {
        Self {
            address: hex(frame.address),
            symbol: super::names::symbol(frame),
            offset: frame.offset,
            module: frame.module.as_deref().map(lossy),
            module_offset: frame.module_offset.map(hex),
            build_id: frame.build_id.as_deref(),
            file: frame.file.as_deref().map(lossy),
            line: frame.line,
            inlined: frame.inlined,
            missing: frame.missing.as_deref(),
        }
    }
}

impl<'a> WireCut<'a> {
    fn of(row: &'a CutRow) -> Self {
        Self {
            pid: row.pid,
            reason: &row.reason,
            module: row.module.as_deref().map(lossy),
            stacks: row.stacks,
            live_bytes: row.live_bytes,
            live_count: row.live_count,
        }
    }
}

impl WireBlock {
    fn of(block: &BlockRow) -> Self {
        Self {
            address: hex(block.addr),
            size: block.size,
            age_ms: millis(block.age),
        }
    }
}

/// The sentences about what was lost, and then the notes.
pub(super) fn all_notes(lost: Vec<Sentence>, notes: &[String]) -> Vec<String> {
    let lost = lost.into_iter().map(|sentence| sentence.text);
    lost.chain(notes.iter().cloned()).collect()
}

/// The time of a report.
pub(super) fn to_milliseconds(time: SystemTime) -> io::Result<String> {
    Ok(format!("{:.3}", super::timestamp(time)?))
}

pub(super) fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Addresses go as text: many readers keep numbers as doubles, which hold 53 bits.
fn hex(address: u64) -> String {
    format!("{address:#x}")
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
