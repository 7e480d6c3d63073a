//! The step from a frame to its caller.

use super::{ENTRY, Registers, USER_END, is_code_address, is_plain, unsigned};
use crate::stack::{End, Memory};
use crate::unwind::{Kind, Position, Rule, Tables, end_of};

/// Whether the frame pointer can lead on; zero marks the outermost frame (AAPCS64, 6.4.6).
#[inline(always)]
const fn check_frame_pointer(registers: &Registers) -> Result<(), End> {
    let bp = registers.bp;
    if bp == 0 {
        return Err(End::Complete);
    }
    if bp < registers.sp || bp & 7 != 0 || bp >= USER_END {
        return Err(End::BadFramePointer);
    }
    Ok(())
}

/// Steps to the caller by the frame record: the caller's `x29` at `[x29]`, the return address at `[x29 + 8]`.
///
/// On success `registers` are the caller's, but for the stack pointer, which is somewhere above: a frame record may lie
/// anywhere in its frame. Otherwise they are as before. The frame pointer must not lie below the stack pointer, must be
/// aligned, and so the walk always moves up and ends.
#[inline(always)]
pub fn step_by_frame_pointer(
    registers: &mut Registers,
    memory: &mut impl Memory,
) -> Result<(), End> {
    check_frame_pointer(registers)?;
    let bp = registers.bp;
    let (Some(caller_bp), Some(link)) = (memory.read(bp), memory.read(bp + 8)) else {
        return Err(End::Unreadable);
    };
    let ip = unsigned(link);
    if ip == 0 {
        return Err(End::Complete);
    }
    if !is_code_address(ip) {
        return Err(End::BadReturnAddress);
    }
    *registers = Registers {
        ip,
        sp: bp + 16,
        bp: caller_bp,
        lr: 0,
    };
    Ok(())
}

/// Looks the frame's rule up and steps to its caller.
///
/// On success `registers` and `position` are the caller's, otherwise they are as before.
#[inline(always)]
pub fn unwind(
    registers: &mut Registers,
    position: &mut Position,
    tables: &mut impl Tables,
    memory: &mut impl Memory,
) -> Result<(), End> {
    let rule = if position.0 == Position::ENTRY.0 {
        ENTRY
    } else {
        tables.rule(position.lookup_address(registers.ip))
    };
    step(registers, position, rule, memory)
}

/// Steps to the caller by a rule.
///
/// On success `registers` and `position` are the caller's, otherwise they are as before. The stack pointer grows with
/// every step but two: over a function that has no frame, which only the innermost one can be, or one that a signal
/// interrupted; and over a signal frame, whose handler may have had a stack of its own (`sigaltstack`). A walk
/// therefore needs a limit of its own as well.
#[inline(always)]
pub fn step(
    registers: &mut Registers,
    position: &mut Position,
    rule: Rule,
    memory: &mut impl Memory,
) -> Result<(), End> {
    if is_plain(rule) {
        step_plain(registers, position, rule, memory)
    } else {
        step_rare(registers, position, rule, memory)
    }
}

