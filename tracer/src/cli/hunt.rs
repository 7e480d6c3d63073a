//! `memlens hunt`: its arguments and settings.

use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::error::ConfigError;
use super::parsers::{parse_interval, parse_pid, parse_process, parse_slowdown};
use super::shared::Outputs;
use crate::engine::target::Target;

/// Most that the probes may cost the process unless told otherwise, in percent of its CPU time.
const SLOWDOWN_PERCENT: f64 = 10.0;
/// How long it all takes unless told otherwise.
const FOR_SECONDS: u64 = 60;

const EXAMPLES: &str = "\
Examples:
  memlens hunt                       what takes memory on this machine, and which stack, within a minute
  memlens hunt 4242                  does process 4242 grow, and by what
  memlens hunt redis-server          the same, by name
  memlens hunt --for 10m             for longer: a slower growth shows
  memlens hunt 4242 --slowdown 2     the probes may cost it no more than 2 % of its CPU time
  memlens hunt --json > hunt.json    the evidence and the conclusion as one JSON object
Ctrl-C ends the step that it is at and prints what is known; a second Ctrl-C exits at once.
Exit codes: 0 done, 2 failed.";

/// Find out what takes memory: the machine, the process, the part of it, the stack; all in one command.
///
/// In four steps: watches the machine, picks the process that certainly grows most, looks at its ledger twice, and
/// meanwhile traces its heap and its mappings. Prints one page: the conclusion, what each step found, and what to run
/// next. If nothing grows it says so, and how small a growth would have been seen.
///
/// With a PID or a name that process is looked at whether it grows or not. Without root or BPF the first three steps
/// work with what may be read.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct HuntArgs {
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    rest: HuntConfig,
}

#[derive(Debug, Args)]
#[group(id = "hunted", multiple = false)]
struct ProcessArgs {
    /// The process, by PID or by name; without it the one that certainly grows most.
    ///
    /// A name is that of the process (as `ps -e -o comm` prints it) or the file name of its executable, and must be of
    /// one process only. A bare number is a PID; for a process named like one there is -n.
    #[arg(value_name = "PID|NAME", value_parser = parse_process, allow_negative_numbers = true)]
    process: Option<Target>,
    /// The process, as in the other commands.
    #[arg(short, long, value_name = "PID", value_parser = parse_pid, help_heading = "Target")]
    #[arg(allow_negative_numbers = true)]
    pid: Option<u32>,
    /// The process of this name, as in the other commands.
    ///
    /// Example: -n redis-server
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new(), help_heading = "Target")]
    name: Option<String>,
}

/// Settings of `memlens hunt`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct HuntConfig {
    /// The process: one PID, or a name; `None` is the one that certainly grows most.
    #[arg(skip)]
    pub target: Option<Target>,
    /// How long it may take, all steps together.
    ///
    /// A third is for the machine and the choice of the process, less where the choice is certain before; the rest for
    /// the trace. A number without a unit is seconds. The longer, the slower a growth that is seen.
    ///
    /// Example: --for 10m
    #[arg(long = "for", value_name = "TIME", value_parser = parse_interval, allow_hyphen_values = true)]
    #[arg(default_value = format!("{FOR_SECONDS}s"))]
    pub time: Duration,
    /// Most that the probes may cost the process, in percent of its CPU time.
    ///
    /// Above it memlens samples the process, more and more coarsely, and as a last step removes its probes.
    ///
    /// Example: --slowdown 2
    #[arg(long, value_name = "PERCENT", value_parser = parse_slowdown, help_heading = "Cost")]
    #[arg(default_value_t = SLOWDOWN_PERCENT, allow_hyphen_values = true)]
    pub slowdown: f64,
    /// Where the report goes.
    #[command(flatten)]
    pub outputs: Outputs,
}

impl TryFrom<HuntArgs> for HuntConfig {
    type Error = ConfigError;

    fn try_from(args: HuntArgs) -> Result<Self, ConfigError> {
        args.rest.outputs.check()?;
        let ProcessArgs { process, pid, name } = args.process;
        let target = name.map(Target::Name);
        let target = target.or_else(|| pid.map(|pid| Target::Pids(vec![pid])));
        Ok(Self {
            target: target.or(process),
            ..args.rest
        })
    }
}
