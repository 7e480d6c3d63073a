//! Which instruction of a function a probe sits on: the cheapest one that sees what the entry sees.
//!
//! A probe on an instruction that the kernel emulates costs one trap, on any other a second one (see
//! [`super::emulated`]). So the straight line from the entry, which every call takes, is walked to
//! the first emulated instruction where the arguments are still in their registers.

use std::collections::BTreeSet;

use iced_x86::{
    Code, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register,
    UsedRegister,
};
use tracer_common::call::Arg;

use super::decode::{decoder, text};
use super::emulated::{Handling, handling};
use crate::arch::Arch;
use crate::attach::sites::{ARGUMENTS, Needs, Site, SiteError, Speed};

/// Chooses the site in a function whose whole body is `code`.
pub fn choose_site(code: &[u8], needs: Needs) -> Result<Site, SiteError> {
    let jumped_to = jump_targets(code);
    let mut fallback = None;
    let obstacle = match walk(code, needs, &jumped_to, &mut fallback) {
        Ok(site) => return Ok(site),
        Err(obstacle) => obstacle,
    };
    match fallback {
        Some(site) => Ok(site),
        None => entry(code, jumped_to.contains(&0), obstacle),
    }
}

/// The entry as the site, for the reason `why` that nothing better serves.
pub fn entry_site(code: &[u8], why: String) -> Result<Site, SiteError> {
    entry(code, jump_targets(code).contains(&0), why)
}

fn entry(code: &[u8], repeats: bool, why: String) -> Result<Site, SiteError> {
    let first = decoder(code, 0).iter().next().unwrap_or_default();
    if first.is_invalid() {
        return Err(SiteError::Undecodable(Arch::X86_64));
    }
    let speed = match handling(&code[..first.len()]) {
        Handling::Refused => return Err(SiteError::Refused(text(&first))),
        Handling::Stepped => Speed::Slow,
        Handling::Emulated | Handling::EmulatedLately => Speed::Fast,
    };
    Ok(Site {
        offset: 0,
        instruction: text(&first),
        speed,
        repeats,
        arguments: ARGUMENTS,
        why,
    })
}

/// Walks the straight line. `Err` holds the obstacle that ended it, as a clause. A nop that only
/// newer kernels emulate goes to `fallback`, for use where nothing better follows.
fn walk(
    code: &[u8],
    needs: Needs,
    jumped_to: &BTreeSet<u64>,
    fallback: &mut Option<Site>,
) -> Result<Site, String> {
    let mut info = InstructionInfoFactory::new();
    let mut places = Places::at_entry();
    let mut lost = None;
    let mut stored = false;
    for instruction in &mut decoder(code, 0) {
        let at = instruction.ip();
        if instruction.is_invalid() {
            return Err(format!("the bytes at +{at:#x} are not an instruction"));
        }
        if at > 0 && jumped_to.contains(&at) {
            return Err(lost.unwrap_or_else(|| {
                format!("a jump leads to +{at:#x}, before any emulated instruction")
            }));
        }
        let handling = handling(&code[at as usize..at as usize + instruction.len()]);
        let long_nop = handling == Handling::EmulatedLately && fallback.is_none() && !stored;
        if let Some(arguments) = places.find(needs)
            && (handling == Handling::Emulated || long_nop)
        {
            let site = Site {
                offset: at as u32,
                instruction: text(&instruction),
                speed: Speed::Fast,
                repeats: jumped_to.contains(&0),
                arguments,
                why: reason(at, arguments, long_nop),
            };
            if !long_nop {
                return Ok(site);
            }
            *fallback = Some(site);
        }
        if instruction.flow_control() != FlowControl::Next {
            return Err(lost.unwrap_or_else(|| {
                format!(
                    "the straight line ends with {} at +{at:#x}, before any emulated instruction",
                    text(&instruction)
                )
            }));
        }
        let effects = info.info(&instruction);
        places.follow(&instruction, effects.used_registers());
        if lost.is_none() && places.find(needs).is_none() {
            lost = Some(format!(
                "{} at +{at:#x} overwrites what is needed, before any emulated instruction",
                text(&instruction)
            ));
        }
        // Newer kernels turn a five-byte nop into a call, which overwrites the red zone below the
        // stack pointer; before the first store nothing can be there.
        stored |= effects
            .used_memory()
            .iter()
            .any(|used| writes(used.access()));
    }
    Err(lost.unwrap_or_else(|| "the function ends before any emulated instruction".to_owned()))
}

