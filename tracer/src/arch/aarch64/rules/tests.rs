//! Rows of call frame information as assemblers write them, by whole files.

use tracer_common::unwind::{row_address, row_rule};

use super::*;
use crate::arch::Arch;
#[cfg(not(target_arch = "aarch64"))]
use crate::unwind::TableError;
use crate::unwind::build_for;

/// Where the code of the file lies.
const CODE: u64 = 0x1_0000;
/// Bytes of the code.
const CODE_BYTES: u64 = 0x100;
/// Where its call frame information lies, in the file and in memory.
const FRAME: u64 = 0x1000;

/// Call frame instructions (DWARF 5, 7.24; AADWARF64, 4.3 for the last one).
mod op {
    pub const DEF_CFA: u8 = 0x0c;
    pub const DEF_CFA_REGISTER: u8 = 0x0d;
    pub const DEF_CFA_OFFSET: u8 = 0x0e;
    pub const UNDEFINED: u8 = 0x07;
    pub const NEGATE_RA_STATE: u8 = 0x2d;
    /// Advances by `n` instructions of four bytes.
    pub const fn advance(n: u8) -> u8 {
        0x40 | n
    }
    pub const fn offset(register: u8) -> u8 {
        0x80 | register
    }
    pub const fn restore(register: u8) -> u8 {
        0xc0 | register
    }
}

/// An entry of `.eh_frame` with its length in front, padded with `DW_CFA_nop`.
fn entry(mut body: Vec<u8>) -> Vec<u8> {
    while !body.len().is_multiple_of(8) {
        body.push(0);
    }
    [&(body.len() as u32).to_le_bytes()[..], &body].concat()
}

/// The entry that functions have in common: code alignment 4, data alignment -8, return address in `x30`, `CFA = sp`.
fn common(augmentation: &str) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 0, 1];
    body.extend(augmentation.bytes().chain([0, 4, 0x78, 30]));
    if augmentation.starts_with('z') {
        body.extend([1, 0x1b]); // pc-relative, four bytes
    }
    body.extend([op::DEF_CFA, 31, 0]);
    entry(body)
}

/// A file for aarch64 whose only function has these call frame instructions.
fn file(instructions: &[u8], augmentation: &str, code: &[u8]) -> Vec<u8> {
    let mut frame = common(augmentation);
    let at = FRAME + frame.len() as u64;
    let mut body = ((at + 4 - FRAME) as u32).to_le_bytes().to_vec();
    body.extend((CODE.wrapping_sub(at + 8) as u32).to_le_bytes());
    body.extend((CODE_BYTES as u32).to_le_bytes());
    body.push(0);
    body.extend(instructions);
    frame.extend(entry(body));
    frame.extend([0; 4]);
    elf(183, &frame, code)
}

