//! memlens: a system-wide memory allocation tracer for Linux, on eBPF.
//!
//! A trace is one or more [`sources`] that the [`engine`] drives. What it knows at one moment is a [`profile`]: one
//! value, which [`render`] writes in one format or another. [`commands`] put these together. Only [`bpf`] uses aya.

pub mod agent;
pub mod ahead;
pub mod analysis;
pub mod arch;
pub mod attach;
pub mod bpf;
pub mod cli;
pub mod commands;
pub mod doctor;
pub mod engine;
pub mod preflight;
pub mod process;
pub mod profile;
pub mod reach;
pub mod recording;
pub mod render;
pub mod runtime;
pub mod schema;
pub mod sources;
pub mod symbolize;
pub mod top;
pub mod unwind;
pub mod words;
