//! The clocks of a trace: when it reports, and when it looks at what is new.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Ticks after each `period`, the first time in a `period` from now. One that is late delays those after it: work that takes
/// long is not done twice in a row for it.
pub fn ticks(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Whether the next report is the last of as many as were asked for, where so many have been made.
pub fn is_last_due(made: u64, count: Option<NonZeroU64>) -> bool {
    count.is_some_and(|count| made + 1 >= count.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_report_is_the_one_that_makes_the_count() {
        let count = NonZeroU64::new(3);
        assert_eq!(
            [0, 1, 2, 3].map(|made| is_last_due(made, count)),
            [false, false, true, true]
        );
        assert!(!is_last_due(u64::MAX - 1, None));
    }
}
