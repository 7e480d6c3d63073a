//! `memlens demo`: its arguments, which are its settings.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::parsers::{output_file, parse_interval};

/// Trace a built-in program that leaks in several known ways.
///
/// Prints the report and writes a flame graph. Mounts tracefs if it is not mounted.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct DemoConfig {
    /// How long to trace, in seconds or with a unit.
    #[arg(value_parser = parse_interval, default_value = "10s", allow_negative_numbers = true)]
    pub duration: Duration,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Where to write the flame graph.
    #[arg(long, value_name = "FILE", default_value = "memlens-demo.svg")]
    #[arg(value_parser = output_file(), value_hint = ValueHint::FilePath)]
    pub svg: PathBuf,
}
