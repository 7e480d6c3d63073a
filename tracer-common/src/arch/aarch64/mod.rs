//! aarch64: a call leaves its return address in `x30`, a frame pointer is in `x29` and points to a frame record, which
//! is the caller's `x29` and the return address.
//!
//! Sources: Procedure Call Standard for the Arm 64-bit Architecture (AAPCS64), DWARF for the Arm 64-bit Architecture
//! (AADWARF64), arch/arm64 of Linux.

mod calls;
mod pairing;
mod registers;
mod rule;
mod step;

#[cfg(test)]
mod tests;

pub use calls::space_call;
pub use pairing::nesting;
pub use registers::{
    ADDRESS_BITS, GENERAL, Registers, SAVED, STACK_POINTER, USER_END, is_code_address, unsigned,
};
pub use rule::{Base, ENTRY, MAX_CFA_OFFSET, Saved, is_plain};
pub use step::{step, step_by_frame_pointer, step_plain, step_rare, unwind};
