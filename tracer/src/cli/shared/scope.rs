//! The whole host, or a part of it, as a target.

use clap::{ArgGroup, Args};

use crate::cli::error::ConfigError;
use crate::cli::parsers::{
    parse_cgroup, parse_cpu_budget, parse_exclude, parse_rows, parse_user, whole_number,
};
use crate::engine::target::Target;
use crate::process::scope::{Exclude, Scope, User};
use crate::profile::Grouping;

/// Most that probes may cost unless told otherwise, in percent of the machine's CPUs.
const CPU_BUDGET_PERCENT: f64 = 5.0;

/// Processes with probes unless told otherwise.
const MAX_PROCESSES: u32 = 32;

/// The whole host, or a part of it, in `leaks` and in `vm`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Whole host", group = ArgGroup::new("scope").multiple(true))]
#[group(conflicts_with_all = ["process", "command"], requires = "scope")]
pub struct ScopeArgs {
    /// Every process of this host, in all containers, including those that start during the trace.
    ///
    /// A table of processes comes first, then the stacks that hold most over all of them. memlens itself is left out.
    ///
    /// Example: --all
    #[arg(long, group = "scope")]
    all: bool,
    /// Every process of this cgroup and those below it, including those that start during the trace.
    ///
    /// A path as in /proc/PID/cgroup, or the folder under /sys/fs/cgroup. Containers, services and logins are cgroups.
    ///
    /// Example: --cgroup /system.slice/nginx.service
    #[arg(long, value_name = "PATH", value_parser = parse_cgroup, group = "scope")]
    cgroup: Option<String>,
    /// Every process of this user, by name or number, including those that start during the trace.
    ///
    /// The real user, as the host sees it. With --cgroup, a process must match both.
    ///
    /// Example: --user www-data
    #[arg(long, value_name = "USER", value_parser = parse_user, group = "scope")]
    user: Option<User>,
    /// Leave out a process, by name or PID, or a cgroup, by a path with a slash; may be repeated.
    ///
    /// Example: --all --exclude java --exclude /user.slice
    #[arg(long, value_name = "NAME|PID|CGROUP", value_parser = parse_exclude)]
    exclude: Vec<Exclude>,
}

/// What the first table of a whole host has rows for, in `leaks` and in `vm`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Whole host")]
#[group(conflicts_with_all = ["process", "command"], requires = "scope")]
pub struct GroupingArgs {
    /// What the report has rows for.
    ///
    /// With container, processes outside of containers are grouped by systemd unit or cgroup. With stack, a stack that
    /// several processes have in common is shown once.
    ///
    /// Example: --all --by container
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    by: Grouping,
}

/// What only `leaks` has for the whole host.
#[derive(Debug, Args)]
#[command(next_help_heading = "Whole host")]
#[group(conflicts_with_all = ["process", "command"], requires = "scope")]
pub struct HostWideArgs {
    /// Also show the top N stacks of each of the first processes.
    ///
    /// Example: --all --top 5 --per-process 3
    #[arg(long, value_name = "N", value_parser = parse_rows)]
    #[arg(default_value_t = 0, hide_default_value = true)]
    #[arg(allow_negative_numbers = true)]
    per_process: usize,
}

/// What probes in a whole host may cost, and whose they are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Whole host")]
#[group(conflicts_with_all = ["process", "command"], requires = "scope")]
pub struct BudgetArgs {
    /// Most that the probes may cost, in percent of the machine's CPUs; off sets no limit.
    ///
    /// Each process is tried for a few tens of milliseconds and priced by how often its probes are hit; then it is
    /// followed in full, sampled, or left alone. The largest and the growing ones come first. The report lists each
    /// step.
    ///
    /// Example: --cpu-budget 1
    // `None` is no limit. The type is written in full because clap takes a bare `Option` for one without a default.
    #[arg(long, value_name = "PERCENT", value_parser = parse_cpu_budget)]
    #[arg(default_value = CPU_BUDGET_PERCENT.to_string())]
    cpu_budget: std::option::Option<f64>,
    /// Also probe processes that have run for less than a second, as soon as they are seen.
    ///
    /// Otherwise they wait until they are a second old: a compiler run is not a leak. The report counts those that
    /// ended before they had probes.
    ///
    /// Example: --all --young
    #[arg(long)]
    young: bool,
    /// Most processes that have probes at the same time; those that grow, use CPU time or are large come first.
    ///
    /// One that grows takes the place of one that does not. Each process with probes makes every probe hit of the
    /// others some 5 % more expensive, and with hundreds it takes seconds to remove them all.
    ///
    /// Example: --all --max-processes 50
    #[arg(long, value_name = "N", value_parser = whole_number(1..=8_000))]
    #[arg(default_value_t = MAX_PROCESSES, allow_negative_numbers = true)]
    max_processes: u32,
}

/// Settings of a trace of the whole host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostWideConfig {
    /// What the first table has rows for.
    pub by: Grouping,
    /// Stacks to show of each process; 0 for none.
    pub per_process: usize,
    /// Most that the probes may cost, in percent of the machine's CPUs; `None` is no limit.
    pub cpu_budget_percent: Option<f64>,
    /// Whether processes are probed however young they are.
    pub young: bool,
    /// Most processes that have probes at the same time.
    pub max_processes: usize,
}

impl Default for HostWideConfig {
    fn default() -> Self {
        Self {
            by: Grouping::default(),
            per_process: 0,
            cpu_budget_percent: Some(CPU_BUDGET_PERCENT),
            young: false,
            max_processes: MAX_PROCESSES as usize,
        }
    }
}

impl ScopeArgs {
    /// The target of a command that can trace the whole host, and what its first table has rows for then; `other` is
    /// what it can trace besides.
    pub fn target(
        self,
        other: Option<Target>,
        grouping: GroupingArgs,
    ) -> Result<(Target, Option<Grouping>), ConfigError> {
        match (self.scope(), other) {
            (Some(scope), _) => Ok((Target::Host(scope), Some(grouping.by))),
            (None, Some(target)) => Ok((target, None)),
            (None, None) => Err(ConfigError::NoTarget(
                "a PID, a name, --all or, at the end, -- COMMAND",
            )),
        }
    }

    /// Whether the whole host, or a part of it, was asked for.
    pub fn is_given(&self) -> bool {
        self.all || self.cgroup.is_some() || self.user.is_some()
    }

    /// The scope, where one was given.
    pub fn scope(self) -> Option<Scope> {
        self.is_given().then_some(Scope {
            cgroup: self.cgroup,
            user: self.user,
            exclude: self.exclude,
        })
    }
}

impl HostWideArgs {
    /// The settings of a trace of the whole host.
    pub fn config(self, budget: BudgetArgs, by: Grouping) -> HostWideConfig {
        HostWideConfig {
            by,
            per_process: self.per_process,
            ..budget.config()
        }
    }
}

impl BudgetArgs {
    /// The settings of a trace of the whole host, with a row for each process.
    pub fn config(self) -> HostWideConfig {
        HostWideConfig {
            by: Grouping::default(),
            per_process: 0,
            cpu_budget_percent: self.cpu_budget,
            young: self.young,
            max_processes: self.max_processes as usize,
        }
    }
}
