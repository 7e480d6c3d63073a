//! Which instructions the kernel's uprobes emulate, step or refuse.
//!
//! Source: arch/x86/kernel/uprobes.c (`arch_uprobe_analyze_insn`, `branch_setup_xol_ops`,
//! `push_setup_xol_ops`, `is_prefix_bad`, `good_insns_64`). An emulated instruction costs one trap; a
//! stepped one is copied to a page of its own and costs a second trap, many times dearer.

/// What the kernel does with a probed instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// Emulated by every kernel that has uprobes on x86-64.
    Emulated,
    /// A nop that is emulated since Linux 6.16 (the two-byte form since 6.2). Older kernels step it,
    /// and refuse the two-byte form.
    EmulatedLately,
    /// Single-stepped out of line.
    Stepped,
    /// No probe can sit on it.
    Refused,
}

/// The kernel's table of nops, by length from two on. The ten and eleven byte forms carry a segment
/// prefix, which uprobes refuse, so they are left out.
const NOPS: [&[u8]; 8] = [
    &[0x66, 0x90],
    &[0x0f, 0x1f, 0x00],
    &[0x0f, 0x1f, 0x40, 0x00],
    &[0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x0f, 0x1f, 0x80, 0, 0, 0, 0],
    &[0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
    &[0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
];

/// One-byte opcodes whose bit is clear in `good_insns_64`, `int3` and `hlt` among them.
const REFUSED: [u8; 46] = [
    0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x62, 0x6c, 0x6d,
    0x6e, 0x6f, 0x82, 0x9a, 0xcc, 0xcd, 0xce, 0xcf, 0xd4, 0xd5, 0xd6, 0xe4, 0xe5, 0xe6, 0xe7, 0xea,
    0xec, 0xed, 0xee, 0xef, 0xf1, 0xf4, 0xfa, 0xfb, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x8e,
];

/// What the kernel does with the one instruction whose bytes are `code`, without trailing bytes.
pub fn handling(code: &[u8]) -> Handling {
    if NOPS.contains(&code) {
        return Handling::EmulatedLately;
    }
    let prefixes = code.iter().take_while(|byte| is_prefix(**byte)).count();
    let (prefixes, rest) = code.split_at(prefixes);
    if prefixes.iter().any(|byte| is_refused_prefix(*byte)) {
        return Handling::Refused;
    }
    let (rex, opcode) = split_rex(rest);
    match opcode {
        [] => Handling::Refused,
        // `mov ss` masks exceptions; other segment registers may be probed.
        [0x8e, modrm, ..] if modrm >> 3 & 7 != 2 => Handling::Stepped,
        // `syscall`, `ud2`, `sysenter`: stepping these out of line cannot work.
        [0x0f, 0x05 | 0x07 | 0x0b | 0x34 | 0x35, ..] => Handling::Refused,
        [first, ..] if REFUSED.contains(first) => Handling::Refused,
        _ if is_push(prefixes, rex, opcode) || is_branch(prefixes, rex, opcode) => {
            Handling::Emulated
        }
        _ => Handling::Stepped,
    }
}

/// `push` of a general register, with nothing but the prefix that names r8 to r15.
fn is_push(prefixes: &[u8], rex: Option<u8>, opcode: &[u8]) -> bool {
    prefixes.is_empty() && matches!(rex, None | Some(0x41)) && matches!(opcode, [0x50..=0x57])
}

/// `jmp`, `call` and `jcc` to a fixed target, and the one-byte `nop`. The repeat prefixes (`bnd jmp`,
/// `rep nop`) do not change them; a size prefix makes the kernel refuse, so it never qualifies.
fn is_branch(prefixes: &[u8], rex: Option<u8>, opcode: &[u8]) -> bool {
    let plain = rex.is_none() && prefixes.iter().all(|byte| matches!(byte, 0xf2 | 0xf3));
    plain
        && match opcode {
            [0xeb | 0x70..=0x7f, _] | [0xe8 | 0xe9, _, _, _, _] => true,
            [0x0f, 0x80..=0x8f, _, _, _, _] => true,
            [0x90] => prefixes.is_empty(),
            _ => false,
        }
}

/// The legacy prefixes of the instruction format (Intel SDM volume 2, section 2.1.1).
fn is_prefix(byte: u8) -> bool {
    is_refused_prefix(byte) || matches!(byte, 0x64..=0x67 | 0xf2 | 0xf3)
}

/// `es`, `cs`, `ss`, `ds` and `lock`.
fn is_refused_prefix(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0xf0)
}

fn split_rex(code: &[u8]) -> (Option<u8>, &[u8]) {
    match code {
        [rex @ 0x40..=0x4f, rest @ ..] => (Some(*rex), rest),
        _ => (None, code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every emulated form that the kernel's two set-up functions list.
    #[test]
    fn pushes_branches_and_the_short_nop_are_emulated() {
        let emulated: [&[u8]; 12] = [
            &[0x50],
            &[0x57],
            &[0x41, 0x54],
            &[0x90],
            &[0xeb, 0x05],
            &[0xe9, 0, 1, 0, 0],
            &[0xe8, 0, 1, 0, 0],
            &[0x74, 0x10],
            &[0x7f, 0x10],
            &[0x0f, 0x84, 0, 1, 0, 0],
            &[0xf2, 0xe9, 0, 1, 0, 0],
            &[0xf2, 0x74, 0x10],
        ];
        for code in emulated {
            assert_eq!(handling(code), Handling::Emulated, "{code:02x?}");
        }
    }

    /// Every nop of the kernel's table up to nine bytes, and none that merely resembles one.
    #[test]
    fn nops_of_the_kernels_table_are_emulated_lately() {
        for nop in NOPS {
            assert_eq!(handling(nop), Handling::EmulatedLately, "{nop:02x?}");
        }
        let other_register = [0x0f, 0x1f, 0x01];
        assert_eq!(handling(&other_register), Handling::Stepped);
        let with_segment = [0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0];
        assert_eq!(handling(&with_segment), Handling::Refused);
    }

    #[test]
    fn other_instructions_are_stepped() {
        let stepped: [&[u8]; 13] = [
            &[0xf3, 0x0f, 0x1e, 0xfa], // endbr64
            &[0x48, 0x85, 0xff],       // test rdi, rdi
            &[0x48, 0x89, 0xf8],       // mov rax, rdi
            &[0x48, 0x83, 0xec, 0x18], // sub rsp, 24
            &[0x31, 0xc0],             // xor eax, eax
            &[0x5b],                   // pop rbx
            &[0xc3],                   // ret
            &[0x66, 0x55],             // push bp
            &[0x48, 0x55],             // push rbp with a size prefix that means nothing
            &[0xff, 0xe0],             // jmp rax
            &[0xff, 0x25, 0, 1, 0, 0], // jmp [rip+256]
            &[0x66, 0xe9, 0, 1, 0, 0], // jmp with a size prefix
            &[0x41, 0x90],             // xchg r8, rax
        ];
        for code in stepped {
            assert_eq!(handling(code), Handling::Stepped, "{code:02x?}");
        }
    }

    #[test]
    fn traps_privileged_and_prefixed_instructions_are_refused() {
        let refused: [&[u8]; 9] = [
            &[0xcc],
            &[0xf4],
            &[0xcd, 0x80],
            &[0x0f, 0x0b],
            &[0x0f, 0x05],
            &[0xf0, 0x48, 0xff, 0x07], // lock inc
            &[0x3e, 0xff, 0xe0],       // notrack jmp rax
            &[0x8e, 0xd0],             // mov ss, eax
            &[],
        ];
        for code in refused {
            assert_eq!(handling(code), Handling::Refused, "{code:02x?}");
        }
    }
}
