//! A live process as what is judged: its memory, its threads, what the kernel keeps for it, what its places are called.

mod kernel;
mod modules;
mod names;
mod older;
mod target;
mod threads;

pub use names::Names;
pub use older::{GlibcBlocks, OlderBlocks, glibc_blocks};
pub use target::{NewerBlocks, ProcessTarget, Refusal};
