//! `memlens explain` against victims that know their own heap, and against real programs.

#[path = "explain/heaps.rs"]
mod heaps;
#[path = "explain/programs.rs"]
mod programs;
#[path = "explain/refusals.rs"]
mod refusals;
