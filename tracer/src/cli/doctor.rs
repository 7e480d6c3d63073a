//! `memlens doctor`: its arguments and settings.

use clap::Args;

use super::shared::{Allocator, NamedProcess, ProcessArgs};
use crate::engine::target::Target;

const EXAMPLES: &str = "\
Examples:
  memlens doctor                   the machine and this user's privileges
  memlens doctor 4242              also: which allocators process 4242 uses
  memlens doctor --probes 4242     also: every probe site, and whether it is fast
  memlens doctor --unwind 4242     also: how stacks are walked through each mapped file
  memlens doctor --runtimes nginx  also: which language runtimes it has, and what stacks show of them
Exit code 2 when something that memlens needs is missing.";

/// Check what works on this machine, and say how to fix the rest.
///
/// Checks the kernel, its types (BTF), tracefs, privileges, lockdown, limits and the BPF compiler; with a process, also
/// its allocators.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    #[command(flatten)]
    process: NamedProcess,
    #[command(flatten)]
    processes: ProcessArgs,
    #[command(flatten)]
    rest: DoctorConfig,
}

/// Settings of `memlens doctor`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct DoctorConfig {
    /// Whose allocators to look for; never a command.
    #[arg(skip)]
    pub target: Option<Target>,
    /// Where the allocator is.
    #[command(flatten)]
    pub allocator: Allocator,
    /// List every probe site: file, function, offset, instruction, fast or slow, and why.
    ///
    /// Needs a process.
    ///
    /// Example: memlens doctor --probes -p 4242
    #[arg(long, help_heading = "Output", requires = "process")]
    pub probes: bool,
    /// List all mapped code and how stacks are walked through it: by unwind table (rows, kernel memory, share of the
    /// code covered), by frame pointers, or not, and why.
    ///
    /// Needs a process.
    ///
    /// Example: memlens doctor --unwind -p 4242
    #[arg(long, help_heading = "Output", requires = "process")]
    pub unwind: bool,
    /// Tell which language runtimes are there, by what they were found, which offsets were checked, and what stacks will
    /// show of them.
    ///
    /// Needs a process.
    ///
    /// Example: memlens doctor --runtimes -p 4242
    #[arg(long, help_heading = "Output", requires = "process")]
    pub runtimes: bool,
    /// Print one JSON object.
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

impl From<DoctorArgs> for DoctorConfig {
    fn from(args: DoctorArgs) -> Self {
        Self {
            target: args.process.or(args.processes.target()),
            ..args.rest
        }
    }
}
