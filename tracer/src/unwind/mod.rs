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
mod outermost;
mod regions;
mod rules;
mod size;
mod table;

pub use arrays::{Arrays, walk};
pub use build::{build, table_of};
pub use elf::Segment;
pub use error::TableError;
pub use mappings::{Code, mappings};
pub use regions::Regions;
pub use size::{Size, estimate};
pub use table::{Damage, Reason, Stats, Table};

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod mappings_tests;
#[cfg(test)]
mod own_stack;
#[cfg(test)]
mod tests;
