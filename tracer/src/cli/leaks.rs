//! `memlens leaks`: its arguments and settings.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::error::ConfigError;
use super::parsers::{parse_age, parse_sample_bytes, parse_slowdown, whole_number};
use super::shared::{
    Allocator, BareWords, BudgetArgs, GroupingArgs, HostWideArgs, HostWideConfig, INTERVAL_SECONDS,
    MAX_MAX_LIVE, Output, Schedule, ScopeArgs, SizeRange, TargetArgs, UNREAD, Walk,
};
use super::values::parse_size;
use crate::engine::target::Target;
use crate::sources::heap::Order;
use crate::sources::heap::reach::When;

const EXAMPLES: &str = "\
Examples:
  memlens leaks 4242                           report every 5 seconds until Ctrl-C
  memlens leaks 4242,4243 500ms 10             ten reports of two processes, half a second apart
  memlens leaks nginx --sort growth -T 5       the five stacks that grow fastest
  memlens leaks 4242 --older 1m                only blocks that are older than a minute
  memlens leaks 4242 --sample-bytes 512KiB     cheaper: one sample in about 512 KiB
  memlens leaks -o heap.html -- ./prog -v      a page to look at: what ./prog never freed
  memlens leaks --all --by container 60        the whole host, summed by container, every minute
  memlens leaks --cgroup /system.slice/nginx.service --per-process 3
                                               one service, with the top stacks of each process
INTERVAL and COUNT come before \"--\": memlens leaks 10 3 -- ./prog";

/// Most frames that stacks can be asked to agree in: more than any has, inlined functions included.
const MAX_FRAMES: u32 = 4_096;

/// Live blocks followed unless another limit is given.
const DEFAULT_MAX_LIVE: u32 = 1 << 21;

/// What a last report must not find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Memory that nothing points to, whether it grows or not
    Lost,
    /// Memory that grows and that nothing points to
    Leak,
}

/// Show the call stacks that hold the most heap memory.
///
/// Every INTERVAL, and at the end, prints the stacks whose blocks were allocated since the start of the trace and have
/// not been freed: bytes, blocks, growth and age. Ctrl-C ends the trace with a last report; a second Ctrl-C exits at
/// once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LeaksArgs {
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
    host: HostWideArgs,
    #[command(flatten)]
    budget: BudgetArgs,
    #[command(flatten)]
    rest: LeaksConfig,
}

