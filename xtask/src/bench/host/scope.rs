//! What a scope costs those inside and outside of it, measured from outside.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::super::{
    Outcome, Plan,
    finding::{Finding, Target},
    json,
    samples::Samples,
    table::Table,
    tracer::{Mode, Tracer},
    victim::{SLOTS, Victim, compile, own_source},
};
use super::crowd::Crowd;

/// Idle processes beside those that do something.
const IDLE: usize = 500;
/// Processes that make so many pairs a second each.
const MODERATE: usize = 20;
const PAIRS_PER_SECOND: u32 = 700;
/// They come in so many lots (`moderate.c`).
const LOTS_PER_SECOND: u32 = 100;
/// How long the search for a leak lasts.
const LEAKS_FOR: Duration = Duration::from_secs(30);
/// Processes that allocate all the time.
const FURIOUS: usize = 3;
/// One more like these that is left out of the scope: what else happens on the machine slows it as much.
const CONTROL: &str = "control";
const SCOPE: [&str; 3] = ["--all", "--exclude", CONTROL];
/// The default of `--cpu-budget`.
const BUDGET_PERCENT: f64 = 5.0;
/// After this time the budget must hold.
const SETTLE: Duration = Duration::from_secs(2);
/// Longer than all phases.
const LONG: u32 = 3600;
/// How the line begins that says that each process has had its trial.
const TRIED: &str = "memlens: every process of the scope was tried";

/// A process that allocates all the time beside a trace of a user whose it is not.
pub fn outside(plan: &Plan) -> Result<Outcome> {
    let mut victim = Victim::pairs(LONG, 1)?;
    let (mut without, mut beside) = (Samples::new(), Samples::new());
    for _ in 0..plan.runs {
        without.extend(victim.cpu_cost(plan.seconds)?);
        let mode = Mode::default();
        let tracer = Tracer::of(&plan.memlens, &["--user", "nobody"], mode)?;
        beside.extend(victim.cpu_cost(plan.seconds)?);
        tracer.end()?;
    }
    Ok(Outcome {
        findings: vec![Finding::ratio(
            "malloc+free outside of the scope of leaks --user / untraced",
            format!("{:.1} / {:.1} ns", beside.min(), without.min()),
            beside.min() / without.min(),
            Target::AtMost(1.02),
        )],
        ..Outcome::default()
    })
}

/// Many idle processes, some that do something, and a few that do nothing else: what the probes cost all of them
/// together.
pub fn budget(plan: &Plan) -> Result<Outcome> {
    let mut busy = Busy::start(0)?;
    let (mut tried, mut cost, mut worst) = (Samples::new(), Samples::new(), Samples::new());
    let (mut started, mut own_cost) = (Samples::new(), Samples::new());
    for _ in 0..plan.runs {
        let before = busy.rates(plan.seconds)?;
        let mut tracer = Tracer::of(&plan.memlens, &SCOPE, Mode::default())?;
        started.extend([tracer.attached_in.as_secs_f64() * 1e3]);
        let begun = Instant::now();
        let trials = busy.rates(SETTLE.as_secs() as u32)?;
        tracer.wait_for(TRIED)?;
        tried.extend([begun.elapsed().as_secs_f64() * 1e3]);
        let (begun, own) = (Instant::now(), tracer.cpu_seconds()?);
        let after = busy.rates(plan.seconds)?;
        let own = (tracer.cpu_seconds()? - own) / begun.elapsed().as_secs_f64();
        tracer.end()?;
        cost.extend([after.cost_since(&before)]);
        own_cost.extend([own]);
        worst.extend([trials.slowest_since(&before)]);
    }
    let cpus = thread::available_parallelism().map_or(1, usize::from) as f64;
    let percent = cost.median() / cpus * 100.0;
    let mut table = Table::new(&[
        "leaks --all, 500 idle, 20 moderate, 3 furious",
        "best",
        "median",
        "worst",
    ]);
    let row = |name: &str, samples: &Samples, digits: usize| {
        [
            name.to_owned(),
            format!("{:.*}", digits, samples.min()),
            format!("{:.*}", digits, samples.median()),
            format!("{:.*}", digits, samples.max()),
        ]
    };
    table.row(row("start until it traces, ms", &started, 0));
    table.row(row("from then until each process was tried, ms", &tried, 0));
    table.row(row("cost of all probes, CPUs", &cost, 3));
    table.row(row("memlens itself, CPUs", &own_cost, 3));
    table.row(row(
        "slowest quarter of a second of a furious one / its mean, against the control",
        &worst,
        2,
    ));
    Ok(Outcome {
        findings: vec![
            Finding::figure(
                "leaks --all, 500 idle, 20 moderate, 3 furious processes: start",
                started.median(),
                " ms",
                Target::AtMost(1000.0),
            ),
            Finding::figure(
                "the same: each process tried",
                tried.median(),
                " ms",
                Target::AtMost(5000.0),
            ),
            Finding::ratio(
                "the same: cost of all probes after 2 s, as lost throughput and CPU time / --cpu-budget",
                format!("{percent:.1} % / {BUDGET_PERCENT} %"),
                percent / BUDGET_PERCENT,
                Target::AtMost(1.2),
            ),
            Finding::ratio(
                "the same: slowest quarter of a second of a furious process / its mean, against the control",
                format!("{:.2}", worst.min()),
                worst.min(),
                Target::AtLeast(0.6),
            ),
        ],
        tables: vec![("A busy host", table)],
        notes: Vec::new(),
    })
}

