//! The words about the whole host, and the scope and settings that they become.

use clap::Args;

use super::args::TargetArgs;
use super::config::{HostConfig, Target, at_most_one, one_target};
use super::error::ConfigError;
use super::values::{CpuBudget, parse_cpu_budget};
use crate::process::scope::{Exclude, Scope, User, cgroup_path};
use crate::report::Grouping;

/// Most that probes may cost unless told otherwise, in percent of the machine's CPUs.
const CPU_BUDGET_PERCENT: f64 = 5.0;

/// The whole host, or a part of it, in `leaks` and in `vm`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Whole host")]
pub struct ScopeArgs {
    /// Every process of this host, in all containers, also those that start during the trace.
    ///
    /// A table of processes comes first, then the stacks that hold most over all of them. memlens itself is left out.
    ///
    /// Example: --all
    #[arg(long)]
    pub all: bool,
    /// Every process of this cgroup and those below it, also those that start during the trace.
    ///
    /// A path as in /proc/PID/cgroup, or the folder under /sys/fs/cgroup. Containers, services and logins are cgroups.
    ///
    /// Example: --cgroup /system.slice/nginx.service
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
    /// Every process of this user, by name or number, also those that start during the trace.
    ///
    /// The real user, as the host sees it. With --cgroup both must fit.
    ///
    /// Example: --user www-data
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Leave out a process, by name or PID, or a cgroup, by a path with a slash; may be given more than once.
    ///
    /// Example: --all --exclude java --exclude /user.slice
    #[arg(long, value_name = "NAME|PID|CGROUP")]
    pub exclude: Vec<String>,
    /// What the report has rows for [default: process].
    ///
    /// With container, what runs outside of containers is grouped by systemd unit or cgroup. With stack, a stack that several processes have in common is shown once.
    ///
    /// Example: --all --by container
    #[arg(long, value_enum, value_name = "WHAT")]
    pub by: Option<Grouping>,
}

/// The whole host in `leaks`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Whole host")]
pub struct HostArgs {
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Also show the top N stacks of each of the first processes.
    ///
    /// Example: --all --top 5 --per-process 3
    #[arg(long, value_name = "N")]
    pub per_process: Option<usize>,
    /// Most that the probes may cost, in percent of the machine; off sets no limit [default: 5].
    ///
    /// The cost is estimated from how often probes are hit. Above it memlens samples the processes that allocate most, ever more
    /// coarsely, and at last takes the probes off a process; the report says each step.
    ///
    /// Example: --cpu-budget 1
    #[arg(long, value_name = "PERCENT", value_parser = parse_cpu_budget)]
    pub cpu_budget: Option<CpuBudget>,
}

/// The target of `memlens leaks`, and the settings that only a trace of the whole host has.
pub fn target(
    args: TargetArgs,
    host: &HostArgs,
) -> Result<(Target, Option<HostConfig>), ConfigError> {
    let (target, by) = scoped_target(args, &host.scope)?;
    let Some(by) = by else {
        let options = [
            (host.per_process.is_some(), "--per-process"),
            (host.cpu_budget.is_some(), "--cpu-budget"),
        ];
        refuse(&options)?;
        return Ok((target, None));
    };
    let config = HostConfig {
        by,
        per_process: host.per_process.unwrap_or(0),
        cpu_budget_percent: host
            .cpu_budget
            .map_or(Some(CPU_BUDGET_PERCENT), |budget| budget.0),
    };
    Ok((target, Some(config)))
}

/// The target of a command that can trace the whole host, and what its first table has rows for then.
pub fn scoped_target(
    args: TargetArgs,
    host: &ScopeArgs,
) -> Result<(Target, Option<Grouping>), ConfigError> {
    let wanted = [
        (host.all, "--all"),
        (host.cgroup.is_some(), "--cgroup"),
        (host.user.is_some(), "--user"),
    ];
    let Some((_, word)) = wanted.into_iter().find(|(given, _)| *given) else {
        refuse(&[
            (!host.exclude.is_empty(), "--exclude"),
            (host.by.is_some(), "--by"),
        ])?;
        let target = one_target(args.processes, args.command)?.ok_or(ConfigError::NoTarget(
            "-p PID, -n NAME, --all or, at the end, -- COMMAND",
        ))?;
        return Ok((target, None));
    };
    let targets = [
        (!args.processes.pid.is_empty(), "-p"),
        (args.processes.name.is_some(), "-n"),
        (true, word),
        (!args.command.is_empty(), "--"),
    ];
    at_most_one(
        &targets,
        "-p PID, -n NAME, --all (--cgroup, --user) and -- COMMAND",
    )?;
    Ok((
        Target::Host(scope(host)?),
        Some(host.by.unwrap_or_default()),
    ))
}

fn scope(args: &ScopeArgs) -> Result<Scope, ConfigError> {
    let cgroup = read(
        "--cgroup",
        args.cgroup.as_deref(),
        cgroup_path,
        "a path such as /system.slice/nginx.service",
    )?;
    let user = read(
        "--user",
        args.user.as_deref(),
        User::parse,
        "a user's name or number",
    )?;
    let exclude = args.exclude.iter().map(|text| {
        let remedy = "a process's name or PID, or a cgroup's path with a slash";
        read("--exclude", Some(text), Exclude::parse, remedy)
    });
    let exclude: Vec<Option<Exclude>> = exclude.collect::<Result<_, _>>()?;
    Ok(Scope {
        cgroup,
        user,
        exclude: exclude.into_iter().flatten().collect(),
    })
}

/// The value of an option that was given; what it cannot mean is refused.
fn read<T>(
    option: &'static str,
    value: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
    remedy: &'static str,
) -> Result<Option<T>, ConfigError> {
    let Some(value) = value else { return Ok(None) };
    let parsed = parse(value).ok_or_else(|| ConfigError::Meaningless {
        option,
        value: value.to_owned(),
        remedy,
    })?;
    Ok(Some(parsed))
}

/// Refuses what only the whole host has, where it was given.
fn refuse(options: &[(bool, &'static str)]) -> Result<(), ConfigError> {
    match options.iter().find(|(given, _)| *given) {
        Some((_, option)) => Err(ConfigError::NeedsHost(option)),
        None => Ok(()),
    }
}
