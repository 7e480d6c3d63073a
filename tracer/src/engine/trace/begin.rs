//! How a trace begins: what it needs is prepared, processes are attached, counting starts.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use tracer_common::key::Owner;

use super::Trace;
use crate::bpf::Method;
use crate::engine::clock::TraceClock;
use crate::engine::console::Step;
use crate::engine::source::Source;
use crate::engine::target::{Chosen, Targets};
use crate::engine::unwinder::Unwinder;
use crate::engine::watch::Change;
use crate::preflight::{self, Facts};
use crate::process::{info, maps};
use crate::words;

impl<S: Source> Trace<S> {
    /// Attaches named processes, begins to count and releases the command.
    pub(super) fn begin_named(&mut self, targets: Targets) -> Result<()> {
        let files = targets.command.as_ref().map(|(_, files)| files.as_slice());
        let mut failure = None;
        let mut changes = Vec::new();
        for process in &targets.processes {
            let Err(error) = self.begin_process(process, files, &mut changes) else {
                continue;
            };
            let error = gone(process.pid).unwrap_or(error);
            if targets.processes.len() > 1 {
                eprintln!(
                    "memlens: process {} is left out: {}",
                    process.pid,
                    words::error::one_line(&error)
                );
            }
            failure = Some(error);
        }
        if let Some(failure) = failure.filter(|_| self.core.members.is_empty()) {
            return Err(failure);
        }
        let owners: Vec<Owner> = self
            .core
            .members
            .iter()
            .map(|member| member.owner)
            .collect();
        self.core.publish_arrived();
        owners
            .iter()
            .for_each(|owner| self.core.publish(owner.tgid));
        self.core.publish_generated();
        self.core.clock = TraceClock::start();
        self.core.tracer.enable();
        for owner in owners {
            self.source.joined(&mut self.core, owner, false);
            // A process that ends at once is reported by its end.
            let _ = self.core.symbols.snapshot(owner);
        }
        self.apply(changes)?;
        if let Some((stopped, _)) = targets.command {
            self.command = Some(stopped.release()?);
        }
        Ok(())
    }

    /// Attaches a process and counts it in. What happens to others meanwhile goes to `changes`.
    fn begin_process(
        &mut self,
        process: &Chosen,
        files: Option<&[PathBuf]>,
        changes: &mut Vec<Change>,
    ) -> Result<()> {
        let pid = process.pid;
        self.source.attach(&mut self.core, pid, files)?;
        // An `exec` from before it is counted in would be taken for one that ends the program that is counted in.
        changes.extend(self.core.watcher.collect());
        self.core.watcher.add(pid)?;
        let owner = self.core.tracer.add_process(pid)?;
        let row = self.core.tracer.row_of(pid).unwrap_or_default();
        self.core
            .members
            .add(owner, row, process.comm.clone(), Duration::ZERO);
        Ok(())
    }

    /// Attaches all processes of a scope and begins to count.
    pub(super) fn begin_scope(&mut self) -> Result<()> {
        // memlens itself is on the host, and is not traced.
        for own in self.core.tracer.own_processes() {
            self.core.tracer.exclude_process(own)?;
        }
        self.core.publish_arrived();
        self.source.attach_all(&mut self.core)?;
        self.core.clock = TraceClock::start();
        self.core.tracer.enable();
        let begun = self.source.begun(&mut self.core);
        self.tell();
        begun
    }
}

/// How probes are attached on this kernel. `MEMLENS_ATTACH=multi` forces the way of kernels without sessions, `perf`
/// that of older ones, for tests.
pub fn method(facts: &Facts) -> Method {
    let forced = std::env::var_os("MEMLENS_ATTACH");
    let forced = forced.as_deref().and_then(std::ffi::OsStr::to_str);
    if forced == Some("perf") || !preflight::uprobe_multi_pid_filter_counts_threads(&facts.kernel) {
        Method::PerfEvents
    } else if forced == Some("multi") || !preflight::has_uprobe_session(&facts.kernel) {
        Method::UprobeMulti
    } else {
        Method::UprobeSession
    }
}

/// An unwinder with the tables of what the targets have mapped, or are about to map.
pub(super) fn prepared_unwinder(bytes: u64, targets: &Targets) -> Unwinder {
    let step = Step::new("building unwind tables");
    let mut unwinder = Unwinder::new(bytes);
    match &targets.command {
        Some((_, files)) => unwinder.want_files(files),
        None => targets
            .processes
            .iter()
            .for_each(|process| unwinder.want(process.pid)),
    }
    unwinder.finish(&step);
    unwinder
}

/// An unwinder with the tables begun of what those processes of the host have mapped that are to be followed.
pub(super) fn expecting_unwinder(bytes: u64, is_wanted: impl Fn(u32) -> bool) -> Unwinder {
    let mut unwinder = Unwinder::new(bytes);
    let pids = info::all_pids().unwrap_or_default();
    for pid in pids.into_iter().filter(|pid| is_wanted(*pid)) {
        // A process that has ended meanwhile needs none.
        if let Ok(maps) = maps::read(pid) {
            unwinder.expect(pid, &maps);
        }
    }
    unwinder
}

/// The error for a process that ended while it was looked at.
fn gone(pid: u32) -> Option<anyhow::Error> {
    let error = info::read(pid).err()?;
    Some(anyhow::anyhow!(
        "{error} while it was being attached; check the PID and try again"
    ))
}

/// Lets us open as many files as the administrator allows at all: links, and every file with code on the host.
pub(super) fn allow_many_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // If it fails, files that cannot be opened are reported one by one.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}
