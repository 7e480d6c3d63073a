//! How fast a process grows, and how much it does: from totals at several moments.

use std::collections::VecDeque;
use std::time::Duration;

/// Growth is that of this time, or of as much of it as there is.
const WINDOW: Duration = Duration::from_secs(60);

/// Moments that are kept are at least so far apart: few do for any interval between reports.
const SPACING: Duration = Duration::from_secs(4);

/// Below this time a rate would be an accident.
const LEAST: Duration = Duration::from_secs(1);

/// Totals of one process at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment {
    at: Duration,
    bytes: u64,
    events: u64,
}

impl Moment {
    /// What it adds to `earlier`, and in how much time, where that is long enough to tell.
    fn since(self, earlier: Self) -> Option<(Self, f64)> {
        let time = self.at.saturating_sub(earlier.at);
        (time >= LEAST).then_some((earlier, time.as_secs_f64()))
    }
}

/// The rates of one process. Keep one for each process from when it is first seen, and [`add`](Self::add) its totals
/// with every report.
#[derive(Clone, Debug)]
pub struct Rates {
    /// Oldest first; the first is the start of the window, or when the process was first seen.
    moments: VecDeque<Moment>,
    /// The previous report, and one before it, for where that is too close to tell anything.
    previous: [Moment; 2],
    now: Moment,
}

impl Rates {
    /// A process that is first seen at this elapsed time of the trace, with nothing yet.
    pub fn new(at: Duration) -> Self {
        Self::with(at, 0)
    }

    /// A process that is first seen at this elapsed time of the trace, and holds so many bytes: they are no growth.
    pub fn with(at: Duration, bytes: u64) -> Self {
        let start = Moment {
            at,
            bytes,
            events: 0,
        };
        Self {
            moments: VecDeque::from([start]),
            previous: [start; 2],
            now: start,
        }
    }

    /// Its totals at this elapsed time: bytes, and events since the start.
    pub fn add(&mut self, at: Duration, bytes: u64, events: u64) {
        let [previous, _] = self.previous;
        if self.now.since(previous).is_some() {
            self.previous = [self.now, previous];
        }
        let last = self.moments.back().map_or(Duration::ZERO, |last| last.at);
        if self.now.at >= last + SPACING {
            self.moments.push_back(self.now);
        }
        self.now = Moment { at, bytes, events };
        // The window's start is the last moment that is not inside of it.
        while self.moments.len() > 1 && self.moments[1].at + WINDOW <= at {
            self.moments.pop_front();
        }
    }

    /// Change of the bytes, per minute, over the last minute or since the process was first seen.
    pub fn growth_per_minute(&self) -> Option<i64> {
        let (start, seconds) = self.now.since(*self.moments.front()?)?;
        let change = i128::from(self.now.bytes) - i128::from(start.bytes);
        let per_minute = change as f64 * 60.0 / seconds;
        // Saturates, as a cast from floating point does.
        Some(per_minute.round() as i64)
    }

    /// Events per second since the previous report, or since one before if that is less than a second ago.
    pub fn per_second(&self) -> Option<f64> {
        let (start, seconds) = self
            .previous
            .iter()
            .find_map(|earlier| self.now.since(*earlier))?;
        let count = self.now.events.saturating_sub(start.events);
        Some(count as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_000;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_young_process_has_no_rates() {
        let mut rates = Rates::new(at(5_000));
        assert_eq!(rates.growth_per_minute(), None);
        rates.add(at(5_900), 1 << 20, 100);
        assert_eq!(
            (rates.growth_per_minute(), rates.per_second()),
            (None, None)
        );
        rates.add(at(7_000), 1 << 20, 100);
        assert_eq!(rates.growth_per_minute(), Some(30 << 20));
        assert_eq!(rates.per_second(), Some(50.0));
    }

    #[test]
    fn what_was_there_is_no_growth() {
        let mut rates = Rates::with(at(0), 1 << 20);
        rates.add(at(60_000), (1 << 20) + 5, 0);
        assert_eq!(rates.growth_per_minute(), Some(5));
    }

    #[test]
    fn growth_is_that_of_the_last_minute_and_allocations_those_of_the_last_report() {
        let mut rates = Rates::new(at(0));
        // 1 MB in the first second, then 6,000 bytes and 10 allocations in each 5 s.
        rates.add(at(1_000), 1_000_000, 1_000);
        for report in 1..=60_u64 {
            rates.add(
                at(1_000 + report * 5_000),
                1_000_000 + report * 6_000,
                1_000 + report * 10,
            );
        }
        assert_eq!(rates.growth_per_minute(), Some(72_000));
        assert_eq!(rates.per_second(), Some(2.0));
        rates.add(at(306_000), 0, 1_600);
        let shrunk = rates.growth_per_minute().expect("long enough");
        assert!(shrunk < -1_000_000, "{shrunk}");
        assert_eq!(rates.per_second(), Some(0.0));
    }

    #[test]
    fn reports_in_quick_succession_keep_few_moments_and_some_rate() {
        let mut rates = Rates::new(at(0));
        for ms in (100..10 * MINUTE).step_by(100) {
            rates.add(at(ms), ms * 10, ms);
            assert!(rates.moments.len() <= 17, "{}", rates.moments.len());
            assert_eq!(rates.per_second().is_some(), ms >= 1_000, "{ms}");
        }
        assert_eq!(rates.growth_per_minute(), Some(600_000));
        let rate = rates.per_second().expect("long enough");
        assert!((rate - 1_000.0).abs() < 1e-6, "{rate}");
    }

    proptest! {
        /// A constant rate is found, whenever reports are made.
        #[test]
        fn a_constant_rate_is_found(
            first in 0u64..100_000,
            steps in prop::collection::vec(1u64..20_000, 1..60),
            per_ms in 0u64..1_000,
        ) {
            let mut rates = Rates::new(at(first));
            let mut ms = 0;
            for step in steps {
                ms += step;
                rates.add(at(first + ms), ms * per_ms, ms * per_ms);
            }
            prop_assert_eq!(rates.growth_per_minute().is_some(), ms >= 1_000);
            if let Some(growth) = rates.growth_per_minute() {
                prop_assert!(growth.abs_diff((per_ms * MINUTE).cast_signed()) <= 1);
            }
            if let Some(rate) = rates.per_second() {
                prop_assert!((rate - per_ms as f64 * 1_000.0).abs() < 1.0);
            }
        }
    }
}
