//! x86-64: instructions of one to fifteen bytes, read by iced.

#[cfg(target_arch = "x86_64")]
mod calibration;
mod decode;
mod emulated;
mod exits;
mod flow;
mod outermost;
mod rules;
mod sites;

#[cfg(target_arch = "x86_64")]
pub use calibration::calibration_site;
pub use rules::translate;

use crate::arch::instructions::instructions_of_modules;
use crate::attach::exits::{ExitError, Search};
use crate::attach::flow::Branch;
use crate::attach::sites::{Needs, Site, SiteError};

instructions_of_modules!();
