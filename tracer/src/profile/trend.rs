//! How fast something grows: a least-squares slope, and how sure it is. Pure arithmetic.
//!
//! Memory figures of one process are not independent of each other: what was allocated a moment ago is mostly still
//! there. The textbook error of a slope would call a single step, or a random walk, a growth. So the number of
//! samples is first cut to that of independent ones, by the residuals' correlation with their neighbours:
//! n (1 - r) / (1 + r) (Santer et al. 2000, doi:10.1029/1999JD901105, section 3). The interval is Student's, with
//! the degrees of freedom that this leaves. And a good part of the slope must be left without its largest jump.

use super::Profile;
use super::measure::{Measure, Unit};
use super::subject::{Growth, Subject};

pub use super::subject::Verdict;

/// Fewest samples that tell a direction.
pub const FEWEST: usize = 5;
/// Part of the slope that must be left without the largest jump. Of five samples on a line two fifths are.
const LEFT_WITHOUT_JUMP: f64 = 0.2;

/// A straight line through samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Units per second.
    pub slope: f64,
    /// Half the width of the slope's 95 % interval, in units per second; infinite where the samples are too few, or
    /// hang together too much, to tell.
    pub error: f64,
    /// Mean of the samples, in units.
    pub mean: f64,
    /// Number of samples.
    pub samples: usize,
    /// The slope without the largest jump between two samples.
    without_jump: f64,
}

impl Fit {
    /// The line through points (seconds, units), in the order of time; `None` below two points or without any time
    /// between them.
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        let fit = line(points)?;
        let rest = line(&without_largest_jump(points, fit.slope.signum()))?;
        Some(Self {
            without_jump: rest.slope,
            ..fit
        })
    }

    /// The slope that it has at least, as far as 95 % go: the end of the interval that is nearer to zero; zero where
    /// the interval holds it, and where all that there is was one jump. What certainly grows has more than zero.
    pub fn certain(&self) -> f64 {
        let is_one_jump = self.without_jump / self.slope < LEFT_WITHOUT_JUMP;
        if self.samples < FEWEST || !self.error.is_finite() || self.slope == 0.0 || is_one_jump {
            0.0
        } else if self.slope > 0.0 {
            (self.slope - self.error).max(0.0)
        } else {
            (self.slope + self.error).min(0.0)
        }
    }

    /// The line of what goes down as this goes up.
    pub fn reversed(&self) -> Self {
        Self {
            slope: -self.slope,
            mean: -self.mean,
            without_jump: -self.without_jump,
            ..*self
        }
    }

    /// What it says. `negligible` is the slope, in units per second, that nobody minds.
    pub fn verdict(&self, negligible: f64) -> Verdict {
        let certain = self.certain();
        if certain > 0.0 {
            Verdict::Growing
        } else if certain < 0.0 {
            Verdict::Shrinking
        } else if self.samples >= FEWEST && self.slope.abs() + self.error <= negligible {
            Verdict::Steady
        } else {
            Verdict::Unclear
        }
    }
}

/// Slopes that nobody minds: 64 KiB a minute, or 1 % of the size a minute; one thing a minute.
fn negligible(fit: &Fit, is_count: bool) -> f64 {
    let per_minute = if is_count { 1.0 } else { 65_536.0 };
    f64::max(per_minute, fit.mean.abs() / 100.0) / 60.0
}

/// What can be said of how something moves: of a number of things (`is_count`) or of bytes.
pub fn verdict(fit: Option<&Fit>, is_count: bool) -> Verdict {
    fit.map_or(Verdict::Unclear, |fit| {
        fit.verdict(negligible(fit, is_count))
    })
}

impl Growth {
    /// What a fit says of a number of things (`is_count`) or of bytes.
    pub fn of(fit: &Fit, is_count: bool) -> Self {
        // Hundredths of a unit a minute are more than enough, and keep the lines short.
        let per_minute = |per_second: f64| (per_second * 6_000.0).round() / 100.0;
        let known = fit.error.is_finite();
        Self {
            per_min: per_minute(fit.slope),
            low: known.then(|| per_minute(fit.slope - fit.error)),
            high: known.then(|| per_minute(fit.slope + fit.error)),
            certain: per_minute(fit.certain()),
            verdict: verdict(Some(fit), is_count),
            samples: fit.samples,
        }
    }
}

