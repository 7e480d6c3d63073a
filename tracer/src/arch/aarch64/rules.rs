//! From a row of call frame information to a packed rule.
//!
//! DWARF numbers of registers: AADWARF64, 4.1. Whether a return address is signed (`RA_SIGN_STATE`) makes no difference
//! here: the step takes the code off any ([`tracer_common::arch::aarch64::unsigned`]).

use gimli::{AArch64, CfaRule, Register, RegisterRule, UnwindTableRow};
use tracer_common::arch::aarch64::{Base, Saved};
use tracer_common::unwind::Rule;

use crate::arch::Section;
use crate::unwind::Reason;

const FP: Register = AArch64::X29;
const LR: Register = AArch64::X30;
const SP: Register = AArch64::SP;

/// The rule of a row, or why it has none.
pub fn translate(row: &UnwindTableRow<usize>, _section: &Section<'_>) -> Result<Rule, Reason> {
    let link = match row.register(LR) {
        Some(RegisterRule::Undefined) => return Ok(Rule::STOP),
        rule => saved_below(rule.as_ref()).ok_or(Reason::ReturnAddress)?,
    };
    let frame_pointer = saved_below(row.register(FP).as_ref()).ok_or(Reason::FramePointer)?;
    let CfaRule::RegisterAndOffset { register, offset } = row.cfa() else {
        return Err(Reason::Expression);
    };
    let n = u64::try_from(*offset).map_err(|_| Reason::Offset)?;
    let base = match *register {
        SP => Base::StackPointer,
        FP => Base::FramePointer,
        _ => return Err(Reason::Register),
    };
    let saved = match (link, frame_pointer) {
        (0, 0) => Saved::Nothing,
        (link, 0) => Saved::Link(link),
        (0, frame_pointer) => Saved::FramePointer(frame_pointer),
        (link, frame_pointer) if frame_pointer == link + 8 => Saved::Record(link),
        _ => return Err(Reason::FramePointer),
    };
    Rule::frame(base, n, saved).ok_or(Reason::Offset)
}

/// How far below the frame address a register is saved; 0 if it is unchanged.
fn saved_below(rule: Option<&RegisterRule<usize>>) -> Option<u64> {
    match rule {
        None | Some(RegisterRule::SameValue) => Some(0),
        Some(RegisterRule::Offset(offset)) if *offset < 0 => Some(offset.unsigned_abs()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
