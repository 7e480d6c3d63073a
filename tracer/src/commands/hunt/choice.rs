//! Steps 1 and 2: is the machine's memory shrinking, and which process certainly grows most.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::progress::Progress;
use super::watch::{Seen, Watch};
use super::{Hunted, Plan};
use crate::analysis::hunt::choose::{Settling, matters};
use crate::analysis::hunt::steps;
use crate::engine::Interrupt;
use crate::profile::Profile;
use crate::profile::hunt::HuntStep;
use crate::words::units::{bytes, counted_processes};

/// Time between two looks at what the watch has seen.
const LOOK: Duration = Duration::from_millis(100);
/// One part of the time in so many is for the choice, where it is not certain before.
const FOR_THE_CHOICE: u32 = 3;
/// One part of the time in so many is for a look at a process that was asked for, and the least before a choice is
/// certain.
const LEAST: u32 = 6;
/// Longest look at a process that was asked for: it is watched on while it is traced.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// One part of the time in so many must be left for a trace.
const FOR_A_TRACE: u32 = 4;

/// What the first two steps came to.
pub struct Chosen {
    /// The machine, by the watch alone: loading a trace takes kernel memory of its own.
    pub machine: Profile,
    /// What they found.
    pub steps: Vec<HuntStep>,
    /// The process to go after.
    pub suspect: Option<Hunted>,
    /// Whether there is no time left for a trace.
    pub is_too_late: bool,
}

/// Watches until it is certain which process grows most, or the time for it is over.
///
/// # Errors
/// What keeps the machine from being looked at.
pub async fn choose(
    watch: &Watch,
    plan: Plan,
    asked_for: Option<u32>,
    interrupt: &mut Interrupt,
    progress: &mut Progress,
) -> Result<Chosen> {
    progress.begin("steps 1 and 2 of 4: watching the machine");
    let pid = match asked_for {
        Some(pid) => {
            let until = plan.begun + (plan.time / LEAST).min(LONGEST_LOOK);
            pause(until, watch, interrupt, progress).await?;
            Some(pid)
        }
        None => settle(watch, plan, interrupt, progress).await?,
    };
    progress.end(interrupt.is_set());
    let machine = watch.machine();
    let first = steps::machine(&machine, plan.took());
    progress.found(&first);
    let suspect = pid.and_then(|pid| watch.follow(pid));
    if let Some(pid) = asked_for {
        // Seen or not, the user wants to know of it.
        suspect
            .as_ref()
            .with_context(|| format!("process {pid} exited before it could be looked at"))?;
    }
    let row = suspect.as_ref().map(|(_, row)| row);
    let kernel = &machine.meta.kernel;
    let second = match (asked_for, row) {
        (Some(_), Some(row)) => steps::asked_for(row, kernel, plan.took()),
        _ => {
            let all = watch.seen()?.candidates;
            steps::choice(&all, row, kernel, plan.took())
        }
    };
    progress.found(&second);
    let left = plan.end().saturating_duration_since(Instant::now());
    Ok(Chosen {
        machine,
        steps: vec![first, second],
        suspect,
        is_too_late: left < plan.time / FOR_A_TRACE,
    })
}

/// The process that certainly grows most. Where none does after the time for the choice, the watch goes on: there is
/// nothing else to use the time for, and a slower growth shows.
async fn settle(
    watch: &Watch,
    plan: Plan,
    interrupt: &mut Interrupt,
    progress: &Progress,
) -> Result<Option<u32>> {
    let mut settling = Settling::default();
    let mut passes = 0;
    loop {
        let seen = watch.seen()?;
        let took = plan.took();
        let first = seen.candidates.first().filter(|one| matters(&one.growth));
        if seen.passes > passes {
            passes = seen.passes;
            progress.at(&words(&seen));
            if settling.is_certain(&seen.candidates, took, plan.time / LEAST) {
                return Ok(first.map(|first| first.pid));
            }
        }
        let is_over = took >= plan.time || interrupt.is_set();
        if is_over || (first.is_some() && took >= plan.time / FOR_THE_CHOICE) {
            return Ok(first.map(|first| first.pid));
        }
        wait(LOOK, interrupt).await;
    }
}

/// Watches until a moment.
async fn pause(
    until: Instant,
    watch: &Watch,
    interrupt: &mut Interrupt,
    progress: &Progress,
) -> Result<()> {
    while Instant::now() < until && !interrupt.is_set() {
        progress.at(&words(&watch.seen()?));
        wait(
            LOOK.min(until.saturating_duration_since(Instant::now())),
            interrupt,
        )
        .await;
    }
    Ok(())
}

async fn wait(time: Duration, interrupt: &mut Interrupt) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = interrupt.wait() => {}
    }
}

/// What the live line says.
fn words(seen: &Seen) -> String {
    let processes = match seen.candidates.len() as u64 {
        0 => "watching the machine".to_owned(),
        processes => counted_processes(processes),
    };
    let first = seen.candidates.first().filter(|one| matters(&one.growth));
    let first = first.map_or_else(String::new, |one| {
        format!(
            ", {} ({}) grows {}/min",
            one.command,
            one.pid,
            // A cast of a float ends at the largest number.
            bytes(one.growth.per_min.round() as u64)
        )
    });
    format!("steps 1 and 2 of 4: {processes}{first}")
}
