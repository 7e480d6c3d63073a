//! What must hold in what only a trace of many processes has.

use anyhow::{Context, Result, ensure};
use memlens::profile::{EndedName, GuardStep, HostWide};

use crate::report::{HeapFigures, Live};

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

/// What the overhead guard did, in order of time.
pub fn guard_steps(section: &HostWide) -> Result<&[GuardStep]> {
    let guard = section.guard.as_ref().context("there is no guard")?;
    Ok(&guard.steps)
}

/// What the overhead guard did to a process.
pub fn guard_steps_of(section: &HostWide, pid: u32) -> Result<Vec<&GuardStep>> {
    let steps = guard_steps(section)?.iter();
    Ok(steps.filter(|step| step.pid == Some(pid)).collect())
}
