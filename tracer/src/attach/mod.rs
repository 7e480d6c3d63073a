//! Where the probes go: bytes of an ELF file in, decisions as plain data out. No system calls here.
//!
//! The way through the room: [`symbols`] reads what an object defines, [`functions`] knows which
//! names are allocator functions and how they are called, [`sites`] picks the instruction that a
//! probe sits on (with [`emulated`] for what the kernel does cheaply), [`exits`] finds the `ret`
//! instructions of functions on which a return probe is forbidden, [`flow`] follows jumps from one
//! function to another, [`wrappers`] and [`allocator`] tell which functions and objects matter, and
//! [`plan`] joins it all into one answer per object. x86-64 only.

pub mod allocator;
pub mod emulated;
pub mod exits;
pub mod flow;
pub mod functions;
pub mod loader;
pub mod plan;
pub mod sites;
pub mod symbols;
pub mod wrappers;
