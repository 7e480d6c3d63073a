//! Which processes a trace is about: running ones, or a command that is started for it.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::cli::Target;
use crate::process::command::Stopped;
use crate::process::startup::startup_files;
use crate::process::targets::{self, Resolution};

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

/// Resolves the target; says on standard error which processes cannot be traced, and fails if none can.
pub fn resolve(target: &Target) -> Result<Targets> {
    match target {
        Target::Pids(pids) => running(targets::by_pid(pids), None),
        Target::Name(name) => running(targets::by_name(name.as_ref())?, Some(name)),
        Target::Host(_) => {
            bail!("the whole host cannot be traced yet; name processes with -p or -n")
        }
        Target::Command(argv) => {
            let files = startup_files(argv)?;
            let stopped = Stopped::spawn(argv)?;
            let comm = argv.first().map(PathBuf::from).and_then(|path| {
                path.file_name()
                    .map(|name| name.to_string_lossy().into_owned())
            });
            let process = Chosen {
                pid: stopped.pid(),
                comm: comm.unwrap_or_default(),
            };
            Ok(Targets {
                processes: vec![process],
                command: Some((stopped, files)),
            })
        }
    }
}

/// The processes of `-p` or `-n`; what cannot be traced is said on standard error, unless it is all there is.
pub fn running(mut found: Resolution, name: Option<&str>) -> Result<Targets> {
    for note in &found.notes {
        eprintln!("memlens: {note}");
    }
    if found.targets.is_empty() {
        let Some(last) = found.refusals.pop() else {
            bail!(
                "no process is named {}; list names with `ps -e -o pid,comm`",
                name.unwrap_or_default()
            );
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
