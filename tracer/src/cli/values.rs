//! Sizes and times as a person types them: `64KiB`, `1.5M`, `500ms`, `1m30s`.

use std::time::Duration;

use thiserror::Error;

/// The longest time that is accepted; far from where clock arithmetic overflows.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a typed value is refused; each sentence says what would be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// There is no number where one is needed.
    #[error("a number is expected, such as {example}")]
    NotANumber {
        /// A value that would be accepted.
        example: &'static str,
    },
    /// The number is not followed by a known unit.
    #[error("\"{unit}\" is not a unit: use {accepted}")]
    UnknownUnit {
        /// What was typed.
        unit: String,
        /// The units that are known.
        accepted: &'static str,
    },
    /// A part of a compound time has no unit.
    #[error("the last part has no unit: write 1m30s, not 1m30")]
    MissingUnit,
    /// The value does not fit.
    #[error("too large: at most {limit}")]
    TooLarge {
        /// The greatest accepted value.
        limit: &'static str,
    },
    /// A PID outside what the kernel hands out.
    #[error("not a PID: PIDs are positive numbers")]
    NotAPid,
    /// A share of the machine that is none.
    #[error("not a share of the machine: give percent from 0.1 to 100, or off")]
    NotAShare,
    /// A symbol prefix that no C symbol can begin with.
    #[error("not a symbol prefix: use letters, digits and underscores, such as je_")]
    NotAPrefix,
}

/// Unit of a bare number in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareUnit {
    /// Seconds, as for an interval.
    Seconds,
    /// Milliseconds, as for an age.
    Milliseconds,
}

const SIZE_EXAMPLE: &str = "4096, 64KiB or 1.5M";
const SIZE_UNITS: &str = "B, K, M, G, T or KiB, MiB, GiB, TiB (1024), KB, MB, GB, TB (1000)";
const TIME_EXAMPLE: &str = "500ms, 5s or 1m30s";
const TIME_UNITS: &str = "ns, us, ms, s, m, h or d";
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Reads a size in bytes.
///
/// `K`, `M`, `G`, `T` and `KiB`, `MiB`, `GiB`, `TiB` are powers of 1024; `KB`, `MB`, `GB`, `TB` are
/// powers of 1000, as in the GNU core utilities. Case does not matter. Part bytes are cut off.
///
/// # Errors
/// [`ValueError`] for anything that is not a number with one of those units, or that exceeds 64 bits.
pub fn parse_size(text: &str) -> Result<u64, ValueError> {
    let (number, rest) = Decimal::take(text.trim()).ok_or(ValueError::NotANumber {
        example: SIZE_EXAMPLE,
    })?;
    let scale = size_scale(rest.trim()).ok_or_else(|| ValueError::UnknownUnit {
        unit: rest.trim().to_owned(),
        accepted: SIZE_UNITS,
    })?;
    let too_large = ValueError::TooLarge {
        limit: "18446744073709551615 bytes",
    };
    let bytes = number.scaled(scale).ok_or(too_large.clone())?;
    u64::try_from(bytes).map_err(|_| too_large)
}

