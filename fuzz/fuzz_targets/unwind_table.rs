//! Any bytes as an ELF image.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memlens::unwind::build;
use tracer_common::unwind::{bucket_first, bucket_row_end, row_address};

fuzz_target!(|image: &[u8]| {
    let Ok(table) = build(image) else {
        return;
    };
    assert_eq!(table.rows.first().copied().map(row_address), Some(0));
    for pair in table.rows.windows(2) {
        assert!(row_address(pair[0]) < row_address(pair[1]));
    }
    for bucket in &table.buckets {
        let (first, end) = (bucket_first(*bucket), bucket_row_end(*bucket));
        assert!(0 < first && first <= end && end - first < 256);
        assert!(end as usize <= table.rows.len());
    }
});
