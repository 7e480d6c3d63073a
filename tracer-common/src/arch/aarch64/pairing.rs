//! How a call stands to the one that is open, by the stack pointer and the link register.

use crate::pairing::{Nesting, Pending};

/// Tells how a call entered at stack pointer `sp` with the return address `link` in `x30` stands to the open one.
///
/// An open call whose frame lies below (at a smaller address than) the new one's has been left. One that calls another
/// function has put `x30` on the stack before, so the new one lies below it; where both lie at the same place, the new
/// one is a tail call of the open one, whose return address it has: the trampoline's, or the one noted at the entry.
/// `trampoline` tells the trampoline's address, or 0 where that is unknown.
///
/// Where the open one has put its return address is not known. So one that was left by an exception or `longjmp` is
/// taken for open until a call above it, or one at the same place, tells.
#[inline(always)]
pub fn nesting(open: &Pending, sp: u64, link: u64, trampoline: impl FnOnce() -> u64) -> Nesting {
    if !open.is_open() {
        return Nesting::Outermost;
    }
    if sp > open.sp {
        return Nesting::Stale;
    }
    if sp < open.sp {
        return Nesting::Inner;
    }
    let expected = if open.ret != 0 {
        open.ret
    } else {
        trampoline()
    };
    if expected == 0 || link == expected {
        Nesting::Inner
    } else {
        Nesting::Stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: u64 = 0xffff_ffff_e000;
    const TRAMPOLINE: fn() -> u64 = || ADDRESS;

    fn open(sp: u64) -> Pending {
        Pending {
            sp,
            function: 3,
            ..Pending::default()
        }
    }

    #[test]
    fn order_on_the_stack_tells() {
        let none = Pending::default();
        assert_eq!(nesting(&none, 0x1000, 0, TRAMPOLINE), Nesting::Outermost);
        let stands = |sp| nesting(&open(0x2000), sp, 0x40_1234, TRAMPOLINE);
        assert_eq!(stands(0x1fe0), Nesting::Inner);
        assert_eq!(stands(0x2010), Nesting::Stale);
    }

    /// At the same place: a tail call has the open call's return address, a call of the same caller its own.
    #[test]
    fn tail_calls_have_the_same_return_address() {
        let stands = |pending: &Pending, link| nesting(pending, 0x2000, link, TRAMPOLINE);
        assert_eq!(stands(&open(0x2000), ADDRESS), Nesting::Inner);
        assert_eq!(stands(&open(0x2000), 0x40_1234), Nesting::Stale);
        let noted = Pending {
            ret: 0x40_1234,
            ..open(0x2000)
        };
        assert_eq!(stands(&noted, 0x40_1234), Nesting::Inner);
        assert_eq!(stands(&noted, 0x40_1238), Nesting::Stale);
        assert_eq!(nesting(&open(0x2000), 0x2000, 1, || 0), Nesting::Inner);
    }
}
