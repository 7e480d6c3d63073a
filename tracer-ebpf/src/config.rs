//! The trace's constants, written by user space before the programs are loaded.

use crate::Config;

// SAFETY: integers, for which zero is a value.
#[unsafe(no_mangle)]
pub static CONFIG: Config = unsafe { core::mem::zeroed() };

/// Reads a field of [`CONFIG`]: `config!(trace)`, `config!(offsets.task_mm)`.
macro_rules! config {
    ($($field:ident).+) => {
        $crate::config::frozen(&$crate::config::CONFIG.$($field).+)
    };
}

pub(crate) use config;

/// The value that user space has written there. The read is volatile because the compiler must not use the zero above.
/// The verifier knows the frozen value, and drops the branches that it rules out.
#[inline(always)]
pub fn frozen<T: Copy>(field: &'static T) -> T {
    // SAFETY: a reference is valid and aligned.
    unsafe { core::ptr::read_volatile(field) }
}
