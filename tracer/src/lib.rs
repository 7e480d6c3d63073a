//! memlens: a system-wide memory allocation tracer for Linux, on eBPF.
//!
//! Data flows one way: targets are resolved to probe sites ([`attach`]), the one door to the kernel
//! ([`bpf`]) places the probes and hands back plain values, [`heap`] turns them into rows, [`symbolize`]
//! names their frames and [`report`] renders one value in several dresses. Only [`bpf`] uses aya.

pub mod attach;
pub mod bpf;
pub mod cli;
pub mod doctor;
pub mod explain;
pub mod guard;
pub mod heap;
pub mod host;
pub mod preflight;
pub mod process;
pub mod profile;
pub mod report;
pub mod session;
pub mod space;
pub mod symbolize;
pub mod unwind;
