//! Jumps, calls and stores, as instructions say them.

use iced_x86::{
    Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

use super::decode::decoder;
use crate::attach::flow::{Branch, Target};

/// The slot that the linkage stub at `address` jumps through.
pub fn slot_of_stub(address: u64, stub: &[u8]) -> Option<u64> {
    let mut instructions = decoder(stub, address).into_iter();
    let mut first = instructions.next().unwrap_or_default();
    if first.code() == Code::Endbr64 {
        first = instructions.next().unwrap_or_default();
    }
    slot(&first).filter(|_| first.flow_control() == FlowControl::IndirectBranch)
}

/// The jumps and calls in the code at `address`, but for those through registers.
pub fn branches(address: u64, code: &[u8]) -> Vec<Branch> {
    let mut branches = Vec::new();
    for instruction in &mut decoder(code, address) {
        let (call, direct) = match instruction.flow_control() {
            FlowControl::Call => (true, true),
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => (false, true),
            FlowControl::IndirectCall => (true, false),
            FlowControl::IndirectBranch => (false, false),
            _ => continue,
        };
        let target = if direct {
            Some(Target::Address(instruction.near_branch_target()))
        } else {
            slot(&instruction).map(Target::Slot)
        };
        branches.extend(target.map(|target| Branch { call, target }));
    }
    branches
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

/// Everything in `code` that may be a jump with a four-byte distance: where it is and where it
/// leads. Bytes inside other instructions may look like one.
pub fn far_jumps(vaddr: u64, code: &[u8]) -> impl Iterator<Item = (u64, u64)> {
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

/// Whether an instruction starts at `address`, when the code is read from its start.
pub fn starts_at(start: u64, code: &[u8], address: u64) -> bool {
    decoder(code, start)
        .into_iter()
        .any(|instruction| instruction.ip() == address)
}

/// Targets of the jumps to fixed addresses in the code at `address`.
pub fn jumps(address: u64, code: &[u8]) -> Vec<u64> {
    let mut decoder = decoder(code, address);
    let mut targets = Vec::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if matches!(
            instruction.flow_control(),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
        ) {
            targets.push(instruction.near_branch_target());
        }
    }
    targets
}

fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate32 | OpKind::Immediate64 | OpKind::Immediate32to64
    )
}

/// The address of the memory slot that a branch takes its target from, as in `jmp [rip+n]`.
fn slot(instruction: &Instruction) -> Option<u64> {
    let indirect = instruction.op0_kind() == OpKind::Memory;
    (indirect && instruction.is_ip_rel_memory_operand())
        .then(|| instruction.ip_rel_memory_address())
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
