//! Things that go wrong during a trace: the target is not hurt, memlens ends in order.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens::profile::State;
use memlens_tests::child::{Owned, until, until_worked};
use memlens_tests::{HeapFigures as _, Live, Memlens, Program, Victim, code, need, paths};

/// Pairs per second, as the victim measures it.
fn rate(victim: &mut Victim) -> Result<f64> {
    victim.go_to("rate")?.parse().context("no number")
}

/// No probe is left, and the victim becomes as fast again as it was: at once, but for what else the machine does.
fn check_untouched(victim: &mut Victim, before: f64) -> Result<()> {
    code::until_unchanged(victim.pid())?;
    let what = format!("as fast again as {before} pairs/s");
    until(&what, Duration::from_secs(30), || {
        Ok((rate(victim)? > before * 0.7).then_some(()))
    })
}

/// Killed without a chance to clean up, memlens leaves no probe: the target is as fast as before.
#[test]
fn killed_memlens_leaves_no_probe() -> Result<()> {
    let mut victim = Victim::start(Program::new("alloc_loop").command(&["-s", "0.7"])?)?;
    rate(&mut victim)?;
    let before = rate(&mut victim)?;
    let mut memlens = Memlens::leaks(victim.pid(), &[])?;
    let during = rate(&mut victim)?;
    ensure!(
        during < before * 0.5,
        "{during} pairs/s traced, {before} untraced: was it traced?"
    );
    memlens.signal(libc::SIGKILL)?;
    let ended = memlens.wait()?;
    ensure!(!ended.status.success(), "it was not killed");
    check_untouched(&mut victim, before)?;
    ensure!(victim.exit()?.success(), "the target was hurt");
    Ok(())
}

/// The same after an orderly end.
#[test]
fn a_trace_leaves_full_speed_behind() -> Result<()> {
    let mut victim = Victim::start(Program::new("alloc_loop").command(&["-s", "0.7"])?)?;
    rate(&mut victim)?;
    let before = rate(&mut victim)?;
    let memlens = Memlens::leaks(victim.pid(), &[])?;
    rate(&mut victim)?;
    let report = memlens.stop()?;
    report.check_exact(victim.pid(), Live::default())?;
    ensure!(
        report.totals().allocated().blocks > 10_000,
        "{:?}",
        report.totals()
    );
    check_untouched(&mut victim, before)
}

#[test]
fn target_killed_mid_trace() -> Result<()> {
    let mut victim = Victim::start(Program::new("fill_live").command(&["1000", "100"])?)?;
    let memlens = Memlens::leaks(victim.pid(), &[])?;
    victim.go_to("filled")?;
    victim.signal(libc::SIGKILL)?;
    let report = memlens.wait()?.last_report()?;
    report.check_exact(victim.pid(), Live::new(100_000, 1_000))?;
    assert_eq!(report.process(victim.pid())?.state, State::Exited);
    report.check_function("fill", Live::new(100_000, 1_000))
}

/// Killed while it allocates as fast as it can on several threads.
#[test]
fn target_killed_under_load() -> Result<()> {
    let mut victim = Victim::start(Program::new("alloc_loop").command(&["-s", "30", "-t", "4"])?)?;
    let memlens = Memlens::leaks(victim.pid(), &[])?;
    victim.go()?;
    until_worked(victim.pid(), Duration::from_millis(700))?;
    victim.signal(libc::SIGKILL)?;
    let report = memlens.wait()?.last_report()?;
    let row = report.process(victim.pid())?;
    assert_eq!(row.state, State::Exited);
    ensure!(row.allocated().blocks > 1_000, "{row:?}");
    // Each of the threads may have held one block.
    ensure!(row.live().blocks <= 4, "{row:?}");
    report.check_balance()
}

/// Two at once, as `timeout` sends them, are one: the last report is there.
#[test]
fn ctrl_c_twice() -> Result<()> {
    let mut victim = Victim::start(Program::new("many_stacks").command(&["10"])?)?;
    let mut memlens = Memlens::leaks(victim.pid(), &[])?;
    victim.run()?;
    memlens.signal(libc::SIGINT)?;
    memlens.signal(libc::SIGINT)?;
    let ended = memlens.wait()?;
    ensure!(ended.status.success(), "{}", ended.status);
    no_panic(&ended.errors)?;
    ended.final_report()?;
    ensure!(victim.exit()?.success(), "the target was hurt");
    Ok(())
}

/// A second one later leaves at once, in the middle of whatever takes so long.
#[test]
fn ctrl_c_again_later() -> Result<()> {
    let mut victim = Victim::start(Program::new("many_stacks").command(&["10"])?)?;
    let mut command = std::process::Command::new(memlens_tests::paths::memlens()?);
    // To take perf events off takes long enough to be interrupted.
    command
        .args(["leaks", "--json", "-p", &victim.pid().to_string()])
        .env("MEMLENS_ATTACH", "perf");
    let mut memlens = Memlens::start_command(command)?;
    memlens.wait_until_tracing()?;
    // Those that come soon after the first one are the same wish.
    until("a later one ends it", Duration::from_secs(10), || {
        memlens.signal(libc::SIGINT)?;
        Ok(memlens.has_ended()?.then_some(()))
    })?;
    let ended = memlens.wait()?;
    assert_eq!(ended.status.code(), Some(2));
    ensure!(
        ended
            .errors
            .iter()
            .any(|line| line.contains("interrupted again")),
        "{:?}",
        ended.errors
    );
    // The target goes on with all that it had before it.
    victim.run()?;
    ensure!(victim.exit()?.success(), "the target was hurt");
    Ok(())
}

