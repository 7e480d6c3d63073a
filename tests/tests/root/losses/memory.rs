//! The kernel has no memory for what a trace wants to note: it is limited while the victim works, and not before.

use std::process::Command;

use anyhow::{Result, ensure};
use memlens_tests::cgroup::LimitedMemory;
use memlens_tests::{HeapFigures as _, Live, Memlens, Program, Report, Victim, paths};
use tracer_common::loss::Loss;

/// What the kernel may still give: less than any of these tests needs.
const LEFT: u64 = 256 << 10;

/// Traces a victim up to a word, with next to no memory for the tables meanwhile. memlens itself is stopped then: it
/// would be killed if it needed any.
fn trace_without_memory(victim: &mut Victim, word: &str) -> Result<Report> {
    let limited = LimitedMemory::new()?;
    let mut command = Command::new(paths::memlens()?);
    command
        .args(["leaks", "3600", "--json", "--top", "0"])
        .args(["-p", &victim.pid().to_string()]);
    let mut memlens = Memlens::start_command(limited.enter(command)?)?;
    memlens.wait_until_tracing()?;
    memlens.signal(libc::SIGSTOP)?;
    limited.limit_to_usage_and(LEFT)?;
    victim.go_to(word)?;
    limited.lift()?;
    memlens.signal(libc::SIGCONT)?;
    memlens.stop()
}

/// The table is not made larger: tracked and lost blocks together are all blocks, in number and in bytes.
#[test]
fn for_blocks() -> Result<()> {
    let mut victim = Victim::start(Program::new("fill_live").command(&["300000", "64"])?)?;
    let report = trace_without_memory(&mut victim, "filled")?;
    let live = report.process(victim.pid())?.live();
    let lost = Live::new(
        report.losses.of(Loss::LiveMapLateBytes),
        report.losses.of(Loss::LiveMapLateBlocks),
    );
    ensure!(lost.blocks > 1_000, "{lost:?} lost");
    assert_eq!(live.blocks + lost.blocks, 300_000, "{live:?}, {lost:?}");
    assert_eq!(live.bytes + lost.bytes, 19_200_000, "{live:?}, {lost:?}");
    ensure!(!report.complete, "complete, with lost blocks");
    report.check_says(&["the live block table was full before it was made larger"])?;
    report.check_balance()
}

/// Each of a thread's calls is counted as long as there is no state for it.
#[test]
fn for_threads() -> Result<()> {
    const THREADS: u64 = 500;
    let victim = Program::new("threads_later").command(&[&THREADS.to_string()])?;
    let mut victim = Victim::start(victim)?;
    let report = trace_without_memory(&mut victim, "done")?;
    let live = report.in_function("leak_in_thread");
    let lost = report.losses.of(Loss::NoThreadState);
    ensure!(lost > 100, "{lost} calls were not followed");
    ensure!(
        live.blocks + lost >= THREADS * 10,
        "{live:?}, {lost} calls that were not followed, of {THREADS} threads"
    );
    ensure!(
        !report.complete,
        "complete, with calls that were not followed"
    );
    report.check_says(&["the kernel had no memory for the thread's state"])
}
