//! How every trace begins: processes registered, probes placed, counting switched on, the command released.

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};

use super::attach::{Placed, Prober, slow_functions};
use super::target::Targets;
use super::unwind::Unwinder;
use super::watch::{Image, Watcher};
use crate::bpf::{Method, Tracer};
use crate::preflight::{self, Facts};
use crate::process::command::Running;
use crate::process::info;

/// A trace that has begun.
pub struct Ready {
    /// What is traced.
    pub images: Vec<Image>,
    /// The command, running.
    pub command: Option<Running>,
    /// What is traced, in words.
    pub summary: String,
}

/// How probes are attached on this kernel. `MEMLENS_ATTACH=perf` forces the older way, for tests.
pub fn method(facts: &Facts) -> Method {
    let forced = std::env::var_os("MEMLENS_ATTACH").is_some_and(|value| value == "perf");
    if !forced && preflight::uprobe_multi_pid_filter_counts_threads(&facts.kernel) {
        Method::UprobeMulti
    } else {
        Method::PerfEvents
    }
}

/// `CLOCK_MONOTONIC`, the clock of the kernel side's times.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(std::time::Duration::from);
    now.map_or(0, |now| now.as_nanos() as u64)
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
    let mut all = Placed::default();
    let mut failure = None;
    for process in &targets.processes {
        let placed = match &targets.command {
            Some((_, files)) => prober.attach_files(tracer, process.pid, files),
            None => prober.attach(tracer, process.pid),
        };
        match placed.map(|placed| (placed, watcher.add(process.pid))) {
            Ok((placed, Ok(()))) => {
                all.attached += placed.attached;
                all.files.extend(placed.files);
                let owner = tracer.add_process(process.pid)?;
                images.push(Image::new(owner, process.comm.clone()));
            }
            Ok((_, Err(error))) => {
                failure = Some(gone(process.pid).unwrap_or_else(|| error.into()))
            }
            Err(error) => {
                let error = gone(process.pid).unwrap_or_else(|| error.into());
                if targets.processes.len() > 1 {
                    eprintln!("memlens: process {} is left out: {error}", process.pid);
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
        unwinder.store(tracer);
        for image in &images {
            unwinder.publish(tracer, image.owner.tgid);
        }
    }
    tracer.enable();
    let command = match targets.command {
        Some((stopped, _)) => Some(stopped.release()?),
        None => None,
    };
    let summary = summary(&images, &all);
    Ok(Ready {
        images,
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

fn summary(images: &[Image], placed: &Placed) -> String {
    let who = match images {
        [image] => format!("process {} ({})", image.owner.tgid, image.comm),
        _ => format!("{} processes", images.len()),
    };
    let mut files: Vec<String> = placed
        .files
        .iter()
        .map(|file| file.path.display().to_string())
        .collect();
    files.sort();
    files.dedup();
    let slow: usize = placed
        .files
        .iter()
        .map(|file| slow_functions(&file.plan))
        .sum();
    let slow = if slow > 0 {
        format!(" ({slow} of them slow)")
    } else {
        String::new()
    };
    format!(
        "{who}: {} functions{slow} in {}; Ctrl-C ends",
        placed.functions(),
        files.join(", ")
    )
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
