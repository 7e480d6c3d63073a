//! `memlens vm --faults`: who brings pages into memory, known to the fault, and estimates that keep their word.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens::profile::{Mapper, Measure, PageFaults, RegionKind, Touched};
use memlens_tests::address_space::{PAGE, trace_with_ring};
use memlens_tests::child::until_worked;
use memlens_tests::row::is_of;
use memlens_tests::{Memlens, Program, Report, Row, Victim, need, paths};
use tracer_common::loss::Loss;

/// Traces the page faults of a process; returns once it is traced.
fn trace_faults(pid: u32, more: &[&str]) -> Result<Memlens> {
    need::root()?;
    let pid = pid.to_string();
    let mut words = vec!["vm", "3600", "--json", "--top", "0", "--faults"];
    words.extend(more);
    words.extend(["-p", &pid]);
    let mut memlens = Memlens::start(words)?;
    memlens.wait_until_tracing()?;
    Ok(memlens)
}

/// A victim's work from its "ready" to its "done".
fn faults_of(program: &str, args: &[&str], more: &[&str]) -> Result<Report> {
    let mut victim = Victim::start(Program::new(program).command(args)?)?;
    let memlens = trace_faults(victim.pid(), more)?;
    victim.run()?;
    memlens.stop()
}

/// What only a trace of page faults has.
fn section(report: &Report) -> Result<&PageFaults> {
    report.sections.page_faults.as_ref().context("no totals")
}

/// With every fault in the sample: written pages, the page of zeros, copies, pages that the kernel fills, touches that
/// fail.
#[test]
fn each_fault_is_known_with_its_stack_and_its_range() -> Result<()> {
    let report = faults_of("space_faults", &[], &["--sample-faults", "1"])?;
    report.check_complete()?;
    for (function, expected) in [
        ("written", [1000, 0, 1000]),
        ("again", [500, 0, 500]),
        ("looked", [200, 0, 0]),
        ("copied", [300, 0, 0]),
        ("filled", [150, 0, 150]),
        ("refused", [0, 0, 0]),
    ] {
        let [faults, major, pages] = report.faults_of(function);
        // A function's own code and frame may come in with it: a page or two.
        let found = [
            faults.saturating_sub(expected[0]),
            major,
            pages.saturating_sub(expected[2]),
        ];
        ensure!(
            faults >= expected[0] && pages >= expected[2] && found.iter().all(|more| *more <= 2),
            "{function}: {faults} faults, {major} major, {pages} pages, not {expected:?}"
        );
    }
    let section = section(&report)?;
    let faults = section.totals.amount(Measure::FaultsCount);
    ensure!(
        section.totals.whole(Measure::FaultsError) == Some(0)
            && section.totals.amount(Measure::FaultsSamples) == faults,
        "{section:?}"
    );
    let kernel = section.kernel.context("the kernel's count")?;
    let kernel = kernel.minor + kernel.major;
    // It counts also what it brings in by itself: for fork, and for the program's end of a pipe.
    ensure!(kernel.abs_diff(faults) <= 20 + kernel / 100, "{section:?}");
    Ok(())
}

/// The range that was touched, and the stack that mapped it in the trace.
#[test]
fn what_was_touched_is_joined_with_who_mapped_it() -> Result<()> {
    let report = faults_of("space_exact", &[], &["--sample-faults", "1"])?;
    report.check_complete()?;
    for (function, kind) in [
        ("holed", RegionKind::Anonymous),
        ("shared", RegionKind::Shared),
        ("broken", RegionKind::Brk),
    ] {
        let rows = report.fault_stacks(function);
        let by_itself = |place: &Touched| match place.mapper {
            Mapper::Stack(stack) => {
                let mut mapper = report.frames_of(Some(stack));
                place.kind == Some(kind) && mapper.any(|frame| is_of(frame, function))
            }
            Mapper::Before | Mapper::Unknown => false,
        };
        let mut touched = rows.iter().flat_map(Row::touched);
        ensure!(touched.any(by_itself), "{function}: {rows:?}");
    }
    // Mapped by one function, touched by another.
    let rows = report.fault_stacks("write_pages");
    let mut touched = rows.iter().flat_map(Row::touched);
    ensure!(touched.any(|place| place.kind == Some(RegionKind::Stack)));
    Ok(())
}

/// A storm of faults: few are taken, and what they stand for is what the kernel counts, within five standard errors.
#[test]
fn estimates_keep_their_error() -> Result<()> {
    let mut victim = Victim::start(Program::new("fault_storm").command(&["400"])?)?;
    let memlens = trace_faults(victim.pid(), &[])?;
    let faults: u64 = victim.go_to("done")?.parse()?;
    let report = memlens.stop()?;
    let totals = &section(&report)?.totals;
    let samples = totals.amount(Measure::FaultsSamples);
    ensure!(
        samples > 100 && samples < faults / 10,
        "{totals:?} of {faults}"
    );
    let error = totals.amount(Measure::FaultsError);
    ensure!(
        totals.amount(Measure::FaultsCount).abs_diff(faults) <= 5 * error + 100,
        "{totals:?}, not {faults}"
    );
    // Half of the pages are touched by one function, half by the other, in turn: none is favoured.
    let [one, other] = ["even", "odd"].map(|function| report.faults_of(function)[0]);
    ensure!(
        one.abs_diff(other) <= 5 * error,
        "{one} and {other}: {totals:?}"
    );
    Ok(())
}

