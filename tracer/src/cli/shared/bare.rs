//! Bare words of a command line: a process, INTERVAL and COUNT.
//!
//! The first one is the process where nothing else says what to trace and it is no time: `leaks nginx 10 3` is
//! `leaks -n nginx 10 3`, and in `leaks -p 4242 10 3`, `leaks 10 3 -- ./prog` and `top 2s` all are about time.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::Args;

use super::schedule::Schedule;
use crate::cli::error::ConfigError;
use crate::cli::parsers::{parse_count, parse_interval, parse_processes};
use crate::cli::values::{BareUnit, parse_time};
use crate::engine::target::Target;

/// `[PID|NAME] [INTERVAL] [COUNT]`, of a command that reports every `SECONDS` unless told otherwise.
#[derive(Debug, Args)]
pub struct BareWords<const SECONDS: u64> {
    /// The process, by PID or by name, as -p and -n take it.
    ///
    /// A bare number is a PID, a time with a unit is INTERVAL. Not where an option or "--" gives the target.
    #[arg(value_name = "PID|NAME", allow_negative_numbers = true)]
    subject: Option<String>,
    #[arg(value_name = "INTERVAL", allow_negative_numbers = true)]
    #[arg(help = format!("Time between reports, in seconds or with a unit (500ms, 1m) [default: {SECONDS}s]"))]
    interval: Option<String>,
    /// Number of reports, after which memlens exits [default: no limit].
    #[arg(value_name = "COUNT", allow_negative_numbers = true)]
    count: Option<String>,
}

/// What bare words come to.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    /// What to trace: what options say, else the first word.
    pub target: Option<Target>,
    /// When to report.
    pub schedule: Schedule,
}

impl<const SECONDS: u64> BareWords<SECONDS> {
    /// Reads the words of a command line whose options give this target, or the whole host.
    pub fn read(self, target: Option<Target>, of_host: bool) -> Result<Read, ConfigError> {
        let mut words = [self.subject, self.interval, self.count]
            .into_iter()
            .flatten()
            .peekable();
        let is_given = of_host || target.is_some();
        let target = match words.next_if(|word| !is_given && !is_time(word)) {
            Some(word) => Some(
                parse_processes(&word)
                    .map_err(|error| invalid("PID|NAME", &word, error.to_string()))?,
            ),
            None => target,
        };
        let interval = words
            .next()
            .map(|word| interval_of(&word, is_given))
            .transpose()?;
        let count = words.next().map(|word| count_of(&word)).transpose()?;
        if let Some(word) = words.next() {
            return Err(ConfigError::OneWordTooMany(word));
        }
        let interval = interval.unwrap_or(Duration::from_secs(SECONDS));
        Ok(Read {
            target,
            schedule: Schedule { interval, count },
        })
    }
}

/// Whether a word has a unit of time, so that it is no PID, and is taken for no name.
fn is_time(word: &str) -> bool {
    let is_number = word.bytes().all(|b| b.is_ascii_digit());
    !is_number && parse_time(word, BareUnit::Seconds).is_ok()
}

fn interval_of(word: &str, is_given: bool) -> Result<Duration, ConfigError> {
    parse_interval(word).map_err(|error| {
        let hint = match is_given {
            true => "; what to trace was given already",
            false => "",
        };
        invalid("INTERVAL", word, format!("{error}{hint}"))
    })
}

fn count_of(word: &str) -> Result<NonZeroU64, ConfigError> {
    parse_count(word).map_err(|error| invalid("COUNT", word, error.to_string()))
}

fn invalid(name: &'static str, word: &str, why: String) -> ConfigError {
    ConfigError::Invalid {
        name,
        word: word.to_owned(),
        why,
    }
}
