//! What it costs to follow the kernel's own memory: loops that make the kernel allocate, with and without.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    Outcome, Plan,
    finding::{Finding, Target},
    json,
    pair::SPARE_SECONDS,
    samples::Samples,
    table::{Table, ns, ratio},
    tracer::Tracer,
    victim::Victim,
};

/// Loops, and what they are.
const LOOPS: [(&str, &str); 3] = [
    ("eventfd", "an eventfd opened and closed"),
    ("datagram", "1,000 bytes through a pair of sockets"),
    ("pages", "16 pages mapped, touched, unmapped"),
];
/// Ways to trace, with their words.
const SAMPLED: &[&str] = &["--sample-bytes", "65536"];

/// Nanoseconds of CPU time of a loop, in each way: what others take of the CPU is not in it.
#[derive(Default)]
struct Costs {
    untraced: Samples,
    full: Samples,
    sampled: Samples,
    /// Allocations of one loop.
    allocations: Samples,
}

/// Allocations of a loop from which on their cost is told from that of the rest of the machine.
const MANY: f64 = 1.5;

/// Nanoseconds of a loop without a trace, with one and with a sampled one.
pub fn cost(plan: &Plan) -> Result<Outcome> {
    let mut table = Table::new(&[
        "loop",
        "untraced",
        "traced",
        "ratio",
        "--sample-bytes 64KiB",
        "ratio",
        "allocations of a loop",
        "cost of each with its release",
    ]);
    let mut findings = Vec::new();
    for (what, about) in LOOPS {
        let mut costs = Costs::default();
        for _ in 0..plan.runs {
            round(plan, what, &mut costs)?;
        }
        let (untraced, full) = (costs.untraced.min(), costs.full.min());
        let sampled = costs.sampled.min();
        let allocations = costs.allocations.median();
        let each = (full - untraced) / allocations;
        if allocations >= MANY {
            findings.push(Finding::figure(
                &format!("memlens kernel: an allocation with its release, {about}"),
                each,
                " ns",
                Target::AtMost(2000.0),
            ));
        }
        table.row([
            about.to_owned(),
            ns(untraced),
            ns(full),
            ratio(full, untraced),
            ns(sampled),
            ratio(sampled, untraced),
            format!("{allocations:.1}"),
            if allocations < 0.5 {
                "-".to_owned()
            } else {
                ns(each)
            },
        ]);
    }
    Ok(Outcome {
        findings,
        tables: vec![("The kernel's own memory", table)],
        ..Outcome::default()
    })
}

/// One loop in each way in turn, so that all meet the same noise.
fn round(plan: &Plan, what: &str, costs: &mut Costs) -> Result<()> {
    let mut victim = Victim::kernel(plan.seconds * 3 + SPARE_SECONDS, what)?;
    let loops = victim.slots(plan.seconds)?;
    costs.untraced.extend(loops.iter().map(|slot| slot.cpu_ns));
    for (words, samples) in [(&[][..], &mut costs.full), (SAMPLED, &mut costs.sampled)] {
        let tracer = Tracer::kernel(&plan.memlens, words)?;
        let loops = victim.slots(plan.seconds)?;
        let report = tracer.end()?.last_line;
        if words.is_empty() {
            let report: Value = serde_json::from_str(&report).context("no JSON report")?;
            let took: f64 = loops.iter().map(|slot| slot.pairs as f64 * slot.ns).sum();
            let count: u64 = loops.iter().map(|slot| slot.pairs).sum();
            let number = |value: &Value| value.as_f64().context("a figure is missing");
            let allocated =
                json::total(&report, "kernel.alloc_blocks").context("a figure is missing")? as f64;
            let elapsed = number(&report["meta"]["elapsed_ms"])? * 1e6;
            costs
                .allocations
                .extend([allocated / elapsed * took / count.max(1) as f64]);
        }
        samples.extend(loops.iter().map(|slot| slot.cpu_ns));
    }
    Ok(())
}
