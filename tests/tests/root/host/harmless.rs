//! What is not traced is not touched, and what probes would hurt is left alone.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memlens::profile::GuardAction;
use memlens_tests::child::Owned;
use memlens_tests::host::{admission, guard_steps_of};
use memlens_tests::{Live, Memlens, Program, Victim, cgroup::Cgroup, code, load, need};
use tracer_common::loss::Loss;

use super::{LEAK, leak_each, traced};

/// How often a program is run under each tool while the whole host is traced.
const RUNS: usize = 5;
/// How long one run may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A process outside of the scope never has a breakpoint in its code, from before the trace until after it.
#[test]
fn a_process_outside_has_no_breakpoint() -> Result<()> {
    let cgroup = Cgroup::new()?;
    let mut inside = Victim::start(cgroup.enter(leak_each("host-in").command(&["malloc"])?)?)?;
    let mut outside = Victim::start(leak_each("host-out").command(&["malloc"])?)?;
    let pid = outside.pid();
    let is_over = AtomicBool::new(false);
    let looks = std::thread::scope(|threads| -> Result<u32> {
        let watch = threads.spawn(|| -> Result<u32> {
            let mut looks = 0;
            while !is_over.load(Ordering::Relaxed) {
                let changed = code::changed(pid)?;
                ensure!(changed.is_empty(), "after {looks} looks: {changed:?}");
                looks += 1;
            }
            Ok(looks)
        });
        let traces = || -> Result<()> {
            for scope in [["--cgroup", cgroup.path()], ["--user", "nobody"]] {
                let memlens = traced(&scope, &[])?;
                if scope[0] == "--cgroup" {
                    code::until_probed(inside.pid(), "")?;
                }
                std::thread::sleep(Duration::from_millis(500));
                memlens.stop()?;
            }
            Ok(())
        };
        let traced = traces();
        is_over.store(true, Ordering::Relaxed);
        traced?;
        watch
            .join()
            .map_err(|_| anyhow::anyhow!("the watch failed"))?
    })?;
    ensure!(looks > 3, "only {looks} looks");
    inside.run()?;
    outside.run()?;
    Ok(())
}

