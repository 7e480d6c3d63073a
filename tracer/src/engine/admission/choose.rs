//! The order: who is probed next, whether that can be afforded, and in whose place.

use std::time::Duration;

use super::{Admission, FILL, Next, Process, Stage};

/// CPU seconds that a trial takes at worst, until its effect is undone.
const TRIAL_COSTS: f64 = 0.045;
/// What processes on trial may cost together at worst, in CPUs.
const AT_RISK: f64 = 1.0;
/// Below this a trial is no risk that has to wait for the budget, in CPUs.
const HARMLESS: f64 = 0.02;
/// Part of the budget that is there for trials, however much the others cost.
const FOR_TRIALS: f64 = 0.1;
/// Trials may be paid for so much later: those that there are at the start are not to wait for each other.
const CREDIT: Duration = Duration::from_secs(10);
/// A probed process that does not grow may have to give its probes up for one that does after this time.
const TURN: Duration = Duration::from_secs(10);
/// A probed process without hits for this time may have to give its probes up for another one.
const IDLE: Duration = Duration::from_secs(5);
/// Part of the budget up to which processes get probes that neither grow nor use CPU time: each makes the hits of all
/// others dearer.
const FOR_IDLE: f64 = 0.5;

impl Admission {
    /// Whether this process is to be probed now, and in whose place.
    pub fn may_try(&self, pid: u32, now: Duration) -> Option<Next> {
        self.next_of(now, |other| other == pid)
    }

    /// The process that is to be probed next, if one can be afforded now.
    pub fn next(&self, now: Duration) -> Option<Next> {
        self.next_of(now, |_| true)
    }

    fn next_of(&self, now: Duration, is_meant: impl Fn(u32) -> bool) -> Option<Next> {
        let on_trial = || {
            let probed = self.processes.values();
            probed.filter(|process| matches!(process.stage, Stage::Trial { .. }))
        };
        let risk: f64 = on_trial().map(Process::risk).sum();
        let nobody = on_trial().next().is_none();
        let is_paid = self.paid_until <= now + CREDIT;
        let can_afford = |process: &Process| {
            let own = process.risk();
            self.budget.is_none()
                || ((nobody || risk + own <= AT_RISK) && (is_paid || own < HARMLESS))
        };
        let is_due = |process: &Process| match process.stage {
            Stage::Waiting => self.takes_young || process.grown_up <= now,
            Stage::Left { retry } => retry <= now,
            _ => false,
        };
        // Room is kept for those that do something and cannot be afforded this moment.
        let kept = self.processes.values().filter(|process| {
            process.stage == Stage::Waiting
                && is_due(process)
                && !process.is_idle()
                && !can_afford(process)
        });
        let (kept, probed) = (kept.count(), self.probed_count());
        let fits_idle = self.fits_idle();
        let has_room =
            |process: &Process| !process.is_idle() || (fits_idle && probed + kept < self.most);
        let due = self.processes.iter().filter(|(pid, process)| {
            is_due(process) && can_afford(process) && has_room(process) && is_meant(**pid)
        });
        // What grows comes first; then those that have not been left before, what does something, and what is large.
        let need = |process: &Process| {
            let (growth, works) = process.need();
            let is_new = process.stage == Stage::Waiting;
            (growth, is_new, works, process.resident)
        };
        let neediest = due
            .max_by(|(a_pid, a), (b_pid, b)| need(a).cmp(&need(b)).then_with(|| b_pid.cmp(a_pid)));
        let (pid, process) = neediest?;
        let in_place_of = match probed < self.most {
            true => None,
            false => Some(self.least_needy(now, process.need())?),
        };
        Some(Next {
            pid: *pid,
            in_place_of,
        })
    }

    /// Whether one more process that does nothing can be afforded: what it adds to the hits of the others.
    fn fits_idle(&self) -> bool {
        let hits = self.probed_processes().map(|process| process.mean).sum();
        self.budget.is_none_or(|budget| {
            self.present_cost() + self.pricing.added(hits) <= budget * FOR_IDLE
        })
    }

    /// Whether nobody waits for a trial, or is on one, but for the young and those for whom there is no room.
    pub fn are_all_tried(&self, now: Duration) -> bool {
        let has_room = self.probed_count() < self.most;
        let fits_idle = self.fits_idle();
        !self.processes.values().any(|process| match process.stage {
            Stage::Waiting => {
                has_room && process.grown_up <= now && (fits_idle || !process.is_idle())
            }
            Stage::Trial { .. } => true,
            _ => false,
        })
    }

    /// How many have probes.
    pub(super) fn probed_count(&self) -> usize {
        self.probed_processes().count()
    }

    /// A probed process that is needed less than this: one that has done nothing for a while, or, in place of one that
    /// grows, one that does not.
    fn least_needy(&self, now: Duration, need: (i64, u8)) -> Option<u32> {
        let idle = self.processes.iter().filter(|(_, process)| {
            let is_unused =
                process.hits == process.hits_at_first && now >= process.probed_at + IDLE;
            let had_its_turn =
                need.0 > 0 && process.need().0 == 0 && now >= process.probed_at + TURN;
            process.stage == Stage::Traced && process.need() < need && (is_unused || had_its_turn)
        });
        let least = idle.min_by_key(|(pid, process)| (process.need(), process.resident, **pid));
        least.map(|(pid, _)| *pid)
    }

    /// A process gives its probes up for one that is needed more.
    pub fn displace(&mut self, pid: u32) {
        self.set_stage(pid, Stage::Waiting);
    }

    /// A process has got its probes; it had so many hits before.
    pub fn probed(&mut self, pid: u32, now: Duration, hits: u64) {
        let risk = self.processes.get(&pid).map_or(0.0, Process::risk);
        if let Some(budget) = self.budget
            && risk >= HARMLESS
        {
            let free = (budget * FILL - self.present_cost()).max(budget * FOR_TRIALS);
            let time = Duration::from_secs_f64(risk * TRIAL_COSTS / free);
            self.paid_until = self.paid_until.max(now) + time;
        }
        if let Some(process) = self.processes.get_mut(&pid) {
            process.stage = match self.budget {
                Some(_) => Stage::Trial { since: now },
                None => Stage::Traced,
            };
            process.hits = hits;
            process.hits_at_first = hits;
            process.probed_at = now;
            process.now = 0.0;
            process.mean = 0.0;
            process.step = 0;
            process.alarms = 0;
        }
    }
}
