//! From addresses to names: blazesym behind a cache, with a reason where there is no name.
//!
//! A [`Symbolizer`] keeps, for each program image that it has seen, its executable mappings and open descriptors of
//! the files in them. So names can be found after the process has exited, and for files that have been deleted.
//! An address becomes a (file, offset) by those mappings; blazesym names the offset through the descriptor.
//! All use of blazesym is in `names.rs`, and of demanglers in `demangle.rs`.

mod address;
mod cache;
mod demangle;
pub mod elsewhere;
mod image;
mod kernel;
mod module;
mod names;
mod perf_map;
mod symbolizer;
#[cfg(test)]
mod victims;

pub use address::{FrameAddress, frame_addresses};
pub use cache::SymbolCache;
pub use demangle::demangle;
pub use kernel::KernelSymbolizer;
pub use symbolizer::Symbolizer;

use std::path::PathBuf;

use crate::profile::{FrameKind, Missing};

/// One frame of a symbolized stack.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frame {
    /// What kind of code it is of.
    pub kind: FrameKind,
    /// The address as captured: a return address, so one past the call.
    pub address: u64,
    /// The function's demangled name; `None` where it is not known.
    pub symbol: Option<String>,
    /// Bytes from the function's start to `address`.
    pub offset: Option<u64>,
    /// Path of the mapped file, as the process sees it, or the mapping's name (`[heap]`, `[vdso]`).
    pub module: Option<PathBuf>,
    /// Offset of `address` in that file's own address space (what `addr2line` and `nm` print).
    pub module_offset: Option<u64>,
    /// Build id of the file, in hex.
    pub build_id: Option<String>,
    /// Source file, where debug information tells it.
    pub file: Option<PathBuf>,
    /// Line in that file.
    pub line: Option<u32>,
    /// The function was inlined into the next frame.
    pub inlined: bool,
    /// Why there is no `symbol`.
    pub missing: Option<Missing>,
}
