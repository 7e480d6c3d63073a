//! Why a file has no unwind table.

use crate::arch::Arch;

/// Why a file has no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The file has no call frame information; its code is walked by frame pointers.
    #[error("no .eh_frame: built without unwind tables")]
    NoFrameInformation,
    /// No executable segment.
    #[error("no executable segment")]
    NoCode,
    /// For another processor.
    #[error("not for {arch} (ELF machine {machine})")]
    Machine {
        /// The processor that it should be for.
        arch: Arch,
        /// `e_machine`.
        machine: u16,
    },
    /// The executable segments lie further apart than a table reaches.
    #[error("executable segments span {span:#x} bytes, more than a table covers")]
    TooLarge {
        /// From the first byte to the last.
        span: u64,
    },
    /// A part of the file cannot be read.
    #[error("{what} at file offset {offset:#x} cannot be read: {error}")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// Where it is.
        offset: u64,
        /// What is wrong.
        error: String,
    },
}
