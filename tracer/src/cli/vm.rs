//! `memlens vm`: its words, and its settings once they are checked.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::args::{IntervalArgs, MAX_STACK_DEPTH, OutputArgs, TargetArgs, Unwind, WalkArgs};
use super::config::{Output, Target, in_range, interval, output};
use super::error::ConfigError;
use super::host::{ScopeArgs, scoped_target};
use crate::report::Grouping;
use crate::report::space::Width;

/// The order of the stacks in a report of address space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SpaceSort {
    /// Most bytes in memory or in swap first.
    #[default]
    Resident,
    /// Most bytes mapped first.
    Mapped,
    /// Most ranges first.
    Ranges,
    /// Most bytes mapped since the last report first.
    Growth,
    /// Oldest range first.
    Age,
}

/// `memlens vm`.
#[derive(Debug, Args)]
pub struct VmArgs {
    // Before the target, whose command is the last positional.
    /// When to report.
    #[command(flatten)]
    pub interval: IntervalArgs,
    /// What to trace.
    #[command(flatten)]
    pub target: TargetArgs,
    /// The whole host.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// What to print.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Order of the stacks.
    #[arg(
        long,
        value_enum,
        value_name = "KEY",
        default_value_t,
        help_heading = "Output"
    )]
    pub sort: SpaceSort,
    /// What the numbers of --folded and the widths of --svg are: bytes mapped, or bytes in memory.
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        default_value_t,
        help_heading = "Output"
    )]
    pub width: Width,
    /// How stacks are walked.
    #[command(flatten)]
    pub walk: WalkArgs,
}

/// Settings of `memlens vm`.
#[derive(Clone, Debug, PartialEq)]
pub struct VmConfig {
    /// What to trace.
    pub target: Target,
    /// What the first table has rows for; set where `target` is [`Target::Host`], and nowhere else.
    pub by: Option<Grouping>,
    /// Time between reports; not zero.
    pub interval: Duration,
    /// Number of reports; `None`: until Ctrl-C or the target's end.
    pub count: Option<NonZeroU64>,
    /// What to print.
    pub output: Output,
    /// Order of the stacks.
    pub sort: SpaceSort,
    /// What the width of pictures means.
    pub width: Width,
    /// Frames kept of a stack: 1 to [`MAX_STACK_DEPTH`].
    pub stack_depth: u32,
    /// How stacks are walked.
    pub unwind: Unwind,
    /// Most bytes of kernel memory for unwind tables.
    pub unwind_memory: u64,
}

/// Checks what fits together.
pub(super) fn config(args: VmArgs) -> Result<VmConfig, ConfigError> {
    let (interval, count) = interval(&args.interval)?;
    let (target, by) = scoped_target(args.target, &args.scope)?;
    Ok(VmConfig {
        target,
        by,
        interval,
        count,
        output: output(args.output)?,
        sort: args.sort,
        width: args.width,
        stack_depth: in_range("--stack-depth", args.walk.stack_depth, MAX_STACK_DEPTH)?,
        unwind: args.walk.unwind,
        unwind_memory: args.walk.unwind_memory,
    })
}
