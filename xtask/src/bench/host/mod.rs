//! What a trace of the whole host costs: an idle host of 500 processes, and programs under load.

pub mod crowd;
mod load;
pub mod scope;

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    Outcome, Plan,
    finding::{Finding, Target},
    samples::Samples,
    table::{Table, ms},
    tracer::{Mode, Tracer},
};
use crowd::Crowd;
use load::Load;

/// Processes on one C library.
const PROCESSES: usize = 480;
/// Processes with an allocator file of their own each.
const FILES: usize = 20;
/// How long memlens's own CPU time is looked at.
const IDLE: Duration = Duration::from_secs(30);
/// How long the guard has before a program's speed counts.
const SETTLE: Duration = Duration::from_secs(4);
/// As a user would run it, with a report every five seconds.
const AS_USUAL: Mode<'_> = Mode {
    flags: &["--json"],
    floor: None,
    interval: Some("5"),
};

/// An idle host: start, stop, memory, CPU.
pub fn idle(plan: &Plan) -> Result<Outcome> {
    let _crowd = Crowd::start(PROCESSES, FILES)?;
    let [mut start, mut placing, mut stop, mut memory] = [const { Samples::new() }; 4];
    for _ in 0..plan.runs {
        let tracer = Tracer::everything(&plan.memlens, AS_USUAL)?;
        start.extend([tracer.attached_in.as_secs_f64() * 1e3]);
        placing.extend(tracer.step("attaching"));
        thread::sleep(Duration::from_secs(2));
        memory.extend([tracer.peak_megabytes()?]);
        stop.extend([tracer.end().context("stop")?.took.as_secs_f64() * 1e3]);
    }
    let (own, percent) = own_cpu(plan)?;
    memory.extend([own]);
    let (recording, kilobytes) = recording(plan)?;
    let what = format!(
        "{} processes on one libc and {FILES} other allocator files",
        PROCESSES + FILES
    );
    let mut table = Table::new(&[&what, "best", "median", "worst"]);
    for (name, samples) in [
        ("memlens's start until all probes are on", &start),
        ("of that, reading files and placing probes", &placing),
        ("Ctrl-C until memlens's exit, last report included", &stop),
    ] {
        let row = [samples.min(), samples.median(), samples.max()].map(ms);
        table.row([name.to_owned()].into_iter().chain(row));
    }
    Ok(Outcome {
        findings: vec![
            Finding::figure(
                &format!("leaks --all, {what}: start"),
                start.min(),
                " ms",
                Target::AtMost(1000.0),
            ),
            Finding::figure("the same: stop", stop.min(), " ms", Target::AtMost(1000.0)),
            Finding::figure(
                "memlens's resident memory then (peak)",
                memory.max(),
                " MB",
                Target::AtMost(250.0),
            ),
            Finding::fact(
                "memlens's own CPU time on that host",
                format!("{percent:.2} % of a core"),
                "at most 1 % of a core",
                percent <= 1.0,
            ),
            Finding::fact(
                "the same with a snapshot recorded every 10 s in place of a report every 5 s",
                format!("{recording:.2} % of a core, {kilobytes:.1} kB a snapshot"),
                "at most 1 % of a core",
                recording <= 1.0,
            ),
        ],
        tables: vec![("The whole host", table)],
        notes: Vec::new(),
    })
}

/// Peak memory in MB and percent of a core of memlens, once it has begun, with its usual reports.
fn own_cpu(plan: &Plan) -> Result<(f64, f64)> {
    let tracer = Tracer::everything(&plan.memlens, AS_USUAL)?;
    // The first report looks all symbols up.
    thread::sleep(Duration::from_secs(6));
    let before = tracer.cpu_seconds()?;
    thread::sleep(IDLE);
    let spent = tracer.cpu_seconds()? - before;
    let memory = tracer.peak_megabytes()?;
    tracer.end()?;
    Ok((memory, spent / IDLE.as_secs_f64() * 100.0))
}

/// Percent of a core of memlens while it records, and kilobytes of a snapshot but for the first.
fn recording(plan: &Plan) -> Result<(f64, f64)> {
    const SNAPSHOTS: u32 = 6;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let file = folder.path().join("host.memlens");
    let name = file.to_str().context("a path that is no UTF-8")?;
    let mode = Mode {
        flags: &["-o", name],
        interval: Some("10"),
        ..Mode::default()
    };
    let size = || fs::metadata(&file).map_or(0, |about| about.len());
    let tracer = Tracer::everything(&plan.memlens, mode)?;
    // The first snapshot has all stacks, and all names are looked up for it.
    thread::sleep(Duration::from_secs(12));
    let (cpu, bytes) = (tracer.cpu_seconds()?, size());
    let time = Duration::from_secs(10) * SNAPSHOTS;
    thread::sleep(time);
    let spent = tracer.cpu_seconds()? - cpu;
    let each = size().saturating_sub(bytes) as f64 / f64::from(SNAPSHOTS) / 1e3;
    tracer.end()?;
    Ok((spent / time.as_secs_f64() * 100.0, each))
}

/// Programs under load, with the default budget and without memlens.
pub fn loads(plan: &Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut table = Table::new(&["under load", "untraced", "leaks --all", "ratio"]);
    for (mut load, target) in [(Load::redis()?, 0.9), (Load::python()?, 0.7)] {
        let (mut untraced, mut traced) = (Vec::new(), Vec::new());
        let mut steps = 0;
        for _ in 0..plan.runs {
            untraced.extend(load.rates(plan.seconds)?);
            let tracer = Tracer::everything(&plan.memlens, AS_USUAL)?;
            // Under load, or the guard would have nothing to see.
            load.rates(SETTLE.as_secs() as u32)?;
            traced.extend(load.rates(plan.seconds)?);
            steps = load::steps(&tracer.end()?.last_line, load.pid())?;
        }
        let (untraced, traced) = (best(&untraced), best(&traced));
        outcome.findings.push(Finding::ratio(
            &format!("{} under leaks --all / untraced", load.name),
            format!("{traced:.0} / {untraced:.0} {}", load.unit),
            traced / untraced,
            Target::AtLeast(target),
        ));
        outcome.notes.push(format!(
            "{}: the guard took {steps} steps in the last run, all of them in the report.",
            load.name
        ));
        table.row([
            load.name.to_owned(),
            format!("{untraced:.0} {}", load.unit),
            format!("{traced:.0} {}", load.unit),
            super::table::ratio(traced, untraced),
        ]);
    }
    outcome
        .tables
        .push(("Programs under load on a traced host", table));
    Ok(outcome)
}

/// The largest: noise only ever slows down.
fn best(rates: &[f64]) -> f64 {
    rates.iter().copied().fold(f64::NAN, f64::max)
}
