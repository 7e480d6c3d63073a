//! What `memlens explain` says where there is little or nothing to explain.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens_tests::child::{Owned, until};
use memlens_tests::explain::{explain, explain_with};
use memlens_tests::{Memlens, Program, Victim, elf32, need, paths};
use serde_json::Value;

fn refused(args: &[&str], words: &[&str]) -> Result<()> {
    let mut all = vec!["explain"];
    all.extend(args);
    Memlens::run(all)?.refused_with(words)
}

#[test]
fn words_that_mean_nothing() -> Result<()> {
    refused(&[], &["PID"])?;
    refused(&["abc"], &["abc", "not a PID"])?;
    refused(&["0"], &["0"])?;
    refused(&["1", "2"], &["2"])?;
    refused(&["1", "--trace", "x"], &["--trace", "x"])?;
    refused(&["1", "--trace", "0"], &["--trace", "5 (seconds)"])?;
    refused(
        &["1", "--trace", "5", "--diff", "file"],
        &["--trace", "--diff"],
    )
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
    explained.says_at("/notes", &["32-bit", "not walked"])?;
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
    let value: Value = serde_json::from_slice(&output.stdout)?;
    let rows = value["ledger"].as_array().context("no ledger")?;
    let sum: u64 = rows.iter().filter_map(|row| row["resident"].as_u64()).sum();
    let resident = value["totals"]["resident"].as_u64().context("no total")?;
    ensure!(sum == resident && resident > 0, "{sum} of {resident}");
    let note = value["notes"][0].as_str().unwrap_or_default();
    ensure!(
        note.contains("run as root") && note.contains("CAP_SYS_PTRACE"),
        "{note}"
    );
    ensure!(value["allocators"] == serde_json::json!([]));
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
    let leaks = file("leaks", r#"{"schema":"memlens.leaks/1"}"#)?;
    refused(&["--diff", &leaks, &pid], &["memlens.leaks/1"])?;
    let short = file("short", r#"{"schema":"memlens.explain/1"}"#)?;
    refused(&["--diff", &short, &pid], &["missing field"])?;
    let other = explain(std::process::id())?;
    let other = file("other", &other.0.to_string())?;
    refused(
        &["--diff", &other, &pid],
        &["is not the process that has PID", &pid],
    )?;
    let same = file("same", &explain(victim.pid())?.0.to_string())?;
    let explained = explain_with(victim.pid(), &["--diff", &same])?;
    ensure!(
        explained.0["change"]["resident"].is_i64(),
        "{}",
        explained.0["change"]
    );
    Ok(())
}
