//! What needs a machine with the memory controller of cgroup version 2, and a clock that may be set: the guests of
//! `cargo xtask vm` have both, and run these. `cargo xtask test` does not.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens_tests::cgroup::LimitedMemory;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};

use super::{Agent, Hoard};

/// Where a cgroup slows its processes down.
const HIGH: u64 = 32 << 20;

#[test]
fn a_cgroup_at_its_limit_is_reported() -> Result<()> {
    let cgroup = LimitedMemory::new()?;
    cgroup
        .cgroup()
        .write("memory.high", &HIGH.to_string())
        .context("cgroup version 2")?;
    let folder = tempfile::tempdir()?;
    let mut hoard = Hoard::start_as(&folder, 10 << 20, |command| cgroup.enter(command))?;
    let args = ["--name", "hoard", "--trace", "named"];
    let agent = Agent::start(&[&args[..], &["--report-on", "limit"]].concat())?;
    agent.until_probed(1.0)?;
    hoard.victim.go()?;
    agent.until("the limit is told", |agent| {
        agent.reports("limit", ".memlens").into_iter().next()
    })?;
    ensure!(hoard.held()? > HIGH / 2, "{} bytes", hoard.held()?);
    agent.end()?;
    Ok(())
}

/// The wall clock goes a day ahead and two back: nothing that is measured over time notices.
#[test]
fn a_clock_that_jumps_changes_no_figure() -> Result<()> {
    const RATE: u64 = 300_000;
    let folder = tempfile::tempdir()?;
    let mut hoard = Hoard::start(&folder, RATE)?;
    let args = ["--name", "hoard", "--trace", "named", "--window", "30s"];
    let agent = Agent::start(&args)?;
    agent.until_probed(1.0)?;
    hoard.victim.go()?;
    std::thread::sleep(Duration::from_secs(4));
    for hours in [24, -48] {
        let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
        let jumped = TimeSpec::new(now.tv_sec() + hours * 3_600, now.tv_nsec());
        clock_settime(ClockId::CLOCK_REALTIME, jumped)?;
        std::thread::sleep(Duration::from_secs(4));
    }
    agent.until_exact(&hoard)?;
    let growth = agent
        .metric("memlens_process_growth_bytes_per_second{comm=\"hoard\"")?
        .context("no growth")?;
    // An emulated machine does not keep the pace; a day in it would make this next to nothing.
    ensure!(
        (RATE as f64 / 3.0..RATE as f64 * 1.5).contains(&growth),
        "{growth} bytes a second"
    );
    agent.end()?;
    Ok(())
}
