//! Which instruction of a function a probe sits on: the cheapest one that sees what the entry sees.
//!
//! A probe on an instruction that the kernel simulates costs one trap, on any other a second one (see
//! [`super::emulated`]). So the straight line from the entry, which every call takes, is walked to the first simulated
//! instruction where the arguments are still in their registers. A return probe replaces what the link register holds,
//! so that has to be the return address still, without an authentication code.

use std::collections::BTreeSet;

use tracer_common::call::Arg;

use super::decode::{Flow, Instruction, LINK, STACK_POINTER, instructions};
use super::emulated::{Handling, handling};
use crate::arch::Arch;
use crate::attach::sites::{ARGUMENTS, Needs, Site, SiteError, Speed};

/// Chooses the site in a function whose whole body is `code`.
pub fn choose_site(code: &[u8], needs: Needs) -> Result<Site, SiteError> {
    let jumped_to = jump_targets(code);
    match walk(code, needs, &jumped_to) {
        Ok(site) => Ok(site),
        Err(obstacle) => entry(code, jumped_to.contains(&0), obstacle),
    }
}

/// The entry as the site, for the reason `why` that nothing better serves.
pub fn entry_site(code: &[u8], why: String) -> Result<Site, SiteError> {
    entry(code, jump_targets(code).contains(&0), why)
}

fn entry(code: &[u8], repeats: bool, why: String) -> Result<Site, SiteError> {
    let first = instructions(code, 0).next();
    let first = first.ok_or(SiteError::Undecodable(Arch::Aarch64))?;
    let speed = match handling(first) {
        Handling::Refused => return Err(SiteError::Refused(first.text())),
        Handling::Stepped => Speed::Slow,
        Handling::Emulated => Speed::Fast,
    };
    Ok(Site {
        offset: 0,
        instruction: first.text(),
        speed,
        repeats,
        arguments: ARGUMENTS,
        why,
    })
}

/// Walks the straight line. `Err` holds the obstacle that ended it, as a clause.
fn walk(code: &[u8], needs: Needs, jumped_to: &BTreeSet<u64>) -> Result<Site, String> {
    let mut places = Places::at_entry();
    for instruction in instructions(code, 0) {
        let at = instruction.at;
        if at > 0 && jumped_to.contains(&at) {
            return Err(format!(
                "a jump leads to +{at:#x}, before any emulated instruction"
            ));
        }
        let Some(arguments) = places.find(needs) else {
            let before = Instruction {
                at: at - super::decode::LENGTH,
                word: word_at(code, at - super::decode::LENGTH),
            };
            return Err(format!(
                "{} at +{:#x} overwrites what is needed, before any emulated instruction",
                before.text(),
                before.at
            ));
        };
        if handling(instruction) == Handling::Emulated {
            return Ok(Site {
                offset: at as u32,
                instruction: instruction.text(),
                speed: Speed::Fast,
                repeats: jumped_to.contains(&0),
                arguments,
                why: reason(at, arguments),
            });
        }
        if instruction.flow() != Flow::Next {
            return Err(format!(
                "the straight line ends with {} at +{at:#x}, before any emulated instruction",
                instruction.text()
            ));
        }
        places.follow(instruction);
    }
    Err("the function ends before any emulated instruction".to_owned())
}

fn word_at(code: &[u8], at: u64) -> u32 {
    let rest = code.get(at as usize..).unwrap_or_default();
    rest.first_chunk()
        .map_or(0, |word| u32::from_le_bytes(*word))
}

fn reason(at: u64, arguments: [Arg; 4]) -> String {
    let what = match at {
        0 => "the entry itself is emulated",
        _ => "the first emulated instruction",
    };
    let moved = ARGUMENTS
        .into_iter()
        .filter(|arg| arguments[*arg as usize] != *arg)
        .map(|arg| {
            let to = arguments[arg as usize] as u8;
            format!(", with the argument of x{} in x{to}", arg as u8)
        });
    std::iter::once(what.to_owned()).chain(moved).collect()
}

/// Where the entry's values are while the code moves them about.
struct Places {
    /// Per argument, a bit for each of the general registers that holds it. Arguments come in `x0` to `x3`.
    arguments: [u32; 4],
    /// The stack pointer and the link register are what they were.
    return_address: bool,
}

impl Places {
    fn at_entry() -> Self {
        Self {
            arguments: [1, 2, 4, 8],
            return_address: true,
        }
    }

    /// The register of each argument, if every need holds. One that is not needed counts as in its own.
    fn find(&self, needs: Needs) -> Option<[Arg; 4]> {
        if needs.stack_pointer && !self.return_address {
            return None;
        }
        let mut found = ARGUMENTS;
        for arg in ARGUMENTS
            .into_iter()
            .filter(|arg| needs.arguments[*arg as usize])
        {
            let holds = |place: &Arg| self.arguments[arg as usize] & 1 << (*place as u8) != 0;
            found[arg as usize] = std::iter::once(arg).chain(ARGUMENTS).find(holds)?;
        }
        Some(found)
    }

    /// Takes an instruction's writes into account. A copy of a whole register makes one more place.
    fn follow(&mut self, instruction: Instruction) {
        let written = instruction.written();
        let source = instruction.copy().map_or(0, |(_, from)| 1u32 << from);
        for places in &mut self.arguments {
            let is_copied = *places & source != 0;
            *places &= !written;
            if is_copied {
                *places |= written;
            }
        }
        self.return_address &= written & (1 << STACK_POINTER | 1 << LINK) == 0;
    }
}

/// The offsets in `code` that a jump in it leads to. Calls are no jumps: they are new calls.
fn jump_targets(code: &[u8]) -> BTreeSet<u64> {
    super::flow::jumps(0, code)
        .into_iter()
        .filter(|target| *target < code.len() as u64)
        .collect()
}

#[cfg(test)]
mod tests;
