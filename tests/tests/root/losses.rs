//! What is lost is counted, by name and number, and the rest stays right.

use anyhow::{Result, ensure};
use memlens_tests::{Live, Memlens, Program, Victim, trace};

/// More live blocks than `--max-live`: tracked and lost blocks together are all blocks, in number and in bytes.
#[test]
fn a_full_live_map() -> Result<()> {
    let mut victim = Victim::start(Program::new("fill_live").command(&["20000", "64"])?)?;
    let memlens = Memlens::leaks(victim.pid(), &["--max-live", "5000"])?;
    victim.go_to("filled")?;
    let report = memlens.stop()?;
    let live = report.process(victim.pid())?.totals.live();
    let lost = Live::new(
        report.lost("live_map_full_bytes"),
        report.lost("live_map_full_blocks"),
    );
    ensure!(
        (4_500..=5_500).contains(&live.blocks),
        "{live:?} tracked of 5000"
    );
    assert_eq!(live.blocks + lost.blocks, 20_000, "{live:?}, {lost:?}");
    assert_eq!(live.bytes + lost.bytes, 20_000 * 64, "{live:?}, {lost:?}");
    ensure!(!report.complete, "complete, with lost blocks");
    ensure!(!report.notes.is_empty(), "no sentence about the loss");
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
    assert_eq!(report.totals.live(), Live::default());
    report.check_balance()?;
    let lost = report.lost("live_map_full_blocks");
    ensure!(lost >= 14_500, "{lost} lost of 20000, 5000 tracked");
    assert_eq!(report.lost("unknown_frees"), lost);
    assert_eq!(report.totals.alloc_count + lost, 20_000);
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
