//! What `-h` shows of a command: what is used most, on one screen. `--help` shows all of it.

use clap::{Arg, Command, CommandFactory};

use super::command::Cli;

/// Options that `-h` has, of all commands; it also has all that is not an option.
const COMMON: [&str; 27] = [
    "all",
    "cgroup",
    "check",
    "children",
    "config",
    "diff",
    "faults",
    "help",
    "json",
    "listen",
    "name",
    "names",
    "older",
    "once",
    "output",
    "pid",
    "probes",
    "reach",
    "sample_bytes",
    "slab",
    "sort",
    "sources",
    "time",
    "to",
    "top",
    "trace",
    "version",
];

/// What the end of `-h` says of a command that has more.
const MORE: &str = "'--help' explains these and has more options and examples.";

/// Printed for `memlens` alone: where to begin.
pub const START: &str = "\
memlens finds out why memory grows: which process, which kind of memory, which call stack.

Begin with one of these:
  memlens demo          trace a small program that leaks, for ten seconds: what a report looks like
  memlens doctor        does it work here, and how to fix what does not
  memlens hunt          what takes memory on this machine, in a minute: process, part, stack
  memlens top           the same, live
  memlens leaks nginx   the stacks that hold the heap memory of a process, by name or PID
  memlens explain 4242  where the memory of a process is

'memlens -h' lists all commands, 'memlens COMMAND -h' the options of one.
";

/// The whole command line, as it is read, completed and printed.
pub fn definition() -> Command {
    let all = Cli::command().mut_arg("color", |arg| arg.hide_short_help(true));
    all.mut_subcommands(|command| {
        let hides = command.get_arguments().any(|arg| !is_common(arg));
        let command = command.mut_args(|arg| match is_common(&arg) {
            true => arg,
            false => arg.hide_short_help(true),
        });
        let examples = command.get_after_help().cloned();
        match hides {
            true => command
                .after_long_help(examples.unwrap_or_default())
                .after_help(MORE),
            false => command,
        }
    })
}

fn is_common(arg: &Arg) -> bool {
    arg.is_positional() || COMMON.contains(&arg.get_id().as_str())
}
