//! How the value of each kind of option is read.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PathBufValueParser, TypedValueParser};

use super::agent::Listen;
use super::values::{BareUnit, ValueError, parse_size, parse_time};
use crate::engine::target::Target;
use crate::process::scope::{Exclude, User, cgroup_path};

/// Reads a time that is not zero; a bare number counts seconds.
pub fn parse_interval(text: &str) -> Result<Duration, ValueError> {
    match parse_time(text, BareUnit::Seconds)? {
        Duration::ZERO => Err(ValueError::Zero("5 (seconds) or 500ms")),
        time => Ok(time),
    }
}

/// Reads INTERVAL. A word that is no time may have been meant for a process.
pub fn parse_interval_argument(text: &str) -> Result<Duration, String> {
    parse_interval(text).map_err(|error| match error {
        ValueError::Expected(_) => format!(
            "{error} (to trace a process by its name give -n, as in 'memlens leaks -n {text}')"
        ),
        other => other.to_string(),
    })
}

/// Reads the least age of a block; a bare number counts milliseconds.
pub fn parse_age(text: &str) -> Result<Duration, ValueError> {
    parse_time(text, BareUnit::Milliseconds)
}

/// Reads a number of reports.
pub fn parse_count(text: &str) -> Result<NonZeroU64, ValueError> {
    let count = text.trim().parse();
    count.map_err(|_| ValueError::Expected("a whole number of reports, such as 3"))
}

/// Reads the mean distance of a sample, in bytes.
pub fn parse_sample_bytes(text: &str) -> Result<NonZeroU64, ValueError> {
    NonZeroU64::new(parse_size(text)?).ok_or(ValueError::Zero("512KiB"))
}

/// Reads how many rows to show.
pub fn parse_rows(text: &str) -> Result<usize, ValueError> {
    let rows = text.trim().parse();
    rows.map_err(|_| ValueError::Expected("a whole number, such as 20"))
}

/// Reads how many rows to show; 0 is all, which is `None`.
pub fn parse_top(text: &str) -> Result<Option<usize>, ValueError> {
    let rows = parse_rows(text)?;
    Ok((rows > 0).then_some(rows))
}

/// Makes a reader of whole numbers in a range.
pub fn whole_number(
    range: RangeInclusive<u32>,
) -> impl Fn(&str) -> Result<u32, ValueError> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.trim().parse().ok();
        let (least, most) = (*range.start(), *range.end());
        let in_range = number.filter(|number| range.contains(number));
        in_range.ok_or(ValueError::OutOfRange { least, most })
    }
}

/// Reads a PID.
pub fn parse_pid(text: &str) -> Result<u32, ValueError> {
    let pid = text.trim().parse().ok();
    let is_pid = |pid: &u32| (1..=i32::MAX.cast_unsigned()).contains(pid);
    pid.filter(is_pid)
        .ok_or(ValueError::Expected("a PID, which is a positive number"))
}

/// Reads one PID, or else the name of a process.
pub fn parse_process(text: &str) -> Result<Target, ValueError> {
    match is_like_pids(text) {
        true => Ok(Target::Pids(vec![parse_pid(text)?])),
        false => Ok(Target::Name(text.to_owned())),
    }
}

/// Reads PIDs, separated by commas, or else the name of processes.
pub fn parse_processes(text: &str) -> Result<Target, ValueError> {
    if !is_like_pids(text) {
        return Ok(Target::Name(text.to_owned()));
    }
    let mut pids = Vec::new();
    for word in text.split(',') {
        let pid = parse_pid(word)?;
        if !pids.contains(&pid) {
            pids.push(pid);
        }
    }
    Ok(Target::Pids(pids))
}

/// Whether a word is meant for PIDs. Processes that are named so are for `-n`.
fn is_like_pids(text: &str) -> bool {
    text.starts_with(['-', '+']) || text.bytes().all(|b| b.is_ascii_digit() || b == b',')
}

/// Reads a share of the machine in percent, `5`, `0.5%`; `off` is no limit, which is `None`.
pub fn parse_cpu_budget(text: &str) -> Result<Option<f64>, ValueError> {
    let number = text.trim().trim_end_matches('%').trim_end();
    if number.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match number.parse::<f64>() {
        Ok(0.0) if plain => Err(ValueError::Expected(
            "a percentage from 0.1 to 100; for no limit say off",
        )),
        Ok(percent) if plain && (0.1..=100.0).contains(&percent) => Ok(Some(percent)),
        _ => Err(ValueError::Expected("a percentage from 0.1 to 100, or off")),
    }
}