/// An ELF file with a segment of code and sections for `.eh_frame` and names.
fn elf(machine: u16, frame: &[u8], code: &[u8]) -> Vec<u8> {
    const NAMES: &[u8] = b"\0.eh_frame\0.shstrtab\0";
    const NAMES_AT: u64 = 0x2000;
    const SECTIONS_AT: u64 = 0x2100;
    let mut image = vec![0; 0x3000];
    let mut put = |at: u64, bytes: &[u8]| {
        image[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    };
    put(0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    put(16, &3u16.to_le_bytes());
    put(18, &machine.to_le_bytes());
    put(20, &1u32.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(40, &SECTIONS_AT.to_le_bytes());
    for (at, half) in [(52, 64u16), (54, 56), (56, 1), (58, 64), (60, 3), (62, 2)] {
        put(at, &half.to_le_bytes());
    }
    // PT_LOAD, readable and executable
    put(64, &1u32.to_le_bytes());
    put(68, &5u32.to_le_bytes());
    for (number, word) in (0..).zip([0x2800, CODE, CODE, CODE_BYTES, CODE_BYTES, 0x1000]) {
        put(72 + number * 8, &word.to_le_bytes());
    }
    put(0x2800, code);
    put(FRAME, frame);
    put(NAMES_AT, NAMES);
    let mut section = |number: u64, name: u32, kind: u32, flags: u64, at: u64, len: usize| {
        let start = SECTIONS_AT + number * 64;
        put(start, &name.to_le_bytes());
        put(start + 4, &kind.to_le_bytes());
        for (word, value) in (0..).zip([flags, at, at, len as u64]) {
            put(start + 8 + word * 8, &value.to_le_bytes());
        }
    };
    section(1, 1, 1, 2, FRAME, frame.len());
    section(2, 11, 3, 0, NAMES_AT, NAMES.len());
    image
}

/// The rules of a function with these instructions, each with the offset from which on it holds.
fn rules(instructions: &[u8]) -> Vec<(u32, Rule)> {
    let table = build_for(Arch::Aarch64, &file(instructions, "zR", &[])).expect("a table");
    let rows = table.rows.iter();
    rows.map(|row| (row_address(*row), row_rule(*row)))
        .collect()
}

fn frame(base: Base, n: u64, saved: Saved) -> Rule {
    Rule::frame(base, n, saved).expect("fits")
}

const LEAF: Rule = tracer_common::arch::aarch64::ENTRY;

/// `stp x29, x30, [sp, #-32]!; mov x29, sp; ...; ldp x29, x30, [sp], #32; ret`, signed and not.
#[test]
fn a_frame_as_gcc_makes_it() {
    let body = [
        op::advance(1),
        op::DEF_CFA_OFFSET,
        32,
        op::offset(29),
        4,
        op::offset(30),
        3,
        op::advance(8),
        op::restore(30),
        op::restore(29),
        op::DEF_CFA_OFFSET,
        0,
    ];
    let lower = frame(Base::StackPointer, 32, Saved::Record(24));
    assert_eq!(rules(&body), [(0, LEAF), (4, lower), (36, LEAF)]);
    let signed = [&[op::advance(1), op::NEGATE_RA_STATE][..], &body].concat();
    assert_eq!(rules(&signed), [(0, LEAF), (8, lower), (40, LEAF)]);
}

/// `sub sp, sp, #64; stp x29, x30, [sp, #48]; add x29, sp, #48`.
#[test]
fn a_frame_as_clang_makes_it() {
    let body = [
        op::advance(1),
        op::DEF_CFA_OFFSET,
        64,
        op::advance(2),
        op::DEF_CFA,
        29,
        16,
        op::offset(30),
        1,
        op::offset(29),
        2,
    ];
    let room = frame(Base::StackPointer, 64, Saved::Nothing);
    let upper = frame(Base::FramePointer, 16, Saved::Record(8));
    assert_eq!(rules(&body), [(0, LEAF), (4, room), (12, upper)]);
}

#[test]
fn what_is_saved_alone_and_the_outermost_frame() {
    let link = [op::advance(1), op::DEF_CFA_OFFSET, 16, op::offset(30), 2];
    let alone = frame(Base::StackPointer, 16, Saved::Link(16));
    assert_eq!(rules(&link), [(0, LEAF), (4, alone)]);
    let frame_pointer = [op::advance(1), op::DEF_CFA_OFFSET, 16, op::offset(29), 2];
    let alone = frame(Base::StackPointer, 16, Saved::FramePointer(16));
    assert_eq!(rules(&frame_pointer), [(0, LEAF), (4, alone)]);
    assert_eq!(rules(&[op::UNDEFINED, 30]), [(0, Rule::STOP)]);
}

#[test]
fn what_has_no_rule_is_told() {
    // CFA = x19 + 16; x29 above x30
    for body in [
        &[op::advance(1), op::DEF_CFA_REGISTER, 19][..],
        &[
            op::advance(1),
            op::DEF_CFA_OFFSET,
            32,
            op::offset(29),
            2,
            op::offset(30),
            3,
        ],
    ] {
        assert_eq!(rules(body), [(0, LEAF), (4, Rule::UNSUPPORTED)]);
    }
}

/// The entry of the kernel's `__kernel_rt_sigreturn` says so; musl's has code alone.
#[test]
fn signal_frames_are_known_by_their_entry_or_their_code() {
    let marked = file(&[], "zRS", &[]);
    let table = build_for(Arch::Aarch64, &marked).expect("a table");
    assert_eq!(row_rule(table.rows[0]), Rule::SIGNAL);
    // nop; nop; mov x8, #139; svc #0, the last two being the function.
    let code: Vec<u8> = [0xd503_201f_u32, 0xd503_201f, 0xd280_1168, 0xd400_0001]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let mut small = file(&[], "zR", &code);
    let frame = &small[FRAME as usize..];
    let at = frame
        .windows(4)
        .position(|bytes| bytes == (CODE_BYTES as u32).to_le_bytes());
    let at = FRAME as usize + at.expect("the range");
    small[at..at + 4].copy_from_slice(&8u32.to_le_bytes());
    let start = CODE + 8 - (at as u64 - 4);
    small[at - 4..at].copy_from_slice(&(start as u32).to_le_bytes());
    let table = build_for(Arch::Aarch64, &small).expect("a table");
    let found = table
        .rows
        .iter()
        .find(|row| row_rule(**row) == Rule::SIGNAL);
    assert_eq!(found.map(|row| row_address(*row)), Some(7));
}

#[test]
#[cfg(not(target_arch = "aarch64"))]
fn files_for_another_processor_are_refused() {
    let refused = crate::unwind::build(&file(&[], "zR", &[]));
    let is_told = matches!(refused, Err(TableError::Machine { machine: 183, .. }));
    assert!(is_told, "{refused:?}");
}
