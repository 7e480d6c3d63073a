//! The step from a frame to its caller.

use super::{ENTRY, Registers, USER_END, is_code_address, is_plain};
use crate::runtime::hotspot;
use crate::stack::{End, Memory};
use crate::unwind::{Kind, Position, Rule, Tables, end_of};

/// Whether the frame pointer can lead on; zero marks the outermost frame (x86-64 psABI, 3.4.1).
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

/// Steps to the caller by the frame pointer: saved `rbp` at `[rbp]`, return address at `[rbp + 8]`.
///
/// On success `registers` are the caller's, otherwise they are as before. The frame pointer must not lie
/// below the stack pointer, must be aligned, and so the walk always moves up and ends.
#[inline(always)]
pub fn step_by_frame_pointer(
    registers: &mut Registers,
    memory: &mut impl Memory,
) -> Result<(), End> {
    check_frame_pointer(registers)?;
    let bp = registers.bp;
    let (Some(ip), Some(caller_bp)) = (memory.read(bp + 8), memory.read(bp)) else {
        return Err(End::Unreadable);
    };
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

/// Where a frame's caller is to be found.
struct Caller {
    /// Stack pointer of the caller.
    sp: u64,
    /// Address of the return address.
    ip_at: u64,
    /// Address of the caller's `rbp`; 0 if it is unchanged.
    bp_at: u64,
}

/// Steps to the caller by a rule.
///
/// On success `registers` and `position` are the caller's, otherwise they are as before. The stack
/// pointer grows with every step but that over a signal frame, whose handler may have had a stack of
/// its own (`sigaltstack`); a walk therefore needs a limit of its own as well.
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
    let base = if rule.kind_number() == Kind::Rbp as u32 {
        registers.bp
    } else {
        registers.sp
    };
    let cfa = base.wrapping_add(rule.cfa_offset());
    let caller = Caller {
        sp: cfa,
        ip_at: cfa.wrapping_sub(8),
        bp_at: saved_bp(cfa, rule),
    };
    if caller.sp <= registers.sp {
        return Err(End::BadStackPointer);
    }
    let found = read_caller(registers, &caller, memory)?;
    if !is_code_address(found.ip) {
        return Err(if found.ip == 0 {
            End::Complete
        } else {
            End::BadReturnAddress
        });
    }
    *registers = found;
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
    let caller = locate(registers, *position, rule, memory)?;
    let is_signal = rule.kind_number() == Kind::Signal as u32;
    let is_guess = rule.kind_number() == Kind::NoFde as u32;
    if caller.sp <= registers.sp && !is_signal {
        return Err(End::BadStackPointer);
    }
    let found = read_caller(registers, &caller, memory)?;
    if !is_code_address(found.ip) {
        // An interrupted call through a null pointer is no outermost frame, nor is a zero found by a register that
        // happens to hold some address in the stack.
        let is_trusted = !is_guess || position.0 == Position::CALL_BY_FRAME_POINTER.0;
        return Err(if found.ip == 0 && !is_signal && is_trusted {
            End::Complete
        } else {
            End::BadReturnAddress
        });
    }
    *registers = found;
    *position = if is_signal {
        Position::INSTRUCTION
    } else if is_guess {
        Position::CALL_BY_FRAME_POINTER
    } else {
        Position::CALL
    };
    Ok(())
}

/// Reads the caller's registers; the instruction pointer may be anything.
#[inline(always)]
fn read_caller(
    registers: &Registers,
    caller: &Caller,
    memory: &mut impl Memory,
) -> Result<Registers, End> {
    if caller.sp & 7 != 0 || caller.sp >= USER_END {
        return Err(End::BadStackPointer);
    }
    // The lower address first: a reader that fetches upwards then has both at once.
    let mut bp = registers.bp;
    if caller.bp_at != 0 {
        let Some(saved) = memory.read(caller.bp_at) else {
            return Err(End::Unreadable);
        };
        bp = saved;
    }
    let Some(ip) = memory.read(caller.ip_at) else {
        return Err(End::Unreadable);
    };
    Ok(Registers {
        ip,
        sp: caller.sp,
        bp,
    })
}

/// Where a rule says that the caller's `rbp` is; 0 if it is unchanged.
#[inline(always)]
const fn saved_bp(cfa: u64, rule: Rule) -> u64 {
    match rule.rbp_below() {
        0 => 0,
        below => cfa.wrapping_sub(below),
    }
}

/// Offsets in `struct rt_sigframe` from the stack pointer that the handler's return leaves
/// (Linux, arch/x86/include/uapi/asm/sigcontext.h: `ucontext` at 0, its `mcontext` at 40).
const SIGNAL_BP: u64 = 120;
const SIGNAL_SP: u64 = 160;
const SIGNAL_IP: u64 = 168;

/// Where the caller is, by a rule that is not plain.
#[inline(always)]
fn locate(
    registers: &Registers,
    position: Position,
    rule: Rule,
    memory: &mut impl Memory,
) -> Result<Caller, End> {
    let (sp, bp) = (registers.sp, registers.bp);
    let kind = rule.kind_number();
    if kind == Kind::NoFde as u32 {
        // Zero marks the outermost frame only where frame pointers are kept; elsewhere rbp may hold a zero by chance.
        if bp == 0 && position.0 != Position::CALL_BY_FRAME_POINTER.0 {
            return Err(End::BadFramePointer);
        }
        check_frame_pointer(registers)?;
        return Ok(Caller {
            sp: bp.wrapping_add(16),
            ip_at: bp.wrapping_add(8),
            bp_at: bp,
        });
    }
    let cfa = if kind == Kind::Plt as u32 {
        let pushed = (registers.ip & 15 >= rule.plt_threshold()) as u64;
        sp.wrapping_add(8 + pushed * 8)
    } else {
        // One place for all kinds that read the CFA from memory: a read is the dearest thing to verify.
        let (at, plus) = if kind == Kind::DerefRsp as u32 {
            (sp.wrapping_add(rule.deref_offset()), rule.deref_plus())
        } else if kind == Kind::DerefRbp as u32 {
            (bp.wrapping_add(rule.deref_offset()), rule.deref_plus())
        } else if kind == Kind::Interpreted as u32 {
            check_frame_pointer(registers)?;
            (bp.wrapping_sub(hotspot::SENDER_SP), 0)
        } else if kind == Kind::Signal as u32 {
            (sp.wrapping_add(SIGNAL_SP), 0)
        } else {
            return Err(end_of(kind));
        };
        let Some(value) = memory.read(at) else {
            return Err(End::Unreadable);
        };
        value.wrapping_add(plus)
    };
    if kind == Kind::Signal as u32 {
        return Ok(Caller {
            sp: cfa,
            ip_at: sp.wrapping_add(SIGNAL_IP),
            bp_at: sp.wrapping_add(SIGNAL_BP),
        });
    }
    if kind == Kind::Interpreted as u32 {
        return Ok(Caller {
            sp: cfa,
            ip_at: bp.wrapping_add(8),
            bp_at: bp,
        });
    }
    let bp_at = if kind == Kind::DerefRbp as u32 {
        bp
    } else {
        saved_bp(cfa, rule)
    };
    Ok(Caller {
        sp: cfa,
        ip_at: cfa.wrapping_sub(8),
        bp_at,
    })
}
