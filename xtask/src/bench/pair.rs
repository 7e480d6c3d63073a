//! What one malloc and free costs from ten frames: untraced, with empty programs, traced, sampled, under bcc memleak,
//! and on two CPUs.

use std::path::Path;

use anyhow::Result;

use super::{
    Outcome, Plan,
    finding::{Finding, Target},
    memleak::{self, Memleak},
    samples::Samples,
    table::{Table, ns, ratio},
    tracer::{Mode, Tracer},
    victim::Victim,
};

/// Bytes between two samples in the sampled runs.
const SAMPLE_FLAGS: &[&str] = &["--sample-bytes", "524288"];
/// Seconds beyond the phases in which attach and detach must fit.
pub const SPARE_SECONDS: u32 = 180;
/// Allocations a second for which the page tells the cost.
const RATES: [f64; 4] = [1e3, 1e4, 1e5, 1e6];

const FLOOR: Mode<'_> = Mode {
    flags: &[],
    floor: Some("sites"),
    interval: None,
};
const ENTRY_FLOOR: Mode<'_> = Mode {
    flags: &[],
    floor: Some("entries"),
    interval: None,
};
const FULL: Mode<'_> = Mode {
    flags: &[],
    floor: None,
    interval: None,
};
const SAMPLED: Mode<'_> = Mode {
    flags: SAMPLE_FLAGS,
    floor: None,
    interval: None,
};

/// Nanoseconds of a pair in each way to be traced.
#[derive(Default)]
struct Costs {
    untraced: Samples,
    floor: Samples,
    full: Samples,
    sampled: Samples,
    entry_floor: Samples,
    memleak: Samples,
    after: Samples,
}

/// Nanoseconds of a pair, on one thread.
pub fn cost(plan: &Plan) -> Result<Outcome> {
    let mut costs = Costs::default();
    let mut memleak = Memleak::find(plan.memleak.as_deref());
    for _ in 0..plan.runs {
        if let Err(why) = round(plan, &mut costs, memleak.as_deref().ok()) {
            // memlens must work; what it is compared with may not.
            match why.downcast::<memleak::Failed>() {
                Ok(failed) => memleak = Err(failed.0),
                Err(other) => return Err(other),
            }
        }
    }
    let mut outcome = Outcome {
        findings: findings(&costs, &memleak),
        tables: vec![
            ("One pair, in detail", details(&costs)),
            ("What it costs at a rate of allocations", rates(&costs)),
        ],
        notes: Vec::new(),
    };
    if let Ok(program) = &memleak {
        let version = Memleak::version(program).unwrap_or_else(|| "of unknown version".to_owned());
        outcome.notes.push(format!(
            "bcc's memleak, which calls itself \"{version}\", ran in the same process as the other modes, after them."
        ));
    }
    Ok(outcome)
}

/// One process, traced in every way in turn, so that all ways meet the same noise.
fn round(plan: &Plan, costs: &mut Costs, memleak: Option<&Path>) -> Result<()> {
    let mut victim = Victim::pairs(plan.seconds * 7 + SPARE_SECONDS, 1)?;
    let untraced = victim.cost(plan.seconds)?;
    costs.untraced.extend(untraced);
    for (mode, samples) in [
        (FLOOR, &mut costs.floor),
        (FULL, &mut costs.full),
        (SAMPLED, &mut costs.sampled),
        (ENTRY_FLOOR, &mut costs.entry_floor),
    ] {
        let tracer = Tracer::leaks(&plan.memlens, victim.pid(), mode)?;
        samples.extend(victim.cost(plan.seconds)?);
        tracer.end()?;
    }
    costs.after.extend(victim.cost(plan.seconds)?);
    if let Some(program) = memleak {
        let untraced = costs.untraced.min();
        costs
            .memleak
            .extend(memleak::cost(program, &mut victim, untraced, plan.seconds)?);
    }
    Ok(())
}

fn findings(costs: &Costs, memleak: &Result<std::path::PathBuf, String>) -> Vec<Finding> {
    let against = |what: &str, value: &Samples, base: &Samples, target| {
        let (value, base) = (value.min(), base.min());
        Finding::ratio(
            what,
            format!("{} / {}", ns(value), ns(base)),
            value / base,
            target,
        )
    };
    let mut found = vec![
        against(
            "one malloc(64) and free from 10 frames, full tracing / floor",
            &costs.full,
            &costs.floor,
            Target::AtMost(1.35),
        ),
        against(
            "the same with --sample-bytes 524288 / floor",
            &costs.sampled,
            &costs.floor,
            Target::AtMost(0.87),
        ),
    ];
    let beside = "bcc memleak / memlens, full tracing";
    let target = Target::AtLeast(5.5);
    found.push(match memleak {
        Ok(_) => against(beside, &costs.memleak, &costs.full, target),
        Err(why) => Finding::unavailable(beside, why, "x", target),
    });
    found.push(against(
        "empty programs at function entries (no tracer there can be cheaper) / memlens, full tracing",
        &costs.entry_floor,
        &costs.full,
        Target::None,
    ));
    found
}

