//! Which process a hunt goes after, when that is certain, and how small a growth would have been seen. Pure.

use std::time::Duration;

use crate::analysis::advice::YOUNG;
use crate::profile::Growth;

/// Growth in bytes per minute that nobody minds: what `memlens host` calls steady.
pub const NEGLIGIBLE: f64 = 65_536.0;
/// Bytes of a page.
const PAGE: u64 = 4096;
/// Fewest samples before a choice is certain.
const FEWEST: usize = 10;
/// Times that a choice must come out the same way, one after the other: with every sample more the samples are asked
/// again, and of many questions some are answered wrongly.
const TIMES: u32 = 3;
/// Steps that a figure must take before a line through it is a growth rather than a jump.
const STEPS: f64 = 5.0;

/// Whether a growth is certain, and worth a look.
pub fn matters(growth: &Growth) -> bool {
    growth.certain >= NEGLIGIBLE
}

/// A process that may be the one to go after.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its PID.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// How its resident and swapped memory moves.
    pub growth: Growth,
    /// How long it has been running.
    pub age: Duration,
    /// Whether it has been seen since the watch began.
    pub is_since_the_start: bool,
}

impl Candidate {
    /// Whether it may still be filling its caches. On many machines such ones come and go all the time, and grow faster
    /// than any leak.
    fn is_young(&self) -> bool {
        self.age < YOUNG
    }

    /// How soon a hunt goes after it, the lower the sooner: what grows and is not young; what is young, but was there
    /// all the time and goes along a line, as a leak does; all others.
    fn class(&self) -> u8 {
        match matters(&self.growth) {
            false => 2,
            true if !self.is_young() => 0,
            true => match self.is_since_the_start && is_narrow(&self.growth) {
                true => 1,
                false => 2,
            },
        }
    }
}

/// Whether a growth is known well: most of it is certain.
fn is_narrow(growth: &Growth) -> bool {
    matters(growth) && growth.certain >= growth.per_min / 2.0
}

/// Puts candidates in the order in which a hunt goes after them: by their classes, then by what certainly grows most.
pub fn rank(candidates: &mut [Candidate]) {
    candidates.sort_by(|one, other| {
        let class = one.class().cmp(&other.class());
        let certain = other.growth.certain.total_cmp(&one.growth.certain);
        class.then(certain).then_with(|| one.pid.cmp(&other.pid))
    });
}

/// Whether the first of these, which are in the order of what is certain, is so for sure: its interval is narrow, and
/// above that of the second.
fn is_first_for_sure(growths: &[Growth]) -> bool {
    let Some((first, others)) = growths.split_first() else {
        return false;
    };
    let second = others.first().filter(|second| second.certain > 0.0);
    let is_above = second.is_none_or(|second| {
        let high = second.high.unwrap_or(f64::INFINITY);
        high < first.certain
    });
    first.samples >= FEWEST && is_narrow(first) && is_above
}

/// Tells when it is certain which process grows most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settling {
    /// The process that came out first the last time.
    pid: u32,
    /// How many times in a row.
    times: u32,
}

impl Settling {
    /// Takes the candidates after one more sample, in their order; whether it is certain now that the first one is the
    /// one to go after. It never is before `least` has gone by, nor of a young one.
    pub fn is_certain(
        &mut self,
        candidates: &[Candidate],
        watched: Duration,
        least: Duration,
    ) -> bool {
        let Some(Candidate { pid, .. }) = candidates.first() else {
            return false;
        };
        let old = candidates.iter().filter(|one| !one.is_young());
        let growths: Vec<Growth> = old.take(2).map(|one| one.growth).collect();
        if watched < least || candidates[0].is_young() || !is_first_for_sure(&growths) {
            self.times = 0;
            return false;
        }
        self.times = match self.pid == *pid {
            true => self.times + 1,
            false => 1,
        };
        self.pid = *pid;
        self.times >= TIMES
    }
}

/// The least growth in bytes per minute that samples over a time would have shown: half the width of the slope's
/// interval, but no less than the steps that the figure moves in can tell.
pub fn least(growth: &Growth, watched: Duration, step_bytes: u64) -> Option<u64> {
    let minutes = watched.as_secs_f64() / 60.0;
    let error = growth.error().filter(|_| minutes > 0.0)?;
    let by_steps = STEPS * step_bytes as f64 / minutes;
    // A cast of a float ends at the largest number.
    Some(error.max(by_steps).ceil() as u64)
}

/// Steps in bytes that a process's resident memory is seen to move in. Before 6.17 the kernel kept up to 64 pages of
/// each thread, or of each CPU, back from the figure (`TASK_RSS_EVENTS_THRESH`, `percpu_counter`).
pub fn resident_step(kernel: &str) -> u64 {
    let mut numbers = kernel
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match version >= (6, 17) {
        true => PAGE,
        false => PAGE * 64,
    }
}

