//! The words of `memlens explain`, and its settings.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::config::not_zero;
use super::error::ConfigError;
use super::values::{BareUnit, ValueError, parse_pid, parse_time};

/// What `memlens explain --help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  memlens explain 4242                        where the memory of process 4242 is
  memlens explain --json 4242 > before.json   the same for programs, and for later
  memlens explain --diff before.json 4242     and what has changed since
  memlens explain --trace 30 4242             what grows in 30 seconds, and the stacks of each part
Exit codes: 0 explained, 2 failed.";

/// `memlens explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The process, by its PID as this PID namespace has it.
    #[arg(value_name = "PID", value_parser = parse_pid)]
    pub pid: u32,
    /// Compare with what --json wrote earlier of the same process.
    ///
    /// Example: memlens explain --diff before.json 4242
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub diff: Option<PathBuf>,
    /// Trace the process so long, and say whose its growth is: heap blocks and mappings, by stack.
    ///
    /// Runs what `memlens leaks` and `memlens vm` run meanwhile, so it needs their rights. A number without a unit is
    /// seconds. Ctrl-C ends the trace early.
    ///
    /// Example: memlens explain --trace 30 4242
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, conflicts_with = "diff")]
    pub trace: Option<Duration>,
    /// Print one JSON object.
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// Settings of `memlens explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainConfig {
    /// The process.
    pub pid: u32,
    /// An earlier explanation to compare with.
    pub diff: Option<PathBuf>,
    /// How long to trace, if at all; not zero.
    pub trace: Option<Duration>,
    /// JSON in place of text.
    pub json: bool,
}

/// Checks what was typed.
pub(super) fn config(args: ExplainArgs) -> Result<ExplainConfig, ConfigError> {
    let not_zero = |time| not_zero("--trace", time);
    Ok(ExplainConfig {
        pid: args.pid,
        diff: args.diff,
        trace: args.trace.map(not_zero).transpose()?,
        json: args.json,
    })
}

fn parse_seconds(text: &str) -> Result<Duration, ValueError> {
    parse_time(text, BareUnit::Seconds)
}
