//! Where the probes go: bytes of an ELF file in, decisions as plain data out. No system calls here.
//!
//! The way through the room: [`symbols`] reads what an object defines, [`functions`] knows which
//! names are allocator functions and how they are called, [`sites`] says what must hold where a probe
//! sits, [`exits`] finds the `ret` instructions of functions on which a return probe is forbidden,
//! [`flow`] follows jumps from one function to another, [`wrappers`] and [`allocator`] tell which
//! functions and objects matter, and [`plan`] joins it all into one answer per object. What
//! instructions mean is told by [`crate::arch`].

pub mod allocator;
pub mod exits;
pub mod flow;
pub mod functions;
pub mod loader;
pub mod plan;
pub mod sites;
pub mod symbols;
pub mod wrappers;
