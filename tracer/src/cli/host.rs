//! The words about the whole host become a scope and settings.

use super::args::{HostArgs, TargetArgs};
use super::config::{ConfigError, HostConfig, Target, at_most_one, one_target};
use crate::process::scope::{Exclude, Scope, User, cgroup_path};

/// Most that probes may cost unless told otherwise, in percent of the machine's CPUs.
const CPU_BUDGET_PERCENT: f64 = 5.0;

/// The target of `memlens leaks`, and the settings that only a trace of the whole host has.
pub fn target(
    args: TargetArgs,
    host: &HostArgs,
) -> Result<(Target, Option<HostConfig>), ConfigError> {
    let wanted = [
        (host.all, "--all"),
        (host.cgroup.is_some(), "--cgroup"),
        (host.user.is_some(), "--user"),
    ];
    let Some((_, word)) = wanted.into_iter().find(|(given, _)| *given) else {
        refuse_options(host)?;
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
    let config = HostConfig {
        by: host.by.unwrap_or_default(),
        per_process: host.per_process.unwrap_or(0),
        cpu_budget_percent: host
            .cpu_budget
            .map_or(Some(CPU_BUDGET_PERCENT), |budget| budget.0),
    };
    Ok((Target::Host(scope(host)?), Some(config)))
}

fn scope(args: &HostArgs) -> Result<Scope, ConfigError> {
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

/// Refuses what only the whole host has.
fn refuse_options(args: &HostArgs) -> Result<(), ConfigError> {
    let options = [
        (!args.exclude.is_empty(), "--exclude"),
        (args.by.is_some(), "--by"),
        (args.per_process.is_some(), "--per-process"),
        (args.cpu_budget.is_some(), "--cpu-budget"),
    ];
    match options.into_iter().find(|(given, _)| *given) {
        Some((_, option)) => Err(ConfigError::NeedsHost(option)),
        None => Ok(()),
    }
}
