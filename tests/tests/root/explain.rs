//! `memlens explain --trace`: whose the growth of a process is.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use memlens::profile::{FindingKind, Measure, Source};
use memlens_tests::ledger::{explained, list, near, number, signed};
use memlens_tests::{HeapFigures as _, Live, Memlens, Program, Report, Row, Victim, need};

/// Longer than any of these tests takes: Ctrl-C ends the trace.
const LONG: &str = "600";

fn traced(pid: u32) -> Result<Memlens> {
    let mut memlens = Memlens::start(["explain", "--json", "--trace", LONG, &pid.to_string()])?;
    memlens.wait_until_tracing()?;
    Ok(memlens)
}

fn stop(memlens: Memlens) -> Result<Report> {
    explained(&memlens.interrupt()?)
}

/// The stack of a source that has a function on it.
fn stack_of<'a>(report: &'a Report, source: Source, function: &str) -> Result<Row<'a>> {
    let rows = report.rows(source);
    let found = rows.iter().find(|row| row.has(function)).copied();
    found.with_context(|| format!("no stack with {function} in {rows:?}"))
}

/// What was allocated meanwhile and is live, in stacks that are shown and in those that are not.
fn blocks(report: &Report) -> Live {
    let total = |measure| report.stacks_total(Source::Heap, measure).1;
    Live::new(
        total(Measure::HeapLiveBytes),
        total(Measure::HeapLiveBlocks),
    )
}

fn the_parts_are_the_whole(report: &Report) -> Result<()> {
    let growth = report.section("growth");
    let part = |name: &str| signed(growth, &format!("/{name}_bytes"));
    let sum = part("heap")? + part("mapped")? + part("older")?;
    ensure!(sum == part("resident")?, "{growth}");
    let change = report.section("ledger_change");
    ensure!(part("resident")? == signed(change, "/resident_bytes")?);
    Ok(())
}

/// A part of the growth, which has grown.
fn part(report: &Report, name: &str) -> Result<u64> {
    number(report.section("growth"), &format!("/{name}_bytes"))
}

/// Heap blocks, own mappings between them, and pages of the bss: each part has its bytes and its stacks.
#[test]
fn growth_is_told_by_parts_and_stacks() -> Result<()> {
    let mut victim = Victim::start(Program::new("grow_parts").command(&["100"])?)?;
    let memlens = traced(victim.pid())?;
    victim.go_to("grown")?;
    let report = stop(memlens)?;
    report.check_ledger(victim.pid())?;
    the_parts_are_the_whole(&report)?;
    let growth = report.section("growth");
    ensure!(list(&growth["not_seen"]).next().is_none(), "{growth}");
    assert_eq!(blocks(&report), Live::new(21_000_000, 1_100));
    let small = stack_of(&report, Source::Heap, "keep_small")?;
    assert_eq!(small.live(), Live::new(1_000_000, 1_000));
    let large = stack_of(&report, Source::Heap, "keep_large")?;
    assert_eq!(large.live(), Live::new(20_000_000, 100));
    // A page for each large block's header, and the small ones' own.
    near(part(&report, "heap")?, 21_000_000, 0.05).context("heap")?;
    near(part(&report, "mapped")?, 3_200 << 10, 0.02).context("mapped")?;
    let (_, mapped) = report.stacks_total(Source::AddressSpace, Measure::VmMappedBytes);
    near(mapped, 6_400 << 10, 0.02)?;
    let own = stack_of(&report, Source::AddressSpace, "map_own")?;
    ensure!(own.amount(Measure::VmRanges) == 100, "{own:?}");
    ensure!(
        stack_of(&report, Source::AddressSpace, "keep_large").is_err(),
        "glibc's are not the program's"
    );
    near(part(&report, "older")?, 3_200 << 10, 0.05).context("older")?;
    let row = &growth["older_rows"][0]["kind"];
    ensure!(row == "program_data", "{growth}");
    report.check_finding(
        FindingKind::Growth,
        &["is the heap's", "1,100 blocks", "stack #1"],
    )
}

