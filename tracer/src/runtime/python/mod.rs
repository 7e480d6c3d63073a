//! CPython: which version a file is, where it keeps what, and how its tables of lines are read.

pub mod build;
mod debug_offsets;
pub mod lines;
mod loops;
mod versions;

pub use self::build::{Build, inspect};
