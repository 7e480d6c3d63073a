//! How long `memlens host` takes for one pass over two thousand processes.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    Outcome, Plan,
    finding::{Finding, Target},
    samples::Samples,
    table::{Table, ms},
    victim::{Victim, compile, own_source},
};

const PROCESSES: usize = 2_000;
const LIMIT: Target = Target::AtMost(150.0);

/// Time of a pass, as memlens itself measures it: of each report the pass before it.
pub fn pass(plan: &Plan) -> Result<Outcome> {
    let program = compile("sleepers", &own_source("sleepers")?, &[])?;
    let _sleepers = Victim::speaking(&program, &[PROCESSES.to_string()])?;
    let mut table = Table::new(&["2,000 processes", "best", "median", "worst"]);
    let mut findings = Vec::new();
    for (name, more) in [
        ("one pass", &[][..]),
        (
            "one pass with the container of each",
            &["--by", "container"],
        ),
        ("one pass with the PSS of each", &["--of", "pss"]),
    ] {
        let mut passes = Samples::new();
        for _ in 0..plan.runs {
            passes.extend(passes_of(plan, more)?);
        }
        if more.is_empty() {
            let what = "memlens host: one pass over 2,000 processes";
            findings.push(Finding::figure(what, passes.min(), " ms", LIMIT));
        }
        table.row([
            name.to_owned(),
            ms(passes.min()),
            ms(passes.median()),
            ms(passes.max()),
        ]);
    }
    Ok(Outcome {
        findings,
        tables: vec![("memlens host", table)],
        notes: Vec::new(),
    })
}

/// Milliseconds of some passes of one run.
fn passes_of(plan: &Plan, more: &[&str]) -> Result<Vec<f64>> {
    let output = Command::new(&plan.memlens)
        .args(["host", "500ms", "4", "--json"])
        .args(more)
        .output()
        .with_context(|| format!("cannot run {}", plan.memlens.display()))?;
    if !output.status.success() {
        bail!(
            "memlens host failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(pass_of).collect()
}

/// Milliseconds of the pass that a report tells.
fn pass_of(line: &str) -> Result<f64> {
    let report: Value = serde_json::from_str(line).context("memlens host printed no JSON")?;
    let machine = &report["sections"]["machine"];
    let seen = machine["processes_total"].as_u64().unwrap_or(0);
    if seen < PROCESSES as u64 {
        bail!("memlens host saw {seen} processes, not {PROCESSES} and more");
    }
    machine["pass_ms"]
        .as_f64()
        .context("memlens host tells no pass_ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_its_pass() {
        let line = |seen: u64| {
            let machine = serde_json::json!({"processes_total": seen, "pass_ms": 61.5});
            serde_json::json!({"sections": {"machine": machine}}).to_string()
        };
        assert_eq!(pass_of(&line(2_050)).expect("a pass"), 61.5);
        assert!(pass_of(&line(50)).is_err());
        assert!(pass_of("none").is_err());
    }
}
