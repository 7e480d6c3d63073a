//! What a trend must and must not call growth: lines, noise, steps, stairs, saw teeth and random walks.

use proptest::prelude::*;

use super::*;

/// Numbers that look random and are the same in every run (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Nearly normal: a sum of twelve uniform numbers.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

fn fit(values: impl IntoIterator<Item = f64>) -> Fit {
    let points: Vec<(f64, f64)> = values
        .into_iter()
        .enumerate()
        .map(|(index, value)| (index as f64, value))
        .collect();
    Fit::through(&points).expect("there are points")
}

fn share_growing(runs: usize, mut values: impl FnMut(&mut Random) -> Vec<f64>) -> f64 {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let growing = (0..runs).filter(|_| fit(values(&mut random)).certain() > 0.0);
    growing.count() as f64 / runs as f64
}

#[test]
fn a_line_is_found_exactly() {
    let line = fit((0..20).map(|i| 1e9 + 4096.0 * f64::from(i)));
    assert!((line.slope - 4096.0).abs() < 1e-6, "{line:?}");
    assert!(line.error < 1e-3, "{line:?}");
    assert_eq!(line.verdict(0.0), Verdict::Growing);
    let down = fit((0..20).map(|i| -7.0 * f64::from(i)));
    assert_eq!(down.verdict(0.0), Verdict::Shrinking);
}

/// A line with a little noise is found from six samples on: the default interval has eleven.
#[test]
fn a_short_noisy_line_is_found() {
    for samples in [6, 8, 11] {
        let share = share_growing(1_000, |random| {
            let point = |i| 64e6 * f64::from(i) + 1e6 * random.normal();
            (0..samples).map(point).collect()
        });
        assert!(share > 0.99, "{samples} samples: {share}");
    }
}

#[test]
fn nothing_that_stays_grows() {
    let flat = fit([5e9; 11]);
    assert_eq!((flat.slope, flat.error), (0.0, 0.0));
    assert_eq!(flat.verdict(1.0), Verdict::Steady);
}

#[test]
fn too_few_samples_tell_nothing() {
    assert_eq!(Fit::through(&[]), None);
    assert_eq!(Fit::through(&[(1.0, 5.0)]), None);
    assert_eq!(Fit::through(&[(1.0, 5.0), (1.0, 9.0)]), None);
    let two = fit([0.0, 100.0]);
    assert_eq!((two.slope, two.certain()), (100.0, 0.0));
    assert_eq!(two.verdict(1e9), Verdict::Unclear);
    assert_eq!(fit([0.0, 1.0, 2.0, 3.0]).verdict(0.0), Verdict::Unclear);
}

/// One allocation at any moment is a step, not a growth.
#[test]
fn a_single_step_is_not_called_growth() {
    for samples in [6, 11, 21, 60] {
        for at in 1..samples {
            let step = fit((0..samples).map(|i| if i < at { 0.0 } else { 5e7 }));
            assert_eq!(step.certain(), 0.0, "step at {at} of {samples}: {step:?}");
            // A sample may fall into the middle of it.
            let halfway = |i: i32| if i == at { 2e7 } else { 5e7 };
            let ramp = fit((0..samples).map(|i| if i < at { 0.0 } else { halfway(i) }));
            assert_eq!(ramp.certain(), 0.0, "ramp at {at} of {samples}: {ramp:?}");
        }
    }
}

/// A program that takes a block every few samples grows, however the samples fall.
#[test]
fn stairs_are_growth() {
    for every in [2, 3, 4] {
        let stairs = fit((0..40).map(|i| f64::from(i / every) * 1e6));
        assert_eq!(stairs.verdict(0.0), Verdict::Growing, "{every}: {stairs:?}");
        assert!((stairs.slope * f64::from(every) / 1e6 - 1.0).abs() < 0.05);
    }
}

/// A collector that gives all back at intervals: a saw tooth, with no growth in the long run.
#[test]
fn saw_teeth_are_not_growth() {
    let teeth = fit((0..60).map(|i| f64::from(i % 12) * 1e6));
    assert_eq!(teeth.certain(), 0.0, "{teeth:?}");
    let leaking = fit((0..120).map(|i| f64::from(i % 12) * 1e6 + f64::from(i) * 4e5));
    assert_eq!(leaking.verdict(0.0), Verdict::Growing, "{leaking:?}");
}