/// The step by a rule that [is plain](is_plain), as nearly all are.
#[inline(always)]
pub fn step_plain(
    registers: &mut Registers,
    position: &mut Position,
    rule: Rule,
    memory: &mut impl Memory,
) -> Result<(), End> {
    let is_by_frame_pointer = rule.kind_number() == Kind::Fp as u32;
    if position.0 == Position::CALL_BY_FRAME_POINTER.0 && !is_by_frame_pointer {
        // The stack pointer is not known. A function that saves a frame record lets x29 point to it.
        if !rule.has_record() {
            return Err(End::BadFramePointer);
        }
        return step_by_frame_pointer(registers, memory);
    }
    let base = if is_by_frame_pointer {
        registers.bp
    } else {
        registers.sp
    };
    let cfa = base.wrapping_add(rule.offset());
    // Behind a call, of which the lowest bit tells, x30 is the callee's.
    let is_behind_call = position.0 & 1 != 0;
    if cfa < registers.sp
        || cfa == registers.sp && is_behind_call
        || cfa & 7 != 0
        || cfa >= USER_END
    {
        return Err(End::BadStackPointer);
    }
    let (bp_at, link_at) = (rule.frame_pointer_at(base, cfa), rule.link_at(base, cfa));
    // The lower address first: a reader that fetches upwards then has both at once.
    let mut bp = registers.bp;
    if bp_at != 0 {
        let Some(saved) = memory.read(bp_at) else {
            return Err(End::Unreadable);
        };
        bp = saved;
    }
    let mut link = registers.lr;
    if link_at != 0 {
        let Some(saved) = memory.read(link_at) else {
            return Err(End::Unreadable);
        };
        link = saved;
    } else if is_behind_call {
        return Err(End::BadReturnAddress);
    }
    let ip = unsigned(link);
    if !is_code_address(ip) {
        return Err(if ip == 0 {
            End::Complete
        } else {
            End::BadReturnAddress
        });
    }
    *registers = Registers {
        ip,
        sp: cfa,
        bp,
        lr: 0,
    };
    *position = Position::CALL;
    Ok(())
}

/// The step by any other rule.
#[inline(always)]
pub fn step_rare(
    registers: &mut Registers,
    position: &mut Position,
    rule: Rule,
    memory: &mut impl Memory,
) -> Result<(), End> {
    let kind = rule.kind_number();
    if kind == Kind::Signal as u32 {
        *registers = interrupted(registers.sp, memory)?;
        *position = Position::INSTRUCTION;
        return Ok(());
    }
    if kind != Kind::NoFde as u32 {
        return Err(end_of(kind));
    }
    // Zeros mark the outermost frame only where frame pointers are kept; elsewhere they are there by chance.
    let is_trusted = position.0 == Position::CALL_BY_FRAME_POINTER.0;
    if registers.bp == 0 && !is_trusted {
        return Err(End::BadFramePointer);
    }
    match step_by_frame_pointer(registers, memory) {
        Ok(()) => {
            *position = Position::CALL_BY_FRAME_POINTER;
            Ok(())
        }
        Err(End::Complete) if !is_trusted => Err(End::BadReturnAddress),
        Err(end) => Err(end),
    }
}

/// Offsets in `struct rt_sigframe` (Linux, arch/arm64/kernel/signal.c: 128 bytes of `siginfo`, then `ucontext`, whose
/// `mcontext` is at 176 and has `x0` at 8; arch/arm64/include/uapi/asm/sigcontext.h).
const SIGNAL_X0: u64 = 128 + 176 + 8;
const SIGNAL_BP: u64 = SIGNAL_X0 + 29 * 8;
const SIGNAL_LR: u64 = SIGNAL_X0 + 30 * 8;
const SIGNAL_SP: u64 = SIGNAL_X0 + 31 * 8;
const SIGNAL_IP: u64 = SIGNAL_X0 + 32 * 8;

/// The registers that a signal interrupted, from the frame at `sp`.
#[inline(always)]
fn interrupted(sp: u64, memory: &mut impl Memory) -> Result<Registers, End> {
    let (Some(bp), Some(lr), Some(caller_sp), Some(ip)) = (
        memory.read(sp.wrapping_add(SIGNAL_BP)),
        memory.read(sp.wrapping_add(SIGNAL_LR)),
        memory.read(sp.wrapping_add(SIGNAL_SP)),
        memory.read(sp.wrapping_add(SIGNAL_IP)),
    ) else {
        return Err(End::Unreadable);
    };
    if caller_sp & 7 != 0 || caller_sp >= USER_END {
        return Err(End::BadStackPointer);
    }
    if !is_code_address(ip) {
        return Err(End::BadReturnAddress);
    }
    Ok(Registers {
        ip,
        sp: caller_sp,
        bp,
        lr,
    })
}
