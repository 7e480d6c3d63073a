//! The report of `memlens vm` as JSON: one object, one line. Its form is a promise, written down in `docs/vm.md`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::faults::{WireFaults, WireTotals};
use super::json_host::{WireHost, WireProcessHost};
use super::{Amount, Corrections, SpaceOther, SpaceProcess, SpaceReport, SpaceStack};
use crate::report::json::{
    WireExit, WireFrame, all_counters, all_notes, lossy, millis, write_line,
};
use crate::report::text::state_name;
use crate::report::{loss, timestamp};

/// Name and version of the form; the number changes when a reader could break.
pub const SCHEMA: &str = "memlens.vm/1";

/// Writes the report as one line.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &SpaceReport, out: &mut impl Write) -> io::Result<()> {
    write_line(&WireReport::of(report)?, out)
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
    totals: WireAmount,
    processes: Vec<WireProcess<'a>>,
    stacks_total: usize,
    stacks_mapped_bytes: u64,
    stacks_resident_bytes: Option<u64>,
    stacks: Vec<WireStack<'a>>,
    others_total: usize,
    others: Vec<WireOther>,
    fault_totals: Option<WireTotals>,
    faults: Option<Vec<WireFaults<'a>>>,
    command_exit: Option<WireExit>,
    host: Option<WireHost<'a>>,
}

/// Bytes of a part.
#[derive(Serialize)]
pub(super) struct WireAmount {
    mapped_bytes: u64,
    reserved_bytes: u64,
    resident_bytes: Option<u64>,
    swapped_bytes: Option<u64>,
    ranges: u64,
}

#[derive(Serialize)]
struct WireProcess<'a> {
    pid: u32,
    comm: &'a str,
    state: &'static str,
    #[serde(flatten)]
    amount: WireAmount,
    growth_bytes: Option<i64>,
    kinds: BTreeMap<&'static str, WireAmount>,
    corrections: WireCorrections,
    host: Option<WireProcessHost<'a>>,
}

#[derive(Serialize)]
struct WireCorrections {
    found_bytes: u64,
    gone_bytes: u64,
    access_bytes: u64,
    repaired_bytes: u64,
}

#[derive(Serialize)]
struct WireStack<'a> {
    pid: u32,
    also_pids: &'a [u32],
    kind: &'static str,
    kinds: Vec<&'static str>,
    files: Vec<String>,
    #[serde(flatten)]
    amount: WireAmount,
    mapped_total_bytes: u64,
    unmapped_total_bytes: u64,
    growth_bytes: Option<i64>,
    oldest_age_ms: u64,
    truncated: Option<&'a str>,
    frames: Vec<WireFrame<'a>>,
}

#[derive(Serialize)]
struct WireOther {
    pid: u32,
    kind: &'static str,
    name: Option<String>,
    during_trace: bool,
    #[serde(flatten)]
    amount: WireAmount,
}

impl WireAmount {
    pub(super) fn of(amount: &Amount, measured: bool) -> Self {
        Self {
            mapped_bytes: amount.mapped,
            reserved_bytes: amount.reserved,
            resident_bytes: measured.then_some(amount.resident),
            swapped_bytes: measured.then_some(amount.swapped),
            ranges: amount.ranges,
        }
    }
}

impl<'a> WireReport<'a> {
    fn of(report: &'a SpaceReport) -> io::Result<Self> {
        let measured = report.measured();
        Ok(Self {
            schema: SCHEMA,
            time: timestamp(report.time)?.to_string(),
            elapsed_ms: millis(report.elapsed),
            last: report.last,
            complete: report.complete(),
            loss: &report.loss,
            notes: all_notes(loss::sentences(&report.loss), &report.notes),
            totals: WireAmount::of(&report.amount(), measured),
            processes: report.processes.iter().map(WireProcess::of).collect(),
            stacks_total: report.stacks_total,
            stacks_mapped_bytes: report.stacks_amount.mapped,
            stacks_resident_bytes: measured.then_some(report.stacks_amount.resident),
            stacks: report.stacks.iter().map(WireStack::of).collect(),
            others_total: report.others_total,
            others: report.others.iter().map(WireOther::of).collect(),
            fault_totals: report.faults.as_ref().map(WireTotals::of),
            faults: report
                .faults
                .as_ref()
                .map(|faults| faults.stacks.iter().map(WireFaults::of).collect()),
            command_exit: report.command_exit.map(WireExit::of),
            host: report.host.as_ref().map(|host| WireHost::of(report, host)),
        })
    }
}

impl<'a> WireProcess<'a> {
    fn of(row: &'a SpaceProcess) -> Self {
        let Corrections {
            found,
            gone,
            access,
            repaired,
        } = row.corrections;
        let kinds = row.kinds.iter();
        Self {
            pid: row.pid,
            comm: &row.comm,
            state: state_name(row.state),
            amount: WireAmount::of(&row.amount, row.measured),
            growth_bytes: row.growth,
            kinds: kinds
                .map(|(kind, amount)| (kind.name(), WireAmount::of(amount, row.measured)))
                .collect(),
            corrections: WireCorrections {
                found_bytes: found,
                gone_bytes: gone,
                access_bytes: access,
                repaired_bytes: repaired,
            },
            host: row.host.as_ref().map(WireProcessHost::of),
        }
    }
}

impl<'a> WireStack<'a> {
    fn of(row: &'a SpaceStack) -> Self {
        let kinds: Vec<&'static str> = row.kinds.iter().map(|kind| kind.name()).collect();
        Self {
            pid: row.pid,
            also_pids: &row.also,
            kind: kinds.first().copied().unwrap_or("none"),
            kinds,
            files: row.files.iter().map(|file| lossy(file)).collect(),
            amount: WireAmount::of(&row.amount, row.measured),
            mapped_total_bytes: row.mapped_total,
            unmapped_total_bytes: row.unmapped_total,
            growth_bytes: row.growth,
            oldest_age_ms: millis(row.oldest),
            truncated: row.truncated.as_deref(),
            frames: row.frames.iter().map(WireFrame::of).collect(),
        }
    }
}

impl WireOther {
    fn of(row: &SpaceOther) -> Self {
        Self {
            pid: row.pid,
            kind: row.kind.name(),
            name: row.name.as_deref().map(lossy),
            during_trace: row.during,
            amount: WireAmount::of(&row.amount, row.measured),
        }
    }
}
