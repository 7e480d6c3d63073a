//! What of the live memory is shown: top, sort, ages, sizes, blocks, samples.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memlens::profile::Measure;
use memlens_tests::report::Report;
use memlens_tests::{HeapFigures, Live, Memlens, Program, Victim, trace};
use nix::time::{ClockId, clock_getres};

/// Traces the three sizes: 8000 bytes in 1000 blocks, 50000 in 100, 200000 in 2.
fn sizes(more: &[&str]) -> Result<Report> {
    Ok(trace(Program::new("sizes").command(&[])?, more)?.report)
}

fn live_of(report: &Report) -> Vec<Live> {
    report.heap().iter().map(HeapFigures::live).collect()
}

const LARGE: Live = Live::new(200_000, 2);
const MIDDLE: Live = Live::new(50_000, 100);
const TINY: Live = Live::new(8_000, 1_000);

#[test]
fn largest_first_unless_told() -> Result<()> {
    assert_eq!(live_of(&sizes(&[])?), [LARGE, MIDDLE, TINY]);
    assert_eq!(
        live_of(&sizes(&["--sort", "bytes"])?),
        [LARGE, MIDDLE, TINY]
    );
    assert_eq!(
        live_of(&sizes(&["--sort", "count"])?),
        [TINY, MIDDLE, LARGE]
    );
    // The oldest first: that is the order in which the victim leaks.
    assert_eq!(live_of(&sizes(&["--sort", "age"])?), [LARGE, MIDDLE, TINY]);
    Ok(())
}

/// Fewer stacks are shown; the totals are of all.
#[test]
fn top_cuts_the_list_not_the_totals() -> Result<()> {
    let report = sizes(&["--top", "2"])?;
    assert_eq!(live_of(&report), [LARGE, MIDDLE]);
    assert_eq!(report.heap_stacks_total(), 3);
    assert_eq!(report.totals().live(), Live::new(258_000, 1_102));
    Ok(())
}

#[test]
fn sizes_are_filtered_inclusively_and_take_units() -> Result<()> {
    assert_eq!(live_of(&sizes(&["--min-size", "500"])?), [LARGE, MIDDLE]);
    assert_eq!(live_of(&sizes(&["--min-size", "501"])?), [LARGE]);
    assert_eq!(live_of(&sizes(&["--max-size", "500"])?), [MIDDLE, TINY]);
    assert_eq!(live_of(&sizes(&["--max-size", "499"])?), [TINY]);
    assert_eq!(
        live_of(&sizes(&["--min-size", "9", "--max-size", "1KiB"])?),
        [MIDDLE]
    );
    Ok(())
}

/// Of two blocks, one older than the limit.
#[test]
fn older_shows_old_blocks_only() -> Result<()> {
    let mut victim = Victim::start(Program::new("age_steps").command(&[])?)?;
    let mut memlens = Memlens::leaks(victim.pid(), &["0.2", "--older", "2s"])?;
    victim.go_to("old")?;
    memlens.report_with("the old block is shown", |report| {
        report.in_function("leak_old") == Live::new(1_000, 1)
    })?;
    victim.go_to("done")?;
    let report = memlens.stop()?;
    report.check_function("leak_old", Live::new(1_000, 1))?;
    report.check_function("leak_young", Live::default())
}

#[test]
fn ages_are_right() -> Result<()> {
    let mut victim = Victim::start(Program::new("age_steps").command(&[])?)?;
    let age = |report: &Report, name: &str| {
        let rows = report.stacks_with(name);
        let age = rows
            .first()
            .and_then(|row| row.whole(Measure::HeapOldestMs));
        u128::try_from(age.unwrap_or(0)).unwrap_or(0)
    };
    let mut memlens = Memlens::leaks(victim.pid(), &["0.1"])?;
    let before_old = Instant::now();
    victim.go_to("old")?;
    let after_old = Instant::now();
    memlens.report_with("the block is a second old", |report| {
        age(report, "leak_old") >= 1_000
    })?;
    let before_young = Instant::now();
    victim.go_to("done")?;
    let after_young = Instant::now();
    let report = memlens.stop()?;
    let (old, young) = (age(&report, "leak_old"), age(&report, "leak_young"));
    ensure!(
        (1_000..before_old.elapsed().as_millis()).contains(&old),
        "the old block is {old} ms old"
    );
    // Both ages are told to the tick, and cut to whole milliseconds.
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map(Duration::from)?;
    let least = (before_young - after_old).saturating_sub(tick).as_millis();
    let most = (after_young - before_old + tick).as_millis() + 1;
    ensure!(
        !report.stacks_with("leak_young").is_empty()
            && (least.saturating_sub(1)..=most).contains(&(old - young)),
        "{old} ms and {young} ms, not {least} to {most} ms apart"
    );
    ensure!(
        old < report.meta.elapsed.as_millis(),
        "older than the trace"
    );
    Ok(())
}

