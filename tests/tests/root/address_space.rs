//! `memlens vm`: address spaces known to the page, threads that race, events that are lost, real programs against their
//! maps.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use memlens::profile::State;
use memlens::profile::{Measure, Region, RegionKind};
use memlens_tests::address_space::{PAGE, mapped, rested, trace, trace_with_ring};
use memlens_tests::{Memlens, Program, Report, Row, Victim, load, need, paths, python};
use tracer_common::loss::Loss;

/// Every way to map and unmap, each by a function of its own, to the page.
#[test]
fn every_call_is_followed_to_the_page() -> Result<()> {
    let mut victim = Victim::start(Program::new("space_exact").command(&[])?)?;
    let memlens = trace(&["-p", &victim.pid().to_string()])?;
    victim.run()?;
    let maps = mapped(victim.pid())?;
    let report = memlens.stop()?;
    report.check_complete()?;
    report.check_maps(maps)?;
    // Mapped, resident, without access, unmapped again.
    for (function, pages) in [
        ("holed", [13, 13, 0, 7]),
        ("overmapped", [12, 0, 0, 4]),
        ("over", [4, 4, 0, 0]),
        ("moved", [8, 8, 0, 0]),
        ("grown", [8, 0, 0, 0]),
        ("doubled", [4, 0, 0, 0]),
        ("keep", [4, 0, 0, 0]),
        ("shrunk", [3, 3, 0, 7]),
        ("reserved", [262_144, 2, 262_142, 0]),
        ("shared", [6, 6, 0, 0]),
        ("attached", [5, 5, 0, 0]),
        ("broken", [7, 7, 0, 5]),
        ("thread_stack", [64, 1, 0, 0]),
        ("file_mapped", [2, 2, 0, 0]),
        ("detached", [0; 4]),
        ("undone", [0; 4]),
    ] {
        let found = report.pages_of(function);
        ensure!(found == pages, "{function}: {found:?}, not {pages:?}");
    }
    let rows = report.mapped();
    let region = |function: &str| -> Result<&Region> {
        let row = rows.iter().find(|row| row.has(function));
        let region = row.and_then(Row::region);
        region.with_context(|| format!("no stack of {function}"))
    };
    for (function, expected) in [
        ("holed", RegionKind::Anonymous),
        ("shared", RegionKind::Shared),
        ("attached", RegionKind::Shared),
        ("broken", RegionKind::Brk),
        ("thread_stack", RegionKind::Stack),
        ("file_mapped", RegionKind::File),
    ] {
        let found = region(function)?;
        ensure!(
            found.kinds.first() == Some(&expected),
            "{function}: {found:?}"
        );
    }
    let files = &region("file_mapped")?.files;
    ensure!(
        files.iter().any(|name| name.contains("space_exact")),
        "{files:?}"
    );
    Ok(())
}

/// Lets threads map and unmap at random while a trace runs: its last report, which must be what the maps say.
fn storm(threads: &str, start: impl FnOnce(&str) -> Result<Memlens>) -> Result<Report> {
    let mut victim = Victim::start(Program::new("space_storm").command(&[threads, "60000"])?)?;
    let memlens = start(&victim.pid().to_string())?;
    ensure!(victim.go_to("done")? == "60000");
    let maps = mapped(victim.pid())?;
    let report = memlens.stop()?;
    report.check_maps(maps)?;
    Ok(report)
}

/// Threads that get each other's freed ranges: the account is the maps, without a correction.
#[test]
fn threads_that_race_are_followed() -> Result<()> {
    storm("4", |pid| trace(&["-p", pid]))?.check_complete()
}

/// Reports in the middle of the storm: what calls change meanwhile is not taken for a difference.
#[test]
fn reports_under_load_need_no_correction() -> Result<()> {
    need::root()?;
    let report = storm("2", |pid| {
        let mut memlens = Memlens::start(["vm", "0.1", "--json", "--top", "0", "-p", pid])?;
        memlens.wait_until_tracing()?;
        Ok(memlens)
    })?;
    report.check_complete()
}

/// With a ring of one page most events are lost: the maps tell what is there, and the report says so.
#[test]
fn lost_events_are_repaired_from_the_maps() -> Result<()> {
    let report = storm("2", |pid| trace_with_ring(&["-p", pid], "4096"))?;
    ensure!(
        report.losses.of(Loss::SpaceRingFull) > 0,
        "nothing was lost"
    );
    let totals = report.totals();
    ensure!(totals.amount(Measure::VmRepairedBytes) > 0, "{totals:?}");
    report.check_says(&["recovered from /proc/PID/maps"])
}

