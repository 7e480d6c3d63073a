//! Traces of address spaces and page faults: what the report of `memlens vm` must say, and what the maps of a process
//! do.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens::profile::{Measure, Region, Source, Subject, Values};

use crate::child::{thread_states, until_unchanged};
use crate::report::Report;
use crate::row::Row;
use crate::{Memlens, need};

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// What an account has taken over from the maps, in bytes.
const CORRECTIONS: [Measure; 4] = [
    Measure::VmFoundBytes,
    Measure::VmGoneBytes,
    Measure::VmAccessBytes,
    Measure::VmRepairedBytes,
];

/// Traces the address space of a process, as JSON with all stacks; returns once it is traced.
pub fn trace(target: &[&str]) -> Result<Memlens> {
    trace_with("3600", target, |_| {})
}

/// The same with a report every 200 ms.
pub fn trace_often(target: &[&str]) -> Result<Memlens> {
    trace_with("0.2", target, |_| {})
}

/// The same with a ring of so many bytes for events.
pub fn trace_with_ring(target: &[&str], bytes: &str) -> Result<Memlens> {
    trace_with("3600", target, |command| {
        command.env("MEMLENS_SPACE_RING", bytes);
    })
}

fn trace_with(
    interval: &str,
    target: &[&str],
    set_up: impl FnOnce(&mut std::process::Command),
) -> Result<Memlens> {
    need::root()?;
    let mut command = std::process::Command::new(crate::paths::memlens()?);
    command.args(["vm", interval, "--json", "--top", "0"]);
    set_up(command.args(target));
    let mut memlens = Memlens::start_command(command)?;
    memlens.wait_until_tracing()?;
    Ok(memlens)
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

/// What a program has mapped that has worked and rests now: the same for a while, in which none of its threads was seen to
/// run or to wait for a processor. A thread that is about to end has yet to give its stack back.
pub fn rested(pid: u32) -> Result<(u64, u64)> {
    let (still, limit) = (Duration::from_millis(300), Duration::from_secs(30));
    let mut busy = 0;
    let (_, mapped) = until_unchanged("the program rests", still, limit, || {
        let states = thread_states(pid)?;
        busy += states.iter().filter(|state| **state == 'R').count();
        Ok((busy, mapped(pid)?))
    })?;
    Ok(mapped)
}

/// What is tracked: bytes mapped, and mapped without access.
fn tracked(totals: &Values) -> (u64, u64) {
    let [mapped, reserved] = [Measure::VmMappedBytes, Measure::VmReservedBytes];
    (totals.amount(mapped), totals.amount(reserved))
}

/// Nothing in a process's account had to be corrected.
pub fn check_uncorrected(subject: &Subject) -> Result<()> {
    let is_zero = |measure: &Measure| subject.totals.amount(*measure) == 0;
    ensure!(
        CORRECTIONS.iter().all(is_zero),
        "{:?} ({}) was corrected: {:?}",
        subject.pid,
        subject.command,
        subject.totals
    );
    Ok(())
}

impl Report {
    /// What stacks have mapped.
    pub fn mapped(&self) -> Vec<Row<'_>> {
        self.rows(Source::AddressSpace)
    }

    /// What no call has mapped, by kind and file.
    pub fn unmapped_by_calls(&self) -> Vec<&Region> {
        let samples = self.samples_of(Source::AddressSpace);
        let others = samples.filter(|sample| sample.stack.is_none());
        others
            .filter_map(|sample| Row::new(self, sample).region())
            .collect()
    }

    /// What is tracked is what the maps say.
    pub fn check_maps(&self, maps: (u64, u64)) -> Result<()> {
        let tracked = tracked(&self.totals());
        ensure!(tracked == maps, "tracked {tracked:?}, mapped {maps:?}");
        Ok(())
    }

    /// What is tracked of a process is what its maps say, whether that had to be corrected or not.
    pub fn check_maps_of(&self, pid: u32, maps: (u64, u64)) -> Result<&Subject> {
        let subject = self.process(pid)?;
        let tracked = tracked(&subject.totals);
        ensure!(
            tracked == maps,
            "PID {pid} ({}): tracked {tracked:?}, mapped {maps:?}",
            subject.command
        );
        Ok(subject)
    }

    /// What is tracked of a process is what its maps say, without a correction.
    pub fn check_mapped(&self, pid: u32, maps: (u64, u64)) -> Result<&Subject> {
        let subject = self.check_maps_of(pid, maps)?;
        check_uncorrected(subject)?;
        Ok(subject)
    }

    /// Page faults of stacks through a function, of these major ones, and pages that came with them.
    pub fn faults_of(&self, function: &str) -> [u64; 3] {
        let rows = self.fault_stacks(function);
        let sum = |measure| rows.iter().map(|row| row.amount(measure)).sum::<u64>();
        let pages = rows
            .iter()
            .map(|row| row.amount(Measure::FaultsNewBytes) / PAGE);
        [
            sum(Measure::FaultsCount),
            sum(Measure::FaultsMajor),
            pages.sum(),
        ]
    }

    /// Stacks of page faults through a function.
    pub fn fault_stacks(&self, function: &str) -> Vec<Row<'_>> {
        let mut rows = self.rows(Source::PageFaults);
        rows.retain(|row| row.has(function));
        rows
    }

    /// What stacks through a function hold, in pages: mapped, resident, without access, unmapped again.
    pub fn pages_of(&self, function: &str) -> [u64; 4] {
        pages(self.mapped().iter().filter(|row| row.has(function)))
    }

    /// Pages that stacks of a process through a function have mapped.
    pub fn pages_in(&self, pid: u32, function: &str) -> u64 {
        let rows = self.mapped();
        let own = rows.iter().filter(|row| row.pid() == Some(pid));
        pages(own.filter(|row| row.has(function)))[0]
    }
}

fn pages<'a>(rows: impl Iterator<Item = &'a Row<'a>>) -> [u64; 4] {
    let measures = [
        Measure::VmMappedBytes,
        Measure::VmResidentBytes,
        Measure::VmReservedBytes,
        Measure::VmUnmappedTotalBytes,
    ];
    rows.fold([0; 4], |sum, row| {
        std::array::from_fn(|at| sum[at] + row.amount(measures[at]) / PAGE)
    })
}
