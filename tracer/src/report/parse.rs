//! Sizes and durations as the user writes them.

use std::time::Duration;

use thiserror::Error;

/// Size suffixes in lower case, as GNU coreutils reads them: `K` and `KiB` are 1024, `KB` is 1000.
const SIZE_UNITS: [(&str, u128); 21] = [
    ("", 1),
    ("b", 1),
    ("byte", 1),
    ("bytes", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("kb", 1_000),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("mb", 1_000_000),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("gb", 1_000_000_000),
    ("t", 1 << 40),
    ("tib", 1 << 40),
    ("tb", 1_000_000_000_000),
    ("p", 1 << 50),
    ("pib", 1 << 50),
    ("pb", 1_000_000_000_000_000),
    ("e", 1 << 60),
    ("eib", 1 << 60),
];

/// Duration suffixes, in nanoseconds.
const DURATION_UNITS: [(&str, u128); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Why a size or a duration could not be read: one line, with examples of what can be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnitError {
    /// Not a number with a known unit.
    #[error(
        "\"{0}\" is not a size: write bytes, or a number with a unit, such as 4096, 64KiB or 1.5MiB"
    )]
    NotASize(String),
    /// Not a row of numbers with known units.
    #[error(
        "\"{0}\" is not a duration: write a number with a unit, such as 500ms, 5s, 1m30s or 2h"
    )]
    NotADuration(String),
    /// More than 64 bits hold.
    #[error("\"{0}\" is too large")]
    TooLarge(String),
    /// A fraction of the smallest unit.
    #[error("\"{0}\" has a fraction of a byte: write whole bytes, or a larger unit such as KiB")]
    FractionOfByte(String),
}

/// Reads a size: "4096", "64KiB", "64K" (the same), "64KB" (64,000), "1.5 MiB".
///
/// Units are those of GNU coreutils, in either case: one letter or `KiB` is a power of 1024, `KB` is
/// a power of 1000. A fraction is rounded to the nearest byte.
///
/// # Errors
/// [`UnitError`] for anything else, and for sizes that 64 bits do not hold.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let not_a_size = || UnitError::NotASize(text.to_owned());
    let (number, rest) = take_number(text.trim()).ok_or_else(not_a_size)?;
    let suffix = rest.trim_start().to_ascii_lowercase();
    let unit = unit_of(&SIZE_UNITS, &suffix).ok_or_else(not_a_size)?;
    if unit == 1 && number.decimals > 0 {
        return Err(UnitError::FractionOfByte(text.to_owned()));
    }
    number
        .times(unit)
        .and_then(|value| u64::try_from(value).ok())
        .ok_or_else(|| UnitError::TooLarge(text.to_owned()))
}

/// Reads a duration: "500ms", "5s", "1.5s", "1m30s", "2h", "3d4h"; a bare number counts `bare_unit`.
///
/// Units are ns, us, ms, s, m, h and d, largest first; only the last number may have a fraction.
///
/// # Errors
/// [`UnitError`] for anything else, and for durations beyond 64 bits of nanoseconds (584 years).
pub fn parse_duration(text: &str, bare_unit: Duration) -> Result<Duration, UnitError> {
    let not_a_duration = || UnitError::NotADuration(text.to_owned());
    let too_large = || UnitError::TooLarge(text.to_owned());
    let mut rest = text.trim();
    let mut total = 0u128;
    let mut last_unit = u128::MAX;
    loop {
        let (number, after) = take_number(rest).ok_or_else(not_a_duration)?;
        let end = after
            .find(|letter: char| !letter.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (suffix, after) = after.split_at(end);
        let bare = suffix.is_empty() && last_unit == u128::MAX && after.is_empty();
        let unit = if bare {
            bare_unit.as_nanos()
        } else {
            unit_of(&DURATION_UNITS, suffix).ok_or_else(not_a_duration)?
        };
        let last = after.is_empty();
        if unit >= last_unit || (number.decimals > 0 && !last) {
            return Err(not_a_duration());
        }
        last_unit = unit;
        total = number
            .times(unit)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(too_large)?;
        if last {
            let nanos = u64::try_from(total).map_err(|_| too_large())?;
            return Ok(Duration::from_nanos(nanos));
        }
        rest = after;
    }
}

fn unit_of(units: &[(&str, u128)], suffix: &str) -> Option<u128> {
    let found = units.iter().find(|(name, _)| *name == suffix)?;
    Some(found.1)
}

/// A decimal number, kept exact: `digits` / 10^`decimals`.
struct Decimal {
    digits: u128,
    decimals: u32,
}

impl Decimal {
    /// The number times `unit`, rounded to the nearest whole; `None` beyond 128 bits.
    fn times(&self, unit: u128) -> Option<u128> {
        let scale = 10u128.checked_pow(self.decimals)?;
        Some((self.digits.checked_mul(unit)? + scale / 2) / scale)
    }
}

/// Splits off a leading decimal number of at most 20 whole and 9 decimal digits.
fn take_number(text: &str) -> Option<(Decimal, &str)> {
    let (whole, rest) = take_digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(after) => match take_digits(after) {
            ("", _) => return None,
            taken => taken,
        },
        None => ("", rest),
    };
    if whole.is_empty() || whole.len() > 20 || fraction.len() > 9 {
        return None;
    }
    let number = Decimal {
        digits: format!("{whole}{fraction}").parse().ok()?,
        decimals: u32::try_from(fraction.len()).ok()?,
    };
    Some((number, rest))
}

