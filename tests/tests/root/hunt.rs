//! `memlens hunt`: from the machine to the stack in one command. What looks for the process on the whole machine is in
//! `host::suspect`, which runs alone.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use memlens::profile::hunt::{Hunt, HuntOutcome, StepKind};
use memlens::profile::{Measure, Source};
use memlens_tests::{Memlens, Program, Report, Victim, need};

/// How many bytes a second the victim leaks.
pub const RATE: u64 = 200 << 10;
pub fn leaking(rate: u64) -> Result<Victim> {
    let mut victim = Victim::start(Program::new("slow_leak").command(&[&rate.to_string()])?)?;
    victim.go()?;
    Ok(victim)
}

pub fn hunt_of(report: &Report) -> Result<&Hunt> {
    report.sections.hunt.as_ref().context("no section hunt")
}

pub fn hunted(args: &[&str]) -> Result<Report> {
    need::root()?;
    let args = ["hunt", "--json"].iter().chain(args);
    Memlens::run(args)?.last_report()
}

/// Bytes a minute of the first stack of the heap, which must have this function.
pub fn first_stack(report: &Report, function: &str) -> Result<f64> {
    let first = report.first_stack()?;
    ensure!(first.has(function), "{:?}", first.names());
    let values = first.values();
    let slope = values.get(Measure::HeapGrowthPerS).context("no slope")?;
    Ok(slope.real() * 60.0)
}

pub fn is_about(value: f64, expected: f64) -> Result<()> {
    ensure!(
        (expected * 0.5..expected * 2.0).contains(&value),
        "{value}, not about {expected}"
    );
    Ok(())
}

/// A process that was asked for and grows.
#[test]
fn a_process_that_was_asked_for() -> Result<()> {
    let victim = leaking(RATE)?;
    let report = hunted(&[&victim.pid().to_string(), "--for", "12s"])?;
    let hunt = hunt_of(&report)?;
    ensure!(hunt.outcome == HuntOutcome::Heap, "{}", hunt.conclusion);
    ensure!(
        hunt.suspect
            .as_ref()
            .is_some_and(|suspect| suspect.asked_for)
    );
    is_about(first_stack(&report, "leak_slowly")?, RATE as f64 * 60.0)?;
    let mapped = report.rows(Source::AddressSpace);
    ensure!(
        !mapped.iter().any(|row| row.has("leak_slowly")),
        "what the allocator maps is not the program's: {mapped:?}"
    );
    Ok(())
}

/// One that does not grow, although it replaces its blocks all the time: that is said, with the least that would have
/// been seen.
#[test]
fn a_process_that_does_not_grow() -> Result<()> {
    let victim = leaking(0)?;
    let report = hunted(&[&victim.pid().to_string(), "--for", "12s"])?;
    let hunt = hunt_of(&report)?;
    ensure!(
        hunt.outcome == HuntOutcome::DoesNotGrow,
        "{}",
        hunt.conclusion
    );
    let suspect = hunt.suspect.as_ref().context("no suspect")?;
    let least = suspect.least_bytes_per_min.context("no least growth")?;
    ensure!((1..4 << 20).contains(&least), "{least}");
    ensure!(
        hunt.conclusion.contains("would have been seen"),
        "{}",
        hunt.conclusion
    );
    Ok(())
}

/// Ctrl-C in the middle of the trace: the page has what is known.
#[test]
fn ctrl_c_goes_to_the_page() -> Result<()> {
    need::root()?;
    let victim = leaking(RATE)?;
    let mut memlens = Memlens::start(["hunt", "--for", "100s", &victim.pid().to_string()])?;
    memlens.wait_until_tracing()?;
    let ended = memlens.interrupt()?;
    ended.succeeded()?;
    let text = ended.output.join("\n");
    for part in [
        "ended early (it was to take 1m40s)",
        "found: ",
        "4 trace ",
        "next:",
    ] {
        ensure!(text.contains(part), "no {part:?} in:\n{text}");
    }
    Ok(())
}

/// Ctrl-C before there is a process to go after.
#[test]
fn ctrl_c_during_the_watch() -> Result<()> {
    let mut memlens = Memlens::start(["hunt", "--for", "600s", "--json"])?;
    std::thread::sleep(std::time::Duration::from_millis(500));
    ensure!(!memlens.has_ended()?);
    let report = memlens.stop()?;
    let hunt = hunt_of(&report)?;
    ensure!(hunt.interrupted && hunt.step(StepKind::Trace).is_none());
    Ok(())
}

/// The process ends while it is traced: what it held is on the page, at once.
#[test]
fn a_process_that_exits_meanwhile() -> Result<()> {
    need::root()?;
    let victim = leaking(RATE)?;
    let pid = victim.pid().to_string();
    let mut memlens = Memlens::start(["hunt", "--for", "100s", "--json", &pid])?;
    memlens.wait_until_tracing()?;
    victim.exit()?;
    let report = memlens.wait()?.last_report()?;
    let hunt = hunt_of(&report)?;
    ensure!(hunt.outcome == HuntOutcome::Ended, "{}", hunt.conclusion);
    ensure!(hunt.suspect.as_ref().is_some_and(|suspect| suspect.ended));
    ensure!(hunt.took.as_secs() < 60, "{:?}", hunt.took);
    Ok(())
}

/// Mappings of the program's own are told from its heap.
#[test]
fn a_process_that_maps_more_and_more() -> Result<()> {
    let program = Program::new("grow_by_clock").command(&["anonymous", "2"])?;
    let mut victim = Victim::start(program)?;
    victim.go()?;
    let report = hunted(&[&victim.pid().to_string(), "--for", "12s"])?;
    let hunt = hunt_of(&report)?;
    ensure!(
        hunt.outcome == HuntOutcome::Mappings && hunt.conclusion.contains("take"),
        "{}",
        hunt.conclusion
    );
    let command = format!("memlens vm -p {}", victim.pid());
    ensure!(hunt.next.iter().any(|next| next.command == command));
    Ok(())
}

/// Without rights the first steps say what may be read, the last one why there is none, and the page comes.
#[test]
fn without_rights() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("memlens");
    std::fs::copy(memlens_tests::paths::memlens()?, &copy)?;
    for path in [folder.path(), &copy] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    let victim = leaking(RATE)?;
    let mut command = Command::new(need::program("setpriv")?);
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&copy)
        .args(["hunt", "--json", "--for", "6s", &victim.pid().to_string()]);
    let report = Memlens::start_command(command)?.wait()?.last_report()?;
    let hunt = hunt_of(&report)?;
    let why = hunt.not_traced.as_deref().context("it was traced")?;
    ensure!(why.contains("cannot trace a process"), "{why}");
    ensure!(hunt.steps.len() == StepKind::ALL.len(), "{:?}", hunt.steps);
    Ok(())
}
