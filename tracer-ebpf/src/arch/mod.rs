//! What differs between processors: the registers that programs are given, where a call keeps its return address, and
//! the order in which other CPUs see what one writes. Each architecture has a file with the same functions.

pub mod order;

#[cfg(feature = "aarch64")]
mod aarch64;
#[cfg(not(feature = "aarch64"))]
mod x86_64;

#[cfg(feature = "aarch64")]
pub use aarch64::*;
#[cfg(not(feature = "aarch64"))]
pub use x86_64::*;
