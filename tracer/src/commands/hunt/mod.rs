//! `memlens hunt`: watches the machine, picks the process that certainly grows most, looks at its ledger twice and
//! traces it meanwhile, and prints what follows.

mod choice;
mod join;
mod progress;
mod trace;
mod watch;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::output::Printer;
use crate::analysis::hunt::choose::{least, resident_step};
use crate::analysis::hunt::{conclude, judge_stacks, steps};
use crate::cli::{HuntConfig, Invocation, Outcome, Shown};
use crate::engine::target::Target;
use crate::engine::{Interrupt, runtime};
use crate::process::targets;
use crate::profile::hunt::{Hunt, HuntStep, StepKind, Suspect};
use crate::profile::query;
use crate::profile::{Measure, Profile, Source, Subject};
use crate::sources::ledger::find;
use crate::sources::machine::scan::ProcessKey;

use choice::Chosen;
use progress::Progress;
use trace::Traced;
use watch::Watch;

/// Samples of each source that a profile keeps.
const STACKS: usize = 20;

/// Runs `memlens hunt`.
///
/// # Errors
/// What keeps the machine or the process from being looked at, in one line.
pub fn run(invocation: &Invocation, config: &HuntConfig) -> Result<Outcome> {
    let asked_for = asked_for(config.target.as_ref())?;
    let interrupt = Interrupt::install()?;
    let mut printer = Printer::showing(&config.outputs, &Shown::default(), invocation);
    printer.options.top = None;
    printer.open()?;
    let profile = runtime()?.block_on(hunt(invocation, config, asked_for, interrupt))?;
    printer.print(profile)?;
    Ok(Outcome::Done(None))
}

/// The process that the user wants to be looked at.
fn asked_for(target: Option<&Target>) -> Result<Option<u32>> {
    let pid = match target {
        None => return Ok(None),
        Some(Target::Pids(pids)) => pids.first().copied(),
        Some(Target::Name(name)) => Some(targets::one_by_name(name)?),
        Some(Target::Command(_) | Target::Host(_)) => None,
    };
    match pid {
        Some(pid) => Ok(Some(find(pid)?.pid)),
        None => bail!("hunt is about one running process, or about the whole machine"),
    }
}

/// When a hunt began, and how it divides its time.
#[derive(Clone, Copy, Debug)]
struct Plan {
    begun: Instant,
    time: Duration,
}

impl Plan {
    /// When all is to be over.
    fn end(self) -> Instant {
        self.begun + self.time
    }

    fn took(self) -> Duration {
        self.begun.elapsed()
    }
}

/// All four steps, and what follows from them.
async fn hunt(
    invocation: &Invocation,
    config: &HuntConfig,
    asked_for: Option<u32>,
    mut interrupt: Interrupt,
) -> Result<Profile> {
    let plan = Plan {
        begun: Instant::now(),
        time: config.time,
    };
    let mut progress = Progress::new(plan.end());
    let watch = Watch::begin(plan.time)?;
    let (chosen, traced) = loop {
        let chosen = choice::choose(&watch, plan, asked_for, &mut interrupt, &mut progress).await?;
        let Some((key, _)) = &chosen.suspect else {
            break (chosen, Traced::default());
        };
        let why = why_not(&chosen, &interrupt);
        let traced = match why {
            Some(why) => Traced::not_begun(why),
            None => {
                let mut step = trace::Steps {
                    invocation,
                    config,
                    plan,
                    machine: &watch,
                    interrupt: &mut interrupt,
                    progress: &mut progress,
                };
                step.run(key.pid).await
            }
        };
        // What has ended of itself meanwhile was no leak that matters; there may be one behind it.
        let is_for_others = traced.ended && asked_for.is_none() && !interrupt.is_set();
        if !is_for_others || plan.took() >= plan.time / 2 {
            break (chosen, traced);
        }
        eprintln!(
            "memlens: process {} has ended: steps 1 and 2 once more",
            key.pid
        );
    };
    let mut hunt = Hunt {
        time: plan.time,
        steps: chosen.steps,
        interrupted: interrupt.is_set(),
        ..Hunt::default()
    };
    let Some((key, row)) = chosen.suspect else {
        return Ok(concluded(chosen.machine, hunt, plan));
    };
    let growth = watch.followed_growth();
    let kernel = &chosen.machine.meta.kernel;
    let ended = traced.ended || watch.is_gone(key);
    drop(watch);
    hunt.suspect = Some(Suspect {
        pid: key.pid,
        command: row.command.clone(),
        asked_for: asked_for.is_some(),
        ended,
        growth,
        least_bytes_per_min: growth
            .and_then(|growth| least(&growth, plan.took(), resident_step(kernel))),
    });
    hunt.not_traced.clone_from(&traced.not_traced);
    Ok(together(chosen.machine, row, hunt, traced, plan, &progress))
}

/// Why the process that was chosen is not even looked at, where that is so.
fn why_not(chosen: &Chosen, interrupt: &Interrupt) -> Option<&'static str> {
    match (interrupt.is_set(), chosen.is_too_late) {
        (true, _) => Some("the hunt was ended before"),
        (false, true) => Some("it was found too late, and no time was left"),
        (false, false) => None,
    }
}

/// Puts the evidence together, says what the last steps found, and concludes.
fn together(
    machine: Profile,
    mut row: Subject,
    mut hunt: Hunt,
    traced: Traced,
    plan: Plan,
    progress: &Progress,
) -> Profile {
    if let Some(suspect) = &hunt.suspect
        && let Some(growth) = suspect.growth
    {
        row.growth.insert(Measure::ProcessTotalBytes, growth);
    }
    let was_tried = traced.was_tried;
    let (ledger_took, trace_took) = (traced.ledger_took, traced.trace_took);
    let no_ledger = traced.no_ledger.clone();
    let no_blocks = traced.no_blocks.clone();
    let mut profile = join::joined(machine, row, traced, STACKS);
    judge_stacks(&mut profile);
    profile.sort(Source::Heap, Measure::HeapGrowthPerSLow);
    let profile = profile.top(query::Shown {
        stacks: Some(STACKS),
        ..query::Shown::ALL
    });
    if was_tried {
        let sections = &profile.sections;
        let ledger = match no_ledger {
            Some(why) => HuntStep::new(StepKind::Ledger, why, ledger_took),
            None => steps::ledger(
                sections.ledger.as_ref(),
                sections.ledger_change.as_ref(),
                ledger_took,
            ),
        };
        let mut trace = match &hunt.not_traced {
            Some(why) => steps::not_traced(why, trace_took),
            None => steps::trace(&profile, trace_took),
        };
        if let Some(why) = no_blocks {
            trace.text += &format!("; blocks of its heap were not traced: {why}");
        }
        for step in [ledger, trace] {
            progress.found(&step);
            hunt.steps.push(step);
        }
    }
    concluded(profile, hunt, plan)
}

/// The profile with its section and what follows.
fn concluded(mut profile: Profile, mut hunt: Hunt, plan: Plan) -> Profile {
    hunt.took = plan.took();
    profile.meta.last = true;
    profile.sections.hunt = Some(hunt);
    conclude(&mut profile);
    profile
}

/// The process that a hunt goes after, and its row.
type Hunted = (ProcessKey, Subject);
