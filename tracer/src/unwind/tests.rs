//! Tables of small files whose every row is known, of damaged ones, and mappings.

use std::process::Command;
use std::sync::OnceLock;

use proptest::prelude::*;
use tracer_common::unwind::{Kind, Mapping, Rule, Tables, row_address, row_rule};

use super::*;
use crate::process::maps;

/// Call frame information of every shape, each function 32 bytes long and followed by no gap but where one is meant.
const SHAPES: &str = r#"
  .text
f0: .cfi_startproc                                   # 0x00: push %rbp; mov %rsp, %rbp; ...; leave; ret
  .byte 0x55
  .cfi_def_cfa_offset 16
  .cfi_offset 6, -16
  .byte 0x48, 0x89, 0xe5
  .cfi_def_cfa_register 6
  .skip 26, 0x90
  .byte 0xc9
  .cfi_def_cfa 7, 8
  .byte 0xc3
  .cfi_endproc
f1: .cfi_startproc                                   # 0x20: a frame of 1 MiB
  .cfi_def_cfa_offset 1048720
  .skip 32, 0x90
  .cfi_endproc
f2: .cfi_startproc                                   # 0x40: linkage table, threshold 11, then 10
  .cfi_escape 0x0f, 0x0b, 0x77, 0x08, 0x80, 0x00, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22
  .skip 16, 0x90
  .cfi_escape 0x0f, 0x0b, 0x77, 0x08, 0x80, 0x00, 0x3f, 0x1a, 0x3a, 0x2a, 0x33, 0x24, 0x22
  .skip 16, 0x90
  .cfi_endproc
f3: .cfi_startproc                                   # 0x60: *(rsp + 40) + 8 with rbp at CFA - 16
  .cfi_offset 6, -16
  .cfi_escape 0x0f, 0x05, 0x77, 0x28, 0x06, 0x23, 0x08
  .skip 16, 0x90
  .cfi_escape 0x10, 0x06, 0x02, 0x76, 0x00           # 0x70: *(rbp - 40), rbp at *rbp
  .cfi_escape 0x0f, 0x03, 0x76, 0x58, 0x06
  .skip 16, 0x90
  .cfi_endproc
f4: .cfi_startproc                                   # 0x80: relative to r10, then an unknown expression
  .cfi_def_cfa 10, 0
  .skip 16, 0x90
  .cfi_escape 0x0f, 0x02, 0x77, 0x08
  .skip 16, 0x90
  .cfi_endproc
f5: .cfi_startproc                                   # 0xa0: the outermost function
  .cfi_undefined 16
  .skip 32, 0x90
  .cfi_endproc
f6: .cfi_startproc                                   # 0xc0: return address in a register; odd offset
  .cfi_register 16, 0
  .skip 16, 0x90
  .cfi_restore 16
  .cfi_def_cfa_offset 20
  .skip 16, 0x90
  .cfi_endproc
f7: .cfi_startproc                                   # 0xe0: rbp in a register
  .cfi_register 6, 0
  .skip 32, 0x90
  .cfi_endproc
  .skip 15, 0xcc                                     # 0x100: padding
  .byte 0xcc
  .skip 16, 0x90                                     # 0x110: more than padding
f8: .cfi_startproc                                   # 0x120
  .skip 33, 0x90
  .cfi_endproc
  .skip 15, 0xcc                                     # 0x141: padding
f9: .cfi_startproc                                   # 0x150: the same rule again
  .skip 16, 0x90
  .cfi_endproc
f10: .cfi_startproc                                  # 0x160: marked as signal frame
  .cfi_signal_frame
  .skip 14, 0x90
  .cfi_endproc
  .skip 18, 0x90                                     # 0x16e: unmarked, without an entry
  .byte 0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05    # 0x180
  .skip 23, 0x90
f11: .cfi_startproc                                  # 0x1a0: unmarked, with an entry
  .byte 0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05
  .cfi_endproc
  .skip 7, 0x90
