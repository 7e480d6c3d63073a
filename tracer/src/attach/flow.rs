//! Where jumps and calls lead: into this object, or through the loader's slots into another one.

use std::ops::Range;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
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

/// Whether every `ret` in `code` hands back a constant that was put into `eax` just before. Such a
/// path returns an error or NULL, not a block.
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

/// Whether `code` stores a register anywhere but on the stack. An allocator's fast path does, when
/// it takes a block from a list or puts one on it; a function that only hands on does not.
pub fn stores_a_register(code: &[u8]) -> bool {
    let mut info = InstructionInfoFactory::new();
    decoder(code, 0).into_iter().any(|instruction| {
        let on_stack = matches!(
            instruction.memory_base(),
            Register::RSP | Register::RBP | Register::None
        ) && instruction.memory_segment() != Register::FS;
        instruction.op0_kind() == OpKind::Memory
            && instruction.op1_kind() == OpKind::Register
            && instruction.op_count() > 1
            && !on_stack
            && info.info(&instruction).used_memory().iter().any(|used| {
                matches!(
                    used.access(),
                    OpAccess::Write | OpAccess::ReadWrite | OpAccess::ReadCondWrite
                )
            })
    })
}

/// A jump from outside a function into the part of it that a probe would pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JumpInto {
    /// The jump's address.
    pub from: u64,
    /// The range that it leads into.
    pub range: Range<u64>,
}

/// The jumps that lead into one of `ranges`, each of which starts one byte after a function's
/// entry, from outside that function.
pub fn jumps_into(
    object: &ObjectSymbols,
    image: &[u8],
    mut ranges: Vec<Range<u64>>,
) -> Vec<JumpInto> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut found = Vec::new();
    for (vaddr, code) in object.code(image) {
        for (from, target) in far_jumps(vaddr, code) {
            let after = ranges.partition_point(|range| range.start <= target);
            let range = after.checked_sub(1).and_then(|at| ranges.get(at));
            let Some(range) = range.filter(|range| range.contains(&target)) else {
                continue;
            };
            let function = object.at(range.start - 1);
            let size = function.map_or(0, |function| function.size);
            let inside = range.start - 1..range.start - 1 + size;
            if !inside.contains(&from) && is_instruction(object, image, from) {
                found.push(JumpInto {
                    from,
                    range: range.clone(),
                });
            }
        }
    }
    found
}

/// Everything in `code` that may be a jump with a four-byte distance: where it is and where it
/// leads. Bytes inside other instructions may look like one.
fn far_jumps(vaddr: u64, code: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    (0..code.len()).filter_map(move |at| {
        let opcode = match code[at..] {
            [0xe9, ..] => 1,
            [0x0f, 0x80..=0x8f, ..] => 2,
            _ => return None,
        };
        let end = at + opcode + 4;
        let distance = code.get(at + opcode..end)?.first_chunk::<4>()?;
        let distance = i64::from(i32::from_le_bytes(*distance));
        let target = vaddr.wrapping_add(end as u64).wrapping_add_signed(distance);
        Some((vaddr.wrapping_add(at as u64), target))
    })
}

/// Whether an instruction starts at `vaddr`, when the code around it is read from its start.
fn is_instruction(object: &ObjectSymbols, image: &[u8], vaddr: u64) -> bool {
    let Some((start, code)) = object.piece(image, vaddr) else {
        return true;
    };
    decoder(code, start)
        .into_iter()
        .any(|instruction| instruction.ip() == vaddr)
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
    fn a_store_to_a_list_is_told_from_the_stack_and_from_errno() {
        // mov [rdi], rax
        assert!(stores_a_register(&[0x48, 0x89, 0x07]));
        // mov fs:[rax], rcx
        assert!(stores_a_register(&[0x64, 0x48, 0x89, 0x08]));
        // mov [rsp+8], rdi
        assert!(!stores_a_register(&[0x48, 0x89, 0x7c, 0x24, 0x08]));
        // mov dword fs:[rax], 12
        assert!(!stores_a_register(&[0x64, 0xc7, 0x00, 0x0c, 0, 0, 0]));
        // test [rdi], rax
        assert!(!stores_a_register(&[0x48, 0x85, 0x07]));
    }

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
