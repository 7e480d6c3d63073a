//! Tables of small files whose every row is known, and of the C library.

use std::process::Command;
use std::sync::OnceLock;

use tracer_common::unwind::{Kind, Mapping, Rule, Tables, row_address, row_rule};

use super::mappings_tests::table_of;
use super::*;
use crate::arch::Arch;
use crate::process::maps;

/// Call frame information of every shape, each function 32 bytes long and followed by no gap but where one is meant.
pub(super) const SHAPES: &str = r#"
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

pub(super) fn assemble(source: &str, flags: &[&str]) -> Vec<u8> {
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

pub(super) fn shapes() -> &'static [u8] {
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
pub(super) fn rule_at(table: &Table, address: u64) -> Rule {
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

/// Functions that nothing calls, with what is easily taken for one.
const OUTERMOST: &str = r#"
  .text
  .globl begin
f0: .cfi_startproc
  .skip 16, 0x90
  .cfi_endproc
begin:                                               # 0x10: the first code, without an entry
  xor %ebp, %ebp
  call 1f
  jmp *%r12
1: .skip 15, 0x90                                    # 0x1a
f1: .cfi_startproc                                   # 0x29
  .skip 7, 0x90
  .cfi_endproc
f2: .cfi_startproc                                   # 0x30: another stack, and no padding before it
  mov %rbx, %rsp
  .skip 13, 0x90
  .cfi_endproc
f3: .cfi_startproc                                   # 0x40
  .skip 8, 0x90
  .cfi_endproc
  .skip 8, 0x90                                      # 0x48: padding
f4: .cfi_startproc                                   # 0x50: another stack, after padding
  endbr64
  mov %rbx, %rsp
  .skip 9, 0x90
  .cfi_endproc
f5: .cfi_startproc                                   # 0x60: ends with a call
  .skip 11, 0x90
  call f0
  .cfi_endproc
f6: .cfi_startproc                                   # 0x70: another stack, behind that call
  mov %rbx, %rsp
  .skip 13, 0x90
  .cfi_endproc
f7: .cfi_startproc                                   # 0x80: another stack, which its entry knows of
  .cfi_def_cfa 3, 8
  mov %rbx, %rsp
  .skip 13, 0x90
  .cfi_endproc
"#;

#[test]
fn what_nothing_calls_ends_a_stack() {
    let image = assemble(OUTERMOST, &["-Wl,-e,begin"]);
    let table = build(&image).expect("a table");
    let call = Rule::rsp(8, 0).expect("fits");
    for (address, rule) in [
        (0x0f, call),
        (0x10, Rule::STOP),
        (0x19, Rule::STOP),
        (0x1a, Rule::STOP), // padding
        (0x2e, call),
        (0x2f, Rule::STOP),
        (0x3f, Rule::STOP),
        (0x40, call),
        (0x4e, call),
        (0x4f, Rule::STOP),
        (0x5f, Rule::STOP),
        (0x60, call),
        (0x6f, call),
        (0x70, Rule::STOP),
        (0x80, Rule::UNSUPPORTED),
    ] {
        assert_eq!(rule_at(&table, address), rule, "at {address:#x}");
    }
    // Of a library without a first instruction the same code is like any other.
    let library = build(&assemble(OUTERMOST, &["-Wl,-e,0"])).expect("a table");
    assert_eq!(rule_at(&library, 0x10), Rule::NO_FDE);
}

/// The loader calls the constructors of libraries from code that no entry describes.
#[test]
fn the_loader_has_an_outermost_frame() {
    let image = mapped_file("ld-linux-x86-64.so.2");
    let entry = elf::parse(Arch::X86_64, &image).expect("an ELF file").entry;
    let table = build(&image).expect("a table");
    let entry = entry - table.base;
    assert_eq!(rule_at(&table, entry), Rule::STOP);
}

/// The bytes of a file that this program has mapped.
fn mapped_file(name: &str) -> Vec<u8> {
    let maps = maps::read(std::process::id()).expect("own maps");
    let mut paths = maps.iter().filter_map(|mapping| mapping.label());
    let path = paths.find(|path| path.file_name().is_some_and(|file| file == name));
    std::fs::read(path.expect("it is mapped")).expect("read it")
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

/// All of the C library's functions, compared with the rows as they are read one by one.
#[test]
fn every_row_of_the_c_library_is_found_again() {
    let image = mapped_file("libc.so.6");
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
    let elf = elf::parse(Arch::X86_64, &image).expect("an ELF file");
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
        let code = elf.code_between(fde.initial_address(), fde.end_address());
        if Arch::X86_64.instructions().discards_its_stack(code) {
            assert_eq!(arrays.rule(fde.initial_address() - 1), Rule::STOP);
            continue;
        }
        let mut rows = fde.rows(&section, &bases, &mut context).expect("rows");
        while let Some(row) = rows.next_row().expect("row") {
            let rule = Arch::X86_64
                .rule(row, &section)
                .unwrap_or(Rule::UNSUPPORTED);
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

#[test]
fn tables_are_built_in_threads() {
    let tables = std::thread::scope(|scope| {
        let build = |image| scope.spawn(move || super::build(image));
        [build(shapes()), build(shapes())].map(|thread| thread.join().expect("no panic"))
    });
    assert_eq!(tables[0], tables[1]);
}
