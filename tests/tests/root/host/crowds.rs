//! Many processes: short-lived ones, more of them than there are rows, PIDs that come again.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use memlens_tests::child::until;
use memlens_tests::host::{admission, check_ended, ended_name};
use memlens_tests::{HeapFigures as _, Live, Memlens, Program, Victim, code, load};
use tracer_common::loss::Loss;

use super::{LEAK, Stage, everything, leak_each, start_probed};

/// Starts so many processes a second, each of which leaks 30,000 bytes and ends; the victim that starts them.
fn spawner(name: &str, count: u32, rate: u32) -> Result<Victim> {
    let child = leak_each(name).build()?.to_string_lossy().into_owned();
    let (count, rate) = (count.to_string(), rate.to_string());
    Victim::start(Program::new("spawner").command(&[&count, &rate, &child, "malloc"])?)
}

/// As many as a shell script starts, each over within milliseconds: none is probed, all are counted, and those beside
/// them are exact.
#[test]
fn short_lived_processes() -> Result<()> {
    const COUNT: u64 = 1_000;
    let mut spawner = spawner("host-brief", COUNT as u32, 0)?;
    let mut beside = Victim::start(leak_each("host-beside").command(&["malloc"])?)?;
    let memlens = Memlens::leaks_of(&["--all"], &["--cpu-budget", "off"])?;
    code::until_probed(beside.pid(), "")?;
    spawner.run()?;
    beside.run()?;
    let report = memlens.stop()?;
    let missed = admission(&report)?.ended_before;
    ensure!(
        (COUNT - 10..COUNT + 200).contains(&missed),
        "{missed} processes ended before they were probed, {COUNT} by the test"
    );
    ensure!(
        ended_name(report.host_wide()?, "host-brief").is_err(),
        "a process was probed that lived for milliseconds"
    );
    report.check_process(beside.pid(), LEAK)?;
    assert_eq!(report.losses.of(Loss::LifecycleFull), 0);
    Ok(())
}

/// More children, one after the other, than the process table has rows.
#[test]
fn more_processes_than_rows() -> Result<()> {
    let stage = Stage::enter()?;
    const COUNT: u64 = 10_000;
    let program = Program::new("crowd").named("host-crowd");
    let mut victim = Victim::start(program.command(&[&COUNT.to_string()])?)?;
    let memlens = stage.trace(&[])?;
    victim.run()?;
    // The table is as good as new.
    let mut late = start_probed(leak_each("host-late").command(&["malloc"])?)?;
    late.run()?;
    let report = memlens.stop()?;
    assert_eq!(report.losses.of(Loss::ProcessTableFull), 0);
    assert_eq!(report.losses.of(Loss::StackTableFull), 0);
    report.check_process(victim.pid(), Live::new(500, 1))?;
    report.check_process(late.pid(), LEAK).map(|_| ())
}

/// memlens gets no CPU while thousands come and go, so that events are lost: that is said, what can be known is right,
/// and what comes afterwards is exact.
#[test]
fn events_that_are_lost() -> Result<()> {
    let stage = Stage::enter()?;
    const COUNT: u64 = 10_000;
    let program = Program::new("crowd").named("host-lost");
    let mut victim = Victim::start(program.command(&[&COUNT.to_string()])?)?;
    let mut stays = Victim::start(leak_each("host-stays").command(&["malloc"])?)?;
    let mut goes = Victim::start(leak_each("host-goes").command(&["malloc"])?)?;
    let mut memlens = stage.trace(&["0.5"])?;
    goes.go_to("done")?;
    memlens.signal(libc::SIGSTOP)?;
    stays.go_to("done")?;
    victim.run()?;
    goes.signal(libc::SIGKILL)?;
    goes.wait()?;
    memlens.signal(libc::SIGCONT)?;
    let (gone, stays_pid) = (goes.pid(), stays.pid());
    memlens.report_with("those that are gone have no row", |report| {
        report.has_row(stays_pid) && !report.has_row(gone)
    })?;
    let mut late = start_probed(leak_each("host-after").command(&["malloc", "2"])?)?;
    late.run()?;
    let report = memlens.stop()?;
    // An event for each fork is more than the ring holds.
    let lost = report.losses.of(Loss::LifecycleFull);
    ensure!(lost > 0, "{:?}", report.losses);
    ensure!(!report.complete, "the report says that it is complete");
    ensure!(
        !report.has_row(goes.pid()),
        "a process that was killed has a row"
    );
    report.check_process(stays.pid(), LEAK)?;
    report
        .check_process(late.pid(), Live::new(60_000, 2))
        .map(|_| ())
}

