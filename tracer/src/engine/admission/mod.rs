//! Admission: which processes of a scope are probed, in which order, and how densely each is sampled, so that the
//! probes stay within their budget. Pure: what was seen of processes, probe hits and time in; decisions out.
//!
//! Those that grow and those that are large come first. Each is tried for a few tens of milliseconds and priced by its
//! hits, then followed in full, sampled, or left. Trials overlap only as far as the processes on trial cannot cost more
//! than one CPU together, so that the budget is exceeded by one such trial at most. Prices are looked at all the time.

mod choose;
mod judge;
mod pricing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

pub use pricing::Pricing;

/// Younger processes wait: a compiler run is not a leak.
const YOUNG: Duration = Duration::from_secs(1);
/// How long a process is tried before it is judged by its hits.
const TRIAL: Duration = Duration::from_millis(30);
/// A program whose calls become so many times slower under probes costs so many times the CPU time that it has used.
const WORST_FACTOR: f64 = 100.0;
/// Part of the budget that admissions may use: rates change.
const FILL: f64 = 0.85;
/// Over how long growth is remembered.
const LATELY: Duration = Duration::from_secs(60);
/// A process that was left is tried again after this time, which doubles each time.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// One that uses less than this part of the CPU time that it used when it was left is tried again soon.
const QUIET: f64 = 0.25;
const QUIET_RETRY: Duration = Duration::from_secs(2);

/// A process of the scope, as `/proc` shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sight {
    /// PID.
    pub pid: u32,
    /// When it was started, in clock ticks since boot: another process under the same PID differs in it.
    pub start: u64,
    /// How long it has run.
    pub age: Duration,
    /// CPUs that it uses, without what our probes cost it.
    pub cpu: f64,
    /// Resident memory in bytes.
    pub resident: u64,
}

/// A probed process as the kernel side counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// PID.
    pub pid: u32,
    /// Probe hits so far.
    pub hits: u64,
    /// Its sampling step.
    pub step: u32,
}

/// Whom to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// PID.
    pub pid: u32,
    /// The process that gives up its probes for it, where there are as many as there may be.
    pub in_place_of: Option<u32>,
}

/// What is to be done with a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sample at this step from now on; 0 is what the user asked for.
    Sample(u32),
    /// Remove its probes: they cost too much.
    Leave,
    /// Remove its probes until there is room again: it does nothing, and makes the hits of the others dearer.
    Wait,
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// Whom it is about.
    pub pid: u32,
    /// What is to be done.
    pub action: Action,
    /// Its sampling step before.
    pub before: u32,
    /// Hits per second.
    pub hits_per_second: f64,
    /// What they cost, in CPUs.
    pub cost: f64,
    /// What all probes cost together, which is what the budget is for.
    pub total: f64,
}

/// How many processes of the scope are in which stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They have probes.
    pub traced: usize,
    /// They are younger than a second.
    pub young: usize,
    /// It is not their turn yet.
    pub waiting: usize,
    /// Their probes would cost too much.
    pub left: usize,
    /// They must not be probed, or have nothing to probe.
    pub refused: usize,
    /// They ended before they were admitted.
    pub ended_before: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Waiting,
    Trial { since: Duration },
    Traced,
    Left { retry: Duration },
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Process {
    start: u64,
    stage: Stage,
    /// Elapsed time of the trace when it is no longer young.
    grown_up: Duration,
    cpu: f64,
    resident: u64,
    /// Bytes by which it has grown lately.
    growth: f64,
    hits: u64,
    /// Hits when it got its probes, and when that was.
    hits_at_first: u64,
    probed_at: Duration,
    /// Hits per second: averaged over a short and over a longer time.
    now: f64,
    mean: f64,
    step: u32,
    alarms: u32,
    /// Time from its last leaving to the next trial, and the CPUs that it used then.
    retry_after: Duration,
    cpu_then: f64,
    /// Whether it grew then, or has been tried since for that reason.
    grew_then: bool,
}

