//! Reachability: which blocks of a live process something still points to, read from outside while the process goes on.

pub mod filter;
pub mod fold;
pub mod graph;
pub mod holders;
pub mod huge;
pub mod index;
pub mod judge;
pub mod lost;
pub mod outcome;
pub mod parts;
pub mod passes;
pub mod process;
pub mod scan;
