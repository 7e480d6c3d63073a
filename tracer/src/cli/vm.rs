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

/// Largest distance that can be asked for: as far as the sample goes by itself.
const MAX_FAULT_INTERVAL: u32 = tracer_common::faults::MAX_INTERVAL as u32;

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
    /// What the numbers of --folded and the widths of --svg are: bytes mapped, bytes in memory or, with --faults, page faults.
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        default_value_t,
        help_heading = "Output"
    )]
    pub width: Width,
    /// Show who brings pages into memory, too: the stacks of page faults, and what they touch.
    #[arg(long, help_heading = "Page faults")]
    pub faults: bool,
    /// Take one page fault in N for the sample, by chance; 1 takes every one. Without it as many as cost little, which is every one
    /// of a thread that seldom has one.
    #[arg(
        long,
        value_name = "N",
        requires = "faults",
        help_heading = "Page faults"
    )]
    pub sample_faults: Option<u32>,
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
    /// Follow page faults, by a sample of this mean distance; 0 adapts it.
    pub faults: Option<u32>,
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
    if args.width == Width::Faults && !args.faults {
        return Err(ConfigError::Without("--width faults", "--faults"));
    }
    let faults = faults(&args)?;
    let (target, by) = scoped_target(args.target, &args.scope)?;
    Ok(VmConfig {
        faults,
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

/// Mean distance of the sample of page faults, where they are wanted.
fn faults(args: &VmArgs) -> Result<Option<u32>, ConfigError> {
    let given = args.sample_faults;
    let given = given.map(|interval| in_range("--sample-faults", interval, MAX_FAULT_INTERVAL));
    Ok(args.faults.then_some(given.transpose()?.unwrap_or(0)))
}
