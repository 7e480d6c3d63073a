//! The overhead guard: decides, from probe hits, where to sample more thinly and where to take the probes off, so that a
//! trace of the whole host stays within its budget. Pure: hits and time in, decisions out.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use tracer_common::sampling;

/// Over how long hits are averaged before a process is judged.
const MEMORY: Duration = Duration::from_secs(1);
/// A single process that costs so many budgets is beyond help by sampling, and is not watched for longer than
/// [`EMERGENCY_TICKS`].
const EMERGENCY: f64 = 4.0;
/// Looks in a row that must agree on an emergency.
const EMERGENCY_TICKS: u32 = 2;
/// After a decision, time for its effect to show.
const SETTLE: Duration = Duration::from_millis(500);
/// How long the cost must have been low before sampling gets denser again.
const CALM: Duration = Duration::from_secs(30);
/// Part of the budget that a denser sample may reach by the forecast.
const DENSER_UP_TO: f64 = 0.7;
/// Mean size of a block, for the forecast of how many are followed; most programs lie between 50 and 300 bytes.
const TYPICAL_BLOCK: f64 = 128.0;
/// Part of the whole cost that a process must have for its sampling to be worth a step.
const WORTH_A_STEP: f64 = 0.05;
/// The thinnest sample: one block in a mebibyte costs as little as none at all.
const LAST_STEP: u32 = 5;

/// What one probe hit costs the traced program, in nanoseconds of its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// A hit that does no more than find that there is nothing to do.
    pub passed_ns: f64,
    /// A hit of a block that is followed: its part of stack, insertion and removal included.
    pub followed_ns: f64,
}

impl Costs {
    /// From the calibrated cost of a hit on an empty program. The factors are those of `docs/performance.md`: a pair of
    /// malloc and free is three hits, and costs 1.44 and, sampled, 1.07 times the empty programs'.
    pub fn from_empty_hit(nanoseconds: f64) -> Self {
        Self {
            passed_ns: nanoseconds * 1.07,
            followed_ns: nanoseconds * 1.44,
        }
    }

    /// Mean cost of a hit at a sampling interval in bytes; 0 follows every block.
    fn at(self, interval: u64) -> f64 {
        let followed = if interval == 0 {
            1.0
        } else {
            1.0 - (-TYPICAL_BLOCK / interval as f64).exp()
        };
        self.passed_ns + (self.followed_ns - self.passed_ns) * followed
    }
}

/// A process as the kernel side counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Its row in the process table.
    pub row: u32,
    /// Its PID: a row is used again.
    pub tgid: u32,
    /// Probe hits so far.
    pub hits: u64,
    /// Its sampling step.
    pub step: u32,
    /// Whether its blocks are followed at all.
    pub followed: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sample at this step from now on.
    Sample(u32),
    /// Take the probes off.
    Off,
}

/// A decision about one process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// Its row.
    pub row: u32,
    /// Its PID.
    pub tgid: u32,
    /// What is to be done.
    pub action: Action,
    /// Its hits per second before.
    pub hits_per_second: f64,
    /// What they cost, in CPUs.
    pub cost: f64,
    /// Whether it was plain at first sight.
    pub urgent: bool,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    tgid: u32,
    hits: u64,
    /// Hits per second at the last look.
    now: f64,
    /// Hits per second, averaged.
    mean: f64,
    emergency: u32,
    off: bool,
}

/// Keeps the cost of the probes within the budget.
#[derive(Debug)]
pub struct Guard {
    /// CPUs that the probes may take; `None` is no limit.
    budget: Option<f64>,
    costs: Costs,
    /// Sampling interval that the user asked for; 0 follows every block.
    base: u64,
    watched: HashMap<u32, Watched>,
    last_tick: Option<Duration>,
    last_decision: Duration,
    busy_at: Duration,
}

impl Guard {
    /// A guard with a budget in CPUs.
    pub fn new(budget: Option<f64>, costs: Costs, base: u64) -> Self {
        Self {
            budget,
            costs,
            base,
            watched: HashMap::new(),
            last_tick: None,
            last_decision: Duration::ZERO,
            busy_at: Duration::ZERO,
        }
    }

    /// What the probes cost now, in CPUs.
    pub fn cost(&self, rows: &[Usage]) -> f64 {
        rows.iter().map(|usage| self.cost_of(usage)).sum()
    }

    /// Probe hits per second now, over all processes.
    pub fn hits_per_second(&self) -> f64 {
        self.watched.values().map(|watched| watched.mean).sum()
    }

    fn cost_of(&self, usage: &Usage) -> f64 {
        self.forecast(usage, usage.step, |watched| watched.mean)
    }

    /// What a process would cost at a step, in CPUs.
    fn forecast(&self, usage: &Usage, step: u32, rate: impl Fn(&Watched) -> f64) -> f64 {
        let Some(watched) = self.watched.get(&usage.row) else {
            return 0.0;
        };
        let hit = if usage.followed {
            self.costs.at(sampling::interval(self.base, step))
        } else {
            self.costs.passed_ns
        };
        rate(watched) * hit / 1e9
    }

