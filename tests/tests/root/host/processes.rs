//! Each kind of process among all others: there before the trace, started during it, on any allocator, in any language.

use std::process::Command;

use anyhow::{Result, ensure};
use memlens::profile::{Measure, State};
use memlens_tests::child::Owned;
use memlens_tests::host::{admission, check_ended};
use memlens_tests::{HeapFigures as _, Live, Program, Victim, code, elf32, foreign, need};
use tracer_common::loss::Loss;

use super::{LEAK, Stage, everything, leak_each};

/// glibc, musl and others, shared and static: with all of them there before the trace, all are exact.
#[test]
fn those_that_ran_before() -> Result<()> {
    let mut victims = Vec::new();
    for program in kinds() {
        victims.push(Victim::start(program.command(&["calloc", "2"])?)?);
    }
    for library in ["libjemalloc.so.2", "libtcmalloc_minimal.so.4"] {
        let mut command = leak_each("host-preload").command(&["malloc", "2"])?;
        command.env("LD_PRELOAD", need::library(library)?);
        victims.push(Victim::start(command)?);
    }
    let memlens = everything(&[])?;
    for victim in &mut victims {
        code::until_probed(victim.pid(), "")?;
        victim.run()?;
    }
    let report = memlens.stop()?;
    assert_eq!(report.host_wide()?.scope, "the whole host");
    for victim in &victims {
        let row = report.check_process(victim.pid(), Live::new(60_000, 2))?;
        assert_eq!(row.state, State::Running);
        ensure!(!row.started_in_trace, "{row:?}");
        // The kernel tells it from counters of each CPU, which may not have been summed up for a young process (6.2,
        // include/linux/mm.h, get_mm_counter).
        ensure!(
            row.totals.get(Measure::ProcessRssBytes).is_some(),
            "{row:?}"
        );
        ensure!(row.uid == Some(0), "{row:?}");
        ensure!(row.user.as_deref() == Some("root"), "{row:?}");
    }
    Ok(())
}

/// `leak_each` in every way that it can be linked.
fn kinds() -> [Program; 4] {
    [
        leak_each("host-glibc"),
        leak_each("host-static").statically(),
        leak_each("host-musl").musl(),
        leak_each("host-musl-st").musl().statically(),
    ]
}

/// Programs that bring their allocator with them, and which nobody ran before: traced within 200 ms of their start.
#[test]
fn allocators_that_come_with_a_new_process() -> Result<()> {
    let stage = Stage::enter()?;
    let memlens = stage.trace(&[])?;
    let soon = |name| Program::new("leak_soon").named(name);
    let programs = [
        soon("soon-static").statically(),
        soon("soon-musl").musl(),
        soon("soon-musl-st").musl().statically(),
    ];
    let mut victims = Vec::new();
    for program in &programs {
        // A copy is a file that nobody has mapped; the C library of musl may be known.
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("soon");
        std::fs::copy(program.build()?, &path)?;
        let mut victim = Victim::start(Command::new(&path))?;
        victim.expect("done")?;
        victims.push((victim, folder));
    }
    let report = memlens.stop()?;
    for (victim, _) in &victims {
        // Where the probes come before the C library has started, its blocks are there, too.
        let row = report.process(victim.pid())?;
        ensure!(row.started_in_trace, "{row:?}");
        row.check_balance(&format!("PID {}", victim.pid()))?;
        report.check_function_of(victim.pid(), "leak_late", LEAK)?;
    }
    Ok(())
}

/// A library with an allocator that a traced program opens.
#[test]
fn an_allocator_that_is_opened() -> Result<()> {
    let stage = Stage::enter()?;
    let folder = tempfile::tempdir()?;
    let library = folder.path().join("libown.so");
    // One that can be opened late: its thread-local data need not be there from the start.
    std::fs::copy(need::library("libmimalloc.so.2")?, &library)?;
    let library = library.to_string_lossy().into_owned();
    let program = Program::new("dlopen_allocator").named("host-dlopen");
    let mut victim = Victim::start(program.command(&[&library, "mi_malloc", "mi_free"])?)?;
    let memlens = stage.trace(&[])?;
    victim.go_to("loaded")?;
    code::until_probed(victim.pid(), "libown.so")?;
    victim.go_to("done")?;
    let report = memlens.stop()?;
    report.check_function_of(victim.pid(), "use", Live::new(42_000, 60))?;
    let late = &report.host_wide()?.late_files;
    ensure!(
        late.iter().any(|late| late.path == library),
        "{library} is not said to have come late: {late:?}"
    );
    Ok(())
}

/// What a parent and its child release of what both have is the parent's alone.
#[test]
fn a_forked_child() -> Result<()> {
    let stage = Stage::enter()?;
    let program = Program::new("fork_both_free").named("host-fork");
    let mut victim = Victim::start(program.command(&["keep"])?)?;
    let memlens = stage.trace(&[])?;
    victim.run()?;
    let report = memlens.stop()?;
    report.check_process(victim.pid(), Live::new(55_500, 500))?;
    assert_eq!(report.losses.of(Loss::UntracedChildren), 0);
    Ok(())
}

/// A program that is replaced by exec is over, and the next one begins with nothing.
#[test]
fn exec_replaces_a_program() -> Result<()> {
    let stage = Stage::enter()?;
    let mut victim = Victim::start(Program::new("exec_self").named("host-exec").command(&[])?)?;
    let memlens = stage.trace(&[])?;
    victim.go_to("ready")?;
    victim.go_to("done")?;
    let report = memlens.stop()?;
    report.check_process(victim.pid(), Live::new(8_000, 1))?;
    check_ended(report.host_wide()?, "host-exec", 1, Live::new(5_000, 1))
}

