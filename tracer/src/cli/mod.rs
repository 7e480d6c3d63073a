//! The command line becomes checked settings, without touching the system.
//!
//! Each command has a file with its settings, such as `LeaksConfig`. clap reads right into them what is taken as typed:
//! their comments are the help. What has to be translated or checked first (such as the target) they skip; it is read
//! into `LeaksArgs`, and the conversion of these puts both together.
//!
//! `main` calls [`parse`]; on an error it lets that print itself and exits with its code.

mod agent;
mod agent_file;
mod color;
mod command;
mod demo;
mod doctor;
mod error;
mod exit;
mod explain;
mod help;
mod host;
mod hunt;
mod kernel;
mod leaks;
mod manual;
mod parsers;
mod record;
mod report;
mod shared;
mod tips;
mod top;
mod trace;
mod values;
mod vm;
mod words;

use std::ffi::{OsStr, OsString};

use clap::FromArgMatches;

use command::Cli;

pub use agent::{
    AgentConfig, CostConfig, Listen, ReportOn, ServeConfig, TraceWhat, WatchConfig, WriteConfig,
};
pub use agent_file::{FileError, with_file};
pub use color::Color;
pub use command::{Command, Invocation};
pub use demo::DemoConfig;
pub use doctor::DoctorConfig;
pub use error::{CliError, ConfigError};
pub use exit::Outcome;
pub use explain::ExplainConfig;
pub use help::definition;
pub use host::HostConfig;
pub use hunt::HuntConfig;
pub use kernel::KernelConfig;
pub use leaks::{FailOn, LeaksConfig};
pub use manual::{CompletionsConfig, ManConfig};
pub use record::{RecordConfig, Recorded};
pub use report::{DiffConfig, ReportConfig, Symbols};
pub use shared::{
    Allocator, HostWideConfig, Output, Outputs, Schedule, Shown, SizeRange, Unwind, Walk,
};
pub use top::TopConfig;
pub use trace::TraceConfig;
pub use values::{BareUnit, ValueError, parse_size, parse_time};
pub use vm::{VmConfig, Width};

/// Reads the command line of this process.
///
/// # Errors
/// [`CliError`]; let it [`print`](CliError::print) itself and exit with [`exit_code`](CliError::exit_code).
pub fn parse() -> Result<Invocation, CliError> {
    parse_from(std::env::args_os())
}

/// Reads a command line, program name first.
///
/// # Errors
/// As [`parse`].
pub fn parse_from(
    words: impl IntoIterator<Item = impl Into<OsString>>,
) -> Result<Invocation, CliError> {
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    if words.len() < 2 {
        return Err(CliError::Nothing);
    }
    let matches = definition()
        .try_get_matches_from(&words)
        .map_err(|error| tips::with_tip(error, &words))?;
    let cli = Cli::from_arg_matches(&matches)?;
    Invocation::try_from(cli).map_err(|error| CliError::Config {
        error,
        command: matches.subcommand_name().unwrap_or_default().to_owned(),
    })
}

/// Whether memlens has a subcommand of that name, so that a hint never points to one that is not there.
pub fn has_command(name: &str) -> bool {
    definition().find_subcommand(name).is_some()
}

/// The command line as a shell would take it again, for remedies such as "run as root: sudo ...".
pub fn command_line(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let quoted: Vec<String> = words
        .into_iter()
        .map(|word| quote(&word.as_ref().to_string_lossy()))
        .collect();
    quoted.join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests;
