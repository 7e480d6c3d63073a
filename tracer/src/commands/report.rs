//! `memlens report`: what was recorded, at one moment or between two.

use anyhow::Result;

use super::output::Printer;
use super::stored::{Stored, name};
use crate::analysis::verdict;
use crate::cli::{Invocation, Outcome, ReportConfig};
use crate::profile::{Profile, diff};
use crate::recording::When;
use crate::render::Format;
use crate::symbolize::elsewhere::Elsewhere;
use crate::words::units::{counted, duration};

/// Runs `memlens report`.
///
/// # Errors
/// What keeps the file from being read, or the report from being written, in one line.
pub fn run(invocation: &Invocation, config: &ReportConfig) -> Result<Outcome> {
    let stored = Stored::open(&config.file)?;
    if config.list {
        list(&stored);
        return Ok(Outcome::Done(None));
    }
    let mut elsewhere = Elsewhere::new(&config.symbols.debug_dir, config.symbols.debuginfod);
    let parts = match &config.part {
        Some(part) => vec![part.as_str()],
        None => stored.tracks(),
    };
    for (place, part) in parts.into_iter().enumerate() {
        let mut printer = Printer::new(&config.output, invocation);
        // Files have the first part.
        match place {
            0 => printer.open()?,
            _ if config.output.outputs.stdout() == Format::Text => println!(),
            _ => {}
        }
        let profile = of_part(&stored, part, config, printer.wants_history())?;
        printer.print(name(profile, &mut elsewhere))?;
    }
    Ok(Outcome::Done(None))
}

/// What is to be shown of one part.
fn of_part(
    stored: &Stored,
    part: &str,
    config: &ReportConfig,
    wants_history: bool,
) -> Result<Profile> {
    let when = match config.between {
        Some((_, to)) => to,
        None => config.at.unwrap_or(When::End),
    };
    let mut profile = stored.at(part, when)?;
    if wants_history {
        stored.add_history(part, when, &mut profile)?;
    }
    match config.between {
        Some((from, _)) => profile = diff::between(&stored.at(part, from)?, &profile),
        None => verdict::sort(&mut profile),
    }
    // It is the last that is printed here.
    profile.meta.last = true;
    Ok(profile)
}

/// Prints what a file has.
fn list(stored: &Stored) {
    for part in stored.tracks() {
        let moments = stored.moments(part);
        let (Some((_, first)), Some((_, last))) = (moments.first(), moments.last()) else {
            continue;
        };
        let sessions = 1 + last.session.saturating_sub(first.session);
        println!(
            "{part}: {} from {:.0} to {:.0}, {} in {}",
            counted(moments.len() as u64, "snapshot"),
            first.time,
            last.time,
            duration(last.elapsed),
            counted(sessions as u64, "session"),
        );
    }
}
