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

/// What user space has written there. Volatile, because the compiler must not believe the value above; the verifier knows
/// the value that user space froze, and drops the branches that it rules out.
#[inline(always)]
pub fn frozen<T: Copy>(field: &'static T) -> T {
    // SAFETY: a reference is valid and aligned.
    unsafe { core::ptr::read_volatile(field) }
}
