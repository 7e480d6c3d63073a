//! What probe hits cost, and which sampling interval brings a process within what may be spent on it.

use std::time::Duration;

use tracer_common::sampling;

/// Mean size of a block, for the forecast of how many are followed; most programs lie between 50 and 300 bytes.
const TYPICAL_BLOCK: f64 = 128.0;
/// The thinnest sample: one block in a mebibyte costs as little as none at all.
pub const LAST_STEP: u32 = 5;

/// What another probed process adds to each hit, as a part of an empty one: measured, 45 of 960 ns in a loop, and 80 in
/// programs that wake up a hundred times a second; with some reserve, as a busy host exceeded its budget without.
const BESIDE: f64 = 0.1;

/// What a probe hit costs the traced program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pricing {
    /// CPU seconds of a hit that finds that there is nothing to do.
    passed: f64,
    /// CPU seconds of a hit of a block that is followed: its part of stack, insertion and removal included.
    followed: f64,
    /// Sampling interval that the user asked for; 0 follows every block.
    base: u64,
    /// Other processes that are probed in the same file.
    others: usize,
}

impl Pricing {
    /// From the calibrated time of a hit of an empty program, and the sampling interval that the user asked for. The
    /// factors are those of `docs/performance.md`: a pair of malloc and free is three hits.
    pub fn new(empty_hit: Duration, base: u64) -> Self {
        let empty = empty_hit.as_secs_f64();
        Self {
            passed: empty * 1.07,
            followed: empty * 1.6,
            base,
            others: 0,
        }
    }

    /// The same while so many other processes are probed: at each hit the kernel asks the link of each whether the hit
    /// is for it (kernel/events/uprobes.c, `handler_chain`).
    pub fn beside(self, others: usize) -> Self {
        Self { others, ..self }
    }

    /// The sampling interval at a step, in bytes; 0 follows every block.
    pub fn interval(&self, step: u32) -> u64 {
        sampling::interval(self.base, step)
    }

    /// What so many hits per second cost at a step, in CPUs.
    pub fn cost(&self, hits_per_second: f64, step: u32) -> f64 {
        let interval = self.interval(step);
        let followed = match interval {
            0 => 1.0,
            _ => 1.0 - (-TYPICAL_BLOCK / interval as f64).exp(),
        };
        let own = self.passed + (self.followed - self.passed) * followed;
        hits_per_second * own + self.added(hits_per_second) * self.others as f64
    }

    /// What one more probed process adds to so many hits per second of the others, in CPUs.
    pub fn added(&self, hits_per_second: f64) -> f64 {
        hits_per_second * self.passed * BESIDE
    }

    /// The densest sample from this step on that costs no more than `most`, in CPUs; `None` if none is thin enough.
    pub fn step_within(&self, hits_per_second: f64, from: u32, most: f64) -> Option<u32> {
        (from..=LAST_STEP).find(|step| self.cost(hits_per_second, *step) <= most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinner_samples_cost_less_down_to_the_hits_themselves() {
        let pricing = Pricing::new(Duration::from_nanos(1_000), 0);
        let costs: Vec<f64> = (0..=LAST_STEP)
            .map(|step| pricing.cost(100_000.0, step))
            .collect();
        assert!(costs.is_sorted_by(|a, b| a > b), "{costs:?}");
        assert!((costs[0] - 0.16).abs() < 1e-9, "{costs:?}");
        assert!(
            (costs[LAST_STEP as usize] - 0.107).abs() < 1e-3,
            "{costs:?}"
        );
        assert_eq!(pricing.step_within(100_000.0, 0, 0.2), Some(0));
        let least = pricing.cost(100_000.0, LAST_STEP);
        assert_eq!(pricing.step_within(100_000.0, 0, least), Some(LAST_STEP));
        assert_eq!(pricing.step_within(100_000.0, 0, 0.1), None);
        let many = pricing.beside(100);
        assert!(many.cost(100_000.0, 0) > 4.0 * pricing.cost(100_000.0, 0));
    }
}
