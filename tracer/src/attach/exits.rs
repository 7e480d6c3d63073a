//! The `ret` instructions through which a function returns.
//!
//! A return probe replaces the return address on the stack, which breaks the unwinding of an
//! exception. So the return of a function that may throw is seen by probes on its `ret`
//! instructions instead: there the stack pointer is again what it was at the entry. How an
//! architecture's code is read is told by its own `exits` ([`crate::arch`]).

use std::collections::BTreeSet;

use super::flow::Destination;
use crate::arch::Arch;

/// The most code that is searched, in bytes: over all pieces that one function's jumps lead to.
const MOST_CODE: usize = 64 << 10;
/// The most returns that are worth a probe each.
const MOST_RETURNS: usize = 64;

/// Why the returns of a function cannot all be found. The addresses are as linked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExitError {
    /// It ends with a jump through a pointer, which may lead anywhere.
    #[error("it jumps through a pointer at {0:#x}, so its returns cannot be found")]
    Pointer(u64),
    /// It ends in a function of another object.
    #[error("it ends in {0} of another object, so its returns cannot be found")]
    OtherObject(String),
    /// It jumps to where the file has no code.
    #[error("it jumps to {0:#x}, where the file has no code")]
    NoCode(u64),
    /// It returns by an instruction on which the kernel puts no probe.
    #[error("the kernel refuses probes on its return at {0:#x}")]
    Refused(u64),
    /// Its jumps lead through more code, or to more returns, than is sensible.
    #[error("its jumps lead through too much code to probe its returns")]
    TooMuch,
    /// No return was found: it never returns, or the code is not understood.
    #[error("it has no return instruction")]
    NoReturn,
}

/// All `ret` instructions that a call of the function at `entry` may end with, as linked addresses.
///
/// `piece` hands out the piece of code around an address, with its start: a function, or a part of
/// one that the compiler put elsewhere. `resolve` follows linkage stubs. Every `ret` of a piece
/// counts, reached or not: one too many is harmless, since the stack pointer of the pending call
/// does not match there.
pub fn returns<'a>(
    arch: Arch,
    entry: u64,
    piece: impl Fn(u64) -> Option<(u64, &'a [u8])>,
    resolve: impl Fn(u64) -> Destination,
) -> Result<Vec<u64>, ExitError> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![entry];
    let mut searched = 0;
    while let Some(target) = open.pop() {
        let (start, code) = piece(target).ok_or(ExitError::NoCode(target))?;
        if !seen.insert(start) {
            continue;
        }
        searched += code.len();
        let search = arch.instructions().search(start, code)?;
        found.extend(search.returns);
        if searched > MOST_CODE || found.len() > MOST_RETURNS {
            return Err(ExitError::TooMuch);
        }
        for target in search.leaves_to {
            match resolve(target) {
                Destination::Local(target) => open.push(target),
                Destination::Import(name) => return Err(ExitError::OtherObject(name)),
            }
        }
    }
    if found.is_empty() {
        return Err(ExitError::NoReturn);
    }
    Ok(found.into_iter().collect())
}

/// What one piece of code shows.
#[derive(Debug, Default)]
pub struct Search {
    /// Its `ret` instructions.
    pub returns: Vec<u64>,
    /// Where its jumps out of it lead, and where it runs on.
    pub leaves_to: Vec<u64>,
}
