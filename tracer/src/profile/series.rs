//! Samples of one thing over time, in bounded memory. Pure.

use super::subject::Growth;
use super::trend::Fit;

/// Most samples that are kept. When there are as many, every second one goes, and from then on every second one is
/// taken in: the samples stay evenly spread over the whole time.
const MOST: usize = 120;

/// Values of one thing, each with its time in seconds.
#[derive(Clone, Debug)]
pub struct Series<V> {
    kept: Vec<(f64, V)>,
    /// The newest value, which may not be among those that are kept.
    last: (f64, V),
    /// One value in so many is kept.
    stride: u32,
    /// Values since the last one that was kept.
    passed: u32,
}

impl<V: Copy> Series<V> {
    /// A series that begins.
    pub fn new(at: f64, value: V) -> Self {
        Self {
            kept: vec![(at, value)],
            last: (at, value),
            stride: 1,
            passed: 0,
        }
    }

    /// Adds a value. What is older than `window` seconds is forgotten.
    pub fn push(&mut self, at: f64, value: V, window: f64) {
        self.last = (at, value);
        self.passed += 1;
        if self.passed < self.stride {
            return;
        }
        self.passed = 0;
        self.kept.push((at, value));
        let old = self.kept.partition_point(|(time, _)| *time < at - window);
        self.kept.drain(..old);
        if self.kept.len() >= MOST {
            let mut index = 0;
            self.kept.retain(|_| {
                index += 1;
                index % 2 == 0
            });
            self.stride *= 2;
        }
    }

    /// The newest value.
    pub fn last(&self) -> V {
        self.last.1
    }

    /// Time of the newest value, in seconds.
    pub fn last_at(&self) -> f64 {
        self.last.0
    }

    /// The line through one figure of the values; values that do not have it are left out.
    pub fn fit(&self, figure: impl Fn(&V) -> Option<u64>) -> Option<Fit> {
        let newest = self.kept.last().is_none_or(|kept| kept.0 < self.last.0);
        let points: Vec<(f64, f64)> = self
            .kept
            .iter()
            .chain(newest.then_some(&self.last))
            .filter_map(|(at, value)| Some((*at, figure(value)? as f64)))
            .collect();
        Fit::through(&points)
    }
}

/// The line through one figure of a series, as it is reported.
pub fn of_series<V: Copy>(
    series: &Series<V>,
    is_count: bool,
    figure: impl Fn(&V) -> Option<u64>,
) -> Option<Growth> {
    series.fit(figure).map(|fit| Growth::of(&fit, is_count))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FOREVER: f64 = f64::INFINITY;

    #[test]
    fn a_window_forgets() {
        let mut series = Series::new(0.0, 1000_u64);
        for second in 1..=20_u32 {
            series.push(
                f64::from(second),
                if second < 10 {
                    1000
                } else {
                    100 * u64::from(second)
                },
                8.0,
            );
        }
        let fit = series.fit(|value| Some(*value)).expect("a fit");
        assert_eq!(fit.samples, 9);
        assert!((fit.slope - 100.0).abs() < 1e-9, "{fit:?}");
        assert_eq!((series.last(), series.last_at()), (2000, 20.0));
    }

    #[test]
    fn values_without_the_figure_are_left_out() {
        let mut series = Series::new(0.0, None);
        series.push(1.0, Some(5), FOREVER);
        assert_eq!(series.fit(|value| *value), None);
        series.push(2.0, Some(7), FOREVER);
        assert_eq!(series.fit(|value| *value).map(|fit| fit.samples), Some(2));
    }

    proptest! {
        /// However long it runs: memory is bounded, the start and the end are there, and a line is still that line.
        #[test]
        fn a_long_series_keeps_its_slope(samples in 2_u32..5_000, slope in 1_u64..1_000_000) {
            let mut series = Series::new(0.0, 0);
            for index in 1..samples {
                series.push(f64::from(index), u64::from(index) * slope, FOREVER);
            }
            prop_assert!(series.kept.len() <= MOST);
            prop_assert!(series.kept[0].0 < f64::from(samples) / 20.0 + 2.0);
            prop_assert_eq!(series.last(), u64::from(samples - 1) * slope);
            let fit = series.fit(|value| Some(*value)).expect("a fit");
            prop_assert!((fit.slope / slope as f64 - 1.0).abs() < 1e-6);
            prop_assert!(fit.samples >= (samples as usize).min(MOST / 2 - 1));
        }
    }
}
