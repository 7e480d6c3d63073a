//! `memlens vm`: what it costs the traced program and the host, whether it keeps up with a storm of calls, how long its
//! reports and its start take.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    Outcome, Plan,
    finding::{Finding, Target},
    host::crowd::Crowd,
    json,
    samples::Samples,
    table::{Table, ms, ns, ratio},
    tracer::{self, Mode, Tracer},
    victim::{Victim, compile, own_source, tests_source},
};

/// Seconds beyond the phases in which attach and detach must fit.
const SPARE_SECONDS: u32 = 60;
/// Calls a second of the storm, for how many seconds, on how many threads.
const STORM: (u64, u64, u64) = (50_000, 10, 2);
/// Ranges of the report, and pages of each: 4 GiB.
const RANGES: (u64, u64) = (10_000, 105);
/// Processes at the start.
const PROCESSES: usize = 500;
/// How long a program may work.
const LIMIT: Duration = Duration::from_secs(120);
/// As a program would read it.
const JSON: Mode<'_> = Mode {
    flags: &["--json"],
    floor: None,
    interval: None,
};

/// All of it.
pub fn all(plan: &Plan) -> Result<Outcome> {
    let mut outcome = cost(plan)?;
    outcome.add(storm(plan)?);
    outcome.add(report(plan)?);
    outcome.add(start(plan)?);
    Ok(outcome)
}

/// What traced calls cost, and calls of processes that are not traced, by CPU time.
fn cost(plan: &Plan) -> Result<Outcome> {
    let kinds = [
        ("mmap and munmap of 64 KiB, ten frames", "PAIR_MMAP", true),
        ("the same, one page touched", "PAIR_MMAP_TOUCHED", true),
        (
            "getppid() of a process that is not traced",
            "PAIR_GETPPID",
            false,
        ),
    ];
    let mut table = Table::new(&["by CPU time", "untraced", "memlens vm", "ratio", "more"]);
    let mut outcome = Outcome::default();
    for (name, definition, is_traced) in kinds {
        let (mut without, mut with) = (Samples::new(), Samples::new());
        for _ in 0..plan.runs {
            let mut victim = Victim::calls(plan.seconds * 2 + SPARE_SECONDS, definition)?;
            without.extend(victim.cpu_cost(plan.seconds)?);
            let pid = match is_traced {
                true => victim.pid(),
                false => std::process::id(),
            };
            let tracer = Tracer::space(&plan.memlens, &["-p", &pid.to_string()], JSON)?;
            with.extend(victim.cpu_cost(plan.seconds)?);
            tracer.end()?;
        }
        let (without, with) = (without.min(), with.min());
        let more = ns(with - without);
        table.row([
            name.to_owned(),
            ns(without),
            ns(with),
            ratio(with, without),
            more.clone(),
        ]);
        outcome.findings.push(match is_traced {
            true => Finding::ratio(
                &format!("vm: {name}: traced / untraced"),
                format!("{} / {}", ns(with), ns(without)),
                with / without,
                Target::AtMost(1.5),
            ),
            false => Finding::figure(
                &format!("vm: {name}: more than without memlens"),
                with - without,
                " ns",
                Target::None,
            ),
        });
    }
    outcome
        .tables
        .push(("Calls that change address spaces", table));
    Ok(outcome)
}

/// A storm of random calls at a steady rate: nothing lost, the account is the maps, and memlens's CPU time.
fn storm(plan: &Plan) -> Result<Outcome> {
    let (rate, seconds, threads) = STORM;
    let program = compile("space_storm", &tests_source("space_storm")?, &["-pthread"])?;
    let args = [threads, rate * seconds, rate].map(|number| number.to_string());
    let mut shares = Samples::new();
    let (mut exact, mut lost, mut rates) = (true, 0, Samples::new());
    for _ in 0..plan.runs {
        let mut victim = Victim::speaking(&program, &args)?;
        let target = ["-p", &victim.pid().to_string()];
        let tracer = Tracer::space(&plan.memlens, &target, JSON)?;
        let before = tracer.cpu_seconds()?;
        let began = Instant::now();
        victim.go()?;
        victim.expect("done", LIMIT)?;
        let took = began.elapsed().as_secs_f64();
        shares.extend([(tracer.cpu_seconds()? - before) / took * 100.0]);
        rates.extend([(rate * seconds) as f64 / took]);
        let maps = mapped_bytes(victim.pid())?;
        let report = last_report(&tracer.end()?.last_line)?;
        exact &= report.mapped == maps && report.is_complete;
        lost += report.lost;
    }
    let what = format!("vm: {rate} random calls a second for {seconds} s");
    Ok(Outcome {
        findings: vec![
            Finding::fact(
                &format!("{what}: tracked and mapped"),
                match lost {
                    0 => format!("equal: {exact}, nothing lost"),
                    lost => format!("equal: {exact}, {lost} events lost and repaired"),
                },
                "equal, or the loss is named",
                exact || lost > 0,
            ),
            Finding::figure(
                "memlens's own CPU time then",
                shares.min(),
                " % of a core",
                Target::AtMost(30.0),
            ),
        ],
        tables: Vec::new(),
        notes: vec![format!(
            "The storm came to {:.0} calls a second at the least, {:.0} at the most.",
            rates.min(),
            rates.max()
        )],
    })
}

