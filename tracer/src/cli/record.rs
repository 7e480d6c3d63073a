//! `memlens record`: its arguments and settings.

use clap::{Args, ValueEnum};

use super::error::ConfigError;
use super::shared::{
    BareWords, BudgetArgs, GroupingArgs, HostWideArgs, HostWideConfig, Outputs, Schedule,
    ScopeArgs, TargetArgs, Walk,
};
use crate::engine::target::Target;
use crate::render::Format;

/// Time between snapshots unless another is given.
const INTERVAL_SECONDS: u64 = 10;

const EXAMPLES: &str = "\
Examples:
  memlens record 4242 -o heap.memlens              heap, address space and machine, every 10 seconds until Ctrl-C
  memlens record nginx 1m -o day.memlens           one snapshot a minute: a day takes a few megabytes
  memlens record -o host.memlens                   the machine alone; needs no BPF and no root
  memlens record --all --sources heap -o all.memlens
                                                   the heaps of the whole host
  memlens report heap.memlens                      what it has, at its end
  memlens report heap.memlens -o heap.html         a page to look at, with all of the time
A file that is a recording already is added to. A kill or a full disk costs the last snapshot at most.";

/// What can be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Recorded {
    /// Blocks of the heaps, by stack
    Heap,
    /// Mapped address space, by stack
    Vm,
    /// The machine's memory, the processes that grow or are large, cgroups
    Host,
}

/// Record memory over time to a file, for `memlens report` and `memlens diff`, here or elsewhere.
///
/// Every INTERVAL, and at the end, adds a snapshot of what memlens leaks, vm and host show: only what has changed, with
/// names. Without a target it records the machine alone.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RecordArgs {
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
    rest: RecordConfig,
}

/// Settings of `memlens record`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct RecordConfig {
    /// What to trace; `None` is nothing, only the machine is looked at.
    #[arg(skip)]
    pub target: Option<Target>,
    /// What only the whole host has.
    #[arg(skip)]
    pub host: Option<HostWideConfig>,
    /// When to take snapshots.
    #[arg(skip)]
    pub schedule: Schedule,
    /// What to record; separate several by commas.
    ///
    /// Without a target only host can be recorded.
    ///
    /// Example: --sources heap,host
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "WHAT",
        help_heading = "Output"
    )]
    #[arg(default_values = ["heap", "vm", "host"])]
    pub sources: Vec<Recorded>,
    /// Also trace the children of the processes or the command, from their birth on.
    #[arg(short = 'f', long, help_heading = "Target", conflicts_with = "scope")]
    pub children: bool,
    /// Where it goes.
    #[command(flatten)]
    pub outputs: Outputs,
    /// How stacks are walked.
    #[command(flatten)]
    pub walk: Walk,
}

impl RecordConfig {
    /// Whether this is recorded.
    pub fn has(&self, source: Recorded) -> bool {
        self.sources.contains(&source)
    }
}

impl TryFrom<RecordArgs> for RecordConfig {
    type Error = ConfigError;

    fn try_from(args: RecordArgs) -> Result<Self, ConfigError> {
        args.rest.outputs.check()?;
        let is_recording = |(format, _): (Format, _)| format == Format::Recording;
        if !args.rest.outputs.files().any(is_recording) {
            return Err(ConfigError::NoRecording);
        }
        let read = args
            .words
            .read(args.target.optional()?, args.scope.is_given())?;
        let (target, by) = match args.scope.target(read.target, args.grouping) {
            Ok((target, by)) => (Some(target), by),
            Err(ConfigError::NoTarget(_)) => (None, None),
            Err(error) => return Err(error),
        };
        let config = Self {
            target,
            host: by.map(|by| args.host.config(args.budget, by)),
            schedule: read.schedule,
            ..args.rest
        };
        match (&config.target, config.has(Recorded::Host)) {
            (None, false) => Err(ConfigError::NothingToRecord),
            _ => Ok(config),
        }
    }
}
