//! What the BPF programs say with `-vvv` of what they do not follow.

use anyhow::{Result, ensure};
use memlens_tests::memlens::Ended;
use memlens_tests::{Live, Memlens, Program, Victim};
use tracer_common::loss::Loss;

/// Lines on standard error that contain the words.
fn said(ended: &Ended, words: &str) -> usize {
    let lines = ended.errors.iter();
    lines.filter(|line| line.contains(words)).count()
}

/// Traces a victim of one step with a verbosity.
fn traced(program: &Program, flags: &[&str]) -> Result<(u32, Ended)> {
    let mut victim = Victim::start(program.command(&[])?)?;
    let memlens = Memlens::leaks(victim.pid(), flags)?;
    victim.run()?;
    Ok((victim.pid(), memlens.interrupt()?))
}

/// Each call inside another one is named, and is not a block.
#[test]
fn calls_inside_other_calls() -> Result<()> {
    let words = "it is made inside another allocator call";
    let (pid, ended) = traced(&Program::new("nested_call"), &["-vvv"])?;
    assert_eq!(said(&ended, words), 15, "{:?}", ended.errors);
    let who = format!("memlens: process {pid}, thread {pid}: call at 0x");
    assert_eq!(said(&ended, &who), 15, "{:?}", ended.errors);
    ended
        .last_report()?
        .check_exact(pid, Live::new(1_000, 10))?;
    // Without it the programs say nothing.
    let (_, ended) = traced(&Program::new("nested_call"), &["-vv"])?;
    assert_eq!(said(&ended, words), 0, "{:?}", ended.errors);
    Ok(())
}

/// A stack that is cut is named once, with the reason.
#[test]
fn cut_stacks() -> Result<()> {
    let (_, ended) = traced(&Program::new("sizes"), &["-vvv", "--unwind", "fp"])?;
    let report = ended.last_report()?;
    let cut = report
        .heap()
        .iter()
        .filter(|row| row.cut().is_some())
        .count();
    ensure!(cut > 0, "built without frame pointers, and no stack is cut");
    ensure!(
        said(&ended, "new stack cut after") >= cut,
        "{:?}",
        ended.errors
    );
    ensure!(
        said(&ended, "no frame pointer leads on from here") > 0,
        "{:?}",
        ended.errors
    );
    Ok(())
}

/// Each block that the filter leaves out is named or, where they come faster than they are printed, counted.
#[test]
fn blocks_left_out_and_messages_dropped() -> Result<()> {
    let mut victim = Victim::start(Program::new("fill_live").command(&["40000", "64"])?)?;
    let memlens = Memlens::leaks(victim.pid(), &["-vvvv", "--min-size", "65"])?;
    victim.go_to("filled")?;
    let ended = memlens.interrupt()?;
    let said = said(
        &ended,
        "block of 64 bytes not recorded: outside the filter or the sample",
    ) as u64;
    let report = ended.last_report()?;
    let dropped = report.losses.of(Loss::DiagnosticsDropped);
    assert_eq!(said + dropped, 40_000, "{said} said, {dropped} dropped");
    ensure!(dropped > 0, "the ring has room for {said} messages");
    ensure!(report.complete, "messages do not belong to the totals");
    Ok(())
}
