//! What benchmarks read of a report: figures of `memlens/1`.

use serde_json::Value;

/// A figure of all subjects together; `None` where none has it.
pub fn total(report: &Value, measure: &str) -> Option<u64> {
    let subjects = report["subjects"].as_array()?.iter();
    let figures = subjects.filter_map(|subject| subject["totals"][measure].as_u64());
    figures.reduce(|sum, figure| sum + figure)
}

/// A figure of all samples that are shown together.
pub fn summed(report: &Value, measure: &str) -> u64 {
    let measures = report["measures"].as_array().into_iter().flatten();
    let column = measures
        .into_iter()
        .position(|own| own["key"] == measure)
        .unwrap_or(usize::MAX);
    let samples = report["samples"].as_array().into_iter().flatten();
    samples
        .filter_map(|sample| sample["values"][column].as_u64())
        .sum()
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

/// Where the first heap sample comes whose stack has this function, from 0, its subject, and its live bytes.
pub fn heap_in_function(report: &Value, function: &str) -> Option<(usize, usize, u64)> {
    let list = |key: &str| report[key].as_array();
    let column = list("measures")?
        .iter()
        .position(|measure| measure["key"] == "heap.live_bytes")?;
    let is_meant = |frame: &Value| {
        let frame = frame
            .as_u64()
            .map(|index| &report["frames"][index as usize]);
        frame.is_some_and(|frame| frame["symbol"] == function)
    };
    let has_function = |stack: &Value| {
        let stack = stack
            .as_u64()
            .map(|index| &report["stacks"][index as usize]);
        let frames = stack.and_then(|stack| stack["frames"].as_array());
        frames.is_some_and(|frames| frames.iter().any(is_meant))
    };
    let heap = list("samples")?
        .iter()
        .filter(|sample| sample["source"] == "heap");
    let (rank, sample) = heap
        .enumerate()
        .find(|(_, sample)| has_function(&sample["stack"]))?;
    let subject = sample["subject"].as_u64()? as usize;
    Some((rank, subject, sample["values"][column].as_u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_function_among_the_samples_of_the_heap() {
        let report = json!({
            "measures": [{"key": "vm.mapped_bytes"}, {"key": "heap.live_bytes"}],
            "frames": [{"symbol": "malloc"}, {"symbol": "leak"}, {"symbol": null}],
            "stacks": [{"frames": [0, 2]}, {"frames": [0, 1]}],
            "samples": [
                {"source": "address_space", "subject": 0, "stack": 1, "values": [1, null]},
                {"source": "heap", "subject": 0, "stack": null, "values": [null, 9]},
                {"source": "heap", "subject": 2, "stack": 0, "values": [null, 8]},
                {"source": "heap", "subject": 1, "stack": 1, "values": [null, 7]},
            ],
        });
        assert_eq!(heap_in_function(&report, "leak"), Some((2, 1, 7)));
        assert_eq!(heap_in_function(&report, "main"), None);
    }
}
