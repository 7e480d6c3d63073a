//! What is lost is counted, by name and number, and the rest stays right.

mod counters;
mod kernel;
mod memory;
mod odd_allocator;

use anyhow::{Result, ensure};
use memlens::profile::{Measure, Source};
use memlens_tests::{HeapFigures as _, Live, Memlens, Program, Victim, trace};
use tracer_common::loss::Loss;

/// More live blocks than `--max-live`: tracked and lost blocks together are all blocks, in number and in bytes.
#[test]
fn a_full_live_map() -> Result<()> {
    let mut victim = Victim::start(Program::new("fill_live").command(&["20000", "64"])?)?;
    let memlens = Memlens::leaks(victim.pid(), &["--max-live", "5000"])?;
    victim.go_to("filled")?;
    let report = memlens.stop()?;
    let live = report.process(victim.pid())?.live();
    let lost = Live::new(
        report.losses.of(Loss::LiveMapFullBytes),
        report.losses.of(Loss::LiveMapFullBlocks),
    );
    // There is a quarter more room, so that every block of 5,000 finds a slot.
    ensure!(
        (5_000..=6_256).contains(&live.blocks),
        "{live:?} tracked of 5000"
    );
    assert_eq!(live.blocks + lost.blocks, 20_000, "{live:?}, {lost:?}");
    assert_eq!(live.bytes + lost.bytes, 20_000 * 64, "{live:?}, {lost:?}");
    ensure!(!report.complete, "complete, with lost blocks");
    report.check_says(&["the live block table was full (raise --max-live)"])?;
    report.check_balance()
}

/// When all is freed again, nothing is left over: what was not added is not subtracted either.
#[test]
fn a_full_live_map_does_not_drift() -> Result<()> {
    let traced = trace(
        Program::new("fill_live").command(&["20000", "64"])?,
        &["--max-live", "5000"],
    )?;
    let report = &traced.report;
    assert_eq!(report.totals().live(), Live::default());
    report.check_balance()?;
    let lost = report.losses.of(Loss::LiveMapFullBlocks);
    ensure!(
        (13_744..=15_000).contains(&lost),
        "{lost} lost of 20000, room for 5000"
    );
    assert_eq!(report.losses.of(Loss::UnknownFrees), lost);
    assert_eq!(report.totals().allocated().blocks + lost, 20_000);
    Ok(())
}

/// Fewer blocks than the limit: all are tracked.
#[test]
fn within_the_limit_nothing_is_lost() -> Result<()> {
    let mut victim = Victim::start(Program::new("fill_live").command(&["4000", "64"])?)?;
    let memlens = Memlens::leaks(victim.pid(), &["--max-live", "5000"])?;
    victim.go_to("filled")?;
    memlens
        .stop()?
        .check_exact(victim.pid(), Live::new(256_000, 4_000))
}

/// More stacks than there are rows for their length: blocks of the others are counted on their process alone.
#[test]
fn a_full_table_of_stacks() -> Result<()> {
    const BITS: u32 = 16;
    let blocks = 1 << BITS;
    // Not all of the stacks: nobody wants to read them.
    let traced = trace(
        Program::new("many_stacks").command(&[&BITS.to_string()])?,
        &["--top", "10"],
    )?;
    let report = &traced.report;
    let live = report.process(traced.pid)?.live();
    assert_eq!(live, Live::new(100 * blocks, blocks));
    let lost = report.losses.of(Loss::StackTableFull);
    ensure!(lost > 1_000, "{lost} blocks without a stack of their own");
    let (stacks, bytes) = report.stacks_total(Source::Heap, Measure::HeapLiveBytes);
    // One more for those without.
    assert_eq!((stacks - 1 + lost, bytes), (blocks, live.bytes));
    ensure!(report.complete, "incomplete, although the totals are right");
    report.check_says(&["the stack table was full"])
}