/// What was there before the trace has rows by kind and file, and no stack.
#[test]
fn what_was_there_before_has_rows_by_kind_and_file() -> Result<()> {
    let victim = Victim::start(Program::new("sleepy").command(&[])?)?;
    let memlens = trace(&["-p", &victim.pid().to_string()])?;
    let maps = mapped(victim.pid())?;
    let report = memlens.stop()?;
    report.check_complete()?;
    report.check_maps(maps)?;
    ensure!(report.mapped().is_empty(), "{:?}", report.mapped());
    let others = report.unmapped_by_calls();
    ensure!(others.iter().all(|row| !row.during_trace), "{others:?}");
    for kind in [
        RegionKind::File,
        RegionKind::Stack,
        RegionKind::Anonymous,
        RegionKind::Kernel,
    ] {
        ensure!(
            others.iter().any(|row| row.kinds == [kind]),
            "no {kind:?}: {others:?}"
        );
    }
    let mut files = others.iter().flat_map(|row| &row.files);
    ensure!(files.any(|file| file.contains("libc.so.6")), "{others:?}");
    Ok(())
}

/// A program that replaces itself has a new address space.
#[test]
fn exec_begins_a_new_address_space() -> Result<()> {
    let mut victim = Victim::start(Program::new("exec_self").command(&[])?)?;
    let memlens = trace(&["-p", &victim.pid().to_string()])?;
    victim.go_to("ready")?;
    victim.go_to("done")?;
    let maps = mapped(victim.pid())?;
    let report = memlens.stop()?;
    report.check_complete()?;
    report.check_maps(maps)?;
    ensure!(report.subjects.len() == 1, "{:?}", report.subjects);
    // The new program's heap came by a call of the allocator.
    let rows = report.mapped();
    let mut regions = rows.iter().filter_map(Row::region);
    ensure!(regions.any(|region| region.kinds.first() == Some(&RegionKind::Brk)));
    Ok(())
}

/// A command from its first instruction to its end: its last state is in the report, but not what was in memory.
#[test]
fn a_command_is_followed_to_its_end() -> Result<()> {
    let exact = Program::new("space_exact").build()?;
    let mut command = Command::new(paths::memlens()?);
    command
        .args(["vm", "3600", "--json", "--top", "0", "--"])
        .arg(exact)
        .env("VICTIM_FREE_RUN", "1");
    need::root()?;
    let ended = Memlens::start_command(command)?.wait()?;
    let report = ended.last_report()?;
    ensure!(
        report.subjects[0].state == State::Exited,
        "{:?}",
        report.subjects
    );
    ensure!(report.totals().get(Measure::VmResidentBytes).is_none());
    ensure!(report.pages_of("reserved")[0] == 262_144);
    ensure!(report.pages_of("holed")[0] == 13);
    ensure!(report.meta.command_exit.is_some());
    Ok(())
}

/// Maps against the account of a program that has worked and rests now.
fn check_real(pid: u32, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let memlens = trace(&["-p", &pid.to_string()])?;
    work()?;
    let maps = rested(pid)?;
    let report = memlens.stop()?;
    report.check_complete()?;
    report.check_maps(maps)?;
    ensure!(!report.mapped().is_empty(), "nothing was mapped");
    Ok(())
}

#[test]
fn redis_under_load() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let port = load::free_port()?;
    let server = load::redis(folder.path(), port)?;
    check_real(server.pid(), || load::redis_load(port, 20_000))
}

/// Threads that come and go, mappings of files, large blocks.
const PYTHON: &str = "
import mmap, sys, threading, time
sys.stdin.readline()
def work():
    kept = [bytearray(1 << 20) for _ in range(20)]
    with open(sys.executable, 'rb') as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped[100]
        mapped.close()
for _ in range(20):
    threads = [threading.Thread(target=work) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
print('done', flush=True)
sys.stdin.readline()
";

#[test]
fn python_with_threads() -> Result<()> {
    let mut python = python::start(PYTHON)?;
    check_real(python.pid(), || python.work())
}

/// Folded stacks are of what is mapped, or of what is in memory.
#[test]
fn folded_stacks_are_mapped_or_resident() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    for (width, pages) in [("mapped", 262_144), ("resident", 2)] {
        let mut victim = Victim::start(Program::new("space_exact").command(&[])?)?;
        let file = folder.path().join(width).to_string_lossy().into_owned();
        let pid = victim.pid().to_string();
        let words = [
            "vm",
            "3600",
            "--width",
            width,
            "--folded",
            file.as_str(),
            "-p",
            pid.as_str(),
        ];
        let mut memlens = Memlens::start(words)?;
        memlens.wait_until_tracing()?;
        victim.run()?;
        ensure!(memlens.interrupt()?.status.code() == Some(0));
        let lines = std::fs::read_to_string(&file)?;
        let of_reserved = lines.lines().filter(|line| line.contains(";reserved;"));
        let value = |line: &str| line.rsplit_once(' ')?.1.parse::<u64>().ok();
        let found: u64 = of_reserved.filter_map(value).sum();
        ensure!(found == pages * PAGE, "{width}: {found} bytes");
    }
    Ok(())
}
