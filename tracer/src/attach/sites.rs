//! The instruction of a function that a probe sits on, and what has to hold there.
//!
//! Which one is chosen is for the architecture to say ([`crate::arch`]).

use tracer_common::call::{Arg, Call};

use crate::arch::Arch;

/// All arguments, in the order of their registers.
pub const ARGUMENTS: [Arg; 4] = [Arg::First, Arg::Second, Arg::Third, Arg::Fourth];

/// What must hold at a site as it held at the entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Per argument register, in the order of [`Arg`]: it still holds its argument.
    pub arguments: [bool; 4],
    /// The return address is still where the call put it, which the stack pointer tells: `[rsp]` on x86-64, `x30` and
    /// the stack pointer on aarch64.
    pub stack_pointer: bool,
}

impl Needs {
    /// What the probe on a function called this way reads.
    pub fn of(call: &Call) -> Self {
        let mut needs = Self {
            arguments: [false; 4],
            stack_pointer: call.needs_return(),
        };
        for arg in [call.size, call.count, call.old, call.out]
            .into_iter()
            .flatten()
        {
            needs.arguments[arg as usize] = true;
        }
        needs
    }
}

/// What a hit costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// One trap: the kernel emulates the instruction.
    Fast,
    /// Two traps: the kernel single-steps it.
    Slow,
}

/// Where a probe sits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Bytes from the function's entry.
    pub offset: u32,
    /// The instruction there, in Intel syntax on x86-64; branch targets are relative to the entry.
    pub instruction: String,
    /// What a hit costs.
    pub speed: Speed,
    /// The function jumps back to its own entry, so that one call can hit the probe more than once.
    /// True of the entry as of every other site.
    pub repeats: bool,
    /// Per argument, in the order of [`Arg`]: the register that holds it at the site. Usually its
    /// own; a function may have moved it to another argument's register before.
    pub arguments: [Arg; 4],
    /// Why this instruction, as a clause.
    pub why: String,
}

impl Site {
    /// The convention by which a probe at this site finds what `call` says of the entry.
    pub fn call(&self, call: &Call) -> Call {
        let here = |arg: Option<Arg>| arg.map(|arg| self.arguments[arg as usize]);
        Call {
            size: here(call.size),
            count: here(call.count),
            old: here(call.old),
            out: here(call.out),
            ..*call
        }
    }
}

/// Why no probe can sit on a function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// There are no bytes, or the first ones are no instruction.
    #[error("its first bytes are not an {0} instruction")]
    Undecodable(Arch),
    /// The kernel puts no probe on the entry, and no later instruction qualifies.
    #[error("the kernel refuses probes on its first instruction, {0}")]
    Refused(String),
}
