//! Turnover: new blocks that take the place of blocks older than the trace. Whether a process grows, and which of its
//! stacks do, where the trace began when its memory was full. Pure arithmetic.

use super::course::Form;
use super::form::Judged;

/// What is older than the trace matters from this part of what is newer on.
const NOTABLE: f64 = 0.1;
/// From this part on it is what the process does.
const MOSTLY: f64 = 0.5;
/// A stack frees its blocks if it has freed this part of them.
const FREES: f64 = 0.01;

/// What is known of a process besides its net course.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amounts {
    /// Live bytes of blocks that were allocated since the trace began.
    pub live: f64,
    /// Bytes of older blocks that were released since.
    pub replaced: f64,
    /// Largest difference between two moments of live less replaced, per second of the trace.
    pub unrest: f64,
}

impl Amounts {
    /// Whether older blocks matter.
    pub fn is_notable(&self) -> bool {
        self.replaced > 0.0 && self.replaced >= NOTABLE * self.live
    }
}

/// The form of a process's course, by the course of its net growth.
pub fn of_process(net: &Judged, amounts: &Amounts) -> Form {
    let is_mostly = amounts.is_notable() && amounts.replaced >= MOSTLY * amounts.live;
    match net.form {
        Form::Growing => Form::Growing,
        // Without a fit there was no time for one.
        form if net.fit.is_none() => form,
        _ if is_mostly => Form::Turnover,
        form => form,
    }
}

/// One stack of a process with turnover.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stack {
    /// Its course by itself.
    pub judged: Judged,
    /// Part of its blocks that were freed, 0 to 1.
    pub freed: f64,
}

/// Calls turnover what of the stacks of one process grows by turnover alone.
///
/// Together the stacks grow by what the process grows by and by what is replaced. So those that grow by no more than
/// the process does may keep their growth, as far as that goes: first those whose blocks are never freed, since what
/// takes the place of an old block is mostly freed in its turn, and of these the fastest.
pub fn of_stacks(process: &Judged, amounts: &Amounts, stacks: &mut [Stack]) {
    if !amounts.is_notable() || process.fit.is_none() {
        return;
    }
    let slope = |judged: &Judged| judged.fit.map_or(0.0, |fit| fit.slope);
    let mut left = match process.slope() {
        Some((_, _, high)) => high.max(0.0),
        None => slope(process).max(0.0) + amounts.unrest,
    };
    let is_growing = process.form == Form::Growing;
    let is_mostly = amounts.replaced >= MOSTLY * amounts.live;
    let mut order: Vec<&mut Stack> = stacks
        .iter_mut()
        .filter(|stack| is_rising(&stack.judged))
        .collect();
    order.sort_by(|one, other| {
        let key = |stack: &Stack| stack.freed >= FREES;
        let by_slope = slope(&other.judged).total_cmp(&slope(&one.judged));
        key(one).cmp(&key(other)).then(by_slope)
    });
    for stack in order {
        let grows = slope(&stack.judged);
        let least = stack.judged.slope().map_or(grows, |(_, low, _)| low);
        let may_grow = is_growing || stack.freed < FREES;
        if stack.judged.form == Form::Growing && may_grow && least <= left {
            left = (left - grows).max(0.0);
        } else if stack.judged.form == Form::Growing || is_mostly {
            stack.judged.form = Form::Turnover;
        }
    }
}

/// Whether a stack has risen, for certain or as far as can be told.
fn is_rising(judged: &Judged) -> bool {
    match judged.form {
        Form::Growing | Form::Saturating => true,
        Form::TooEarly => judged.fit.is_some_and(|fit| fit.slope > 0.0),
        Form::Steady | Form::Shrinking | Form::Turnover => false,
    }
}

/// Sizes of released blocks that the trace does not know, in requested bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sizes {
    /// Mean bytes that a block of glibc can hold beyond what was asked for; of the blocks of the trace.
    pub slack: f64,
    /// Mean bytes of a live block of the trace, for blocks whose size cannot be read.
    pub mean: f64,
}

impl Sizes {
    /// Half of the 16 bytes that chunks are rounded up to, where no block of the trace was looked at.
    pub const USUAL_SLACK: f64 = 7.5;

