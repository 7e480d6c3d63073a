//! The words of the command line as typed: names, types and help. What fits together is checked in `config`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};

use super::explain::{self, ExplainArgs};
use super::help;
use super::host::HostArgs;
use super::kernel::KernelArgs;
use super::machine::MachineArgs;
use super::values::{BareUnit, ValueError, parse_pid, parse_prefix, parse_size, parse_time};
use super::vm::VmArgs;

/// Most frames that a stack keeps; also the default.
pub const MAX_STACK_DEPTH: u32 = 127;

/// Trace memory allocations of running processes, without a restart.
///
/// memlens shows which call stacks hold memory: it traces the allocator's functions with eBPF, in processes
/// that run already, with nothing injected into them. It needs root, or CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE.
#[derive(Debug, Parser)]
#[command(name = "memlens", version, after_help = help::EXAMPLES, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Subcommands,
    /// When to use colour.
    ///
    /// auto: on a terminal, unless the environment variable NO_COLOR is set.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub color: Color,
    /// Say more on standard error: what was probed and, in leaks, timings and memory; -vv also each exec, exit and
    /// mapping; -vvv also what the BPF programs do not follow, and why.
    ///
    /// In doctor: how much work each BPF program is for the kernel's verifier. In text reports of leaks -v also gives every frame a line of its own: without it runs of frames that only
    /// allocate, or start a Rust program, are one line, such as "(3 frames of alloc::raw_vec)".
    ///
    /// Example: memlens leaks -v -p 4242
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Subcommands {
    /// Show the call stacks that hold the most heap memory.
    ///
    /// Every INTERVAL, and at the end, prints the stacks whose blocks were allocated since the start and are not
    /// released, with bytes, blocks, growth and age. Ctrl-C ends the trace with a last report; a second one leaves
    /// at once.
    #[command(after_help = help::LEAKS_EXAMPLES)]
    Leaks(Box<LeaksArgs>),
    /// Show who has mapped address space, and how much of it is memory.
    ///
    /// Follows mmap, munmap, mremap, brk, mprotect, shmat and shmdt. Every INTERVAL, and at the end, prints the stacks whose ranges were
    /// mapped since the start and are still mapped: bytes mapped and resident side by side, ranges, growth and age; and what was there before, by kind
    /// and file. Each report is held against /proc/PID/maps, and says so.
    #[command(after_help = help::VM_EXAMPLES)]
    Vm(Box<VmArgs>),
    /// Show which kernel stacks hold the kernel's own memory: slab objects, pages, per-CPU memory.
    ///
    /// Follows the tracepoints of the kernel's allocators, on the whole machine. Every INTERVAL, and at the end, prints the
    /// kernel stacks whose objects and pages were allocated since the start and are not released, and which slab caches have
    /// grown. Needs Linux 6.1 or later, with BTF.
    #[command(after_help = help::KERNEL_EXAMPLES)]
    Kernel(KernelArgs),
    /// Print every allocator call: one line each.
    ///
    /// A line has TIME (seconds since boot, CLOCK_MONOTONIC), PID, TID, FUNCTION, SIZE (bytes asked for; "-" for a
    /// release), ADDRESS of the block (0x0: the call failed) and CALLER; a realloc also has old=ADDRESS. Lines go to
    /// standard output. Events that came faster than they were read are counted and said at the end.
    #[command(after_help = help::TRACE_EXAMPLES)]
    Trace(TraceArgs),
    /// Show the machine's memory and who grows on it; needs no BPF and no root.
    ///
    /// Every INTERVAL: the machine's figures with their change, whether available memory is shrinking and where to, the processes
    /// that grow most and hold most, the cgroups nearest to their limits, and what to run next. Growth is a slope
    /// with its 95 % interval, so that noise does not rank first.
    #[command(after_help = help::HOST_EXAMPLES)]
    Host(MachineArgs),
    /// Explain where the memory of one process is: kernel, allocator, runtime.
    ///
    /// A ledger of all its regions that adds up to its resident memory; glibc's heap read block by block from outside,
    /// without stopping the process; what language runtimes publish; and what follows from it, in sentences. Uses no BPF
    /// and leaves nothing behind. Without root it says of other users' processes what everybody may know.
    #[command(after_help = explain::EXAMPLES)]
    Explain(ExplainArgs),
    /// Check what works on this machine, and say how to mend the rest.
    ///
    /// Looks at the kernel, its types (BTF), tracefs, privileges, lockdown, limits and the BPF compiler; with a
    /// process, also at its allocators.
    #[command(after_help = help::DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Trace a built-in program that leaks in several known ways.
    ///
    /// Prints the report and writes a flame graph. Mounts tracefs if it is not mounted.
    Demo(DemoArgs),
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The order of the stacks in a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Most live bytes first.
    #[default]
    Bytes,
    /// Most live blocks first.
    Count,
    /// Most bytes gained since the last report first.
    Growth,
    /// Oldest live block first.
    Age,
}

