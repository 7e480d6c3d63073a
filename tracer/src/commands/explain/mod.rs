//! `memlens explain`: looks at one process and prints where its memory is.

mod trace;

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use super::output::Printer;
use crate::analysis::{change, holders, ledger};
use crate::cli::{ExplainConfig, Invocation, Outcome, Shown};
use crate::engine::attach::{Allocator, Prober};
use crate::engine::target::Target;
use crate::process::targets;
use crate::profile::Profile;
use crate::sources::ledger::{FoundAllocator, look, reach};

/// Runs `memlens explain`.
///
/// # Errors
/// What keeps the process from being looked at, in one line.
pub fn run(invocation: &Invocation, config: &ExplainConfig) -> Result<Outcome> {
    let pid = process(&config.target)?;
    let mut printer = Printer::showing(&config.outputs, &Shown::default(), invocation);
    printer.options.top = None;
    printer.open()?;
    let mut profile = match (config.trace, &config.diff) {
        (Some(time), _) => trace::run(invocation, pid, time)?,
        (None, Some(path)) => compared(pid, path)?,
        (None, None) => look(pid, survey)?,
    };
    if config.reach {
        reach::add(&mut profile)
            .with_context(|| format!("cannot judge the blocks of process {pid}"))?;
        holders::name(&mut profile);
    }
    ledger::add(&mut profile);
    profile.meta.last = true;
    printer.print(profile)?;
    Ok(Outcome::Done(None))
}

/// The one process that is meant.
fn process(target: &Target) -> Result<u32> {
    Ok(match target {
        Target::Pids(pids) => *pids.first().context("no process is given")?,
        Target::Name(name) => targets::one_by_name(name)?,
        Target::Command(_) | Target::Host(_) => bail!("explain is about one running process"),
    })
}

/// Looks at a process, and compares with what was written earlier.
fn compared(pid: u32, path: &Path) -> Result<Profile> {
    let is_not = |why: String| {
        let path = path.display();
        anyhow!("{path} is not what `memlens explain --json` writes: {why}")
    };
    // A file that is no good is reported before the process is looked at.
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let before = Profile::parse(&text).map_err(is_not)?;
    let mut profile = look(pid, survey)?;
    change::add(&before, &mut profile).map_err(|error| match error {
        change::CompareError::NoLedger => is_not(error.to_string()),
        error => anyhow!("cannot compare with {}: {error}", path.display()),
    })?;
    Ok(profile)
}

/// The allocators of a process; none where they cannot be looked for.
pub(super) fn survey(pid: u32) -> Vec<FoundAllocator> {
    let mut prober = Prober::new(&Allocator::default(), false);
    let files = prober.survey(pid).unwrap_or_default();
    let found = files.iter().map(|file| FoundAllocator {
        kind: file.plan.allocator,
        file: file.path.clone(),
    });
    found.collect()
}
