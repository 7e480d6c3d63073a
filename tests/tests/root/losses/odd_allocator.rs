//! An allocator whose calls go wrong in ways that others seldom do.

use anyhow::Result;
use memlens_tests::{HeapFigures as _, Live, Program, Traced, trace};
use tracer_common::loss::Loss;

/// Traces the victim.
fn odd(how: &str, count: &str, more: &[&str]) -> Result<Traced> {
    let library = Program::library("odd_library")
        .named("libodd_malloc.so")
        .build()?;
    let program = Program::new("odd_allocator").link(library);
    let more = [&["--symbols-prefix", "odd_"], more].concat();
    trace(program.command(&[how, count])?, &more)
}

/// A release that was not seen is noticed when the block is handed out again.
#[test]
fn blocks_that_are_handed_out_twice() -> Result<()> {
    let report = odd("release", "50", &[])?.report;
    assert_eq!(report.totals().live(), Live::new(100, 1));
    assert_eq!(report.totals().allocated(), Live::new(5_000, 50));
    assert_eq!(report.losses.of(Loss::MissedFrees), 49);
    assert!(!report.complete, "complete, with frees that were missed");
    report.check_balance()
}

/// A result that lies where nobody may read.
#[test]
fn results_that_cannot_be_read() -> Result<()> {
    let report = odd("hidden", "7", &[])?.report;
    assert_eq!(report.totals().allocated(), Live::default());
    assert_eq!(report.losses.of(Loss::UnreadableResult), 7);
    assert!(
        !report.complete,
        "complete, with results that are not known"
    );
    Ok(())
}

/// Addresses that no process has by default: each block is counted as not tracked, with its bytes.
#[test]
fn addresses_that_user_space_does_not_have() -> Result<()> {
    let report = odd("far", "9", &[])?.report;
    assert_eq!(report.totals().allocated(), Live::new(100, 1));
    assert_eq!(report.losses.of(Loss::FarBlocks), 8);
    assert_eq!(report.losses.of(Loss::FarBytes), 800);
    report.check_says(&["8 blocks (800 B in total)", "beyond 128 TiB"])?;
    assert!(!report.complete, "complete, with blocks not tracked");
    report.check_balance()
}

/// While realloc has a block, another thread takes its place in the full table; then realloc fails. The smallest table
/// has sixteen slots, one bucket.
#[test]
fn a_place_that_is_taken_during_realloc() -> Result<()> {
    let report = odd("refuse", "16", &["--max-live", "1"])?.report;
    assert_eq!(report.losses.of(Loss::LostInRealloc), 1);
    assert_eq!(report.losses.of(Loss::LiveMapFullBlocks), 0);
    // The first of sixteen is lost, and the other thread's is there.
    assert_eq!(report.totals().live(), Live::new(1_600, 16));
    assert_eq!(report.totals().allocated(), Live::new(1_700, 17));
    assert!(!report.complete, "complete, with a lost block");
    report.check_balance()
}