/// A PID that comes again, twice, is another process each time.
#[test]
fn pid_reuse() -> Result<()> {
    let stage = Stage::enter()?;
    let memlens = stage.trace(&[])?;
    let mut first = start_probed(leak_each("host-pid1").command(&["malloc"])?)?;
    first.go_to("done")?;
    let pid = first.pid();
    first.exit()?;
    let mut second = start_as(pid, &leak_each("host-pid2"), &["malloc", "2"])?;
    second.go_to("done")?;
    assert_eq!(second.pid(), pid);
    second.exit()?;
    let mut third = start_as(pid, &leak_each("host-pid3"), &["malloc", "3"])?;
    third.run()?;
    let report = memlens.stop()?;
    let row = report.check_process(pid, Live::new(90_000, 3))?;
    assert_eq!(row.command, "host-pid3");
    check_ended(report.host_wide()?, "host-pid1", 1, LEAK)?;
    check_ended(report.host_wide()?, "host-pid2", 1, Live::new(60_000, 2))
}

/// Starts a victim under a given PID; another process may take it for a moment.
fn start_as(pid: u32, program: &Program, args: &[&str]) -> Result<Victim> {
    let helper = Program::new("spawn_as").build()?;
    let program = program.build()?;
    until("the PID is free", Duration::from_secs(5), || {
        let mut command = Command::new(&helper);
        command.arg(pid.to_string()).arg(&program).args(args);
        Ok(start_probed(command).ok())
    })
}

/// Processes start and end all the time while memlens looks at all that there are.
#[test]
fn processes_that_vanish_while_they_are_looked_at() -> Result<()> {
    let mut victim = Victim::start(leak_each("host-calm").command(&["malloc"])?)?;
    let mut forks = Victim::start(Program::new("crowd").command(&["1000000"])?)?;
    forks.go()?;
    let mut execs = spawner("host-churn", 1_000_000, 0)?;
    execs.go()?;
    for _ in 0..4 {
        let mut memlens = everything(&["0.1"])?;
        memlens.report_with("a process that has ended", |report| {
            let section = report.sections.host_wide.as_ref();
            section.is_some_and(|section| section.ended.count > 0)
        })?;
        memlens.stop()?;
    }
    let memlens = everything(&[])?;
    victim.run()?;
    let report = memlens.stop()?;
    report.check_process(victim.pid(), LEAK)?;
    for churning in [&mut forks, &mut execs] {
        ensure!(churning.is_running()?, "a program was hurt");
    }
    Ok(())
}

/// A server that forks workers, under load: each worker has its row, and all balance.
#[test]
fn nginx_and_its_workers() -> Result<()> {
    let stage = Stage::enter()?;
    let folder = tempfile::tempdir()?;
    let port = load::free_port()?;
    let mut memlens: Memlens = stage.trace(&["0.2"])?;
    let mut master = load::nginx(folder.path(), port)?;
    let worker = until("nginx has a worker", Duration::from_secs(10), || {
        Ok(load::children(master.pid())?.first().copied())
    })?;
    // The worker has its parent's breakpoints from the start, and probes of its own a moment later.
    // This test runs in the same cgroup.
    memlens.report_with("both are traced", |report| {
        admission(report).is_ok_and(|known| known.traced >= 3 && known.waiting == 0)
    })?;
    load::http_load(port, 500)?;
    let report = memlens.stop()?;
    // The master waits once it has started its worker: it may have allocated nothing since it had probes.
    let pids = [master.pid(), worker];
    let has_row = |pid: &u32| *pid == worker || report.has_row(*pid);
    for pid in pids.into_iter().filter(has_row) {
        let row = report.process(pid)?;
        row.check_balance("nginx")?;
        assert_eq!(row.command, "nginx");
        ensure!(row.started_in_trace, "{row:?}");
        report.check_process(pid, row.live())?;
    }
    ensure!(
        report.process(worker)?.allocated().blocks > 1_000,
        "the worker's row is empty"
    );
    ensure!(master.ended()?.is_none(), "nginx ended");
    load::http_load(port, 20)
}