/// The main thread has ended and another works on: the kernel places no probes for such a process, which is said.
#[test]
fn a_process_without_its_main_thread() -> Result<()> {
    let stage = Stage::enter()?;
    let program = Program::new("leader_gone").named("host-leader");
    let mut victim = Victim::start(program.command(&[])?)?;
    let memlens = stage.trace(&[])?;
    victim.run()?;
    let report = memlens.stop()?;
    let refused = &admission(&report)?.refused;
    ensure!(
        refused
            .iter()
            .any(|refused| refused.pid == victim.pid() && refused.reason.contains("first thread")),
        "{refused:?}"
    );
    Ok(())
}

/// 32-bit programs before and during the trace: they go on, and so does the trace.
#[test]
fn a_32_bit_process_among_the_others() -> Result<()> {
    let stage = Stage::enter()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tiny32");
    elf32::write(&path)?;
    let mut before = Owned::start(&mut Command::new(&path))?;
    let mut victim = Victim::start(leak_each("host-beside32").command(&["malloc"])?)?;
    let memlens = stage.trace(&[])?;
    let mut during = Owned::start(&mut Command::new(&path))?;
    victim.run()?;
    let report = memlens.stop()?;
    report.check_process(victim.pid(), LEAK)?;
    for small in [&mut before, &mut during] {
        ensure!(small.ended()?.is_none(), "{} ended", small.what());
        ensure!(!report.has_row(small.pid()), "a 32-bit process has a row");
    }
    Ok(())
}

/// Go has an allocator of its own, and its stacks move: nothing is placed in it.
#[test]
fn go_is_left_alone() -> Result<()> {
    let stage = Stage::enter()?;
    let program = foreign::go(false)?;
    let mut before = Victim::start(Command::new(&program))?;
    let memlens = stage.trace(&[])?;
    let mut during = Victim::start(Command::new(&program))?;
    for victim in [&mut before, &mut during] {
        assert_eq!(victim.go_to("done")?, "499500 0");
        assert_eq!(code::changed(victim.pid())?, []);
    }
    let report = memlens.stop()?;
    for victim in [before, during] {
        ensure!(!report.has_row(victim.pid()), "Go has a row");
        ensure!(victim.exit()?.success(), "Go was hurt");
    }
    Ok(())
}

/// What Go takes from C's malloc is seen, and Go goes on.
#[test]
fn go_with_c() -> Result<()> {
    let stage = Stage::enter()?;
    let program = foreign::go(true)?;
    let mut before = Victim::start(Command::new(&program))?;
    let memlens = stage.trace(&[])?;
    let mut during = Victim::start(Command::new(&program))?;
    for victim in [&mut before, &mut during] {
        assert_eq!(victim.go_to("done")?, "499500 3");
    }
    let report = memlens.stop()?;
    for victim in [before, during] {
        let rows = report.heap_of(victim.pid()).into_iter();
        let ours = rows
            .filter(|row| row.live() == Live::new(30_000, 3))
            .count();
        ensure!(
            ours == 1,
            "{ours} stacks of PID {} hold 30,000 bytes",
            victim.pid()
        );
        ensure!(victim.exit()?.success(), "Go was hurt");
    }
    Ok(())
}

/// Java's heap is none of malloc's; its direct buffers are.
#[test]
fn java_outside_of_its_heap() -> Result<()> {
    let stage = Stage::enter()?;
    let mut victim = Victim::start(foreign::java()?)?;
    let memlens = stage.trace(&[])?;
    victim.go_to("done")?;
    let report = memlens.stop()?;
    // The same call comes from interpreted and from compiled code: several stacks, each of whole buffers.
    let is_buffers = |live: Live| live.blocks > 0 && live.bytes == live.blocks * 1_000_000;
    let mut stacks = report.heap_of(victim.pid());
    stacks.retain(|stack| is_buffers(stack.live()));
    let blocks: u64 = stacks.iter().map(|stack| stack.live().blocks).sum();
    assert_eq!(blocks, 40, "buffers");
    for stack in stacks {
        let in_java = stack
            .frames()
            .any(|frame| stack.path(frame).ends_with("libjvm.so"));
        ensure!(in_java, "not through libjvm.so: {:?}", stack.names());
    }
    let held = report.process(victim.pid())?.live().bytes;
    ensure!(held < 60_000_000, "{held} bytes: the Java heap is in them");
    ensure!(victim.exit()?.success(), "Java was hurt");
    Ok(())
}

/// memlens is no part of its report; another memlens is.
#[test]
fn memlens_itself() -> Result<()> {
    // Not all stacks of the host: each looks up names while the other one counts its blocks.
    let few = ["--top", "10"];
    let other = everything(&few)?;
    let mut victim = Victim::start(leak_each("host-two").command(&["malloc"])?)?;
    let memlens = everything(&few)?;
    let own = memlens.pid();
    let name = std::fs::read_to_string(format!("/proc/{own}/comm"))?;
    let name = name.trim_end().to_owned();
    victim.run()?;
    let report = memlens.stop()?;
    ensure!(!report.has_row(own), "memlens is in its own report");
    ensure!(report.has_row(other.pid()), "the other memlens has no row");
    assert_eq!(report.process(victim.pid())?.live(), LEAK);
    let theirs = other.stop()?;
    // The second one started and ended during the first one's trace.
    let ended = &theirs.host_wide()?.ended;
    ensure!(
        ended.processes.iter().any(|process| process.pid == own)
            || ended.names.iter().any(|ended| ended.command == name),
        "{name} ({own}) has not ended: {ended:?}"
    );
    assert_eq!(theirs.process(victim.pid())?.live(), LEAK);
    Ok(())
}
