//! Sizes and times as a person types them: `64KiB`, `1.5M`, `500ms`, `1m30s`.

use std::time::Duration;

use thiserror::Error;

/// The longest time that is accepted; far from where clock arithmetic overflows.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a typed value is refused; each sentence says what would be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// The value is of another kind.
    #[error("expected {0}")]
    Expected(&'static str),
    /// The number is outside its range.
    #[error("expected a whole number from {least} to {most}")]
    OutOfRange {
        /// Least accepted value.
        least: u32,
        /// Greatest accepted value.
        most: u32,
    },
    /// The number is not followed by a known unit.
    #[error("unknown unit \"{unit}\": use {accepted}")]
    UnknownUnit {
        /// What was typed.
        unit: String,
        /// The units that are known.
        accepted: &'static str,
    },
    /// A part of a compound time has no unit.
    #[error("the last number has no unit: write 1m30s, not 1m30")]
    MissingUnit,
    /// A size or a time below zero.
    #[error("must not be negative")]
    Negative,
    /// Zero, where it would mean nothing.
    #[error("must not be zero: give a value such as {0}")]
    Zero(&'static str),
    /// The value does not fit.
    #[error("too large: at most {0}")]
    TooLarge(&'static str),
    /// A dash as the name of an output file.
    #[error("standard output carries the report: give the name of a file")]
    Dash,
}

/// Unit of a bare number in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareUnit {
    /// Seconds, as for an interval.
    Seconds,
    /// Milliseconds, as for an age.
    Milliseconds,
}

const SIZE: &str = "a number such as 4096, 64KiB or 1.5M";
const SIZE_UNITS: &str = "B, K, M, G, T or KiB, MiB, GiB, TiB (1024), KB, MB, GB, TB (1000)";
const TIME: &str = "a time such as 500ms, 5s or 1m30s";
const TIME_UNITS: &str = "ns, us, ms, s, m, h or d";
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Reads a size in bytes.
///
/// `K`, `M`, `G`, `T` and `KiB`, `MiB`, `GiB`, `TiB` are powers of 1024; `KB`, `MB`, `GB`, `TB` are
/// powers of 1000, as in the GNU core utilities. Case does not matter. A fraction of a byte is dropped.
///
/// # Errors
/// [`ValueError`] for anything that is not a number with one of those units, or that exceeds 64 bits.
pub fn parse_size(text: &str) -> Result<u64, ValueError> {
    let (number, unit) = Decimal::take(text.trim(), SIZE)?;
    let unit = unit.trim();
    let scale = size_scale(unit).ok_or_else(|| unknown(unit, SIZE_UNITS))?;
    let bytes = number.scaled(scale).map(u64::try_from);
    let too_large = ValueError::TooLarge("18446744073709551615 bytes");
    bytes.and_then(Result::ok).ok_or(too_large)
}

fn size_scale(unit: &str) -> Option<u128> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    })
}

/// Reads a time: one or more numbers with units, largest first by habit, such as `1m30s`.
///
/// A single number without a unit counts in `bare`.
///
/// # Errors
/// [`ValueError`] for anything else, and for more than 365 days.
pub fn parse_time(text: &str, bare: BareUnit) -> Result<Duration, ValueError> {
    let mut rest = text.trim();
    let mut nanos = 0_u128;
    let mut first = true;
    while first || !rest.is_empty() {
        let (number, after) = Decimal::take(rest, TIME)?;
        let after = after.trim_start();
        let unit_end = after.find(|c: char| !c.is_alphabetic());
        let (unit, after) = after.split_at(unit_end.unwrap_or(after.len()));
        let scale = match unit {
            "" if first && after.is_empty() => bare.nanos(),
            "" if after.is_empty() => return Err(ValueError::MissingUnit),
            "" => return Err(unknown(after, TIME_UNITS)),
            unit => time_scale(unit).ok_or_else(|| unknown(unit, TIME_UNITS))?,
        };
        nanos = number
            .scaled(scale)
            .and_then(|part| nanos.checked_add(part))
            .filter(|sum| *sum <= LONGEST.as_nanos())
            .ok_or(ValueError::TooLarge("365d"))?;
        rest = after.trim_start();
        first = false;
    }
    Ok(Duration::from_nanos_u128(nanos))
}

fn time_scale(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" | "sec" => NANOS_PER_SECOND,
        "m" | "min" => 60 * NANOS_PER_SECOND,
        "h" => 3_600 * NANOS_PER_SECOND,
        "d" => 86_400 * NANOS_PER_SECOND,
        _ => return None,
    })
}

fn unknown(unit: &str, accepted: &'static str) -> ValueError {
    let unit = unit.to_owned();
    ValueError::UnknownUnit { unit, accepted }
}

impl BareUnit {
    const fn nanos(self) -> u128 {
        match self {
            Self::Seconds => NANOS_PER_SECOND,
            Self::Milliseconds => 1_000_000,
        }
    }
}

/// A non-negative decimal number, kept exact: `digits / 10^decimals`.
struct Decimal {
    digits: u128,
    decimals: u32,
}

