//! `memlens vm`: its arguments and settings.

use clap::{Args, ValueEnum};
use tracer_common::faults::MAX_INTERVAL;

use super::error::ConfigError;
use super::parsers::whole_number;
use super::shared::{
    BareWords, GroupingArgs, INTERVAL_SECONDS, Output, Schedule, ScopeArgs, TargetArgs, UNREAD,
    Walk,
};
use crate::engine::target::Target;
use crate::profile::{Grouping, Measure};
use crate::sources::address_space::SpaceOrder;

const EXAMPLES: &str = "\
Examples:
  memlens vm 4242                        report every 5 seconds until Ctrl-C
  memlens vm 4242 --sort growth 60       what was mapped in the last minute and stayed
  memlens vm java 10 3                   three reports of every java, 10 seconds apart
  memlens vm --faults 4242               who touches memory that was not there yet
  memlens vm --all --by container 60     the whole host, summed by container, every minute
  memlens vm --svg map.svg -- ./prog -v  a flame graph of what ./prog has mapped";

/// What the numbers of folded stacks and the widths of flame graphs are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Width {
    /// Bytes mapped.
    #[default]
    Mapped,
    /// Bytes in memory.
    Resident,
    /// Page faults, with --faults: the stacks that touched memory, not those that mapped it.
    Faults,
}

impl Width {
    /// The measure of that word.
    pub const fn measure(self) -> Measure {
        match self {
            Self::Mapped => Measure::VmMappedBytes,
            Self::Resident => Measure::VmResidentBytes,
            Self::Faults => Measure::FaultsCount,
        }
    }
}

/// Show who has mapped address space, and how much of it is in memory.
///
/// Follows mmap, munmap, mremap, brk, mprotect, shmat and shmdt. Every INTERVAL, and at the end, prints the stacks
/// whose ranges were mapped since the start of the trace and are still mapped: bytes mapped and resident, ranges,
/// growth and age; then what was mapped before, by kind and file. Each report is compared with /proc/PID/maps and
/// states the result.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct VmArgs {
    // Before the target, whose command is the last positional.
    #[command(flatten)]
    words: BareWords<INTERVAL_SECONDS>,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    grouping: GroupingArgs,
    #[command(flatten)]
    rest: VmConfig,
    #[command(flatten)]
    faults: FaultArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Page faults")]
struct FaultArgs {
    /// Also show who brings pages into memory: the stacks of page faults, and what they touch.
    #[arg(long)]
    faults: bool,
    /// Sample one page fault in N, at random; 1 takes every one [default: adapts to keep the cost low].
    ///
    /// By default every page fault of a thread that seldom has one is taken.
    #[arg(long, value_name = "N", value_parser = whole_number(1..=MAX_INTERVAL as u32), requires = "faults")]
    #[arg(allow_negative_numbers = true)]
    sample_faults: Option<u32>,
}

/// Settings of `memlens vm`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct VmConfig {
    /// What to trace.
    #[arg(skip = UNREAD)]
    pub target: Target,
    /// What the first table has rows for; set where `target` is [`Target::Host`], and nowhere else.
    #[arg(skip)]
    pub by: Option<Grouping>,
    /// When to report.
    #[arg(skip)]
    pub schedule: Schedule,
    /// What to print.
    #[command(flatten)]
    pub output: Output,
    /// Order of the stacks.
    #[arg(long, value_enum, value_name = "KEY", default_value_t)]
    #[arg(help_heading = "Output")]
    pub sort: SpaceOrder,
    /// What the numbers of --folded and the widths of --svg are: bytes mapped, bytes in memory or page faults.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    #[arg(help_heading = "Output")]
    #[arg(requires_if("faults", "faults"))]
    pub width: Width,
    /// Follow page faults, by a sample of this mean distance; 0 adapts it.
    #[arg(skip)]
    pub faults: Option<u32>,
    /// How stacks are walked.
    #[command(flatten)]
    pub walk: Walk,
}

impl VmConfig {
    /// The settings of a command line that gives a target and nothing else.
    pub fn of(target: Target) -> Self {
        Self {
            by: matches!(target, Target::Host(_)).then(Grouping::default),
            target,
            schedule: Schedule::default(),
            output: Output::default(),
            sort: SpaceOrder::default(),
            width: Width::default(),
            faults: None,
            walk: Walk::default(),
        }
    }
}

impl TryFrom<VmArgs> for VmConfig {
    type Error = ConfigError;

    fn try_from(args: VmArgs) -> Result<Self, ConfigError> {
        args.rest.output.outputs.check()?;
        let read = args
            .words
            .read(args.target.optional()?, args.scope.is_given())?;
        let (target, by) = args.scope.target(read.target, args.grouping)?;
        let distance = args.faults.sample_faults.unwrap_or(0);
        Ok(Self {
            target,
            by,
            schedule: read.schedule,
            faults: args.faults.faults.then_some(distance),
            ..args.rest
        })
    }
}
