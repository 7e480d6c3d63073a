//! Where jumps and calls lead: into this object, or through the loader's slots into another one.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
};

use super::symbols::ObjectSymbols;

/// Where a branch leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To an address in this object.
    Local(u64),
    /// To a function of that name in another object.
    Import(String),
}

/// A direct jump or call out of a function's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Where it leads.
    pub destination: Destination,
    /// A call, which comes back; else a jump, which does not.
    pub call: bool,
}

/// Where a branch to `target` ends up: a linkage stub is followed to what its slot names.
pub fn destination(object: &ObjectSymbols, image: &[u8], target: u64) -> Destination {
    let stub = object.bytes(image, target, 16).unwrap_or_default();
    let mut instructions = decoder(stub, target).into_iter();
    let mut first = instructions.next().unwrap_or_default();
    if first.code() == Code::Endbr64 {
        first = instructions.next().unwrap_or_default();
    }
    slot(&first)
        .filter(|_| first.flow_control() == FlowControl::IndirectBranch)
        .and_then(|slot| imported(object, slot))
        .unwrap_or(Destination::Local(target))
}

/// The direct jumps and calls that leave the body `code` of the function at `vaddr`.
pub fn exits(object: &ObjectSymbols, image: &[u8], vaddr: u64, code: &[u8]) -> Vec<Exit> {
    let inside = vaddr..vaddr + code.len() as u64;
    let mut exits = Vec::new();
    for instruction in &mut decoder(code, vaddr) {
        let (call, direct) = match instruction.flow_control() {
            FlowControl::Call => (true, true),
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => (false, true),
            FlowControl::IndirectCall => (true, false),
            FlowControl::IndirectBranch => (false, false),
            _ => continue,
        };
        let target = instruction.near_branch_target();
        let destination = if direct {
            let stays = !call && inside.contains(&target);
            (!stays && target != 0).then(|| destination(object, image, target))
        } else {
            slot(&instruction).and_then(|slot| imported(object, slot))
        };
        exits.extend(destination.map(|destination| Exit { destination, call }));
    }
    exits
}

/// Whether every `ret` in `code` hands back a constant that was put into `eax` just before. Such a path returns an error
/// or NULL, not a block.
pub fn returns_only_constants(code: &[u8]) -> bool {
    let mut constant = false;
    for instruction in &mut decoder(code, 0) {
        let first = instruction.op0_kind() == OpKind::Register
            && instruction.op0_register().full_register() == Register::RAX;
        match instruction.flow_control() {
            FlowControl::Return if !constant => return false,
            FlowControl::Next if first && instruction.op_count() == 2 => {
                constant = match instruction.mnemonic() {
                    Mnemonic::Mov => is_immediate(instruction.op1_kind()),
                    Mnemonic::Xor => instruction.op0_register() == instruction.op1_register(),
                    _ => false,
                };
            }
            FlowControl::Next => {}
            _ => constant = false,
        }
    }
    true
}

fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate32 | OpKind::Immediate64 | OpKind::Immediate32to64
    )
}

/// A decoder for the bytes at `vaddr`.
pub fn decoder(code: &[u8], vaddr: u64) -> Decoder<'_> {
    Decoder::with_ip(64, code, vaddr, DecoderOptions::NONE)
}

/// The address of the memory slot that a branch takes its target from, as in `jmp [rip+n]`.
fn slot(instruction: &Instruction) -> Option<u64> {
    let indirect = instruction.op0_kind() == OpKind::Memory;
    (indirect && instruction.is_ip_rel_memory_operand())
        .then(|| instruction.ip_rel_memory_address())
}

/// The function that the loader puts into `slot`; this object's own one, where it defines that name.
fn imported(object: &ObjectSymbols, slot: u64) -> Option<Destination> {
    let name = object.imports.get(&slot)?;
    Some(match object.function(name) {
        Some(own) => Destination::Local(own.vaddr),
        None => Destination::Import(name.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_result_is_told_from_a_block() {
        // xor eax, eax; ret
        assert!(returns_only_constants(&[0x31, 0xc0, 0xc3]));
        // mov eax, 22; pop rbx; ret
        assert!(returns_only_constants(&[0xb8, 0x16, 0, 0, 0, 0x5b, 0xc3]));
        // mov rax, [rdi]; ret
        assert!(!returns_only_constants(&[0x48, 0x8b, 0x07, 0xc3]));
        // xor eax, eax; call; ret: the call's result counts
        assert!(!returns_only_constants(&[
            0x31, 0xc0, 0xe8, 0, 0, 0, 0, 0xc3
        ]));
        // ret
        assert!(!returns_only_constants(&[0xc3]));
        // jmp alone has no return
        assert!(returns_only_constants(&[0xe9, 0, 1, 0, 0]));
    }
}
