//! `memlens vm`: address spaces known to the page, threads that race, events that are lost, real programs against their maps.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens_tests::child::{Owned, until};
use memlens_tests::space::{PAGE, last_report, mapped, trace};
use memlens_tests::{Memlens, Program, Victim, load, need, paths};

/// Every way to map and unmap, each by a function of its own, to the page.
#[test]
fn every_call_is_followed_to_the_page() -> Result<()> {
    let mut victim = Victim::start(Program::new("space_exact").command(&[])?)?;
    let memlens = trace(&["-p", &victim.pid().to_string()], &[])?;
    victim.run()?;
    let maps = mapped(victim.pid())?;
    let report = last_report(&memlens.interrupt()?)?;
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
    let kind = |function: &str| -> Result<(String, Vec<String>)> {
        let mut stacks = report.stacks.iter();
        let stack = stacks
            .find(|stack| stack.frames.iter().any(|frame| frame.is(function)))
            .with_context(|| format!("no stack of {function}"))?;
        Ok((stack.kind.clone(), stack.files.clone()))
    };
    for (function, expected) in [
        ("holed", "anonymous"),
        ("shared", "shared"),
        ("attached", "shared"),
        ("broken", "brk"),
        ("thread_stack", "stack"),
    ] {
        ensure!(
            kind(function)?.0 == expected,
            "{function}: {:?}",
            kind(function)?
        );
    }
    let (file, names) = kind("file_mapped")?;
    ensure!(
        file == "file" && names.iter().any(|name| name.contains("space_exact")),
        "{file} {names:?}"
    );
    Ok(())
}

/// Threads that get each other's freed ranges: the account is the maps, without a correction.
#[test]
fn threads_that_race_are_followed() -> Result<()> {
    let mut victim = Victim::start(Program::new("space_storm").command(&["4", "60000"])?)?;
    let memlens = trace(&["-p", &victim.pid().to_string()], &[])?;
    ensure!(victim.go_to("done")? == "60000");
    let maps = mapped(victim.pid())?;
    let report = last_report(&memlens.interrupt()?)?;
    report.check_complete()?;
    report.check_maps(maps)
}

/// Reports in the middle of the storm: what calls change meanwhile is not taken for a difference.
#[test]
fn reports_under_load_need_no_correction() -> Result<()> {
    need::root()?;
    let mut victim = Victim::start(Program::new("space_storm").command(&["2", "60000"])?)?;
    let pid = victim.pid().to_string();
    let words = ["vm", "0.1", "--json", "--top", "0", "-p", pid.as_str()];
    let mut memlens = Memlens::start(words)?;
    memlens.wait_until_tracing()?;
    ensure!(victim.go_to("done")? == "60000");
    let maps = mapped(victim.pid())?;
    let report = last_report(&memlens.interrupt()?)?;
    report.check_complete()?;
    report.check_maps(maps)
}

/// With a ring of one page most events are lost: the maps tell what is there, and the report says so.
#[test]
fn lost_events_are_repaired_from_the_maps() -> Result<()> {
    let mut victim = Victim::start(Program::new("space_storm").command(&["2", "60000"])?)?;
    let memlens = trace(&["-p", &victim.pid().to_string()], &["4096"])?;
    ensure!(victim.go_to("done")? == "60000");
    let maps = mapped(victim.pid())?;
    let report = last_report(&memlens.interrupt()?)?;
    ensure!(report.loss["space_ring_full"] > 0, "nothing was lost");
    let corrections = &report.processes[0].corrections;
    ensure!(corrections["repaired_bytes"] > 0, "{corrections:?}");
    ensure!(
        report
            .notes
            .iter()
            .any(|note| note.contains("found out from the maps")),
        "{:?}",
        report.notes
    );
    report.check_maps(maps)
}

/// What was there before the trace has rows by kind and file, and no stack.
#[test]
fn what_was_there_before_has_rows_by_kind_and_file() -> Result<()> {
    let victim = Victim::start(Program::new("sleepy").command(&[])?)?;
    let memlens = trace(&["-p", &victim.pid().to_string()], &[])?;
    let maps = mapped(victim.pid())?;
    let report = last_report(&memlens.interrupt()?)?;
    report.check_complete()?;
    report.check_maps(maps)?;
    ensure!(report.stacks.is_empty(), "{:?}", report.stacks);
    ensure!(report.others.iter().all(|row| !row.during_trace));
    for kind in ["file", "stack", "anonymous", "kernel"] {
        ensure!(
            report.others.iter().any(|row| row.kind == kind),
            "no {kind}"
        );
    }
    let names = report.others.iter().filter_map(|row| row.name.as_ref());
    ensure!(names.into_iter().any(|name| name.contains("libc.so.6")));
    Ok(())
}

/// A program that replaces itself has a new address space.
#[test]
fn exec_begins_a_new_address_space() -> Result<()> {
    let mut victim = Victim::start(Program::new("exec_self").command(&[])?)?;
    let memlens = trace(&["-p", &victim.pid().to_string()], &[])?;
    victim.go_to("ready")?;
    victim.go_to("done")?;
    let maps = mapped(victim.pid())?;
    let report = last_report(&memlens.interrupt()?)?;
    report.check_complete()?;
    report.check_maps(maps)?;
    ensure!(report.processes.len() == 1, "{:?}", report.processes);
    // The new program's heap came by a call of the allocator.
    ensure!(report.stacks.iter().any(|stack| stack.kind == "brk"));
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
    let report = last_report(&ended)?;
    ensure!(
        report.processes[0].state == "exited",
        "{:?}",
        report.processes
    );
    ensure!(report.totals.resident_bytes.is_none());
    ensure!(report.pages_of("reserved")[0] == 262_144);
    ensure!(report.pages_of("holed")[0] == 13);
    ensure!(report.command_exit.is_some());
    Ok(())
}

/// Maps against the account of a program that has worked and rests now.
fn check_real(pid: u32, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let memlens = trace(&["-p", &pid.to_string()], &[])?;
    work()?;
    // Until it rests: the same maps twice.
    let maps = until("the program rests", Duration::from_secs(30), || {
        let before = mapped(pid)?;
        std::thread::sleep(Duration::from_millis(300));
        Ok((mapped(pid)? == before).then_some(before))
    })?;
    let report = last_report(&memlens.interrupt()?)?;
    report.check_complete()?;
    report.check_maps(maps)?;
    ensure!(!report.stacks.is_empty(), "nothing was mapped");
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
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;
    let mut command = Command::new(need::program("python3")?);
    command.args(["-c", PYTHON]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = Owned::start(&mut command)?;
    let pid = python.pid();
    let handle = python.handle();
    let mut input = handle.stdin.take().context("no input")?;
    let output = handle.stdout.take().context("no output")?;
    check_real(pid, move || {
        writeln!(input, "go")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line == "done\n", "{line:?}");
        // It waits for another line; without an input it would end.
        std::mem::forget(input);
        Ok(())
    })
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
