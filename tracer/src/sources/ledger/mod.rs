//! The ledger of one process: every mapping in one row, its allocators' heaps and its language runtimes.
//!
//! [`gather`] looks at a process, without stopping it. What interprets memory ([`glibc`], [`runtime`], [`stacks`]) is
//! generic over how memory is read, so it is tested on made-up images.

pub mod allocators;
pub mod gather;
pub mod glibc;
pub mod huge;
pub mod in_use;
pub mod managed;
pub mod memory;
pub mod native;
pub mod reach;
pub mod rows;
pub mod runtime;
pub mod stacks;
pub mod symbols;
mod tcmalloc;

pub use allocators::FoundAllocator;
pub use gather::{LookError, find, look};