/// Reports of many ranges whose pages are all in memory.
fn report(plan: &Plan) -> Result<Outcome> {
    let (count, pages) = RANGES;
    let program = compile("ranges", &own_source("ranges")?, &[])?;
    let args = [count, pages].map(|number| number.to_string());
    let mut victim = Victim::speaking(&program, &args)?;
    let mode = Mode {
        interval: Some("1"),
        ..JSON
    };
    let target = ["-p", &victim.pid().to_string()];
    let mut tracer = Tracer::space(&plan.memlens, &target, mode)?;
    victim.go()?;
    victim.expect("done", LIMIT)?;
    let samples = tracer.report_times(plan.runs)?;
    let report = last_report(&tracer.end()?.last_line)?;
    let least = count * pages * 4096;
    ensure!(
        report.resident >= least && report.ranges >= count,
        "{} bytes in {} ranges are resident, not {least} in {count}",
        report.resident,
        report.ranges
    );
    Ok(Outcome {
        findings: vec![Finding::figure(
            &format!("vm: a report of {count} ranges, 4 GiB resident"),
            samples.min(),
            " ms",
            Target::AtMost(500.0),
        )],
        ..Outcome::default()
    })
}

/// The start of a trace of the whole host.
fn start(plan: &Plan) -> Result<Outcome> {
    let _crowd = Crowd::start(PROCESSES, 0)?;
    let [mut start, mut maps, mut reports] = [const { Samples::new() }; 3];
    let mode = Mode {
        interval: Some("2"),
        ..JSON
    };
    for _ in 0..plan.runs {
        let mut tracer = Tracer::space(&plan.memlens, &["--all"], mode)?;
        start.extend([tracer.attached_in.as_secs_f64() * 1e3]);
        maps.extend(tracer.step("reading maps"));
        let line = tracer.wait_for(tracer::REPORT)?;
        reports.extend(tracer::took(&line, "report"));
        let report = last_report(&tracer.end()?.last_line)?;
        ensure!(
            report.processes >= PROCESSES,
            "{} processes have a row, not {PROCESSES}",
            report.processes
        );
    }
    let what = format!("vm --all, {PROCESSES} processes");
    let mut table = Table::new(&[&what, "best", "median", "worst"]);
    for (name, samples) in [
        ("memlens's start until all calls are followed", &start),
        ("of that, reading maps", &maps),
        ("the first report", &reports),
    ] {
        let row = [samples.min(), samples.median(), samples.max()].map(ms);
        table.row([name.to_owned()].into_iter().chain(row));
    }
    Ok(Outcome {
        findings: vec![Finding::figure(
            &format!("{what}: start"),
            start.min(),
            " ms",
            Target::AtMost(1000.0),
        )],
        tables: vec![("Address spaces of the whole host", table)],
        notes: Vec::new(),
    })
}

/// What a report says.
struct Report {
    is_complete: bool,
    mapped: u64,
    resident: u64,
    ranges: u64,
    processes: usize,
    lost: u64,
}

fn last_report(line: &str) -> Result<Report> {
    let report: Value = serde_json::from_str(line).context("the last report is no JSON")?;
    let total = |name: &str| json::total(&report, name);
    let processes = report["subjects"].as_array();
    Ok(Report {
        is_complete: report["complete"].as_bool().context("no completeness")?,
        mapped: total("vm.mapped_bytes").context("no mapped bytes")?,
        resident: total("vm.resident_bytes").unwrap_or(0),
        ranges: total("vm.ranges").context("no ranges")?,
        processes: processes.context("no processes")?.len(),
        lost: report["losses"]["space_ring_full"]
            .as_u64()
            .context("no loss")?,
    })
}

/// Bytes mapped, as `/proc/PID/maps` has them; the vsyscall page is nobody's.
fn mapped_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/maps");
    let maps = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let lines = maps.lines().filter(|line| !line.contains("[vsyscall]"));
    let sizes = lines.map(|line| size(line).with_context(|| format!("no range in {line:?}")));
    sizes.sum()
}

fn size(line: &str) -> Option<u64> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    number(end)?.checked_sub(number(start)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_mappings() {
        let line = "7f0000001000-7f0000003000 rw-p 00000000 00:00 0";
        assert_eq!(size(line), Some(0x2000));
        assert_eq!(size("nothing"), None);
    }

    #[test]
    fn figures_of_a_report() {
        let line = r#"{"complete":true,"subjects":[{"totals":{"vm.mapped_bytes":5,"vm.ranges":2}}],
            "losses":{"space_ring_full":3}}"#;
        let report = last_report(line).expect("a report");
        assert_eq!((report.mapped, report.resident, report.lost), (5, 0, 3));
        assert!(report.is_complete && report.processes == 1 && report.ranges == 2);
        assert!(last_report("{}").is_err());
    }
}
