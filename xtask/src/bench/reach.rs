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
/// Bytes of a block that nothing points to.
const LOST: u64 = 777;

/// Time and memory with a million blocks and with ten, of which nothing is lost or some blocks are: then one look is
/// not enough.
pub fn speed(plan: &Plan) -> Result<Outcome> {
    let program = compile("linked", &own_source("linked")?, &[])?;
    let mut table = Table::new(&[
        "blocks",
        "lost",
        "best",
        "median",
        "worst",
        "passes",
        "from the request to the exit",
        "peak RSS",
    ]);
    let mut outcome = Outcome::default();
    for (millions, lost) in [(1, 0), (1, 100), (10, 0), (10, 100)] {
        let blocks = millions * 1_000_000;
        let arguments = [blocks.to_string(), lost.to_string()];
        let mut victim = Victim::speaking(&program, &arguments)?;
        let room = (2 * blocks).to_string();
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
        let passes = check(&ended.last_line, blocks, lost)?;
        table.row([
            format!("{millions},000,000"),
            lost.to_string(),
            ms(times.min()),
            ms(times.median()),
            ms(times.max()),
            passes.to_string(),
            ms(ended.took.as_secs_f64() * 1_000.0),
            format!("{megabytes:.0} MB"),
        ]);
        if millions == 10 {
            let what = match lost {
                0 => "none of them lost",
                _ => "some of them lost, with the pauses between the passes",
            };
            outcome.findings.push(Finding::figure(
                &format!("what holds 10,000,000 live blocks found, {what}"),
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
fn check(report: &str, blocks: u64, lost: u64) -> Result<u64> {
    let report: Value = serde_json::from_str(report).context("the last report is no JSON")?;
    let live = json::total(&report, "heap.live_blocks");
    ensure!(live == Some(blocks + lost), "{live:?} live blocks");
    let called = json::summed(&report, "heap.lost_bytes");
    ensure!(called == lost * LOST, "{called} bytes called lost");
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
        assert_eq!(check(&report(100 * LOST), 1_000, 100).ok(), Some(4));
        assert!(check(&report(100 * LOST + 90), 1_000, 100).is_err());
        assert!(check(&report(100 * LOST), 2_000, 100).is_err());
    }
}