/// A leak in one process of a busy host: whether it is found, and how many bytes are reported of those that it has lost
/// since it is traced.
pub fn leak(plan: &Plan) -> Result<Outcome> {
    const LOST: u32 = 175;
    let lost_per_second = f64::from(LOST * LOTS_PER_SECOND);
    let busy = Busy::start(LOST)?;
    let pid = busy.moderate.leaking();
    let mode = Mode {
        flags: &["--json", "--top", "100000"],
        ..Mode::default()
    };
    let tracer = Tracer::of(&plan.memlens, &SCOPE, mode)?;
    thread::sleep(LEAKS_FOR);
    let report: Value = serde_json::from_str(&tracer.end()?.last_line)?;
    let found = json::heap_in_function(&report, "leak");
    let found = found.filter(|(_, subject, _)| report["subjects"][*subject]["pid"] == pid);
    let (measured, is_right) = match found {
        Some((rank, subject, bytes)) => {
            let subject = &report["subjects"][subject];
            let ms = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
            let traced = (ms(&report["meta"]["elapsed_ms"]) - ms(&subject["first_seen_ms"])) / 1e3;
            let lost = traced * lost_per_second;
            let sampling = &report["sections"]["heap"]["sampling"];
            let error = match subject["sample_bytes"].as_f64() {
                None => 0.0,
                // What an empty sample bounds, at 95 %.
                Some(interval) if sampling["live_samples"] == 0 => 1.5 * interval,
                Some(_) => ms(&sampling["standard_error_bytes"]),
            };
            let text = format!(
                "place {}: {bytes} B of {lost:.0} B in {traced:.1} s, printed error {error:.0} B",
                rank + 1
            );
            // The blocks of a tenth of a second: times are in milliseconds, and a process is first seen before it is
            // probed.
            let off = (bytes as f64 - lost).abs();
            (text, off <= 2.0 * error + lost_per_second * 0.1)
        }
        None => ("not found".to_owned(), false),
    };
    Ok(Outcome {
        findings: vec![Finding::fact(
            &format!(
                "leaks --all on that host, {} s: a leak of 1 MiB a minute in one of the moderate processes",
                LEAKS_FOR.as_secs()
            ),
            measured,
            "found, within its printed error",
            is_right,
        )],
        ..Outcome::default()
    })
}

/// A busy host.
struct Busy {
    _idle: Crowd,
    moderate: Moderate,
    furious: Vec<Victim>,
    control: Victim,
}

impl Busy {
    /// One of the moderate processes loses a block of so many bytes a hundred times a second; none does where it is 0.
    fn start(lost: u32) -> Result<Self> {
        let busy = Self {
            _idle: Crowd::start(IDLE, 0)?,
            moderate: Moderate::start(lost)?,
            furious: (0..FURIOUS)
                .map(|_| Victim::pairs(LONG, 1))
                .collect::<Result<_>>()?,
            control: Victim::named_pairs(CONTROL, LONG, 1)?,
        };
        // Everybody is older than a second.
        thread::sleep(SETTLE);
        Ok(busy)
    }