/// Settings of `memlens leaks`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct LeaksConfig {
    /// What to trace.
    #[arg(skip = UNREAD)]
    pub target: Target,
    /// What only the whole host has; set where `target` is [`Target::Host`], and nowhere else.
    #[arg(skip)]
    pub host: Option<HostWideConfig>,
    /// When to report.
    #[arg(skip)]
    pub schedule: Schedule,
    /// Which blocks count.
    #[command(flatten)]
    pub sizes: SizeRange,
    /// Count only blocks that have lived at least this long, such as 30s.
    ///
    /// Leaves out memory that is about to be freed. A number without a unit is milliseconds. Applies to the stacks and
    /// to --fail-over; the totals and the table of processes still count every age.
    ///
    /// Example: --older 30s
    #[arg(long, value_name = "AGE", value_parser = parse_age, help_heading = "Filters")]
    #[arg(default_value = "0", hide_default_value = true)]
    #[arg(allow_hyphen_values = true)]
    pub older: Duration,
    /// Where the allocator is.
    #[command(flatten)]
    pub allocator: Allocator,
    /// What to print.
    #[command(flatten)]
    pub output: Output,
    /// Order of the stacks.
    #[arg(long, value_enum, value_name = "KEY", default_value_t)]
    #[arg(help_heading = "Output")]
    pub sort: Order,
    /// Also list the blocks of each stack: address, size and age.
    #[arg(short = 'a', long, help_heading = "Output")]
    pub show_allocs: bool,
    /// Show every stack that allocated, including those that hold nothing now.
    ///
    /// Shows where a program allocates, not only what it keeps.
    ///
    /// Example: --all-stacks --json --top 0
    #[arg(long, help_heading = "Output")]
    pub all_stacks: bool,
    /// Exit with code 1 (124 where a command is traced) if more than this many bytes are live in the last report.
    ///
    /// Counts the blocks that --older, --min-size and --max-size leave, in all stacks, and prints the result on
    /// standard error. The trace must take longer than --older.
    ///
    /// Example: memlens leaks -p 4242 --older 1m --fail-over 10MiB 5m 1
    #[arg(long, value_name = "BYTES", value_parser = parse_size, help_heading = "Output", allow_hyphen_values = true)]
    pub fail_over: Option<u64>,
    /// Exit with code 1 (124 where a command is traced) if the last report finds a leak, or memory that is lost.
    ///
    /// Prints which on standard error. Both need --reach: where no block was judged, memlens fails.
    ///
    /// Example: memlens leaks -p 4242 --reach --fail-on lost 1m 5
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Output")]
    pub fail_on: Option<FailOn>,
    /// Show stacks whose innermost N frames agree as one.
    ///
    /// A just-in-time compiler makes several stacks of one place in the program. N counts frames as -v shows them:
    /// those of allocators, and inlined functions, too. The stack that is shown is the one with most live bytes.
    ///
    /// Example: --group-frames 5
    #[arg(
        long,
        value_name = "N",
        help_heading = "Output",
        allow_negative_numbers = true
    )]
    #[arg(value_parser = whole_number(1..=MAX_FRAMES))]
    pub group_frames: Option<u32>,
    /// Also trace the children of the processes or the command, from their birth on, and the programs that they start.
    ///
    /// A child gets its probes within a few milliseconds of its birth; the report says how many. Without this, children
    /// are only counted.
    ///
    /// Example: memlens leaks -f -n nginx
    #[arg(short = 'f', long, help_heading = "Target", conflicts_with = "scope")]
    pub children: bool,
    /// Trace a process although probes would hurt it: one that runs under valgrind, QEMU, rr, DynamoRIO or Pin.
    #[arg(long, help_heading = "Target", conflicts_with = "scope")]
    pub force: bool,
    /// Most that the probes may cost each process, in percent of its CPU time; without it there is no limit.
    ///
    /// Above it memlens samples the process, more and more coarsely, and as a last step removes its probes. The report
    /// says what the probes cost in any case.
    ///
    /// Example: memlens leaks -p 4242 --slowdown 10
    #[arg(long, value_name = "PERCENT", value_parser = parse_slowdown, help_heading = "Cost", conflicts_with = "scope")]
    #[arg(allow_hyphen_values = true)]
    pub slowdown: Option<f64>,
    /// Keep totals per stack only: faster reports, but without ages and single blocks.
    ///
    /// The cost for the traced program is the same.
    #[arg(long, help_heading = "Cost")]
    pub combined: bool,
    /// Sample: follow about one allocation in every BYTES allocated, and scale up.
    ///
    /// Cheaper, and unbiased: the report states the standard error.
    ///
    /// Example: --sample-bytes 512KiB
    #[arg(long, value_name = "BYTES", value_parser = parse_sample_bytes, help_heading = "Cost")]
    #[arg(allow_hyphen_values = true)]
    pub sample_bytes: Option<NonZeroU64>,
    /// When to look for what holds the blocks: for the last report, for every one, or never.
    ///
    /// Blocks that nothing points to are lost: a leak for certain. The memory of the process is read from outside while
    /// it goes on; it is never stopped. Without this option it is done for the last report, where processes are named;
    /// of a whole host, a cgroup or a user it cannot be done.
    ///
    /// Example: memlens leaks -p 4242 --reach every
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, default_missing_value = "last")]
    #[arg(help_heading = "Reachability", conflicts_with = "scope")]
    pub reach: Option<When>,
    /// How stacks are walked.
    #[command(flatten)]
    pub walk: Walk,
    /// Room for so many live blocks; the report states how many did not fit.
    #[arg(long, value_name = "N", value_parser = whole_number(1..=MAX_MAX_LIVE), default_value_t = DEFAULT_MAX_LIVE)]
    #[arg(help_heading = "Cost", allow_negative_numbers = true)]
    pub max_live: u32,
}

impl LeaksConfig {
    /// The settings of a command line that gives a target and nothing else.
    pub fn of(target: Target) -> Self {
        Self {
            host: matches!(target, Target::Host(_)).then(HostWideConfig::default),
            target,
            schedule: Schedule::default(),
            sizes: SizeRange::ALL,
            older: Duration::ZERO,
            allocator: Allocator::default(),
            output: Output::default(),
            sort: Order::default(),
            show_allocs: false,
            all_stacks: false,
            fail_over: None,
            fail_on: None,
            group_frames: None,
            children: false,
            force: false,
            slowdown: None,
            combined: false,
            sample_bytes: None,
            reach: None,
            walk: Walk::default(),
            max_live: DEFAULT_MAX_LIVE,
        }
    }

    /// With `--combined` the kernel keeps totals per stack, so nothing that needs a single block can be shown.
    fn check_combined(&self) -> Result<(), ConfigError> {
        let conflicts = [
            (self.show_allocs, "--show-allocs"),
            (!self.older.is_zero(), "--older"),
            (self.sort == Order::Age, "--sort age"),
        ];
        match conflicts.into_iter().find(|(given, _)| *given) {
            Some((_, option)) if self.combined => Err(ConfigError::CombinedWith(option)),
            _ => Ok(()),
        }
    }
}

impl TryFrom<LeaksArgs> for LeaksConfig {
    type Error = ConfigError;

    fn try_from(args: LeaksArgs) -> Result<Self, ConfigError> {
        args.rest.check_combined()?;
        args.rest.sizes.check()?;
        args.rest.output.outputs.check()?;
        let read = args
            .words
            .read(args.target.optional()?, args.scope.is_given())?;
        let (target, by) = args.scope.target(read.target, args.grouping)?;
        Ok(Self {
            target,
            host: by.map(|by| args.host.config(args.budget, by)),
            schedule: read.schedule,
            ..args.rest
        })
    }
}
