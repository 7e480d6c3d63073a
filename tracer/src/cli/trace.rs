//! `memlens trace`: its arguments and settings.

use clap::Args;

use super::error::ConfigError;
use super::shared::{Allocator, NamedProcess, SizeRange, TargetArgs};
use crate::engine::target::Target;

const EXAMPLES: &str = "\
Examples:
  memlens trace 4242                   every allocator call of one process
  memlens trace nginx -z 1MiB          allocations of at least 1 MiB, and all frees
  memlens trace -- ./prog > calls.txt  a command from its first instruction";

/// Print every allocator call: one line each.
///
/// A line has TIME (seconds since boot, CLOCK_MONOTONIC), PID, TID, FUNCTION, SIZE (bytes requested; "-" for a free),
/// ADDRESS of the block (0x0: the call failed) and CALLER; a realloc also has old=ADDRESS. Lines go to standard output.
/// Events that arrive faster than they can be read are counted, and reported at the end.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TraceArgs {
    #[command(flatten)]
    process: NamedProcess,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    sizes: SizeRange,
    #[command(flatten)]
    allocator: Allocator,
    /// Print each call as one JSON object on one line.
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Trace a process although probes would hurt it: one that runs under valgrind, QEMU, rr, DynamoRIO or Pin.
    #[arg(long, help_heading = "Target")]
    force: bool,
}

/// Settings of `memlens trace`.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceConfig {
    /// What to trace.
    pub target: Target,
    /// Which blocks count.
    pub sizes: SizeRange,
    /// Where the allocator is.
    pub allocator: Allocator,
    /// One JSON object a line in place of text.
    pub json: bool,
    /// Whether processes are traced that probes would hurt.
    pub force: bool,
}

impl TryFrom<TraceArgs> for TraceConfig {
    type Error = ConfigError;

    fn try_from(args: TraceArgs) -> Result<Self, ConfigError> {
        args.sizes.check()?;
        let target = args.process.or(args.target.optional()?);
        Ok(Self {
            target: target.ok_or(ConfigError::NoTarget(
                "a PID, a name or, at the end, -- COMMAND",
            ))?,
            sizes: args.sizes,
            allocator: args.allocator,
            json: args.json,
            force: args.force,
        })
    }
}
