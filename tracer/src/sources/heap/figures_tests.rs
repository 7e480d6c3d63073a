//! Short event lists with known answers.

use super::super::rows::{Order, Which, merge, select};
use super::*;
use crate::sources::heap::census::Census;
use tracer_common::key::LiveBlock;

const OWNER: Owner = Owner { tgid: 7, image: 1 };
const SECOND: u64 = 1_000_000_000;

fn filter(older_seconds: u64) -> Filter {
    Filter {
        older: Duration::from_secs(older_seconds),
        sample_bytes: None,
        keep_blocks: false,
    }
}

fn counted(alloc: (u64, u64), free: (u64, u64)) -> StackTotals {
    StackTotals {
        alloc_bytes: alloc.0,
        alloc_count: alloc.1 * COUNT_ONE,
        free_bytes: free.0,
        free_count: free.1 * COUNT_ONE,
    }
}

fn census(filter: Filter, now: u64, blocks: &[(u64, u64, u64, u32)]) -> FxHashMap<u32, BlockSums> {
    let mut census = Census::new(filter, now * SECOND);
    for (addr, size, time, stack) in blocks {
        census.add(
            *addr,
            &LiveBlock {
                size: *size,
                time_ns: time * SECOND,
                stack: *stack,
                function: 0,
            },
        );
    }
    census.finish()
}

/// Live is allocated minus freed, and growth is told from the second report on.
#[test]
fn growth_is_the_change_since_the_previous_report() {
    let mut heap = History::default();
    let first = heap.report(
        &[(3, OWNER, counted((100, 2), (40, 1)))],
        None,
        &filter(0),
        |_| false,
    );
    assert_eq!(
        (
            first.rows[0].live_bytes,
            first.rows[0].live_count,
            first.rows[0].growth
        ),
        (60, 1, None)
    );
    let second = heap.report(
        &[(3, OWNER, counted((100, 2), (90, 2)))],
        None,
        &filter(0),
        |_| false,
    );
    assert_eq!(second.rows[0].growth, Some(-50));
    assert_eq!(second.owners[&OWNER].1, Some(-50));
}

/// With an age limit only old blocks count; the totals stay whole.
#[test]
fn age_limit_counts_old_blocks_only() {
    let blocks = [(0x10, 30, 1, 3), (0x20, 70, 9, 3)];
    let mut heap = History::default();
    let sums = census(filter(5), 10, &blocks);
    let figures = heap.report(
        &[(3, OWNER, counted((100, 2), (0, 0)))],
        Some(sums),
        &filter(5),
        |_| false,
    );
    let row = &figures.rows[0];
    assert_eq!(
        (row.live_bytes, row.live_count, row.totals.alloc_bytes),
        (30, 1, 100)
    );
    assert_eq!(row.oldest(), Some(Duration::from_secs(9)));
}

/// The blocks of a program that has ended are remembered after they were removed from the map.
#[test]
fn gone_programs_keep_their_ages() {
    let mut heap = History::default();
    let totals = [(3, OWNER, counted((30, 1), (0, 0)))];
    let sums = census(filter(0), 10, &[(0x10, 30, 4, 3)]);
    heap.report(&totals, Some(sums), &filter(0), |owner| owner == OWNER);
    let after = heap.report(&totals, Some(FxHashMap::default()), &filter(0), |owner| {
        owner == OWNER
    });
    assert_eq!(after.rows[0].oldest(), Some(Duration::from_secs(6)));
    assert_eq!(after.rows[0].growth, Some(0));
}

/// Blocks are listed oldest first.
#[test]
fn listed_blocks_are_in_order_of_age() {
    let listing = Filter {
        keep_blocks: true,
        ..filter(0)
    };
    let sums = census(
        listing,
        10,
        &[(0x30, 1, 8, 3), (0x10, 2, 2, 3), (0x20, 3, 8, 3)],
    );
    let addresses: Vec<u64> = sums[&3].blocks.iter().map(|block| block.address).collect();
    assert_eq!(addresses, [0x10, 0x20, 0x30]);
}

/// In a sampled trace counts are rounded so that the row still balances, and the error is told.
#[test]
fn estimates_balance() {
    let interval = 1000;
    let sampled = Filter {
        sample_bytes: Some(interval),
        ..filter(0)
    };
    let (bytes, count) = tracer_common::sampling::weight(100, interval);
    let totals = StackTotals {
        alloc_bytes: 3 * bytes,
        alloc_count: 3 * count,
        free_bytes: bytes,
        free_count: count,
    };
    let sums = census(sampled, 1, &[(0x10, 100, 0, 3), (0x20, 100, 0, 3)]);
    let mut heap = History::default();
    let figures = heap.report(&[(3, OWNER, totals)], Some(sums), &sampled, |_| false);
    let row = &figures.rows[0];
    assert_eq!(
        row.totals.alloc_count - row.totals.free_count,
        row.live_count
    );
    let sampling = figures.sampling.expect("it is a sampled trace");
    assert_eq!(sampling.live_samples, 2);
    // Two blocks of weight 1050.8 that are sampled with p = 0.0952: 1050.8 * sqrt(2 * 0.9048).
    assert!(
        (1410..1418).contains(&sampling.standard_error_bytes),
        "{sampling:?}"
    );
}

/// The order is the one asked for, and rows without live memory are left out unless all are wanted.
#[test]
fn rows_are_selected_and_ordered() {
    let mut heap = History::default();
    let totals = [
        (1, OWNER, counted((100, 1), (0, 0))),
        (2, OWNER, counted((50, 5), (0, 0))),
        (3, OWNER, counted((70, 1), (70, 1))),
    ];
    let figures = heap.report(&totals, None, &filter(0), |_| false);
    let rows = |order, which| {
        select(&figures.rows, order, which)
            .iter()
            .map(|row| row.row)
            .collect::<Vec<_>>()
    };
    assert_eq!(rows(Order::Bytes, Which::Live), [1, 2]);
    assert_eq!(rows(Order::Count, Which::Live), [2, 1]);
    assert_eq!(rows(Order::Bytes, Which::All), [1, 2, 3]);
}

/// Rows with one key become one, the first's; rows without a key stay.
#[test]
fn rows_of_one_stack_are_merged() {
    let mut heap = History::default();
    let totals = [
        (1, OWNER, counted((100, 1), (0, 0))),
        (2, OWNER, counted((50, 5), (10, 1))),
        (3, OWNER, counted((70, 1), (0, 0))),
    ];
    let sums = census(filter(0), 10, &[(0x10, 100, 4, 1), (0x20, 40, 1, 2)]);
    let figures = heap.report(&totals, Some(sums), &filter(0), |_| false);
    let merged = merge(figures.rows, |row| (row.row < 3).then_some("same"));
    assert_eq!(merged.len(), 2);
    assert_eq!(
        (merged[0].row, merged[0].live_bytes, merged[0].live_count),
        (1, 140, 5)
    );
    assert_eq!(merged[0].oldest(), Some(Duration::from_secs(9)));
    assert_eq!(merged[1].live_bytes, 70);
}
