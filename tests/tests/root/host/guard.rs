//! The overhead guard: a program that allocates all the time is neither brought down nor lied about.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens::profile::GuardAction;
use memlens_tests::cgroup::Cgroup;
use memlens_tests::child::{Owned, until};
use memlens_tests::code;
use memlens_tests::host::{admission, guard, guard_steps_of};
use memlens_tests::lines::Lines;
use memlens_tests::{HeapFigures as _, Memlens, Program, Report, Victim, need};

use super::{LEAK, leak_each, start_probed};

/// Every number is a block of malloc's, made and freed; each line is of a million of them.
const PYTHON: &str = "\
import sys, time
sys.stdout.write('ready\\n'); sys.stdout.flush()
for line in sys.stdin:
    began = time.perf_counter()
    total = sum(range(1000000, 2000000))
    took = time.perf_counter() - began
    print(total, took, flush=True)
";
/// How long it may take until the guard has acted and its steps have their effect.
const ACTS: Duration = Duration::from_secs(60);
/// What each line must say.
const SUM: &str = "1499999500000";

/// Python on malloc, which it does little else than call.
struct Python {
    child: Owned,
    lines: Lines,
}

impl Python {
    fn start() -> Result<Self> {
        let mut command = Command::new("/usr/bin/python3");
        command
            .args(["-c", PYTHON])
            .env("PYTHONMALLOC", "malloc")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = Owned::start(&mut command)?;
        let output = child.handle().stdout.take().context("no output")?;
        let lines = Lines::of(output);
        let ready = lines.next(Duration::from_secs(20));
        ensure!(ready.as_deref() == Ok("ready"), "{ready:?}");
        Ok(Self { child, lines })
    }

    /// Seconds for a million blocks, the best of so many; each sum is right.
    fn best(&mut self, rounds: u32) -> Result<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..rounds {
            let input = self.child.handle().stdin.as_mut().context("no input")?;
            writeln!(input, "go")?;
            let line = self
                .lines
                .next(Duration::from_secs(60))
                .map_err(|why| anyhow::anyhow!("python said nothing: {why:?}"))?;
            let (sum, took) = line.split_once(' ').context("two numbers")?;
            ensure!(sum == SUM, "python reckons {sum} under tracing");
            best = best.min(took.parse()?);
        }
        Ok(best)
    }
}

/// With the default budget it is left alone after a trial, which is said; it runs at full speed then, and others are
/// traced on.
#[test]
fn a_program_that_allocates_all_the_time() -> Result<()> {
    /// With its probes it is a hundred times slower; a busy machine doubles its time.
    const NOT_SLOWED: f64 = 5.0;
    need::root()?;
    let mut python = Python::start()?;
    let pid = python.child.pid();
    let untraced = python.best(5)?;
    let mut beside = Victim::start(leak_each("host-guarded").command(&["malloc"])?)?;
    let memlens = Memlens::leaks_of(&["--all"], &[])?;
    until("its probes are removed", ACTS, || {
        python.best(1)?;
        let is_left = memlens.errors().iter().any(|line| {
            line.contains(&format!("process {pid} (python3")) && line.contains("were removed")
        });
        Ok((is_left && code::changed(pid)?.is_empty()).then_some(()))
    })?;
    let guarded = python.best(5)?;
    ensure!(
        guarded < untraced * NOT_SLOWED,
        "{guarded} s for a million blocks, untraced {untraced} s"
    );
    code::until_probed(beside.pid(), "")?;
    beside.run()?;
    let report = memlens.stop()?;
    assert_eq!(guard(&report)?.budget_percent, Some(5.0));
    let steps = guard_steps_of(&report, pid)?;
    let step = steps.last().context("no step for python")?;
    assert_eq!(step.action, GuardAction::ProbesOff);
    ensure!(
        report.process(pid)?.probes_off.is_some(),
        "its row does not say so"
    );
    ensure!(admission(&report)?.left >= 1, "{:?}", admission(&report)?);
    ensure!(!report.complete, "the report says that it is complete");
    report.check_process(beside.pid(), LEAK)?;
    python.best(1)?;
    code::until_unchanged(beside.pid())?;
    drop(python.child.handle().stdin.take());
    ensure!(
        python.child.wait(Duration::from_secs(20))?.success(),
        "python was hurt"
    );
    Ok(())
}

