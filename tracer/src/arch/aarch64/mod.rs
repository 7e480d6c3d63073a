//! aarch64: instructions of four bytes, whose classes are told by a table of our own.
//!
//! The questions that are asked of them need classes, registers that are written, and branch targets, all of which are
//! at fixed places of a word (Arm Architecture Reference Manual, C4.1): the table is shorter than what a disassembler's
//! answers would have to be translated with.

#[cfg(target_arch = "aarch64")]
mod calibration;
mod decode;
mod emulated;
mod exits;
mod flow;
mod outermost;
mod rules;
mod sites;

#[cfg(target_arch = "aarch64")]
pub use calibration::calibration_site;
pub use rules::translate;

use crate::arch::instructions::instructions_of_modules;
use crate::attach::exits::{ExitError, Search};
use crate::attach::flow::Branch;
use crate::attach::sites::{Needs, Site, SiteError};

instructions_of_modules!();
