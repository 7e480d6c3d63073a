//! What the agent serves, read by the programs that people read it with.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens::profile::{Measure, Profile};
use memlens_tests::{http, need};

use super::{Agent, Hoard};

/// What `go tool pprof` prints of an address or a file.
fn pprof(args: &[&str]) -> Result<String> {
    let home = tempfile::tempdir()?;
    let output = Command::new(need::program("go")?)
        .args(["tool", "pprof"])
        .args(args)
        .env("PPROF_TMPDIR", home.path())
        .env("HOME", home.path())
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pprof {args:?}: {errors}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_named_process_is_traced_and_read_by_pprof() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut hoard = Hoard::start(&folder, 300_000)?;
    let agent = Agent::start(&["--name", "hoard", "--trace", "named"])?;
    agent.until_probed(1.0)?;
    hoard.victim.go()?;
    let live = "memlens_process_heap_live_bytes{comm=\"hoard\"";
    agent.until("live bytes are told", |agent| {
        agent.metric(live).ok()?.filter(|bytes| *bytes > 300_000.0)
    })?;
    let pid = hoard.victim.pid();

    // Profiles: of now, of a process, as a difference of two scrapes, over a time.
    let url = |path: &str| format!("http://{}{path}", agent.address);
    let top = pprof(&[
        "-top",
        "-unit=b",
        &url(&format!("/debug/pprof/heap?pid={pid}")),
    ])?;
    ensure!(top.contains("hoard"), "{top}");
    let before = folder.path().join("before.pb.gz");
    std::fs::write(
        &before,
        agent.get(&format!("/pid/{pid}/debug/pprof/allocs"))?.body,
    )?;
    std::thread::sleep(Duration::from_secs(4));
    let base = format!("-diff_base={}", before.display());
    let grown = pprof(&[
        "-top",
        "-unit=b",
        &base,
        &url(&format!("/pid/{pid}/debug/pprof/allocs")),
    ])?;
    let line = grown
        .lines()
        .find(|line| line.contains('%') && line.trim_end().ends_with(" hoard"))
        .context(grown.clone())?;
    let bytes = line
        .trim()
        .split('B')
        .next()
        .and_then(|word| word.parse::<f64>().ok());
    ensure!(bytes.is_some_and(|bytes| bytes > 300_000.0), "{grown}");
    let over = agent.get(&format!("/debug/pprof/heap?pid={pid}&seconds=2"))?;
    let file = folder.path().join("over.pb.gz");
    std::fs::write(&file, &over.body)?;
    let over = pprof(&["-top", "-unit=b", file.to_str().context("a path")?])?;
    let line = over
        .lines()
        .find(|line| line.contains('%') && line.trim_end().ends_with(" hoard"))
        .context(over.clone())?;
    let bytes = line
        .trim()
        .split('B')
        .next()
        .and_then(|word| word.parse::<f64>().ok());
    ensure!(
        bytes.is_some_and(|bytes| (300_000.0..1_500_000.0).contains(&bytes)),
        "of two seconds: {over}"
    );

    // The profile as JSON is within what the process has done between two looks at its own count.
    let held_before = hoard.held()?;
    let json = agent.get(&format!("/profile.json?pid={pid}"))?;
    let held_after = hoard.held()?;
    let profile = Profile::parse(&json.body).map_err(anyhow::Error::msg)?;
    let live = profile.totals().amount(Measure::HeapLiveBytes);
    // A profile may be two seconds old.
    let oldest = held_before.saturating_sub(3 * 300_000);
    ensure!(
        (oldest..=held_after).contains(&live),
        "{oldest} {live} {held_after}"
    );

    // Discovery, the page, the socket.
    let targets = agent.get("/sd")?.text();
    ensure!(targets.contains(&format!("\"/pid/{pid}\"")), "{targets}");
    let page = agent.get(&format!("/pid/{pid}/report"))?;
    ensure!(
        page.status == 200 && page.text().contains("hoard"),
        "{}",
        page.head
    );
    let by_socket = http::get_by_socket(&agent.socket(), "/healthz")?;
    ensure!(by_socket.text() == "ok\n", "{by_socket:?}");
    ensure!(
        agent.get("/debug/pprof/heap?pid=1")?.status == 404,
        "init is not traced"
    );
    agent.end()?;
    Ok(())
}

#[test]
fn what_grows_is_found_and_traced_by_itself() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut hoard = Hoard::start(&folder, 400_000)?;
    let agent = Agent::start(&["--window", "60s"])?;
    hoard.victim.go()?;
    let low = "memlens_process_growth_low_bytes_per_second{comm=\"hoard\"";
    let (low, high) = agent.until("its growth is certain", |agent| {
        let low = agent.metric(low).ok()?.filter(|low| *low > 200_000.0)?;
        let high = low_to_high(agent)?;
        Some((low, high))
    })?;
    // Pages of the heap are taken as it grows: some more than what was asked for.
    ensure!(
        low <= 460_000.0 && high >= 380_000.0,
        "{low} to {high} bytes a second"
    );
    agent.until("its heap is traced", |agent| {
        let live = "memlens_process_heap_live_bytes{comm=\"hoard\"";
        agent.metric(live).ok()?.filter(|bytes| *bytes > 0.0)
    })?;
    let probed = agent.metric("memlens_agent_probed_processes ")?;
    ensure!(probed.is_some_and(|probed| probed <= 16.0), "{probed:?}");
    agent.end()?;
    Ok(())
}