#[test]
fn noise_grows_no_more_often_than_the_interval_says() {
    for samples in [6, 11, 60] {
        let share = share_growing(4_000, |random| {
            (0..samples).map(|_| random.normal()).collect()
        });
        // Half of the 5 % that lie outside are on this side.
        assert!(share < 0.035, "{samples} samples: {share}");
    }
}

/// A random walk is the worst case: it does go somewhere. Without the correction it would grow in 40 % of all cases.
#[test]
fn random_walks_are_mostly_unclear() {
    for samples in [11, 60, 120] {
        let share = share_growing(2_000, |random| {
            let mut at = 0.0;
            (0..samples)
                .map(|_| {
                    at += random.normal();
                    at
                })
                .collect()
        });
        assert!(share < 0.2, "{samples} samples: {share}");
    }
}

#[test]
fn the_true_slope_lies_in_the_interval() {
    let mut random = Random(42);
    let mut held = 0;
    for _ in 0..2_000 {
        let noisy = fit((0..15).map(|i| 3.0 * f64::from(i) + 4.0 * random.normal()));
        held += usize::from((noisy.slope - 3.0).abs() <= noisy.error);
    }
    assert!(
        (0.93..=0.995).contains(&(f64::from(held as u32) / 2_000.0)),
        "{held}"
    );
}

#[test]
fn students_table_is_followed_between_its_rows() {
    assert_eq!(student(1.0), 12.706);
    assert_eq!(student(10.0), 2.228);
    for (freedom, t) in [
        (7.0, 2.365),
        (12.0, 2.179),
        (25.0, 2.060),
        (40.0, 2.021),
        (1e9, 1.960),
    ] {
        assert!((student(freedom) - t).abs() < 0.004, "{freedom}");
    }
    assert!(student(1.5) < 12.706 && student(1.5) > 4.303);
}

proptest! {
    /// Any samples give numbers, and what is certain lies between zero and the slope.
    #[test]
    fn certain_lies_between_zero_and_the_slope(
        values in prop::collection::vec(0_u64..1 << 45, 2..60),
        step in 0.01_f64..100.0,
    ) {
        let points: Vec<(f64, f64)> = values.iter().enumerate()
            .map(|(index, value)| (index as f64 * step, *value as f64)).collect();
        let fit = Fit::through(&points).expect("time passes");
        prop_assert!(fit.slope.is_finite() && !fit.error.is_nan() && fit.error >= 0.0);
        let (low, high) = (fit.slope.min(0.0), fit.slope.max(0.0));
        prop_assert!((low..=high).contains(&fit.certain()), "{fit:?}");
    }

    /// Another unit or another start of the clock changes nothing but the scale.
    #[test]
    fn the_fit_scales(
        values in prop::collection::vec(0_u32..1 << 20, 5..40),
        scale in 1_u32..4096,
        later in 0_u32..100_000,
    ) {
        let points = |scale: f64, later: f64| -> Vec<(f64, f64)> {
            values.iter().enumerate()
                .map(|(index, value)| (index as f64 + later, f64::from(*value) * scale)).collect()
        };
        let one = Fit::through(&points(1.0, 0.0)).expect("time passes");
        let other = Fit::through(&points(f64::from(scale), f64::from(later))).expect("time passes");
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-4 * (1.0 + a.abs()) || a == b;
        prop_assert!(close(one.slope, other.slope / f64::from(scale)), "{one:?} {other:?}");
        prop_assert!(close(one.error, other.error / f64::from(scale)), "{one:?} {other:?}");
    }

    /// Samples the other way round grow as fast the other way.
    #[test]
    fn the_fit_is_symmetric(values in prop::collection::vec(0_u32..1 << 20, 5..40)) {
        let forward = fit(values.iter().map(|value| f64::from(*value)));
        let back = fit(values.iter().rev().map(|value| f64::from(*value)));
        prop_assert!((forward.slope + back.slope).abs() <= 1e-6 * (1.0 + forward.slope.abs()));
    }
}
