//! What one malloc and free costs: untraced, traced, sampled, and on two CPUs.

use anyhow::Result;

use super::{
    Plan,
    table::{Table, ns, ratio},
    tracer::Tracer,
    victim::{Slot, Victim},
};

/// A way to be traced: its name in the table, and memlens's flags.
const MODES: &[(&str, &[&str])] = &[
    ("memlens leaks", &[]),
    (
        "memlens leaks --sample-bytes 524288",
        &["--sample-bytes", "524288"],
    ),
];
/// Seconds beyond the phases in which attach and detach must fit.
const SPARE_SECONDS: u32 = 60;

/// Cost of a pair before, during and after the trace.
struct Phases {
    before: f64,
    during: f64,
    after: f64,
    /// Pairs a second over all threads while traced.
    pairs: u64,
}

/// Nanoseconds of a pair, on one thread.
pub fn cost(plan: &Plan) -> Result<Table> {
    let mut table = Table::new(&[
        "one pair, one thread",
        "before",
        "traced",
        "after",
        "traced/before",
    ]);
    for (name, flags) in MODES {
        let best = best(plan, 1, flags)?;
        table.row([
            (*name).to_owned(),
            ns(best.before),
            ns(best.during),
            ns(best.after),
            ratio(best.during, best.before),
        ]);
    }
    Ok(table)
}

/// Pairs a second of two threads on two CPUs against one.
pub fn scaling(plan: &Plan) -> Result<Table> {
    let mut table = Table::new(&[
        "pairs a second, traced",
        "1 thread",
        "2 threads",
        "2 threads/1",
    ]);
    for (name, flags) in MODES {
        let (one, two) = (best(plan, 1, flags)?.pairs, best(plan, 2, flags)?.pairs);
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of a second are far below 2^52"
        )]
        let speedup = ratio(two as f64, one as f64);
        table.row([
            (*name).to_owned(),
            one.to_string(),
            two.to_string(),
            speedup,
        ]);
    }
    Ok(table)
}

/// The best of all runs, phase by phase: noise only ever adds.
fn best(plan: &Plan, threads: usize, flags: &[&str]) -> Result<Phases> {
    let mut best = phases(plan, threads, flags)?;
    for _ in 1..plan.runs {
        let next = phases(plan, threads, flags)?;
        best = Phases {
            before: best.before.min(next.before),
            during: best.during.min(next.during),
            after: best.after.min(next.after),
            pairs: best.pairs.max(next.pairs),
        };
    }
    Ok(best)
}

/// One run: a victim that is traced for a while in the middle.
fn phases(plan: &Plan, threads: usize, flags: &[&str]) -> Result<Phases> {
    let seconds = plan.seconds * 3 + SPARE_SECONDS;
    let mut victim = Victim::start("pair", &[seconds.to_string(), threads.to_string()], threads)?;
    let before = victim.slots(plan.seconds)?;
    let tracer = Tracer::leaks(&plan.memlens, victim.pid(), flags)?;
    let during = victim.slots(plan.seconds)?;
    tracer.end()?;
    let after = victim.slots(plan.seconds)?;
    Ok(Phases {
        before: cheapest(&before),
        during: cheapest(&during),
        after: cheapest(&after),
        pairs: during.iter().map(|slot| slot.pairs).max().unwrap_or(0),
    })
}

/// The smallest cost of a pair; a slot without pairs has none.
fn cheapest(slots: &[Slot]) -> f64 {
    slots
        .iter()
        .filter(|slot| slot.pairs > 0)
        .map(|slot| slot.ns)
        .fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cheapest_slot_with_pairs() {
        let slot = |pairs, ns| Slot { pairs, ns };
        assert_eq!(cheapest(&[slot(10, 7.0), slot(0, 0.0), slot(12, 5.0)]), 5.0);
        assert!(cheapest(&[]).is_infinite());
    }
}
