//! The moment of a kill for lack of memory, and other reasons to write a report.

use anyhow::{Context, Result, ensure};
use memlens::profile::{Measure, Source};
use memlens::recording::Recording;
use memlens_tests::cgroup::LimitedMemory;
use memlens_tests::need;

use super::{Agent, Hoard};

/// Memory of the cgroup that the victim is killed in.
const ROOM: u64 = 64 << 20;

#[test]
fn a_kill_for_lack_of_memory_leaves_the_stacks_of_the_victim() -> Result<()> {
    need::root()?;
    let cgroup = LimitedMemory::new()?;
    cgroup.limit_to(ROOM)?;
    let folder = tempfile::tempdir()?;
    let mut hoard = Hoard::start_as(&folder, 20 << 20, |command| cgroup.enter(command))?;
    let agent = Agent::start(&["--name", "hoard", "--trace", "named", "--report-on", "oom"])?;
    agent.until_probed(1.0)?;
    let pid = hoard.victim.pid();
    hoard.victim.go()?;
    hoard.victim.wait()?;
    let held = hoard.held()?;
    let file = agent.until("a report is written", |agent| {
        agent.reports("oom", ".memlens").into_iter().next()
    })?;
    for ending in [".pb.gz", ".html"] {
        let files = agent.reports("oom", ending);
        ensure!(files.len() == 1, "{ending}: {files:?}");
        ensure!(std::fs::metadata(&files[0])?.len() > 300, "{files:?}");
    }
    let recording = Recording::of_bytes(std::fs::read(&file)?)?;
    let mut live = None;
    recording.profiles(&[0], |_, profile| {
        let bytes: u64 = profile
            .samples_of(Source::Heap)
            .filter(|sample| {
                let mut frames = profile.frames(sample);
                frames.any(|frame| frame.symbol.as_deref() == Some("hoard"))
            })
            .map(|sample| profile.amount(sample, Measure::HeapLiveBytes))
            .sum();
        let pids: Vec<Option<u32>> = profile.subjects.iter().map(|one| one.pid).collect();
        live = Some((bytes, pids));
    })?;
    let (live, pids) = live.context("a profile")?;
    println!("held {held}, on disk {live}");
    ensure!(pids == [Some(pid)], "{pids:?}");
    let off = live.abs_diff(held) as f64 / held as f64;
    ensure!(off <= 0.01, "it held {held} bytes, and {live} are on disk");
    ensure!(
        agent.metric("memlens_agent_oom_kills_seen_total ")? >= Some(1.0),
        "none seen"
    );
    agent.end()?;
    Ok(())
}

#[test]
fn growth_beyond_a_rate_is_reported_and_old_reports_go() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut hoard = Hoard::start(&folder, 1_000_000)?;
    let state = tempfile::tempdir()?;
    let reports = state.path().join("state");
    std::fs::create_dir(&reports)?;
    for day in 1..=5 {
        let name = format!("2020010{day}T000000000Z-oom-1.html");
        std::fs::write(reports.join(name), "old")?;
    }
    std::fs::write(reports.join("notes.txt"), "mine")?;
    let args = [
        "--name",
        "hoard",
        "--report-on",
        "growth",
        "--report-growth",
        "10MiB",
        "--keep",
        "3",
    ];
    let agent = Agent::start_in(state, &args)?;
    agent.until_probed(1.0)?;
    hoard.victim.go()?;
    agent.until("a report is written", |agent| {
        agent.reports("growth", ".memlens").into_iter().next()
    })?;
    // What else grows on the machine is reported, too, so the old ones may all be gone.
    agent.until("the oldest are gone", |agent| {
        let old = agent.reports("oom", ".html").len();
        let new = agent.reports("growth", ".memlens").len();
        (old + new <= 3).then_some(())
    })?;
    ensure!(
        reports.join("notes.txt").exists(),
        "what is no report was removed"
    );
    agent.end()?;
    Ok(())
}

#[test]
fn a_leak_is_called_one_and_reported() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut hoard = Hoard::start(&folder, 100_000)?;
    let args = ["--name", "hoard", "--trace", "named", "--report-on", "leak"];
    let agent = Agent::start(&args)?;
    agent.until_probed(1.0)?;
    hoard.victim.go()?;
    // What nothing points to is looked for half a minute after the start.
    agent.until("the verdict is told", |agent| {
        let text = agent.get("/metrics").ok()?.text();
        let mut lines = text.lines();
        lines
            .any(|line| {
                line.starts_with("memlens_process_heap_verdict_info{comm=\"hoard\"")
                    && line.contains("verdict=\"leak\"")
            })
            .then_some(())
    })?;
    agent.until("a report is written", |agent| {
        agent.reports("leak", ".html").into_iter().next()
    })?;
    agent.end()?;
    Ok(())
}