impl Process {
    fn new(now: Duration, sight: &Sight) -> Self {
        Self {
            start: sight.start,
            stage: Stage::Waiting,
            grown_up: now + YOUNG.saturating_sub(sight.age),
            cpu: sight.cpu,
            resident: sight.resident,
            growth: 0.0,
            hits: 0,
            hits_at_first: 0,
            probed_at: Duration::ZERO,
            now: 0.0,
            mean: 0.0,
            step: 0,
            alarms: 0,
            retry_after: FIRST_RETRY,
            cpu_then: 0.0,
            grew_then: false,
        }
    }

    /// How much it matters to probe it: it grows, or it uses CPU time, or neither.
    fn need(&self) -> (i64, u8) {
        // Less is noise.
        const GROWTH: f64 = 65_536.0;
        let grown = (self.growth / GROWTH) as i64;
        (grown.max(0), u8::from(self.cpu > 0.0005))
    }

    /// Whether it neither grows nor uses CPU time.
    fn is_idle(&self) -> bool {
        self.need() == (0, 0)
    }

    /// Whether it has grown lately by more than noise.
    fn grows(&self) -> bool {
        self.need().0 > 0
    }

    fn is_probed(&self) -> bool {
        matches!(self.stage, Stage::Trial { .. } | Stage::Traced)
    }

    /// One that was left is tried soon if it has become quiet, or has begun to grow.
    fn hasten_retry(&mut self, now: Duration) {
        let is_quiet = self.cpu < self.cpu_then * QUIET;
        let begins_to_grow = self.grows() && !self.grew_then;
        if let Stage::Left { retry } = &mut self.stage
            && (is_quiet || begins_to_grow)
        {
            *retry = (*retry).min(now + QUIET_RETRY);
            self.grew_then |= begins_to_grow;
        }
    }

    /// What its probes can cost at worst while nothing is known of its calls, in CPUs.
    fn risk(&self) -> f64 {
        (self.cpu * WORST_FACTOR).min(1.0)
    }
}

/// Decides.
#[derive(Debug)]
pub struct Admission {
    /// CPUs that the probes may take; `None` is no limit.
    budget: Option<f64>,
    pricing: Pricing,
    /// Whether processes are taken however young they are.
    takes_young: bool,
    /// Most processes that have probes at the same time.
    most: usize,
    processes: HashMap<u32, Process>,
    /// What processes cost that have lost their probes since, averaged, in CPUs.
    gone: f64,
    gone_hits: f64,
    ended_before: u64,
    /// Until when the trials that there were use up the part of the budget that is free.
    paid_until: Duration,
    last_look: Option<Duration>,
    last_tick: Option<Duration>,
    last_decision: Duration,
    busy_at: Duration,
}

impl Admission {
    /// Nobody yet; a budget in CPUs, and at most so many processes at the same time.
    pub fn new(budget: Option<f64>, pricing: Pricing, takes_young: bool, most: usize) -> Self {
        Self {
            budget,
            pricing,
            takes_young,
            most,
            processes: HashMap::new(),
            gone: 0.0,
            gone_hits: 0.0,
            ended_before: 0,
            paid_until: Duration::ZERO,
            last_look: None,
            last_tick: None,
            last_decision: Duration::ZERO,
            busy_at: Duration::ZERO,
        }
    }

    /// Takes in all processes of the scope that run at the elapsed time `now`. Those that were probed and have ended
    /// are returned.
    pub fn see(&mut self, now: Duration, sights: &[Sight]) -> Vec<u32> {
        let since = now.saturating_sub(self.last_look.replace(now).unwrap_or(now));
        let fading = (-since.as_secs_f64() / LATELY.as_secs_f64()).exp();
        let mut seen = HashMap::with_capacity(sights.len());
        let mut ended = Vec::new();
        for sight in sights {
            let known = self.processes.remove(&sight.pid);
            let same = known.filter(|known| known.start == sight.start);
            if let (Some(known), None) = (known, same) {
                self.end(sight.pid, &known, &mut ended);
            }
            let mut process = same.unwrap_or_else(|| Process::new(now, sight));
            let grown = sight.resident as f64 - process.resident as f64;
            process.growth = process.growth * fading + grown;
            process.resident = sight.resident;
            // CPU time comes in ticks.
            process.cpu += (sight.cpu - process.cpu) * 0.3;
            process.hasten_retry(now);
            seen.insert(sight.pid, process);
        }
        for (pid, process) in std::mem::replace(&mut self.processes, seen) {
            self.end(pid, &process, &mut ended);
        }
        ended
    }

