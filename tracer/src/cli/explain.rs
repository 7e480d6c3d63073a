//! The words of `memlens explain`, and its settings.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::values::parse_pid;

/// What `memlens explain --help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  memlens explain 4242                        where the memory of process 4242 is
  memlens explain --json 4242 > before.json   the same for programs, and for later
  memlens explain --diff before.json 4242     and what has changed since
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
    /// JSON in place of text.
    pub json: bool,
}

impl From<ExplainArgs> for ExplainConfig {
    fn from(args: ExplainArgs) -> Self {
        Self {
            pid: args.pid,
            diff: args.diff,
            json: args.json,
        }
    }
}