/// A named process is traced in full unless its user has said how much that may cost it.
#[test]
fn the_slowdown_of_a_named_process() -> Result<()> {
    need::root()?;
    let mut python = Python::start()?;
    let pid = python.child.pid();
    let price_of = |report: &Report| report.process(pid).ok()?.probe_percent;
    let price = |more: &[&str], python: &mut Python| -> Result<(Report, f64, f64)> {
        let mut memlens = Memlens::leaks(pid, more)?;
        memlens.report(Duration::from_secs(20))?;
        let took = python.best(3)?;
        // The last report may follow the one before at once, with next to no CPU time in between.
        let priced = memlens.report_with("a price", |report| price_of(report).is_some())?;
        let percent = price_of(&priced).context("no price")?;
        Ok((memlens.stop()?, percent, took))
    };
    let (full, percent, slow) = price(&["1"], &mut python)?;
    ensure!(percent > 30.0, "{percent} percent of its time, {slow} s");
    ensure!(
        full.sections.guard.is_none() && full.complete,
        "it was guarded"
    );
    let (guarded, _, fast) = price(&["1", "--slowdown", "20"], &mut python)?;
    let steps = guard_steps_of(&guarded, pid)?;
    let step = steps.last().context("no step")?;
    ensure!(step.own_percent.is_some_and(|own| own > 20.0), "{step:?}");
    ensure!(
        fast < slow / 2.0,
        "{fast} s with --slowdown, {slow} s without"
    );
    Ok(())
}

/// A load somewhat above the budget is sampled, and what the report says is unbiased: within four standard errors of
/// the truth.
#[test]
fn a_moderate_load_is_sampled() -> Result<()> {
    /// In percent of the machine.
    const BUDGET: f64 = 10.0;
    const SECONDS: f64 = 8.0;
    let budget = BUDGET.to_string();
    // Alone: every other probed process makes the hits of this one dearer.
    let cgroup = Cgroup::new()?;
    let memlens = Memlens::leaks_of(
        &["--cgroup", cgroup.path()],
        &["--cpu-budget", &budget, "--young"],
    )?;
    let hit_ns = calibrated(&memlens)?;
    let cpus = std::thread::available_parallelism()?.get() as f64;
    // A malloc is two hits, and three of four blocks are released by a third one. Followed in full each costs 1.6 times
    // an empty one: 1.2 budgets in all, of which a sample needs no more than four fifths.
    let pairs = 1.2 * BUDGET / 100.0 * cpus / (2.75 * 1.6 * hit_ns * 1e-9);
    let program = Program::new("paced").named("host-paced");
    let (rate, seconds) = (pairs.to_string(), SECONDS.to_string());
    let mut victim = start_probed(cgroup.enter(program.command(&[&rate, &seconds])?)?)?;
    let said = victim.go_to("done")?;
    let said: Vec<f64> = said
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let [bytes, blocks, made] = said[..] else {
        anyhow::bail!("three numbers, not {said:?}");
    };
    let report = memlens.stop()?;
    let pid = victim.pid();
    let steps = guard_steps_of(&report, pid)?;
    ensure!(
        !steps.is_empty() && steps.iter().all(|step| !step.action.ends_tracing()),
        "steps: {steps:?}"
    );
    let row = report.process(pid)?;
    row.check_balance("the sampled process")?;
    ensure!(row.sample_bytes.is_some(), "{row:?}");
    let error = report.sampling()?.standard_error_bytes as f64;
    let live = row.live().bytes as f64;
    ensure!(
        (live - bytes).abs() < 4.0 * error && error < bytes * 0.1,
        "{live} bytes live, {bytes} in truth, standard error {error}"
    );
    // Blocks have no error of their own in the report; they are of one size in the mean.
    for (name, told, truth) in [
        ("live blocks", row.live().blocks as f64, blocks),
        ("blocks made", row.allocated().blocks as f64, made),
    ] {
        ensure!(
            (told - truth).abs() < truth * (8.0 * error / bytes).max(0.02),
            "{told} {name}, {truth} in truth, standard error {error} bytes of {bytes}"
        );
    }
    Ok(())
}

/// What memlens says that a hit costs here, in nanoseconds.
fn calibrated(memlens: &Memlens) -> Result<f64> {
    memlens
        .errors()
        .iter()
        .find_map(|line| {
            let rest = line.split_once("a probe hit costs ")?.1;
            rest.split_once(" ns")?.0.parse().ok()
        })
        .context("memlens does not say what a hit costs")
}
