//! Millions of mixed calls on eight threads: the report must be exact to the byte and block.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    Outcome, Plan,
    finding::Finding,
    json,
    tracer::{Mode, Tracer},
    victim::{Victim, compile},
};
use crate::run;

/// Threads of the victim.
const THREADS: u64 = 8;
/// What a run may take beyond the calls.
const SPARE: Duration = Duration::from_secs(30);
/// Most that a call may take: a run that is slower is broken, not slow.
const LIMIT_PER_CALL: Duration = Duration::from_micros(40);

/// Runs the calls once under tracing and compares.
pub fn exactness(plan: &Plan) -> Result<Outcome> {
    let source = run::workspace_root()?.join("tests/victims/mixed_exact.c");
    let program = compile("mixed_exact", &source, &["-pthread"])?;
    let args = [plan.calls.to_string(), THREADS.to_string()];
    let mut victim = Victim::speaking(&program, &args)?;
    let mode = Mode {
        flags: &["--json"],
        ..Mode::default()
    };
    let tracer = Tracer::leaks(&plan.memlens, victim.pid(), mode)?;
    let began = Instant::now();
    victim.go()?;
    let said = victim.expect("done", SPARE + LIMIT_PER_CALL * plan.calls)?;
    let took = began.elapsed();
    let report = tracer.end()?.last_line;
    let report: Value = serde_json::from_str(&report).context("the last report is no JSON")?;
    let kept = numbers(&said).context("the victim did not say what it keeps")?;
    Ok(Outcome {
        findings: vec![finding(plan.calls, kept, &report, took)],
        ..Outcome::default()
    })
}

/// Bytes and blocks.
fn numbers(said: &str) -> Option<(u64, u64)> {
    let (bytes, blocks) = said.split_once(' ')?;
    Some((bytes.parse().ok()?, blocks.parse().ok()?))
}

fn finding(calls: u32, kept: (u64, u64), report: &Value, took: Duration) -> Finding {
    let total = |key: &str| json::total(report, key);
    let seen = (total("heap.live_bytes"), total("heap.live_blocks"));
    let lost: Option<u64> = report["losses"]
        .as_object()
        .map(|loss| loss.values().map(|count| count.as_u64().unwrap_or(1)).sum());
    let number = |value: Option<u64>| value.map_or("?".to_owned(), |value| value.to_string());
    let measured = format!(
        "{} B in {} blocks of {} B in {}, loss {}, in {:.0} s",
        number(seen.0),
        number(seen.1),
        kept.0,
        kept.1,
        number(lost),
        took.as_secs_f64()
    );
    let met = seen == (Some(kept.0), Some(kept.1)) && lost == Some(0) && report["complete"] == true;
    Finding::fact(
        &format!("{calls} mixed calls on {THREADS} threads"),
        measured,
        "exact, loss 0",
        met,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_is_exact() {
        let report = |bytes: u64, lost: u64, complete: bool| {
            serde_json::json!({
                "subjects": [{"totals": {"heap.live_bytes": bytes, "heap.live_blocks": 3}}],
                "losses": {"missed_frees": lost, "unknown_frees": 0},
                "complete": complete,
            })
        };
        let row = |report: &Value| finding(10, (99, 3), report, Duration::from_secs(1));
        let exact = row(&report(99, 0, true));
        for other in [
            report(98, 0, true),
            report(99, 1, true),
            report(99, 0, false),
            Value::Null,
        ] {
            assert_ne!(row(&other), exact, "{other}");
            assert!(format!("{:?}", row(&other)).contains("**no**"), "{other}");
        }
    }
}