/// An allocator that is not glibc's: what it maps is told from what the program maps by whose function did it.
#[test]
fn growth_with_another_allocator() -> Result<()> {
    let mut command = Program::new("grow_parts").command(&["400"])?;
    command.env("LD_PRELOAD", need::library("libjemalloc.so.2")?);
    let mut victim = Victim::start(command)?;
    let memlens = traced(victim.pid())?;
    victim.go_to("grown")?;
    let report = stop(memlens)?;
    the_parts_are_the_whole(&report)?;
    assert_eq!(blocks(&report).blocks, 4_400);
    near(part(&report, "heap")?, 84_000_000, 0.2).context("heap")?;
    near(part(&report, "mapped")?, 12_800 << 10, 0.05).context("mapped")?;
    stack_of(&report, Source::AddressSpace, "map_own")?;
    Ok(())
}

/// Nothing grows: that is said without a stack.
#[test]
fn a_process_at_rest() -> Result<()> {
    let victim = Victim::start(Program::new("reserve").command(&[])?)?;
    let memlens = traced(victim.pid())?;
    let report = stop(memlens)?;
    the_parts_are_the_whole(&report)?;
    ensure!(report.has(Source::Heap) && blocks(&report).blocks == 0);
    let growth = signed(report.section("growth"), "/resident_bytes")?;
    ensure!(growth.abs() < 256 << 10, "{growth} bytes");
    ensure!(report.check_finding(FindingKind::Growth, &[]).is_err());
    Ok(())
}

/// The process ends in the middle: what it was like before is printed, at once.
#[test]
fn a_process_that_exits_in_the_middle() -> Result<()> {
    let mut victim = Victim::start(Program::new("grow_parts").command(&["10"])?)?;
    let memlens = traced(victim.pid())?;
    victim.go_to("grown")?;
    victim.exit()?;
    let report = explained(&memlens.wait()?)?;
    report.check_says(&["exited or replaced its program", "before"])?;
    ensure!(report.section("growth").is_null() && report.process_total("rss_bytes")? > 0);
    Ok(())
}

/// A program whose allocator is not found: its mappings are traced all the same.
#[test]
fn blocks_that_cannot_be_traced() -> Result<()> {
    let program = Program::new("grow_parts")
        .statically()
        .flag("-s")
        .named("bare");
    let mut victim = Victim::start(program.command(&["100"])?)?;
    let memlens = traced(victim.pid())?;
    victim.go_to("grown")?;
    let report = stop(memlens)?;
    the_parts_are_the_whole(&report)?;
    let growth = report.section("growth");
    let mut not_seen = list(&growth["not_seen"]).filter_map(|sentence| sentence.as_str());
    ensure!(
        not_seen.any(|sentence| sentence.contains("blocks of the heap:")),
        "{growth}"
    );
    ensure!(report.heap().is_empty(), "{:?}", report.heap());
    near(part(&report, "mapped")?, 3_200 << 10, 0.02).context("mapped")?;
    near(part(&report, "heap")?, 21_000_000, 0.05).context("heap")
}

/// The text has the parts and the stacks.
#[test]
fn the_text_of_a_trace() -> Result<()> {
    let mut victim = Victim::start(Program::new("grow_parts").command(&["100"])?)?;
    let mut memlens = Memlens::start(["explain", "--trace", LONG, &victim.pid().to_string()])?;
    memlens.wait_until_tracing()?;
    victim.go_to("grown")?;
    let ended = memlens.interrupt()?;
    let text = ended.output.join("\n");
    for part in [
        "growth of RSS, traced for ",
        "heap; of what was allocated meanwhile, 20.0 MiB in 1,100 blocks is live",
        "mapped meanwhile, but not by the allocator: 6.25 MiB of address space in 100 ranges",
        "keep_large",
        "map_own",
        "program: data and bss +3.1",
    ] {
        ensure!(text.contains(part), "no {part:?} in:\n{text}");
    }
    Ok(())
}

/// Without rights a trace is refused in one line, and a look without one is not.
#[test]
fn a_trace_without_rights() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("memlens");
    std::fs::copy(memlens_tests::paths::memlens()?, &copy)?;
    for path in [folder.path(), &copy] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    let victim = Victim::start(Program::new("reserve").command(&[])?)?;
    let mut command = Command::new(need::program("setpriv")?);
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&copy)
        .args(["explain", "--trace", "1", &victim.pid().to_string()]);
    Memlens::start_command(command)?
        .wait()?
        .refused_with(&["cannot trace a process", "run it as root"])
}
