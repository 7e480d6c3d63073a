//! Prices: what the hits of each probed process cost, who is sampled more thinly or more densely, and who is left.

use std::time::Duration;

use super::pricing::LAST_STEP;
use super::{Action, Admission, Decision, FILL, Process, Stage, TRIAL, Usage};

/// Over how long hits are averaged for the sum, and for the judgment of a single process.
const MEMORY: Duration = Duration::from_secs(1);
const SHORT_MEMORY: Duration = Duration::from_millis(80);
/// Looks in a row that must agree that one process alone breaks the budget.
const ALARMS: u32 = 2;
/// After a decision, time for its effect to show.
const SETTLE: Duration = Duration::from_millis(300);
/// How long the cost must have been low before sampling gets denser again.
const CALM: Duration = Duration::from_secs(30);
/// Part of the budget that a denser sample may reach by the forecast.
const DENSER_UP_TO: f64 = 0.7;
/// Part of the whole cost that a process must have for its sampling to be worth a step.
const WORTH_A_STEP: f64 = 0.05;
/// Part of the budget up to which every block of a process is followed that grows.
const FOR_GROWTH: f64 = 0.1;
/// The longest time after which a process that was left is tried again.
const LAST_RETRY: Duration = Duration::from_secs(320);
/// Part of the budget that a process may cost in any case.
const NEXT_TO_NOTHING: f64 = 0.01;

impl Admission {
    /// Looks at the hits of all probed processes, at the elapsed time `now`.
    pub fn tick(&mut self, now: Duration, usage: &[Usage]) -> Vec<Decision> {
        let since = now.saturating_sub(self.last_tick.replace(now).unwrap_or_default());
        self.measure(since, usage);
        let Some(budget) = self.budget else {
            return Vec::new();
        };
        let mut decisions = self.judge_trials(now, budget);
        decisions.extend(self.alarms(now, budget));
        if decisions.is_empty() {
            decisions = self.steady(now, budget);
        }
        decisions
    }

    /// Judges those that are on trial at once: nobody will look for a while.
    pub fn conclude(&mut self, now: Duration, usage: &[Usage]) -> Vec<Decision> {
        let since = now.saturating_sub(self.last_tick.replace(now).unwrap_or_default());
        self.measure(since, usage);
        match self.budget {
            Some(budget) => self.judge_trials(now + TRIAL, budget),
            None => Vec::new(),
        }
    }

    fn measure(&mut self, since: Duration, usage: &[Usage]) {
        let seconds = since.as_secs_f64().max(1e-3);
        let weight = |memory: Duration| 1.0 - (-seconds / memory.as_secs_f64()).exp();
        let (long, short) = (weight(MEMORY), weight(SHORT_MEMORY));
        self.pricing = self.pricing.beside(self.probed_count().saturating_sub(1));
        self.gone -= self.gone * long;
        self.gone_hits -= self.gone_hits * long;
        for usage in usage {
            let Some(process) = self.processes.get_mut(&usage.pid) else {
                continue;
            };
            let rate = usage.hits.saturating_sub(process.hits) as f64 / seconds;
            process.hits = usage.hits;
            process.step = usage.step;
            process.now += (rate - process.now) * short;
            process.mean += (rate - process.mean) * long;
        }
    }

    /// What the probes of all but one process cost, in CPUs; where that one grows, of those that grow as well, as the
    /// others can be given up for it.
    fn others(&self, pid: u32) -> f64 {
        let grows = self.processes.get(&pid).is_some_and(Process::grows);
        let others = self.processes.iter().filter(|(other, process)| {
            **other != pid && process.is_probed() && (!grows || process.grows())
        });
        others
            .map(|(_, process)| self.pricing.cost(process.mean, process.step))
            .sum()
    }

