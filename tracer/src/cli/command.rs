//! The list of commands: as typed, and as checked settings.

use clap::{ArgAction, Parser, Subcommand};

use super::agent::{AgentArgs, AgentConfig};
use super::color::Color;
use super::demo::DemoConfig;
use super::doctor::{DoctorArgs, DoctorConfig};
use super::error::ConfigError;
use super::explain::{ExplainArgs, ExplainConfig};
use super::host::{HostArgs, HostConfig};
use super::hunt::{HuntArgs, HuntConfig};
use super::kernel::KernelConfig;
use super::leaks::{LeaksArgs, LeaksConfig};
use super::manual::{CompletionsConfig, ManConfig};
use super::record::{RecordArgs, RecordConfig};
use super::report::{DiffConfig, ReportArgs, ReportConfig};
use super::top::{TopArgs, TopConfig};
use super::trace::{TraceArgs, TraceConfig};
use super::vm::{VmArgs, VmConfig};

const EXAMPLES: &str = "\
Examples:
  memlens leaks 4242                 the stacks that hold most memory, every 5 seconds
  memlens leaks --all                every process of this host, in all containers
  memlens leaks redis-server 10 3    three reports, 10 seconds apart, of every redis-server
  memlens leaks --json -- ./server --port 80
                                     start a command, trace it from its first instruction
  memlens leaks -p 4242 --older 1m --fail-over 10MiB 5m 1
                                     exit 1 if, after five minutes, over 10 MiB are older than one
  memlens hunt                       what takes memory: the machine, the process, the stack, in a minute
  memlens host                       is memory shrinking, who grows, what to run next
  memlens top                        the same, live: processes, and with Enter their stacks
  memlens vm 4242                    who has mapped address space, and what of it is in memory
  memlens kernel                     which kernel stacks hold the kernel's own memory
  memlens trace 4242                 every allocation and free, one line each
  memlens explain 4242               where its memory is: kernel, allocator, runtime
  memlens record 4242 -o a.memlens
                                     heap, address space and machine over time, to a file
  memlens report a.memlens -o a.html  what it has, as a page to look at
  memlens diff a.memlens b.memlens   what grew between two recordings, runs or builds
  memlens agent                      always on: for Prometheus, Grafana, Parca, Pyroscope, pprof
  memlens doctor                     what works on this machine, and how to fix the rest
  memlens demo                       a built-in leaky program, traced for ten seconds
  memlens completions bash, memlens man
                                     for the Tab key, and manual pages

Exit codes: 0 done, 1 leaks found where --fail-over or --fail-on asked for it, 2 failed; where a command
is traced its own (128 + N if signal N ended it), 124 leaks found, 125 failed, 126 cannot be run, 127 not found.
Sizes take B, K, M, G or KiB, MiB, GiB (1024) and KB, MB, GB (1000); times take us, ms, s, m, h, d.";

/// What the options of all commands do; told once, and not in the help of each command.
const GLOBAL: &str = "\
--color auto colors on a terminal, unless NO_COLOR is set in the environment or TERM is dumb.

-v prints on standard error what was probed and, in leaks, timings and memory; -vv also each exec,
exit and mapping; -vvv also what the BPF programs do not follow, and why. In doctor: also how many
instructions the kernel's verifier processed for each BPF program. In text reports of leaks, -v also
gives every frame a line of its own: without it, runs of frames that only allocate, or start a Rust
program, are one line, such as \"(3 frames of alloc::raw_vec)\".";

/// Trace memory allocations of running processes, without restarting them.
///
/// memlens shows which call stacks hold memory: it traces the allocator's functions with eBPF, in processes that are
/// already running, and injects nothing into them. It needs root, or CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE.
#[derive(Debug, Parser)]
#[command(
    name = "memlens",
    version,
    max_term_width = 100,
    subcommand_required = true
)]
#[command(
    after_help = "'memlens COMMAND -h' has the options of one, 'memlens --help' examples and exit codes."
)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{GLOBAL}"))]
pub struct Cli {
    #[command(subcommand)]
    command: Typed,
    /// When to use color.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    color: Color,
    /// Print more on standard error; -vv and -vvv still more.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

/// A command as typed. Its help is that of its arguments.
#[derive(Debug, Subcommand)]
enum Typed {
    Hunt(HuntArgs),
    Leaks(Box<LeaksArgs>),
    Vm(Box<VmArgs>),
    Kernel(Box<KernelConfig>),
    Trace(TraceArgs),
    Host(HostArgs),
    Top(Box<TopArgs>),
    Explain(ExplainArgs),
    Record(Box<RecordArgs>),
    Report(Box<ReportArgs>),
    Diff(Box<DiffConfig>),
    Agent(Box<AgentArgs>),
    Doctor(DoctorArgs),
    Demo(DemoConfig),
    Completions(CompletionsConfig),
    Man(ManConfig),
}

/// What the user asked for, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// When to use color.
    pub color: Color,
    /// How much to print on standard error: 0 is the least.
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
    Host(HostConfig),
    /// The live view.
    Top(Box<TopConfig>),
    /// Find out what takes memory, in four steps.
    Hunt(HuntConfig),
    /// Record memory over time.
    Record(Box<RecordConfig>),
    /// Show what was recorded.
    Report(Box<ReportConfig>),
    /// Compare two profiles.
    Diff(Box<DiffConfig>),
    /// Watch the machine for good, and serve what is known.
    Agent(Box<AgentConfig>),
    /// Print the completions of a shell.
    Completions(CompletionsConfig),
    /// Print a manual page.
    Man(ManConfig),
}

impl TryFrom<Cli> for Invocation {
    type Error = ConfigError;

    fn try_from(cli: Cli) -> Result<Self, ConfigError> {
        let command = match cli.command {
            Typed::Leaks(args) => Command::Leaks(Box::new((*args).try_into()?)),
            Typed::Vm(args) => Command::Vm(Box::new((*args).try_into()?)),
            Typed::Kernel(config) => {
                config.output.outputs.check()?;
                Command::Kernel(config)
            }
            Typed::Trace(args) => Command::Trace(args.try_into()?),
            Typed::Host(args) => Command::Host(args.try_into()?),
            Typed::Top(args) => Command::Top(Box::new((*args).try_into()?)),
            Typed::Hunt(args) => Command::Hunt(args.try_into()?),
            Typed::Explain(args) => Command::Explain(args.try_into()?),
            Typed::Agent(args) => Command::Agent(Box::new((*args).try_into()?)),
            Typed::Doctor(args) => Command::Doctor(args.into()),
            Typed::Demo(config) => Command::Demo(config),
            Typed::Completions(config) => Command::Completions(config),
            Typed::Man(config) => Command::Man(config),
            Typed::Record(args) => Command::Record(Box::new((*args).try_into()?)),
            Typed::Report(args) => Command::Report(Box::new((*args).try_into()?)),
            Typed::Diff(config) => {
                config.output.outputs.check()?;
                Command::Diff(config)
            }
        };
        Ok(Self {
            command,
            color: cli.color,
            verbose: cli.verbose,
        })
    }
}
