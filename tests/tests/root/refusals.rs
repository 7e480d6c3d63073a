//! What cannot be traced is refused in one line that says why and what to do, with exit code 2.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use memlens_tests::child::Owned;
use memlens_tests::{Live, Memlens, Program, Victim, elf32, need, paths};
use tracer_common::loss::Loss;

fn refused(args: &[&str], words: &[&str]) -> Result<()> {
    need::root()?;
    Memlens::run(args)?.refused_with(words)
}

#[test]
fn no_such_pid() -> Result<()> {
    // Above every possible PID (2^22 at most).
    refused(&["leaks", "-p", "4999999"], &["4999999", "no such process"])?;
    // One that has just ended.
    let mut child = Owned::start(&mut Command::new("true"))?;
    child.wait(std::time::Duration::from_secs(5))?;
    let pid = child.pid().to_string();
    refused(&["leaks", "-p", &pid], &[&pid])?;
    refused(&["trace", "-p", &pid], &[&pid])
}

/// One bad PID of two is named, and the other is traced.
#[test]
fn one_of_several_pids_is_not_there() -> Result<()> {
    let mut victim = Victim::start(Program::new("leak_each").command(&["malloc"])?)?;
    let list = format!("{},4999999", victim.pid());
    let memlens = Memlens::leaks_of(&["-p", &list], &[])?;
    victim.run()?;
    let ended = memlens.interrupt()?;
    let named = |line: &String| line.contains("4999999") && line.contains("no such process");
    ensure!(ended.errors.iter().any(named), "{:?}", ended.errors);
    ended
        .last_report()?
        .check_exact(victim.pid(), Live::new(30_000, 1))
}

#[test]
fn no_process_of_that_name() -> Result<()> {
    refused(&["leaks", "-n", "no-such-name-1"], &["no-such-name-1"])
}

#[test]
fn a_kernel_thread() -> Result<()> {
    let pid = kernel_thread()
        .context("no kernel thread can be seen: run the tests in the initial PID namespace")?;
    refused(&["leaks", "-p", &pid], &[&pid, "kernel thread"])
}

/// A process without a program: kernel threads have an empty command line and no executable.
fn kernel_thread() -> Option<String> {
    std::fs::read_dir("/proc").ok()?.find_map(|entry| {
        let path = entry.ok()?.path();
        let pid = path.file_name()?.to_str()?.to_string();
        pid.parse::<u32>().ok()?;
        let status = std::fs::read_to_string(path.join("status")).ok()?;
        status.contains("Kthread:\t1").then_some(pid)
    })
}

/// Without privileges: which capabilities, and what to run. The program lies where everybody can read it.
#[test]
fn no_permission() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("memlens");
    std::fs::copy(paths::memlens()?, &copy)?;
    for path in [folder.path(), &copy] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode)?;
    }
    let as_nobody = || -> Result<Command> {
        let mut command = Command::new(need::program("setpriv")?);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        Ok(command)
    };
    let victim_path = folder.path().join("sleepy");
    std::fs::copy(Program::new("sleepy").build()?, &victim_path)?;
    let mut command = as_nobody()?;
    command.arg(&victim_path);
    let victim = Victim::start(command)?;
    let mut command = as_nobody()?;
    command
        .arg(&copy)
        .args(["leaks", "-p", &victim.pid().to_string()]);
    Memlens::start_command(command)?.wait()?.refused_with(&[
        "CAP_BPF",
        "CAP_PERFMON",
        "CAP_SYS_PTRACE",
    ])
}

#[test]
fn an_object_that_is_not_elf() -> Result<()> {
    let victim = Victim::start(Program::new("sleepy").command(&[])?)?;
    let pid = victim.pid().to_string();
    let text = paths::victims().join("victim.h").display().to_string();
    refused(
        &["leaks", "-p", &pid, "--object", &text],
        &["victim.h", "ELF"],
    )?;
    refused(
        &["leaks", "-p", &pid, "--object", "/no/such/file"],
        &["/no/such/file"],
    )
}

/// What is no file is said to be none, whatever is traced.
#[test]
fn an_object_that_is_no_file() -> Result<()> {
    let victim = Victim::start(Program::new("sleepy").command(&[])?)?;
    let pid = victim.pid().to_string();
    let command = Program::new("sleepy").build()?.display().to_string();
    for target in [&["-p", &pid][..], &["--all"], &["--", &command]] {
        for (object, what) in [("/usr", "a directory"), ("/dev/null", "not a regular file")] {
            let args = [&["leaks", "-O", object][..], target].concat();
            refused(&args, &[object, what, "name an x86-64 ELF file"])?;
        }
    }
    refused(
        &["leaks", "-O", "/no/such/file", "--", &command],
        &["does not load /no/such/file"],
    )
}

#[test]
fn an_object_without_allocator_symbols() -> Result<()> {
    let victim = Victim::start(Program::new("sleepy").command(&[])?)?;
    let pid = victim.pid().to_string();
    let object = need::library("libdl.so.2")
        .or_else(|_| need::library("libz.so.1"))?
        .display()
        .to_string();
    refused(
        &["leaks", "-p", &pid, "--object", &object],
        &[&object, "malloc"],
    )
}

/// Static and stripped: there is nothing to find the allocator by.
#[test]
fn a_static_program_without_symbols() -> Result<()> {
    let program = Program::new("sleepy").statically().flag("-s");
    let victim = Victim::start(program.command(&[])?)?;
    let pid = victim.pid().to_string();
    refused(&["leaks", "-p", &pid], &[&pid, "symbol"])
}

#[test]
fn a_32_bit_process() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tiny32");
    elf32::write(&path)?;
    let child = Owned::start(&mut Command::new(&path))
        .context("the kernel runs no 32-bit programs (CONFIG_IA32_EMULATION)")?;
    let pid = child.pid().to_string();
    refused(&["leaks", "-p", &pid], &[&pid, "32-bit"])
}

/// An untraceable process beside a good one is named; the good one is traced.
#[test]
fn a_32_bit_process_among_others() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tiny32");
    elf32::write(&path)?;
    let child = Owned::start(&mut Command::new(&path))?;
    let mut victim = Victim::start(Program::new("leak_each").command(&["malloc"])?)?;
    let list = format!("{},{}", victim.pid(), child.pid());
    let memlens = Memlens::leaks_of(&["-p", &list], &[])?;
    victim.run()?;
    let ended = memlens.interrupt()?;
    let pid = child.pid().to_string();
    let named = |line: &String| line.contains(&pid) && line.contains("32-bit");
    ensure!(ended.errors.iter().any(named), "{:?}", ended.errors);
    ended
        .last_report()?
        .check_exact(victim.pid(), Live::new(30_000, 1))
}

/// A file that cannot be made is found out before the trace, not after it.
#[test]
fn an_output_file_that_cannot_be_made() -> Result<()> {
    let mut victim = Victim::start(Program::new("leak_each").command(&["malloc"])?)?;
    let pid = victim.pid().to_string();
    refused(
        &["leaks", "-p", &pid, "--svg", "/no/such/folder/leaks.svg"],
        &["/no/such/folder"],
    )?;
    // The victim was not touched, and can be traced.
    let memlens = Memlens::leaks(victim.pid(), &[])?;
    victim.run()?;
    let report = memlens.stop()?;
    report.check_exact(victim.pid(), Live::new(30_000, 1))?;
    ensure!(
        report.losses.of(Loss::UnknownFrees) == 0,
        "{:?}",
        report.losses
    );
    Ok(())
}
