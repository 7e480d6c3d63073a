//! Words that contradict each other, each refusal in one sentence.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::report::units::duration;

/// A combination of words that means nothing, with what to write in its place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Nothing says what to trace.
    #[error("no target: give {0}")]
    NoTarget(&'static str),
    /// More than one thing says what to trace.
    #[error("several targets ({given}): give only one of {possible}")]
    SeveralTargets {
        /// What was given.
        given: String,
        /// What can be given.
        possible: &'static str,
    },
    /// An option of the whole host, with another target.
    #[error(
        "{0} is for the whole host: trace it with --all, or a part of it with --cgroup or --user"
    )]
    NeedsHost(&'static str),
    /// A word that names no cgroup, user or process.
    #[error("{option} \"{value}\" means nothing: give {remedy}")]
    Meaningless {
        /// Which word.
        option: &'static str,
        /// What was given.
        value: String,
        /// What to write.
        remedy: &'static str,
    },
    /// An empty process name or program name.
    #[error("{0} is empty: give the name of a program")]
    EmptyName(&'static str),
    /// A count or a time of zero where at least something is needed.
    #[error("{what} is 0: {remedy}")]
    Zero {
        /// Which word.
        what: &'static str,
        /// What to write.
        remedy: &'static str,
    },
    /// A number outside its range.
    #[error("{what} is {value}: give a number from {least} to {most}")]
    OutOfRange {
        /// Which word.
        what: &'static str,
        /// What was given.
        value: u32,
        /// Least accepted value.
        least: u32,
        /// Greatest accepted value.
        most: u32,
    },
    /// The size filter leaves nothing.
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
    /// Two outputs into one place.
    #[error("--folded and --svg both write to {}: give two files", .0.display())]
    SameFile(PathBuf),
    /// A dash as a file name.
    #[error("{0} - is no file: standard output carries the report, so name a file")]
    DashAsFile(&'static str),
    /// Two options of which only one can be.
    #[error("{0} and {1} do not go together: leave out one of the two")]
    Apart(&'static str, &'static str),
    /// An option that another one gives its meaning.
    #[error("{0} needs {1}: add it")]
    Without(&'static str, &'static str),
    /// Growth over less time than a report covers.
    #[error("--window {} is shorter than the interval of {}: make it longer", duration(*.window), duration(*.interval))]
    ShortWindow {
        /// Time that growth is reckoned over.
        window: Duration,
        /// Time between reports.
        interval: Duration,
    },
    /// What belongs to a process, without one.
    #[error("{0} needs a process: give -p PID or -n NAME")]
    NeedsTarget(&'static str),
}
