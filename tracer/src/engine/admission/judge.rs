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
            decisions.extend(self.steady(now, budget));
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

    /// What the probes of all but one process cost, in CPUs.
    fn others(&self, pid: u32) -> f64 {
        let others = self
            .processes
            .iter()
            .filter(|(other, process)| **other != pid && process.is_probed());
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

    /// Brings the averaged cost into the budget, the dearest process first; or, after a calm while, makes a sample denser
    /// again.
    fn steady(&mut self, now: Duration, budget: f64) -> Option<Decision> {
        let total = self.present_cost();
        if total > budget / 2.0 {
            self.busy_at = now;
        }
        if now < self.last_decision + SETTLE {
            return None;
        }
        if total > budget {
            return self.thinner(now, total, budget);
        }
        if now > self.busy_at + CALM && now > self.last_decision + CALM {
            return self.denser(now, total, budget);
        }
        None
    }

    /// Samples where that saves something, the dearest first; removes probes only where all that can be sampled is.
    fn thinner(&mut self, now: Duration, total: f64, budget: f64) -> Option<Decision> {
        let pricing = self.pricing;
        let cost = |process: &Process| pricing.cost(process.mean, process.step);
        let mut dearest: Vec<(u32, Process)> = self
            .processes
            .iter()
            .filter(|(_, process)| process.stage == Stage::Traced)
            .map(|(pid, process)| (*pid, *process))
            .collect();
        dearest.sort_by(|(_, a), (_, b)| cost(b).total_cmp(&cost(a)));
        let saves = |process: &Process| {
            cost(process) > total * WORTH_A_STEP
                && pricing.cost(process.mean, LAST_STEP) < cost(process) * 0.9
        };
        if let Some((pid, process)) = dearest.iter().find(|(_, process)| saves(process)) {
            let most = budget * FILL - (total - cost(process));
            let step = pricing.step_within(process.mean, process.step + 1, most);
            return Some(self.decide(now, *pid, Some(step.unwrap_or(LAST_STEP))));
        }
        let (pid, _) = dearest.first()?;
        Some(self.decide(now, *pid, None))
    }

    fn denser(&mut self, now: Duration, total: f64, budget: f64) -> Option<Decision> {
        let pricing = self.pricing;
        let cost = |process: &Process| pricing.cost(process.mean, process.step);
        let sampled = self
            .processes
            .iter()
            .filter(|(_, process)| process.stage == Stage::Traced && process.step > 0);
        let (pid, process) = sampled.min_by(|(_, a), (_, b)| cost(a).total_cmp(&cost(b)))?;
        let (pid, step) = (*pid, process.step - 1);
        let fits =
            total - cost(process) + pricing.cost(process.mean, step) <= budget * DENSER_UP_TO;
        fits.then(|| self.decide(now, pid, Some(step)))
    }

    /// Decides on a sampling step, or on leaving where there is none.
    fn decide(&mut self, now: Duration, pid: u32, step: Option<u32>) -> Decision {
        let total = self.cost();
        let process = self.processes.get(&pid).copied();
        let (rate, before) = process.map_or((0.0, 0), |process| {
            (process.now.max(process.mean), process.step)
        });
        let decision = Decision {
            pid,
            action: step.map_or(Action::Leave, Action::Sample),
            before,
            hits_per_second: rate,
            cost: self.pricing.cost(rate, before),
            total,
        };
        if let (None, Some(process)) = (step, process) {
            self.take_off(&process);
        }
        if let Some(process) = self.processes.get_mut(&pid) {
            process.alarms = 0;
            match step {
                Some(step) => process.step = step,
                None => {
                    process.stage = Stage::Left {
                        retry: now + process.retry_after,
                    };
                    process.retry_after = (process.retry_after * 2).min(LAST_RETRY);
                    process.cpu_then = process.cpu;
                    process.now = 0.0;
                    process.mean = 0.0;
                }
            }
        }
        self.last_decision = now;
        decision
    }
}
