//! Files that are damaged, on purpose and by chance.

use proptest::prelude::*;
use tracer_common::unwind::{Rule, row_address};

use super::tests::{assemble, rule_at, shapes};
use super::*;

/// File offset of `.eh_frame`.
fn eh_frame(image: &[u8]) -> usize {
    elf::parse(image).expect("an ELF file").frame.offset as usize
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    let message = |image: &[u8]| build(image).expect_err("no table").to_string();
    assert!(message(b"#!/bin/sh").starts_with("the ELF header at file offset 0x0"));
    let mut other = shapes().to_vec();
    other[0x12] = 183;
    assert_eq!(message(&other), "not for x86-64 (ELF machine 183)");
    assert!(message(&shapes()[..0x800]).contains("beyond the end of the file"));
    let at = eh_frame(shapes());
    let mut bad = shapes().to_vec();
    bad[at..at + 4].fill(0xee);
    let expected = format!(".eh_frame at file offset {at:#x} cannot be read: ");
    assert!(message(&bad).starts_with(&expected), "{}", message(&bad));
    let bare = assemble(".text\n.skip 64, 0x90\n", &[]);
    assert_eq!(build(&bare), Err(TableError::NoFrameInformation));
}

/// A lost entry must not turn into a guess by frame pointers.
#[test]
fn a_damaged_entry_is_marked_and_the_others_stay() {
    let mut image = shapes().to_vec();
    let at = eh_frame(&image);
    let length = |at: usize, image: &[u8]| {
        4 + u32::from_le_bytes(image[at..at + 4].try_into().expect("4 bytes")) as usize
    };
    let second = at + length(at, &image) + length(at + length(at, &image), &image);
    // The entry of the 1 MiB frame: its instructions begin 17 bytes in; 0x3f is no instruction.
    image[second + 17] = 0x3f;
    let table = build(&image).expect("a partial table");
    let damage = table.stats.damage.clone().expect("damaged");
    assert_eq!((damage.entries, damage.offset), (1, second as u64));
    assert!(damage.to_string().starts_with("1 bad entry in .eh_frame"));
    assert_eq!(rule_at(&table, 0x20), Rule::NO_TABLE);
    assert_eq!(rule_at(&table, 0x40), Rule::plt(11));
    assert_eq!(rule_at(&table, 0x110), Rule::NO_TABLE);
}

/// What a table must hold whatever the file says: the kernel's search relies on it.
fn check(table: &Table) {
    let rows = table.rows.len() as u32;
    assert_eq!(table.rows.first().copied().map(row_address), Some(0));
    assert!(
        table
            .rows
            .windows(2)
            .all(|pair| row_address(pair[0]) < row_address(pair[1]))
    );
    for bucket in &table.buckets {
        let first = tracer_common::unwind::bucket_first(*bucket);
        let end = tracer_common::unwind::bucket_row_end(*bucket);
        assert!(0 < first && first <= end && end <= rows && end - first < 256);
    }
    let stats = &table.stats;
    assert!(stats.covered_bytes + stats.bare_bytes <= stats.code_bytes);
}

fn mutated(file: &[u8], changes: &[(prop::sample::Index, u8)], near: bool) {
    let mut image = file.to_vec();
    // Most changes in the call frame information, where they are not refused at the door.
    let start = if near { eh_frame(&image) } else { 0 };
    let length = if near {
        (image.len() - start).min(0x400)
    } else {
        image.len()
    };
    for (at, value) in changes {
        image[start + at.index(length)] = *value;
    }
    if let Ok(table) = build(&image) {
        check(&table);
    }
}

prop_compose! {
    fn changes()(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) -> Vec<(prop::sample::Index, u8)> {
        changes
    }
}

proptest! {
    #[test]
    fn no_damage_panics(changes in changes(), near: bool, tiny: bool) {
        let image: &[u8] = if tiny { include_bytes!("../attach/fixtures/tiny.so") } else { shapes() };
        mutated(image, &changes, near);
    }

    #[test]
    fn no_bytes_panic(image in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(build(&image).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000_000))]

    /// Takes minutes; for changes to this folder.
    #[test]
    #[ignore = "long"]
    fn no_damage_panics_in_two_million_files(changes in changes(), near: bool) {
        mutated(shapes(), &changes, near);
    }
}
