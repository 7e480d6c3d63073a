//! Code that has no caller, whatever its call frame information says: what the code does tells.

use iced_x86::{Code, FlowControl, Mnemonic, OpKind, Register};

use super::decode::decoder;

/// How many of these bytes run before control leaves them for good; `None` if it may return to a caller, or reach the
/// end of the bytes.
pub fn never_returns(code: &[u8]) -> Option<usize> {
    let mut furthest_jump = 0;
    for instruction in &mut decoder(code, 0) {
        let leaves = match instruction.flow_control() {
            _ if instruction.is_invalid() => return None,
            FlowControl::Return => return None,
            FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Exception => true,
            _ => instruction.mnemonic() == Mnemonic::Hlt,
        };
        let target = instruction.near_branch_target();
        if target < code.len() as u64 && !instruction.is_call_near() {
            furthest_jump = furthest_jump.max(target);
        }
        let next = instruction.next_ip();
        if leaves && furthest_jump < next {
            return usize::try_from(next).ok();
        }
    }
    None
}

/// Whether the first instruction of a function puts another stack in place of its caller's.
pub fn discards_its_stack(code: &[u8]) -> bool {
    let mut instructions = decoder(code, 0).into_iter();
    let first = instructions.find(|instruction| instruction.code() != Code::Endbr64);
    first.is_some_and(|first| {
        first.mnemonic() == Mnemonic::Mov
            && first.op0_register() == Register::RSP
            && first.op1_kind() == OpKind::Register
    })
}

/// Whether these bytes, which precede a function, end with a call to a fixed target.
pub fn ends_with_call(before: &[u8]) -> bool {
    before[before.len().saturating_sub(5)..].first() == Some(&0xe8)
}

/// `mov $15, %rax; syscall`: the only code from which the kernel takes a signal frame (`rt_sigreturn`).
pub const SIGNAL_RETURN: [u8; 9] = [0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_leaves_for_good_has_an_end() {
        // xor %ebp, %ebp; call +16; jmp *%r12; nop
        let start = [0x31, 0xed, 0xe8, 16, 0, 0, 0, 0x41, 0xff, 0xe4, 0x90];
        assert_eq!(never_returns(&start), Some(10));
        // je over the hlt; nop; hlt; ud2; nop
        let branch = [0x74, 2, 0x90, 0xf4, 0x0f, 0x0b, 0x90];
        assert_eq!(never_returns(&branch), Some(6));
        // jmp backwards, out of the code
        assert_eq!(never_returns(&[0xeb, 0xf0, 0xc3]), Some(2));
        for returns in [
            &[0x90, 0xc3][..],
            &[0x74, 1, 0xf4, 0xc3],
            &[0x90],
            &[],
            &[0x06],
        ] {
            assert_eq!(never_returns(returns), None, "{returns:x?}");
        }
    }

    #[test]
    fn a_stack_is_discarded_by_the_first_instruction() {
        let endbr = [0xf3, 0x0f, 0x1e, 0xfa];
        for from_register in [[0x48, 0x89, 0xdc], [0x4c, 0x89, 0xe4], [0x48, 0x8b, 0xe3]] {
            assert!(discards_its_stack(&from_register));
            assert!(discards_its_stack(&[&endbr[..], &from_register].concat()));
        }
        // push %rbx; mov %rsp, %rbx; mov (%rdi), %rsp; mov %ebx, %esp
        for other in [
            &[0x53][..],
            &[0x48, 0x89, 0xe3],
            &[0x48, 0x8b, 0x27],
            &[0x89, 0xdc],
            &[],
        ] {
            assert!(!discards_its_stack(other), "{other:x?}");
        }
    }
}
