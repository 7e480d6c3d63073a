//! The words of the command line as typed: names, types and help. What fits together is checked in `config`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};

use super::help;
use super::values::{
    BareUnit, CpuBudget, ValueError, parse_cpu_budget, parse_pid, parse_prefix, parse_size,
    parse_time,
};
use super::vm::VmArgs;
use crate::report::Grouping;

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
    /// mapping.
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
    Leaks(LeaksArgs),
    /// Show who has mapped address space, and how much of it is memory.
    ///
    /// Follows mmap, munmap, mremap, brk, mprotect, shmat and shmdt. Every INTERVAL, and at the end, prints the stacks whose ranges were
    /// mapped since the start and are still mapped: bytes mapped and resident side by side, ranges, growth and age; and what was there before, by kind
    /// and file. Each report is held against /proc/PID/maps, and says so.
    #[command(after_help = help::VM_EXAMPLES)]
    Vm(VmArgs),
    /// Print every allocator call: one line each.
    ///
    /// A line has TIME (seconds since boot, CLOCK_MONOTONIC), PID, TID, FUNCTION, SIZE (bytes asked for; "-" for a
    /// release), ADDRESS of the block (0x0: the call failed) and CALLER; a realloc also has old=ADDRESS. Lines go to
    /// standard output. Events that came faster than they were read are counted and said at the end.
    #[command(after_help = help::TRACE_EXAMPLES)]
    Trace(TraceArgs),
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

/// The whole host, or a part of it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Whole host")]
pub struct HostArgs {
    /// Every process of this host, in all containers, also those that start during the trace.
    ///
    /// A table of processes comes first, then the stacks that hold most over all of them. memlens itself is left out.
    ///
    /// Example: memlens leaks --all
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
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn leaks(words: &[&str]) -> LeaksArgs {
        let words = ["memlens", "leaks"].iter().chain(words);
        match Cli::try_parse_from(words).expect("is accepted").command {
            Subcommands::Leaks(args) => args,
            other => panic!("not leaks: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn pids_come_with_commas_and_repeated() {
        let args = leaks(&["-p", "1,2", "--pid", "3", "2", "7"]);
        assert_eq!(args.target.processes.pid, [1, 2, 3]);
        assert_eq!(args.interval.interval, Duration::from_secs(2));
        assert_eq!(args.interval.count, Some(7));
    }

    #[test]
    fn a_command_keeps_its_own_options_and_the_positionals_stay_ours() {
        let args = leaks(&["500ms", "3", "--", "./prog", "-p", "9", "--", "--json"]);
        assert_eq!(args.interval.interval, Duration::from_millis(500));
        assert_eq!(args.interval.count, Some(3));
        assert_eq!(args.target.command, ["./prog", "-p", "9", "--", "--json"]);
        assert!(!args.output.json);
        assert!(args.target.processes.pid.is_empty());
    }

    #[test]
    fn every_option_of_bcc_memleak_has_its_word() {
        let args = leaks(&[
            "-p",
            "1",
            "-T",
            "3",
            "--sort",
            "age",
            "-o",
            "250",
            "-z",
            "16",
            "-Z",
            "64KiB",
            "-a",
            "-O",
            "/lib/x.so",
            "-S",
            "je_",
            "--stack-depth",
            "20",
            "-v",
            "--color",
            "never",
        ]);
        assert_eq!((args.output.top, args.sort), (3, Sort::Age));
        assert_eq!(args.older, Some(Duration::from_millis(250)));
        assert_eq!(
            (args.sizes.min_size, args.sizes.max_size),
            (Some(16), Some(65_536))
        );
        assert!(args.show_allocs);
        assert_eq!(args.allocator.object, Some(PathBuf::from("/lib/x.so")));
        assert_eq!(args.allocator.symbols_prefix.as_deref(), Some("je_"));
        assert_eq!(args.stack_depth, 20);
    }

    #[test]
    fn arguments_of_a_command_need_not_be_unicode() {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(vec![b'x', 0xff]);
        let words = ["memlens", "trace", "--", "prog"].map(OsString::from);
        let cli = Cli::try_parse_from(words.into_iter().chain([odd.clone()])).expect("is accepted");
        match cli.command {
            Subcommands::Trace(args) => assert_eq!(args.target.command[1], odd),
            other => panic!("not trace: {other:?}"),
        }
    }

    /// Every argument of every subcommand has a help, and no help line leaves a 100-column terminal.
    #[test]
    fn help_is_complete_and_narrow() {
        let mut command = Cli::command().term_width(100);
        command.build();
        for sub in command.get_subcommands_mut() {
            for arg in sub.get_arguments() {
                assert!(arg.get_help().is_some(), "{} has no help", arg.get_id());
            }
            for line in sub.render_long_help().to_string().lines() {
                assert!(line.chars().count() <= 100, "{line}");
            }
        }
        for line in command.render_long_help().to_string().lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}
