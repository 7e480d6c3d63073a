//! Millions of mixed calls on eight threads: the report must be exact to the byte and block.

use std::path::Path;
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

/// What a run may take beyond the calls.
const SPARE: Duration = Duration::from_secs(30);
/// Most that a call may take: a run that is slower is broken, not slow.
const LIMIT_PER_CALL: Duration = Duration::from_micros(40);

/// How the calls are shared out: processes, and threads of each.
const SHARES: [(u32, u32); 3] = [(1, 8), (1, 8), (4, 2)];

/// Runs the calls under tracing, twice in one process and once in four, and compares.
pub fn exactness(plan: &Plan) -> Result<Outcome> {
    let source = run::workspace_root()?.join("tests/victims/mixed_exact.c");
    let program = compile("mixed_exact", &source, &["-pthread"])?;
    let mut outcome = Outcome::default();
    for share in SHARES {
        outcome.findings.push(one(plan, &program, share)?);
    }
    Ok(outcome)
}

fn one(plan: &Plan, program: &Path, (processes, threads): (u32, u32)) -> Result<Finding> {
    let args = [(plan.calls / processes).to_string(), threads.to_string()];
    let mut victims = (0..processes)
        .map(|_| Victim::speaking(program, &args))
        .collect::<Result<Vec<_>>>()?;
    let pids: Vec<String> = victims
        .iter()
        .map(|victim| victim.pid().to_string())
        .collect();
    let mode = Mode {
        flags: &["--json"],
        ..Mode::default()
    };
    let tracer = Tracer::of(&plan.memlens, &["-p", &pids.join(",")], mode)?;
    let began = Instant::now();
    victims.iter_mut().try_for_each(Victim::go)?;
    let mut kept = (0, 0);
    for victim in &mut victims {
        let said = victim.expect("done", SPARE + LIMIT_PER_CALL * plan.calls)?;
        let (bytes, blocks) = numbers(&said).context("the victim did not say what it keeps")?;
        kept = (kept.0 + bytes, kept.1 + blocks);
    }
    let took = began.elapsed();
    let report = tracer.end()?.last_line;
    let report: Value = serde_json::from_str(&report).context("the last report is no JSON")?;
    let what = match processes {
        1 => format!("{} mixed calls on {threads} threads", plan.calls),
        _ => format!("the same in {processes} processes of {threads} threads"),
    };
    Ok(finding(&what, kept, &report, took))
}

/// Bytes and blocks.
fn numbers(said: &str) -> Option<(u64, u64)> {
    let (bytes, blocks) = said.split_once(' ')?;
    Some((bytes.parse().ok()?, blocks.parse().ok()?))
}

fn finding(what: &str, kept: (u64, u64), report: &Value, took: Duration) -> Finding {
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
    Finding::fact(what, measured, "exact, loss 0", met)
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
        let row = |report: &Value| finding("calls", (99, 3), report, Duration::from_secs(1));
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
