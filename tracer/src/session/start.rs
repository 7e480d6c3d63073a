//! How every trace begins: processes registered, probes placed, counting switched on, the command released.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};

use super::attach::{ProbedFile, Prober, slow_functions};
use super::error;
use super::population::Population;
use super::progress::Step;
use super::target::Targets;
use super::unwind::Unwinder;
use super::watch::{Image, Watcher};
use crate::bpf::{Method, Tracer};
use crate::preflight::{self, Facts};
use crate::process::command::{Exit, Running};
use crate::process::{info, maps};
use crate::report::CommandExit;
use crate::report::units::counted;

/// How long a command may take to end after a Ctrl-C that it has got as well.
pub const COMMAND_GRACE: Duration = Duration::from_secs(2);

impl From<Exit> for CommandExit {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self::Code(code),
            Exit::Signal(signal) => Self::Signal(signal),
        }
    }
}

/// A trace that has begun.
pub struct Ready {
    /// What is traced.
    pub images: Vec<Image>,
    /// The files that got probes, each once.
    pub files: Vec<Rc<ProbedFile>>,
    /// The command, running.
    pub command: Option<Running>,
    /// What is traced, in words.
    pub summary: String,
}

/// How probes are attached on this kernel. `MEMLENS_ATTACH=multi` forces the way of kernels without sessions, `perf` that of
/// older ones, for tests.
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

/// `CLOCK_MONOTONIC`, the clock of the kernel side's times.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(std::time::Duration::from);
    now.map_or(0, |now| now.as_nanos() as u64)
}

/// An unwinder with the tables of what the targets have mapped, or are about to map.
pub fn prepared_unwinder(memory: u64, targets: &Targets) -> Unwinder {
    let step = Step::new("building unwind tables");
    let mut unwinder = Unwinder::new(memory);
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

/// An unwinder with the tables begun of what the host's processes have mapped that a trace is about.
pub fn expecting_unwinder(memory: u64, people: &Population) -> Unwinder {
    let mut unwinder = Unwinder::new(memory);
    let pids = info::all_pids().unwrap_or_default();
    for pid in pids.into_iter().filter(|pid| people.is_about(*pid)) {
        // A process that has ended meanwhile needs none.
        if let Ok(maps) = maps::read(pid) {
            unwinder.expect(pid, &maps);
        }
    }
    unwinder
}

/// Registers the processes, probes them, begins to count and releases the command.
pub fn begin(
    tracer: &mut Tracer,
    prober: &mut Prober,
    watcher: &mut Watcher,
    unwinder: Option<&mut Unwinder>,
    targets: Targets,
) -> Result<Ready> {
    let mut images = Vec::new();
    let mut files: Vec<Rc<ProbedFile>> = Vec::new();
    let mut failure = None;
    for process in &targets.processes {
        let placed = match &targets.command {
            Some((_, files)) => prober.attach_files(tracer, process.pid, files),
            None => prober.attach(tracer, process.pid),
        };
        match placed.map(|placed| (placed, watcher.add(process.pid))) {
            Ok((placed, Ok(()))) => {
                for file in placed.files {
                    // One file in several processes is planned once.
                    if !files.iter().any(|known| Rc::ptr_eq(known, &file)) {
                        files.push(file);
                    }
                }
                let owner = tracer.add_process(process.pid)?;
                images.push(Image::new(owner, process.comm.clone()));
            }
            Ok((_, Err(error))) => {
                failure = Some(gone(process.pid).unwrap_or_else(|| error.into()))
            }
            Err(error) => {
                let error = gone(process.pid).unwrap_or_else(|| error.into());
                if targets.processes.len() > 1 {
                    eprintln!(
                        "memlens: process {} is left out: {}",
                        process.pid,
                        error::one_line(&error)
                    );
                }
                failure = Some(error);
            }
        }
    }
    if images.is_empty()
        && let Some(failure) = failure
    {
        return Err(failure);
    }
    if let Some(unwinder) = unwinder {
        unwinder.collect(tracer);
        for image in &images {
            unwinder.publish(tracer, image.owner.tgid);
        }
    }
    tracer.enable();
    let command = match targets.command {
        Some((stopped, _)) => Some(stopped.release()?),
        None => None,
    };
    let summary = summary(&images, &files);
    Ok(Ready {
        images,
        files,
        command,
        summary,
    })
}

/// The error for a process that ended while it was looked at.
fn gone(pid: u32) -> Option<anyhow::Error> {
    let error = info::read(pid).err()?;
    Some(anyhow::anyhow!(
        "{} while it was being attached; check the PID and try again",
        error
    ))
}

fn summary(images: &[Image], probed: &[Rc<ProbedFile>]) -> String {
    let who = match images {
        [image] => format!("process {} ({})", image.owner.tgid, image.comm),
        _ => format!("{} processes", images.len()),
    };
    let mut files: Vec<String> = probed
        .iter()
        .map(|file| file.path.display().to_string())
        .collect();
    files.sort();
    files.dedup();
    let functions: usize = probed.iter().map(|file| file.plan.functions.len()).sum();
    let slow: usize = probed.iter().map(|file| slow_functions(&file.plan)).sum();
    let slow = if slow > 0 {
        format!(" ({slow} of them slow)")
    } else {
        String::new()
    };
    format!(
        "{who}: {functions} functions{slow} in {}; Ctrl-C ends",
        files.join(", ")
    )
}

/// What `-v` tells of the probes and the unwind tables.
pub fn attach_details(prober: &Prober, ready: &Ready, tracer: &mut Tracer) -> Vec<String> {
    let mut lines: Vec<String> = ready
        .files
        .iter()
        .map(|file| {
            let functions = file.plan.functions.iter();
            let names: Vec<&str> = functions.map(|function| function.name.as_str()).collect();
            format!("probed {}: {}", file.path.display(), names.join(" "))
        })
        .collect();
    let attached = prober.attached();
    lines.push(format!(
        "{} in {} on {}; processes: {}",
        counted(attached.probes as u64, "probe"),
        counted(attached.links as u64, "link"),
        counted(ready.files.len() as u64, "file"),
        ready.images.len(),
    ));
    let (used, room) = tracer.tables().usage();
    if room.rows > 0 {
        lines.push(format!(
            "unwind tables: {} of {} rows, {} of {} buckets",
            used.rows, room.rows, used.buckets, room.buckets
        ));
    }
    lines
}

/// How long a perf event takes to close: the kernel waits for a grace period of its RCU each time.
const PERF_EVENT_CLOSES_IN: Duration = Duration::from_millis(100);
/// Fewer are off before anybody wonders.
const MANY_PERF_EVENTS: usize = 10;

/// Says that taking the probes off will take a while, where it will.
pub fn announce_detaching(method: Method, prober: &Prober) {
    let links = prober.attached().links;
    if method == Method::PerfEvents && links > MANY_PERF_EVENTS {
        let seconds = (PERF_EVENT_CLOSES_IN * links as u32).as_secs_f64().ceil();
        eprintln!("memlens: taking {links} probes off, about {seconds} s on this kernel");
    }
}

/// A note for each function that is not traced.
pub fn left_out_notes(prober: &Prober) -> Vec<String> {
    let note = |(path, left): &(std::path::PathBuf, crate::attach::plan::LeftOut)| {
        format!(
            "{} in {} is not traced: {}",
            left.name,
            path.display(),
            left.why
        )
    };
    prober.left_out().iter().map(note).collect()
}
