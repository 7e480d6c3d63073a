//! What unwinding costs an event, at 10, 20 and 40 frames without frame pointers, what it costs to know a stack again,
//! and how long the tables take.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    Outcome, Plan,
    finding::{Finding, Target},
    memleak::{self, Memleak},
    pair::SPARE_SECONDS,
    samples::Samples,
    table::{Table, ns},
    tracer::{Mode, Tracer},
    victim::Victim,
};

/// Frames, and the most nanoseconds that unwinding them may take.
const DEPTHS: [(usize, f64); 3] = [(10, 350.0), (20, 600.0), (40, 1100.0)];
/// The depth at which a whole pair is held against memleak's.
const BESIDE_MEMLEAK: usize = 20;
/// A program with much code, and the most milliseconds that its tables may take.
const LARGE: (&str, f64) = ("/usr/bin/node", 250.0);
/// Phases of a round: one untraced, three traced, one under memleak.
const PHASES: u32 = 5;

/// The stacks are in the report so that their frames can be counted; the traced program does not pay for that.
const WHOLE: Mode<'_> = mode(&["--json", "--all-stacks", "--top", "0"]);
const ONE_FRAME: Mode<'_> = mode(&["--stack-depth", "1"]);
const NO_STEP: Mode<'_> = mode(&["--unwind", "fp", "--stack-depth", "1"]);

