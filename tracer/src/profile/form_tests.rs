use proptest::prelude::*;

use super::*;

const MIB: f64 = 1_048_576.0;

/// A course of so many seconds, one value each.
fn course(seconds: u32, value: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    (0..=seconds)
        .map(|at| (f64::from(at), value(f64::from(at))))
        .collect()
}

fn form(points: &[(f64, f64)]) -> Form {
    judge(points).form
}

/// Uniform noise between -1 and 1 that is the same for the same seed and time.
fn noise(seed: u64, at: f64) -> f64 {
    let mut x = seed ^ (at.to_bits().rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..3 {
        x ^= x >> 29;
        x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^= x >> 32;
    }
    (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

#[test]
fn never_a_verdict_from_few_points_or_seconds() {
    for count in 0..5_u32 {
        let points: Vec<(f64, f64)> = (0..count)
            .map(|i| (f64::from(i) * 100.0, f64::from(i) * MIB))
            .collect();
        assert_eq!(form(&points), Form::TooEarly, "{count} points");
    }
    let quick: Vec<(f64, f64)> = (0..40)
        .map(|i| (f64::from(i) * 0.1, f64::from(i) * MIB))
        .collect();
    let judged = judge(&quick);
    assert_eq!((judged.form, judged.fit), (Form::TooEarly, None));
    assert_eq!(judged.course().wait, Some(Duration::from_secs(2)));
}

#[test]
fn a_line_grows_from_the_first_moment_on() {
    for seconds in 5..48 {
        for slope in [24.0, 12_288.0, 10.0 * MIB] {
            let judged = judge(&course(seconds, |at| at * slope));
            assert_eq!(judged.form, Form::Growing, "{seconds} s at {slope}");
            let (is, low, high) = judged.slope().expect("a slope");
            assert!(low <= is && is <= high && (is / slope - 1.0).abs() < 1e-9);
        }
    }
    assert_eq!(form(&course(30, |at| (30.0 - at) * MIB)), Form::Shrinking);
    assert_eq!(form(&course(30, |_| MIB)), Form::Steady);
}

#[test]
fn what_leaks_in_lumps_grows() {
    for period in [2.0, 3.0, 5.0, 7.0] {
        for seconds in [36, 48] {
            let lumps = course(seconds, |at| (at / period).floor() * MIB);
            assert_eq!(
                form(&lumps),
                Form::Growing,
                "every {period} s for {seconds} s"
            );
        }
    }
}

#[test]
fn one_jump_is_no_growth() {
    for at_second in 1..30 {
        let jump = course(30, |at| if at < f64::from(at_second) { 0.0 } else { MIB });
        assert_ne!(form(&jump), Form::Growing, "at {at_second}");
    }
}

#[test]
fn what_fills_saturates() {
    for of_time in [8.0, 12.0, 16.0, 24.0, 40.0] {
        let fills = course(48, |at| 20.0 * MIB * (1.0 - (-at / of_time).exp()));
        assert_eq!(form(&fills), Form::Saturating, "{of_time}");
    }
    // What filled long ago is steady.
    let filled = course(48, |at| 20.0 * MIB * (1.0 - (-at / 3.0).exp()));
    assert_eq!(form(&filled), Form::Steady);
    for full in [13.0, 16.0, 20.0, 30.0] {
        let pool = course(48, |at| at.min(full) * MIB);
        assert_eq!(form(&pool), Form::Saturating, "full after {full} s");
    }
    assert_eq!(
        form(&course(48, |at| (1.0 + at).ln() * MIB)),
        Form::Saturating
    );
}

#[test]
fn a_leak_after_a_warm_up_grows() {
    let warm = |at: f64| 100.0 * MIB * (1.0 - (-at / 3.0).exp());
    assert_ne!(form(&course(48, warm)), Form::Growing);
    let leaks = course(48, |at| warm(at) + at * 0.5 * MIB);
    let judged = judge(&leaks);
    assert_eq!(judged.form, Form::Growing);
    let (slope, ..) = judged.slope().expect("a slope");
    assert!((slope / (0.5 * MIB) - 1.0).abs() < 0.1, "{slope}");
}

#[test]
fn logs_that_are_trimmed_and_waves_do_not_grow() {
    for period in [4.0, 6.0, 9.0, 13.0, 15.0] {
        for seconds in [40, 44, 48] {
            let log = course(seconds, |at| (at % period) * MIB);
            assert_ne!(
                form(&log),
                Form::Growing,
                "trimmed every {period} s, {seconds} s"
            );
        }
        for phase in 0..8 {
            let start = f64::from(phase) * 0.8;
            let wave = course(48, |at| {
                50.0 * MIB * (1.0 + (start + at * std::f64::consts::TAU / period).sin())
            });
            assert_ne!(form(&wave), Form::Growing, "a wave of {period} s, {phase}");
        }
    }
}

#[test]
fn a_random_walk_rarely_grows() {
    let mut grown = 0;
    for seed in 0..400 {
        let mut value = 50.0 * MIB;
        let walk = course(48, |_| 0.0)
            .into_iter()
            .map(|(at, _)| {
                value += MIB * noise(seed, at);
                (at, value)
            })
            .collect::<Vec<_>>();
        grown += u32::from(form(&walk) == Form::Growing);
    }
    assert!(grown <= 40, "{grown} of 400");
}

#[test]
fn noise_on_a_plateau_rarely_grows() {
    let mut grown = 0;
    for seed in 0..400 {
        let plateau = course(48, |at| 20.0 * MIB + MIB * noise(seed, at));
        grown += u32::from(form(&plateau) == Form::Growing);
        let pool = course(48, |at| at.min(12.0) * MIB + 0.2 * MIB * noise(seed, at));
        grown += u32::from(form(&pool) == Form::Growing);
    }
    assert!(grown <= 16, "{grown} of 800");
}

/// A line of 40 seconds in noise of a share of what it grows by.
fn line_in_noise(seed: u64, slope: f64, share: f64) -> Vec<(f64, f64)> {
    course(40, |at| at * slope + 40.0 * slope * share * noise(seed, at))
}

#[test]
fn a_line_in_noise_grows() {
    for seed in 0..400 {
        for slope in [1e3, 1e8] {
            let points = line_in_noise(seed, slope, 0.03);
            assert_eq!(form(&points), Form::Growing, "seed {seed}, {slope}");
        }
    }
}

#[test]
fn a_line_in_much_noise_nearly_always_grows() {
    let lines = (0..4_000).map(|seed| line_in_noise(seed, 12_288.0, 0.08));
    let grown = lines.filter(|points| form(points) == Form::Growing).count();
    assert!(grown >= 3_900, "{grown} of 4,000");
}

proptest! {
    /// Whatever comes: no panic, and what is said of a slope holds together.
    #[test]
    fn anything_is_judged(values in proptest::collection::vec(0u64..1 << 40, 0..60), step in 0.05f64..100.0) {
        let points: Vec<(f64, f64)> = values.iter().enumerate().map(|(i, v)| (i as f64 * step, *v as f64)).collect();
        let judged = judge(&points);
        prop_assert_eq!(judged.wait.is_some(), judged.form == Form::TooEarly);
        if judged.form == Form::Growing {
            prop_assert!(judged.slope().is_some_and(|(_, low, _)| low > 0.0));
        }
        // The clock's beginning does not matter.
        let later: Vec<(f64, f64)> = points.iter().map(|(at, v)| (at + 1024.0, *v)).collect();
        prop_assert_eq!(judge(&later).form == Form::Growing, judged.form == Form::Growing);
    }
}
