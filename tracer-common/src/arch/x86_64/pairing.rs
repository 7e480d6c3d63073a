//! How a call stands to the one that is open, by the return address on the stack.

use crate::pairing::{Nesting, Pending};

/// Tells how a call entered at stack pointer `sp` stands to the open one.
///
/// An open call whose frame lies below (at a smaller address than) the new one's has been left. One
/// that lies above is still open if its return address is still in place: the trampoline's, which
/// nothing else writes to the stack, or the one noted at the entry. `read` reads a word of the
/// thread's stack; `trampoline` tells the trampoline's address, or 0 where that is unknown. Both are asked only if
/// they are needed.
#[inline(always)]
pub fn nesting(
    open: &Pending,
    sp: u64,
    trampoline: impl FnOnce() -> u64,
    read: impl FnOnce(u64) -> Option<u64>,
) -> Nesting {
    if !open.is_open() {
        return Nesting::Outermost;
    }
    if sp > open.sp {
        return Nesting::Stale;
    }
    let expected = if open.ret != 0 {
        open.ret
    } else {
        trampoline()
    };
    if expected == 0 || read(open.sp) == Some(expected) {
        Nesting::Inner
    } else {
        Nesting::Stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ADDRESS: u64 = 0x7fff_ffff_e000;
    const TRAMPOLINE: fn() -> u64 = || ADDRESS;

    fn open(sp: u64) -> Pending {
        Pending {
            sp,
            function: 3,
            ..Pending::default()
        }
    }

    /// Without an open call every call is the outermost, and the stack is not read.
    #[test]
    fn first_call_is_outermost() {
        let nesting = nesting(&Pending::default(), 0x1000, TRAMPOLINE, |_| {
            unreachable!("nothing to check")
        });
        assert_eq!(nesting, Nesting::Outermost);
    }

    /// `realloc` calling `malloc`: deeper, and the trampoline is in place.
    #[test]
    fn deeper_call_under_a_live_one_is_inner() {
        assert_eq!(
            nesting(&open(0x2000), 0x1f00, TRAMPOLINE, |_| Some(ADDRESS)),
            Nesting::Inner
        );
    }

    /// `calloc` jumping to `malloc`: same stack pointer, and the trampoline is in place.
    #[test]
    fn tail_call_is_inner_and_ends_by_function() {
        let pending = open(0x2000);
        assert_eq!(
            nesting(&pending, 0x2000, TRAMPOLINE, |_| Some(ADDRESS)),
            Nesting::Inner
        );
        assert!(
            !pending.ends_at(0x2000, 4),
            "the inner function's return is not the outer one's"
        );
        assert!(pending.ends_at(0x2000, 3));
    }

    /// After a `longjmp` upwards the next call lies above the one that was left.
    #[test]
    fn call_above_the_open_one_makes_it_stale() {
        assert_eq!(
            nesting(&open(0x2000), 0x2008, TRAMPOLINE, |_| unreachable!(
                "told by order"
            )),
            Nesting::Stale
        );
    }

    /// After a `longjmp` and a descent past the old frame, its slot holds something else.
    #[test]
    fn overwritten_return_address_makes_it_stale() {
        assert_eq!(
            nesting(&open(0x2000), 0x1f00, TRAMPOLINE, |_| Some(0x40_1234)),
            Nesting::Stale
        );
        assert_eq!(
            nesting(&open(0x2000), 0x1f00, TRAMPOLINE, |_| None),
            Nesting::Stale
        );
    }

    /// A call that ends at its `ret` instructions keeps its own return address in place.
    #[test]
    fn noted_return_address_stands_in_for_the_trampoline() {
        let pending = Pending {
            ret: 0x40_1234,
            ..open(0x2000)
        };
        assert_eq!(
            nesting(&pending, 0x1f00, TRAMPOLINE, |_| Some(0x40_1234)),
            Nesting::Inner
        );
        assert_eq!(
            nesting(&pending, 0x1f00, TRAMPOLINE, |_| Some(ADDRESS)),
            Nesting::Stale
        );
    }

    proptest! {
        /// A call never counts as inner to one whose frame lies below its own.
        #[test]
        fn inner_calls_are_never_above(sp: u64, open_sp in 1u64.., slot: Option<u64>) {
            if nesting(&open(open_sp), sp, TRAMPOLINE, |_| slot) == Nesting::Inner {
                prop_assert!(sp <= open_sp);
            }
        }
    }
}
