//! Rows in their final form, and the buckets over them.

use tracer_common::unwind::{BUCKET_BYTES, Rule, bucket, row, row_address, row_rule};

/// Rows that are added in order.
pub(super) struct Merged(pub(super) Vec<u64>);

impl Merged {
    /// Adds a row, which takes the place of one at the same address, and is none if it says what the one before says.
    pub(super) fn push(&mut self, address: u32, rule: Rule) {
        if self
            .0
            .last()
            .is_some_and(|last| row_address(*last) == address)
        {
            self.0.pop();
        }
        if self.0.last().is_none_or(|last| row_rule(*last) != rule) {
            self.0.push(row(address, rule));
        }
    }
}

/// The buckets over `span` bytes of code.
pub(super) fn buckets(rows: &[u64], span: u32) -> Vec<u64> {
    let mut next = 0;
    let mut before = |address: u32| {
        while rows
            .get(next)
            .is_some_and(|row| row_address(*row) < address)
        {
            next += 1;
        }
        next as u32
    };
    (0..span.div_ceil(BUCKET_BYTES))
        .map(|number| {
            let start = number * BUCKET_BYTES;
            let first = before(start + 1);
            bucket(first, before(start + BUCKET_BYTES))
        })
        .collect()
}
