//! Why a process cannot be probed.

use std::path::PathBuf;

use crate::arch::Arch;
use crate::attach::symbols::ObjectError;
use crate::bpf::ProbeError;
use crate::process::ProcessError;
use crate::process::files::FileError;

/// Why a process could not be probed.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Its maps or files could not be read.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file that the user named could not be opened.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel refused a probe.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A file that the user named is of no use.
    #[error("cannot use {}: {source}; name an {arch} ELF file that holds an allocator", path.display(), arch = Arch::HOST)]
    Object {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ObjectError,
    },
    /// The file that the user named is not mapped by the process.
    #[error("process {pid} has not mapped {}; see /proc/{pid}/maps for what it has", path.display())]
    NotMapped {
        /// The process.
        pid: u32,
        /// The file.
        path: PathBuf,
    },
    /// The file that the user named is not one of those that the command begins with.
    #[error(
        "the command does not load {} when it starts; name one of the files that `ldd` shows for it, or the program",
        path.display()
    )]
    NotLoaded {
        /// The file.
        path: PathBuf,
    },
    /// Nothing to probe.
    #[error("no allocator function (malloc, free and their kin) found in {place}{hint}")]
    NoAllocator {
        /// Where was looked.
        place: String,
        /// What may help.
        hint: &'static str,
    },
}