/// Reads a share of a process's time in percent, from 0.1 to 99.
pub fn parse_slowdown(text: &str) -> Result<f64, ValueError> {
    let number = text.trim().trim_end_matches('%').trim_end();
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match number.parse::<f64>() {
        Ok(percent) if plain && (0.1..=99.0).contains(&percent) => Ok(percent),
        _ => Err(ValueError::Expected("a percentage from 0.1 to 99")),
    }
}

/// Reads the prefix of an allocator's symbols, such as `je_`.
pub fn parse_prefix(text: &str) -> Result<String, ValueError> {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_symbol = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let expected = "letters, digits and underscores, such as je_";
    let is_prefix = begins && text.chars().all(is_symbol);
    let prefix = is_prefix.then(|| text.to_owned());
    prefix.ok_or(ValueError::Expected(expected))
}

/// The reader of an output file's name; a dash is refused.
pub fn output_file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path == Path::new("-") {
        true => Err(ValueError::Dash),
        false => Ok(path),
    })
}

/// Reads the path of a cgroup.
pub fn parse_cgroup(text: &str) -> Result<String, ValueError> {
    let expected = "a path such as /system.slice/nginx.service";
    cgroup_path(text).ok_or(ValueError::Expected(expected))
}

/// Reads the name or the number of a user.
pub fn parse_user(text: &str) -> Result<User, ValueError> {
    User::parse(text).ok_or(ValueError::Expected("the name or the number of a user"))
}

/// Reads what `--exclude` leaves out.
pub fn parse_exclude(text: &str) -> Result<Exclude, ValueError> {
    let expected = "the name or the PID of a process, or the path of a cgroup with a slash";
    Exclude::parse(text).ok_or(ValueError::Expected(expected))
}

/// Reads an address with a port, such as `127.0.0.1:9847`, or `none`.
pub fn parse_listen(text: &str) -> Result<Listen, ValueError> {
    let text = text.trim();
    let text = text
        .strip_prefix("localhost:")
        .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    match (text.as_str(), text.parse()) {
        ("none", _) => Ok(Listen::Nowhere),
        (_, Ok(address)) => Ok(Listen::At(address)),
        _ => Err(ValueError::Expected(
            "an address and a port such as 127.0.0.1:9847, or none",
        )),
    }
}

/// Reads a growth per minute, such as `10MiB`.
pub fn parse_rate(text: &str) -> Result<u64, ValueError> {
    let number = text.trim();
    let number = number.strip_suffix("/min").unwrap_or(number);
    match parse_size(number)? {
        0 => Err(ValueError::Zero("64KiB, which is meant a minute")),
        rate => Ok(rate),
    }
}

/// Reads how long tasks may wait within one second.
pub fn parse_stall(text: &str) -> Result<Duration, ValueError> {
    let expected = ValueError::Expected("a time from 1ms to 1s, such as 200ms");
    let time = parse_time(text, BareUnit::Milliseconds)?;
    let is_fit = (Duration::from_millis(1)..=Duration::from_secs(1)).contains(&time);
    is_fit.then_some(time).ok_or(expected)
}

/// Reads the address of an OTLP receiver.
pub fn parse_url(text: &str) -> Result<String, ValueError> {
    let expected = ValueError::Expected("an address such as http://127.0.0.1:4318, without TLS");
    let rest = text.trim().strip_prefix("http://");
    let uri = rest.and_then(|_| text.trim().parse::<hyper::Uri>().ok());
    let uri = uri.filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    uri.map(|uri| uri.to_string()).ok_or(expected)
}

/// Reads a filter of what is logged.
pub fn parse_log(text: &str) -> Result<String, ValueError> {
    let expected =
        ValueError::Expected("a level (error, warn, info, debug, trace), or warn,PART=LEVEL");
    let filter = text.parse::<tracing_subscriber::filter::Targets>();
    let is_fit = filter.is_ok() && !text.trim().is_empty();
    is_fit.then(|| text.to_owned()).ok_or(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_and_prefixes_are_checked() {
        assert_eq!(parse_pid("4242"), Ok(4242));
        for text in ["0", "-1", "", "2147483648", "self", "99999999999"] {
            assert!(parse_pid(text).is_err(), "{text}");
        }
        assert_eq!(parse_prefix("_rjem_"), Ok("_rjem_".to_owned()));
        for text in ["", "1a", "je-", "je_*"] {
            assert!(parse_prefix(text).is_err(), "{text}");
        }
    }
}
