//! Jumps, calls and stores, as instructions say them.

use super::decode::{FRAME_POINTER, Flow, Instruction, LENGTH, STACK_POINTER, ZERO, instructions};
use crate::attach::flow::{Branch, Target};

/// What is known of registers along a straight line: that one holds an address, or what the slot at an address holds.
struct Known([Option<Target>; 31]);

impl Known {
    const NOTHING: Self = Self([None; 31]);

    fn get(&self, register: u32) -> Option<Target> {
        self.0.get(register as usize).copied().flatten()
    }

    fn follow(&mut self, instruction: Instruction) {
        let found = if let Some((to, address)) = instruction.address() {
            Some((to, Target::Address(address)))
        } else if let Some((to, base, offset)) = instruction.load()
            && let Some(Target::Address(address)) = self.get(base)
        {
            Some((to, Target::Slot(address.wrapping_add(offset))))
        } else {
            None
        };
        let written = instruction.written();
        for (register, known) in (0u32..).zip(&mut self.0) {
            if written & 1 << register != 0 {
                *known = None;
            }
        }
        if let Some((to, target)) = found
            && let Some(known) = self.0.get_mut(to as usize)
        {
            *known = Some(target);
        }
    }

    /// The slot that a register was loaded from.
    fn slot(&self, register: u32) -> Option<u64> {
        match self.get(register) {
            Some(Target::Slot(slot)) => Some(slot),
            _ => None,
        }
    }
}

/// The slot that the linkage stub at `address` jumps through: `adrp x16, page; ldr x17, [x16, #n]; add x16, x16, #n;
/// br x17`, as linkers write it.
pub fn slot_of_stub(address: u64, stub: &[u8]) -> Option<u64> {
    let mut known = Known::NOTHING;
    for instruction in instructions(stub, address) {
        match instruction.flow() {
            Flow::Next => known.follow(instruction),
            Flow::JumpRegister(register) => return known.slot(register),
            _ => return None,
        }
    }
    None
}

/// The jumps and calls in the code at `address`, but for those through registers that no slot was loaded into.
pub fn branches(address: u64, code: &[u8]) -> Vec<Branch> {
    let mut branches = Vec::new();
    let mut known = Known::NOTHING;
    for instruction in instructions(code, address) {
        let (call, target) = match instruction.flow() {
            Flow::Next => {
                known.follow(instruction);
                continue;
            }
            Flow::Jump(target) | Flow::Branch(target) => (false, Some(Target::Address(target))),
            Flow::Call(target) => (true, Some(Target::Address(target))),
            Flow::JumpRegister(register) => (false, known.slot(register).map(Target::Slot)),
            Flow::CallRegister(register) => (true, known.slot(register).map(Target::Slot)),
            Flow::Return | Flow::Trap => (false, None),
        };
        branches.extend(target.map(|target| Branch { call, target }));
        if !matches!(instruction.flow(), Flow::Branch(_)) {
            known = Known::NOTHING;
        }
    }
    branches
}

/// Targets of the jumps to fixed addresses in the code at `address`.
pub fn jumps(address: u64, code: &[u8]) -> Vec<u64> {
    let target = |instruction: Instruction| match instruction.flow() {
        Flow::Jump(target) | Flow::Branch(target) => Some(target),
        _ => None,
    };
    instructions(code, address).filter_map(target).collect()
}

/// All jumps in the code: where each is and where it leads. Each can leave its function, since the least of them
/// reaches 32 KiB.
pub fn far_jumps(address: u64, code: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    instructions(code, address).filter_map(|instruction| match instruction.flow() {
        Flow::Jump(target) | Flow::Branch(target) => Some((instruction.at, target)),
        _ => None,
    })
}

/// Whether an instruction starts at `address`, when the code is read from its start.
pub fn starts_at(start: u64, code: &[u8], address: u64) -> bool {
    let offset = address.wrapping_sub(start);
    offset.is_multiple_of(LENGTH) && offset < code.len() as u64
}

/// Whether every `ret` in `code` hands back a constant that was put into `x0` just before.
pub fn returns_only_constants(code: &[u8]) -> bool {
    let mut constant = false;
    for instruction in instructions(code, 0) {
        match instruction.flow() {
            Flow::Return if !constant => return false,
            Flow::Next if instruction.constant() == Some(0) => constant = true,
            Flow::Next if instruction.written() & 1 != 0 => constant = false,
            Flow::Next => {}
            _ => constant = false,
        }
    }
    true
}