fn reason(at: u64, arguments: [Arg; 4], long_nop: bool) -> String {
    let what = match (at, long_nop) {
        (_, true) => "this nop is emulated since linux 6.16",
        (0, _) => "the entry itself is emulated",
        _ => "the first emulated instruction",
    };
    let moved = ARGUMENTS
        .into_iter()
        .filter(|arg| arguments[*arg as usize] != *arg)
        .map(|arg| {
            let (from, to) = (
                REGISTERS[arg as usize],
                REGISTERS[arguments[arg as usize] as usize],
            );
            format!(", with the argument of {from:?} in {to:?}").to_lowercase()
        });
    std::iter::once(what.to_owned()).chain(moved).collect()
}

/// The register of each of [`ARGUMENTS`].
const REGISTERS: [Register; 4] = [Register::RDI, Register::RSI, Register::RDX, Register::RCX];

/// Where the entry's values are while the code moves them about.
struct Places {
    /// Per argument, a bit for each of the sixteen general registers that holds it.
    arguments: [u16; 4],
    /// `rsp` is what it was.
    stack_pointer: bool,
}

impl Places {
    fn at_entry() -> Self {
        Self {
            arguments: REGISTERS.map(bit),
            stack_pointer: true,
        }
    }

    /// The register of each argument, if every need holds. One that is not needed counts as in its own.
    fn find(&self, needs: Needs) -> Option<[Arg; 4]> {
        if needs.stack_pointer && !self.stack_pointer {
            return None;
        }
        let mut found = ARGUMENTS;
        for arg in ARGUMENTS
            .into_iter()
            .filter(|arg| needs.arguments[*arg as usize])
        {
            let holds =
                |place: &Arg| self.arguments[arg as usize] & bit(REGISTERS[*place as usize]) != 0;
            let place = std::iter::once(arg).chain(ARGUMENTS).find(holds)?;
            found[arg as usize] = place;
        }
        Some(found)
    }

    /// Takes an instruction's writes into account. A copy of a whole register makes one more place.
    fn follow(&mut self, instruction: &Instruction, used: &[UsedRegister]) {
        let copied = matches!(instruction.code(), Code::Mov_r64_rm64 | Code::Mov_rm64_r64)
            && instruction.op1_kind() == OpKind::Register
            && instruction.op0_kind() == OpKind::Register;
        let source = if copied {
            bit(instruction.op1_register())
        } else {
            0
        };
        let copies = self.arguments.map(|places| places & source != 0);
        let written = used
            .iter()
            .filter(|used| writes(used.access()))
            .fold(0, |bits, used| bits | bit(used.register().full_register()));
        for (places, copied) in self.arguments.iter_mut().zip(copies) {
            *places &= !written;
            if copied {
                *places |= written;
            }
        }
        self.stack_pointer &= written & bit(Register::RSP) == 0;
    }
}

/// The bit of a 64-bit general register; none for other registers.
fn bit(register: Register) -> u16 {
    if register.is_gpr64() {
        1 << register.number()
    } else {
        0
    }
}

fn writes(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// The offsets in `code` that a jump in it leads to. Calls are no jumps: they are new calls.
fn jump_targets(code: &[u8]) -> BTreeSet<u64> {
    decoder(code, 0)
        .iter()
        .filter(|instruction| {
            matches!(
                instruction.flow_control(),
                FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
            )
        })
        .map(|instruction| instruction.near_branch_target())
        .filter(|target| *target < code.len() as u64)
        .collect()
}

#[cfg(test)]
mod allocators;
#[cfg(test)]
mod tests;
