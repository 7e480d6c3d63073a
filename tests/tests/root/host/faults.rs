//! What goes wrong on a host: files that change under running programs, a hidden /proc, a memlens that is killed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use memlens_tests::code::{self, BREAKPOINT};
use memlens_tests::{Live, Memlens, Program, Victim, need, paths};

use super::{LEAK, Stage, everything, leak_each, start_probed};

/// An executable that was deleted, and one that was replaced by another program, of which both run.
#[test]
fn executables_deleted_and_replaced() -> Result<()> {
    let stage = Stage::enter()?;
    let folder = tempfile::tempdir()?;
    let [deleted, replaced] = ["deleted", "replaced"].map(|name| folder.path().join(name));
    let program = leak_each("host-static").statically().build()?;
    let other = Program::new("fill_live").statically().build()?;
    std::fs::copy(&program, &deleted)?;
    std::fs::copy(&program, &replaced)?;
    let start = |path: &Path, args: &[&str]| {
        let mut command = Command::new(path);
        command.args(args);
        Victim::start(command)
    };
    let mut gone = start(&deleted, &["malloc"])?;
    let mut old = start(&replaced, &["calloc"])?;
    std::fs::remove_file(&deleted)?;
    std::fs::copy(&other, folder.path().join("new"))?;
    std::fs::rename(folder.path().join("new"), &replaced)?;
    let mut new = start(&replaced, &["10", "70"])?;
    let memlens = stage.trace(&[])?;
    gone.run()?;
    old.run()?;
    new.go_to("filled")?;
    // And once more while the trace runs.
    std::fs::copy(&program, folder.path().join("newer"))?;
    std::fs::rename(folder.path().join("newer"), &replaced)?;
    let mut newest = start(&replaced, &["realloc", "2"])?;
    code::until_probed(newest.pid(), "replaced")?;
    newest.run()?;
    let report = memlens.stop()?;
    for (victim, function, expected) in [
        (&gone, "leak_malloc", LEAK),
        (&old, "leak_calloc", LEAK),
        (&new, "fill", Live::new(700, 10)),
        (&newest, "leak_realloc", Live::new(60_000, 2)),
    ] {
        report.check_process(victim.pid(), expected)?;
        report.check_function_of(victim.pid(), function, expected)?;
    }
    Ok(())
}

/// A shared library that a package manager replaces: old processes keep the old file, new ones get the new one.
#[test]
fn a_library_replaced_while_it_runs() -> Result<()> {
    let stage = Stage::enter()?;
    let folder = tempfile::tempdir()?;
    let library = folder.path().join("libjemalloc.so");
    std::fs::copy(need::library("libjemalloc.so.2")?, &library)?;
    let start = |name| {
        let mut command = leak_each(name).command(&["malloc"])?;
        command.env("LD_PRELOAD", &library);
        Victim::start(command)
    };
    let mut old = start("host-old-lib")?;
    let memlens = stage.trace(&[])?;
    std::fs::copy(
        need::library("libjemalloc.so.2")?,
        folder.path().join("new"),
    )?;
    std::fs::rename(folder.path().join("new"), &library)?;
    let mut new = start("host-new-lib")?;
    code::until_probed(new.pid(), "libjemalloc.so")?;
    old.run()?;
    new.run()?;
    let report = memlens.stop()?;
    for victim in [&old, &new] {
        report.check_function_of(victim.pid(), "leak_malloc", LEAK)?;
    }
    Ok(())
}

/// With /proc mounted so that users see only their own processes, root still sees all.
#[test]
fn a_hidden_proc() -> Result<()> {
    need::root()?;
    for option in ["hidepid=2", "hidepid=4"] {
        let mut before = Victim::start(leak_each("host-hidden").command(&["malloc"])?)?;
        let script = format!("mount -t proc -o {option} proc /proc && exec \"$@\"");
        let mut command = Command::new(need::program("unshare")?);
        command
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .args([&script, "sh"])
            .arg(paths::memlens()?)
            .args(["leaks", "--all", "3600", "--json", "--top", "1000000"])
            .args(["--cpu-budget", "off", "--young"]);
        let mut memlens = Memlens::start_command(command)?;
        memlens.wait_until_tracing()?;
        code::until_probed(before.pid(), "")?;
        let mut later = start_probed(leak_each("host-hidden").command(&["malloc"])?)?;
        before.run()?;
        later.run()?;
        let report = memlens.stop()?;
        for victim in [&before, &later] {
            let row = report.check_process(victim.pid(), LEAK)?;
            assert_eq!(row.command, "host-hidden", "{option}");
            report.check_function_of(victim.pid(), "leak_malloc", LEAK)?;
        }
    }
    Ok(())
}

/// However the trace ends, no process keeps a breakpoint in its code, and all go on.
#[test]
fn nothing_is_left_behind() -> Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGKILL] {
        let mut before = Victim::start(leak_each("host-clean").command(&["malloc"])?)?;
        assert_eq!(code::changed(before.pid())?, []);
        let mut memlens = everything(&[])?;
        let mut during = start_probed(leak_each("host-clean").command(&["malloc"])?)?;
        let probes = code::changed(before.pid())?;
        ensure!(
            probes.len() > 5 && probes.iter().all(|probe| probe.byte == BREAKPOINT),
            "{probes:?}"
        );
        ensure!(
            probes
                .iter()
                .all(|probe| probe.path.contains("libc") || probe.path.contains("ld-")),
            "{probes:?}"
        );
        // But for the one that it has measured a hit with, in its own code.
        let own = paths::memlens()?;
        let own: Vec<_> = code::changed(memlens.pid())?
            .into_iter()
            .filter(|probe| Path::new(&probe.path) != own)
            .collect();
        assert_eq!(own, [], "memlens pays for its own probes");
        memlens.signal(signal)?;
        let ended = memlens.wait()?;
        ensure!(
            ended.status.success() == (signal != libc::SIGKILL),
            "{}",
            ended.status
        );
        for victim in [&mut before, &mut during] {
            code::until_unchanged(victim.pid()).with_context(|| format!("signal {signal}"))?;
            victim.run()?;
        }
        ensure!(
            before.exit()?.success() && during.exit()?.success(),
            "a program was hurt"
        );
    }
    Ok(())
}
