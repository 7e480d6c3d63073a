//! What `memlens explain` says where there is little or nothing to explain.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens_tests::child::{Owned, until};
use memlens_tests::ledger::{explain, explain_with, list, signed};
use memlens_tests::{Memlens, Program, Report, Victim, elf32, need, paths};

fn refused(args: &[&str], words: &[&str]) -> Result<()> {
    let mut all = vec!["explain"];
    all.extend(args);
    Memlens::run(all)?.refused_with(words)
}

#[test]
fn words_that_mean_nothing() -> Result<()> {
    let misused = |args: &[&str], words: &[&str]| {
        let all = ["explain"].iter().chain(args);
        Memlens::run(all)?.misused_with(words)
    };
    misused(&[], &["<PID|NAME|--pid <PID>|--name <NAME>>"])?;
    refused(&["no-such-name"], &["no-such-name", "no process is named"])?;
    misused(&["0"], &["0"])?;
    misused(&["1", "2"], &["2"])?;
    misused(&["1", "-p", "1"], &["[PID|NAME]", "--pid <PID>"])?;
    misused(&["1", "--trace", "x"], &["--trace", "x"])?;
    misused(&["1", "--trace", "0"], &["--trace", "5 (seconds)"])?;
    misused(
        &["1", "--trace", "5", "--diff", "file"],
        &["--trace", "--diff"],
    )
}

/// A process by `-p` and by `-n`; a name that no process or two processes have.
#[test]
fn a_process_by_its_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let name = format!("one-{}", std::process::id());
    let path = folder.path().join(&name);
    std::os::unix::fs::symlink(need::program("sleep")?, &path)?;
    refused(&["-n", &name], &[&name, "no process is named"])?;
    let first = Owned::start(Command::new(&path).arg("60"))?;
    let pid = first.pid().to_string();
    for words in [["-n", &name], ["-p", &pid]] {
        let ended = Memlens::run(["explain"].iter().chain(&words))?;
        ensure!(ended.status.code() == Some(0), "{:?}", ended.errors);
        let head = format!("{name} ({pid})");
        ensure!(ended.output[0].contains(&head), "{:?}", ended.output);
    }
    let second = Owned::start(Command::new(&path).arg("60"))?;
    let other = second.pid().to_string();
    refused(&["-n", &name], &["2 processes are named", &pid, &other])
}

#[test]
fn no_such_process() -> Result<()> {
    refused(&["4999999"], &["4999999", "gone"])
}

#[test]
fn a_kernel_thread() -> Result<()> {
    let pid = std::fs::read_dir("/proc")?.find_map(|entry| {
        let path = entry.ok()?.path();
        let pid: u32 = path.file_name()?.to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(path.join("status")).ok()?;
        status.contains("Kthread:\t1").then_some(pid)
    });
    let pid =
        pid.context("no kernel thread can be seen: run the tests in the initial PID namespace")?;
    refused(
        &[&pid.to_string()],
        &["thread of the kernel", "no memory of its own"],
    )
}

#[test]
fn a_zombie() -> Result<()> {
    let mut child = Command::new("true").spawn()?;
    let pid = child.id();
    until("it is a zombie", Duration::from_secs(10), || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Ok(stat.contains(") Z ").then_some(()))
    })?;
    let parent = std::process::id().to_string();
    refused(
        &[&pid.to_string()],
        &["has exited", "holds no memory", &parent],
    )?;
    child.wait()?;
    Ok(())
}

/// Processes that exit while they are looked at: never a crash, never more than one line.
#[test]
fn a_process_that_exits_meanwhile() -> Result<()> {
    for wait in 0..12 {
        let text = format!("0.0{wait:02}");
        let mut child = Owned::start(Command::new("sleep").arg(text))?;
        let ended = Memlens::run(["explain", "--json", &child.pid().to_string()])?;
        match ended.status.code() {
            Some(0) => ensure!(ended.output.len() == 1, "{:?}", ended.output),
            _ => ended.refused_with(&[&child.pid().to_string()])?,
        }
        child.wait(Duration::from_secs(5))?;
    }
    Ok(())
}

#[test]
fn a_32_bit_process() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("pause32");
    elf32::write(&path)?;
    let child = Owned::start(&mut Command::new(&path))
        .context("the kernel runs no 32-bit programs (CONFIG_IA32_EMULATION)")?;
    let explained = explain(child.pid())?;
    explained.check_says(&["32-bit", "not walked"])?;
    explained.check_ledger(child.pid())
}

/// Another user's process: the sums that everybody may read, and what to do for more.
#[test]
fn without_permission() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("memlens");
    std::fs::copy(paths::memlens()?, &copy)?;
    for path in [folder.path(), &copy] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    let victim = Victim::start(Program::new("reserve").command(&[])?)?;
    let output = Command::new(need::program("setpriv")?)
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&copy)
        .args(["explain", "--json", &victim.pid().to_string()])
        .stdin(Stdio::null())
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(0),
        "{}: {errors}",
        output.status
    );
    let report = Report::parse(&String::from_utf8(output.stdout)?)?;
    let sum = report.ledger("", "resident_bytes");
    let resident = report.process_total("rss_bytes")?;
    ensure!(sum == resident && resident > 0, "{sum} of {resident}");
    report.check_says(&["run as root", "CAP_SYS_PTRACE"])?;
    let allocators = &report.section("ledger")["allocators"];
    ensure!(list(allocators).next().is_none(), "{allocators}");
    Ok(())
}

/// `--diff` with what is no earlier explanation of that process.
#[test]
fn nothing_to_compare_with() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let victim = Victim::start(Program::new("reserve").command(&[])?)?;
    let pid = victim.pid().to_string();
    refused(
        &["--diff", "/no/such/file", &pid],
        &["/no/such/file", "cannot read"],
    )?;
    let text = file("text", "not JSON")?;
    refused(&["--diff", &text, &pid], &[&text, "is not what"])?;
    let later = file("later", r#"{"schema":"memlens/9"}"#)?;
    refused(&["--diff", &later, &pid], &["memlens/9"])?;
    let short = file("short", r#"{"schema":"memlens/1"}"#)?;
    refused(&["--diff", &short, &pid], &["missing field"])?;
    let other = explain(std::process::id())?;
    let other = file("other", &other.json.to_string())?;
    refused(
        &["--diff", &other, &pid],
        &["is not the process that has PID", &pid],
    )?;
    let same = file("same", &explain(victim.pid())?.json.to_string())?;
    let explained = explain_with(victim.pid(), &["--diff", &same])?;
    signed(explained.section("ledger_change"), "/resident_bytes").map(drop)
}
