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

/// While realloc has a block, another thread takes its place in the full table; then realloc fails. Tables of so few
/// entries are full to the entry, on any number of CPUs.
#[test]
fn a_place_that_is_taken_during_realloc() -> Result<()> {
    let report = odd("refuse", "60", &["--max-live", "60"])?.report;
    assert_eq!(report.losses.of(Loss::LostInRealloc), 1);
    assert_eq!(report.losses.of(Loss::LiveMapFullBlocks), 0);
    // The first of sixty is lost, and the other thread's is there.
    assert_eq!(report.totals().live(), Live::new(6_000, 60));
    assert_eq!(report.totals().allocated(), Live::new(6_100, 61));
    assert!(!report.complete, "complete, with a lost block");
    report.check_balance()
}
