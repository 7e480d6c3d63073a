//! `memlens explain`: its arguments and settings.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueHint};

use super::error::ConfigError;
use super::parsers::{parse_interval, parse_pid, parse_process};
use super::shared::{Outputs, UNREAD};
use crate::engine::target::Target;

const EXAMPLES: &str = "\
Examples:
  memlens explain 4242                        where the memory of process 4242 is
  memlens explain redis-server                the same, by name
  memlens explain --json 4242 > before.json   the same as JSON, to compare with later
  memlens explain --diff before.json 4242     and what has changed since
  memlens explain --trace 30 4242             what grows in 30 seconds, and the stacks of each part
  memlens explain --reach 4242                which blocks nothing points to, and what holds the others
Exit codes: 0 explained, 2 failed.";

/// Explain where the memory of one process is: kernel, allocator, runtime.
///
/// Prints a ledger of all its regions that adds up to its resident memory; glibc's heap, read block by block from
/// outside, without stopping the process; what language runtimes publish; and what follows from it, in sentences.
/// Without --trace it uses no BPF. Without root it shows what the kernel lets everyone read of other users' processes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    #[command(flatten)]
    process: OneProcessArgs,
    #[command(flatten)]
    rest: ExplainConfig,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct OneProcessArgs {
    /// The process, by its PID in this PID namespace, or by name.
    ///
    /// A bare number is a PID; for a process named like one there is -n.
    #[arg(value_name = "PID|NAME", value_parser = parse_process, allow_negative_numbers = true)]
    process: Option<Target>,
    /// The process, as in the other commands.
    #[arg(short, long, value_name = "PID", value_parser = parse_pid, help_heading = "Target")]
    #[arg(allow_negative_numbers = true)]
    pid: Option<u32>,
    /// The process of this name, which must be the only one.
    ///
    /// The name of the process (as `ps -e -o comm` prints it) or the file name of its executable.
    ///
    /// Example: -n redis-server
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new(), help_heading = "Target")]
    name: Option<String>,
}

/// Settings of `memlens explain`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ExplainConfig {
    /// The process: one PID, or a name.
    #[arg(skip = UNREAD)]
    pub target: Target,
    /// Compare with what --json wrote earlier for the same process.
    ///
    /// Example: memlens explain --diff before.json 4242
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub diff: Option<PathBuf>,
    /// Trace the process for this long, and show what has grown: heap blocks and mappings, by stack.
    ///
    /// Meanwhile it runs what `memlens leaks` and `memlens vm` run, so it needs the same privileges. A number without a
    /// unit is seconds. Ctrl-C ends the trace early.
    ///
    /// Example: memlens explain --trace 30 4242
    #[arg(long, value_name = "SECONDS", value_parser = parse_interval, conflicts_with = "diff")]
    #[arg(allow_hyphen_values = true)]
    pub trace: Option<Duration>,
    /// Judge all blocks of a glibc heap by what points to them: what is lost already, and what holds the rest.
    ///
    /// The memory of the process is read from outside while it goes on; it is never stopped. No trace is needed, so
    /// there are no stacks, but sizes, C++ types and holders.
    ///
    /// Example: memlens explain --reach 4242
    #[arg(long, conflicts_with_all = ["diff", "trace"])]
    pub reach: bool,
    /// Where the report goes.
    #[command(flatten)]
    pub outputs: Outputs,
}

impl TryFrom<ExplainArgs> for ExplainConfig {
    type Error = ConfigError;

    fn try_from(args: ExplainArgs) -> Result<Self, ConfigError> {
        args.rest.outputs.check()?;
        let OneProcessArgs { process, pid, name } = args.process;
        let named = name.map(Target::Name).or(process);
        let target = named.unwrap_or_else(|| Target::Pids(pid.into_iter().collect()));
        Ok(Self {
            target,
            ..args.rest
        })
    }
}
