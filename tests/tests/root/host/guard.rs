//! The overhead guard: a program that allocates all the time is neither brought down nor lied about.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens::profile::GuardAction;
use memlens_tests::child::{Owned, until};
use memlens_tests::code::{self, BREAKPOINT};
use memlens_tests::host::{guard_steps, guard_steps_of};
use memlens_tests::lines::Lines;
use memlens_tests::{HeapFigures as _, Memlens, Program, Victim, need};

use super::{LEAK, leak_each};

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

/// With the default budget its probes are taken off, which is said; it runs at full speed then, and others are traced on.
#[test]
fn a_program_that_allocates_all_the_time() -> Result<()> {
    need::root()?;
    let mut python = Python::start()?;
    let pid = python.child.pid();
    let untraced = python.best(5)?;
    let mut beside = Victim::start(leak_each("host-guarded").command(&["malloc"])?)?;
    let memlens = Memlens::leaks_of(&["--all"], &[])?;
    ensure!(
        !code::changed(pid)?.is_empty(),
        "there is no probe in python"
    );
    until("its probes are removed", ACTS, || {
        python.best(1)?;
        Ok(code::changed(pid)?.is_empty().then_some(()))
    })?;
    let guarded = python.best(5)?;
    ensure!(
        guarded < untraced / 0.7,
        "{guarded} s for a million blocks, untraced {untraced} s"
    );
    assert_eq!(code::changed(pid)?, [], "its probes are still there");
    ensure!(
        code::changed(beside.pid())?
            .iter()
            .any(|changed| changed.byte == BREAKPOINT),
        "another process has lost its probes as well"
    );
    beside.run()?;
    let ended = memlens.interrupt()?;
    let report = ended.last_report()?;
    let host = report.host_wide()?;
    let guard = host.guard.as_ref().context("there is no guard")?;
    assert_eq!(guard.budget_percent, Some(5.0));
    let steps = guard_steps_of(host, pid)?;
    let step = steps.last().context("no step for python")?;
    assert_eq!(step.action, GuardAction::ProbesOff);
    let sentence = format!("process {pid} (python3, {}): ", step.place.label());
    ensure!(
        ended
            .errors
            .iter()
            .any(|line| line.contains(&sentence) && line.contains("probes")),
        "not on standard error: {step:?}"
    );
    let row = report.process(pid)?;
    ensure!(row.probes_off.is_some(), "{row:?}");
    report.check_process(beside.pid(), LEAK)?;
    python.best(1)?;
    assert_eq!(code::changed(beside.pid())?, []);
    assert_eq!(code::changed(pid)?, []);
    drop(python.child.handle().stdin.take());
    ensure!(
        python.child.wait(Duration::from_secs(20))?.success(),
        "python was hurt"
    );
    Ok(())
}

/// The next process of such a program begins without probes.
#[test]
fn the_next_one_of_such_a_program() -> Result<()> {
    need::root()?;
    let program = Program::new("alloc_loop").named("host-greedy").build()?;
    // Ahead of all others, so that it takes a whole CPU: only then it is beyond help by sampling.
    let start = |seconds: &str| {
        let mut command = Command::new(need::program("chrt")?);
        command.args(["--fifo", "1"]).arg(&program);
        command.args(["-s", seconds]);
        Victim::start(command)
    };
    let mut first = start("0.5")?;
    let memlens = Memlens::leaks_of(&["--all"], &[])?;
    until("its probes are removed", ACTS, || {
        first.go_to("rate")?;
        Ok(code::changed(first.pid())?.is_empty().then_some(()))
    })?;
    let mut second = start("1")?;
    let before: f64 = second.go_to("rate")?.parse()?;
    let report = memlens.stop()?;
    let after: f64 = second.go_to("rate")?.parse()?;
    ensure!(
        before > after * 0.5,
        "{before} pairs/s during the trace, {after} after it"
    );
    ensure!(
        guard_steps_of(report.host_wide()?, first.pid())?
            .iter()
            .any(|step| step.action == GuardAction::ProbesOff),
        "{:?}",
        report.host_wide()?.guard
    );
    ensure!(
        first.exit()?.success() && second.exit()?.success(),
        "a program was hurt"
    );
    Ok(())
}

/// Short-lived processes that cost too much together are judged together, and the next ones are treated as the last.
#[test]
fn short_lived_ones_are_judged_together() -> Result<()> {
    /// Each lives for a fifth of a second and allocates all the time: a CPU's worth of hits between them.
    const LEAST: usize = 40;
    let program = Program::new("alloc_loop").named("host-swarm");
    let memlens = Memlens::leaks_of(&["--all"], &[])?;
    let mut rates: Vec<f64> = Vec::new();
    until("later ones are twice as fast as the first", ACTS, || {
        let mut victim = Victim::start(program.command(&["-s", "0.2"])?)?;
        let rate = victim.go_to("rate")?.parse()?;
        rates.push(rate);
        ensure!(victim.exit()?.success(), "a program was hurt");
        Ok((rates.len() >= LEAST && rate > rates[0] * 2.0).then_some(()))
    })?;
    let report = memlens.stop()?;
    let steps = guard_steps(report.host_wide()?)?;
    let later: u64 = steps
        .iter()
        .filter(|step| step.command == "host-swarm")
        .map(|step| step.later_processes)
        .sum();
    ensure!(
        later >= rates.len() as u64 / 4,
        "{later} of {} began under what was decided before: {steps:?}",
        rates.len()
    );
    ensure!(
        steps.len() < 12,
        "{} steps for what comes again and again",
        steps.len()
    );
    Ok(())
}

/// A load somewhat above the budget is sampled, and what the report says is unbiased: within four standard errors of the truth.
#[test]
fn a_moderate_load_is_sampled() -> Result<()> {
    /// Other programs of the machine may take the guard's attention, and the budget.
    const ATTEMPTS: u32 = 4;
    for _ in 0..ATTEMPTS {
        if moderate_load()? == Outcome::Sampled {
            return Ok(());
        }
    }
    anyhow::bail!(
        "in {ATTEMPTS} attempts the guard was busy with other programs: let nothing else run"
    )
}

/// What came of a moderate load.
#[derive(PartialEq, Eq)]
enum Outcome {
    /// It was sampled, and all that was checked held.
    Sampled,
    /// The guard had to do with others.
    Disturbed,
}

fn moderate_load() -> Result<Outcome> {
    /// In percent of the machine: so much that few other programs cost more.
    const BUDGET: f64 = 10.0;
    const SECONDS: f64 = 8.0;
    let memlens = Memlens::leaks_of(&["--all"], &["--cpu-budget", &BUDGET.to_string()])?;
    let hit_ns = calibrated(&memlens)?;
    let cpus = std::thread::available_parallelism()?.get() as f64;
    // A malloc is two hits, and three of four blocks are released by a third one. Followed in full each costs 1.44 times an empty
    // one: 1.3 budgets in all, of which a sample needs no more than three quarters.
    let pairs = 1.3 * BUDGET / 100.0 * cpus / (2.75 * 1.44 * hit_ns * 1e-9);
    let program = Program::new("paced").named("host-paced");
    let (rate, seconds) = (pairs.to_string(), SECONDS.to_string());
    let mut victim = Victim::start(program.command(&[&rate, &seconds])?)?;
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
    if guard_steps(report.host_wide()?)?
        .iter()
        .any(|step| step.pid != Some(pid))
    {
        return Ok(Outcome::Disturbed);
    }
    let steps = guard_steps_of(report.host_wide()?, pid)?;
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
    Ok(Outcome::Sampled)
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