#[test]
fn two_at_once_on_one_target() -> Result<()> {
    let mut victim = Victim::start(Program::new("mixed_exact").command(&["100000"])?)?;
    let first = Memlens::leaks(victim.pid(), &[])?;
    let second = Memlens::leaks(victim.pid(), &[])?;
    let said = victim.run()?;
    let (bytes, blocks) = said.split_once(' ').context("two numbers are said")?;
    let expected = Live::new(bytes.parse()?, blocks.parse()?);
    first.stop()?.check_exact(victim.pid(), expected)?;
    second.stop()?.check_exact(victim.pid(), expected)
}

/// `memlens ... | head -1`: the reader goes, memlens ends without a word.
#[test]
fn standard_output_closed() -> Result<()> {
    need::root()?;
    let mut victim = Victim::start(Program::new("leak_each").command(&["malloc"])?)?;
    let pid = victim.pid().to_string();
    let mut command = Command::new(paths::memlens()?);
    command
        .args(["leaks", "-p", &pid, "0.3", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut memlens = Owned::start(&mut command)?;
    let output = memlens
        .handle()
        .stdout
        .take()
        .context("it was started with a pipe")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    ensure!(line.starts_with('{'), "no report: {line:?}");
    // The pipe was closed with the reader.
    let status = memlens.wait(Duration::from_secs(20))?;
    let errors = memlens
        .handle()
        .stderr
        .take()
        .context("it was started with a pipe")?;
    let errors: Vec<String> = BufReader::new(errors).lines().collect::<Result<_, _>>()?;
    ensure!(status.code() == Some(0), "{status}: {errors:?}");
    no_panic(&errors)?;
    victim.run()?;
    ensure!(victim.exit()?.success(), "the target was hurt");
    Ok(())
}

/// Reports go to a full disk: a failure in one line.
#[test]
fn standard_output_full() -> Result<()> {
    need::root()?;
    let victim = Victim::start(Program::new("sleepy").command(&[])?)?;
    let pid = victim.pid().to_string();
    let mut command = Command::new(paths::memlens()?);
    command
        .args(["leaks", "-p", &pid, "0.3", "2", "--json"])
        .stdin(Stdio::null())
        .stdout(File::options().write(true).open("/dev/full")?)
        .stderr(Stdio::piped());
    let mut memlens = Owned::start(&mut command)?;
    let status = memlens.wait(Duration::from_secs(20))?;
    let errors = memlens
        .handle()
        .stderr
        .take()
        .context("it was started with a pipe")?;
    let errors: Vec<String> = BufReader::new(errors).lines().collect::<Result<_, _>>()?;
    ensure!(status.code() == Some(2), "{status}: {errors:?}");
    no_panic(&errors)
}

/// A full disk for a file: the report is printed, the failure names the file.
#[test]
fn full_disk_for_a_file() -> Result<()> {
    for flag in ["--folded", "--svg"] {
        let mut victim = Victim::start(Program::new("leak_each").command(&["malloc"])?)?;
        let memlens = Memlens::leaks(victim.pid(), &[flag, "/dev/full"])?;
        victim.run()?;
        let ended = memlens.interrupt()?;
        ended.failed_with(&["/dev/full", "space"])?;
        let report = ended.final_report()?;
        report.check_exact(victim.pid(), Live::new(30_000, 1))?;
        ensure!(victim.exit()?.success(), "the target was hurt");
    }
    Ok(())
}

/// Targets that end at any moment of the attach: a refusal that names the PID, or a trace that ends.
#[test]
fn target_that_ends_during_the_attach() -> Result<()> {
    need::root()?;
    for delay in [0, 1, 3, 10, 20, 40, 80, 160] {
        let mut victim = Victim::start(Program::new("exit_with_live").command(&["exit"])?)?;
        let pid = victim.pid();
        let memlens = Memlens::start(["leaks", "-p", &pid.to_string(), "3600", "--json"])?;
        std::thread::sleep(Duration::from_millis(delay));
        victim.go()?;
        victim.wait()?;
        let ended = memlens.wait()?;
        no_panic(&ended.errors)?;
        match ended.status.code() {
            Some(0) => {
                ended.last_report()?;
            }
            _ => ended.refused_with(&[&pid.to_string()])?,
        }
    }
    Ok(())
}

fn no_panic(errors: &[String]) -> Result<()> {
    ensure!(
        !errors.iter().any(|line| line.contains("panicked")),
        "{errors:?}"
    );
    Ok(())
}
