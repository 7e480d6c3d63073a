//! Sizes, counts, durations and changes: how they are printed.

use std::time::Duration;

const SIZE_NAMES: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A size with three significant digits ("12.3 MiB"), below 1 KiB in exact bytes ("512 B").
///
/// A size that is a whole number of its unit has no decimals, so "64 KiB" is exactly that and
/// "64.0 KiB" is about that.
pub fn bytes(value: u64) -> String {
    if value < 1024 {
        return format!("{value} B");
    }
    let mut exponent = (value.ilog2() / 10) as usize;
    loop {
        let unit = 1u128 << (10 * exponent);
        let name = SIZE_NAMES[exponent - 1];
        let value = u128::from(value);
        if value % unit == 0 {
            return format!("{} {name}", value / unit);
        }
        let hundredths = (value * 100 + unit / 2) / unit;
        if hundredths < 1_000 {
            return format!("{}.{:02} {name}", hundredths / 100, hundredths % 100);
        }
        let tenths = (value * 10 + unit / 2) / unit;
        if tenths < 1_000 {
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
        let whole = (value + unit / 2) / unit;
        if whole < 1024 || exponent == SIZE_NAMES.len() {
            return format!("{whole} {name}");
        }
        exponent += 1;
    }
}

/// A count in groups of three digits: "1,234,567".
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A count with its noun: "1 block", "1,234 blocks". The plural is the noun with an "s".
pub fn counted(value: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(value), plural(value, "", "s"))
}

/// The form of a word that agrees with a number.
pub const fn plural<'a>(n: u64, one: &'a str, many: &'a str) -> &'a str {
    if n == 1 { one } else { many }
}

/// So many processes, in words.
pub fn counted_processes(value: u64) -> String {
    format!("{} {}", count(value), plural(value, "process", "processes"))
}

/// A change of a size with its sign: "+1.2 MiB", "-512 B"; "0 B" where nothing changed.
pub fn change(value: i64) -> String {
    let sign = match value.signum() {
        1 => "+",
        -1 => "-",
        _ => "",
    };
    format!("{sign}{}", bytes(value.unsigned_abs()))
}

/// A number per second: "0", "2.5", "1,234", "62.3 k", "6.20 M"; three significant digits where it is large.
pub fn rate(value: f64) -> String {
    let scaled = |value: f64, unit: &str| match value {
        value if value < 9.995 => format!("{value:.2} {unit}"),
        value if value < 99.95 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    };
    match value {
        value if value < 0.05 => "0".to_owned(),
        value if value < 9.95 => format!("{value:.1}"),
        value if value < 9_999.5 => count(value.round() as u64),
        value if value < 999_500.0 => scaled(value / 1e3, "k"),
        value if value < 999_500_000.0 => scaled(value / 1e6, "M"),
        value => scaled(value / 1e9, "G"),
    }
}

/// Bytes per second as a size in a time that makes it a whole number: "12.3 KiB/s", "40 B/min".
pub fn speed(bytes_per_s: f64) -> String {
    let of = |value: f64| bytes(value.abs().round() as u64);
    let sign = if bytes_per_s < 0.0 { "-" } else { "" };
    match bytes_per_s.abs() {
        second if second >= 10.0 || second == 0.0 => format!("{sign}{}/s", of(second)),
        second if second * 60.0 >= 10.0 => format!("{sign}{}/min", of(second * 60.0)),
        second => format!("{sign}{}/h", of(second * 3_600.0)),
    }
}

/// A number of percent: "0%", "less than 0.1%", "2.5%", "155%".
pub fn percent(value: f64) -> String {
    match value {
        value if value <= 0.0 => "0%".to_owned(),
        value if value < 0.1 => "less than 0.1%".to_owned(),
        value if value < 9.95 => {
            let text = format!("{value:.1}");
            format!("{}%", text.strip_suffix(".0").unwrap_or(&text))
        }
        value => format!("{value:.0}%"),
    }
}

/// A duration, rounded down: "350us", "850ms", "12.3s", "4m10s", "2h05m", "3d4h".
pub fn duration(value: Duration) -> String {
    let seconds = value.as_secs();
    if value < Duration::from_micros(1) {
        "0ms".to_owned()
    } else if value < Duration::from_millis(1) {
        format!("{}us", value.as_micros())
    } else if seconds == 0 {
        format!("{}ms", value.as_millis())
    } else if seconds < 60 {
        format!("{seconds}.{}s", value.subsec_millis() / 100)
    } else if seconds < 3_600 {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    } else if seconds < 86_400 {
        format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60)
    } else {
        format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3_600)
    }
}

