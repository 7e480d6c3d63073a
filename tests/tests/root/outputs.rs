//! Forms of the report: text, JSON at intervals, folded stacks, SVG, and the exit code for CI.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens::profile::Measure;
use memlens_tests::memlens::Ended;
use memlens_tests::report::Report;
use memlens_tests::{Live, Memlens, Program, Victim, need};

/// Traces 30000 leaked bytes until Ctrl-C, with these arguments alone.
fn text(more: &[&str]) -> Result<Ended> {
    need::root()?;
    let mut victim = Victim::start(Program::new("leak_each").command(&["malloc"])?)?;
    let pid = victim.pid().to_string();
    let mut args = vec!["leaks", "-p", &pid, "3600"];
    args.extend(more);
    let mut memlens = Memlens::start(args)?;
    memlens.wait_until_tracing()?;
    victim.run()?;
    memlens.interrupt()
}

fn text_of(more: &[&str]) -> Result<String> {
    let ended = text(more)?;
    ensure!(ended.status.success(), "{}", ended.status);
    Ok(ended.output.join("\n"))
}

#[test]
fn text_names_stack_and_source() -> Result<()> {
    let text = text_of(&[])?;
    for part in [
        "leak_malloc",
        "leak_inner",
        "leak_outer",
        "main",
        "leak_each.c:",
    ] {
        ensure!(text.contains(part), "no {part:?} in:\n{text}");
    }
    ensure!(
        text.find("leak_malloc") < text.find("leak_outer"),
        "the innermost frame is not first:\n{text}"
    );
    ensure!(!text.contains('\u{1b}'), "colour without a terminal");
    ensure!(
        text.to_lowercase().contains("complete"),
        "the report does not say whether it is complete:\n{text}"
    );
    Ok(())
}

#[test]
fn no_source_and_addresses() -> Result<()> {
    let text = text_of(&["--no-source"])?;
    ensure!(text.contains("leak_malloc"), "{text}");
    ensure!(!text.contains("leak_each.c:"), "a source line:\n{text}");
    let plain = text_of(&[])?;
    let text = text_of(&["--addresses"])?;
    let addresses = |text: &str| text.matches("0x").count();
    ensure!(
        addresses(&text) >= addresses(&plain) + 4,
        "no addresses:\n{text}"
    );
    Ok(())
}

#[test]
fn text_lists_blocks_when_asked() -> Result<()> {
    let text = text_of(&["--show-allocs"])?;
    ensure!(text.contains("0x"), "no address:\n{text}");
    Ok(())
}

/// So many reports, and then the end, while the target runs on.
#[test]
fn interval_and_count() -> Result<()> {
    need::root()?;
    let mut victim = Victim::start(Program::new("leak_each").command(&["malloc"])?)?;
    let pid = victim.pid().to_string();
    let mut memlens = Memlens::start(["leaks", "-p", &pid, "0.5", "3", "--json"])?;
    memlens.wait_until_tracing()?;
    victim.run()?;
    let ended = memlens.wait()?;
    let reports = ended.reports()?;
    let last: Vec<_> = reports.iter().map(|report| report.meta.last).collect();
    assert_eq!(last, [false, false, true]);
    let times: Vec<_> = reports.iter().map(|report| report.meta.elapsed).collect();
    for pair in times.windows(2) {
        ensure!(
            (350..1500).contains(&(pair[1] - pair[0]).as_millis()),
            "reports every half second came at {times:?}"
        );
    }
    reports[2].check_exact(victim.pid(), Live::new(30_000, 1))?;
    ensure!(victim.is_running()?, "the target ended with the trace");
    ensure!(victim.exit()?.success(), "the target was hurt");
    Ok(())
}

/// Growth is the change since the report before.
#[test]
fn growth_between_reports() -> Result<()> {
    let mut victim = Victim::start(Program::new("growing").command(&[])?)?;
    let mut memlens = Memlens::leaks(victim.pid(), &["1", "--sort", "growth"])?;
    let mut report = || memlens.report(Duration::from_secs(20));
    victim.go_to("step")?;
    let before = wait_for(&mut report, Live::new(1_000, 1))?;
    victim.go_to("step")?;
    victim.go_to("step")?;
    let after = wait_for(&mut report, Live::new(3_000, 3))?;
    ensure!(before.heap().len() == 2, "{:?}", before.heap());
    let first = after.first_stack()?;
    ensure!(
        first.has("leak_step"),
        "sorted by growth, {:?} is first",
        first.names()
    );
    let growth = first.whole(Measure::HeapChangeBytes);
    ensure!(matches!(growth, Some(1_000 | 2_000)), "{growth:?}");
    let same = report()?;
    for stack in same.heap() {
        assert_eq!(stack.whole(Measure::HeapChangeBytes), Some(0), "{stack:?}");
    }
    Ok(())
}

/// Reads reports until `leak_step` holds this.
fn wait_for(report: &mut impl FnMut() -> Result<Report>, live: Live) -> Result<Report> {
    for _ in 0..10 {
        let report = report()?;
        if report.in_function("leak_step") == live {
            return Ok(report);
        }
    }
    anyhow::bail!("leak_step never held {live:?}")
}

#[test]
fn folded_stacks_end_in_the_leaf() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("leaks.folded");
    text_of(&["--folded", &file.display().to_string()])?;
    let folded = std::fs::read_to_string(&file)?;
    let line = folded
        .lines()
        .find(|line| line.contains("leak_malloc"))
        .with_context(|| format!("no stack in {folded:?}"))?;
    let (stack, bytes) = line.rsplit_once(' ').context("no number")?;
    assert_eq!(bytes, "30000");
    let frames: Vec<_> = stack.split(';').collect();
    let at = |name: &str| {
        frames
            .iter()
            .position(|frame| frame.contains(name))
            .with_context(|| format!("no {name} in {stack}"))
    };
    assert_eq!(at("leak_malloc")?, frames.len() - 1, "{stack}");
    ensure!(
        at("main")? < at("leak_outer")? && at("leak_outer")? < at("leak_inner")?,
        "{stack}"
    );
    Ok(())
}

#[test]
fn svg_is_a_flame_graph() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("leaks.svg");
    text_of(&["--svg", &file.display().to_string()])?;
    let svg = std::fs::read_to_string(&file)?;
    ensure!(svg.contains("<svg") && svg.contains("</svg>"), "no SVG");
    ensure!(svg.contains("leak_malloc"), "no function in the SVG");
    Ok(())
}

/// For CI: exit code 1 when more is live than allowed.
#[test]
fn fail_over_sets_the_exit_code() -> Result<()> {
    for (limit, code) in [("29999", 1), ("30000", 0), ("1MiB", 0), ("0", 1)] {
        let ended = text(&["--fail-over", limit])?;
        ensure!(
            ended.status.code() == Some(code),
            "--fail-over {limit}: {}",
            ended.status
        );
        ensure!(!ended.output.is_empty(), "no report");
    }
    let ended = text(&["--fail-over", "0", "--older", "10m"])?;
    ensure!(
        ended.status.code() == Some(0),
        "a young block failed it: {}",
        ended.status
    );
    let ended = text(&["--fail-over", "1000", "--json"])?;
    ensure!(ended.status.code() == Some(1), "{}", ended.status);
    let report = ended.final_report()?;
    report.check_function("leak_malloc", Live::new(30_000, 1))
}