    fn judge_trials(&mut self, now: Duration, budget: f64) -> Vec<Decision> {
        let mut on_trial: Vec<(u32, Duration)> = self
            .processes
            .iter()
            .filter_map(|(pid, process)| match process.stage {
                Stage::Trial { since } if now.saturating_sub(since) >= TRIAL => Some((*pid, since)),
                _ => None,
            })
            .collect();
        on_trial.sort_unstable();
        on_trial
            .into_iter()
            .filter_map(|(pid, _)| {
                let process = self.processes.get_mut(&pid)?;
                process.stage = Stage::Traced;
                let process = *process;
                // Next to nothing is affordable, however much the others cost.
                let most = (budget * FILL - self.others(pid)).max(budget * NEXT_TO_NOTHING);
                let step = self.pricing.step_within(process.now, process.step, most);
                let decision = match step {
                    Some(step) if step == process.step => None,
                    _ => Some(self.decide(now, pid, step)),
                };
                // The long average of one that stays begins with what is known of it.
                if let (Some(_), Some(process)) = (step, self.processes.get_mut(&pid)) {
                    process.mean = process.mean.max(process.now);
                }
                decision
            })
            .collect()
    }

    /// Processes that break the budget alone.
    fn alarms(&mut self, now: Duration, budget: f64) -> Vec<Decision> {
        let mut pids: Vec<u32> = self.processes.keys().copied().collect();
        pids.sort_unstable();
        let mut decisions = Vec::new();
        for pid in pids {
            let Some(process) = self.processes.get(&pid).copied() else {
                continue;
            };
            let cost = self.pricing.cost(process.now, process.step);
            let is_alarming = process.stage == Stage::Traced && cost > budget;
            let alarms = if is_alarming { process.alarms + 1 } else { 0 };
            if let Some(process) = self.processes.get_mut(&pid) {
                process.alarms = alarms;
            }
            if alarms >= ALARMS {
                let most = budget * FILL - self.others(pid);
                let step = self
                    .pricing
                    .step_within(process.now, process.step + 1, most);
                decisions.push(self.decide(now, pid, step));
            }
        }
        decisions
    }

    /// Brings the averaged cost into the budget, the dearest process first; or, after a calm while, makes a sample
    /// denser again.
    fn steady(&mut self, now: Duration, budget: f64) -> Vec<Decision> {
        let total = self.present_cost();
        if total > budget / 2.0 {
            self.busy_at = now;
        }
        if now < self.last_decision + SETTLE {
            return Vec::new();
        }
        if let Some(decision) = self.promote(now, budget) {
            return vec![decision];
        }
        if total > budget {
            let idle = self.give_up_idle(now);
            return match idle.is_empty() {
                true => self.thinner(now, total, budget).into_iter().collect(),
                false => idle,
            };
        }
        if now > self.busy_at + CALM && now > self.last_decision + CALM {
            return self.denser(now, total, budget).into_iter().collect();
        }
        Vec::new()
    }

    /// Processes that do nothing give their probes up: each makes the hits of all others dearer.
    fn give_up_idle(&mut self, now: Duration) -> Vec<Decision> {
        let is_idle = |process: &Process| process.stage == Stage::Traced && process.is_idle();
        let idle = self.processes.iter();
        let idle = idle.filter_map(|(pid, process)| is_idle(process).then_some(*pid));
        let mut pids: Vec<u32> = idle.collect();
        pids.sort_unstable();
        pids.into_iter()
            .map(|pid| Decision {
                action: Action::Wait,
                ..self.decision(now, pid)
            })
            .collect()
    }

