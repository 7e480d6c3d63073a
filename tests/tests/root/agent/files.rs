//! Settings and the files that are shipped.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens_tests::{Memlens, http, need, paths};

use super::{Agent, free_address};

#[test]
fn settings_are_read_again_on_a_hangup() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, "rows = 3 # few\ntrace = 'none'\n")?;
    let path = file.to_str().context("a path")?.to_owned();
    let mut agent = Agent::start(&["--config", &path])?;
    let rows = |agent: &Agent| -> Result<usize> {
        let text = agent.get("/metrics")?.text();
        Ok(text.matches("\nmemlens_process_memory_bytes{").count())
    };
    ensure!(rows(&agent)? <= 3, "more rows than were asked for");
    std::fs::write(&file, "rows = 3\ntrace = 'nome'\n")?;
    agent.memlens.signal(libc::SIGHUP)?;
    agent.until("the mistake is told", |agent| {
        let failed = agent.metric("memlens_agent_reloads_total{result=\"failed\"}");
        failed.ok()?.filter(|failed| *failed == 1.0)
    })?;
    let said = agent.memlens.errors().join("\n");
    ensure!(
        said.contains("agent.toml:2: trace: expected one of"),
        "{said}"
    );
    std::fs::write(&file, "rows = 200\nwith-pid = true\n")?;
    agent.memlens.signal(libc::SIGHUP)?;
    agent.until("there are more rows", |agent| {
        rows(agent).ok().filter(|rows| *rows > 3)
    })?;
    agent.until("heaps can be traced", |agent| {
        let tracing = agent.metric("memlens_agent_tracing ");
        tracing.ok()?.filter(|tracing| *tracing == 1.0)
    })?;
    agent.end()?;
    Ok(())
}

#[test]
fn what_is_shipped_is_right() -> Result<()> {
    let dist = paths::workspace().join("dist");
    let config = dist.join("agent.toml");
    let checked = Memlens::run([
        "agent",
        "--check",
        "--config",
        config.to_str().context("a path")?,
    ])?;
    checked.succeeded()?;
    let promtool = need::program("promtool")?;
    for (what, file) in [
        ("rules", "prometheus/alerts.yml"),
        ("config", "prometheus/prometheus.yml"),
    ] {
        let output = Command::new(&promtool)
            .args(["check", what])
            .arg(dist.join(file))
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{file}: {said}");
    }
    // Every metric that the dashboard and the alerts ask for is one that an agent has.
    let agent = Agent::start(&["--name", "hoard"])?;
    let known = agent.get("/metrics")?.text();
    let source = std::fs::read_to_string(paths::workspace().join("tracer/src/agent/metrics.rs"))?
        + &std::fs::read_to_string(paths::workspace().join("tracer/src/agent/metrics/heaps.rs"))?;
    let dashboard = std::fs::read_to_string(dist.join("grafana/memlens.json"))?;
    let board: serde_json::Value = serde_json::from_str(&dashboard)?;
    ensure!(
        board["panels"]
            .as_array()
            .is_some_and(|panels| panels.len() >= 8),
        "few panels"
    );
    let rules = std::fs::read_to_string(dist.join("prometheus/alerts.yml"))?;
    for text in [&dashboard, &rules] {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for word in words.filter(|word| word.starts_with("memlens_")) {
            let stem = word.trim_end_matches("_total").trim_end_matches("_info");
            let is_known = known.contains(word) || source.contains(&format!("\"{stem}\""));
            ensure!(is_known, "no agent has {word}");
        }
    }
    agent.end()?;
    Ok(())
}

#[test]
fn the_capabilities_of_the_unit_suffice() -> Result<()> {
    need::root()?;
    let unit = std::fs::read_to_string(paths::workspace().join("dist/memlens-agent.service"))?;
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let capabilities: Vec<String> = line
        .context("no capabilities")?
        .split_whitespace()
        .map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    let set = format!("-all,{}", capabilities.join(","));
    let folder = tempfile::tempdir()?;
    let mut hoard = super::Hoard::start(&folder, 300_000)?;
    let address = free_address()?;
    let mut command = Command::new(need::program("setpriv")?);
    command
        .arg(format!("--bounding-set={set}"))
        .args(["--no-new-privs"])
        .arg(paths::memlens()?)
        .args([
            "agent",
            "--interval",
            "1s",
            "--name",
            "hoard",
            "--trace",
            "named",
        ])
        .args([
            "--listen",
            &address.to_string(),
            "--socket",
            "none",
            "--state-dir",
            "none",
        ]);
    let memlens = Memlens::start_command(command)?;
    let begun = std::time::Instant::now();
    let metric = |name: &str| -> Option<f64> {
        let text = http::get(address, "/metrics").ok()?.text();
        let line = text.lines().find(|line| line.starts_with(name))?.to_owned();
        line.rsplit_once(' ')?.1.parse().ok()
    };
    while metric("memlens_agent_probed_processes ").is_none_or(|probed| probed < 1.0) {
        ensure!(
            begun.elapsed() < super::LIMIT,
            "no probes: {:?}",
            memlens.errors()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    hoard.victim.go()?;
    while metric("memlens_process_heap_live_bytes{comm=\"hoard\"").is_none_or(|live| live < 1e5) {
        ensure!(
            begun.elapsed() < super::LIMIT,
            "nothing traced: {:?}",
            memlens.errors()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    memlens.interrupt()?.succeeded()?;
    Ok(())
}

#[test]
fn once_is_enough_for_cron() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let mut hoard = super::Hoard::start(&folder, 1_000_000)?;
    hoard.victim.go()?;
    let state = folder.path().join("state");
    let ended = Memlens::run([
        "agent",
        "--once",
        "--interval",
        "4s",
        "--report-on",
        "growth",
        "--report-growth",
        "5MiB",
        "--state-dir",
        state.to_str().context("a path")?,
    ])?;
    ended.succeeded()?;
    let written = std::fs::read_dir(&state)?.count();
    ensure!(written >= 3, "{written} files");
    Ok(())
}