    /// Looks at all processes in use, at the elapsed time `now`.
    pub fn tick(&mut self, now: Duration, rows: &[Usage]) -> Vec<Decision> {
        let since = now.saturating_sub(self.last_tick.unwrap_or_default());
        let first = self.last_tick.replace(now).is_none();
        self.measure(since, rows, first);
        let Some(budget) = self.budget else {
            return Vec::new();
        };
        let mut decisions = self.emergencies(rows, budget);
        if decisions.is_empty() {
            decisions.extend(self.steady(now, rows, budget));
        }
        if !decisions.is_empty() {
            self.last_decision = now;
        }
        for decision in decisions.iter().filter(|d| d.action == Action::Off) {
            if let Some(watched) = self.watched.get_mut(&decision.row) {
                watched.off = true;
                // What it did before is over, and others must not pay for it.
                watched.mean = 0.0;
            }
        }
        decisions
    }

    fn measure(&mut self, since: Duration, rows: &[Usage], first: bool) {
        let seconds = since.as_secs_f64().max(1e-3);
        let weight = 1.0 - (-seconds / MEMORY.as_secs_f64()).exp();
        let mut watched = HashMap::with_capacity(rows.len());
        for usage in rows {
            let known = self.watched.get(&usage.row);
            let known = known.filter(|known| known.tgid == usage.tgid && known.hits <= usage.hits);
            let before = known.copied().unwrap_or(Watched {
                tgid: usage.tgid,
                // What a process did before the first look is nothing that a rate is known of.
                hits: if first { usage.hits } else { 0 },
                now: 0.0,
                mean: 0.0,
                emergency: 0,
                off: false,
            });
            let rate = (usage.hits - before.hits) as f64 / seconds;
            let mean = before.mean + (rate - before.mean) * weight;
            watched.insert(
                usage.row,
                Watched {
                    hits: usage.hits,
                    now: rate,
                    mean,
                    ..before
                },
            );
        }
        self.watched = watched;
    }

    /// Processes that no sampling brings into the budget, at first sight.
    fn emergencies(&mut self, rows: &[Usage], budget: f64) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for usage in rows {
            let least = self.forecast(usage, LAST_STEP, |watched| watched.now);
            let cost = self.forecast(usage, usage.step, |watched| watched.now);
            let Some(watched) = self.watched.get_mut(&usage.row) else {
                continue;
            };
            watched.emergency = if least > EMERGENCY * budget && !watched.off {
                watched.emergency + 1
            } else {
                0
            };
            if watched.emergency >= EMERGENCY_TICKS {
                decisions.push(Decision {
                    row: usage.row,
                    tgid: usage.tgid,
                    action: Action::Off,
                    hits_per_second: watched.now,
                    cost,
                    urgent: true,
                });
            }
        }
        decisions
    }

    /// Brings the averaged cost into the budget, the dearest process first, one step at a time; or, after a calm while,
    /// makes a sample denser again.
    fn steady(&mut self, now: Duration, rows: &[Usage], budget: f64) -> Option<Decision> {
        let total = self.cost(rows);
        if total > budget / 2.0 {
            self.busy_at = now;
        }
        if now < self.last_decision + SETTLE {
            return None;
        }
        if total > budget {
            // An average needs its time to fill: what is above the budget by then has been so for a while.
            return self.thinner(rows, total, budget);
        }
        if now > self.busy_at + CALM && now > self.last_decision + CALM {
            return self.denser(rows, total, budget);
        }
        None
    }

    /// Samples where that saves something, the dearest process first; takes probes off only where all that can be sampled is.
    fn thinner(&self, rows: &[Usage], total: f64, budget: f64) -> Option<Decision> {
        let on = || rows.iter().filter(|usage| !self.is_off(usage));
        let dearer = |a: &&Usage, b: &&Usage| self.cost_of(a).total_cmp(&self.cost_of(b));
        let at = |usage: &Usage, step: u32| self.forecast(usage, step, |watched| watched.mean);
        let saves = |usage: &&Usage| {
            let cost = self.cost_of(usage);
            usage.followed && cost > total * WORTH_A_STEP && at(usage, LAST_STEP) < cost * 0.9
        };
        let Some(dearest) = on().filter(saves).max_by(dearer) else {
            let dearest = on().max_by(dearer)?;
            return Some(self.decision(dearest, Action::Off));
        };
        let others = total - self.cost_of(dearest);
        let mut steps = dearest.step + 1..=LAST_STEP;
        let enough = steps.find(|step| others + at(dearest, *step) <= budget);
        Some(self.decision(dearest, Action::Sample(enough.unwrap_or(LAST_STEP))))
    }

    fn denser(&self, rows: &[Usage], total: f64, budget: f64) -> Option<Decision> {
        let thinned = rows
            .iter()
            .filter(|usage| usage.step > 0 && usage.followed && !self.is_off(usage));
        let cheapest = thinned.min_by(|a, b| self.cost_of(a).total_cmp(&self.cost_of(b)))?;
        let step = cheapest.step - 1;
        let forecast = self.forecast(cheapest, step, |watched| watched.mean);
        let fits = total - self.cost_of(cheapest) + forecast <= budget * DENSER_UP_TO;
        fits.then(|| self.decision(cheapest, Action::Sample(step)))
    }

    fn is_off(&self, usage: &Usage) -> bool {
        self.watched
            .get(&usage.row)
            .is_some_and(|watched| watched.off)
    }

    fn decision(&self, usage: &Usage, action: Action) -> Decision {
        Decision {
            row: usage.row,
            tgid: usage.tgid,
            action,
            hits_per_second: self
                .watched
                .get(&usage.row)
                .map_or(0.0, |watched| watched.mean),
            cost: self.cost_of(usage),
            urgent: false,
        }
    }
}