f12: .cfi_startproc                                  # 0x1b0
  .skip 0x50, 0x90
  .cfi_endproc
"#;

fn assemble(source: &str, flags: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (text, output) = (folder.path().join("a.s"), folder.path().join("a.so"));
    std::fs::write(&text, source).expect("write the source");
    let status = Command::new("cc")
        .args(["-shared", "-nostdlib", "-Wl,--build-id=none"])
        .args(flags)
        .arg(&text)
        .arg("-o")
        .arg(&output)
        .status()
        .expect("run cc");
    assert!(status.success());
    std::fs::read(output).expect("read the library")
}

fn shapes() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| assemble(SHAPES, &[]))
}

fn other() -> Table {
    Table {
        rows: vec![0; 3],
        ..table_of(&[(0, 0, 16)])
    }
}

/// Rule at an address of the table, by the kernel's search.
fn rule_at(table: &Table, address: u64) -> Rule {
    let mut arrays = Arrays::default();
    // Not the first file, so that the indices must be moved.
    arrays.store(&other());
    let Code::Table {
        base,
        first_bucket,
        buckets,
        ..
    } = arrays.store(table)
    else {
        panic!("a table was stored");
    };
    arrays.mappings = vec![Mapping {
        start: base,
        end: u64::MAX,
        bias: base,
        first_bucket,
        buckets,
    }];
    arrays.rule(base + address)
}

#[test]
fn every_shape_has_its_rule() {
    let table = build(shapes()).expect("a table");
    let rsp = |n, below| Rule::rsp(n, below).expect("fits");
    let call = rsp(8, 0);
    for (address, rule) in [
        (0x00, call),
        (0x01, rsp(16, 16)),
        (0x03, rsp(16, 16)),
        (0x04, Rule::rbp(16, 16).expect("fits")),
        (0x1f, rsp(8, 16)),
        (0x20, rsp(1_048_720, 0)),
        (0x40, Rule::plt(11)),
        (0x50, Rule::plt(10)),
        (0x60, Rule::deref_rsp(40, 8, 16).expect("fits")),
        (0x70, Rule::deref_rbp(-40, 0).expect("fits")),
        (0x80, Rule::UNSUPPORTED),
        (0x90, Rule::UNSUPPORTED),
        (0xa0, Rule::STOP),
        (0xc0, Rule::UNSUPPORTED),
        (0xd0, Rule::UNSUPPORTED),
        (0xe0, Rule::UNSUPPORTED),
        (0x100, Rule::NO_FDE),
        (0x11f, Rule::NO_FDE),
        (0x120, call),
        (0x14f, call),
        (0x150, call),
        (0x160, Rule::SIGNAL),
        (0x16d, Rule::SIGNAL),
        (0x16e, Rule::NO_FDE),
        (0x17e, Rule::NO_FDE),
        (0x17f, Rule::SIGNAL),
        (0x180, Rule::SIGNAL),
        (0x188, Rule::SIGNAL),
        (0x189, Rule::NO_FDE),
        (0x19e, Rule::NO_FDE),
        (0x19f, Rule::SIGNAL),
        (0x1a8, Rule::SIGNAL),
        (0x1b0, call),
        (0x1ff, call),
        (0x10_0000, Rule::NO_FDE),
    ] {
        assert_eq!(rule_at(&table, address), rule, "at {address:#x}");
    }
    let reasons: Vec<_> = table.stats.reasons().collect();
    assert_eq!(
        reasons,
        [
            (Reason::Register, 1),
            (Reason::Expression, 1),
            (Reason::ReturnAddress, 1),
            (Reason::FramePointer, 1),
            (Reason::Offset, 1),
        ]
    );
    let stats = &table.stats;
    // Bare: the gaps at 0x100, 0x16e and 0x189, less the byte before each signal return.
    assert_eq!(
        (stats.entries, stats.code_bytes, stats.bare_bytes),
        (13, 0x200, 32 + 17 + 22)
    );
    assert_eq!(stats.covered_bytes, 0x200 - 71 - 0x20 - 0x20 - 0x20);
    assert_eq!(stats.damage, None);
}