/// How stacks are walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Unwind {
    /// By unwind tables, and by frame pointers where a file has none.
    #[default]
    Auto,
    /// As auto.
    Dwarf,
    /// By frame pointers alone.
    Fp,
}

/// Running processes, by number or by name.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Target")]
pub struct ProcessArgs {
    /// Processes to trace, by PID; separate several by commas.
    ///
    /// All threads are included, children are not. Several processes are one trace with a row for each.
    ///
    /// Example: -p 4242,4243
    #[arg(short, long, value_name = "PID", value_delimiter = ',', value_parser = parse_pid)]
    pub pid: Vec<u32>,
    /// Every process of this name.
    ///
    /// The process's name (as `ps -e -o comm` prints it) or the file name of its executable. Processes that are
    /// started later are not included.
    ///
    /// Example: -n redis-server
    #[arg(short, long)]
    pub name: Option<String>,
}

/// What to trace: running processes or a command to start.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Target")]
pub struct TargetArgs {
    /// Running processes.
    #[command(flatten)]
    pub processes: ProcessArgs,
    /// A command to start and to trace from its first instruction; after "--".
    ///
    /// All its arguments are passed on. Its exit ends the trace; memlens's exit code does not depend on its own.
    ///
    /// Example: memlens leaks -- ./server --port 80
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// How often to report.
#[derive(Clone, Debug, Args)]
pub struct IntervalArgs {
    /// Time between reports, in seconds or with a unit (500ms, 1m).
    #[arg(value_parser = parse_interval, default_value = "5")]
    pub interval: Duration,
    /// Number of reports, after which the trace ends [default: until Ctrl-C or the target's end].
    pub count: Option<u64>,
}

/// Which blocks count.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Filters")]
pub struct SizeArgs {
    /// Leave out allocations of fewer bytes than this.
    ///
    /// They are never stored, so this also makes tracing cheaper. A block's size is not known when it is released, so
    /// trace prints all releases, and leaks counts those of blocks that were left out as untracked.
    ///
    /// Example: -z 64KiB
    #[arg(short = 'z', long, value_name = "BYTES", value_parser = parse_size)]
    pub min_size: Option<u64>,
    /// Leave out allocations of more bytes than this.
    ///
    /// Example: -Z 1M
    #[arg(short = 'Z', long, value_name = "BYTES", value_parser = parse_size)]
    pub max_size: Option<u64>,
}

/// Where to look for the allocator, if discovery does not find it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Allocator")]
pub struct AllocatorArgs {
    /// Trace functions with this prefix: je_ means je_malloc, je_free and so on.
    ///
    /// Needed only for an allocator with a prefix that memlens does not find by itself.
    ///
    /// Example: -S mylib_
    #[arg(short = 'S', long, value_name = "PREFIX", value_parser = parse_prefix)]
    pub symbols_prefix: Option<String>,
    /// Look for the allocator in this file only.
    ///
    /// A path as the target sees it: a shared library or the program itself.
    ///
    /// Example: -O /opt/lib/libheap.so
    #[arg(short = 'O', long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub object: Option<PathBuf>,
}

/// How stacks are walked, in `leaks` and in `vm`.
#[derive(Clone, Debug, Args)]
pub struct WalkArgs {
    /// Frames kept of each stack: 1 to 127.
    #[arg(long, value_name = "N", default_value_t = MAX_STACK_DEPTH, help_heading = "Cost")]
    pub stack_depth: u32,
    /// How to walk stacks: by unwind tables (auto, dwarf) or by frame pointers alone (fp).
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        default_value_t,
        help_heading = "Cost"
    )]
    pub unwind: Unwind,
    /// Most kernel memory for unwind tables.
    ///
    /// Example: --unwind-memory 64MiB
    #[arg(long, value_name = "BYTES", value_parser = parse_size, default_value = "256MiB", help_heading = "Cost")]
    pub unwind_memory: u64,
}

/// Files and formats of a report.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Print each report as one JSON object on one line.
    #[arg(long)]
    pub json: bool,
    /// Write folded stacks to FILE with every report: the input of flame graph tools.
    ///
    /// The innermost function comes last; the number is live bytes. All stacks are in it, whatever --top says. Each
    /// report replaces the file.
    ///
    /// Example: --folded heap.folded
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub folded: Option<PathBuf>,
    /// Write a flame graph to FILE with every report; the width is live bytes.
    ///
    /// All stacks are in it, whatever --top says. Each report replaces the file.
    ///
    /// Example: --svg heap.svg
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub svg: Option<PathBuf>,
    /// Show this many stacks, and of a whole host this many processes; 0 shows all.
    #[arg(short = 'T', long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// Leave out file names and line numbers.
    #[arg(long)]
    pub no_source: bool,
    /// Show every frame, with its address.
    #[arg(long)]
    pub addresses: bool,
}

