//! Code that has no caller, whatever its call frame information says: what the code does tells.

use super::decode::{Flow, LENGTH, STACK_POINTER, ZERO, instructions};

/// How many of these bytes run before control leaves them for good; `None` if it may return to a caller, or reach the
/// end of the bytes.
pub fn never_returns(code: &[u8]) -> Option<usize> {
    let mut furthest_jump = 0;
    for instruction in instructions(code, 0) {
        let leaves = match instruction.flow() {
            Flow::Return => return None,
            Flow::Jump(_) | Flow::JumpRegister(_) | Flow::Trap => true,
            _ => false,
        };
        if let Flow::Jump(target) | Flow::Branch(target) = instruction.flow()
            && target < code.len() as u64
        {
            furthest_jump = furthest_jump.max(target);
        }
        let next = instruction.at + LENGTH;
        if leaves && furthest_jump < next {
            return usize::try_from(next).ok();
        }
    }
    None
}

/// Whether the first instruction of a function, but for a landing pad, puts another stack in place of its caller's:
/// `mov sp, xN`.
pub fn discards_its_stack(code: &[u8]) -> bool {
    let first = instructions(code, 0).find(|instruction| !instruction.is_landing_pad());
    first.is_some_and(|first| {
        first.is(0xffff_fc1f, 0x9100_0000 | STACK_POINTER) && first.base() != ZERO
    })
}

/// Whether these bytes, which precede a function, end with a call to a fixed target.
pub fn ends_with_call(before: &[u8]) -> bool {
    let last = before.last_chunk().map(|word| u32::from_le_bytes(*word));
    last.is_some_and(|word| word & 0xfc00_0000 == 0x9400_0000)
}

/// `mov x8, #139; svc #0`: the only code from which the kernel takes a signal frame (`rt_sigreturn`).
pub const SIGNAL_RETURN: [u8; 8] = [0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4];

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    const RET: u32 = 0xd65f_03c0;
    const NOP: u32 = 0xd503_201f;

    #[test]
    fn code_that_leaves_for_good_has_an_end() {
        // mov x0, sp; bl +0x100; br x21; nop
        let start = [0x9100_03e0, 0x9400_0040, 0xd61f_02a0, NOP];
        assert_eq!(never_returns(&bytes(&start)), Some(12));
        // cbz over the brk; brk; udf; nop
        let branch = [0xb400_0040, 0xd420_0000, 0, NOP];
        assert_eq!(never_returns(&bytes(&branch)), Some(12));
        // b backwards, out of the code
        assert_eq!(never_returns(&bytes(&[0x17ff_fff0, RET])), Some(4));
        for returns in [
            &[NOP, RET][..],
            &[0xb400_0040, 0xd420_0000, RET],
            &[NOP],
            &[],
        ] {
            assert_eq!(never_returns(&bytes(returns)), None, "{returns:x?}");
        }
    }

    #[test]
    fn a_stack_is_discarded_by_the_first_instruction() {
        // mov sp, x19, with and without bti c
        assert!(discards_its_stack(&bytes(&[0x9100_027f])));
        assert!(discards_its_stack(&bytes(&[0xd503_245f, 0x9100_027f])));
        // add sp, sp, #0; mov x29, sp; sub sp, sp, #32; add sp, x19, #16
        for other in [0x9100_03ff, 0x9100_03fd, 0xd100_83ff, 0x9100_427f] {
            assert!(!discards_its_stack(&bytes(&[other])), "{other:#x}");
        }
        assert!(!discards_its_stack(&[]));
    }

    #[test]
    fn calls_and_signal_returns_are_known() {
        assert!(ends_with_call(&bytes(&[NOP, 0x9400_0040])));
        assert!(!ends_with_call(&bytes(&[0x9400_0040, NOP])) && !ends_with_call(&[0x94]));
        assert_eq!(SIGNAL_RETURN.to_vec(), bytes(&[0xd280_1168, 0xd400_0001]));
    }
}
