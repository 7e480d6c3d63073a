//! `memlens explain`: where the memory of one process is.
//!
//! [`gather`] looks at a process, without stopping it, and makes a plain value ([`value::Explanation`]) that [`text`] and
//! [`json`] dress and [`diff`] compares. What interprets memory ([`glibc`], [`runtime`], [`stacks`]) is generic over
//! how memory is read, so it is tested on made-up images.

pub mod allocators;
pub mod diff;
pub mod gather;
pub mod glibc;
pub mod growth;
pub mod huge;
pub mod json;
pub mod kind;
pub mod ledger;
pub mod managed;
pub mod memory;
mod native;
pub mod runtime;
pub mod stacks;
pub mod symbols;
mod table;
mod tcmalloc;
pub mod text;
pub mod value;
pub mod words;

pub use gather::{ExplainError, FoundAllocator, explain};
pub use value::Explanation;
