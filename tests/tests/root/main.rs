//! End-to-end tests that load BPF programs: root only, one at a time (`cargo xtask test`).

mod accounting;
mod admission;
mod allocators;
mod diagnostics;
mod events;
mod explain;
mod faults;
mod faults_vm;
mod filters;
mod host;
mod kernel;
mod lifecycle;
mod losses;
mod methods;
mod outputs;
mod programs;
mod refusals;
mod space;
mod space_host;
mod space_programs;
mod stacks;
mod targets;
mod unwinding;
mod verifier;