/// How a figure of one subject grows over several profiles, in the order of time; `None` below two profiles that have
/// it.
pub fn of_subject(profiles: &[Profile], pid: u32, measure: Measure) -> Option<Growth> {
    let point = |profile: &Profile| {
        let own = profile
            .subjects
            .iter()
            .rfind(|subject: &&Subject| subject.pid == Some(pid))?;
        Some((
            profile.meta.elapsed.as_secs_f64(),
            own.totals.get(measure)?.real(),
        ))
    };
    let points: Vec<(f64, f64)> = profiles.iter().filter_map(point).collect();
    Fit::through(&points).map(|fit| Growth::of(&fit, measure.unit() == Unit::Count))
}

/// The line through points as they are.
fn line(points: &[(f64, f64)]) -> Option<Fit> {
    if points.len() < 2 {
        return None;
    }
    let n = points.len() as f64;
    let sum = |value: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>();
    let (middle, mean) = (sum(&|p| p.0) / n, sum(&|p| p.1) / n);
    let spread = sum(&|p| (p.0 - middle).powi(2));
    if spread <= 0.0 {
        return None;
    }
    let slope = sum(&|p| (p.0 - middle) * (p.1 - mean)) / spread;
    let residuals: Vec<f64> = points
        .iter()
        .map(|p| p.1 - mean - slope * (p.0 - middle))
        .collect();
    let magnitude = points.iter().map(|p| p.1.abs()).fold(0.0, f64::max);
    Some(Fit {
        slope,
        error: slope_error(&residuals, spread, magnitude, 2.0),
        mean,
        samples: points.len(),
        without_jump: slope,
    })
}

/// The points with the largest change, in the direction of `sign`, taken out of all that follow. A sample may fall into
/// the middle of a jump, so two changes that follow each other are one.
fn without_largest_jump(points: &[(f64, f64)], sign: f64) -> Vec<(f64, f64)> {
    let jumps = points
        .windows(3)
        .map(|three| sign * (three[2].1 - three[0].1));
    let largest = jumps
        .enumerate()
        .max_by(|one, other| one.1.total_cmp(&other.1));
    let (at, jump) = largest.unwrap_or((0, 0.0));
    let lowered = |(index, point): (usize, &(f64, f64))| match index {
        index if index <= at => *point,
        index if index == at + 1 => (point.0, points[at].1),
        _ => (point.0, point.1 - sign * jump),
    };
    points.iter().enumerate().map(lowered).collect()
}

/// Half the width of the slope's 95 % interval. `spread` is the sum of the squared distances of the times from their
/// mean; `magnitude` the largest value, below whose last bits there is nothing but rounding; `fitted` how many
/// coefficients were fitted.
pub(super) fn slope_error(residuals: &[f64], spread: f64, magnitude: f64, fitted: f64) -> f64 {
    let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
    let n = residuals.len() as f64;
    let rounding = magnitude * f64::EPSILON * 16.0;
    if residuals.len() < 3 {
        return f64::INFINITY;
    }
    if squares <= n * rounding * rounding {
        return 0.0;
    }
    let neighbours: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let correlation = (neighbours / squares).clamp(0.0, 0.999);
    let independent = n * (1.0 - correlation) / (1.0 + correlation);
    let freedom = independent - fitted;
    if freedom < 1.0 {
        return f64::INFINITY;
    }
    student(freedom) * (squares / freedom / spread).sqrt()
}

/// Student's t for a two-sided 95 % interval, by degrees of freedom (NIST/SEMATECH e-Handbook of Statistical Methods,
/// 1.3.6.7.2). Between rows it is as good as linear in one over the degrees of freedom.
const STUDENT: [(f64, f64); 14] = [
    (1.0, 12.706),
    (2.0, 4.303),
    (3.0, 3.182),
    (4.0, 2.776),
    (5.0, 2.571),
    (6.0, 2.447),
    (8.0, 2.306),
    (10.0, 2.228),
    (15.0, 2.131),
    (20.0, 2.086),
    (30.0, 2.042),
    (60.0, 2.000),
    (100.0, 1.984),
    (f64::INFINITY, 1.960),
];

/// Student's t for at least one degree of freedom.
fn student(freedom: f64) -> f64 {
    let above = STUDENT.partition_point(|row| row.0 < freedom);
    let high = STUDENT[above.min(STUDENT.len() - 1)];
    if above == 0 {
        return high.1;
    }
    let low = STUDENT[above - 1];
    let share = (1.0 / low.0 - 1.0 / freedom) / (1.0 / low.0 - 1.0 / high.0);
    low.1 + share * (high.1 - low.1)
}

#[cfg(test)]
#[path = "trend_tests.rs"]
mod tests;
