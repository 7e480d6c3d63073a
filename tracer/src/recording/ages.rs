//! Ages in a tree, which change all the time, as times of birth, which do not.
//!
//! Births are kept to [`TOLERANCE_MS`]: two clocks are read for an age, and they are not read at the same instant. A
//! course's number of reports is kept as what the longest course of the snapshot has more.

use serde_json::{Value, json};

use crate::profile::{Kind, Measure};

/// Births that differ by no more are the same.
const TOLERANCE_MS: i64 = 100;

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

/// Takes the births of an earlier tree where they are the same.
pub fn settle(tree: &mut Value, earlier: &Value) {
    for part in PARTS {
        let things = tree.get_mut(part).and_then(Value::as_object_mut);
        for (number, thing) in things.into_iter().flatten() {
            let Some(was) = earlier[part].get(number) else {
                continue;
            };
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
