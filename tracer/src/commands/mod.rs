//! The commands: each turns what was asked for into a target, sources and a renderer, and runs them.

mod agent;
mod demo;
mod diff;
mod doctor;
mod explain;
mod host;
mod hunt;
mod kernel;
mod leaks;
mod manual;
mod output;
mod record;
mod report;
mod stored;
mod top;
mod trace;
mod vm;

use std::io;

use anyhow::Result;

use crate::cli::{Command, Invocation, Outcome, command_line};
use crate::engine::console::Log;
use crate::engine::{self, Live, Schedule};
use crate::preflight::{self, Facts, Purpose};
use crate::process::startup::CommandError;
use crate::words::error;

use self::output::Printer;

pub use demo::play_victim;

/// Runs what the user asked for, and says how that went.
pub fn run(invocation: &Invocation) -> Outcome {
    let done = match &invocation.command {
        Command::Leaks(config) => leaks::run(invocation, config),
        Command::Vm(config) => vm::run(invocation, config),
        Command::Kernel(config) => kernel::run(invocation, config),
        Command::Trace(config) => trace::run(invocation, config),
        Command::Host(config) => host::run(invocation, config),
        Command::Top(config) => top::run(invocation, config),
        Command::Hunt(config) => hunt::run(invocation, config),
        Command::Explain(config) => explain::run(invocation, config),
        Command::Doctor(config) => doctor::run(invocation, config),
        Command::Demo(config) => demo::run(invocation, config),
        Command::Record(config) => record::run(invocation, config),
        Command::Report(config) => report::run(invocation, config),
        Command::Diff(config) => diff::run(invocation, config),
        Command::Agent(config) => agent::run(invocation, config),
        Command::Completions(config) => manual::completions(config),
        Command::Man(config) => manual::man(config),
    };
    done.unwrap_or_else(|failure| {
        eprintln!("memlens: {}", error::one_line(&failure));
        outcome_of(&failure)
    })
}

/// What became of a run that failed.
fn outcome_of(failure: &anyhow::Error) -> Outcome {
    let source = failure
        .downcast_ref::<CommandError>()
        .map(|error| error.source.kind());
    match source {
        None => Outcome::Failed,
        Some(io::ErrorKind::NotFound) => Outcome::NotFound,
        Some(_) => Outcome::NotExecutable,
    }
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

/// What standard error is to say.
fn log(invocation: &Invocation) -> Log {
    Log::new(invocation.verbose)
}

/// Follows a trace to its end and prints its profiles. `start` is called within the runtime, when the signals are taken
/// over and the files to write are known to be writable.
fn follow<L: Live>(
    printer: &mut Printer<'_>,
    schedule: &Schedule,
    start: impl FnOnce() -> Result<L>,
) -> Result<()> {
    let interrupt = engine::Interrupt::install()?;
    printer.open()?;
    engine::runtime()?.block_on(async {
        let mut live = start()?;
        engine::run(&mut live, schedule, interrupt, |profile| {
            printer.print(profile)
        })
        .await
    })
}