    /// What all do for so many seconds.
    fn rates(&mut self, seconds: u32) -> Result<Rates> {
        let (begun, before) = (Instant::now(), self.moderate.cpu_seconds()?);
        let pairs = thread::scope(|scope| {
            let victims = self.furious.iter_mut().chain([&mut self.control]);
            let threads: Vec<_> = victims
                .map(|victim| scope.spawn(move || Pairs::of(victim, seconds)))
                .collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined
                .map(|pairs| pairs.map_err(|_| anyhow::anyhow!("a thread has failed"))?)
                .collect::<Result<Vec<_>>>()
        })?;
        let spent = self.moderate.cpu_seconds()? - before;
        let (control, furious) = pairs.split_last().context("no control")?;
        Ok(Rates {
            furious: furious.to_vec(),
            control: *control,
            moderate: spent / begun.elapsed().as_secs_f64(),
        })
    }
}

/// Pairs a second of one process.
#[derive(Clone, Copy)]
struct Pairs {
    mean: f64,
    /// In its slowest slot.
    least: f64,
}

impl Pairs {
    fn of(victim: &mut Victim, seconds: u32) -> Result<Self> {
        let slots = victim.slots(seconds)?;
        let sum: u64 = slots.iter().map(|slot| slot.pairs).sum();
        let least = slots.iter().map(|slot| slot.pairs).min();
        Ok(Self {
            mean: sum as f64 / f64::from(seconds),
            least: least.context("no slot")? as f64 * f64::from(SLOTS),
        })
    }
}

/// What the programs do, by themselves or beside memlens.
struct Rates {
    furious: Vec<Pairs>,
    control: Pairs,
    /// CPUs that the moderate ones use together.
    moderate: f64,
}

impl Rates {
    /// How fast the furious ones are, each as a part of the control's speed.
    fn relative(&self) -> f64 {
        let sum: f64 = self.furious.iter().map(|pairs| pairs.mean).sum();
        sum / self.furious.len() as f64 / self.control.mean
    }

    /// CPUs that are lost: the furious ones have their parts of one CPU, and the others use more.
    fn cost_since(&self, before: &Self) -> f64 {
        let furious = self.furious.len() as f64;
        let lost = 1.0 - self.relative() / before.relative();
        lost * furious / (furious + 1.0) + (self.moderate - before.moderate)
    }

    /// The slowest slot of any furious one, as a part of its mean before, against that of the control.
    fn slowest_since(&self, before: &Self) -> f64 {
        let pairs = self.furious.iter().zip(&before.furious);
        let least = pairs.map(|(now, before)| now.least / before.mean);
        least.fold(f64::INFINITY, f64::min) / (self.control.least / before.control.mean)
    }
}

/// Processes that do something now and then; killed when dropped.
struct Moderate(Vec<Child>);

impl Moderate {
    fn start(lost: u32) -> Result<Self> {
        let program = compile("moderate", &own_source("moderate")?, &[])?;
        let mut all = Self(Vec::new());
        for number in 1..=MODERATE {
            let lost = if number == MODERATE { lost } else { 0 };
            let child = Command::new(&program)
                .args([PAIRS_PER_SECOND, lost].map(|number| number.to_string()))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .context("cannot start a moderate process")?;
            all.0.push(child);
        }
        Ok(all)
    }

    /// PID of the one that loses blocks.
    fn leaking(&self) -> u32 {
        self.0.last().map_or(0, Child::id)
    }

    /// Seconds of CPU time that they have used together, to the nanosecond (proc_pid_schedstat(5)).
    fn cpu_seconds(&self) -> Result<f64> {
        let mut sum = 0.0;
        for child in &self.0 {
            let path = format!("/proc/{}/schedstat", child.id());
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            let first = text
                .split_ascii_whitespace()
                .next()
                .context("an empty line")?;
            sum += first.parse::<f64>().context("no number")? * 1e-9;
        }
        Ok(sum)
    }
}

impl Drop for Moderate {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
