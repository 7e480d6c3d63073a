//! `memlens report` and `memlens diff`: their arguments and settings.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::error::ConfigError;
use super::shared::Output;
use super::values::{BareUnit, parse_time};
use crate::recording::When;

const EXAMPLES: &str = "\
Examples:
  memlens report heap.memlens                         the last snapshot, as the trace has shown it
  memlens report heap.memlens --list                  what is in it, and from when
  memlens report heap.memlens --at 10m -o then.pb.gz  ten minutes into the trace
  memlens report heap.memlens --between 14:05 14:20   what grew between two times
  memlens report heap.memlens -o heap.html            a page with all of the time
  memlens report a.json --format folded | flamegraph.pl > a.svg
Times: so long after the trace began (10m), a time of the day (14:05), \"2026-11-29 14:05\", 2026-11-29T14:05:00Z.";

const DIFF_EXAMPLES: &str = "\
Examples:
  memlens diff before.memlens after.memlens      two runs or two builds: what grew, what is new, what is gone
  memlens diff a.json b.json -o diff.svg         as a differential flame graph
  memlens diff day.memlens@10m day.memlens@2h    two moments of one recording
  memlens diff a.memlens b.memlens -o d.pb.gz    for go tool pprof: shares are of the first one's total
Of one run, stacks are matched by address; of two, processes by name and frames by function and source file.";

/// Show what a recording has, or what was written with --json.
///
/// Prints the last snapshot of each part (heap, address space, machine), or that of another moment. Needs no root, and
/// not the machine that it comes from.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReportArgs {
    #[command(flatten)]
    rest: ReportConfig,
    /// The difference of two moments.
    ///
    /// Example: --between 10m 2h
    #[arg(long, value_names = ["FROM", "TO"], num_args = 2, value_parser = parse_when, conflicts_with = "at")]
    between: Option<Vec<When>>,
}

/// Settings of `memlens report`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct ReportConfig {
    /// A recording, or what --json has written; "-" is standard input.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The moment to show [default: the last].
    ///
    /// Example: --at 10m
    #[arg(long, value_name = "TIME", value_parser = parse_when)]
    pub at: Option<When>,
    /// Two moments to compare.
    #[arg(skip)]
    pub between: Option<(When, When)>,
    /// Show this part alone: heap, address_space, kernel or process.
    ///
    /// Without it all are printed, and files have the first.
    #[arg(long, value_name = "NAME")]
    pub part: Option<String>,
    /// List the parts of the file, with their times.
    #[arg(long)]
    pub list: bool,
    /// Where names are looked for that the trace had none for.
    #[command(flatten)]
    pub symbols: Symbols,
    /// What to print.
    #[command(flatten)]
    pub output: Output,
}

/// Compare two profiles: what grew, what is new, what is gone.
///
/// Each is a recording or what --json has written; @TIME behind it is another moment than its last.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = DIFF_EXAMPLES)]
pub struct DiffConfig {
    /// The earlier one.
    #[arg(value_name = "BEFORE", value_parser = parse_moment, value_hint = ValueHint::FilePath)]
    pub before: (PathBuf, When),
    /// The later one.
    #[arg(value_name = "AFTER", value_parser = parse_moment, value_hint = ValueHint::FilePath)]
    pub after: (PathBuf, When),
    /// Compare this part: heap, address_space, kernel or process [default: the first that both have].
    #[arg(long, value_name = "NAME")]
    pub part: Option<String>,
    /// Where names are looked for that the trace had none for.
    #[command(flatten)]
    pub symbols: Symbols,
    /// What to print.
    #[command(flatten)]
    pub output: Output,
}

/// Names from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Names")]
pub struct Symbols {
    /// Look for names and lines in the debug files of DIR, by build id; may be given several times.
    ///
    /// DIR has .build-id/ab/cdef.debug, as /usr/lib/debug has, or the files themselves.
    ///
    /// Example: --debug-dir /usr/lib/debug
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub debug_dir: Vec<PathBuf>,
    /// Ask the servers of DEBUGINFOD_URLS for debug files, by debuginfod-find of elfutils.
    #[arg(long)]
    pub debuginfod: bool,
}

/// Reads a moment.
fn parse_when(text: &str) -> Result<When, String> {
    if let Some(when) = When::parse_clock(text) {
        return Ok(when);
    }
    let elapsed = parse_time(text, BareUnit::Seconds);
    elapsed.map(When::Elapsed).map_err(|error| {
        format!("{error}; a moment is 10m (into the trace), 14:05, \"2026-11-29 14:05\" or 2026-11-29T14:05:00Z")
    })
}

/// Reads a file, and the moment of it behind an @.
fn parse_moment(text: &str) -> Result<(PathBuf, When), String> {
    match text.rsplit_once('@') {
        // A name may have an @ of its own.
        Some((file, when)) if !file.is_empty() && !std::path::Path::new(text).exists() => {
            Ok((PathBuf::from(file), parse_when(when)?))
        }
        _ => Ok((PathBuf::from(text), When::End)),
    }
}

impl TryFrom<ReportArgs> for ReportConfig {
    type Error = ConfigError;

    fn try_from(args: ReportArgs) -> Result<Self, ConfigError> {
        args.rest.output.outputs.check()?;
        let between = args.between.as_deref();
        let between = between.and_then(|moments| Some((*moments.first()?, *moments.get(1)?)));
        Ok(Self {
            between,
            ..args.rest
        })
    }
}