    /// Bytes that were asked for in `blocks`, of which `sized` could hold `room` bytes together.
    pub fn requested(&self, blocks: u64, sized: u64, room: u64) -> f64 {
        let (blocks, sized) = (blocks as f64, (sized.min(blocks)) as f64);
        let known = (room as f64 - self.slack * sized).max(0.0);
        let mean = match sized > 0.0 {
            true => known / sized,
            false => self.mean,
        };
        known + (blocks - sized) * mean
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::form::judge;

    const KIB: f64 = 1024.0;

    fn line(slope: f64) -> Judged {
        let points: Vec<(f64, f64)> = (0..30)
            .map(|at| (f64::from(at), f64::from(at) * slope))
            .collect();
        judge(&points)
    }

    fn stack(slope: f64, freed: f64) -> Stack {
        Stack {
            judged: line(slope),
            freed,
        }
    }

    fn amounts(live: f64, replaced: f64) -> Amounts {
        Amounts {
            live,
            replaced,
            unrest: 0.0,
        }
    }

    /// What becomes of stacks with these slopes and freed parts in a process whose net growth is a line.
    fn forms<const N: usize>(net: f64, stacks: [(f64, f64); N]) -> (Form, [Form; N]) {
        let live: f64 = stacks.iter().map(|stack| stack.0 * 30.0).sum();
        let amounts = amounts(live, live - net * 30.0);
        let mut process = line(net);
        process.form = of_process(&process, &amounts);
        let mut stacks = stacks.map(|(slope, freed)| stack(slope, freed));
        of_stacks(&process, &amounts, &mut stacks);
        (process.form, stacks.map(|stack| stack.judged.form))
    }

    #[test]
    fn a_full_cache_is_turnover_whatever_it_frees_first() {
        for freed in [0.0, 0.3] {
            assert_eq!(
                forms(0.0, [(200.0 * KIB, freed)]),
                (Form::Turnover, [Form::Turnover])
            );
        }
    }

    #[test]
    fn a_leak_beside_turnover_keeps_its_growth() {
        let leak = (12.0 * KIB, 0.0);
        let expected = (Form::Growing, [Form::Growing, Form::Turnover]);
        assert_eq!(forms(12.0 * KIB, [leak, (200.0 * KIB, 0.3)]), expected);
        assert_eq!(forms(12.0 * KIB, [leak, (200.0 * KIB, 0.0)]), expected);
        assert_eq!(forms(12.0 * KIB, [leak, (9.0 * KIB, 0.2)]), expected);
    }

    #[test]
    fn without_older_blocks_nothing_changes() {
        assert_eq!(
            forms(30.0 * KIB, [(10.0 * KIB, 0.0), (20.0 * KIB, 0.5)]).1,
            [Form::Growing; 2]
        );
    }

    #[test]
    fn it_may_be_too_early() {
        let process = judge(&[(0.0, 0.0), (1.0, 5.0)]);
        assert_eq!(of_process(&process, &amounts(100.0, 100.0)), Form::TooEarly);
    }

    #[test]
    fn sizes_of_headers_are_those_that_were_asked_for() {
        let sizes = Sizes {
            slack: 4.0,
            mean: 50.0,
        };
        assert_eq!(sizes.requested(10, 10, 1040), 1000.0);
        assert_eq!(sizes.requested(20, 10, 1040), 2000.0);
        assert_eq!(sizes.requested(20, 0, 0), 1000.0);
        assert_eq!(sizes.requested(0, 0, 0), 0.0);
    }

    proptest! {
        /// No more growth is left to the stacks than the process has, and what does not grow is not called turnover.
        #[test]
        fn growth_is_not_given_twice(net in 0.0f64..1e5, slopes in proptest::collection::vec((1.0f64..1e5, 0.0f64..1.0), 1..12)) {
            let live: f64 = slopes.iter().map(|stack| stack.0 * 30.0).sum();
            let amounts = amounts(live, live);
            let mut process = line(net);
            process.form = of_process(&process, &amounts);
            let mut stacks: Vec<Stack> = slopes.iter().map(|(slope, freed)| stack(*slope, *freed)).collect();
            of_stacks(&process, &amounts, &mut stacks);
            let kept: f64 = stacks
                .iter()
                .filter(|stack| stack.judged.form == Form::Growing)
                .filter_map(|stack| stack.judged.fit)
                .map(|fit| fit.slope)
                .sum();
            prop_assert!(kept <= net * (1.0 + 1e-6) + 1e-6, "{} of {}", kept, net);
        }
    }
}
