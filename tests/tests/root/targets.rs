//! What can be traced: PIDs, names, commands.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use memlens::profile::{CommandExit, State};
use memlens::words::loss::sentences;
use memlens_tests::memlens::Ended;
use memlens_tests::report::Report;
use memlens_tests::{HeapFigures as _, Live, Memlens, Program, Victim, need, trace};

/// Runs `memlens leaks --json -- COMMAND`; the victim neither prints nor waits.
fn leaks_of_command(program: &Program, args: &[&str]) -> Result<Ended> {
    need::root()?;
    let mut command = Command::new(memlens_tests::paths::memlens()?);
    command
        .env("VICTIM_FREE_RUN", "1")
        .args(["leaks", "--json", "--top", "1000000", "--"])
        .arg(program.build()?)
        .args(args);
    Memlens::start_command(command)?.wait()
}

fn command_report(program: &Program, args: &[&str]) -> Result<Report> {
    leaks_of_command(program, args)?.last_report()
}

fn only_pid(report: &Report) -> Result<u32> {
    let [subject] = &report.subjects[..] else {
        anyhow::bail!("rows: {:?}", report.subjects);
    };
    subject.pid.context("the row has no PID")
}

/// Of a command's files only the named one is probed, by whatever path it is named.
#[test]
fn a_command_with_the_file_of_its_allocator() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let link = folder.path().join("the_libc");
    std::os::unix::fs::symlink(need::library("libc.so.6")?, &link)?;
    let mut command = Command::new(memlens_tests::paths::memlens()?);
    command
        .env("VICTIM_FREE_RUN", "1")
        .args(["leaks", "--json", "--top", "1000000", "-O"])
        .arg(&link)
        .arg("--")
        .arg(Program::new("leak_each").build()?)
        .arg("malloc");
    let report = Memlens::start_command(command)?.wait()?.last_report()?;
    report.check_function("leak_malloc", Live::new(30_000, 1))?;
    ensure!(report.notes.is_empty(), "{:?}", report.notes);
    Ok(())
}

/// glibc frees each thread's cache once more when the thread ends. Of a command no block can be older than the trace.
#[test]
fn unknown_frees_of_a_command_are_the_allocators_own() -> Result<()> {
    let program = Program::new("thread_exit_tls");
    let note = |report: &Report| -> Result<String> {
        let sentences = sentences(report);
        let mut texts = sentences.into_iter().map(|sentence| sentence.text);
        texts
            .find(|text| text.contains("not tracked"))
            .context("no sentence about frees")
    };
    let own = "the allocator's own, such as the free blocks";
    let of_command = note(&command_report(&program, &[])?)?;
    ensure!(
        of_command.contains(&format!("not tracked: {own}")),
        "{of_command}"
    );
    let of_process = note(&trace(program.command(&[])?, &[])?.report)?;
    let reasons = format!("not tracked: allocated before the trace, or {own}");
    ensure!(of_process.contains(&reasons), "{of_process}");
    Ok(())
}

/// Several PIDs are one trace with a row for each.
#[test]
fn several_pids() -> Result<()> {
    let mut first = Victim::start(Program::new("leak_each").command(&["malloc", "3"])?)?;
    let mut second = Victim::start(Program::new("leak_each").command(&["calloc", "5"])?)?;
    let other = Victim::start(Program::new("sleepy").command(&[])?)?;
    let list = format!("{},{}", first.pid(), second.pid());
    let memlens = Memlens::leaks_of(&["-p", &list], &[])?;
    first.run()?;
    second.run()?;
    let report = memlens.stop()?;
    report.check_exact(first.pid(), Live::new(90_000, 3))?;
    report.check_exact(second.pid(), Live::new(150_000, 5))?;
    ensure!(report.process(other.pid()).is_err(), "an untraced process");
    assert_eq!(report.totals().live(), Live::new(240_000, 8));
    report.check_function("leak_malloc", Live::new(90_000, 3))?;
    report.check_function("leak_calloc", Live::new(150_000, 5))
}

/// An untraced process with the same libraries is not counted.
#[test]
fn others_are_left_alone() -> Result<()> {
    let mut traced = Victim::start(Program::new("leak_each").command(&["malloc"])?)?;
    let mut other = Victim::start(Program::new("leak_each").command(&["malloc", "100"])?)?;
    let memlens = Memlens::leaks(traced.pid(), &[])?;
    other.run()?;
    traced.run()?;
    let report = memlens.stop()?;
    assert_eq!(only_pid(&report)?, traced.pid());
    report.check_exact(traced.pid(), Live::new(30_000, 1))
}

#[test]
fn every_process_of_a_name() -> Result<()> {
    let program = Program::new("leak_each").named("memlens-nametst");
    let mut first = Victim::start(program.command(&["malloc"])?)?;
    let mut second = Victim::start(program.command(&["malloc", "2"])?)?;
    let memlens = Memlens::leaks_of(&["-n", "memlens-nametst"], &[])?;
    first.run()?;
    second.run()?;
    let report = memlens.stop()?;
    assert_eq!(report.subjects.len(), 2, "{:?}", report.subjects);
    report.check_exact(first.pid(), Live::new(30_000, 1))?;
    report.check_exact(second.pid(), Live::new(60_000, 2))?;
    assert_eq!(report.process(first.pid())?.command, "memlens-nametst");
    Ok(())
}

