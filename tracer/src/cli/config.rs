//! Typed words become checked settings: what contradicts itself is refused here, without touching the system.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::{
    AllocatorArgs, Cli, Color, DemoArgs, DoctorArgs, IntervalArgs, LeaksArgs, MAX_STACK_DEPTH,
    OutputArgs, ProcessArgs, SizeArgs, Sort, Subcommands, TargetArgs, TraceArgs, Unwind,
};
use super::error::ConfigError;
use super::explain::ExplainConfig;
use super::host;
use super::kernel::KernelConfig;
use super::machine::{self, MachineConfig};
use super::vm::VmConfig;
use crate::process::scope::Scope;
use crate::report::Grouping;

/// Most blocks that can be followed: the kernel rounds a map up to a power of two that must fit 32 bits.
pub const MAX_MAX_LIVE: u32 = 1 << 30;

/// What the user asked for, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// When to use colour.
    pub color: Color,
    /// How much to say on standard error: 0 is the least.
    pub verbose: u8,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Report the stacks with live memory.
    Leaks(Box<LeaksConfig>),
    /// Report who has mapped address space.
    Vm(Box<VmConfig>),
    /// Report who holds the kernel's own memory.
    Kernel(Box<KernelConfig>),
    /// Print every event.
    Trace(TraceConfig),
    /// Explain one process.
    Explain(ExplainConfig),
    /// Check the machine.
    Doctor(DoctorConfig),
    /// Trace the built-in program.
    Demo(DemoConfig),
    /// Watch the machine and who grows on it.
    Host(MachineConfig),
}

/// What to trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// These processes: no PID twice, at least one.
    Pids(Vec<u32>),
    /// Every process of this name.
    Name(String),
    /// A command to start: the program and its arguments.
    Command(Vec<OsString>),
    /// The whole host, or the part of it that the scope leaves.
    Host(Scope),
}

/// Settings of a trace of the whole host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostConfig {
    /// What the first table has rows for.
    pub by: Grouping,
    /// Stacks to show of each process; 0 for none.
    pub per_process: usize,
    /// Most that the probes may cost, in percent of the machine's CPUs; `None` is no limit.
    pub cpu_budget_percent: Option<f64>,
}

/// Sizes of the blocks that count, in bytes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeRange {
    /// Smallest size.
    pub min: u64,
    /// Largest size.
    pub max: u64,
}

impl SizeRange {
    /// Every block counts.
    pub const ALL: Self = Self {
        min: 0,
        max: u64::MAX,
    };
}

/// Where to look for the allocator; empty means discovery alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocator {
    /// Prefix of its functions.
    pub prefix: Option<String>,
    /// The only file to look in, as the target sees it.
    pub object: Option<PathBuf>,
}

/// Form of the reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// JSON in place of text.
    pub json: bool,
    /// Where folded stacks go.
    pub folded: Option<PathBuf>,
    /// Where the flame graph goes.
    pub svg: Option<PathBuf>,
    /// Number of stacks to show; `None` is all.
    pub top: Option<usize>,
    /// Whether to show file names and line numbers.
    pub source: bool,
    /// Whether to show addresses.
    pub addresses: bool,
}

/// Settings of `memlens leaks`.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaksConfig {
    /// What to trace.
    pub target: Target,
    /// What only the whole host has; set where `target` is [`Target::Host`], and nowhere else.
    pub host: Option<HostConfig>,
    /// Time between reports; not zero.
    pub interval: Duration,
    /// Number of reports; `None`: until Ctrl-C or the target's end.
    pub count: Option<NonZeroU64>,
    /// Which blocks count.
    pub sizes: SizeRange,
    /// Least age of the blocks shown; zero shows all.
    pub older: Duration,
    /// Where the allocator is.
    pub allocator: Allocator,
    /// What to print.
    pub output: Output,
    /// Order of the stacks.
    pub sort: Sort,
    /// Whether to list the blocks.
    pub show_allocs: bool,
    /// Whether to show stacks without live memory, too.
    pub all_stacks: bool,
    /// Exit with 1 when more bytes are live in the last report.
    pub fail_over: Option<u64>,
    /// Keep totals per stack only.
    pub combined: bool,
    /// Mean bytes between two samples; `None` follows every block.
    pub sample_bytes: Option<NonZeroU64>,
    /// Frames kept of a stack: 1 to [`MAX_STACK_DEPTH`].
    pub stack_depth: u32,
    /// How stacks are walked.
    pub unwind: Unwind,
    /// Most bytes of kernel memory for unwind tables.
    pub unwind_memory: u64,
    /// Live blocks followed at most: 1 to [`MAX_MAX_LIVE`].
    pub max_live: u32,
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
}