    /// A process has ended.
    fn end(&mut self, pid: u32, process: &Process, ended: &mut Vec<u32>) {
        match process.stage {
            Stage::Waiting => self.ended_before += 1,
            Stage::Trial { .. } | Stage::Traced => {
                self.take_off(process);
                ended.push(pid);
            }
            Stage::Left { .. } | Stage::Refused => {}
        }
    }

    /// What it cost is remembered for as long as averages remember.
    fn take_off(&mut self, process: &Process) {
        self.gone += self.pricing.cost(process.mean, process.step);
        self.gone_hits += process.mean;
    }

    /// A process that no look has found has ended already.
    pub fn missed(&mut self) {
        self.ended_before += 1;
    }

    /// Takes in one process that has just been started.
    pub fn see_one(&mut self, now: Duration, sight: &Sight) {
        let known = self.processes.get(&sight.pid);
        if known.is_none_or(|known| known.start != sight.start) {
            self.ended(sight.pid);
            self.processes.insert(sight.pid, Process::new(now, sight));
        }
    }

    /// A process has ended.
    pub fn ended(&mut self, pid: u32) {
        if let Some(process) = self.processes.remove(&pid) {
            self.end(pid, &process, &mut Vec::new());
        }
    }

    /// A process is not to be probed, until [`Self::reconsider`].
    pub fn refuse(&mut self, pid: u32) {
        if let Some(process) = self.processes.get(&pid).copied() {
            if process.is_probed() {
                self.take_off(&process);
            }
            self.set_stage(pid, Stage::Refused);
        }
    }

    /// What kept a process from being probed may be over.
    pub fn reconsider(&mut self, pid: u32) {
        if self
            .processes
            .get(&pid)
            .is_some_and(|process| process.stage == Stage::Refused)
        {
            self.set_stage(pid, Stage::Waiting);
        }
    }

    fn set_stage(&mut self, pid: u32, stage: Stage) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.stage = stage;
        }
    }

    /// Whether the process is one of the scope that was seen.
    pub fn knows(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }

    /// How many are in which stage, at the elapsed time `now`.
    pub fn counts(&self, now: Duration) -> Counts {
        let mut counts = Counts {
            ended_before: self.ended_before,
            ..Counts::default()
        };
        for process in self.processes.values() {
            *match process.stage {
                Stage::Trial { .. } | Stage::Traced => &mut counts.traced,
                Stage::Waiting if process.grown_up > now => &mut counts.young,
                Stage::Waiting => &mut counts.waiting,
                Stage::Left { .. } => &mut counts.left,
                Stage::Refused => &mut counts.refused,
            } += 1;
        }
        counts
    }

    /// What the probes cost now, in CPUs; those that were removed a moment ago included.
    pub fn cost(&self) -> f64 {
        self.gone + self.present_cost()
    }

    /// What the probes cost that are in place: making others cheaper does not undo what has been spent.
    fn present_cost(&self) -> f64 {
        self.probed_processes()
            .map(|process| self.pricing.cost(process.mean, process.step))
            .sum()
    }

    fn probed_processes(&self) -> impl Iterator<Item = &Process> {
        self.processes
            .values()
            .filter(|process| process.is_probed())
    }

    /// Probe hits per second now, over all processes.
    pub fn hits_per_second(&self) -> f64 {
        let present = self.probed_processes().map(|process| process.mean);
        self.gone_hits + present.sum::<f64>()
    }
}
