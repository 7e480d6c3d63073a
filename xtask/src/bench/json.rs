//! What benchmarks read of a report: figures of `memlens/1`.

use serde_json::Value;

/// A figure of all subjects together; `None` where none has it.
pub fn total(report: &Value, measure: &str) -> Option<u64> {
    let subjects = report["subjects"].as_array()?.iter();
    let figures = subjects.filter_map(|subject| subject["totals"][measure].as_u64());
    figures.reduce(|sum, figure| sum + figure)
}

/// Stacks of a report, shown or not.
pub fn stacks(report: &Value) -> Option<u64> {
    let shown = report["samples"].as_array()?.iter();
    let shown = shown.filter(|sample| !sample["stack"].is_null()).count() as u64;
    let omitted = report["omitted"].as_array().into_iter().flatten();
    let omitted = omitted.filter(|omitted| omitted["with_stack"] == true);
    Some(
        shown
            + omitted
                .filter_map(|omitted| omitted["samples"].as_u64())
                .sum::<u64>(),
    )
}
