//! Numbers of system calls (arch/x86/entry/syscalls/syscall_64.tbl).

use crate::space::SpaceCall;

/// The call of this number, if it may change an address space. Events carry the same numbers.
#[inline(always)]
pub const fn space_call(number: u64) -> Option<SpaceCall> {
    SpaceCall::from_number(number)
}
