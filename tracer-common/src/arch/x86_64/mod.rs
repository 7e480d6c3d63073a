//! x86-64: the return address lies on the stack, a frame pointer is in `rbp`.
//!
//! Sources: System V Application Binary Interface, AMD64 Architecture Processor Supplement; arch/x86 of Linux.

mod calls;
mod pairing;
mod registers;
mod rule;
mod step;

pub use calls::space_call;
pub use pairing::nesting;
pub use registers::{
    ADDRESS_BITS, GENERAL, Registers, SAVED, STACK_POINTER, USER_END, is_code_address,
};
pub use rule::{ENTRY, MAX_CFA_OFFSET, is_plain};
pub use step::{step, step_by_frame_pointer, step_plain, step_rare, unwind};