/// All arguments are passed as they are, also empty ones and those that look like ours; the exit code is reported.
#[test]
fn a_command_with_arguments() -> Result<()> {
    let report = command_report(&Program::new("args_exit"), &["two words", "", "--json"])?;
    assert_eq!(report.meta.command_exit, Some(CommandExit::Code(7)));
    report.check_exact(only_pid(&report)?, Live::new(123, 1))?;
    assert_eq!(report.process(only_pid(&report)?)?.state, State::Exited);
    report.check_function("leak_args", Live::new(123, 1))
}

/// From before main to after it.
#[test]
fn a_command_from_its_first_instruction() -> Result<()> {
    let report = command_report(&Program::new("from_start"), &[])?;
    report.check_exact(only_pid(&report)?, Live::new(5_555, 2))?;
    report.check_function("leak_constructor", Live::new(2_222, 1))?;
    report.check_function("leak_destructor", Live::new(3_333, 1))
}

#[test]
fn a_command_that_a_signal_ends() -> Result<()> {
    for (how, signal) in [("kill", libc::SIGKILL), ("abort", libc::SIGABRT)] {
        let report = command_report(&Program::new("exit_with_live"), &[how])?;
        assert_eq!(report.meta.command_exit, Some(CommandExit::Signal(signal)));
        report.check_function("leak_three", Live::new(30_000, 3))?;
    }
    Ok(())
}

/// A shell that starts another program in its place: exec in the traced command.
#[test]
fn a_command_through_a_shell() -> Result<()> {
    let victim = Program::new("from_start").build()?;
    let mut command = Command::new(memlens_tests::paths::memlens()?);
    need::root()?;
    command
        .args(["leaks", "--json", "--top", "1000000", "--", "sh", "-c"])
        .arg(format!("exec {}", victim.display()));
    let report = Memlens::start_command(command)?.wait()?.last_report()?;
    report.check_function("leak_constructor", Live::new(2_222, 1))?;
    report.check_function("leak_destructor", Live::new(3_333, 1))
}

#[test]
fn a_command_that_is_not_there() -> Result<()> {
    need::root()?;
    Memlens::run(["leaks", "--", "/no/such/command"])?.refused_with(&["/no/such/command"])
}

/// Ctrl-C ends the trace of a command with a last report.
#[test]
fn interrupting_a_command() -> Result<()> {
    need::root()?;
    let sleepy = Program::new("alloc_loop").build()?;
    let mut command = Command::new(memlens_tests::paths::memlens()?);
    command
        .env("VICTIM_FREE_RUN", "1")
        .args(["leaks", "0.1", "--json", "--"])
        .arg(sleepy)
        .args(["-s", "6"]);
    let mut memlens = Memlens::start_command(command)?;
    memlens.wait_until_tracing()?;
    memlens.report_with("it allocates", |report| {
        report.totals().allocated().blocks > 1_000
    })?;
    let report = memlens.stop()?;
    ensure!(
        report.totals().allocated().blocks > 1_000,
        "{:?}",
        report.totals()
    );
    Ok(())
}

/// One of two targets exits: its row stays, and the trace goes on.
#[test]
fn exits_during_the_trace() -> Result<()> {
    let mut first = Victim::start(Program::new("exit_with_live").command(&["exit"])?)?;
    let mut second = Victim::start(Program::new("leak_each").command(&["malloc"])?)?;
    let list = format!("{},{}", first.pid(), second.pid());
    let memlens = Memlens::leaks_of(&["-p", &list], &[])?;
    first.go()?;
    first.wait()?;
    second.run()?;
    let report = memlens.stop()?;
    report.check_exact(first.pid(), Live::new(30_000, 3))?;
    report.check_exact(second.pid(), Live::new(30_000, 1))?;
    assert_eq!(report.process(first.pid())?.state, State::Exited);
    assert_eq!(report.process(second.pid())?.state, State::Running);
    Ok(())
}

/// A process in a PID namespace and a mount namespace of its own is traced by its PID outside.
#[test]
fn a_process_in_its_own_namespaces() -> Result<()> {
    let mut command = Command::new(need::program("unshare")?);
    command
        .args(["--pid", "--mount", "--fork", "--kill-child", "--mount-proc"])
        .arg(Program::new("leak_each").build()?)
        .args(["malloc", "4"]);
    let mut victim = Victim::start(command)?;
    assert_eq!(victim.pid(), 1, "the first of its PID namespace");
    let outside = victim.children()?;
    ensure!(outside.len() == 1, "children of unshare: {outside:?}");
    let memlens = Memlens::leaks(outside[0], &[])?;
    victim.run()?;
    let report = memlens.stop()?;
    report.check_exact(outside[0], Live::new(120_000, 4))?;
    report.check_function("leak_malloc", Live::new(120_000, 4))
}