/// The address that the victim itself was given.
#[test]
fn show_allocs_lists_each_block() -> Result<()> {
    let traced = trace(
        Program::new("leak_each").command(&["malloc", "5"])?,
        &["--show-allocs"],
    )?;
    let stack = traced.report.first_stack()?;
    let blocks = stack.sample.blocks.as_deref().context("no blocks")?;
    assert_eq!(blocks.len(), 5);
    let last = u64::from_str_radix(traced.said.trim_start_matches("0x"), 16)?;
    let mut addresses = Vec::new();
    for block in blocks {
        assert_eq!(block.size, 30_000);
        ensure!(!block.age.is_zero(), "{block:?}");
        addresses.push(block.address);
    }
    ensure!(
        addresses.contains(&last),
        "{last:#x} is not in {addresses:x?}"
    );
    ensure!(
        blocks.windows(2).all(|pair| pair[0].age >= pair[1].age),
        "not oldest first"
    );
    Ok(())
}

#[test]
fn without_show_allocs_there_are_no_blocks() -> Result<()> {
    let report = sizes(&[])?;
    assert_eq!(report.heap().len(), 3);
    ensure!(
        report
            .heap()
            .iter()
            .all(|stack| stack.sample.blocks.is_none())
    );
    Ok(())
}

/// Totals in BPF alone give the same numbers, without ages.
#[test]
fn combined_gives_the_same_totals() -> Result<()> {
    let traced = trace(Program::new("sizes").command(&[])?, &["--combined"])?;
    traced
        .report
        .check_exact(traced.pid, Live::new(258_000, 1_102))?;
    assert_eq!(live_of(&traced.report), [LARGE, MIDDLE, TINY]);
    ensure!(
        traced
            .report
            .heap()
            .iter()
            .all(|stack| stack.sample.blocks.is_none()
                && stack.whole(Measure::HeapOldestMs).is_none())
    );
    let traced = trace(
        Program::new("fill_live").command(&["2000", "80"])?,
        &["--combined"],
    )?;
    traced.report.check_exact(traced.pid, Live::default())
}

/// 100 MB in 100000 blocks at one sample in 64 KiB: about 1500 samples, so the standard error is near 2.6 per cent.
#[test]
fn a_sample_is_unbiased() -> Result<()> {
    let mut victim = Victim::start(Program::new("fill_live").command(&["100000", "1000"])?)?;
    let memlens = Memlens::leaks(victim.pid(), &["--sample-bytes", "65536"])?;
    victim.go_to("filled")?;
    let report = memlens.stop()?;
    let live = report.in_function("fill");
    let off = |found: u64, real: f64| (found as f64 - real).abs() / real;
    ensure!(off(live.bytes, 1e8) < 0.16, "{live:?} for 100000000 bytes");
    ensure!(off(live.blocks, 1e5) < 0.16, "{live:?} for 100000 blocks");
    ensure!(
        live != Live::new(100_000_000, 100_000),
        "exact: nothing was sampled"
    );
    let error = report.sampling()?.standard_error_bytes;
    ensure!(
        (1_000_000..6_000_000).contains(&error),
        "a standard error of {error} bytes"
    );
    Ok(())
}

/// Samples that are freed are taken back.
#[test]
fn a_sample_returns_to_zero() -> Result<()> {
    let report = trace(
        Program::new("fill_live").command(&["50000", "1000"])?,
        &["--sample-bytes", "65536"],
    )?
    .report;
    assert_eq!(report.in_function("fill"), Live::default());
    ensure!(
        report.totals().allocated().bytes > 20_000_000,
        "{:?}",
        report.totals()
    );
    report.check_balance()
}

/// Blocks larger than the interval are always in the sample.
#[test]
fn large_blocks_are_always_sampled() -> Result<()> {
    let traced = trace(
        Program::new("fill_live").command(&["10", "10000000"])?,
        &["--sample-bytes", "65536"],
    )?;
    let allocated = traced.report.totals().allocated();
    ensure!(
        allocated.bytes.abs_diff(100_000_000) < 1_000_000 && allocated.blocks == 10,
        "{allocated:?} for 100000000 bytes in 10 blocks"
    );
    Ok(())
}
