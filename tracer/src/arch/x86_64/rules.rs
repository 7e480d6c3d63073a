//! From a row of call frame information to a packed rule.

use gimli::{CfaRule, LittleEndian, Register, RegisterRule, UnwindTableRow};
use gimli::{UnwindExpression, X86_64};
use tracer_common::unwind::Rule;

use crate::arch::{Section, Slice};
use crate::unwind::Reason;

const RBP: Register = X86_64::RBP;
const RSP: Register = X86_64::RSP;

/// The rule of a row, or why it has none.
pub fn translate(row: &UnwindTableRow<usize>, section: &Section<'_>) -> Result<Rule, Reason> {
    match row.register(X86_64::RA) {
        Some(RegisterRule::Undefined) => return Ok(Rule::STOP),
        Some(RegisterRule::Offset(-8)) => {}
        _ => return Err(Reason::ReturnAddress),
    }
    let saved = row.register(RBP);
    match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => {
            let n = u64::try_from(*offset).map_err(|_| Reason::Offset)?;
            let make = match *register {
                RSP => Rule::rsp,
                RBP => Rule::rbp,
                _ => return Err(Reason::Register),
            };
            make(n, saved_below(saved.as_ref())?).ok_or(Reason::Offset)
        }
        CfaRule::Expression(expression) => {
            let bytes = bytes(section, expression).ok_or(Reason::Expression)?;
            by_expression(bytes, saved.as_ref(), section)
        }
    }
}

/// How far below the frame address `rbp` is saved; 0 if it is unchanged.
fn saved_below(rule: Option<&RegisterRule<usize>>) -> Result<u64, Reason> {
    match rule {
        None | Some(RegisterRule::SameValue) => Ok(0),
        Some(RegisterRule::Offset(offset)) if *offset < 0 => Ok(offset.unsigned_abs()),
        Some(_) => Err(Reason::FramePointer),
    }
}

fn bytes<'a>(section: &Section<'a>, expression: &UnwindExpression<usize>) -> Option<&'a [u8]> {
    Some(expression.get(section).ok()?.0.slice())
}

fn by_expression(
    bytes: &[u8],
    saved: Option<&RegisterRule<usize>>,
    section: &Section<'_>,
) -> Result<Rule, Reason> {
    if let Some(threshold) = plt_threshold(bytes) {
        return match saved_below(saved)? {
            0 => Ok(Rule::plt(threshold)),
            _ => Err(Reason::FramePointer),
        };
    }
    let deref = Deref::parse(bytes).ok_or(Reason::Expression)?;
    match deref.register {
        Deref::RSP => Rule::deref_rsp(deref.n, deref.m, saved_below(saved)?).ok_or(Reason::Offset),
        _ if is_saved_at_rbp(saved, section) => {
            Rule::deref_rbp(deref.n, deref.m).ok_or(Reason::Offset)
        }
        _ => Err(Reason::FramePointer),
    }
}

/// `*rbp`, as compilers say it where they realign the stack.
fn is_saved_at_rbp(rule: Option<&RegisterRule<usize>>, section: &Section<'_>) -> bool {
    let Some(RegisterRule::Expression(expression)) = rule else {
        return false;
    };
    bytes(section, expression) == Some(&[OP_BREG0 + Deref::RBP, 0])
}

// Operation codes of DWARF 5, section 7.7.1.
const OP_DEREF: u8 = 0x06;
const OP_AND: u8 = 0x1a;
const OP_PLUS: u8 = 0x22;
const OP_PLUS_UCONST: u8 = 0x23;
const OP_SHL: u8 = 0x24;
const OP_GE: u8 = 0x2a;
const OP_LIT0: u8 = 0x30;
const OP_BREG0: u8 = 0x70;

/// Linkers describe each procedure linkage table by one expression:
/// `rsp + 8 + (((rip & 15) >= threshold) << 3)`, the threshold being 11, or 10 where slots begin with `endbr64`.
fn plt_threshold(bytes: &[u8]) -> Option<u32> {
    let [
        rsp,
        8,
        rip,
        0,
        mask,
        OP_AND,
        threshold,
        OP_GE,
        three,
        OP_SHL,
        OP_PLUS,
    ] = bytes
    else {
        return None;
    };
    let fixed = [*rsp, *rip, *mask, *three];
    let expected = [OP_BREG0 + 7, OP_BREG0 + 16, OP_LIT0 + 15, OP_LIT0 + 3];
    let threshold = threshold.checked_sub(OP_LIT0).filter(|value| *value < 16)?;
    (fixed == expected).then_some(u32::from(threshold))
}

/// `*(register + n) + m`.
struct Deref {
    register: u8,
    n: i64,
    m: u64,
}

impl Deref {
    const RBP: u8 = 6;
    const RSP: u8 = 7;

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first()?;
        let register = first.checked_sub(OP_BREG0)?;
        if register != Self::RBP && register != Self::RSP {
            return None;
        }
        let mut input = Slice::new(rest, LittleEndian);
        let n = gimli::Reader::read_sleb128(&mut input).ok()?;
        let m = match input.slice() {
            [OP_DEREF] => 0,
            [OP_DEREF, OP_PLUS_UCONST, plus @ ..] => {
                let mut plus = Slice::new(plus, LittleEndian);
                let m = gimli::Reader::read_uleb128(&mut plus).ok()?;
                plus.is_empty().then_some(m)?
            }
            _ => return None,
        };
        Some(Self { register, n, m })
    }
}
