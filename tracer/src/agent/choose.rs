//! Whose heap is traced: what is named, and what certainly grows, for as long as it does and a while longer.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::cli::TraceWhat;

/// A process stays traced for so long after it has grown last: a slope comes and goes with its interval.
const HOLD: Duration = Duration::from_secs(600);

/// A process at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Its PID.
    pub pid: u32,
    /// When it was started, in clock ticks since boot.
    pub start: u64,
    /// Whether it has one of the names that are always traced.
    pub is_named: bool,
    /// Certain growth of its resident and swapped memory, in bytes a minute.
    pub certain_per_min: f64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    start: u64,
    is_named: bool,
    grown_at: Option<Duration>,
    certain_per_min: f64,
    asked_until: Duration,
}

/// Chooses, look by look.
#[derive(Debug)]
pub struct Chooser {
    what: TraceWhat,
    least_per_min: f64,
    known: HashMap<u32, Known>,
}

impl Chooser {
    /// Nobody is known yet.
    pub fn new(what: TraceWhat, least_per_min: u64) -> Self {
        Self {
            what,
            least_per_min: least_per_min as f64,
            known: HashMap::new(),
        }
    }

    /// Somebody wants to see this process for a while; whether it is there.
    pub fn ask(&mut self, pid: u32, until: Duration) -> bool {
        let Some(known) = self.known.get_mut(&pid) else {
            return false;
        };
        known.asked_until = known.asked_until.max(until);
        true
    }

    /// Takes all processes in that run at the elapsed time `now`; at most so many that are to be traced.
    pub fn choose(&mut self, now: Duration, seen: &[Seen], most: usize) -> BTreeSet<u32> {
        let mut before = std::mem::take(&mut self.known);
        for seen in seen {
            let known = before.remove(&seen.pid);
            let known = known.filter(|known| known.start == seen.start);
            let grows = seen.certain_per_min >= self.least_per_min;
            let grown_before = known.and_then(|known| known.grown_at);
            let now_known = Known {
                start: seen.start,
                is_named: seen.is_named,
                grown_at: if grows { Some(now) } else { grown_before },
                certain_per_min: seen.certain_per_min,
                asked_until: known.map_or(Duration::ZERO, |known| known.asked_until),
            };
            self.known.insert(seen.pid, now_known);
        }
        let wanted = self.known.iter();
        let mut wanted: Vec<(&u32, &Known)> = wanted
            .filter(|(_, known)| self.is_wanted(known, now))
            .collect();
        wanted.sort_by(|(one_pid, one), (other_pid, other)| {
            let asked = |known: &Known| known.asked_until > now;
            let rank = |known: &Known| (asked(known), known.is_named, known.grown_at);
            let by_growth = other.certain_per_min.total_cmp(&one.certain_per_min);
            let by_rank = rank(other).cmp(&rank(one));
            by_rank.then(by_growth).then(one_pid.cmp(other_pid))
        });
        let chosen = wanted.into_iter().take(most);
        chosen.map(|(pid, _)| *pid).collect()
    }

    fn is_wanted(&self, known: &Known, now: Duration) -> bool {
        let grows = known
            .grown_at
            .is_some_and(|at| now.saturating_sub(at) < HOLD);
        let is_asked = known.asked_until > now;
        match self.what {
            TraceWhat::Growing => known.is_named || grows || is_asked,
            TraceWhat::Named => known.is_named || is_asked,
            TraceWhat::All => true,
            TraceWhat::None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(pid: u32, is_named: bool, certain_per_min: f64) -> Seen {
        Seen {
            pid,
            start: u64::from(pid),
            is_named,
            certain_per_min,
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_grows_is_traced_until_a_while_after() {
        let mut chooser = Chooser::new(TraceWhat::Growing, 1_000);
        let quiet = seen(1, false, 999.0);
        assert!(chooser.choose(at(0), &[quiet], 9).is_empty());
        let grows = seen(1, false, 1_000.0);
        assert_eq!(chooser.choose(at(10), &[grows], 9), BTreeSet::from([1]));
        assert_eq!(chooser.choose(at(609), &[quiet], 9), BTreeSet::from([1]));
        assert!(chooser.choose(at(611), &[quiet], 9).is_empty());
        // Another process under the same PID has not grown.
        chooser.choose(at(620), &[grows], 9);
        let other = Seen { start: 99, ..quiet };
        assert!(chooser.choose(at(621), &[other], 9).is_empty());
    }

    #[test]
    fn names_come_first_then_the_steepest() {
        let mut chooser = Chooser::new(TraceWhat::Growing, 1_000);
        let all = [
            seen(1, false, 5_000.0),
            seen(2, true, 0.0),
            seen(3, false, 9_000.0),
        ];
        assert_eq!(chooser.choose(at(0), &all, 1), BTreeSet::from([2]));
        assert_eq!(chooser.choose(at(1), &all, 2), BTreeSet::from([2, 3]));
        let mut named = Chooser::new(TraceWhat::Named, 1_000);
        assert_eq!(named.choose(at(0), &all, 9), BTreeSet::from([2]));
        let mut none = Chooser::new(TraceWhat::None, 1_000);
        assert!(none.choose(at(0), &all, 9).is_empty());
    }

    #[test]
    fn who_is_asked_for_is_traced_for_that_time() {
        let mut chooser = Chooser::new(TraceWhat::Named, 1_000);
        let quiet = [seen(1, false, 0.0)];
        assert!(!chooser.ask(1, at(50)));
        chooser.choose(at(0), &quiet, 9);
        assert!(chooser.ask(1, at(50)));
        assert_eq!(chooser.choose(at(1), &quiet, 9), BTreeSet::from([1]));
        assert!(chooser.choose(at(50), &quiet, 9).is_empty());
    }

    proptest! {
        /// Never more than may be, and only those that are there.
        #[test]
        fn the_choice_is_bounded(
            looks in proptest::collection::vec(proptest::collection::vec((1_u32..30, any::<bool>(), -9e3..9e3), 0..40), 0..8),
            most in 0_usize..10,
        ) {
            let mut chooser = Chooser::new(TraceWhat::Growing, 1_000);
            for (second, look) in looks.iter().enumerate() {
                let all: Vec<Seen> = look.iter().map(|(pid, named, growth)| seen(*pid, *named, *growth)).collect();
                let chosen = chooser.choose(at(second as u64), &all, most);
                prop_assert!(chosen.len() <= most);
                prop_assert!(chosen.iter().all(|pid| all.iter().any(|seen| seen.pid == *pid)));
            }
        }
    }
}
