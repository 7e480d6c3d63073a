//! Files that are damaged, on purpose and by chance.

use proptest::prelude::*;
use tracer_common::unwind::{Rule, row_address};

use super::tests::{SHAPES, assemble, rule_at, shapes};
use super::*;
use crate::arch::Arch;

/// File offset of `.eh_frame`.
fn eh_frame(image: &[u8]) -> usize {
    elf::parse(Arch::X86_64, image)
        .expect("an ELF file")
        .frame
        .offset as usize
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
    let length = elf::parse(Arch::X86_64, shapes())
        .expect("ELF")
        .frame
        .bytes
        .len();
    bad[at..at + length].fill(0xee);
    let expected = format!(".eh_frame at file offset {at:#x} cannot be read: ");
    assert!(message(&bad).starts_with(&expected), "{}", message(&bad));
    let bare = assemble(".text\n.skip 64, 0x90\n", &[]);
    assert_eq!(build(&bare), Err(TableError::NoFrameInformation));
}

/// The small file with a search table, and the offsets in it of its entries: all, and the frame description entries.
fn searchable() -> (Vec<u8>, Vec<usize>, Vec<usize>) {
    let image = assemble(SHAPES, &["-Wl,--eh-frame-hdr"]);
    let start = eh_frame(&image);
    let word = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().expect("4 bytes"));
    let (mut at, mut all, mut described) = (start, Vec::new(), Vec::new());
    while word(at) != 0
        && at
            < start
                + elf::parse(Arch::X86_64, &image)
                    .expect("ELF")
                    .frame
                    .bytes
                    .len()
    {
        all.push(at);
        if word(at + 4) != 0 {
            described.push(at);
        }
        at += 4 + word(at) as usize;
    }
    assert_eq!((all.len(), described.len()), (15, 13), "two are common");
    (image, all, described)
}

/// File offset of the search table's rows, in which the linker puts start and entry as 4 bytes each.
fn search_rows(image: &[u8]) -> usize {
    let header = elf::parse(Arch::X86_64, image).expect("an ELF file").header;
    let bytes = header.expect("a search table").bytes;
    bytes.as_ptr() as usize - image.as_ptr() as usize + 12
}

fn damage(table: &Table) -> (u32, u64) {
    let damage = table.stats.damage.as_ref().expect("damaged");
    assert!(damage.to_string().contains(" in .eh_frame, the first at "));
    (damage.entries, damage.offset)
}

/// A lost entry must not turn into a guess by frame pointers, and costs no other code its table.
#[test]
fn a_bad_instruction_cuts_the_code_behind_it() {
    let (mut image, _, entries) = searchable();
    // The entry of the 1 MiB frame: its instructions begin 17 bytes in; 0x3f is no instruction.
    image[entries[1] + 17] = 0x3f;
    let table = build(&image).expect("a partial table");
    assert_eq!(damage(&table), (1, entries[1] as u64));
    assert_eq!(table.stats.damage.as_ref().map(|d| d.lost_bytes), Some(32));
    assert_eq!(rule_at(&table, 0x20), Rule::NO_TABLE);
    assert_eq!(rule_at(&table, 0x40), Rule::plt(11));
    assert_eq!(rule_at(&table, 0x110), Rule::NO_FDE);
}

/// The search table tells where the code of an entry is whose range cannot be read.
#[test]
fn a_bad_entry_cuts_its_own_function() {
    let (mut image, _, entries) = searchable();
    image[entries[2] + 4..entries[2] + 8].fill(0x77); // refers to nothing
    let table = build(&image).expect("a partial table");
    assert_eq!(damage(&table), (1, entries[2] as u64));
    assert_eq!(
        rule_at(&table, 0x3f),
        Rule::rsp(1_048_720, 0).expect("fits")
    );
    assert_eq!(rule_at(&table, 0x40), Rule::NO_TABLE);
    assert_eq!(rule_at(&table, 0x5f), Rule::NO_TABLE);
    assert_ne!(rule_at(&table, 0x60), Rule::NO_TABLE);
    assert_eq!(rule_at(&table, 0x110), Rule::NO_FDE);
}

#[test]
fn what_entries_have_in_common_is_lost_for_them_alone() {
    let (mut image, all, entries) = searchable();
    let common = all.iter().filter(|at| !entries.contains(at)).nth(1);
    let signal = *common.expect("that of the signal frame");
    image[signal + 8] = 0xee; // the version
    let table = build(&image).expect("a partial table");
    assert_eq!(damage(&table), (1, entries[10] as u64));
    assert_eq!(rule_at(&table, 0x150), Rule::rsp(8, 0).expect("fits"));
    assert_eq!(rule_at(&table, 0x160), Rule::NO_TABLE);
    assert_eq!(rule_at(&table, 0x1b0), Rule::rsp(8, 0).expect("fits"));
    assert_eq!(rule_at(&table, 0x110), Rule::NO_FDE);
}

/// Behind a bad length entries are found by the search table.
#[test]
fn a_bad_length_loses_one_entry() {
    let (mut image, _, entries) = searchable();
    image[entries[1]..entries[1] + 4].copy_from_slice(&0x00ff_ffff_u32.to_le_bytes());
    let table = build(&image).expect("a partial table");
    assert_eq!(damage(&table), (1, entries[1] as u64));
    let whole = build(&assemble(SHAPES, &["-Wl,--eh-frame-hdr"])).expect("a table");
    for address in (0..0x200).filter(|at| !(0x20..0x40).contains(at)) {
        assert_eq!(
            rule_at(&table, address),
            rule_at(&whole, address),
            "{address:#x}"
        );
    }
    assert_eq!(rule_at(&table, 0x20), Rule::NO_TABLE);
}

/// Without a search table, or with one that is wrong, any code without an entry may be that of the lost one.
#[test]
fn where_a_lost_entry_was_is_not_guessed() {
    let (mut image, _, entries) = searchable();
    image[entries[2] + 4..entries[2] + 8].fill(0x77);
    let rows = search_rows(&image);
    let mut unsorted = image.clone();
    let (first, second) = unsorted[rows..rows + 16].split_at_mut(8);
    first.swap_with_slice(second);
    let mut elsewhere = image.clone();
    elsewhere[rows + 3 * 8] += 4; // another start for a good entry
    let mut absent = image.clone();
    let lost: [u8; 4] = image[rows + 2 * 8 + 4..][..4].try_into().expect("4 bytes");
    let before: [u8; 4] = image[rows + 8 + 4..][..4].try_into().expect("4 bytes");
    assert_ne!(lost, before);
    absent[rows + 2 * 8..][..8].copy_from_slice(&image[rows + 8..][..8]);
    for image in [unsorted, elsewhere, absent] {
        let table = build(&image).expect("a partial table");
        assert_eq!(rule_at(&table, 0x40), Rule::NO_TABLE);
        assert_eq!(rule_at(&table, 0x110), Rule::NO_TABLE);
        assert_eq!(rule_at(&table, 0x160), Rule::SIGNAL);
    }
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
