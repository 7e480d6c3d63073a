//! `memlens top`: its arguments and settings.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::Args;

use super::error::ConfigError;
use super::parsers::{parse_age, parse_interval, parse_sample_bytes, parse_slowdown};
use super::shared::{
    Allocator, BareWords, BudgetArgs, HostWideConfig, ScopeArgs, TargetArgs, Walk,
};
use crate::engine::target::Target;
use crate::profile::machine::By;

const EXAMPLES: &str = "\
Examples:
  memlens top                        the machine and its processes; Enter traces one of them
  memlens top 4242                   the same, with the heap and the address space of a process traced
  memlens top nginx 500ms            two refreshes a second
  memlens top --cgroup /system.slice/nginx.service
                                     all processes of a service
  memlens top --by container         a row for each container, service or cgroup
  memlens top -- ./server --port 80  start a command, and trace it from its first instruction
'?' shows what keys do. What a command reads and prints is not shown: its streams are /dev/null.";

/// Time between two refreshes unless another is given.
const INTERVAL_SECONDS: u64 = 1;
/// Longest time between two refreshes: a longer one is likely meant for something else.
const LONGEST: Duration = Duration::from_secs(60);

/// Live view of processes, their growth and their stacks.
///
/// Without a target: the machine's memory and all processes, without BPF and root. Enter traces the selected process
/// until it is left, and shows which stacks hold its memory. With a target its processes are traced from the beginning.
/// Tab goes from heap to address space to the kernel's own memory. The last report stays on the terminal.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TopArgs {
    // Before the target, whose command is the last positional.
    #[command(flatten)]
    words: BareWords<INTERVAL_SECONDS>,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    budget: BudgetArgs,
    #[command(flatten)]
    rest: TopConfig,
}

/// Settings of `memlens top`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct TopConfig {
    /// What to trace; `None` is nothing.
    #[arg(skip)]
    pub target: Option<Target>,
    /// What only the whole host has; set where `target` is [`Target::Host`], and nowhere else.
    #[arg(skip)]
    pub host: Option<HostWideConfig>,
    /// Time between refreshes.
    #[arg(skip)]
    pub interval: Duration,
    /// Number of refreshes; `None` until one leaves.
    #[arg(skip)]
    pub count: Option<NonZeroU64>,
    /// What the table has rows for; Enter shows the processes of a row.
    ///
    /// With container, processes outside of containers are grouped by systemd unit or cgroup.
    ///
    /// Example: memlens top --by container
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    #[arg(help_heading = "Table")]
    pub by: By,
    /// Compute growth of what is not traced over the last TIME [default: since the start].
    ///
    /// Example: --window 10m
    #[arg(long, value_name = "TIME", value_parser = parse_interval, help_heading = "Table", allow_hyphen_values = true)]
    pub window: Option<Duration>,
    /// Count in the stacks only blocks that have lived at least this long, such as 30s; the key `o` changes it.
    #[arg(long, value_name = "AGE", value_parser = parse_age, help_heading = "Filters")]
    #[arg(default_value = "0", hide_default_value = true)]
    #[arg(allow_hyphen_values = true)]
    pub older: Duration,
    /// Trace a process although probes would hurt it: one that runs under valgrind, QEMU, rr, DynamoRIO or Pin.
    #[arg(long, help_heading = "Target", conflicts_with = "scope")]
    pub force: bool,
    /// Where the allocator is.
    #[command(flatten)]
    pub allocator: Allocator,
    /// Most that the probes may cost each process, in percent of its CPU time; without it there is no limit.
    ///
    /// Example: memlens top -p 4242 --slowdown 10
    #[arg(long, value_name = "PERCENT", value_parser = parse_slowdown, help_heading = "Cost", conflicts_with = "scope")]
    #[arg(allow_hyphen_values = true)]
    pub slowdown: Option<f64>,
    /// Sample: follow about one allocation in every BYTES allocated, and scale up.
    ///
    /// Example: --sample-bytes 512KiB
    #[arg(long, value_name = "BYTES", value_parser = parse_sample_bytes, help_heading = "Cost")]
    #[arg(allow_hyphen_values = true)]
    pub sample_bytes: Option<NonZeroU64>,
    /// How stacks are walked.
    #[command(flatten)]
    pub walk: Walk,
}

impl TryFrom<TopArgs> for TopConfig {
    type Error = ConfigError;

    fn try_from(args: TopArgs) -> Result<Self, ConfigError> {
        let read = args
            .words
            .read(args.target.optional()?, args.scope.is_given())?;
        let interval = read.schedule.interval;
        if interval > LONGEST {
            return Err(ConfigError::SlowView);
        }
        if args.rest.window.is_some_and(|window| window < interval) {
            return Err(ConfigError::ShortWindow);
        }
        let scope = args.scope.scope();
        let host = scope.is_some().then(|| args.budget.config());
        let target = match scope {
            Some(scope) => Some(Target::Host(scope)),
            None => read.target,
        };
        Ok(Self {
            target,
            host,
            interval,
            count: read.schedule.count,
            ..args.rest
        })
    }
}
