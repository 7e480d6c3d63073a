//! `memlens host`: its arguments and settings.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::error::ConfigError;
use super::parsers::{output_file, parse_interval, parse_top};
use super::shared::{Schedule, TOP};
use crate::profile::machine::{By, Of, Order};
use crate::sources::machine::View;

const EXAMPLES: &str = "\
Examples:
  memlens host                       a report every 5 seconds until Ctrl-C
  memlens host 1m 1                  one report after a minute: slow growth shows
  memlens host --by container        one row for each container, service or cgroup
  memlens host --sort size --of swap  the processes with most memory in swap
  memlens host 10 360 --csv hour.csv  an hour of figures for a plot
Without root the PSS of other users' processes is not shown; everything else is.";

/// Show the machine's memory and which processes grow; needs no BPF and no root.
///
/// Every INTERVAL: the machine's figures with their change, whether available memory is shrinking and what takes it,
/// the processes that grow most and hold most, the cgroups closest to their limits, and what to run next. Growth is a
/// slope through about ten samples in each INTERVAL, with its 95 % confidence interval, so that noise does not rank
/// first.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct HostArgs {
    #[command(flatten)]
    rest: HostConfig,
    /// Order of the rows.
    ///
    /// growth: by the lower end of the 95 % confidence interval of the slope, then by size.
    #[arg(long, value_enum, value_name = "ORDER", default_value_t)]
    #[arg(help_heading = "Table")]
    sort: Order,
    /// Which figure the order and the growth column are about.
    ///
    /// Example: --sort size --of swap
    #[arg(long, value_enum, value_name = "FIGURE", default_value_t)]
    #[arg(help_heading = "Table")]
    of: Of,
    /// Show this many rows, and half as many cgroups; 0 shows all.
    // `None` is all. The type is written in full because clap takes a bare `Option` for an option without a default.
    #[arg(short = 'T', long, value_name = "N", value_parser = parse_top, default_value = TOP.to_string())]
    #[arg(help_heading = "Table", allow_negative_numbers = true)]
    top: std::option::Option<usize>,
}

/// Settings of `memlens host`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct HostConfig {
    /// When to report.
    #[command(flatten)]
    pub schedule: Schedule,
    /// What the table has rows for.
    ///
    /// With container, processes outside of containers are grouped by systemd unit or cgroup.
    ///
    /// Example: memlens host --by container
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    #[arg(help_heading = "Table")]
    pub by: By,
    /// Which rows to show, in which order.
    #[arg(skip = View { order: Order::default(), of: Of::default(), top: Some(TOP) })]
    pub view: View,
    /// Compute growth over the last TIME [default: since the start].
    ///
    /// Example: --window 10m
    #[arg(long, value_name = "TIME", value_parser = parse_interval, help_heading = "Table", allow_hyphen_values = true)]
    pub window: Option<Duration>,
    /// Print each report as one JSON object on one line.
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Also write the figures of each report to FILE: one line for each figure, for spreadsheets and plots.
    ///
    /// Example: memlens host 10 360 --csv hour.csv
    #[arg(long, value_name = "FILE", value_parser = output_file(), value_hint = ValueHint::FilePath)]
    #[arg(help_heading = "Output")]
    pub csv: Option<PathBuf>,
}

impl TryFrom<HostArgs> for HostConfig {
    type Error = ConfigError;

    fn try_from(args: HostArgs) -> Result<Self, ConfigError> {
        let interval = args.rest.schedule.interval;
        if args.rest.window.is_some_and(|window| window < interval) {
            return Err(ConfigError::ShortWindow);
        }
        let view = View {
            order: args.sort,
            of: args.of,
            top: args.top,
        };
        Ok(Self { view, ..args.rest })
    }
}
