//! The common run: start a victim, attach memlens, let the victim work, take the last report, end the victim.

use std::process::{Command, ExitStatus};

use anyhow::Result;

use crate::memlens::Memlens;
use crate::report::Report;
use crate::victim::Victim;

/// What came of one traced run.
#[derive(Debug)]
pub struct Traced {
    /// The victim's PID.
    pub pid: u32,
    /// The last report, taken while the victim was done and still running.
    pub report: Report,
    /// What the victim said after "done".
    pub said: String,
    /// How the victim ended afterwards.
    pub status: ExitStatus,
}

/// Runs a victim under `memlens leaks` with more arguments.
pub fn trace(command: Command, more: &[&str]) -> Result<Traced> {
    let mut victim = Victim::start(command)?;
    let memlens = Memlens::leaks(victim.pid(), more)?;
    let said = victim.run()?;
    let report = memlens.stop()?;
    let pid = victim.pid();
    let status = victim.exit()?;
    Ok(Traced {
        pid,
        report,
        said,
        status,
    })
}