/// What would have been seen in nine of ten processes, and the process with the widest interval if that is much wider:
/// its index and its value.
pub fn least_of_all(each: &[Option<u64>]) -> Option<(u64, Option<(usize, u64)>)> {
    let mut known: Vec<(u64, usize)> = each
        .iter()
        .enumerate()
        .filter_map(|(index, least)| Some(((*least)?, index)))
        .collect();
    known.sort_unstable();
    let most = known.get((known.len() * 9).div_ceil(10).checked_sub(1)?)?.0;
    let widest = known.last().filter(|(least, _)| *least > most * 4);
    Some((most, widest.map(|(least, index)| (*index, *least))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::trend::Verdict;

    const MIB: f64 = 1_048_576.0;

    fn growth(per_min: f64, error: f64, samples: usize) -> Growth {
        let certain = (per_min - error).max(0.0);
        Growth {
            per_min,
            low: Some(per_min - error),
            high: Some(per_min + error),
            certain,
            verdict: match certain > 0.0 {
                true => Verdict::Growing,
                false => Verdict::Unclear,
            },
            samples,
        }
    }

    fn old(pid: u32, growth: Growth) -> Candidate {
        Candidate {
            pid,
            command: "app".to_owned(),
            growth,
            age: Duration::from_secs(3_600),
            is_since_the_start: true,
        }
    }

    fn settled_after(growths: &[Growth], times: u32) -> bool {
        let mut settling = Settling::default();
        let candidates: Vec<Candidate> = growths.iter().map(|growth| old(7, *growth)).collect();
        let (watched, least) = (Duration::from_secs(10), Duration::from_secs(5));
        (0..times).any(|_| settling.is_certain(&candidates, watched, least))
    }

    #[test]
    fn one_that_grows_alone_is_certain_the_third_time() {
        let alone = [growth(6.0 * MIB, 0.5 * MIB, 20), growth(0.0, 1.0, 20)];
        assert!(!settled_after(&alone, 2));
        assert!(settled_after(&alone, 3));
        let mut settling = Settling::default();
        let early = Duration::from_secs(4);
        let candidates = [old(7, alone[0])];
        let mut is_certain = |_| settling.is_certain(&candidates, early, Duration::from_secs(5));
        assert!(!(0..9).any(&mut is_certain), "it is too early");
    }

    #[test]
    fn what_has_just_been_started_comes_after_what_runs_for_long() {
        let mut candidates = vec![
            old(1, growth(0.0, 1.0, 20)),
            old(2, growth(MIB, 1_000.0, 20)),
            Candidate {
                age: Duration::from_secs(5),
                is_since_the_start: false,
                ..old(3, growth(900.0 * MIB, MIB, 20))
            },
            Candidate {
                age: Duration::from_secs(30),
                ..old(4, growth(MIB, 1_000.0, 20))
            },
        ];
        rank(&mut candidates);
        let order: Vec<u32> = candidates.iter().map(|one| one.pid).collect();
        assert_eq!(order, [2, 4, 3, 1]);
        let long = Duration::from_secs(60);
        let mut settling = Settling::default();
        let mut is_certain = |_| settling.is_certain(&candidates, long, Duration::ZERO);
        assert!((0..3).any(&mut is_certain), "the young one is no rival");
        let mut settling = Settling::default();
        let mut is_certain = |_| settling.is_certain(&candidates[1..], long, Duration::ZERO);
        assert!(!(0..9).any(&mut is_certain), "the young one alone");
    }

    #[test]
    fn what_is_not_narrow_not_first_or_too_small_is_not_certain() {
        let wide = [growth(6.0 * MIB, 4.0 * MIB, 20)];
        let close = [
            growth(6.0 * MIB, 1.0 * MIB, 20),
            growth(5.0 * MIB, 1.0 * MIB, 20),
        ];
        let few = [growth(6.0 * MIB, 0.1 * MIB, 6)];
        let small = [growth(40_000.0, 1.0, 20)];
        for growths in [&wide[..], &close, &few, &small, &[]] {
            assert!(!settled_after(growths, 9), "{growths:?}");
        }
        let apart = [
            growth(6.0 * MIB, 1.0 * MIB, 20),
            growth(2.0 * MIB, 1.0 * MIB, 20),
        ];
        assert!(settled_after(&apart, 3));
    }

    #[test]
    fn two_that_take_turns_are_not_certain() {
        let turn = |pid| [old(pid, growth(6.0 * MIB, 0.5 * MIB, 20))];
        let mut settling = Settling::default();
        let long = Duration::from_secs(60);
        assert!((0..20).all(|time| !settling.is_certain(&turn(time % 2), long, Duration::ZERO)));
    }

    #[test]
    fn the_least_growth_is_no_smaller_than_the_figure_can_show() {
        let minute = Duration::from_secs(60);
        assert_eq!(least(&growth(0.0, 0.0, 20), minute, 4096), Some(20_480));
        assert_eq!(
            least(&growth(0.0, 50_000.0, 20), minute, 4096),
            Some(50_000)
        );
        let unknown = Growth {
            low: None,
            high: None,
            ..growth(0.0, 0.0, 2)
        };
        assert_eq!(least(&unknown, minute, 4096), None);
        assert_eq!(resident_step("6.18.0-1-amd64"), 4096);
        assert_eq!(resident_step("6.1.0"), 262_144);
        assert_eq!(resident_step(""), 262_144);
    }

    #[test]
    fn a_noisy_process_does_not_stand_for_all() {
        let mut each = vec![Some(20_000); 19];
        each.push(Some(3_000_000));
        assert_eq!(least_of_all(&each), Some((20_000, Some((19, 3_000_000)))));
        assert_eq!(
            least_of_all(&[Some(1), None, Some(2)]),
            Some((2, None)),
            "of few the widest"
        );
        assert_eq!(least_of_all(&[None]), None);
    }
}