/// Settings of `memlens doctor`.
#[derive(Clone, Debug, PartialEq)]
pub struct DoctorConfig {
    /// Whose allocators to look for; never a command.
    pub target: Option<Target>,
    /// Where the allocator is.
    pub allocator: Allocator,
    /// Whether to list the probe sites.
    pub probes: bool,
    /// Whether to list the unwind tables.
    pub unwind: bool,
    /// JSON in place of text.
    pub json: bool,
}

/// Settings of `memlens demo`.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoConfig {
    /// How long to trace; not zero.
    pub duration: Duration,
    /// JSON in place of text.
    pub json: bool,
    /// Where the flame graph goes.
    pub svg: PathBuf,
}

impl TryFrom<Cli> for Invocation {
    type Error = ConfigError;

    fn try_from(cli: Cli) -> Result<Self, ConfigError> {
        let command = match cli.command {
            Subcommands::Leaks(args) => Command::Leaks(Box::new(leaks(*args)?)),
            Subcommands::Vm(args) => Command::Vm(Box::new(super::vm::config(*args)?)),
            Subcommands::Kernel(args) => Command::Kernel(Box::new(super::kernel::config(args)?)),
            Subcommands::Trace(args) => Command::Trace(trace(args)?),
            Subcommands::Explain(args) => Command::Explain(super::explain::config(args)?),
            Subcommands::Doctor(args) => Command::Doctor(doctor(args)?),
            Subcommands::Demo(args) => Command::Demo(demo(args)?),
            Subcommands::Host(args) => Command::Host(machine::config(args)?),
        };
        Ok(Self {
            command,
            color: cli.color,
            verbose: cli.verbose,
        })
    }
}

fn leaks(args: LeaksArgs) -> Result<LeaksConfig, ConfigError> {
    refuse_combined_conflicts(&args)?;
    let (interval, count) = interval(&args.interval)?;
    let (target, host) = host::target(args.target, &args.host)?;
    Ok(LeaksConfig {
        target,
        host,
        interval,
        count,
        sizes: sizes(&args.sizes)?,
        older: args.older.unwrap_or_default(),
        allocator: allocator(args.allocator),
        output: output(args.output)?,
        sort: args.sort,
        show_allocs: args.show_allocs,
        all_stacks: args.all_stacks,
        fail_over: args.fail_over,
        combined: args.combined,
        sample_bytes: args.sample_bytes.map(sample_bytes).transpose()?,
        stack_depth: in_range("--stack-depth", args.walk.stack_depth, MAX_STACK_DEPTH)?,
        unwind: args.walk.unwind,
        unwind_memory: args.walk.unwind_memory,
        max_live: in_range("--max-live", args.max_live, MAX_MAX_LIVE)?,
    })
}

fn trace(args: TraceArgs) -> Result<TraceConfig, ConfigError> {
    Ok(TraceConfig {
        target: target(args.target)?,
        sizes: sizes(&args.sizes)?,
        allocator: allocator(args.allocator),
    })
}

fn doctor(args: DoctorArgs) -> Result<DoctorConfig, ConfigError> {
    let target = one_target(args.processes, Vec::new())?;
    for (name, asked) in [("--probes", args.probes), ("--unwind", args.unwind)] {
        if asked && target.is_none() {
            return Err(ConfigError::NeedsTarget(name));
        }
    }
    Ok(DoctorConfig {
        target,
        allocator: allocator(args.allocator),
        probes: args.probes,
        unwind: args.unwind,
        json: args.json,
    })
}

fn demo(args: DemoArgs) -> Result<DemoConfig, ConfigError> {
    Ok(DemoConfig {
        duration: not_zero("the duration", args.duration)?,
        json: args.json,
        svg: output_file("--svg", args.svg)?,
    })
}

pub(super) fn target(args: TargetArgs) -> Result<Target, ConfigError> {
    one_target(args.processes, args.command)?.ok_or(ConfigError::NoTarget(
        "-p PID, -n NAME or, at the end, -- COMMAND",
    ))
}

/// Refuses more than one target. Each comes with its word and whether it was given.
pub(super) fn at_most_one(
    targets: &[(bool, &str)],
    possible: &'static str,
) -> Result<(), ConfigError> {
    let given: Vec<&str> = targets
        .iter()
        .filter_map(|(is_given, word)| is_given.then_some(*word))
        .collect();
    if given.len() > 1 {
        let given = given.join(" and ");
        return Err(ConfigError::SeveralTargets { given, possible });
    }
    Ok(())
}

