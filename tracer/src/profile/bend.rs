//! Whether a course flattens: a parabola through its points, and how sure its curvature is. Pure arithmetic.

use super::trend::{Fit, slope_error};

/// A parabola through samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bend {
    /// Slope at the first sample, in units per second.
    pub start: f64,
    /// Slope at the last one.
    pub end: f64,
    /// Whether the 95 % interval of the curvature is below zero as a whole, or each quarter rises less than the one
    /// before: the residuals of a smooth curve hang together so much that the interval tells nothing.
    pub is_certainly_concave: bool,
}

impl Bend {
    /// The parabola through points (seconds, units), in the order of time; `None` where they are too few.
    ///
    /// Written in polynomials that are orthogonal on the points, so that the curvature is a regression of its own on
    /// what the line leaves.
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        let line = Fit::through(points)?;
        let (first, last) = (points.first()?.0, points.last()?.0);
        let n = points.len() as f64;
        let sum = |value: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>();
        let middle = sum(&|p| p.0) / n;
        let square = sum(&|p| (p.0 - middle).powi(2)) / n;
        let skew = sum(&|p| (p.0 - middle).powi(3)) / n / square;
        let second = |at: f64| (at - middle).powi(2) - skew * (at - middle) - square;
        let spread = sum(&|p| second(p.0).powi(2));
        if points.len() < 4 || spread <= 0.0 {
            return None;
        }
        let curvature = sum(&|p| second(p.0) * p.1) / spread;
        let residuals: Vec<f64> = points
            .iter()
            .map(|p| p.1 - line.mean - line.slope * (p.0 - middle) - curvature * second(p.0))
            .collect();
        let magnitude = points.iter().map(|p| p.1.abs()).fold(0.0, f64::max);
        let error = slope_error(&residuals, spread, magnitude, 3.0);
        let slope_at = |at: f64| line.slope + curvature * (2.0 * (at - middle) - skew);
        Some(Self {
            start: slope_at(first),
            end: slope_at(last),
            is_certainly_concave: curvature + error < 0.0 || quarters_decrease(points),
        })
    }

    /// Whether it rises and certainly flattens: at the end its slope is below this share of the one at the start.
    pub fn flattens(&self, share: f64) -> bool {
        self.is_certainly_concave && self.start > 0.0 && self.end < share * self.start
    }
}

/// Whether each quarter of the points has a lower slope than the one before.
fn quarters_decrease(points: &[(f64, f64)]) -> bool {
    let last = points.len() - 1;
    if last < 8 {
        return false;
    }
    let slope = |quarter: usize| {
        let (from, to) = (points[quarter * last / 4], points[(quarter + 1) * last / 4]);
        (to.1 - from.1) / (to.0 - from.0)
    };
    (0..3).all(|quarter| slope(quarter) > slope(quarter + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A parabola is found as it is.
        #[test]
        fn parabolas_are_found(a in -1e6f64..1e6, b in -1e4f64..1e4, c in -100f64..100.0, n in 5usize..60, step in 0.1f64..10.0) {
            let points: Vec<(f64, f64)> = (0..n).map(|i| i as f64 * step).map(|t| (t, a + b * t + c * t * t)).collect();
            let end = (n - 1) as f64 * step;
            let bend = Bend::through(&points).expect("enough points");
            let near = |one: f64, other: f64| (one - other).abs() < 1e-6 * (1.0 + b.abs() + (c * end).abs());
            prop_assert!(near(bend.start, b) && near(bend.end, b + 2.0 * c * end), "{:?}", bend);
        }
    }

    #[test]
    fn a_line_does_not_flatten_and_a_cache_that_fills_does() {
        let line: Vec<(f64, f64)> = (0..30)
            .map(|i| (f64::from(i), f64::from(i) * 4096.0))
            .collect();
        assert!(!Bend::through(&line).expect("a bend").flattens(0.6));
        let fills = |at: f64| (at, 1e7 * (1.0 - (-at / 10.0).exp()));
        let cache: Vec<(f64, f64)> = (0..30).map(|i| fills(f64::from(i))).collect();
        assert!(Bend::through(&cache).expect("a bend").flattens(0.6));
    }
}
