//! The form of a course: whether it grows on, levels off, or stays. Pure arithmetic.
//!
//! A single line through everything would call a cache that fills, a warm-up or half a wave a growth. So what grows
//! must do so in several steps, certainly (`trend`), must have reached a new height in its last third, and must not
//! flatten (`bend`). What has levelled off is looked at once more in its later half: a leak may follow a warm-up.

use std::time::Duration;

use super::bend::Bend;
use super::course::{Course, Form};
use super::trend::{FEWEST, Fit};

/// Seconds that a course must cover.
pub const LEAST: f64 = 5.0;
/// A course flattens whose slope at the end is below this share of that at its start.
const FLAT: f64 = 0.6;
/// The later half of a course that has flattened grows on only if it keeps this share of its slope.
const STRAIGHT: f64 = 0.8;
/// Fewest times that a value is larger than the one before it, in what grows.
const STEPS: usize = 4;
/// By what part of its range a course must be above its earlier height, to be at a new one.
const NEW_HEIGHT: f64 = 0.02;
/// By what part of its range the last third must be above the first, for the course to have grown.
const GREW: f64 = 0.4;
/// The later half must keep this share of the slope.
const KEPT: f64 = 0.3;
/// Points, and seconds, of a later half that is looked at by itself.
const HALF: (usize, f64) = (8, 10.0);
/// By what part of its range a course may have fallen meanwhile, to be one that grows.
const MOST_FALL: f64 = 0.35;
/// The same, for its later half to be looked at by itself.
const FALL: f64 = 0.2;

/// A course, and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// Its form.
    pub form: Form,
    /// The line through it, or through the later half that it grows by; `None` where it is too early for one.
    pub fit: Option<Fit>,
    /// Points that it rests on.
    pub points: usize,
    /// Where it is too early to say: seconds to go on.
    pub wait: Option<f64>,
}

impl Judged {
    fn as_form(self, form: Form) -> Self {
        Self {
            form,
            wait: None,
            ..self
        }
    }

    /// Has no time to wait where the form was settled by other means.
    pub fn settle(&mut self) {
        if self.form != Form::TooEarly {
            self.wait = None;
        }
    }

    /// As a profile has it.
    pub fn course(&self) -> Course {
        Course {
            form: self.form,
            reports: u32::try_from(self.points).unwrap_or(u32::MAX),
            wait: self
                .wait
                .map(|wait| Duration::from_secs_f64(wait.clamp(1.0, 1e6).ceil())),
        }
    }

    /// Slope and the two ends of its 95 % interval, in units per second, where that is known.
    pub fn slope(&self) -> Option<(f64, f64, f64)> {
        let fit = self.fit.filter(|fit| fit.error.is_finite())?;
        Some((fit.slope, fit.slope - fit.error, fit.slope + fit.error))
    }
}

/// What is plain to see of a course.
struct Shape {
    range: f64,
    /// Times that a value is larger than the one before it.
    steps: usize,
    /// Largest fall from what was the height by then.
    fall: f64,
    /// Mean of the last third less that of the first.
    rise: f64,
    /// By how much the last third is higher than all before it.
    new_height: f64,
}

impl Shape {
    fn of(points: &[(f64, f64)]) -> Self {
        let (first, last) = (points[0].0, points[points.len() - 1].0);
        let third = (last - first) / 3.0;
        let early = || points.iter().filter(|p| p.0 <= first + third);
        let late = || points.iter().filter(|p| p.0 > last - third);
        let before = points.iter().filter(|p| p.0 <= last - third);
        let highest =
            |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NEG_INFINITY, f64::max);
        let mut height = f64::NEG_INFINITY;
        let mut fall: f64 = 0.0;
        for (_, value) in points {
            height = height.max(*value);
            fall = fall.max(height - value);
        }
        let lowest = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
        Self {
            range: height - lowest,
            steps: points.windows(2).filter(|two| two[1].1 > two[0].1).count(),
            fall,
            rise: mean(late().map(|p| p.1)) - mean(early().map(|p| p.1)),
            new_height: highest(&mut late().map(|p| p.1)) - highest(&mut before.map(|p| p.1)),
        }
    }

    fn is_at_new_height(&self) -> bool {
        self.new_height > NEW_HEIGHT * self.range
    }

    fn grew(&self) -> bool {
        self.rise > GREW * self.range
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / f64::max(count, 1.0)
}

