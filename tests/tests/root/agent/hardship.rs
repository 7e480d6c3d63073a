//! What the machine may do to the agent: a disk that is full, a fork bomb, too little memory for others.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens_tests::cgroup::{Cgroup, LimitedMemory};
use memlens_tests::{Program, Victim, http, need, paths};

use super::{Agent, Hoard, free_address};

/// Processes of a fork bomb.
const MOST_PROCESSES: &str = "400";

/// A report that has no room is counted and leaves no part of a file; the agent goes on.
#[test]
fn a_full_disk_costs_reports_and_nothing_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut hoard = Hoard::start(&folder, 1_000_000)?;
    let own = tempfile::tempdir()?;
    let state = own.path().join("state");
    std::fs::create_dir(&state)?;
    let mut command = Command::new("unshare");
    let script = r#"mount -t tmpfs -o size=8k none "$1" && shift && exec "$@""#;
    command.args(["-m", "sh", "-c", script, "sh"]);
    command.arg(&state).arg(paths::memlens()?);
    let growth = ["--report-on", "growth", "--report-growth", "10MiB"];
    let agent = Agent::start_by(
        command,
        free_address()?,
        own,
        &[&["--name", "hoard"], &growth[..]].concat(),
    )?;
    agent.until_probed(1.0)?;
    hoard.victim.go()?;
    agent.until("a report fails", |agent| {
        let failed = agent.metric("memlens_agent_failed_reports_total ");
        failed.ok()?.filter(|failed| *failed >= 1.0)
    })?;
    let said = agent.memlens.errors().join("\n");
    ensure!(said.contains("no space left on device"), "{said}");
    let inside = format!("/proc/{}/root{}", agent.memlens.pid(), state.display());
    // The first of the three files had room.
    for left in std::fs::read_dir(&inside)? {
        let left = left?.path();
        let is_profile = left.extension().is_some_and(|ending| ending == "gz");
        ensure!(is_profile && is_whole_gzip(&left)?, "{}", left.display());
    }
    let live = "memlens_process_heap_live_bytes{comm=\"hoard\"";
    let before = agent.metric(live)?.context("no heap")?;
    agent.until("the heap is still traced", |agent| {
        agent.metric(live).ok()?.filter(|live| *live > before)
    })?;
    agent.end()?;
    Ok(())
}

/// Whether a profile is whole.
fn is_whole_gzip(file: &Path) -> Result<bool> {
    let output = Command::new(need::program("gzip")?)
        .arg("--test")
        .arg(file)
        .output()?;
    Ok(output.status.success())
}

/// Processes that come and go as fast as the machine can make them: the agent answers, and what it traces stays exact.
#[test]
fn a_fork_bomb_in_a_cgroup_is_survived() -> Result<()> {
    let cgroup = Cgroup::of_controller("pids")?;
    cgroup.write("pids.max", MOST_PROCESSES)?;
    let folder = tempfile::tempdir()?;
    let mut hoard = Hoard::start(&folder, 300_000)?;
    let agent = Agent::start(&["--name", "hoard", "--trace", "named"])?;
    agent.until_probed(1.0)?;
    hoard.victim.go()?;
    let command = Program::new("fork_bomb").command(&["6"])?;
    let mut bomb = Victim::start(cgroup.enter(command)?)?;
    bomb.go()?;
    let mut answered = 0;
    let mut most = 0;
    while bomb.is_running()? {
        let answer = http::get(agent.address, "/metrics")?;
        ensure!(answer.status == 200, "{}", answer.head);
        answered += 1;
        let inside = std::fs::read_to_string(cgroup.folder().join("pids.current"))?;
        most = most.max(inside.trim().parse::<u64>()?);
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("{answered} answers, {most} processes");
    ensure!(most > 200, "{most} processes are no bomb");
    ensure!(answered >= 5, "{answered} answers in 6 s");
    agent.until_exact(&hoard)?;
    ensure!(
        agent.metric("memlens_complete ")? == Some(1.0),
        "something was lost"
    );
    agent.end()?;
    Ok(())
}

/// Tasks that wait for memory since their cgroup has too little for the file that they read again and again.
#[test]
fn waiting_for_memory_is_reported() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    let cgroup = LimitedMemory::new()?;
    cgroup.limit_to(8 << 20)?;
    let mut hoard = Hoard::start(&folder, 300_000)?;
    let args = ["--name", "hoard", "--trace", "named"];
    let stall = ["--report-on", "stall", "--stall", "20ms"];
    let agent = Agent::start(&[&args[..], &stall].concat())?;
    agent.until_probed(1.0)?;
    hoard.victim.go()?;
    // The file is made within the cgroup, so that its pages count there. Four read at once, and each for a time that ends
    // by itself.
    let script = r#"head -c 64M /dev/zero >"$1"; for each in 1 2 3 4; do timeout 12 sh -c 'while cat "$1" >/dev/null; do :; done' sh "$1" & done; wait"#;
    let mut readers = Command::new("sh");
    readers.args(["-c", script, "sh"]).arg(&file);
    let mut readers = cgroup.enter(readers)?.spawn()?;
    let told = agent.until("waiting is reported", |agent| {
        agent.reports("stall", ".memlens").into_iter().next()
    });
    readers.wait()?;
    told?;
    agent.end()?;
    Ok(())
}