    /// Samples where that saves something, the dearest first; removes probes only where all that can be sampled is. Of
    /// what grows, and does not cost much, every block is followed until nothing else is left.
    fn thinner(&mut self, now: Duration, total: f64, budget: f64) -> Option<Decision> {
        let pricing = self.pricing;
        let cost = |process: &Process| pricing.cost(process.mean, process.step);
        let mut dearest: Vec<(u32, Process)> = self
            .processes
            .iter()
            .filter(|(_, process)| process.stage == Stage::Traced)
            .map(|(pid, process)| (*pid, *process))
            .collect();
        dearest.sort_by(|(_, a), (_, b)| {
            let growth = a.grows().cmp(&b.grows());
            growth.then(cost(b).total_cmp(&cost(a)))
        });
        let is_kept = |process: &Process| process.grows() && cost(process) <= budget * FOR_GROWTH;
        let saves = |process: &Process| {
            cost(process) > total * WORTH_A_STEP
                && pricing.cost(process.mean, LAST_STEP) < cost(process) * 0.9
        };
        let first = dearest.first()?;
        // The order begins with what does not grow: if the first grows, all do.
        let all_grow = first.1.grows();
        let sampled = dearest
            .iter()
            .find(|(_, process)| saves(process) && (all_grow || !is_kept(process)));
        let Some((pid, process)) = sampled else {
            return Some(self.decide(now, first.0, None));
        };
        let most = budget * FILL - (total - cost(process));
        let step = pricing.step_within(process.mean, process.step + 1, most);
        Some(self.decide(now, *pid, Some(step.unwrap_or(LAST_STEP))))
    }

    /// Follows every block of a process that has begun to grow, where that costs little; others then give up theirs.
    fn promote(&mut self, now: Duration, budget: f64) -> Option<Decision> {
        let affordable = |pid: u32, process: &Process| {
            let cost = self.pricing.cost(process.mean, 0);
            cost <= budget * FOR_GROWTH && cost + self.others(pid) <= budget * FILL
        };
        let sampled = self.processes.iter().filter(|(_, process)| {
            process.stage == Stage::Traced && process.step > 0 && process.grows()
        });
        let chosen = sampled
            .filter(|(pid, process)| affordable(**pid, process))
            .max_by_key(|(pid, process)| (process.need(), **pid));
        let pid = *chosen?.0;
        Some(self.decide(now, pid, Some(0)))
    }

    fn denser(&mut self, now: Duration, total: f64, budget: f64) -> Option<Decision> {
        let pricing = self.pricing;
        let cost = |process: &Process| pricing.cost(process.mean, process.step);
        let sampled = self
            .processes
            .iter()
            .filter(|(_, process)| process.stage == Stage::Traced && process.step > 0);
        let (pid, process) = sampled.min_by(|(_, a), (_, b)| {
            let growth = b.grows().cmp(&a.grows());
            growth.then(cost(a).total_cmp(&cost(b)))
        })?;
        let (pid, step) = (*pid, process.step - 1);
        let fits =
            total - cost(process) + pricing.cost(process.mean, step) <= budget * DENSER_UP_TO;
        fits.then(|| self.decide(now, pid, Some(step)))
    }

    /// A decision about a process, with its figures.
    fn decision(&mut self, now: Duration, pid: u32) -> Decision {
        self.last_decision = now;
        let process = self.processes.get(&pid);
        let (hits_per_second, before) = process.map_or((0.0, 0), |process| {
            (process.now.max(process.mean), process.step)
        });
        Decision {
            pid,
            action: Action::Leave,
            before,
            hits_per_second,
            cost: self.pricing.cost(hits_per_second, before),
            total: self.cost(),
        }
    }

    /// Decides on a sampling step, or on leaving where there is none.
    fn decide(&mut self, now: Duration, pid: u32, step: Option<u32>) -> Decision {
        let decision = self.decision(now, pid);
        let Some(process) = self.processes.get_mut(&pid) else {
            return decision;
        };
        process.alarms = 0;
        let Some(step) = step else {
            self.leave(now, pid);
            return decision;
        };
        process.step = step;
        Decision {
            action: Action::Sample(step),
            ..decision
        }
    }

    /// A process loses its probes, which cost too much.
    fn leave(&mut self, now: Duration, pid: u32) {
        let Some(process) = self.processes.get(&pid).copied() else {
            return;
        };
        self.take_off(&process);
        let left = Process {
            stage: Stage::Left {
                retry: now + process.retry_after,
            },
            retry_after: (process.retry_after * 2).min(LAST_RETRY),
            cpu_then: process.cpu,
            grew_then: process.grows(),
            now: 0.0,
            mean: 0.0,
            ..process
        };
        self.processes.insert(pid, left);
    }
}
