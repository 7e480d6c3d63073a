//! Processes that exec, exit, fork and are replaced by others with their PID.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens::profile::State;
use memlens_tests::child::until;
use memlens_tests::{HeapFigures as _, Live, Memlens, Program, Victim};
use tracer_common::loss::Loss;

/// The old program's row stays with what it held; the new one starts from nothing.
#[test]
fn exec_starts_a_new_row() -> Result<()> {
    let mut victim = Victim::start(Program::new("exec_self").command(&[])?)?;
    let memlens = Memlens::leaks(victim.pid(), &[])?;
    victim.go_to("ready")?;
    victim.go_to("done")?;
    let report = memlens.stop()?;
    let pid = victim.pid();
    let row = |state: State| {
        let mut rows = report.subjects.iter();
        rows.find(|row| row.pid == Some(pid) && row.state == state)
            .with_context(|| format!("no {state:?} row: {:?}", report.subjects))
    };
    assert_eq!(row(State::Replaced)?.live(), Live::new(5_000, 1));
    assert_eq!(row(State::Running)?.live(), Live::new(8_000, 1));
    report.check_function("leak_before", Live::new(5_000, 1))?;
    report.check_function("leak_after", Live::new(8_000, 1))?;
    report.check_complete()
}

/// However a process ends, the row shows what it held at that moment.
#[test]
fn exit_with_live_blocks() -> Result<()> {
    for how in ["exit", "thread", "abort", "kill"] {
        let mut victim = Victim::start(Program::new("exit_with_live").command(&[how])?)?;
        let memlens = Memlens::leaks(victim.pid(), &[])?;
        victim.go()?;
        victim.wait()?;
        // The only target has ended, and so does the trace; a Ctrl-C that comes late changes nothing.
        let report = memlens.interrupt()?.last_report()?;
        if how != "thread" {
            // pthread_exit loads libgcc_s for the unwinding, which allocates as well.
            report
                .check_exact(victim.pid(), Live::new(30_000, 3))
                .with_context(|| how.to_string())?;
        }
        ensure!(
            report.process(victim.pid())?.state == State::Exited,
            "{how}"
        );
        report.check_function("leak_three", Live::new(30_000, 3))?;
    }
    Ok(())
}

/// The end of the last target ends the trace, without a Ctrl-C.
#[test]
fn the_trace_ends_with_its_last_target() -> Result<()> {
    let mut victim = Victim::start(Program::new("exit_with_live").command(&["exit"])?)?;
    let memlens = Memlens::leaks(victim.pid(), &[])?;
    victim.go()?;
    let report = memlens.wait()?.last_report()?;
    assert_eq!(report.meta.command_exit, None, "the trace did not start it");
    report.check_exact(victim.pid(), Live::new(30_000, 3))
}

/// A child of the target is not traced, and the report counts it.
#[test]
fn children_are_counted_not_traced() -> Result<()> {
    let mut victim = Victim::start(Program::new("fork_both_free").command(&["free"])?)?;
    let memlens = Memlens::leaks(victim.pid(), &[])?;
    victim.run()?;
    let report = memlens.stop()?;
    assert_eq!(report.losses.of(Loss::UntracedChildren), 1);
    assert_eq!(
        report.totals().allocated().blocks,
        500,
        "the parent's own blocks"
    );
    assert_eq!(report.subjects.len(), 1, "{:?}", report.subjects);
    report.check_function("child_leak", Live::default())
}

/// A new process with the PID of one that has ended is another process.
#[test]
fn a_reused_pid_is_another_process() -> Result<()> {
    let mut first = Victim::start(Program::new("exit_with_live").command(&["exit"])?)?;
    let mut stays = Victim::start(Program::new("sleepy").command(&[])?)?;
    let pid = first.pid();
    let memlens = Memlens::leaks_of(&["-p", &format!("{pid},{}", stays.pid())], &[])?;
    first.go()?;
    first.wait()?;
    let mut second = start_as(pid, &["malloc", "7"])?;
    assert_eq!(second.pid(), pid);
    second.run()?;
    stays.run()?;
    let report = memlens.stop()?;
    report.check_exact(pid, Live::new(30_000, 3))?;
    report.check_function("leak_three", Live::new(30_000, 3))?;
    report.check_function("leak_malloc", Live::default())
}

/// Starts `leak_each` under a given PID; another process may take it for a moment.
fn start_as(pid: u32, args: &[&str]) -> Result<Victim> {
    let helper = Program::new("spawn_as").build()?;
    let victim = Program::new("leak_each").build()?;
    until("the PID is free", Duration::from_secs(5), || {
        let mut command = Command::new(&helper);
        command.arg(pid.to_string()).arg(&victim).args(args);
        Ok(Victim::start(command).ok())
    })
}
