//! `memlens host`: its words, and the settings that they become.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::config::{not_zero, output_file};
use super::error::ConfigError;
use super::values::{BareUnit, ValueError, parse_time};
use crate::host::report::{By, Of, Order, View};

/// Rows shown unless told otherwise.
const TOP: usize = 10;

/// `memlens host`.
#[derive(Debug, Args)]
pub struct MachineArgs {
    /// Time between reports, in seconds or with a unit (500ms, 1m).
    ///
    /// Within it the machine is looked at some ten times: growth is a line through these samples.
    #[arg(value_parser = parse_interval, default_value = "5")]
    pub interval: Duration,
    /// Number of reports [default: until Ctrl-C].
    pub count: Option<u64>,
    /// What the table has rows for.
    ///
    /// With container, what runs outside of containers is grouped by systemd unit or cgroup.
    ///
    /// Example: memlens host --by container
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        default_value_t,
        help_heading = "Table"
    )]
    pub by: By,
    /// Order of the rows.
    ///
    /// growth: what certainly grows most first (the lower end of the slope's 95 % interval), then the largest.
    #[arg(
        long,
        value_enum,
        value_name = "ORDER",
        default_value_t,
        help_heading = "Table"
    )]
    pub sort: Order,
    /// Which figure the order and the column of growth are about.
    ///
    /// Example: --sort size --of swap
    #[arg(
        long,
        value_enum,
        value_name = "FIGURE",
        default_value_t,
        help_heading = "Table"
    )]
    pub of: Of,
    /// Show this many rows, and half as many cgroups; 0 shows all.
    #[arg(short = 'T', long, value_name = "N", default_value_t = TOP, help_heading = "Table")]
    pub top: usize,
    /// Reckon growth over the last TIME only [default: since the start].
    ///
    /// Example: --window 10m
    #[arg(long, value_name = "TIME", value_parser = parse_interval, help_heading = "Table")]
    pub window: Option<Duration>,
    /// Refresh in place, on a terminal: q leaves, s changes the order, o the figure, space holds the picture.
    #[arg(short, long, help_heading = "Output")]
    pub watch: bool,
    /// Print each report as one JSON object on one line.
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Also write the figures of each report to FILE: one line for each figure, for spreadsheets and plots.
    ///
    /// Example: memlens host 10 360 --csv hour.csv
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub csv: Option<PathBuf>,
}

/// Settings of `memlens host`.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineConfig {
    /// Time between reports; not zero.
    pub interval: Duration,
    /// Number of reports; `None`: until Ctrl-C.
    pub count: Option<NonZeroU64>,
    /// What the table has rows for.
    pub by: By,
    /// Which rows to show, in which order.
    pub view: View,
    /// Growth is reckoned over so much time; `None`: since the start.
    pub window: Option<Duration>,
    /// Whether to refresh in place.
    pub watch: bool,
    /// JSON in place of text.
    pub json: bool,
    /// Where figures go as comma-separated values.
    pub csv: Option<PathBuf>,
}

/// Checks the words of `memlens host`.
pub fn config(args: MachineArgs) -> Result<MachineConfig, ConfigError> {
    if args.watch && args.json {
        return Err(ConfigError::Apart("--watch", "--json"));
    }
    let interval = not_zero("the interval", args.interval)?;
    let window = args.window.map(|window| not_zero("--window", window));
    let window = window.transpose()?;
    if let Some(window) = window.filter(|window| *window < interval) {
        return Err(ConfigError::ShortWindow { window, interval });
    }
    let count = match args.count.map(NonZeroU64::new) {
        None => None,
        Some(Some(count)) => Some(count),
        Some(None) => {
            return Err(ConfigError::Zero {
                what: "the number of reports",
                remedy: "give 1 or more, or leave it out to go on until Ctrl-C",
            });
        }
    };
    Ok(MachineConfig {
        interval,
        count,
        by: args.by,
        view: View {
            order: args.sort,
            of: args.of,
            top: (args.top > 0).then_some(args.top),
        },
        window,
        watch: args.watch,
        json: args.json,
        csv: args
            .csv
            .map(|path| output_file("--csv", path))
            .transpose()?,
    })
}

fn parse_interval(text: &str) -> Result<Duration, ValueError> {
    parse_time(text, BareUnit::Seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse_from};

    fn parsed(line: &str) -> Result<MachineConfig, String> {
        match parse_from(line.split_whitespace())
            .map_err(|error| error.to_string())?
            .command
        {
            Command::Host(config) => Ok(config),
            other => panic!("not host: {other:?}"),
        }
    }

    #[test]
    fn a_plain_command_line_takes_the_defaults() {
        let expected = MachineConfig {
            interval: Duration::from_secs(5),
            count: None,
            by: By::Process,
            view: View {
                order: Order::Growth,
                of: Of::Total,
                top: Some(10),
            },
            window: None,
            watch: false,
            json: false,
            csv: None,
        };
        assert_eq!(parsed("memlens host"), Ok(expected));
    }

    #[test]
    fn every_word_has_its_setting() {
        let config = parsed(
            "memlens host 500ms 3 --by container --sort size --of swap -T 0 --window 1m -w --csv a.csv",
        )
        .expect("is accepted");
        assert_eq!(config.interval, Duration::from_millis(500));
        assert_eq!(config.count.map(NonZeroU64::get), Some(3));
        assert_eq!(config.by, By::Container);
        let view = View {
            order: Order::Size,
            of: Of::Swap,
            top: None,
        };
        assert_eq!(config.view, view);
        assert_eq!(config.window, Some(Duration::from_secs(60)));
        assert!(config.watch && !config.json);
        assert_eq!(config.csv, Some("a.csv".into()));
    }

    #[test]
    fn mistakes_are_told_in_one_line() {
        for (line, message) in [
            (
                "host 0",
                "the interval is 0: give a time such as 5 (seconds) or 500ms",
            ),
            ("host 1 0", "the number of reports is 0: give 1 or more"),
            (
                "host x",
                "invalid value 'x' for '[INTERVAL]': a number is expected, such as 500ms",
            ),
            ("host --window 0", "--window is 0: give a time"),
            (
                "host 10 --window 5",
                "--window 5.0s is shorter than the interval of 10.0s: make it longer",
            ),
            (
                "host --watch --json",
                "--watch and --json do not go together: leave out one of the two",
            ),
            ("host --by pod", "invalid value 'pod' for '--by <WHAT>'"),
            ("host --of heap", "invalid value 'heap' for '--of <FIGURE>'"),
            ("host --csv -", "--csv - is no file"),
            ("host -p 1", "unexpected argument '-p' found"),
            ("host --top -1", "unexpected argument '-1' found"),
        ] {
            let error = parsed(&format!("memlens {line}")).expect_err(line);
            assert!(error.starts_with(message), "{line}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
