//! Which instructions the kernel's uprobes simulate, step or refuse.
//!
//! Source: arch/arm64/kernel/probes/decode-insn.c (`arm_probe_decode_insn`, `aarch64_insn_is_steppable`), with the
//! masks of arch/arm64/include/asm/insn.h. A simulated instruction costs one trap; a stepped one is copied to a page of
//! its own and costs a second trap, many times dearer.

use super::decode::Instruction;

/// What the kernel does with a probed instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// Simulated by every kernel that has uprobes on aarch64.
    Emulated,
    /// Single-stepped out of line.
    Stepped,
    /// No probe can sit on it.
    Refused,
}

/// What the kernel does with an instruction.
pub const fn handling(instruction: Instruction) -> Handling {
    if instruction.is(0x1c00_0000, 0x1400_0000) {
        of_branches_and_system(instruction)
    } else if instruction.is(0x1f00_0000, 0x1000_0000) {
        Handling::Emulated // adr, adrp
    } else if is_literal(instruction)
        || instruction.is(0x3f00_0000, 0x0800_0000)
        || instruction.is(0xffff_0000, 0)
    {
        Handling::Refused
    } else {
        Handling::Stepped
    }
}

/// Loads relative to the instruction: the kernel refuses those of general registers, and would step those of vector
/// registers elsewhere, where they load something else.
const fn is_literal(instruction: Instruction) -> bool {
    instruction.is(0x3b00_0000, 0x1800_0000)
}

const fn of_branches_and_system(instruction: Instruction) -> Handling {
    // b, bl; cbz, cbnz, tbz, tbnz; b.cond; br, blr, ret
    let is_simulated = instruction.is(0x7c00_0000, 0x1400_0000)
        || instruction.is(0x7c00_0000, 0x3400_0000)
        || instruction.is(0xff00_0010, 0x5400_0000)
        || instruction.is(0xffff_fc1f, 0xd61f_0000)
        || instruction.is(0xffff_fc1f, 0xd63f_0000)
        || instruction.is(0xffff_fc1f, 0xd65f_0000);
    if is_simulated {
        return Handling::Emulated;
    }
    // Other branches, exceptions, msr.
    if instruction.is(0xfe00_0000, 0xd600_0000)
        || instruction.is(0xff00_0010, 0x5400_0010)
        || instruction.is(0xff00_0000, 0xd400_0000)
        || instruction.is(0xfff8_f01f, 0xd500_401f)
        || instruction.is(0xfff0_0000, 0xd510_0000)
    {
        return Handling::Refused;
    }
    if !instruction.is(0xffff_f01f, 0xd503_201f) {
        return Handling::Stepped;
    }
    // Hints: nop; xpaclri; those that sign; bti.
    match instruction.bits(5, 7) {
        0x00 | 0x07 | 0x08 | 0x0a | 0x18..=0x1b | 0x20 | 0x22 | 0x24 | 0x26 => Handling::Stepped,
        _ => Handling::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(word: u32) -> Handling {
        handling(Instruction { at: 0, word })
    }

    #[test]
    fn branches_and_addresses_are_simulated() {
        for word in [
            0x1400_0002, // b
            0x9400_0400, // bl
            0x5400_0041, // b.ne
            0xb400_0040, // cbz
            0x3500_0085, // cbnz
            0x3607_fff3, // tbz
            0xb758_0040, // tbnz
            0xd61f_0220, // br x17
            0xd63f_0040, // blr x2
            0xd65f_03c0, // ret
            0x1000_0001, // adr
            0x9000_0010, // adrp
        ] {
            assert_eq!(of(word), Handling::Emulated, "{word:#x}");
        }
    }

    #[test]
    fn other_instructions_are_stepped() {
        for word in [
            0xa9be_7bfd, // stp x29, x30, [sp, #-32]!
            0xd100_83ff, // sub sp, sp, #32
            0xaa00_03f3, // mov x19, x0
            0xf940_0013, // ldr x19, [x0]
            0xd503_201f, // nop
            0xd503_233f, // paciasp
            0xd503_245f, // bti c
            0xd53b_d041, // mrs x1, tpidr_el0
            0xd503_3bbf, // dmb ish
        ] {
            assert_eq!(of(word), Handling::Stepped, "{word:#x}");
        }
    }

    #[test]
    fn what_cannot_run_elsewhere_is_refused() {
        for word in [
            0xd65f_0bff, // retaa
            0xd71f_0a11, // braa
            0xd400_0001, // svc
            0xd420_0000, // brk
            0x5800_0040, // ldr x0, +8
            0x9800_0040, // ldrsw x0, +8
            0x5c00_0040, // ldr d0, +8
            0xd800_0040, // prfm
            0xc85f_7c20, // ldxr x0, [x1]
            0xc802_7c20, // stxr w2, x0, [x1]
            0xd51b_d041, // msr tpidr_el0, x1
            0xd503_23bf, // autiasp
            0xd503_203f, // yield
            0x0000_0000, // udf
        ] {
            assert_eq!(of(word), Handling::Refused, "{word:#x}");
        }
    }
}