impl Decimal {
    /// Splits the number off the front of `text`; without one, `expected` says what to type. More digits than 30 are
    /// no number.
    fn take<'a>(text: &'a str, expected: &'static str) -> Result<(Self, &'a str), ValueError> {
        let digit_or_point = |c: char| c.is_ascii_digit() || c == '.';
        let below = text.strip_prefix('-');
        if below.is_some_and(|rest| rest.starts_with(digit_or_point)) {
            return Err(ValueError::Negative);
        }
        let end = text.find(|c| !digit_or_point(c)).unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let too_long = whole.len() + part.len() > 30;
        match (format!("{whole}{part}").parse(), u32::try_from(part.len())) {
            (Ok(digits), Ok(decimals)) if !too_long => Ok((Self { digits, decimals }, rest)),
            _ => Err(ValueError::Expected(expected)),
        }
    }

    /// The number times `scale`, without the fraction; `None` on overflow.
    fn scaled(&self, scale: u128) -> Option<u128> {
        Some(self.digits.checked_mul(scale)? / 10_u128.pow(self.decimals))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is typed gives a value or a refusal of one line.
        #[test]
        fn nothing_typed_panics(text in "[0-9.]{0,33}[ a-zA-Zµ]{0,4}[0-9.]{0,3}\\PC{0,3}") {
            if let Err(error) = parse_size(&text) {
                prop_assert_eq!(error.to_string().lines().count(), 1);
            }
            if let Err(error) = parse_time(&text, BareUnit::Seconds) {
                prop_assert_eq!(error.to_string().lines().count(), 1);
            }
        }

        /// Every time in whole milliseconds comes back as it was written.
        #[test]
        fn written_times_are_read_back(ms in 0_u64..100_000_000) {
            let (minutes, seconds, rest) = (ms / 60_000, ms / 1_000 % 60, ms % 1_000);
            let time = parse_time(&format!("{minutes}m{seconds}s{rest}ms"), BareUnit::Seconds);
            prop_assert_eq!(time, Ok(Duration::from_millis(ms)));
        }
    }

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        let cases = [
            ("0", 0),
            ("4096", 4096),
            ("10B", 10),
            ("64KiB", 65_536),
            ("64k", 65_536),
            ("64 KiB", 65_536),
            ("1M", 1 << 20),
            ("1MB", 1_000_000),
            ("1.5MiB", 1_572_864),
            (".5K", 512),
            ("2G", 1 << 31),
            ("1T", 1 << 40),
            ("0.3K", 307),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn bad_sizes_are_refused_with_what_to_write() {
        const NUMBER: &str = "expected a number such as 4096, 64KiB or 1.5M";
        let cases = [
            ("", NUMBER),
            ("-1", "must not be negative"),
            (".", NUMBER),
            ("1.2.3", NUMBER),
            (
                "18446744073709551616",
                "too large: at most 18446744073709551615 bytes",
            ),
            ("99999999T", "too large: at most 18446744073709551615 bytes"),
        ];
        for (text, message) in cases {
            let error = parse_size(text).expect_err(text);
            assert_eq!(error.to_string(), message, "{text}");
        }
        let error = parse_size("5 parsecs").expect_err("no such unit");
        assert!(
            error
                .to_string()
                .starts_with("unknown unit \"parsecs\": use B,")
        );
    }

    #[test]
    fn times_are_read_with_units() {
        let ms = Duration::from_millis;
        let cases = [
            ("500ms", ms(500)),
            ("5s", ms(5_000)),
            ("1m30s", ms(90_000)),
            ("1h 1m", ms(3_660_000)),
            ("1.5s", ms(1_500)),
            ("0", ms(0)),
            ("250us", Duration::from_micros(250)),
            ("250µs", Duration::from_micros(250)),
            ("250μs", Duration::from_micros(250)),
            ("1.5h", ms(5_400_000)),
            ("1d", ms(86_400_000)),
        ];
        for (text, time) in cases {
            assert_eq!(parse_time(text, BareUnit::Seconds), Ok(time), "{text}");
        }
    }

    #[test]
    fn a_bare_number_takes_the_unit_of_its_place() {
        assert_eq!(
            parse_time("500", BareUnit::Milliseconds),
            Ok(Duration::from_millis(500))
        );
        assert_eq!(
            parse_time("0.5", BareUnit::Seconds),
            Ok(Duration::from_millis(500))
        );
    }

    #[test]
    fn bad_times_are_refused_with_what_to_write() {
        const NO_TIME: &str = "expected a time such as 500ms, 5s or 1m30s";
        let cases = [
            ("", NO_TIME),
            ("redis", NO_TIME),
            ("-p", NO_TIME),
            ("-5s", "must not be negative"),
            ("1m-.5s", "must not be negative"),
            ("1m30", "the last number has no unit: write 1m30s, not 1m30"),
            (
                "5 weeks",
                "unknown unit \"weeks\": use ns, us, ms, s, m, h or d",
            ),
            ("5x", "unknown unit \"x\": use ns, us, ms, s, m, h or d"),
            ("366d", "too large: at most 365d"),
            ("99999999999999999999999999d", "too large: at most 365d"),
        ];
        for (text, message) in cases {
            let error = parse_time(text, BareUnit::Seconds).expect_err(text);
            assert_eq!(error.to_string(), message, "{text}");
        }
    }
}