/// The one target that was given, if any was.
pub(super) fn one_target(
    processes: ProcessArgs,
    command: Vec<OsString>,
) -> Result<Option<Target>, ConfigError> {
    let targets = [
        (!processes.pid.is_empty(), "-p"),
        (processes.name.is_some(), "-n"),
        (!command.is_empty(), "--"),
    ];
    at_most_one(&targets, "-p PID, -n NAME and -- COMMAND")?;
    if let Some(name) = processes.name {
        return match name.trim() {
            "" => Err(ConfigError::EmptyName("-n")),
            name => Ok(Some(Target::Name(name.to_owned()))),
        };
    }
    if let Some(program) = command.first() {
        return match program.is_empty() {
            true => Err(ConfigError::EmptyName("COMMAND")),
            false => Ok(Some(Target::Command(command))),
        };
    }
    let mut pids = Vec::new();
    for pid in processes.pid {
        if !pids.contains(&pid) {
            pids.push(pid);
        }
    }
    Ok((!pids.is_empty()).then_some(Target::Pids(pids)))
}

pub(super) fn interval(args: &IntervalArgs) -> Result<(Duration, Option<NonZeroU64>), ConfigError> {
    let interval = not_zero("the interval", args.interval)?;
    let count = match args.count {
        None => None,
        Some(count) => Some(NonZeroU64::new(count).ok_or(ConfigError::Zero {
            what: "the number of reports",
            remedy: "give 1 or more, or leave it out to go on until Ctrl-C",
        })?),
    };
    Ok((interval, count))
}

pub(super) fn not_zero(what: &'static str, time: Duration) -> Result<Duration, ConfigError> {
    if time.is_zero() {
        let remedy = "give a time such as 5 (seconds) or 500ms";
        return Err(ConfigError::Zero { what, remedy });
    }
    Ok(time)
}

fn sizes(args: &SizeArgs) -> Result<SizeRange, ConfigError> {
    let range = SizeRange {
        min: args.min_size.unwrap_or(SizeRange::ALL.min),
        max: args.max_size.unwrap_or(SizeRange::ALL.max),
    };
    if range.min > range.max {
        let SizeRange { min, max } = range;
        return Err(ConfigError::EmptySizeRange { min, max });
    }
    Ok(range)
}

fn allocator(args: AllocatorArgs) -> Allocator {
    Allocator {
        prefix: args.symbols_prefix,
        object: args.object,
    }
}

pub(super) fn output(args: OutputArgs) -> Result<Output, ConfigError> {
    let folded = args
        .folded
        .map(|path| output_file("--folded", path))
        .transpose()?;
    let svg = args
        .svg
        .map(|path| output_file("--svg", path))
        .transpose()?;
    if let (Some(one), Some(other)) = (&folded, &svg)
        && one == other
    {
        return Err(ConfigError::SameFile(one.clone()));
    }
    Ok(Output {
        json: args.json,
        folded,
        svg,
        top: (args.top > 0).then_some(args.top),
        source: !args.no_source,
        addresses: args.addresses,
    })
}

pub(super) fn output_file(option: &'static str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path == Path::new("-") {
        return Err(ConfigError::DashAsFile(option));
    }
    Ok(path)
}

pub(super) fn sample_bytes(bytes: u64) -> Result<NonZeroU64, ConfigError> {
    NonZeroU64::new(bytes).ok_or(ConfigError::Zero {
        what: "--sample-bytes",
        remedy: "give a mean distance such as 512KiB, or leave it out to follow every block",
    })
}

pub(super) fn in_range(what: &'static str, value: u32, most: u32) -> Result<u32, ConfigError> {
    if (1..=most).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::OutOfRange {
        what,
        value,
        least: 1,
        most,
    })
}

/// With `--combined` the kernel keeps totals per stack, so nothing that needs a single block can be shown.
fn refuse_combined_conflicts(args: &LeaksArgs) -> Result<(), ConfigError> {
    let conflicts = [
        (args.show_allocs, "--show-allocs"),
        (args.older.is_some_and(|age| !age.is_zero()), "--older"),
        (args.sort == Sort::Age, "--sort age"),
    ];
    match conflicts.into_iter().find(|(given, _)| *given) {
        Some((_, option)) if args.combined => Err(ConfigError::CombinedWith(option)),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
