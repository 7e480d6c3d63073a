//! INTERVAL and COUNT: when to report.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::Args;

use crate::cli::parsers::{parse_count, parse_interval_argument};
use crate::engine;

/// Time between reports unless another is given.
pub const INTERVAL_SECONDS: u64 = 5;

/// When to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Schedule {
    /// Time between reports, in seconds or with a unit (500ms, 1m).
    // Not zero. With its unit, so that the default is never taken for a PID.
    #[arg(value_parser = parse_interval_argument, allow_negative_numbers = true)]
    #[arg(default_value = format!("{INTERVAL_SECONDS}s"))]
    pub interval: Duration,
    /// Number of reports, after which memlens exits [default: no limit].
    // `None`: until Ctrl-C or the target's end.
    #[arg(value_parser = parse_count, allow_negative_numbers = true)]
    pub count: Option<NonZeroU64>,
}

impl From<Schedule> for engine::Schedule {
    fn from(typed: Schedule) -> Self {
        Self {
            interval: Some(typed.interval),
            count: typed.count,
        }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(INTERVAL_SECONDS),
            count: None,
        }
    }
}
