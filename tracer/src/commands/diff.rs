//! `memlens diff`: two profiles, and what the later one has more.

use anyhow::{Context, Result};

use super::output::Printer;
use super::stored::{Stored, name};
use crate::cli::{DiffConfig, Invocation, Outcome};
use crate::profile::diff;
use crate::symbolize::elsewhere::Elsewhere;

/// Runs `memlens diff`.
///
/// # Errors
/// What keeps the files from being read, or the difference from being written, in one line.
pub fn run(invocation: &Invocation, config: &DiffConfig) -> Result<Outcome> {
    let (before, after) = (
        Stored::open(&config.before.0)?,
        Stored::open(&config.after.0)?,
    );
    let part = part(config, &before, &after)?;
    let mut printer = Printer::new(&config.output, invocation);
    printer.open()?;
    let mut elsewhere = Elsewhere::new(&config.symbols.debug_dir, config.symbols.debuginfod);
    let mut read = |stored: &Stored, when| {
        let profile = stored.at(&part, when)?;
        anyhow::Ok(name(profile, &mut elsewhere))
    };
    let (before, after) = (
        read(&before, config.before.1)?,
        read(&after, config.after.1)?,
    );
    let mut difference = diff::between(&before, &after);
    difference.meta.last = true;
    printer.print(difference)?;
    Ok(Outcome::Done(None))
}

/// What is compared: what was asked for, or the first that both have.
fn part(config: &DiffConfig, before: &Stored, after: &Stored) -> Result<String> {
    if let Some(part) = &config.part {
        return Ok(part.clone());
    }
    let (known, tracks) = (before.tracks(), after.tracks());
    let common = tracks.iter().find(|track| known.contains(track));
    common.map(|track| (*track).to_owned()).with_context(|| {
        format!(
            "nothing to compare: {} has {}, and {} has {}",
            config.before.0.display(),
            known.join(", "),
            config.after.0.display(),
            tracks.join(", ")
        )
    })
}