fn details(costs: &Costs) -> Table {
    let mut table = Table::new(&[
        "one pair, one thread",
        "best",
        "median",
        "worst",
        "best/untraced",
    ]);
    let rows = [
        ("untraced", &costs.untraced),
        ("floor: empty programs on memlens's sites", &costs.floor),
        ("memlens leaks", &costs.full),
        ("memlens leaks --sample-bytes 524288", &costs.sampled),
        ("empty programs at function entries", &costs.entry_floor),
        ("bcc memleak", &costs.memleak),
        ("after the traces", &costs.after),
    ];
    for (name, samples) in rows {
        if samples.min().is_nan() {
            continue;
        }
        table.row([
            name.to_owned(),
            ns(samples.min()),
            ns(samples.median()),
            ns(samples.max()),
            ratio(samples.min(), costs.untraced.min()),
        ]);
    }
    table
}

/// Share of one CPU that the tracing takes.
fn rates(costs: &Costs) -> Table {
    let mut table = Table::new(&[
        "allocations a second on one core, each freed",
        "memlens leaks",
        "--sample-bytes 524288",
        "probes at function entries",
    ]);
    let untraced = costs.untraced.min();
    for rate in RATES {
        let share = |samples: &Samples| core_share(rate, samples.min() - untraced);
        table.row([
            format!("{rate}"),
            share(&costs.full),
            share(&costs.sampled),
            share(&costs.entry_floor),
        ]);
    }
    table
}

/// How much of a core it takes to spend `ns` so many times a second.
fn core_share(rate: f64, ns: f64) -> String {
    let share = rate * ns / 1e9;
    if share >= 1.0 {
        return format!("slowed to {:.0} a second", 1e9 / ns);
    }
    format!("{:.1} %", share * 100.0)
}

/// Pairs a second of two threads on two CPUs against one.
pub fn scaling(plan: &Plan) -> Result<Outcome> {
    let modes = [
        ("memlens leaks", FULL),
        ("memlens leaks --sample-bytes 524288", SAMPLED),
        ("floor: empty programs on memlens's sites", FLOOR),
    ];
    let mut costs: [[Samples; 2]; 3] = Default::default();
    let mut cpu_costs: [[Samples; 2]; 3] = Default::default();
    for _ in 0..plan.runs {
        for (((_, mode), wall), cpu) in modes.iter().zip(&mut costs).zip(&mut cpu_costs) {
            // One after the other, so that both meet the same noise.
            for threads in [1, 2] {
                let mut victim = Victim::pairs(plan.seconds + SPARE_SECONDS, threads)?;
                let tracer = Tracer::leaks(&plan.memlens, victim.pid(), *mode)?;
                let slots = victim.slots(plan.seconds)?;
                tracer.end()?;
                wall[threads - 1].extend(slots.iter().map(|slot| slot.ns));
                cpu[threads - 1].extend(slots.iter().map(|slot| slot.cpu_ns));
            }
        }
    }
    let mut table = Table::new(&[
        "pairs a second",
        "1 thread",
        "2 threads",
        "2 threads/1",
        "the same by CPU time",
    ]);
    let mut outcome = Outcome::default();
    for (((name, _), [one, two]), [cpu_one, cpu_two]) in modes.iter().zip(&costs).zip(&cpu_costs) {
        let (one, two) = (1e9 / one.min(), 2e9 / two.min());
        table.row([
            (*name).to_owned(),
            format!("{one:.0}"),
            format!("{two:.0}"),
            ratio(two, one),
            ratio(2.0 * cpu_one.min(), cpu_two.min()),
        ]);
        if outcome.findings.is_empty() {
            outcome.findings.push(Finding::ratio(
                "pairs a second under full tracing, 2 threads on 2 CPUs / 1 thread",
                format!("{two:.0} / {one:.0}"),
                two / one,
                Target::AtLeast(1.9),
            ));
        }
    }
    outcome.tables.push(("Two threads on two CPUs", table));
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_of_a_core() {
        assert_eq!(core_share(1e5, 2000.0), "20.0 %");
        assert_eq!(core_share(1e6, 2000.0), "slowed to 500000 a second");
    }
}