/// Starts a program again and again, by itself and under a tool, while everything is traced: all runs end as without.
#[test]
fn programs_under_tools_end_as_without() -> Result<()> {
    need::root()?;
    let program = leak_each("host-under").build()?;
    let program = program.to_string_lossy().into_owned();
    let tools: [&[&str]; 4] = [
        &["valgrind", "-q"],
        &["qemu-x86_64"],
        &["gdb", "-batch", "-nx", "-ex", "run", "--args"],
        &["strace", "-f", "-o", "/dev/null"],
    ];
    let run = |tool: &[&str]| -> Result<()> {
        let (name, words) = tool.split_first().context("a tool")?;
        let mut command = Command::new(need::program(name)?);
        command
            .args(words)
            .args([&program, "malloc", "3"])
            .env("VICTIM_FREE_RUN", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status = Owned::start(&mut command)?.wait(LIMIT)?;
        ensure!(status.success(), "{name}: {status}");
        Ok(())
    };
    for young in [&[][..], &["--young"]] {
        let mut more = vec!["--cpu-budget", "off"];
        more.extend(young);
        let memlens = Memlens::leaks_of(&["--all"], &more)?;
        for tool in tools {
            for turn in 0..RUNS {
                run(tool).with_context(|| format!("run {turn} with {young:?}"))?;
            }
        }
        memlens.stop()?;
    }
    Ok(())
}

/// A program that runs under valgrind for long is left alone, with the reason; where it was named it is refused.
#[test]
fn a_program_under_valgrind() -> Result<()> {
    need::root()?;
    let program = leak_each("host-valgrind").build()?;
    let mut command = Command::new(need::program("valgrind")?);
    command.arg("-q").arg(program).arg("malloc");
    let mut victim = Victim::start(command)?;
    let pid = victim.pid();
    Memlens::run(["leaks", "-p", &pid.to_string(), "1", "1"])?
        .refused_with(&["valgrind", "--force"])?;
    let mut memlens = Memlens::leaks_of(&["--all"], &["0.5"])?;
    let report = memlens.report_with("valgrind's program is refused", |report| {
        admission(report).is_ok_and(|known| known.refused.iter().any(|refused| refused.pid == pid))
    })?;
    let refused = admission(&report)?
        .refused
        .iter()
        .find(|refused| refused.pid == pid);
    ensure!(
        refused.is_some_and(|refused| refused.reason.contains("valgrind")),
        "{refused:?}"
    );
    assert_eq!(code::changed(pid)?, []);
    victim.run()?;
    memlens.stop()?;
    ensure!(victim.exit()?.success(), "valgrind's program was hurt");
    Ok(())
}

/// A trace of the whole host that leaves a process does not touch the probes of another trace of that process.
#[test]
fn two_traces_of_one_process() -> Result<()> {
    need::root()?;
    let program = Program::new("alloc_loop").named("host-two");
    let mut victim = Victim::start(program.command(&["-s", "4"])?)?;
    let pid = victim.pid();
    let named = Memlens::leaks(pid, &[])?;
    let all = Memlens::leaks_of(&["--all"], &["--cpu-budget", "1"])?;
    victim.go_to("rate")?;
    let left = all.stop()?;
    ensure!(
        guard_steps_of(&left, pid)?
            .iter()
            .any(|step| step.action == GuardAction::ProbesOff),
        "the trace of the host has not left it: {:?}",
        left.sections.guard
    );
    let pairs_before = victim.go_to("rate")?;
    ensure!(!pairs_before.is_empty(), "it has made no pairs");
    let report = named.stop()?;
    report.check_complete()?;
    let row = report.process(pid)?;
    ensure!(row.probes_off.is_none(), "{row:?}");
    ensure!(victim.exit()?.success(), "the program was hurt");
    Ok(())
}

/// Another program puts the original instructions back: that is a loss, and the probes are placed again.
#[test]
fn probes_that_another_program_removes() -> Result<()> {
    need::root()?;
    let mut victim = Victim::start(leak_each("host-blind").command(&["malloc", "3"])?)?;
    let pid = victim.pid();
    let mut memlens = Memlens::leaks(pid, &["0.3"])?;
    code::until_probed(pid, "")?;
    let probes = code::changed(pid)?;
    ensure!(!probes.is_empty(), "there are no probes");
    code::restore(pid, &probes)?;
    let report =
        memlens.report_with("the loss", |report| report.losses.of(Loss::ProbesGone) > 0)?;
    ensure!(!report.complete, "the report says that it is complete");
    let words = format!("process {pid} (host-blind)");
    ensure!(
        report
            .notes
            .iter()
            .any(|note| note.contains(&words) && note.contains("in place again")),
        "{:?}",
        report.notes
    );
    ensure!(!code::changed(pid)?.is_empty(), "they are not there again");
    victim.run()?;
    let report = memlens.stop()?;
    report.check_process(pid, Live::new(90_000, 3))?;
    Ok(())
}

/// A child that is not traced gets rid of the breakpoints that it has inherited.
#[test]
fn an_untraced_child_is_cleared() -> Result<()> {
    need::root()?;
    let mut victim = Victim::start(
        Program::new("admitted")
            .named("host-cleared")
            .command(&["fork"])?,
    )?;
    let pid = victim.pid();
    let memlens = Memlens::leaks(pid, &[])?;
    victim.go_to("done")?;
    let [child] = load::children(pid)?[..] else {
        anyhow::bail!("not one child: {:?}", load::children(pid)?);
    };
    let begun = Instant::now();
    code::until_unchanged(child)?;
    ensure!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    ensure!(
        !code::changed(pid)?.is_empty(),
        "the parent has lost its probes"
    );
    let report = memlens.stop()?;
    report.check_function_of(pid, "leak_one", Live::new(1_000, 1))?;
    assert_eq!(report.losses.of(Loss::UntracedChildren), 1);
    Ok(())
}

/// With `--children` a child is traced, and the programs that it starts; from when on is said.
#[test]
fn children_that_are_traced() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let go = folder.path().join("go");
    // The shell is no exec: it goes on afterwards.
    let script = format!(
        "(while [ ! -e '{}' ]; do sleep 0.05; done; VICTIM_FREE_RUN=1 '{}' 300) & wait; exit 5",
        go.display(),
        Program::new("leak_soon")
            .named("host-child")
            .build()?
            .display()
    );
    let mut memlens = Memlens::start([
        "leaks", "-f", "--json", "--top", "1000000", "3600", "--", "sh", "-c", &script,
    ])?;
    memlens.wait_until_tracing()?;
    std::fs::write(&go, "")?;
    let ended = memlens.wait()?;
    assert_eq!(ended.status.code(), Some(5), "the command's own exit code");
    let report = ended.final_report()?;
    let child = report
        .subjects
        .iter()
        .find(|subject| subject.command == "host-child")
        .context("no child")?;
    report.check_function_of(child.pid.unwrap_or(0), "leak_late", LEAK)?;
    ensure!(
        report.notes.iter().any(|note| note.contains("birth on")),
        "{:?}",
        report.notes
    );
    Ok(())
}
