//! What probes cost the traced programs, and the steps that are taken to keep it low.

use std::collections::HashMap;
use std::time::Duration;

use tracer_common::key::Owner;

use super::Heap;
use super::scope::cpus;
use crate::bpf::Tracer;
use crate::engine::admission::{Action, Decision, Pricing};
use crate::engine::{Core, place};
use crate::process::info;
use crate::profile::{self, GuardAction, GuardStep};
use crate::words;

/// Steps that are remembered, the newest: a trace may run for months.
const MOST_STEPS: usize = 1_000;
/// What a hit of an empty program costs where it could not be measured; measured were 450 to 710 ns.
const ASSUMED_HIT: Duration = Duration::from_nanos(500);
/// Over how long the price of a named process is taken: CPU time comes in ticks of 10 ms.
const WINDOW: Duration = Duration::from_millis(500);
/// Less CPU time than this says nothing about a share of it.
const LEAST_CPU: Duration = Duration::from_millis(50);

/// A program's hits and CPU time at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Duration,
    hits: u64,
    cpu: Duration,
}

/// What was spent between two readings.
#[derive(Clone, Copy, Debug)]
struct Spent {
    hits_per_second: f64,
    /// CPUs that the program used, with its probes.
    cpus: f64,
}

impl Reading {
    fn spent_since(&self, before: &Self) -> Option<Spent> {
        let cpu = self.cpu.saturating_sub(before.cpu);
        let seconds = self.at.saturating_sub(before.at).as_secs_f64();
        (cpu >= LEAST_CPU && seconds > 0.0).then(|| Spent {
            hits_per_second: self.hits.saturating_sub(before.hits) as f64 / seconds,
            cpus: cpu.as_secs_f64() / seconds,
        })
    }
}

/// The prices of a trace's programs, and what was done to keep them low.
pub(super) struct Cost {
    hit: Duration,
    pub pricing: Pricing,
    steps: Vec<GuardStep>,
    /// The thinnest sample that a step has begun or ended, of programs that were sampled.
    coarsest: HashMap<Owner, u64>,
    /// Most that the probes may cost a named process, in percent of its CPU time.
    slowdown_percent: Option<f64>,
    /// At the last report.
    reported: HashMap<Owner, Reading>,
    /// At the beginning of the window.
    window: HashMap<Owner, Reading>,
}

impl Cost {
    /// Prices by what a probe hit costs here, at a sampling interval that the user asked for.
    pub fn new(hit: Option<Duration>, base: u64, slowdown_percent: Option<f64>) -> Self {
        let hit = hit.unwrap_or(ASSUMED_HIT);
        Self {
            hit,
            pricing: Pricing::new(hit, base),
            steps: Vec::new(),
            coarsest: HashMap::new(),
            slowdown_percent,
            reported: HashMap::new(),
            window: HashMap::new(),
        }
    }

    /// What a hit of an empty program costs.
    pub const fn hit(&self) -> Duration {
        self.hit
    }

    /// A program is over.
    pub fn forget(&mut self, owner: Owner) {
        self.reported.remove(&owner);
        self.window.remove(&owner);
        self.coarsest.remove(&owner);
    }

    /// Part of a program's CPU time since the last report that went to its probes, in percent.
    pub fn percent_since_report(&mut self, core: &Core, owner: Owner, row: u32) -> Option<f64> {
        let now = reading(core, owner, row)?;
        let before = self.reported.insert(owner, now)?;
        let spent = now.spent_since(&before)?;
        let cost = self
            .pricing
            .cost(spent.hits_per_second, core.tracer.step(row));
        Some((cost / spent.cpus * 100.0).min(100.0))
    }
}

fn reading(core: &Core, owner: Owner, row: u32) -> Option<Reading> {
    Some(Reading {
        at: core.elapsed(),
        hits: core.tracer.process(row)?.hits,
        cpu: info::vitals(owner.tgid)?.cpu,
    })
}

/// What a probe hit costs on this machine.
pub(super) fn calibrated(tracer: &mut Tracer) -> Option<Duration> {
    // A refusal shows again, with its reason, where the first probe is placed.
    tracer.time_of_a_hit().ok().flatten()
}

