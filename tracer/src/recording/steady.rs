//! What changes in a tree all the time although nothing happens: made steady, so that it is not recorded again and again.
//!
//! Ages are kept as times of birth, and births to [`TOLERANCE_MS`]: two clocks are read for an age, and they are not read
//! at the same instant. A course's number of reports is kept as what the longest course of the snapshot has more, and
//! while it moves by no more than a quarter. Slopes stay as they are while the difference would come to less than one
//! percent of what is held, over the time of the trace.

use serde_json::{Value, json};

use crate::profile::{Kind, Measure};

/// Births that differ by no more are the same.
const TOLERANCE_MS: i64 = 100;
/// Part of what is held that a slope may be off by, over the time of the trace.
const SLOPE: f64 = 0.01;
/// Part that a number of reports may be off by.
const REPORTS: f64 = 0.25;
/// Slopes with their intervals.
const SLOPES: [Measure; 3] = [
    Measure::HeapGrowthPerS,
    Measure::HeapGrowthPerSLow,
    Measure::HeapGrowthPerSHigh,
];

/// What a snapshot's ages are relative to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Base {
    /// Elapsed time of the trace.
    pub elapsed_ms: u64,
    /// Reports that the longest course rests on.
    pub reports: u64,
}

/// Which way a tree is changed.
#[derive(Clone, Copy)]
enum Way {
    /// Ages to births.
    Out,
    /// Births to ages.
    Back,
}

/// Reports that the longest course in a tree rests on.
pub fn longest(tree: &mut Value) -> u64 {
    let mut longest = 0;
    each(tree, |thing| {
        longest = longest.max(thing["course"]["reports"].as_u64().unwrap_or(0));
    });
    longest
}

/// Makes ages births.
pub fn to_births(tree: &mut Value, base: Base) {
    each(tree, |thing| convert(thing, base, Way::Out));
}

/// Makes births ages again.
pub fn to_ages(tree: &mut Value, base: Base) {
    each(tree, |thing| convert(thing, base, Way::Back));
}

/// Takes what an earlier tree has where it is as good as the same.
pub fn settle(tree: &mut Value, earlier: &Value, base: Base) {
    for part in PARTS {
        let things = tree.get_mut(part).and_then(Value::as_object_mut);
        for (number, thing) in things.into_iter().flatten() {
            if let Some(was) = earlier[part].get(number) {
                settle_births(thing, was);
                settle_slopes(thing, was, base);
                settle_reports(thing, was, base);
            }
        }
    }
}

fn settle_births(thing: &mut Value, was: &Value) {
    for path in ages() {
        let known = was.pointer(&path).and_then(Value::as_i64);
        let now = thing.pointer_mut(&path).filter(|now| now.is_i64());
        if let (Some(now), Some(known)) = (now, known) {
            let birth = now.as_i64().unwrap_or(known);
            if birth.abs_diff(known) <= TOLERANCE_MS.unsigned_abs() {
                *now = json!(known);
            }
        }
    }
}

fn settle_slopes(thing: &mut Value, was: &Value, base: Base) {
    for part in ["values", "totals"] {
        let held = thing[part][Measure::HeapLiveBytes.key()]
            .as_f64()
            .unwrap_or(0.0);
        let seconds = base.elapsed_ms as f64 / 1e3;
        let tolerance = SLOPE * held / seconds.max(1.0);
        let is_close = |measure: &Measure| {
            let (now, then) = (&thing[part][measure.key()], &was[part][measure.key()]);
            match (now.as_f64(), then.as_f64()) {
                (Some(now), Some(then)) => {
                    (now - then).abs() <= tolerance && (now > 0.0) == (then > 0.0)
                }
                (now, then) => now.is_none() && then.is_none(),
            }
        };
        if SLOPES.iter().all(is_close) {
            for measure in SLOPES {
                if let Some(then) = was[part].get(measure.key()) {
                    thing[part][measure.key()] = then.clone();
                }
            }
        }
    }
}

/// Numbers are relative to that of the longest course, which both trees have their own of.
fn settle_reports(thing: &mut Value, was: &Value, base: Base) {
    const PATH: &str = "/course/reports";
    let known = was.pointer(PATH).and_then(Value::as_u64);
    let now = thing.pointer_mut(PATH);
    if let (Some(now), Some(known)) = (now, known) {
        let number = now.as_u64().unwrap_or(known);
        let reports = base.reports.saturating_sub(number) as f64;
        let settled = base.reports.saturating_sub(known);
        if settled > 0 && number.abs_diff(known) as f64 <= REPORTS * reports {
            *now = json!(known);
        }
    }
}

/// Parts of the tree whose things have ages.
const PARTS: [&str; 2] = ["subjects", "samples"];