fn take_digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|digit: char| !digit.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn sizes_are_read() {
        let cases: [(&str, u64); 12] = [
            ("0", 0),
            ("4096", 4096),
            ("64KiB", 65_536),
            ("64K", 65_536),
            ("64k", 65_536),
            ("64KB", 64_000),
            ("64kb", 64_000),
            ("1M", 1 << 20),
            ("1.5MiB", 3 << 19),
            (" 1.5 MiB ", 3 << 19),
            ("512 B", 512),
            ("2G", 2 << 30),
        ];
        for (text, value) in cases {
            assert_eq!(parse_size(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        for text in [
            "", " ", "-1", "+1", "K", "1.", ".5K", "1.5.2K", "64Kibi", "1e3", "0x10", "1 2", "nan",
            "64Ki B",
        ] {
            assert_eq!(
                parse_size(text),
                Err(UnitError::NotASize(text.into())),
                "{text}"
            );
        }
        assert_eq!(
            parse_size("1.5"),
            Err(UnitError::FractionOfByte("1.5".into()))
        );
        for text in ["16EiB", "18446744073709551616", "99999999999999999999E"] {
            assert_eq!(
                parse_size(text),
                Err(UnitError::TooLarge(text.into())),
                "{text}"
            );
        }
        let message = parse_size("12 parsecs").expect_err("no unit").to_string();
        assert!(message.contains("12 parsecs") && message.contains("64KiB"));
        assert_eq!(message.lines().count(), 1);
    }

    #[test]
    fn durations_are_read() {
        let cases = [
            ("500ms", 500),
            ("500", 500),
            ("5s", 5_000),
            ("1.5s", 1_500),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("2h05m", 7_500_000),
            ("3d4h", 273_600_000),
            (" 0 ", 0),
        ];
        for (text, millis) in cases {
            let expected = Ok(Duration::from_millis(millis));
            assert_eq!(parse_duration(text, MILLISECOND), expected, "{text}");
        }
        let seconds = parse_duration("2.5", Duration::from_secs(1));
        assert_eq!(seconds, Ok(Duration::from_millis(2_500)));
    }

    #[test]
    fn durations_that_make_no_sense_are_refused() {
        for text in [
            "", "s", "5x", "-5s", "30s1m", "1m1m", "1.5m30s", "1m30", "1m 30s", "5 s", "1e3",
        ] {
            let error = Err(UnitError::NotADuration(text.into()));
            assert_eq!(parse_duration(text, MILLISECOND), error, "{text}");
        }
        let error = Err(UnitError::TooLarge("300000d".into()));
        assert_eq!(parse_duration("300000d", MILLISECOND), error);
    }

    proptest! {
        /// Any input gives a value or one line, never a panic.
        #[test]
        fn any_input_is_answered(text in "\\PC{0,12}") {
            let errors = [parse_size(&text).err(), parse_duration(&text, MILLISECOND).err()];
            for error in errors.into_iter().flatten() {
                prop_assert_eq!(error.to_string().lines().count(), 1);
            }
        }
    }
}