impl Heap {
    /// Looks at what the probes cost named processes, and samples more thinly where that is more than was allowed.
    pub(super) fn keep_slowdown(&mut self, core: &mut Core) {
        let Some(percent) = self.options.slowdown_percent else {
            return;
        };
        let running: Vec<(Owner, u32)> = core
            .members
            .iter()
            .filter(|member| member.state.is_alive() && !self.off.contains_key(&member.owner))
            .map(|member| (member.owner, member.row))
            .collect();
        for (owner, row) in running {
            let begun = self.cost.window.get(&owner).copied();
            if begun.is_some_and(|begun| core.elapsed() < begun.at + WINDOW) {
                continue;
            }
            let Some(now) = reading(core, owner, row) else {
                continue;
            };
            self.cost.window.insert(owner, now);
            if let Some(spent) = begun.and_then(|begun| now.spent_since(&begun)) {
                self.judge(core, owner, row, &spent, percent);
            }
        }
    }

    fn judge(&mut self, core: &mut Core, owner: Owner, row: u32, spent: &Spent, percent: f64) {
        let before = core.tracer.step(row);
        let pricing = self.cost.pricing;
        let cost = pricing.cost(spent.hits_per_second, before);
        let allowed = percent / 100.0 * spent.cpus;
        if cost <= allowed {
            return;
        }
        let step = pricing.step_within(spent.hits_per_second, before + 1, allowed);
        match step {
            Some(step) => core.tracer.set_step(row, step),
            None => self.remove_probes(core, owner.tgid),
        }
        // Its effect shows in a window of its own.
        self.cost.window.remove(&owner);
        let decision = Decision {
            pid: owner.tgid,
            action: step.map_or(Action::Leave, Action::Sample),
            before,
            hits_per_second: spent.hits_per_second,
            cost,
            total: cost,
        };
        self.note_step(core, &decision, Some(cost / spent.cpus * 100.0));
    }

    /// What a profile says of the cost of all probes.
    pub(super) fn guard_report(&self) -> Option<profile::Guard> {
        let scope = self.scope.as_ref();
        let admission = scope.map(|scope| &scope.admission);
        if admission.is_none() && self.cost.slowdown_percent.is_none() {
            return None;
        }
        Some(profile::Guard {
            budget_percent: scope.and_then(|scope| scope.budget_percent),
            slowdown_percent: self.cost.slowdown_percent,
            cost_percent: admission.map_or(0.0, |admission| admission.cost() / cpus() * 100.0),
            hits_per_second: admission.map_or(0, |admission| admission.hits_per_second() as u64),
            steps: self.cost.steps.clone(),
        })
    }

    /// The thinnest sample that the figures of a program are drawn from: one that is followed in full by now still
    /// holds estimates of what came before.
    pub(super) fn coarsest_interval(&self, core: &Core, owner: Owner) -> Option<u64> {
        let member = core.members.get(owner)?;
        let now = self.cost.pricing.interval(core.tracer.step(member.row));
        let before = self.cost.coarsest.get(&owner).copied();
        before.max((now > 0).then_some(now))
    }

    /// Keeps a step for the report, and says it; `own_percent` of its CPU time was the reason where it is given.
    pub(super) fn note_step(&mut self, core: &Core, decision: &Decision, own_percent: Option<f64>) {
        let pid = decision.pid;
        let member = core.members.running(pid);
        let interval = |step| {
            let interval = self.cost.pricing.interval(step);
            (interval > 0).then_some(interval)
        };
        let step = GuardStep {
            at: core.elapsed(),
            pid,
            command: member.map_or_else(|| info::name(pid), |member| member.command.clone()),
            place: member.map_or_else(|| place(pid), |member| member.place.clone()),
            action: match decision.action {
                Action::Sample(step) => GuardAction::Sample {
                    from: interval(decision.before),
                    to: interval(step),
                },
                Action::Leave | Action::Wait => GuardAction::ProbesOff,
            },
            hits_per_second: decision.hits_per_second as u64,
            cost_percent: decision.cost / cpus() * 100.0,
            total_percent: decision.total.max(decision.cost) / cpus() * 100.0,
            own_percent,
        };
        if let (GuardAction::Sample { from, to }, Some(member)) = (&step.action, member)
            && let Some(interval) = from.max(to)
        {
            let coarsest = self.cost.coarsest.entry(member.owner).or_default();
            *coarsest = (*coarsest).max(*interval);
        }
        core.log.say(|| words::guard::sentence(&step));
        if self.cost.steps.len() >= MOST_STEPS {
            self.cost.steps.remove(0);
        }
        self.cost.steps.push(step);
    }
}
