//! Which processes a trace is about: running ones, or a command that is started for it.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;

use crate::process::command::Stopped;
use crate::process::scope::Scope;
use crate::process::startup::startup_files;
use crate::process::targets::{self, NameError, Resolution};
use crate::profile::Grouping;

/// What to trace, as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// These processes: no PID twice, at least one.
    Pids(Vec<u32>),
    /// Every process of this name.
    Name(String),
    /// A command to start: the program and its arguments.
    Command(Vec<OsString>),
    /// The whole host, or the part of it that the scope leaves.
    Host(Scope),
}

/// A process to trace.
pub struct Chosen {
    /// Its PID.
    pub pid: u32,
    /// Its name.
    pub comm: String,
}

/// What a trace begins with.
pub struct Targets {
    /// The processes, at least one.
    pub processes: Vec<Chosen>,
    /// The command, waiting to be released, and the files that it will map.
    pub command: Option<(Stopped, Vec<PathBuf>)>,
}

/// Which processes a trace is about.
pub enum About {
    /// These, or a command that waits to be released.
    Named(Targets),
    /// All of a scope, now and later.
    Scope {
        /// Which.
        scope: Scope,
        /// What the first table of a report has rows for.
        by: Grouping,
    },
}

/// Resolves the target; says on standard error which processes cannot be traced, and fails if none can. `by` is what
/// the first table of a scope has rows for; with `force` also processes are taken that probes would hurt.
///
/// # Errors
/// Why there is nothing to trace.
pub fn resolve(target: &Target, by: Grouping, force: bool) -> Result<About> {
    Ok(About::Named(match target {
        Target::Host(scope) => {
            return Ok(About::Scope {
                scope: scope.clone(),
                by,
            });
        }
        Target::Pids(pids) => running(targets::by_pid(pids, force), None)?,
        Target::Name(name) => running(targets::by_name(name.as_ref(), force)?, Some(name))?,
        Target::Command(argv) => command(argv)?,
    }))
}

/// A command that is started for the trace, and waits.
fn command(argv: &[OsString]) -> Result<Targets> {
    let files = startup_files(argv)?;
    let stopped = Stopped::spawn(argv)?;
    let name = argv.first().map(PathBuf::from).and_then(|path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    });
    let process = Chosen {
        pid: stopped.pid(),
        comm: name.unwrap_or_default(),
    };
    Ok(Targets {
        processes: vec![process],
        command: Some((stopped, files)),
    })
}

/// The processes of `-p` or `-n`; what cannot be traced is said on standard error, unless it is all there is.
pub fn running(mut found: Resolution, name: Option<&str>) -> Result<Targets> {
    for note in &found.notes {
        eprintln!("memlens: {note}");
    }
    if found.targets.is_empty() {
        let Some(last) = found.refusals.pop() else {
            return Err(NameError::Unknown(name.unwrap_or_default().to_owned()).into());
        };
        for refusal in &found.refusals {
            eprintln!("memlens: {refusal}");
        }
        return Err(last.into());
    }
    for refusal in &found.refusals {
        eprintln!("memlens: {refusal}");
    }
    let processes = found.targets.into_iter().map(|target| Chosen {
        pid: target.pid,
        comm: target.comm,
    });
    Ok(Targets {
        processes: processes.collect(),
        command: None,
    })
}