/// The later half of a course.
fn later_half(points: &[(f64, f64)]) -> &[(f64, f64)] {
    let (first, last) = (points[0].0, points[points.len() - 1].0);
    &points[points.partition_point(|p| p.0 < (first + last) / 2.0)..]
}

/// Whether the later half keeps a part of a slope, as far as can be told.
fn keeps(half: &[(f64, f64)], slope: f64) -> bool {
    Fit::through(half).is_none_or(|fit| fit.slope + fit.error >= KEPT * slope)
}

/// Whether a course that may have levelled off goes on to grow as a line by the second half of it: that line.
fn grows_on(points: &[(f64, f64)], whole: &Shape) -> Option<Fit> {
    let half = later_half(points);
    let span = half.last()?.0 - half.first()?.0;
    if half.len() < HALF.0 || span < HALF.1 || whole.fall > FALL * whole.range {
        return None;
    }
    let shape = Shape::of(half);
    let fit = Fit::through(half)?;
    let (one, other) = half.split_at(half.len() / 2);
    let (one, other) = (Fit::through(one)?, Fit::through(other)?);
    let is_straight = other.slope >= STRAIGHT * one.slope
        && Bend::through(half).is_none_or(|bend| !bend.flattens(STRAIGHT));
    let grows = fit.certain() > 0.0 && shape.steps >= STEPS && shape.is_at_new_height();
    (grows && is_straight).then_some(fit)
}

/// Change of a value of this size over a whole course that nobody minds: 4 KiB, or a hundredth of it.
fn negligible(mean: f64) -> f64 {
    f64::max(4096.0, mean.abs() / 100.0)
}

/// Judges a course: points (seconds, bytes) in the order of time, from where it begins.
pub fn judge(points: &[(f64, f64)]) -> Judged {
    let span = match (points.first(), points.last()) {
        (Some(first), Some(last)) => last.0 - first.0,
        _ => 0.0,
    };
    let early = |wait: f64| Judged {
        form: Form::TooEarly,
        fit: None,
        points: points.len(),
        wait: Some(wait),
    };
    let too_few = FEWEST.saturating_sub(points.len()) as f64;
    if too_few > 0.0 || span < LEAST {
        return early(f64::max(LEAST - span, too_few));
    }
    let Some(fit) = Fit::through(points) else {
        return early(LEAST);
    };
    let judged = Judged {
        fit: Some(fit),
        ..early(span)
    };
    let shape = Shape::of(points);
    let is_negligible = shape.range <= negligible(fit.mean);
    let certain = fit.certain();
    if certain < 0.0 {
        return judged.as_form(if is_negligible {
            Form::Steady
        } else {
            Form::Shrinking
        });
    }
    let flattens = Bend::through(points).is_some_and(|bend| bend.flattens(FLAT));
    let keeps = shape.is_at_new_height() && keeps(later_half(points), fit.slope);
    let climbs = shape.steps >= STEPS && shape.fall <= MOST_FALL * shape.range;
    if certain > 0.0 && climbs && keeps && !flattens {
        return judged.as_form(Form::Growing);
    }
    if let Some(half) = grows_on(points, &shape) {
        return Judged {
            fit: Some(half),
            ..judged.as_form(Form::Growing)
        };
    }
    if shape.grew() && !is_negligible && (flattens || !keeps) {
        return judged.as_form(Form::Saturating);
    }
    let is_narrow = (fit.slope.abs() + fit.error) * span <= negligible(fit.mean);
    if !shape.is_at_new_height() || is_narrow || is_negligible {
        return judged.as_form(Form::Steady);
    }
    judged
}

#[cfg(test)]
#[path = "form_tests.rs"]
mod tests;
