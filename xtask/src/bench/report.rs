//! How long a report takes, and how much memory memlens has, with a million live blocks on ten thousand stacks.

use std::time::Duration;

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

/// Stacks of the victim.
const STACKS: u64 = 10_000;
/// Blocks of each.
const BLOCKS_PER_STACK: u64 = 100;
/// Seconds between two reports.
const INTERVAL: &str = "2";
/// The step of a report that reads the live blocks.
const READING: &str = "reading the live blocks";
/// How long the victim may take to allocate its blocks under tracing.
const LIMIT: Duration = Duration::from_secs(120);

/// Kinds of report: what they are called, and the flags.
const KINDS: [(&str, &[&str]); 2] = [
    ("the 10 largest stacks, as JSON", &["--json"]),
    ("all 10,000 stacks, as JSON", &["--json", "-T", "0"]),
];

/// Time of a report, and memory.
pub fn speed(plan: &Plan) -> Result<Outcome> {
    let mut table = Table::new(&[
        "a report of 1,000,000 live blocks",
        "best",
        "median",
        "worst",
        "peak RSS",
    ]);
    let mut outcome = Outcome::default();
    for (name, flags) in KINDS {
        let (_victim, mut tracer) = filled(plan, BLOCKS_PER_STACK, flags)?;
        let samples = tracer.report_times(plan.runs)?;
        let megabytes = tracer.peak_megabytes()?;
        check(&tracer.end()?.last_line).with_context(|| format!("the report of {name}"))?;
        table.row([
            name.to_owned(),
            ms(samples.min()),
            ms(samples.median()),
            ms(samples.max()),
            format!("{megabytes:.0} MB"),
        ]);
        outcome.findings.push(Finding::figure(
            &format!("report with 1,000,000 live blocks on 10,000 stacks, {name}"),
            samples.min(),
            " ms",
            Target::AtMost(150.0),
        ));
        outcome.findings.push(Finding::figure(
            "memlens's resident memory then (peak)",
            megabytes,
            " MB",
            Target::AtMost(60.0),
        ));
    }
    outcome.tables.push(("Reports", table));
    Ok(outcome)
}

/// A victim that has leaked so many blocks from each of its stacks since it was traced, and its tracer.
pub fn filled(plan: &Plan, blocks_per_stack: u64, flags: &[&str]) -> Result<(Victim, Tracer)> {
    let program = compile("stacks", &own_source("stacks")?, &[])?;
    let mut victim = Victim::speaking(&program, &[blocks_per_stack.to_string()])?;
    let mode = Mode {
        flags,
        interval: Some(INTERVAL),
        ..Mode::default()
    };
    let tracer = Tracer::leaks(&plan.memlens, victim.pid(), mode)?;
    victim.go()?;
    victim.expect("done", LIMIT)?;
    Ok((victim, tracer))
}

/// Time to read the ages of all blocks of a large table, and the kernel's memory for a smaller one.
pub fn ages(plan: &Plan) -> Result<Outcome> {
    let mut table = Table::new(&[
        "reading all live blocks",
        "best",
        "median",
        "worst",
        "kernel memory",
    ]);
    let mut outcome = Outcome::default();
    for millions in [1, 10] {
        let room = (2 * millions * 1_000_000).to_string();
        let flags = ["--json", "--max-live", &room];
        let (_victim, mut tracer) = filled(plan, millions * 1_000_000 / STACKS, &flags)?;
        // The table is as large as it will be once a report has been made since.
        tracer.report_times(1)?;
        let times = tracer.times(READING, plan.runs)?;
        let mib = tracer.live_table_mib()?;
        check_blocks(&tracer.end()?.last_line, millions * 1_000_000)?;
        table.row([
            format!("{millions},000,000"),
            ms(times.min()),
            ms(times.median()),
            ms(times.max()),
            format!("{mib:.0} MiB"),
        ]);
        outcome.findings.push(match millions {
            1 => Finding::figure(
                "kernel memory of the table with 1,000,000 live blocks",
                mib,
                " MiB",
                Target::AtMost(48.0),
            ),
            _ => Finding::figure(
                "all ages of 10,000,000 live blocks read",
                times.min(),
                " ms",
                Target::AtMost(300.0),
            ),
        });
    }
    outcome.tables.push(("Live blocks", table));
    Ok(outcome)
}

/// The report must be of all the blocks, or its time is worth nothing.
fn check(report: &str) -> Result<()> {
    let report = check_blocks(report, STACKS * BLOCKS_PER_STACK)?;
    let stacks = json::stacks(&report).unwrap_or(0);
    ensure!(stacks == STACKS, "{stacks} stacks instead of {STACKS}");
    Ok(())
}

/// As far as the number of blocks goes.
fn check_blocks(report: &str, wanted: u64) -> Result<Value> {
    let report: Value = serde_json::from_str(report).context("the last report is no JSON")?;
    let blocks = json::total(&report, "heap.live_blocks");
    ensure!(
        blocks == Some(wanted),
        "{blocks:?} live blocks instead of {wanted}"
    );
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_less_is_refused() {
        let report = |blocks: u64, stacks: u64| {
            serde_json::json!({
                "subjects": [{"totals": {"heap.live_blocks": blocks}}],
                "samples": [{"stack": 0}],
                "omitted": [{"with_stack": true, "samples": stacks - 1}],
            })
            .to_string()
        };
        assert!(check(&report(1_000_000, 10_000)).is_ok());
        assert!(check(&report(999_999, 10_000)).is_err());
        assert!(check(&report(1_000_000, 9_999)).is_err());
        assert!(check("live 64 MB").is_err());
    }
}
