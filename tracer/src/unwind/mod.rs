//! Unwind tables: a file's call frame information as rows that the kernel can search. Pure, no I/O.
//!
//! [`build`] turns an ELF image into a [`Table`], [`mappings`] places the tables of a process's files at
//! their addresses, and [`Arrays`] holds both as the kernel does, to walk a stack with the kernel's step.

mod arrays;
mod build;
mod elf;
mod entries;
mod error;
mod mappings;
mod merged;
mod regions;
mod size;
mod table;

pub use arrays::{Arrays, walk};
pub use build::{build, build_for, table_of};
pub use elf::Segment;
pub use error::TableError;
pub use mappings::{Code, mappings};
pub use regions::Regions;
pub use size::{Size, estimate};
pub use table::{Damage, Reason, Stats, Table};

#[cfg(all(test, target_arch = "x86_64"))]
mod damage_tests;
#[cfg(test)]
mod mappings_tests;
#[cfg(all(test, target_arch = "x86_64"))]
mod own_stack;
#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
