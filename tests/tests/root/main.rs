//! End-to-end tests that load BPF programs: root only, one at a time (`cargo xtask test`).

mod accounting;
mod address_space;
mod address_space_host;
mod address_space_programs;
mod admission;
mod allocators;
mod diagnostics;
mod events;
mod examples;
mod explain;
mod fault_injection;
mod filters;
mod host;
mod kernel;
mod lifecycle;
mod losses;
mod methods;
mod outputs;
mod page_faults;
mod programs;
mod refusals;
mod stacks;
mod targets;
mod unwinding;
mod verifier;