const fn mode<'a>(flags: &'a [&'a str]) -> Mode<'a> {
    Mode {
        flags,
        floor: None,
        interval: None,
    }
}

/// Nanoseconds of a pair at one depth.
#[derive(Default)]
struct Costs {
    untraced: Samples,
    no_step: Samples,
    one_frame: Samples,
    whole: Samples,
    memleak: Samples,
    /// Whole stacks beyond one frame, one difference a process.
    beyond_one: Samples,
    /// Whole stacks beyond no step at all, one difference a process.
    beyond_none: Samples,
}

/// Cost of unwinding, and of building tables.
pub fn cost(plan: &Plan) -> Result<Outcome> {
    let mut memleak = Memleak::find(plan.memleak.as_deref());
    let mut outcome = Outcome::default();
    let mut table = Table::new(&["one pair, one thread", "best", "median", "worst"]);
    for (depth, limit) in DEPTHS {
        let mut costs = Costs::default();
        for _ in 0..plan.runs {
            round(plan, depth, true, &mut costs)?;
        }
        let what = format!("unwinding {depth} frames, an event");
        outcome.findings.extend(unwinding(&what, limit, &costs));
        details(&mut table, &format!("{depth} frames"), &costs);
    }
    let mut costs = Costs::default();
    for _ in 0..plan.runs {
        let mut victim = round(plan, BESIDE_MEMLEAK, false, &mut costs)?;
        if let Ok(program) = &memleak {
            let untraced = costs.untraced.min();
            match memleak::cost(program, &mut victim, untraced, plan.seconds) {
                Ok(measured) => costs.memleak.extend(measured),
                // memlens must work; what it is compared with may not.
                Err(why) => memleak = Err(why.0),
            }
        }
    }
    outcome.findings.push(Finding::figure(
        &format!("knowing {BESIDE_MEMLEAK} frames again, an event: whole stacks - no step at all"),
        costs.beyond_none.median(),
        " ns",
        Target::None,
    ));
    outcome.findings.push(beside_memleak(&costs, &memleak));
    details(
        &mut table,
        &format!("{BESIDE_MEMLEAK} frames, the same stack each time"),
        &costs,
    );
    outcome.tables.push(("Unwinding", table));
    outcome.findings.push(tables(plan)?);
    Ok(outcome)
}

/// One process, traced in every way in turn, so that all ways meet the same noise.
fn round(plan: &Plan, depth: usize, shifted: bool, costs: &mut Costs) -> Result<Victim> {
    let seconds = plan.seconds * PHASES + SPARE_SECONDS;
    let mut victim = Victim::deep_pairs(seconds, depth, shifted)?;
    costs.untraced.extend(victim.cost(plan.seconds)?);
    let mut best = [f64::NAN; 3];
    for ((mode, samples), best) in [
        (NO_STEP, &mut costs.no_step),
        (ONE_FRAME, &mut costs.one_frame),
        (WHOLE, &mut costs.whole),
    ]
    .into_iter()
    .zip(&mut best)
    {
        let tracer = Tracer::leaks(&plan.memlens, victim.pid(), mode)?;
        let measured = victim.cost(plan.seconds)?;
        let ended = tracer.end()?;
        if mode.flags == WHOLE.flags {
            check_frames(&ended.last_line, depth)?;
        }
        *best = measured.iter().copied().fold(f64::NAN, f64::min);
        samples.extend(measured);
    }
    let [no_step, one_frame, whole] = best;
    costs.beyond_none.extend([whole - no_step]);
    costs.beyond_one.extend([whole - one_frame]);
    Ok(victim)
}

/// A stack that ended early would be a cheap one: the report must have as many frames as the program.
fn check_frames(report: &str, depth: usize) -> Result<()> {
    let report: Value = serde_json::from_str(report).context("the last report is no JSON")?;
    let found = deepest(&report).context("the last report has no stack")?;
    if found != depth {
        bail!("memlens reports {found} frames of a stack of {depth}: what it costs says nothing");
    }
    Ok(())
}

/// Physical frames of the deepest stack: inlined functions have none.
fn deepest(report: &Value) -> Option<usize> {
    let physical = |stack: &Value| {
        let frames = stack["frames"].as_array()?.iter();
        let frame = |index: &Value| &report["frames"][index.as_u64().unwrap_or(u64::MAX) as usize];
        Some(
            frames
                .filter(|index| frame(index)["inlined"] != true)
                .count(),
        )
    };
    report["stacks"]
        .as_array()?
        .iter()
        .filter_map(physical)
        .max()
}

fn unwinding(what: &str, limit: f64, costs: &Costs) -> [Finding; 2] {
    let beyond = |compared: &str, samples: &Samples| {
        Finding::figure(
            &format!("{what}: {compared}"),
            samples.median(),
            " ns",
            Target::AtMost(limit),
        )
    };
    [
        beyond("whole stacks - --stack-depth 1", &costs.beyond_one),
        beyond("whole stacks - no step at all", &costs.beyond_none),
    ]
}

fn beside_memleak(costs: &Costs, memleak: &Result<PathBuf, String>) -> Finding {
    let what = format!("bcc memleak / memlens, full tracing from {BESIDE_MEMLEAK} frames");
    let target = Target::AtLeast(5.0);
    let (theirs, own) = (costs.memleak.min(), costs.whole.min());
    match memleak {
        Ok(_) => Finding::ratio(
            &what,
            format!("{} / {}", ns(theirs), ns(own)),
            theirs / own,
            target,
        ),
        Err(why) => Finding::unavailable(&what, why, "x", target),
    }
}

fn details(table: &mut Table, what: &str, costs: &Costs) {
    for (name, samples) in [
        ("untraced", &costs.untraced),
        (
            "memlens leaks --unwind fp --stack-depth 1: no step",
            &costs.no_step,
        ),
        ("memlens leaks --stack-depth 1", &costs.one_frame),
        ("memlens leaks", &costs.whole),
        ("bcc memleak", &costs.memleak),
    ] {
        if samples.min().is_nan() {
            continue;
        }
        table.row([
            format!("{what}: {name}"),
            ns(samples.min()),
            ns(samples.median()),
            ns(samples.max()),
        ]);
    }
}

/// Time to build the unwind tables of a large program and its libraries.
fn tables(plan: &Plan) -> Result<Finding> {
    let (program, limit) = LARGE;
    let what = format!("building the unwind tables of {program} and its libraries");
    let target = Target::AtMost(limit);
    let program = Path::new(program);
    if !program.is_file() {
        let why = format!("no {}", program.display());
        return Ok(Finding::unavailable(&what, &why, " ms", target));
    }
    let script = "console.log('ready'); setInterval(() => {}, 1000)";
    let mut took = Samples::new();
    for _ in 0..plan.runs {
        let victim = Victim::speaking(program, &["-e".to_owned(), script.to_owned()])?;
        let tracer = Tracer::leaks(&plan.memlens, victim.pid(), Mode::default())?;
        let building = tracer.step("building unwind tables");
        took.extend([building.context("memlens -v did not say how long it built unwind tables")?]);
        tracer.end()?;
    }
    Ok(Finding::figure(&what, took.min(), " ms", target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inlined_frames_are_not_physical() {
        let report = serde_json::json!({
            "frames": [{"inlined": false}, {"inlined": true}],
            "stacks": [{"frames": [0]}, {"frames": [0, 1, 0]}],
        });
        assert_eq!(deepest(&report), Some(2));
        assert_eq!(deepest(&serde_json::json!({"stacks": []})), None);
        assert!(check_frames(&report.to_string(), 2).is_ok());
        assert!(check_frames(&report.to_string(), 3).is_err());
    }
}
