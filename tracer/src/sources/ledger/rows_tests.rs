//! The ledger of made-up mappings: every kind has its row, and nothing is lost.

use proptest::prelude::*;

use super::*;
use crate::process::smaps;

const SAMPLE: &str = "\
1000-2000 r-xp 00000000 fe:01 10 /usr/bin/app\nRss: 4 kB\n\
2000-3000 rw-p 00001000 fe:01 10 /usr/bin/app\nRss: 4 kB\n\
3000-5000 rw-p 00000000 00:00 0 \nRss: 8 kB\n\
10000-20000 rw-p 00000000 00:00 0 [heap]\nRss: 40 kB\n\
30000-40000 rw-p 00000000 00:00 0 \nRss: 60 kB\nAnonymous: 60 kB\nSwap: 4 kB\n\
40000-41000 ---p 00000000 00:00 0 \nRss: 0 kB\n\
50000-51000 r-xp 00000000 fe:01 11 /usr/lib/libx.so\nRss: 4 kB\n\
51000-52000 r--p 00001000 fe:01 11 /usr/lib/libx.so\nRss: 4 kB\n\
60000-61000 r--p 00000000 fe:01 12 /usr/share/data\nRss: 4 kB\n\
70000-71000 rw-s 00000000 00:01 13 /dev/zero (deleted)\nRss: 4 kB\n\
80000-81000 rw-s 00000000 00:05 14 /dev/nvidia0\nRss: 4 kB\n\
90000-91000 rwxp 00000000 00:00 0 \nRss: 4 kB\n\
a0000-a1000 rw-p 00000000 00:00 0 [anon: Go: heap]\nRss: 4 kB\n\
b0000-b1000 rw-p 00000000 00:00 0 [anon:cache of mine]\nRss: 4 kB\n\
c0000-c1000 r-xp 00000000 00:00 0 [vdso]\nRss: 4 kB\n";

fn sample() -> Vec<Region> {
    smaps::parse(SAMPLE.as_bytes()).expect("sample parses")
}

fn program() -> Option<FileId> {
    sample().first().map(|region| region.mapping.file)
}

#[test]
fn every_kind_of_mapping_has_its_row() {
    let context = Context {
        program: program(),
        labels: tidy(vec![
            Range::new(0x3_8000, 0x3_c000, Purpose::GlibcMapped),
            Range::new(0x3_0000, 0x3_4000, Purpose::ThreadStacks),
        ]),
        allocator: None,
    };
    let rows = sort(&sample(), &context, |start, end| Some((end - start) / 2)).rows;
    let row = |kind| {
        let mut rows = rows.iter().filter(|row| row.row.kind == kind);
        let row = rows.next().unwrap_or_else(|| panic!("no {kind:?}"));
        (row.virtual_bytes >> 10, row.resident_bytes >> 10)
    };
    assert_eq!(row(Purpose::ProgramCode), (4, 4));
    assert_eq!(row(Purpose::ProgramData), (12, 12), "data and bss");
    assert_eq!(row(Purpose::BrkHeap), (64, 40));
    assert_eq!(row(Purpose::LibraryCode), (8, 8));
    assert_eq!(row(Purpose::Files), (4, 4));
    assert_eq!(row(Purpose::Shared), (4, 4));
    assert_eq!(row(Purpose::Devices), (4, 4));
    assert_eq!(row(Purpose::GeneratedCode), (4, 4));
    assert_eq!(row(Purpose::RuntimeHeap), (4, 4));
    assert_eq!(row(Purpose::Named), (4, 4));
    assert_eq!(row(Purpose::Kernel), (4, 4));
    assert_eq!(row(Purpose::Reserved), (4, 0));
    // The mapping with labels: what they cover by pages, and the last piece what is left.
    assert_eq!(row(Purpose::ThreadStacks), (16, 8));
    assert_eq!(row(Purpose::GlibcMapped), (16, 8));
    assert_eq!(row(Purpose::Anonymous), (32, 44));
}

#[test]
fn what_only_one_allocator_can_own_is_its_own() {
    let context = Context {
        allocator: Some("jemalloc".to_owned()),
        ..Context::default()
    };
    let rows = sort(&sample(), &context, |_, _| None).rows;
    let own = rows
        .iter()
        .find(|row| row.row.kind == Purpose::Allocator)
        .expect("a row");
    assert_eq!(
        (own.resident_bytes, own.row.words()),
        (60 << 10, "jemalloc".to_owned())
    );
    assert!(rows.iter().all(|row| row.row.kind != Purpose::Anonymous));
}

#[test]
fn labels_do_not_overlap_once_they_are_tidy() {
    let label = |start, end, kind| Range::new(start, end, kind);
    let tidied = tidy(vec![
        label(50, 60, Purpose::Named),
        label(10, 30, Purpose::GlibcMapped),
        label(20, 40, Purpose::ThreadStacks),
        label(25, 28, Purpose::Named),
        label(40, 50, Purpose::ThreadStacks),
    ]);
    let expected = [
        label(10, 30, Purpose::GlibcMapped),
        label(30, 50, Purpose::ThreadStacks),
        label(50, 60, Purpose::Named),
    ];
    assert_eq!(tidied, expected);
}

proptest! {
    /// Whatever the labels, and whatever the page map says, nothing is lost or made up.
    #[test]
    fn the_rows_are_the_mappings(
        labels in proptest::collection::vec((0_u64..0x40, 1_u64..0x20, 0_usize..3), 0..12),
        share in 0_u64..20,
    ) {
        const KINDS: [Purpose; 3] = [Purpose::GlibcMapped, Purpose::ThreadStacks, Purpose::RuntimeHeap];
        let labels = labels.into_iter().map(|(start, size, kind)| {
            let start = 0x2_0000 + start * 0x1000;
            Range::new(start, start + size * 0x1000, KINDS[kind])
        });
        let context = Context { program: program(), labels: tidy(labels.collect()), allocator: None };
        let regions = sample();
        let Sorted { rows, ranges } = sort(&regions, &context, |start, end| Some((end - start) * share / 10));
        prop_assert!(ranges.is_sorted_by(|one, next| one.end <= next.start));
        prop_assert_eq!(
            ranges.iter().map(|range| range.end - range.start).sum::<u64>(),
            regions.iter().map(|region| region.mapping.end - region.mapping.start).sum::<u64>()
        );
        for (sum, expected) in [
            (rows.iter().map(|row| row.resident_bytes).sum::<u64>(), regions.iter().map(|region| region.usage.resident).sum::<u64>()),
            (rows.iter().map(|row| row.swapped_bytes).sum(), regions.iter().map(|region| region.usage.swapped).sum()),
            (rows.iter().map(|row| row.virtual_bytes).sum(), regions.iter().map(|region| region.mapping.end - region.mapping.start).sum()),
        ] {
            prop_assert_eq!(sum, expected);
        }
    }
}