#[test]
fn rows_are_sorted_and_differ_from_their_neighbours() {
    for image in [shapes(), include_bytes!("../attach/fixtures/tiny.so")] {
        let table = build(image).expect("a table");
        assert_eq!(table.rows.first().copied().map(row_address), Some(0));
        for pair in table.rows.windows(2) {
            assert!(row_address(pair[0]) < row_address(pair[1]));
            assert_ne!(row_rule(pair[0]), row_rule(pair[1]));
        }
    }
}

/// The program header leads to the same rows where the section headers are gone.
#[test]
fn stripped_of_its_sections_a_file_has_the_same_table() {
    let mut image = assemble(SHAPES, &["-Wl,--eh-frame-hdr"]);
    let whole = build(&image).expect("a table");
    image[0x28..0x30].fill(0); // e_shoff
    image[0x3c..0x40].fill(0); // e_shnum, e_shstrndx
    // The linker ends the section without a zero entry here; the segment's padding is one.
    let stripped = build(&image).expect("a table");
    assert_eq!(stripped.rows, whole.rows);
    assert_eq!(stripped.buckets, whole.buckets);
}

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

/// All of the C library's functions, compared with the rows as they are read one by one.
#[test]
fn every_row_of_the_c_library_is_found_again() {
    let maps = maps::read(std::process::id()).expect("own maps");
    let path = maps
        .iter()
        .filter_map(|mapping| mapping.label())
        .find(|path| path.file_name().is_some_and(|name| name == "libc.so.6"))
        .expect("the C library is mapped");
    let image = std::fs::read(path).expect("read it");
    let table = build(&image).expect("a table");
    assert!(table.stats.coverage() > 0.99, "{:?}", table.stats);
    assert_eq!(table.stats.damage, None);
    let mut arrays = Arrays::default();
    let Code::Table { base, buckets, .. } = arrays.store(&table) else {
        panic!("a table was stored");
    };
    arrays.mappings = vec![Mapping {
        start: base,
        end: u64::MAX,
        bias: base,
        first_bucket: 0,
        buckets,
    }];
    let elf = elf::parse(&image).expect("an ELF file");
    let section = gimli::EhFrame::new(elf.frame.bytes, gimli::LittleEndian);
    let bases = gimli::BaseAddresses::default().set_eh_frame(elf.frame.address);
    let (mut context, mut compared) = (gimli::UnwindContext::new(), 0);
    let mut entries = gimli::UnwindSection::entries(&section, &bases);
    while let Some(entry) = entries.next().expect("entries") {
        let gimli::CieOrFde::Fde(partial) = entry else {
            continue;
        };
        let fde = partial
            .parse(gimli::UnwindSection::cie_from_offset)
            .expect("entry");
        if fde.is_signal_trampoline() {
            assert_eq!(arrays.rule(fde.initial_address()).kind(), Kind::Signal);
            continue;
        }
        let mut rows = fde.rows(&section, &bases, &mut context).expect("rows");
        while let Some(row) = rows.next_row().expect("row") {
            let rule = rules::translate(row, &section).unwrap_or(Rule::UNSUPPORTED);
            for address in [row.start_address(), row.end_address() - 1] {
                if row.start_address() < row.end_address() {
                    assert_eq!(arrays.rule(address), rule, "at {address:#x}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 10_000, "{compared} compared");
}

fn code(table: &Table) -> Code<'_> {
    Code::Table {
        segments: &table.segments,
        base: table.base,
        first_bucket: 7,
        buckets: table.buckets.len() as u32,
    }
}

fn table_of(segments: &[(u64, u64, u64)]) -> Table {
    let segment = |&(offset, address, size)| Segment {
        offset,
        address,
        size,
    };
    Table {
        base: segments[0].1,
        rows: vec![0],
        buckets: vec![0; 16],
        segments: segments.iter().map(segment).collect(),
        stats: Stats::default(),
    }
}

/// As lld lays out a Rust program: file offsets and addresses differ by a page a segment, and a segment
/// begins in the middle of the page on which the one before it ends.
#[test]
fn the_segment_that_is_mapped_decides_the_bias() {
    let table = table_of(&[(0x1234, 0x2234, 0x2000), (0x5678, 0x8678, 0x1000)]);
    let text = b"\
5000000000-5000001000 r--p 00000000 fe:01 9 /bin/p\n\
5000002000-5000005000 r-xp 00001000 fe:01 9 /bin/p\n\
5000008000-500000a000 r-xp 00005000 fe:01 9 /bin/p\n\
500000a000-500000b000 rw-p 00006000 fe:01 9 /bin/p\n";
    let maps = maps::parse(text).expect("maps");
    let placed = mappings(&maps, |_| code(&table));
    let biases: Vec<_> = placed.iter().map(|m| m.bias - table.base).collect();
    assert_eq!(biases, [0x50_0000_0000, 0x50_0000_0000]);
    assert_eq!(placed[1].start, 0x50_0000_8000);
    // The second half of a split mapping.
    let split = maps::parse(b"5000003000-5000004000 r-xp 00002000 fe:01 9 /bin/p\n");
    let placed = mappings(&split.expect("maps"), |_| code(&table));
    assert_eq!(placed[0].bias - table.base, 0x50_0000_0000);
}

#[test]
fn each_kind_of_memory_is_walked_in_its_way() {
    let table = table_of(&[(0, 0, 0x1000)]);
    let text = b"\
1000-2000 r-xp 00000000 00:00 0 \n\
2000-3000 rwxp 00000000 00:00 0 \n\
3000-4000 r--p 00000000 00:00 0 \n\
4000-5000 r-xp 00000000 00:00 0 [anon:v8]\n\
6000-7000 r-xp 00000000 fe:01 9 /bin/p\n\
7000-8000 r-xp 00001000 fe:01 9 /bin/p\n\
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0 [vdso]\n\
7fffffffe000-7ffffffff000 --xp 00000000 00:00 0 [uprobes]\n\
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n";
    let maps = maps::parse(text).expect("maps");
    let placed = mappings(&maps, |_| code(&table));
    assert_eq!(
        placed,
        [
            Mapping::uniform(0x1000, 0x3000, Rule::NO_FDE),
            Mapping::uniform(0x4000, 0x5000, Rule::NO_FDE),
            Mapping {
                start: 0x6000,
                end: 0x7000,
                bias: 0x6000,
                first_bucket: 7,
                buckets: 16
            },
            Mapping::uniform(0x7000, 0x8000, Rule::NO_TABLE),
            Mapping {
                start: 0x7ffd_0000_0000,
                end: 0x7ffd_0000_1000,
                bias: 0x7ffd_0000_0000,
                first_bucket: 7,
                buckets: 16
            },
            Mapping::uniform(0x7fff_ffff_e000, 0x7fff_ffff_f000, Rule::RETURN_PROBE),
        ]
    );
    let unknown = mappings(&maps, |_| Code::Uniform(Rule::NO_TABLE));
    assert_eq!(unknown[2], Mapping::uniform(0x6000, 0x8000, Rule::NO_TABLE));
}

#[test]
fn tables_are_built_in_threads() {
    let tables = std::thread::scope(|scope| {
        let build = |image| scope.spawn(move || super::build(image));
        [build(shapes()), build(shapes())].map(|thread| thread.join().expect("no panic"))
    });
    assert_eq!(tables[0], tables[1]);
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

fn mutated(path_or_shapes: &[u8], changes: &[(prop::sample::Index, u8)], near: bool) {
    let mut image = path_or_shapes.to_vec();
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
