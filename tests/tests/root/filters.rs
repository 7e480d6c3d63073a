//! What of the live memory is shown: top, sort, ages, sizes, blocks, samples.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens_tests::report::Report;
use memlens_tests::{Live, Memlens, Program, Victim, trace};

/// Traces the three sizes: 8000 bytes in 1000 blocks, 50000 in 100, 200000 in 2.
fn sizes(more: &[&str]) -> Result<Report> {
    Ok(trace(Program::new("sizes").command(&[])?, more)?.report)
}

fn live_of(report: &Report) -> Vec<Live> {
    report
        .stacks
        .iter()
        .map(|stack| stack.totals.live())
        .collect()
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
    assert_eq!(report.stacks_total, 3);
    assert_eq!(report.totals.live(), Live::new(258_000, 1_102));
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
    let memlens = Memlens::leaks(victim.pid(), &["--older", "700ms"])?;
    victim.go_to("old")?;
    std::thread::sleep(Duration::from_millis(1500));
    victim.go_to("done")?;
    let report = memlens.stop()?;
    report.check_function("leak_old", Live::new(1_000, 1))?;
    report.check_function("leak_young", Live::default())
}

#[test]
fn ages_are_right() -> Result<()> {
    let mut victim = Victim::start(Program::new("age_steps").command(&[])?)?;
    let memlens = Memlens::leaks(victim.pid(), &[])?;
    victim.go_to("old")?;
    std::thread::sleep(Duration::from_millis(1000));
    victim.go_to("done")?;
    let report = memlens.stop()?;
    let age = |name: &str| -> Result<f64> {
        report
            .stacks_with(name)
            .first()
            .and_then(|stack| stack.oldest_age_ms)
            .with_context(|| format!("no age for {name}"))
    };
    let (old, young) = (age("leak_old")?, age("leak_young")?);
    ensure!(
        (1_000.0..20_000.0).contains(&old),
        "the old block is {old} ms old"
    );
    ensure!(
        (950.0..1_500.0).contains(&(old - young)),
        "{old} ms and {young} ms, not 1000 ms apart"
    );
    ensure!(old < report.elapsed_ms, "older than the trace");
    Ok(())
}

/// The address that the victim itself was given.
#[test]
fn show_allocs_lists_each_block() -> Result<()> {
    let traced = trace(
        Program::new("leak_each").command(&["malloc", "5"])?,
        &["--show-allocs"],
    )?;
    let stack = traced.report.stacks.first().context("no stack")?;
    assert_eq!(stack.blocks.len(), 5);
    let last = u64::from_str_radix(traced.said.trim_start_matches("0x"), 16)?;
    let mut addresses = Vec::new();
    for block in &stack.blocks {
        assert_eq!(block.size, 30_000);
        ensure!(block.age_ms > 0.0, "{block:?}");
        addresses.push(block.address()?);
    }
    ensure!(
        addresses.contains(&last),
        "{last:#x} is not in {addresses:x?}"
    );
    ensure!(
        stack
            .blocks
            .windows(2)
            .all(|pair| pair[0].age_ms >= pair[1].age_ms),
        "not oldest first"
    );
    Ok(())
}

#[test]
fn without_show_allocs_there_are_no_blocks() -> Result<()> {
    let report = sizes(&[])?;
    assert_eq!(report.stacks.len(), 3);
    ensure!(report.stacks.iter().all(|stack| stack.blocks.is_empty()));
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
            .stacks
            .iter()
            .all(|stack| stack.blocks.is_empty())
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
    let sampling = report.sampling.as_ref().context("no word of the sample")?;
    let error = sampling["standard_error_bytes"]
        .as_f64()
        .with_context(|| format!("no standard error: {sampling}"))?;
    ensure!(
        (1e6..6e6).contains(&error),
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
        report.totals.alloc_bytes > 20_000_000,
        "{:?}",
        report.totals
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
    let totals = traced.report.totals;
    let bytes = totals.alloc_bytes as f64;
    ensure!((bytes - 1e8).abs() < 1e6, "{bytes} bytes for 100000000");
    ensure!(totals.alloc_count == 10, "{totals:?}");
    Ok(())
}
