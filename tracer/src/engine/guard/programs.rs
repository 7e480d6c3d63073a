//! What the guard knows of whole programs: many short-lived processes of one can cost what none of them does, and what was
//! decided for one holds for the next.

use std::collections::HashMap;
use std::time::Duration;

use super::Decision;

/// How long a decision holds for processes that begin later, the first time: interpreters run other programs as well.
const HOLD: Duration = Duration::from_secs(10);
/// The longest that it holds.
const LONGEST_HOLD: Duration = Duration::from_secs(320);
/// A decision that has to be taken again within so many of its times holds twice as long.
const AGAIN: u32 = 2;

/// The programs, by the number that the session gives each executable.
#[derive(Debug, Default)]
pub struct Programs {
    known: HashMap<u32, Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Hits per second of all of its processes, averaged; also of those that have ended since.
    mean: f64,
    precedent: Option<Precedent>,
}

#[derive(Clone, Copy, Debug)]
struct Precedent {
    decision: Decision,
    since: Duration,
    hold: Duration,
}

impl Programs {
    /// Takes in the hits per second since the last look of each program; `weight` is that of the new in the average.
    pub fn measure(&mut self, rates: &HashMap<u32, f64>, weight: f64) {
        for program in rates.keys() {
            self.known.entry(*program).or_default();
        }
        for (program, known) in &mut self.known {
            let rate = rates.get(program).copied().unwrap_or(0.0);
            known.mean += (rate - known.mean) * weight;
        }
        self.known
            .retain(|_, known| known.mean >= 1.0 || known.precedent.is_some());
    }

    /// Hits per second that are no more to be expected.
    pub fn take_off(&mut self, program: u32, rate: f64) {
        if let Some(known) = self.known.get_mut(&program) {
            known.mean = (known.mean - rate).max(0.0);
        }
    }

    /// Each program with its hits per second.
    pub fn rates(&self) -> impl Iterator<Item = (u32, f64)> {
        self.known
            .iter()
            .map(|(program, known)| (*program, known.mean))
    }

    /// What was decided for a process, or for all of the program, holds for the next ones.
    pub fn remember(&mut self, program: u32, decision: Decision, now: Duration) {
        let known = self.known.entry(program).or_default();
        let hold = match known.precedent {
            // The next step of what still holds.
            Some(before) if now < before.since + before.hold => before.hold,
            Some(before) if now < before.since + before.hold * AGAIN => {
                (before.hold * 2).min(LONGEST_HOLD)
            }
            _ => HOLD,
        };
        known.precedent = Some(Precedent {
            decision,
            since: now,
            hold,
        });
    }

    /// What holds for a process of the program that begins now.
    pub fn precedent(&self, program: u32, now: Duration) -> Option<&Decision> {
        let precedent = self.known.get(&program)?.precedent.as_ref()?;
        (now < precedent.since + precedent.hold).then_some(&precedent.decision)
    }

    /// Forgets decisions that have not been needed again for long.
    pub fn forget_old(&mut self, now: Duration) {
        for known in self.known.values_mut() {
            known.precedent = known
                .precedent
                .filter(|precedent| now < precedent.since + precedent.hold * AGAIN);
        }
    }
}
