//! One run of the program: resolve targets, place probes, gather, report, leave.

mod attach;
mod coverage;
pub mod demo;
mod diagnose;
mod error;
mod explain;
mod floor;
mod host;
mod identities;
mod interrupt;
mod kernel;
mod leaks;
mod output;
mod over;
mod population;
mod progress;
mod start;
mod target;
mod ticks;
mod trace;
mod unwind;
mod vm;
mod watch;

use anyhow::Result;

use crate::cli::{Command, EXIT_FAILED, Invocation, command_line};
use crate::preflight::{self, Facts, Purpose};

pub use attach::{ProbedFile, Prober, probes};

/// Runs what the user asked for and returns the exit code.
pub fn run(invocation: Invocation) -> u8 {
    let outcome = match &invocation.command {
        Command::Leaks(config) => leaks::run(&invocation, config),
        Command::Trace(config) => trace::run(&invocation, config),
        Command::Explain(config) => explain::run(&invocation, config),
        Command::Doctor(config) => diagnose::run(&invocation, config),
        Command::Vm(config) => vm::run(&invocation, config),
        Command::Kernel(config) => kernel::run(&invocation, config),
        Command::Demo(config) => demo::run(&invocation, config),
        Command::Host(config) => host::run(&invocation, config),
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("memlens: {}", error::one_line(&failure));
        EXIT_FAILED
    })
}

/// Refuses early, in one line, where the kernel or the privileges do not allow tracing.
fn refuse_if_unable(action: &str) -> Result<Facts> {
    let facts = Facts::gather(None);
    let command = command_line(std::env::args_os());
    preflight::refuse_if_unable(
        &facts,
        Purpose {
            action,
            command: &command,
        },
    )?;
    Ok(facts)
}