/// Whether `code` stores a register anywhere but on the stack, but for one that holds a constant, such as an error
/// number.
pub fn stores_a_register(code: &[u8]) -> bool {
    let mut constants = 0;
    for instruction in instructions(code, 0) {
        if let Some((base, stored)) = instruction.store() {
            let is_value = |register: u32| register != ZERO && constants & 1 << register == 0;
            let on_stack = base == STACK_POINTER || base == FRAME_POINTER;
            if !on_stack && stored.into_iter().any(is_value) {
                return true;
            }
        }
        constants &= !instruction.written();
        if let Some(register) = instruction.constant() {
            constants |= 1 << register;
        }
        if instruction.flow() != Flow::Next {
            constants = 0;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    const RET: u32 = 0xd65f_03c0;
    /// `adrp x16, +0x1000; ldr x17, [x16, #4008]; add x16, x16, #4008; br x17`
    const STUB: [u32; 4] = [0xb000_0010, 0xf947_d611, 0x913e_a210, 0xd61f_0220];

    #[test]
    fn a_stub_tells_its_slot() {
        assert_eq!(slot_of_stub(0x4010, &bytes(&STUB)), Some(0x5fa8));
        let landing = [&[0xd503_245f][..], &STUB].concat();
        assert_eq!(slot_of_stub(0x4010, &bytes(&landing)), Some(0x5fa8));
        assert_eq!(slot_of_stub(0x4010, &bytes(&STUB[1..])), None);
        assert_eq!(slot_of_stub(0x4010, &bytes(&[RET])), None);
        assert_eq!(slot_of_stub(0x4010, &[]), None);
    }

    #[test]
    fn jumps_and_calls_are_found() {
        // cbz x0, +8; bl +0x100; b -4; adrp x1; ldr x1, [x1, #8]; blr x1; blr x1; ret
        let code = [
            0xb400_0040,
            0x9400_0040,
            0x17ff_ffff,
            0x9000_0001,
            0xf940_0421,
            0xd63f_0020,
            0xd63f_0020,
            RET,
        ];
        let branch = |call, target| Branch { call, target };
        assert_eq!(
            branches(0x1000, &bytes(&code)),
            [
                branch(false, Target::Address(0x1008)),
                branch(true, Target::Address(0x1104)),
                branch(false, Target::Address(0x1004)),
                branch(true, Target::Slot(0x1008)),
            ]
        );
        assert_eq!(jumps(0x1000, &bytes(&code)), [0x1008, 0x1004]);
        let far: Vec<(u64, u64)> = far_jumps(0x1000, &bytes(&code)).collect();
        assert_eq!(far, [(0x1000, 0x1008), (0x1008, 0x1004)]);
        assert!(starts_at(0x1000, &bytes(&code), 0x101c));
        assert!(!starts_at(0x1000, &bytes(&code), 0x1002));
        assert!(!starts_at(0x1000, &bytes(&code), 0x1020));
    }

    #[test]
    fn a_store_to_a_list_is_told_from_the_stack_and_from_errno() {
        for (words, stores) in [
            (&[0xf900_0001][..], true),                       // str x1, [x0]
            (&[0xf900_07e0], false),                          // str x0, [sp, #8]
            (&[0xa9be_7bfd], false),                          // stp x29, x30, [sp, #-32]!
            (&[0x5280_0181, 0xb900_0001], false),             // mov w1, #12; str w1, [x0]
            (&[0xb900_001f], false),                          // str wzr, [x0]
            (&[0xf940_0001], false),                          // ldr x1, [x0]
            (&[0x5280_0181, 0xf940_0041, 0xf900_0001], true), // mov w1, #12; ldr x1, [x2]; str x1, [x0]
        ] {
            assert_eq!(stores_a_register(&bytes(words)), stores, "{words:x?}");
        }
    }

    #[test]
    fn a_constant_result_is_told_from_a_block() {
        for (words, constant) in [
            (&[0x5280_0000, RET][..], true),           // mov w0, #0; ret
            (&[0x5280_02c0, 0xf841_07fe, RET], true),  // mov w0, #22; ldr x30, [sp], #16; ret
            (&[0xf940_0000, RET], false),              // ldr x0, [x0]; ret
            (&[0x5280_0000, 0x9400_0400, RET], false), // mov w0, #0; bl; ret
            (&[RET], false),
            (&[0x1400_0400], true), // b
        ] {
            assert_eq!(
                returns_only_constants(&bytes(words)),
                constant,
                "{words:x?}"
            );
        }
    }
}