/// A part of a whole in percent: "45.2%", "100%", "<0.1%".
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 || part == 0 {
        return "0%".to_owned();
    }
    let thousandths = (u128::from(part) * 1_000 + u128::from(whole) / 2) / u128::from(whole);
    match thousandths {
        0 => "<0.1%".to_owned(),
        1_000 if part == whole => "100%".to_owned(),
        _ => format!("{}.{}%", thousandths / 10, thousandths % 10),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::cli::{BareUnit, parse_size, parse_time};

    /// Longest time that the command line takes, in nanoseconds.
    const YEAR: u64 = 365 * 86_400 * 1_000_000_000;
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn rates_and_percents_are_short() {
        let rates = [
            (0.0, "0"),
            (0.04, "0"),
            (0.25, "0.2"),
            (9.94, "9.9"),
            (9.96, "10"),
            (1_234.4, "1,234"),
            (9_999.6, "10.0 k"),
            (62_345.0, "62.3 k"),
            (999_499.0, "999 k"),
            (999_600.0, "1.00 M"),
            (6_204_000.0, "6.20 M"),
            (2e9, "2.00 G"),
        ];
        for (value, text) in rates {
            assert_eq!(rate(value), text, "{value}");
        }
        let percents = [
            (0.0, "0%"),
            (0.05, "less than 0.1%"),
            (5.0, "5%"),
            (2.54, "2.5%"),
            (9.96, "10%"),
            (155.4, "155%"),
        ];
        for (value, text) in percents {
            assert_eq!(percent(value), text, "{value}");
        }
    }

    #[test]
    fn speeds_have_the_time_that_fits() {
        let cases = [
            (0.0, "0 B/s"),
            (2_048.0, "2 KiB/s"),
            (1_999.6, "1.95 KiB/s"),
            (-12.4, "-12 B/s"),
            (0.5, "30 B/min"),
            (0.01, "36 B/h"),
        ];
        for (value, text) in cases {
            assert_eq!(speed(value), text, "{value}");
        }
    }

    /// Three significant digits, exact where it looks exact, and no "1024 KiB".
    #[test]
    fn sizes_are_printed() {
        let cases: [(u64, &str); 14] = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1025, "1.00 KiB"),
            (30_000, "29.3 KiB"),
            (64 << 10, "64 KiB"),
            ((64 << 10) + 1, "64.0 KiB"),
            (10_239, "10.0 KiB"),
            (102_399, "100 KiB"),
            (1_048_575, "1.00 MiB"),
            (1_047_000, "1022 KiB"),
            (12_884_902, "12.3 MiB"),
            (3 << 30, "3 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (value, text) in cases {
            assert_eq!(bytes(value), text, "{value}");
        }
        assert_eq!(change(-512), "-512 B");
        assert_eq!(change(1_258_291), "+1.20 MiB");
        assert_eq!(change(0), "0 B");
        assert_eq!(change(i64::MIN), "-8 EiB");
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "block"), "1 block");
        assert_eq!(counted(1_000, "block"), "1,000 blocks");
    }

    #[test]
    fn durations_are_printed_rounded_down() {
        let cases = [
            (0, "0ms"),
            (999, "0ms"),
            (350_000, "350us"),
            (850_999_999, "850ms"),
            (12_399_999_999, "12.3s"),
            (59_999_999_999, "59.9s"),
            (250_000_000_000, "4m10s"),
            (7_500_000_000_000, "2h05m"),
            (273_600_000_000_000, "3d4h"),
        ];
        for (nanos, text) in cases {
            assert_eq!(duration(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn shares_never_claim_more_than_they_know() {
        assert_eq!(share(0, 0), "0%");
        assert_eq!(share(1, 3), "33.3%");
        assert_eq!(share(1, 1_000_000), "<0.1%");
        assert_eq!(share(7, 7), "100%");
        assert_eq!(share(999_999, 1_000_000), "100.0%");
    }

    proptest! {
        /// What is printed reads back within half of its last digit.
        #[test]
        fn printed_sizes_read_back(value in any::<u64>(), shift in 14u32..64) {
            let value = value >> shift;
            let text = bytes(value);
            match parse_size(&text) {
                Ok(read) if text.contains('.') => {
                    prop_assert!(read.abs_diff(value) <= value / 199 + 1, "{value} -> {text} -> {read}");
                }
                Ok(read) if value < 1024 => prop_assert_eq!(read, value),
                Ok(read) => prop_assert!(read.abs_diff(value) <= value / 199, "{value} -> {text} -> {read}"),
                Err(error) => prop_assert!(false, "{value}: {error}"),
            }
        }

        /// A size without decimals is exact below 100 of its unit.
        #[test]
        fn whole_sizes_are_exact(value in 1u64..100, exponent in 0u32..5) {
            let size = value << (10 * exponent);
            prop_assert_eq!(parse_size(&bytes(size)), Ok(size));
        }

        /// What is printed reads back as the same duration, rounded down by less than its last digit.
        #[test]
        fn printed_durations_read_back(nanos in 0..YEAR, shift in 0u32..64) {
            let value = Duration::from_nanos(nanos >> shift);
            let text = duration(value);
            let read = parse_time(&text, BareUnit::Seconds).expect("printed durations are valid");
            prop_assert!(read <= value, "{value:?} -> {text} -> {read:?}");
            let last_digit = match value.as_secs() {
                0 if value < MILLISECOND => Duration::from_micros(1),
                0 => MILLISECOND,
                1..60 => 100 * MILLISECOND,
                60..3_600 => Duration::from_secs(1),
                3_600..86_400 => Duration::from_secs(60),
                _ => Duration::from_secs(3_600),
            };
            prop_assert!(value - read < last_digit, "{value:?} -> {text}");
            prop_assert_eq!(duration(read), text);
        }
    }
}
