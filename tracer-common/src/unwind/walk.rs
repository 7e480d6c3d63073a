//! What a walk by unwind tables needs besides rules: where a frame stands, and where its rule comes from.

use super::rule::{Kind, Rule};
use crate::stack::End;

/// Where in its function a frame stands. A number, so that any bytes of a scratch area are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Position(pub u32);

impl Position {
    /// On an instruction that has not run: the innermost frame, or one that a signal interrupted.
    pub const INSTRUCTION: Self = Self(0);
    /// Behind a call. The call may have been the function's last instruction (it never returns), so
    /// that the address belongs to the next function.
    pub const CALL: Self = Self(1);
    /// On a function's first instruction, where the architecture's `ENTRY` holds without a table.
    pub const ENTRY: Self = Self(2);
    /// Behind a call, as [`Self::CALL`], found by frame pointer: the code here is likely to keep frame pointers, too.
    pub const CALL_BY_FRAME_POINTER: Self = Self(3);

    /// The address whose rule describes a frame: inside the instruction that it stands on or behind.
    #[inline(always)]
    pub const fn lookup_address(self, ip: u64) -> u64 {
        // Of the two positions behind a call, and of no other, the lowest bit is set.
        ip.wrapping_sub((self.0 & 1) as u64)
    }
}

/// Unwind tables of a process.
pub trait Tables {
    /// Rule for the code at an address, as [`Position::lookup_address`] gives it.
    fn rule(&mut self, lookup_address: u64) -> Rule;
}

/// Why a walk ends at a rule that leads nowhere.
#[inline(always)]
pub(crate) const fn end_of(kind: u32) -> End {
    if kind == Kind::Stop as u32 {
        End::Complete
    } else if kind == Kind::NoMapping as u32 {
        End::NoMapping
    } else if kind == Kind::ReturnProbe as u32 {
        End::ReturnProbe
    } else if kind == Kind::NoTable as u32 {
        End::NoTable
    } else {
        End::UnsupportedRule
    }
}
