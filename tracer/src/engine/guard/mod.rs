//! The overhead guard: decides, from probe hits, where to sample more thinly and where to take the probes off, so that a
//! trace of the whole host stays within its budget. Pure: hits and time in, decisions out.

mod programs;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use tracer_common::sampling;

use programs::Programs;

/// Over how long hits are averaged before a process is judged.
const MEMORY: Duration = Duration::from_secs(1);
/// A single process that costs so many budgets is beyond help by sampling, and is not watched for longer than
/// [`EMERGENCY_TICKS`].
const EMERGENCY: f64 = 4.0;
/// Looks in a row that must agree on an emergency.
const EMERGENCY_TICKS: u32 = 2;
/// A process that was watched for so many looks is not a short-lived one.
const LONG_LIVED: u32 = 20;
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
/// Part of a program's cost that processes must have caused which have ended since, for it to be judged as a whole.
const SWARM: f64 = 0.5;
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
    /// Whether it runs; the rows of others are still there for a while.
    pub alive: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sample at this step from now on.
    Sample(u32),
    /// Take the probes off.
    Off,
}

/// Whom a decision is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// One process.
    Process {
        /// Its row.
        row: u32,
        /// Its PID.
        tgid: u32,
    },
    /// All processes of the program with this number: most of its cost is of processes that are over.
    Program(u32),
}

/// A decision of the guard. It holds for the next processes of the program as well, for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// Whom it is about.
    pub whom: Whom,
    /// What is to be done.
    pub action: Action,
    /// Hits per second before.
    pub hits_per_second: f64,
    /// What they cost, in CPUs.
    pub cost: f64,
    /// What all probes cost together, which is what the budget is for.
    pub total: f64,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    tgid: u32,
    /// Number of its program, where that is known.
    program: Option<u32>,
    hits: u64,
    /// Hits per second at the last look.
    now: f64,
    /// Hits per second, averaged.
    mean: f64,
    emergency: u32,
    off: bool,
    /// Looks since it came.
    looks: u32,
}

impl Watched {
    fn new(tgid: u32, program: Option<u32>, hits: u64) -> Self {
        Self {
            tgid,
            program,
            hits,
            now: 0.0,
            mean: 0.0,
            emergency: 0,
            off: false,
            looks: 0,
        }
    }
}