/// Pages that are read from the disk are major faults.
#[test]
fn major_faults_are_told_apart() -> Result<()> {
    let folder = tempfile::tempdir_in(paths::target())?;
    let file = folder.path().join("pages");
    std::fs::write(&file, vec![1u8; 64 * PAGE as usize])?;
    std::fs::File::open(&file)?.sync_all()?;
    let name = file.to_string_lossy();
    let report = faults_of("fault_major", &[&name], &["--sample-faults", "1"])?;
    let [faults, major, pages] = report.faults_of("from_disk");
    ensure!(
        (64..70).contains(&faults) && (60..70).contains(&major) && pages >= 64,
        "{faults} faults, {major} major, {pages} pages"
    );
    let rows = report.fault_stacks("from_disk");
    let mut files = rows
        .iter()
        .flat_map(Row::touched)
        .filter_map(|place| place.file.as_deref());
    ensure!(files.any(|file| file.ends_with("pages")), "{rows:?}");
    Ok(())
}

/// A fault in a huge page brings in all of it.
#[test]
fn huge_pages_are_new_memory_as_a_whole() -> Result<()> {
    let report = faults_of("fault_huge", &[], &["--sample-faults", "1"])?;
    let [faults, _, pages] = report.faults_of("huge");
    ensure!(
        (8..12).contains(&faults) && (8 * 512..8 * 512 + 4).contains(&pages),
        "{faults} faults, {pages} pages"
    );
    Ok(())
}

/// A command from its first instruction; folded stacks are of faults.
#[test]
fn folded_stacks_of_faults() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("folded");
    let mut command = std::process::Command::new(paths::memlens()?);
    command
        .args([
            "vm",
            "3600",
            "--faults",
            "--sample-faults",
            "1",
            "--width",
            "faults",
        ])
        .arg("--folded")
        .arg(&file)
        .arg("--")
        .arg(Program::new("space_faults").build()?)
        .env("VICTIM_FREE_RUN", "1");
    let ended = Memlens::start_command(command)?.wait()?;
    ensure!(ended.status.code() == Some(0), "{:?}", ended.errors);
    let lines = std::fs::read_to_string(&file)?;
    let value = |line: &str| line.rsplit_once(' ')?.1.parse::<u64>().ok();
    let of_written = lines.lines().filter(|line| line.contains(";written"));
    let found: u64 = of_written.filter_map(value).sum();
    ensure!((1000..1004).contains(&found), "{found}\n{lines}");
    let text = ended.output.join("\n");
    for words in [
        "page faults, new memory",
        "touched anonymous memory, mapped by",
        "take < mapped_for_writing",
    ] {
        ensure!(text.contains(words), "{words}: {text}");
    }
    Ok(())
}

/// With a ring of one page most faults are dropped: they are counted, and the report says so.
#[test]
fn dropped_faults_are_counted() -> Result<()> {
    let mut victim = Victim::start(Program::new("fault_storm").command(&["100"])?)?;
    let pid = victim.pid().to_string();
    let words = ["--faults", "--sample-faults", "1", "-p", pid.as_str()];
    let memlens = trace_with_ring(&words, "4096")?;
    let faults: u64 = victim.go_to("done")?.parse()?;
    let report = memlens.stop()?;
    let dropped = report.losses.of(Loss::FaultsDropped);
    let seen = section(&report)?.totals.amount(Measure::FaultsSamples);
    ensure!(dropped > 1_000, "{dropped} faults dropped");
    // Besides the victim's own there are those of its code and its stack.
    ensure!(
        (faults..faults + 100).contains(&(seen + dropped)),
        "{seen} faults seen, {dropped} dropped, of {faults}"
    );
    report.check_says(&["sampled page faults were dropped"])
}

/// Reports in the middle of a storm end in time, and the program is as fast afterwards as before.
#[test]
fn nothing_is_left_behind() -> Result<()> {
    let mut victim = Victim::start(Program::new("fault_storm").command(&["2000"])?)?;
    let pid = victim.pid().to_string();
    let words = ["vm", "0.1", "--json", "--faults", "-p", pid.as_str()];
    need::root()?;
    let mut memlens = Memlens::start(words)?;
    memlens.wait_until_tracing()?;
    victim.go()?;
    until_worked(victim.pid(), Duration::from_millis(500))?;
    memlens.signal(libc::SIGKILL)?;
    memlens.wait()?;
    victim.expect("done")?;
    ensure!(victim.exit()?.success(), "the target was hurt");
    Ok(())
}
