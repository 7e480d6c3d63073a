//! What must hold in what only a trace of many processes has.

use anyhow::{Context, Result, ensure};
use memlens::profile::{Admission, EndedName, Guard, GuardStep, HostWide};

use crate::report::{HeapFigures, Live, Report};

/// The sum of the short-lived processes of a name.
pub fn ended_name<'a>(section: &'a HostWide, command: &str) -> Result<&'a EndedName> {
    let mut names = section.ended.names.iter();
    let found = names.find(|name| name.command == command);
    found.with_context(|| format!("nothing named {command} ended: {:?}", section.ended))
}

/// So many processes of a name ended, and they held this.
pub fn check_ended(
    section: &HostWide,
    command: &str,
    processes: u64,
    expected: Live,
) -> Result<()> {
    let ended = ended_name(section, command)?;
    let live = ended.totals.live();
    ensure!(
        ended.processes == processes && live == expected,
        "{} processes named {command} held {live:?}, expected {processes} and {expected:?}",
        ended.processes
    );
    Ok(())
}

/// The overhead guard.
pub fn guard(report: &Report) -> Result<&Guard> {
    let guard = report.sections.guard.as_ref();
    guard.context("there is no guard")
}

/// What the overhead guard did to a process, in order of time.
pub fn guard_steps_of(report: &Report, pid: u32) -> Result<Vec<&GuardStep>> {
    let steps = guard(report)?.steps.iter();
    Ok(steps.filter(|step| step.pid == pid).collect())
}

/// Who has probes.
pub fn admission(report: &Report) -> Result<&Admission> {
    let host = report.sections.host_wide.as_ref();
    let admission = host.and_then(|host| host.admission.as_ref());
    admission.context("nothing is said of who has probes")
}