fn size_scale(unit: &str) -> Option<u128> {
    let unit = unit.to_ascii_lowercase();
    Some(match unit.as_str() {
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
        let (number, after) = Decimal::take(rest).ok_or(ValueError::NotANumber {
            example: TIME_EXAMPLE,
        })?;
        let after = after.trim_start();
        let unit_end = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let scale = match unit {
            "" if first && after.is_empty() => bare.nanos(),
            "" if after.is_empty() => return Err(ValueError::MissingUnit),
            _ => time_scale(unit).ok_or_else(|| ValueError::UnknownUnit {
                unit: if unit.is_empty() { after } else { unit }.to_owned(),
                accepted: TIME_UNITS,
            })?,
        };
        nanos = number
            .scaled(scale)
            .and_then(|part| nanos.checked_add(part))
            .filter(|sum| *sum <= LONGEST.as_nanos())
            .ok_or(ValueError::TooLarge { limit: "365d" })?;
        rest = after.trim_start();
        first = false;
    }
    let seconds = u64::try_from(nanos / NANOS_PER_SECOND).unwrap_or(u64::MAX);
    let below = u32::try_from(nanos % NANOS_PER_SECOND).unwrap_or(0);
    Ok(Duration::new(seconds, below))
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

impl BareUnit {
    const fn nanos(self) -> u128 {
        match self {
            Self::Seconds => NANOS_PER_SECOND,
            Self::Milliseconds => 1_000_000,
        }
    }
}

/// Reads a PID.
///
/// # Errors
/// [`ValueError::NotAPid`] outside of `pid_t`'s positive numbers.
pub fn parse_pid(text: &str) -> Result<u32, ValueError> {
    let pid = text.trim().parse().map_err(|_| ValueError::NotAPid)?;
    if (1..=i32::MAX.cast_unsigned()).contains(&pid) {
        Ok(pid)
    } else {
        Err(ValueError::NotAPid)
    }
}

/// Most that probes may cost, in percent of the machine's CPUs; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuBudget(pub Option<f64>);

/// Reads a share of the machine in percent, `5`, `0.5%`; `off` or 0 is no limit.
///
/// # Errors
/// [`ValueError::NotAShare`] for anything else.
pub fn parse_cpu_budget(text: &str) -> Result<CpuBudget, ValueError> {
    let number = text.trim().trim_end_matches('%').trim_end();
    if number.eq_ignore_ascii_case("off") {
        return Ok(CpuBudget(None));
    }
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match number.parse::<f64>() {
        Ok(0.0) if plain => Ok(CpuBudget(None)),
        Ok(percent) if plain && (0.1..=100.0).contains(&percent) => Ok(CpuBudget(Some(percent))),
        _ => Err(ValueError::NotAShare),
    }
}

/// Reads the prefix of an allocator's symbols, such as `je_`.
///
/// # Errors
/// [`ValueError::NotAPrefix`] when no C symbol can begin so.
pub fn parse_prefix(text: &str) -> Result<String, ValueError> {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_well && text.chars().all(valid) {
        Ok(text.to_owned())
    } else {
        Err(ValueError::NotAPrefix)
    }
}

/// A non-negative decimal number, kept exact: `digits / 10^decimals`.
struct Decimal {
    digits: u128,
    decimals: u32,
}

impl Decimal {
    /// Splits the number off the front of `text`. More digits than 30 are no number.
    fn take(text: &str) -> Option<(Self, &str)> {
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && part.is_empty() || whole.len() + part.len() > 30 {
            return None;
        }
        let digits = format!("{whole}{part}").parse().ok()?;
        let decimals = u32::try_from(part.len()).ok()?;
        Some((Self { digits, decimals }, rest))
    }

    /// The number times `scale`, without what is below one; `None` on overflow.
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
        let cases = [
            ("", "a number is expected, such as 4096, 64KiB or 1.5M"),
            ("-1", "a number is expected, such as 4096, 64KiB or 1.5M"),
            (".", "a number is expected, such as 4096, 64KiB or 1.5M"),
            ("1.2.3", "a number is expected, such as 4096, 64KiB or 1.5M"),
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
                .starts_with("\"parsecs\" is not a unit: use B,")
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
        let cases = [
            ("", "a number is expected, such as 500ms, 5s or 1m30s"),
            ("redis", "a number is expected, such as 500ms, 5s or 1m30s"),
            ("1m30", "the last part has no unit: write 1m30s, not 1m30"),
            (
                "5 weeks",
                "\"weeks\" is not a unit: use ns, us, ms, s, m, h or d",
            ),
            ("5x", "\"x\" is not a unit: use ns, us, ms, s, m, h or d"),
            ("366d", "too large: at most 365d"),
            ("99999999999999999999999999d", "too large: at most 365d"),
        ];
        for (text, message) in cases {
            let error = parse_time(text, BareUnit::Seconds).expect_err(text);
            assert_eq!(error.to_string(), message, "{text}");
        }
    }

    #[test]
    fn pids_and_prefixes_are_checked() {
        assert_eq!(parse_pid("4242"), Ok(4242));
        for text in ["0", "-1", "", "2147483648", "self", "99999999999"] {
            assert_eq!(parse_pid(text), Err(ValueError::NotAPid), "{text}");
        }
        assert_eq!(parse_prefix("_rjem_"), Ok("_rjem_".to_owned()));
        for text in ["", "1a", "je-", "je_*"] {
            assert_eq!(parse_prefix(text), Err(ValueError::NotAPrefix), "{text}");
        }
    }
}
