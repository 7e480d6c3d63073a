//! How often the machine is looked at.

use std::time::Duration;

/// Samples of an interval, so that the first report has a slope.
const SAMPLES: u32 = 10;
/// Samples that an interval should have at least; with the one before it a slope has one more.
const FEWEST: u32 = 5;
/// Shortest and longest time between two samples.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);
/// Passes take at most one part in so many of the time.
const SHARE: u32 = 20;

/// Time between two samples: some ten in an interval. Where a pass takes long they are fewer, but as many as a
/// slope takes, unless passes would then fill a quarter of the time.
pub fn period(interval: Duration, pass: Duration) -> Duration {
    let wanted = (interval / SAMPLES).clamp(SHORTEST, LONGEST);
    let at_most = (interval / FEWEST).max(pass * 4);
    wanted.max((pass * SHARE).min(at_most)).min(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_often_and_passes_leave_the_machine_alone() {
        let ms = Duration::from_millis;
        assert_eq!(period(ms(5_000), ms(5)), ms(500));
        assert_eq!(period(ms(5_000), ms(40)), ms(800));
        assert_eq!(period(ms(5_000), ms(100)), ms(1_000));
        assert_eq!(period(ms(100), ms(1)), ms(50));
        assert_eq!(period(ms(20), ms(1)), ms(20));
        assert_eq!(period(ms(3_600_000), ms(1)), ms(5_000));
        assert_eq!(period(ms(1_000), ms(900)), ms(1_000));
    }
}
