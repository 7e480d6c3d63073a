//! What to trace: running processes, or a command to start.

use std::ffi::OsString;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueHint};

use crate::cli::error::ConfigError;
use crate::cli::parsers::{parse_pid, parse_processes};
use crate::engine::target::Target;

/// In place of a target while the command line is read, until the words about it have been translated.
pub const UNREAD: Target = Target::Pids(Vec::new());

/// Running processes, by number or by name.
#[derive(Debug, Args)]
#[command(next_help_heading = "Target")]
#[group(id = "process", multiple = false)]
pub struct ProcessArgs {
    /// Processes to trace, by PID; separate several by commas.
    ///
    /// All threads are included; children are with -f. Several processes are one trace, with a row for each.
    ///
    /// Example: -p 4242,4243
    #[arg(short, long, value_name = "PID", value_delimiter = ',', value_parser = parse_pid)]
    #[arg(allow_negative_numbers = true)]
    pid: Vec<u32>,
    /// Every process of this name.
    ///
    /// The name of the process (as `ps -e -o comm` prints it) or the file name of its executable. Processes that start
    /// later are not included.
    ///
    /// Example: -n redis-server
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,
}

/// Running processes by a bare word, of a command that has no other.
#[derive(Debug, Args)]
pub struct NamedProcess {
    /// The process, by PID or by name, as -p and -n take it.
    #[arg(value_name = "PID|NAME", value_parser = parse_processes, group = "process")]
    #[arg(allow_negative_numbers = true)]
    subject: Option<Target>,
}

impl NamedProcess {
    /// The processes, where any were given: by the word, or else by the options.
    pub fn or(self, options: Option<Target>) -> Option<Target> {
        self.subject.or(options)
    }
}

/// Running processes, or a command to start.
#[derive(Debug, Args)]
#[command(next_help_heading = "Target")]
pub struct TargetArgs {
    /// Running processes.
    #[command(flatten)]
    processes: ProcessArgs,
    /// A command to start and to trace from its first instruction; after "--".
    ///
    /// All its arguments are passed on. The trace ends when it exits, and its exit code becomes that of memlens.
    ///
    /// Example: memlens leaks -- ./server --port 80
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    #[arg(conflicts_with = "process")]
    command: Vec<OsString>,
}

impl ProcessArgs {
    /// The processes, where any were given.
    pub fn target(self) -> Option<Target> {
        if let Some(name) = self.name {
            return Some(Target::Name(name));
        }
        let mut pids = Vec::new();
        for pid in self.pid {
            if !pids.contains(&pid) {
                pids.push(pid);
            }
        }
        (!pids.is_empty()).then_some(Target::Pids(pids))
    }
}

impl TargetArgs {
    /// The target, where one was given.
    pub fn optional(self) -> Result<Option<Target>, ConfigError> {
        match self.command.first() {
            Some(program) if program.is_empty() => Err(ConfigError::EmptyCommand),
            Some(_) => Ok(Some(Target::Command(self.command))),
            None => Ok(self.processes.target()),
        }
    }
}
