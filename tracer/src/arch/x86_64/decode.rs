//! Instructions, by iced.

use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};

/// A decoder for the bytes at `address`.
pub fn decoder(code: &[u8], address: u64) -> Decoder<'_> {
    Decoder::with_ip(64, code, address, DecoderOptions::NONE)
}

/// An instruction as text, in Intel syntax, with branch targets relative to the entry.
pub fn text(instruction: &Instruction) -> String {
    let mut formatter = IntelFormatter::new();
    let mut text = String::new();
    let target = instruction.near_branch_target() as i64;
    if target != 0 || instruction.is_jmp_short_or_near() || instruction.is_call_near() {
        formatter.format_mnemonic(instruction, &mut text);
        let sign = if target < 0 { '-' } else { '+' };
        return format!("{text} {sign}{:#x}", target.unsigned_abs());
    }
    formatter.format(instruction, &mut text);
    text
}