/// Where the ages are of a subject or a sample, as JSON pointers (RFC 6901).
fn ages() -> impl Iterator<Item = String> {
    let ages = Measure::ALL
        .iter()
        .filter(|measure| measure.kind() == Kind::Age);
    let of_measures = ages
        .flat_map(|measure| ["values", "totals"].map(|part| format!("/{part}/{}", measure.key())));
    of_measures.chain(["/age_ms".to_owned(), "/course/wait_ms".to_owned()])
}

fn each(tree: &mut Value, mut change: impl FnMut(&mut Value)) {
    for part in PARTS {
        let things = tree.get_mut(part).and_then(Value::as_object_mut);
        things
            .into_iter()
            .flatten()
            .for_each(|(_, thing)| change(thing));
    }
}

fn convert(thing: &mut Value, base: Base, way: Way) {
    let elapsed = i64::try_from(base.elapsed_ms).unwrap_or(i64::MAX);
    for path in ages() {
        // A wait is ahead, an age is behind.
        let is_ahead = path.ends_with("wait_ms");
        let Some(value) = thing.pointer_mut(&path) else {
            continue;
        };
        let Some(number) = value.as_i64() else {
            continue;
        };
        *value = json!(match (is_ahead, way) {
            (false, _) => elapsed.saturating_sub(number),
            (true, Way::Out) => number.saturating_add(elapsed),
            (true, Way::Back) => number.saturating_sub(elapsed),
        });
        if matches!(way, Way::Back) && value.as_i64().is_some_and(|age| age < 0) {
            *value = json!(0);
        }
    }
    if let Some(reports) = thing.pointer_mut("/course/reports") {
        let number = reports.as_u64().unwrap_or(0);
        *reports = json!(base.reports.saturating_sub(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample that is held and grows like this, whose oldest block and whose course are so old.
    fn tree(oldest_ms: i64, live: u64, slopes: [f64; 3], reports: u64) -> Value {
        let mut values = json!({"heap.live_bytes": live, "heap.oldest_ms": oldest_ms});
        for (measure, slope) in SLOPES.iter().zip(slopes) {
            values[measure.key()] = json!(slope);
        }
        json!({"samples": {"3": {"values": values, "course": {"reports": reports}}, "4": {"course": {"reports": 100}}}})
    }

    /// What is written of the second of two trees, and what is read of it.
    fn second(first: (u64, Value), second: (u64, Value)) -> (Value, Value) {
        let base = |at: u64, tree: &mut Value| Base {
            elapsed_ms: at,
            reports: longest(tree),
        };
        let ((one_at, mut one), (at, mut two)) = (first, second);
        let one_base = base(one_at, &mut one);
        to_births(&mut one, one_base);
        let two_base = base(at, &mut two);
        to_births(&mut two, two_base);
        settle(&mut two, &one, two_base);
        let patch = super::super::patch::difference(&one, &two).unwrap_or_default();
        to_ages(&mut two, two_base);
        (patch, two)
    }

    #[test]
    fn what_only_gets_older_is_not_written_again() {
        let first = (100_000, tree(40_000, 10_000, [1.0, 0.5, 1.5], 50));
        let later = (110_000, tree(50_040, 10_000, [0.9, 0.4, 1.4], 55));
        let (patch, read) = second(first, later);
        assert_eq!(patch, Value::Null);
        let sample = &read["samples"]["3"];
        assert_eq!(sample["values"]["heap.oldest_ms"], json!(50_000));
        assert_eq!(sample["values"]["heap.growth_bytes_per_s"], json!(1.0));
    }

    /// One percent of 10,000 bytes in 100 seconds is one byte a second.
    #[test]
    fn what_says_something_else_is_written() {
        let first = || (90_000, tree(40_000, 10_000, [1.0, 0.5, 1.5], 50));
        let (patch, _) = second(
            first(),
            (100_000, tree(50_000, 10_000, [2.1, 0.6, 3.6], 50)),
        );
        assert_eq!(
            patch["samples"]["3"]["values"]["heap.growth_bytes_per_s"],
            json!(2.1)
        );
        // It certainly grew, and does not any more.
        let (patch, _) = second(
            first(),
            (100_000, tree(50_000, 10_000, [0.4, -0.1, 0.9], 50)),
        );
        assert_eq!(
            patch["samples"]["3"]["values"]["heap.growth_bytes_per_s_low"],
            json!(-0.1)
        );
        let (patch, read) = second(first(), (100_000, tree(9_000, 10_000, [1.0, 0.5, 1.5], 20)));
        assert_eq!(
            patch["samples"]["3"]["values"]["heap.oldest_ms"],
            json!(91_000)
        );
        let sample = &read["samples"]["3"];
        assert_eq!(
            (
                &sample["values"]["heap.oldest_ms"],
                &sample["course"]["reports"]
            ),
            (&json!(9_000), &json!(20))
        );
    }
}