/// Whoever is known may have a process traced; whoever is not may not.
#[test]
fn a_process_is_traced_while_somebody_wants_to_see_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut hoard = Hoard::start(&folder, 300_000)?;
    let agent = Agent::start(&["--trace", "named"])?;
    hoard.victim.go()?;
    let path = format!("/debug/pprof/heap?pid={}&seconds=3", hoard.victim.pid());
    ensure!(
        agent.get(&path)?.status == 404,
        "anybody may have it traced"
    );
    ensure!(
        agent.metric("memlens_agent_probed_processes ")? == Some(0.0),
        "it has probes"
    );
    let answer = http::get_by_socket(&agent.socket(), &path)?;
    ensure!(answer.status == 200, "{} {}", answer.head, answer.text());
    let file = folder.path().join("over.pb.gz");
    std::fs::write(&file, &answer.body)?;
    let top = pprof(&["-top", "-unit=b", file.to_str().context("a path")?])?;
    ensure!(top.contains("hoard"), "{top}");
    agent.end()?;
    Ok(())
}

fn low_to_high(agent: &Agent) -> Option<f64> {
    let high = "memlens_process_growth_high_bytes_per_second{comm=\"hoard\"";
    agent.metric(high).ok()?
}

#[test]
fn promtool_and_prometheus_take_the_metrics() -> Result<()> {
    need::root()?;
    let promtool = need::program("promtool")?;
    let folder = tempfile::tempdir()?;
    let mut hoard = Hoard::start(&folder, 400_000)?;
    let agent = Agent::start(&["--name", "hoard", "--window", "60s"])?;
    agent.until_probed(1.0)?;
    hoard.victim.go()?;
    agent.until("live bytes are told", |agent| {
        agent
            .metric("memlens_process_heap_live_bytes{comm=\"hoard\"")
            .ok()?
    })?;
    let metrics = folder.path().join("metrics");
    std::fs::write(&metrics, agent.get("/metrics")?.body)?;
    let checked = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(&metrics)?)
        .output()?;
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    ensure!(checked.status.success() && said.trim().is_empty(), "{said}");

    // A server that scrapes it, with the alerts that are shipped, at once instead of after ten minutes.
    let rules = std::fs::read_to_string(
        memlens_tests::paths::workspace().join("dist/prometheus/alerts.yml"),
    )?;
    let soon: Vec<String> = rules
        .lines()
        .map(|line| match line.trim_start().starts_with("for:") {
            true => line.split("for:").next().unwrap_or_default().to_owned() + "for: 2s",
            false => line.to_owned(),
        })
        .collect();
    std::fs::write(folder.path().join("alerts.yml"), soon.join("\n") + "\n")?;
    let config = format!(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [alerts.yml]\nscrape_configs:\n- \
         job_name: memlens\n  static_configs:\n  - targets: ['{}']\n",
        agent.address
    );
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, config)?;
    let checked = Command::new(&promtool)
        .args(["check", "config"])
        .arg(&file)
        .output()?;
    ensure!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    let server = super::free_address()?;
    let mut command = Command::new(need::program("prometheus")?);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.path().join("data").display()
        ))
        .arg(format!("--web.listen-address={server}"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let _server = memlens_tests::child::Owned::start(&mut command)?;
    let asked = |query: &str| -> Option<serde_json::Value> {
        let answer = http::get(server, &format!("/api/v1/query?query={query}")).ok()?;
        serde_json::from_slice(&unchunked(&answer)).ok()
    };
    agent.until("an alert fires for what grows", |_| {
        let alerts = asked("ALERTS%7Balertstate=%22firing%22%7D")?;
        let all = alerts["data"]["result"].as_array()?;
        let of_hoard = all.iter().any(|alert| {
            alert["metric"]["alertname"] == "MemlensProcessGrows"
                && alert["metric"]["comm"] == "hoard"
        });
        of_hoard.then_some(())
    })?;
    // Nothing else: but for the server, which has just begun and takes the memory that it will keep.
    let alerts = asked("ALERTS%7Balertstate=%22firing%22%7D").context("no answer")?;
    for alert in alerts["data"]["result"].as_array().context("a list")? {
        let comm = alert["metric"]["comm"].as_str();
        ensure!(
            comm.is_none_or(|comm| matches!(comm, "hoard" | "prometheus")),
            "an alert for something else: {alert}"
        );
    }
    agent.end()?;
    Ok(())
}

/// The body of an answer that may come in chunks.
fn unchunked(answer: &http::Answer) -> Vec<u8> {
    if !answer
        .head
        .to_lowercase()
        .contains("transfer-encoding: chunked")
    {
        return answer.body.clone();
    }
    let (mut rest, mut whole) = (answer.body.as_slice(), Vec::new());
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = String::from_utf8_lossy(&rest[..end]).into_owned();
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else {
            break;
        };
        let from = end + 2;
        let Some(chunk) = rest.get(from..from + size).filter(|_| size > 0) else {
            break;
        };
        whole.extend_from_slice(chunk);
        rest = rest.get(from + size + 2..).unwrap_or_default();
    }
    whole
}
