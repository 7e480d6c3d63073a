//! The command line in two steps: typed words (`args`), then checked settings (`config`).
//!
//! `main` calls [`parse`]; on an error it lets that print itself and exits with its code.

mod args;
mod config;
mod error;
mod explain;
mod help;
mod host;
mod kernel;
mod machine;
mod values;
mod vm;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};

use clap::{CommandFactory, Parser};
use thiserror::Error;

pub use args::{Color, MAX_STACK_DEPTH, Sort, Unwind};
pub use config::{
    Allocator, Command, DemoConfig, DoctorConfig, HostConfig, Invocation, LeaksConfig,
    MAX_MAX_LIVE, Output, SizeRange, Target, TraceConfig,
};
pub use error::ConfigError;
pub use explain::ExplainConfig;
pub use kernel::KernelConfig;
pub use machine::MachineConfig;
pub use values::{BareUnit, ValueError, parse_size, parse_time};
pub use vm::{SpaceSort, VmConfig};

/// Exit code of a run that did what it was asked to.
pub const EXIT_DONE: u8 = 0;
/// Exit code of a run that found more live bytes than `--fail-over` allows.
pub const EXIT_LEAKS: u8 = 1;
/// Exit code of a run that failed, usage errors included.
pub const EXIT_FAILED: u8 = 2;

/// Why the command line gives nothing to run: a mistake, or a question that is answered here.
#[derive(Debug, Error)]
pub enum CliError {
    /// `--help` or `--version`, or words that are not in the language.
    #[error("{}", one_line(.0))]
    Words(#[from] clap::Error),
    /// Words that contradict each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Reads the command line of this process.
///
/// # Errors
/// [`CliError`]; let it [`print`](CliError::print) itself and exit with [`exit_code`](CliError::exit_code).
pub fn parse() -> Result<Invocation, CliError> {
    parse_from(std::env::args_os())
}

/// Reads a command line, program name first.
///
/// # Errors
/// As [`parse`].
pub fn parse_from<W>(words: impl IntoIterator<Item = W>) -> Result<Invocation, CliError>
where
    W: Into<OsString> + Clone,
{
    Ok(Invocation::try_from(args::Cli::try_parse_from(words)?)?)
}

impl CliError {
    /// 0 for `--help` and `--version`, else 2.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Words(error) if !error.use_stderr() => EXIT_DONE,
            _ => EXIT_FAILED,
        }
    }

    /// Prints help to standard output, and a mistake to standard error, in one line.
    ///
    /// # Errors
    /// What the stream says; a closed pipe included.
    pub fn print(&self) -> io::Result<()> {
        match self {
            Self::Words(error) if is_help(error) => error.print(),
            _ => io::stderr().write_all(self.message().as_bytes()),
        }
    }

    fn message(&self) -> String {
        format!("memlens: {self}; try 'memlens --help'\n")
    }
}

fn is_help(error: &clap::Error) -> bool {
    use clap::error::ErrorKind::{
        DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion,
    };
    matches!(
        error.kind(),
        DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand | DisplayVersion
    )
}

/// What clap says before it shows the usage, as one line.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let line = words.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

impl Color {
    /// Whether to colour a stream. `no_color` is whether the environment variable `NO_COLOR` is set and not
    /// empty (the no-color.org convention); a choice by option outranks it.
    pub const fn resolve(self, is_terminal: bool, no_color: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => is_terminal && !no_color,
        }
    }

    /// Whether to colour standard output, asked of the stream and the environment.
    pub fn for_stdout(self) -> bool {
        self.resolve(io::IsTerminal::is_terminal(&io::stdout()), no_color())
    }
}

fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Whether memlens has a subcommand of that name, so that a hint never points to one that is not there.
pub fn has_command(name: &str) -> bool {
    args::Cli::command().find_subcommand(name).is_some()
}

/// The command line as a shell would take it again, for remedies such as "run as root: sudo ...".
pub fn command_line(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let quoted: Vec<String> = words
        .into_iter()
        .map(|word| quote(&word.as_ref().to_string_lossy()))
        .collect();
    quoted.join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> CliError {
        let words: Vec<&str> = line.split_whitespace().collect();
        parse_from(words).expect_err("is refused")
    }

    #[test]
    fn a_mistake_is_one_clear_line_first_and_exits_with_two() {
        let cases = [
            (
                "memlens leaks",
                "no target: give -p PID, -n NAME, --all or, at the end, -- COMMAND",
            ),
            (
                "memlens leaks -p x",
                "invalid value 'x' for '--pid <PID>': not a PID: PIDs are positive numbers",
            ),
            (
                "memlens leaks -p 1 --max-size 5x",
                "invalid value '5x' for '--max-size <BYTES>': \"x\" is not a unit: use B, K, M, G, T \
                 or KiB, MiB, GiB, TiB (1024), KB, MB, GB, TB (1000)",
            ),
            (
                "memlens leaks redis",
                "invalid value 'redis' for '[INTERVAL]': a number is expected, such as 500ms, 5s or \
                 1m30s (a process is named by -p PID or -n NAME)",
            ),
            (
                "memlens leaks --all --cpu-budget 101",
                "invalid value '101' for '--cpu-budget <PERCENT>': not a share of the machine: give \
                 percent from 0.1 to 100, or off",
            ),
            ("memlens trace --all", "unexpected argument '--all' found"),
            ("memlens leaks --frob", "unexpected argument '--frob' found"),
            ("memlens leeks", "unrecognized subcommand 'leeks'"),
        ];
        for (line, message) in cases {
            let error = refused(line);
            assert!(error.to_string().starts_with(message), "{line}: {error}");
            assert_eq!(error.exit_code(), EXIT_FAILED, "{line}");
            let shown = error.message();
            assert!(shown.starts_with(&format!("memlens: {message}")), "{shown}");
            assert_eq!(shown.lines().count(), 1, "{shown}");
            assert!(!shown.contains("error:"), "{shown}");
        }
    }

    #[test]
    fn help_and_version_are_no_mistakes_but_nothing_at_all_is() {
        assert_eq!(refused("memlens --help").exit_code(), EXIT_DONE);
        assert_eq!(refused("memlens leaks -h").exit_code(), EXIT_DONE);
        assert_eq!(refused("memlens --version").exit_code(), EXIT_DONE);
        assert_eq!(refused("memlens").exit_code(), EXIT_FAILED);
    }

    #[test]
    fn help_ends_with_examples_and_exit_codes() {
        let CliError::Words(error) = refused("memlens --help") else {
            panic!("help comes from the words");
        };
        let help = error.render().to_string();
        assert!(help.contains("  memlens leaks -p 4242  "), "{help}");
        assert!(help.contains("Exit codes: 0 done, 1 leaks found"), "{help}");
    }

    #[test]
    fn colour_follows_the_terminal_unless_chosen() {
        assert!(Color::Auto.resolve(true, false));
        assert!(!Color::Auto.resolve(false, false));
        assert!(!Color::Auto.resolve(true, true));
        assert!(Color::Always.resolve(false, true));
        assert!(!Color::Never.resolve(true, false));
    }

    #[test]
    fn commands_are_known_by_name() {
        assert!(has_command("leaks") && has_command("host"));
        assert!(!has_command("leeks") && !has_command(""));
    }

    #[test]
    fn a_command_line_can_be_pasted_back() {
        let words = ["memlens", "leaks", "-n", "it's a", "--", "./a", ""];
        assert_eq!(
            command_line(words),
            r"memlens leaks -n 'it'\''s a' -- ./a ''"
        );
    }
}
