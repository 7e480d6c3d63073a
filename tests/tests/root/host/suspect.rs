//! `memlens hunt` without a process: the one that grows is found on the whole machine.

use anyhow::{Context as _, Result, ensure};
use memlens::analysis::hunt::choose::NEGLIGIBLE;
use memlens::profile::hunt::{HuntOutcome, StepKind};
use memlens_tests::{Program, Victim};

use crate::hunt::{RATE, first_stack, hunt_of, hunted, is_about, leaking};

/// Tries on a machine where others grow as well.
const TRIES: usize = 4;

/// A slow leaker among processes at rest: process, part and stack. Where another one certainly grows, and faster or for
/// longer, it is that one that is found, and the hunt is repeated.
#[test]
fn a_slow_leaker_is_found() -> Result<()> {
    let idle = (0..20).map(|_| Victim::start(Program::new("reserve").command(&[])?));
    let _idle: Vec<Victim> = idle.collect::<Result<_>>()?;
    for attempt in 1.. {
        let victim = leaking(RATE)?;
        let report = hunted(&["--for", "25s"])?;
        let hunt = hunt_of(&report)?;
        let found = hunt.suspect.as_ref();
        if found.map(|suspect| suspect.pid) != Some(victim.pid()) && attempt < TRIES {
            let chosen = hunt.step(StepKind::Process).and_then(|step| step.growth);
            let certain = chosen.map_or(0.0, |growth| growth.certain);
            ensure!(certain >= NEGLIGIBLE, "{}", hunt.conclusion);
            continue;
        }
        ensure!(hunt.outcome == HuntOutcome::Heap, "{}", hunt.conclusion);
        let suspect = found.context("no suspect")?;
        ensure!(suspect.pid == victim.pid() && !suspect.asked_for && !suspect.ended);
        is_about(first_stack(&report, "leak_slowly")?, RATE as f64 * 60.0)?;
        ensure!(
            hunt.conclusion.contains("leak_slowly"),
            "{}",
            hunt.conclusion
        );
        let steps: Vec<StepKind> = hunt.steps.iter().map(|step| step.step).collect();
        ensure!(steps == StepKind::ALL, "{steps:?}");
        ensure!(report.sections.machine.is_some() && report.sections.ledger_change.is_some());
        let pid = victim.pid().to_string();
        ensure!(hunt.next.iter().any(|next| next.command.contains(&pid)));
        return Ok(());
    }
    Ok(())
}