/// `memlens leaks`.
#[derive(Debug, Args)]
pub struct LeaksArgs {
    // Before the target, whose command is the last positional.
    /// When to report.
    #[command(flatten)]
    pub interval: IntervalArgs,
    /// What to trace.
    #[command(flatten)]
    pub target: TargetArgs,
    /// The whole host.
    #[command(flatten)]
    pub host: HostArgs,
    /// Which blocks.
    #[command(flatten)]
    pub sizes: SizeArgs,
    /// Count only blocks that have lived at least this long, such as 30s.
    ///
    /// Leaves out memory that is about to be released. A number without a unit is milliseconds. Holds for the stacks and for --fail-over; the totals and the
    /// table of processes still count every age.
    ///
    /// Example: -o 30s
    #[arg(short, long, value_name = "AGE", value_parser = parse_age, help_heading = "Filters")]
    pub older: Option<Duration>,
    /// Where the allocator is.
    #[command(flatten)]
    pub allocator: AllocatorArgs,
    /// What to print.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Order of the stacks.
    #[arg(
        long,
        value_enum,
        value_name = "KEY",
        default_value_t,
        help_heading = "Output"
    )]
    pub sort: Sort,
    /// Also list the blocks of each stack: address, size and age.
    #[arg(short = 'a', long, help_heading = "Output")]
    pub show_allocs: bool,
    /// Show every stack that allocated, also those that hold nothing now.
    ///
    /// Shows where a program allocates, not only what it keeps.
    ///
    /// Example: --all-stacks --json --top 0
    #[arg(long, help_heading = "Output")]
    pub all_stacks: bool,
    /// Exit with code 1 if more than this many bytes are live in the last report.
    ///
    /// Counts what --older, --min-size and --max-size leave, in all stacks, and says so on standard error.
    ///
    /// Example: --older 1m --fail-over 10MiB
    #[arg(long, value_name = "BYTES", value_parser = parse_size, help_heading = "Output")]
    pub fail_over: Option<u64>,
    /// Report totals per stack only: quicker reports, but without ages and single blocks.
    ///
    /// The traced program pays the same.
    #[arg(long, help_heading = "Cost")]
    pub combined: bool,
    /// Sample: follow about one allocation in every BYTES allocated, and scale up.
    ///
    /// Cheaper, and unbiased: the report says the standard error.
    ///
    /// Example: --sample-bytes 512KiB
    #[arg(long, value_name = "BYTES", value_parser = parse_size, help_heading = "Cost")]
    pub sample_bytes: Option<u64>,
    /// How stacks are walked.
    #[command(flatten)]
    pub walk: WalkArgs,
    /// Live blocks followed at most; the report says what did not fit.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 2_097_152,
        help_heading = "Cost"
    )]
    pub max_live: u32,
}

/// `memlens trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// What to trace.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Which blocks.
    #[command(flatten)]
    pub sizes: SizeArgs,
    /// Where the allocator is.
    #[command(flatten)]
    pub allocator: AllocatorArgs,
}

/// `memlens doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Whose allocators to look for.
    #[command(flatten)]
    pub processes: ProcessArgs,
    /// Where the allocator is.
    #[command(flatten)]
    pub allocator: AllocatorArgs,
    /// List every probe site: file, function, offset, instruction, fast or slow, and why.
    ///
    /// Needs a process.
    ///
    /// Example: memlens doctor --probes -p 4242
    #[arg(long, help_heading = "Output")]
    pub probes: bool,
    /// List all mapped code and how stacks are walked through it: by unwind table (rows, kernel memory, share of the
    /// code covered), by frame pointers, or not, and why.
    ///
    /// Needs a process.
    ///
    /// Example: memlens doctor --unwind -p 4242
    #[arg(long, help_heading = "Output")]
    pub unwind: bool,
    /// Print one JSON object.
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `memlens demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How long to trace, in seconds or with a unit.
    #[arg(value_parser = parse_interval, default_value = "10")]
    pub duration: Duration,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Where to write the flame graph.
    #[arg(long, value_name = "FILE", default_value = "memlens-demo.svg", value_hint = ValueHint::FilePath)]
    pub svg: PathBuf,
}

/// A time in seconds; the refusal also serves who typed a PID's or a name's place wrong.
fn parse_interval(text: &str) -> Result<Duration, String> {
    parse_time(text, BareUnit::Seconds).map_err(|error| match error {
        ValueError::NotANumber { .. } => {
            format!("{error} (a process is named by -p PID or -n NAME)")
        }
        other => other.to_string(),
    })
}

fn parse_age(text: &str) -> Result<Duration, ValueError> {
    parse_time(text, BareUnit::Milliseconds)
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
