//! What following page faults costs a program that takes 200,000 of them a second, and one that takes them as fast as
//! they come.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    Outcome, Plan,
    finding::{Finding, Target},
    samples::Samples,
    table::{Table, ns, ratio},
    tracer::{Mode, Tracer},
    victim::Victim,
};

/// Seconds beyond the phases in which attach and detach must fit.
const SPARE_SECONDS: u32 = 60;
/// Page faults a second of CPU time, untraced; 0 is as fast as they come.
const RATES: [(u32, &str); 2] = [
    (200_000, "200,000 page faults a second"),
    (0, "page faults without a pause"),
];
/// As a program would read it.
const WITHOUT: Mode<'_> = Mode {
    flags: &["--json"],
    floor: None,
    interval: None,
};
const FAULTS: Mode<'_> = Mode {
    flags: &["--json", "--faults"],
    ..WITHOUT
};
const EACH: Mode<'_> = Mode {
    flags: &["--json", "--faults", "--sample-faults", "1"],
    ..WITHOUT
};

/// CPU time of one fault and the work beside it, in each way to be traced.
#[derive(Default)]
struct Costs {
    untraced: Samples,
    without: Samples,
    sampled: Samples,
    each: Samples,
    untraced_target: Samples,
}

/// Nanoseconds of a page fault.
pub fn cost(plan: &Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut table = Table::new(&[
        "one page fault with its work, CPU time",
        "untraced",
        "memlens vm",
        "--faults",
        "--faults/untraced",
        "--faults --sample-faults 1",
        "--faults, another process",
    ]);
    for (rate, name) in RATES {
        let mut costs = Costs::default();
        for _ in 0..plan.runs {
            round(plan, rate, &mut costs)?;
        }
        let Costs {
            untraced, sampled, ..
        } = &costs;
        table.row([
            name.to_owned(),
            ns(untraced.min()),
            ns(costs.without.min()),
            ns(sampled.min()),
            ratio(sampled.min(), untraced.min()),
            ns(costs.each.min()),
            ns(costs.untraced_target.min()),
        ]);
        outcome.findings.push(Finding::ratio(
            &format!("vm --faults: {name}: traced / untraced"),
            format!("{} / {}", ns(sampled.min()), ns(untraced.min())),
            sampled.min() / untraced.min(),
            match rate {
                0 => Target::None,
                _ => Target::AtMost(1.05),
            },
        ));
    }
    outcome.tables.push(("Page faults", table));
    Ok(outcome)
}

/// One process, traced in every way in turn, so that all ways meet the same noise.
fn round(plan: &Plan, rate: u32, costs: &mut Costs) -> Result<()> {
    let mut victim = Victim::faults(plan.seconds * 5 + SPARE_SECONDS, rate)?;
    costs.untraced.extend(victim.cpu_cost(plan.seconds)?);
    let traced = victim.pid().to_string();
    let another = std::process::id().to_string();
    for (mode, pid, samples) in [
        (WITHOUT, &traced, &mut costs.without),
        (FAULTS, &traced, &mut costs.sampled),
        (EACH, &traced, &mut costs.each),
        (FAULTS, &another, &mut costs.untraced_target),
    ] {
        let tracer = Tracer::space(&plan.memlens, &["-p", pid], mode)?;
        samples.extend(victim.cpu_cost(plan.seconds)?);
        let report = tracer.end()?.last_line;
        if pid == &traced {
            check(&report, mode)?;
        }
    }
    costs.untraced.extend(victim.cpu_cost(plan.seconds)?);
    Ok(())
}

/// What was measured was a trace: the report has about as many faults as the kernel counts.
fn check(report: &str, mode: Mode) -> Result<()> {
    let report: Value = serde_json::from_str(report).context("the last report is no JSON")?;
    let section = &report["sections"]["page_faults"];
    let total = &section["totals"];
    if mode.flags == WITHOUT.flags {
        ensure!(section.is_null(), "page faults were followed: {section}");
        return Ok(());
    }
    let number = |key: &str| total[key].as_f64().with_context(|| format!("no {key}"));
    let (told, error) = (number("faults.count")?, number("faults.standard_error")?);
    let of_kernel = |key: &str| section["kernel"][key].as_f64();
    let counted = of_kernel("minor").zip(of_kernel("major"));
    let counted = counted
        .map(|(minor, major)| minor + major)
        .context("no count of the kernel")?;
    let dropped = report["losses"]["faults_dropped"].as_f64().unwrap_or(0.0);
    // The two are read one after the other, while faults go on.
    ensure!(
        (told - counted).abs() <= 5.0 * error + 0.05 * counted + dropped,
        "{told} +- {error} page faults in the report, {counted} were counted"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_without_the_faults_is_none() {
        let report = |faults: u32| {
            format!(
                r#"{{"sections":{{"page_faults":{{"totals":{{"faults.count":{faults},"faults.standard_error":100}},
                "kernel":{{"minor":10000,"major":0}}}}}},"losses":{{"faults_dropped":0}}}}"#
            )
        };
        assert!(check(&report(10_400), FAULTS).is_ok());
        assert!(check(&report(8_900), FAULTS).is_err());
        assert!(check(&report(10_000), WITHOUT).is_err());
        assert!(check(r#"{"sections":{}}"#, WITHOUT).is_ok());
        assert!(check(r#"{"sections":{}}"#, FAULTS).is_err());
    }
}
