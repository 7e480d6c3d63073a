//! Why a command line gives nothing to run, and how that is printed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Outcome;
use super::help::START;
use super::values::{BareUnit, parse_time};
use crate::render::Format;

/// What to type where a time was meant: `-o` was short for --older once.
fn age_hint(path: &Path) -> String {
    let text = path.to_str().unwrap_or_default();
    match parse_time(text, BareUnit::Milliseconds) {
        Ok(_) => format!("; for blocks older than that give --older {text}"),
        Err(_) => String::new(),
    }
}

/// A mistake on the command line, or a question that is answered here.
#[derive(Debug, Error)]
pub enum CliError {
    /// `--help` or `--version`, or arguments that clap refuses.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// Nothing at all was typed.
    #[error("no command: 'memlens -h' lists them")]
    Nothing,
    /// Arguments that contradict each other.
    #[error("{error}; try 'memlens {command} --help'")]
    Config {
        /// The contradiction.
        error: ConfigError,
        /// The command that was given.
        command: String,
    },
}

impl CliError {
    /// How the run went: done with `--help` and `--version`, else failed.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Arguments(error) if !error.use_stderr() => Outcome::Done(None),
            _ => Outcome::Failed,
        }
    }

    /// Prints help to standard output, and a mistake to standard error: in clap's own form, or in one line.
    ///
    /// # Errors
    /// Those of the stream, a closed pipe included.
    pub fn print(&self) -> io::Result<()> {
        match self {
            Self::Arguments(error) => error.print(),
            Self::Nothing => io::stderr().write_all(START.as_bytes()),
            Self::Config { .. } => writeln!(io::stderr(), "memlens: {self}"),
        }
    }
}

/// A contradiction that clap cannot be told of, with what to type in its place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Nothing says what to trace.
    #[error("no target: give {0}")]
    NoTarget(&'static str),
    /// A bare word that is not what stands there.
    #[error("invalid value {word:?} for {name}: {why}")]
    Invalid {
        /// What stands there, as the usage has it.
        name: &'static str,
        /// The word.
        word: String,
        /// What is wrong with it.
        why: String,
    },
    /// More bare words than there are places.
    #[error(
        "unexpected argument {0:?}: what to trace was given already, so only INTERVAL and COUNT may follow"
    )]
    OneWordTooMany(String),
    /// The name of the program to start is empty.
    #[error("COMMAND is empty: give the name of a program")]
    EmptyCommand,
    /// No size is within the limits.
    #[error("--min-size {min} is larger than --max-size {max}: no block can match, swap them")]
    EmptySizeRange {
        /// Smallest size, in bytes.
        min: u64,
        /// Largest size, in bytes.
        max: u64,
    },
    /// An option that needs single blocks, which `--combined` does not keep.
    #[error("--combined keeps no single blocks, which {0} needs: leave out one of the two")]
    CombinedWith(&'static str),
    /// Two outputs to one file.
    #[error("two outputs are to be written to {}: give two files", .0.display())]
    SameFile(PathBuf),
    /// A file whose name does not say what to write.
    #[error("the ending of {} names no form: give one of {}, or --format{}", .0.display(), Format::endings(), age_hint(.0))]
    UnknownForm(PathBuf),
    /// No file to record to.
    #[error("nothing to record to: give -o FILE.memlens")]
    NoRecording,
    /// Neither the machine nor a target.
    #[error(
        "nothing to record: give a target (a PID, a name, --all or, at the end, -- COMMAND), or --sources host"
    )]
    NothingToRecord,
    /// Growth over less time than a report covers.
    #[error("--window is shorter than INTERVAL: give at least the time between two reports")]
    ShortWindow,
    /// A live view that hardly moves.
    #[error("INTERVAL is longer than a minute: give a shorter one, such as 5s")]
    SlowView,
    /// An address that others can reach, without a token.
    #[error(
        "--listen {0} can be reached from other machines, and stacks are secrets: give --token-file FILE"
    )]
    OpenAddress(std::net::SocketAddr),
}
