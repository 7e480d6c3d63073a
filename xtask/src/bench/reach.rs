//! How long it takes to find what holds the blocks of a large heap, and how much memory memlens takes for it.

use std::{thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    Outcome, Plan,
    finding::{Finding, Target},
    json,
    table::{Table, ms},
    tracer::{Mode, Tracer},
    victim::{Victim, compile, own_source},
};

/// How long the victim may take to allocate its blocks under tracing.
const LIMIT: Duration = Duration::from_secs(300);
/// The step that looks for what holds the blocks.
const LOOKING: &str = "looking for what holds the blocks";
/// Bytes of the blocks that nothing points to.
const LOST: u64 = 77_700;

/// Time and memory with a million blocks, and with ten.
pub fn speed(plan: &Plan) -> Result<Outcome> {
    let mut table = Table::new(&[
        "blocks",
        "best",
        "median",
        "worst",
        "passes",
        "from the request to the exit",
        "peak RSS",
    ]);
    let mut outcome = Outcome::default();
    for millions in [1, 10] {
        let program = compile("linked", &own_source("linked")?, &[])?;
        let mut victim = Victim::speaking(&program, &[(millions * 1_000_000).to_string()])?;
        let room = (2 * millions * 1_000_000).to_string();
        let flags = ["--json", "--max-live", &room, "--reach", "every"];
        let mode = Mode {
            flags: &flags,
            interval: Some("2"),
            ..Mode::default()
        };
        let mut tracer = Tracer::leaks(&plan.memlens, victim.pid(), mode)?;
        victim.go()?;
        victim.expect("done", LIMIT)?;
        // Younger blocks are not judged.
        sleep(Duration::from_secs(2));
        tracer.report_times(1)?;
        let times = tracer.times(LOOKING, plan.runs)?;
        let megabytes = tracer.peak_megabytes()?;
        let ended = tracer.end()?;
        let passes = check(&ended.last_line, millions * 1_000_000)?;
        table.row([
            format!("{millions},000,000"),
            ms(times.min()),
            ms(times.median()),
            ms(times.max()),
            passes.to_string(),
            ms(ended.took.as_secs_f64() * 1_000.0),
            format!("{megabytes:.0} MB"),
        ]);
        if millions == 10 {
            outcome.findings.push(Finding::figure(
                "what holds 10,000,000 live blocks found",
                times.min(),
                " ms",
                Target::AtMost(4_000.0),
            ));
            outcome.findings.push(Finding::figure(
                "memlens's resident memory then (peak)",
                megabytes,
                " MB",
                Target::AtMost(315.0),
            ));
        }
    }
    outcome.tables.push(("Reachability", table));
    Ok(outcome)
}

/// The verdicts must be right, or their time is worth nothing; how many passes it took.
fn check(report: &str, blocks: u64) -> Result<u64> {
    let report: Value = serde_json::from_str(report).context("the last report is no JSON")?;
    let live = json::total(&report, "heap.live_blocks");
    ensure!(live == Some(blocks + 100), "{live:?} live blocks");
    let lost = json::summed(&report, "heap.lost_bytes");
    ensure!(lost == LOST, "{lost} bytes called lost");
    let section = &report["sections"]["reachability"][0];
    section["passes"].as_u64().context("no passes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_verdicts_are_refused() {
        let report = |lost: u64| {
            serde_json::json!({
                "measures": [{"key": "heap.live_blocks"}, {"key": "heap.lost_bytes"}],
                "subjects": [{"totals": {"heap.live_blocks": 1_100}}],
                "samples": [{"values": [1_000, 0]}, {"values": [100, lost]}],
                "sections": {"reachability": [{"passes": 4}]},
            })
            .to_string()
        };
        assert_eq!(check(&report(LOST), 1_000).ok(), Some(4));
        assert!(check(&report(LOST + 90), 1_000).is_err());
        assert!(check(&report(LOST), 2_000).is_err());
    }
}