/// Whom sampling, or no probes, could make cheaper.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    whom: Whom,
    /// Hits per second.
    rate: f64,
    step: u32,
    followed: bool,
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
    programs: Programs,
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
            programs: Programs::default(),
            last_tick: None,
            last_decision: Duration::ZERO,
            busy_at: Duration::ZERO,
        }
    }

    /// A process begins to be traced, or another program in it; what was decided for earlier ones of its program.
    pub fn begin(
        &mut self,
        row: u32,
        tgid: u32,
        program: Option<u32>,
        now: Duration,
    ) -> Option<Action> {
        let watched = self
            .watched
            .entry(row)
            .or_insert(Watched::new(tgid, program, 0));
        *watched = Watched::new(
            tgid,
            program,
            if watched.tgid == tgid {
                watched.hits
            } else {
                0
            },
        );
        let action = self.programs.precedent(program?, now)?.action;
        watched.off = action == Action::Off;
        Some(action)
    }

    /// What the probes cost now, in CPUs.
    pub fn cost(&self, rows: &[Usage]) -> f64 {
        let running: f64 = rows.iter().map(|usage| self.cost_of(usage)).sum();
        let over: f64 = self.rests(rows).map(|rest| self.costs_of(&rest)).sum();
        running + over
    }

    /// Probe hits per second now, over all processes.
    pub fn hits_per_second(&self) -> f64 {
        self.watched.values().map(|watched| watched.mean).sum()
    }

    /// What a process costs, in CPUs.
    fn cost_of(&self, usage: &Usage) -> f64 {
        self.candidate(usage, |watched| watched.mean)
            .map_or(0.0, |candidate| self.costs_of(&candidate))
    }

    fn costs_of(&self, candidate: &Candidate) -> f64 {
        self.forecast(candidate, candidate.step)
    }

    /// What it would cost at a step, in CPUs.
    fn forecast(&self, candidate: &Candidate, step: u32) -> f64 {
        let hit = if candidate.followed {
            self.costs.at(sampling::interval(self.base, step))
        } else {
            self.costs.passed_ns
        };
        candidate.rate * hit / 1e9
    }

    /// A process that runs.
    fn candidate(&self, usage: &Usage, rate: impl Fn(&Watched) -> f64) -> Option<Candidate> {
        let watched = self.watched.get(&usage.row).filter(|_| usage.alive)?;
        Some(Candidate {
            whom: Whom::Process {
                row: usage.row,
                tgid: usage.tgid,
            },
            rate: rate(watched),
            step: usage.step,
            followed: usage.followed,
        })
    }

    /// For each program, the hits of those of its processes that have ended.
    fn rests(&self, rows: &[Usage]) -> impl Iterator<Item = Candidate> {
        let mut running: HashMap<u32, f64> = HashMap::new();
        for usage in rows.iter().filter(|usage| usage.alive) {
            if let Some(watched) = self.watched.get(&usage.row)
                && let Some(program) = watched.program
            {
                *running.entry(program).or_default() += watched.mean;
            }
        }
        let now = self.last_tick.unwrap_or_default();
        self.programs.rates().map(move |(program, rate)| {
            let precedent = self.programs.precedent(program, now);
            let step = match precedent.map(|decision| decision.action) {
                Some(Action::Sample(step)) => step,
                _ => 0,
            };
            Candidate {
                whom: Whom::Program(program),
                rate: (rate - running.get(&program).unwrap_or(&0.0)).max(0.0),
                step,
                followed: true,
            }
        })
    }

    /// Looks at all processes in use, at the elapsed time `now`.
    pub fn tick(&mut self, now: Duration, rows: &[Usage]) -> Vec<Decision> {
        let since = now.saturating_sub(self.last_tick.unwrap_or_default());
        let first = self.last_tick.replace(now).is_none();
        self.measure(since, rows, first);
        self.programs.forget_old(now);
        let Some(budget) = self.budget else {
            return Vec::new();
        };
        let total = self.cost(rows);
        let mut decisions = self.emergencies(rows, total, budget);
        if decisions.is_empty() {
            decisions.extend(self.steady(now, rows, total, budget));
        }
        if !decisions.is_empty() {
            self.last_decision = now;
        }
        for decision in &decisions {
            self.take_note(decision, now);
        }
        decisions
    }

    /// A decision holds for the next processes of the program; and what an earlier one did is over when its probes are off,
    /// others must not pay for it.
    fn take_note(&mut self, decision: &Decision, now: Duration) {
        let program = match decision.whom {
            Whom::Process { row, .. } => self.watched.get(&row).and_then(|watched| watched.program),
            Whom::Program(program) => Some(program),
        };
        if let Some(program) = program {
            self.programs.remember(program, *decision, now);
        }
        if decision.action != Action::Off {
            return;
        }
        let concerned = self
            .watched
            .iter_mut()
            .filter(|(row, watched)| match decision.whom {
                Whom::Process { row: other, .. } => **row == other,
                Whom::Program(program) => watched.program == Some(program),
            });
        for (_, watched) in concerned {
            watched.off = true;
            watched.mean = 0.0;
        }
        if let Some(program) = program {
            self.programs.take_off(program, decision.hits_per_second);
        }
    }

    fn measure(&mut self, since: Duration, rows: &[Usage], first: bool) {
        let seconds = since.as_secs_f64().max(1e-3);
        let weight = 1.0 - (-seconds / MEMORY.as_secs_f64()).exp();
        let mut watched = HashMap::with_capacity(rows.len());
        let mut programs: HashMap<u32, f64> = HashMap::new();
        for usage in rows {
            let known = self.watched.get(&usage.row);
            let known = known.filter(|known| known.tgid == usage.tgid && known.hits <= usage.hits);
            let mut now = known.copied().unwrap_or(Watched::new(usage.tgid, None, 0));
            if first {
                // What a process did before the first look is nothing that a rate is known of.
                now.hits = usage.hits;
            }
            if !usage.alive
                && now.looks >= LONG_LIVED
                && let Some(program) = now.program
            {
                // Nothing tells that another one will go on where it has ended.
                self.programs.take_off(program, now.mean);
                now.mean = 0.0;
            }
            now.now = (usage.hits - now.hits) as f64 / seconds;
            now.mean += (now.now - now.mean) * weight;
            now.hits = usage.hits;
            now.looks += u32::from(usage.alive);
            if let Some(program) = now.program {
                *programs.entry(program).or_default() += now.now;
            }
            watched.insert(usage.row, now);
        }
        self.watched = watched;
        self.programs.measure(&programs, weight);
    }

    /// Processes that no sampling brings into the budget, at first sight.
    fn emergencies(&mut self, rows: &[Usage], total: f64, budget: f64) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for usage in rows {
            let Some(candidate) = self.candidate(usage, |watched| watched.now) else {
                continue;
            };
            let least = self.forecast(&candidate, LAST_STEP);
            let decision = self.decision(&candidate, Action::Off, total);
            let Some(watched) = self.watched.get_mut(&usage.row) else {
                continue;
            };
            watched.emergency = if least > EMERGENCY * budget && !watched.off {
                watched.emergency + 1
            } else {
                0
            };
            if watched.emergency >= EMERGENCY_TICKS {
                decisions.push(decision);
            }
        }
        decisions
    }

    /// Brings the averaged cost into the budget, the dearest process first, one step at a time; or, after a calm while,
    /// makes a sample denser again.
    fn steady(
        &mut self,
        now: Duration,
        rows: &[Usage],
        total: f64,
        budget: f64,
    ) -> Option<Decision> {
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

    /// Samples where that saves something, the dearest first; takes probes off only where all that can be sampled is.
    fn thinner(&self, rows: &[Usage], total: f64, budget: f64) -> Option<Decision> {
        let candidates = self.candidates(rows);
        let cost = |candidate: &Candidate| self.costs_of(candidate);
        let dearer = |a: &&Candidate, b: &&Candidate| cost(a).total_cmp(&cost(b));
        let saves = |candidate: &&Candidate| {
            candidate.followed
                && cost(candidate) > total * WORTH_A_STEP
                && self.forecast(candidate, LAST_STEP) < cost(candidate) * 0.9
        };
        let Some(dearest) = candidates.iter().filter(saves).max_by(dearer) else {
            let dearest = candidates.iter().max_by(dearer)?;
            return Some(self.decision(dearest, Action::Off, total));
        };
        let others = total - cost(dearest);
        let mut steps = dearest.step + 1..=LAST_STEP;
        let enough = steps.find(|step| others + self.forecast(dearest, *step) <= budget);
        Some(self.decision(dearest, Action::Sample(enough.unwrap_or(LAST_STEP)), total))
    }

    /// Processes that run and have their probes; in place of those of a program whose cost is mostly that of processes
    /// which have ended, the program.
    fn candidates(&self, rows: &[Usage]) -> Vec<Candidate> {
        let whole: HashMap<u32, f64> = self.programs.rates().collect();
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut swarms = Vec::new();
        for rest in self.rests(rows) {
            if let Whom::Program(program) = rest.whom
                && let Some(rate) = whole.get(&program).copied()
                && rest.rate > SWARM * rate
            {
                candidates.push(Candidate { rate, ..rest });
                swarms.push(Some(program));
            }
        }
        for usage in rows {
            if let Some(candidate) = self.candidate(usage, |watched| watched.mean)
                && let Some(watched) = self.watched.get(&usage.row)
                && !watched.off
                && !(watched.program.is_some() && swarms.contains(&watched.program))
            {
                candidates.push(candidate);
            }
        }
        candidates
    }

    fn denser(&self, rows: &[Usage], total: f64, budget: f64) -> Option<Decision> {
        let running = rows.iter().filter(|usage| {
            let watched = self.watched.get(&usage.row);
            usage.step > 0 && usage.followed && watched.is_some_and(|watched| !watched.off)
        });
        let thinned = running.filter_map(|usage| self.candidate(usage, |watched| watched.mean));
        let cheapest = thinned.min_by(|a, b| self.costs_of(a).total_cmp(&self.costs_of(b)))?;
        let step = cheapest.step - 1;
        let fits = total - self.costs_of(&cheapest) + self.forecast(&cheapest, step)
            <= budget * DENSER_UP_TO;
        fits.then(|| self.decision(&cheapest, Action::Sample(step), total))
    }

    fn decision(&self, candidate: &Candidate, action: Action, total: f64) -> Decision {
        Decision {
            whom: candidate.whom,
            action,
            hits_per_second: candidate.rate,
            cost: self.costs_of(candidate),
            total,
        }
    }
}
