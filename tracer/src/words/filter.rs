//! Which blocks a profile counts, in words.

use super::units::{bytes, duration};
use crate::profile::Filter;

/// The least age, "older than 5s"; `None` where every age counts.
pub fn age(filter: &Filter) -> Option<String> {
    let age = duration(filter.older);
    // A limit that was typed is no measurement: "5s", not "5.0s".
    let empty = [(".0s", "s"), ("m00s", "m"), ("h00m", "h"), ("d0h", "d")];
    let short = empty
        .iter()
        .find_map(|(end, unit)| Some(format!("{}{unit}", age.strip_suffix(end)?)));
    (!filter.older.is_zero()).then(|| format!("older than {}", short.unwrap_or(age)))
}

/// The sizes, "of 64 KiB and more"; `None` where every size counts.
pub fn sizes(filter: &Filter) -> Option<String> {
    Some(match (filter.min_size, filter.max_size) {
        (None, None) => return None,
        (Some(least), None) => format!("of {} and more", bytes(least)),
        (None, Some(most)) => format!("of {} at most", bytes(most)),
        (Some(least), Some(most)) if least == most => format!("of {}", bytes(least)),
        (Some(least), Some(most)) => format!("of {} to {}", bytes(least), bytes(most)),
    })
}

/// Both, "of 64 KiB and more, older than 5s"; `None` where every block counts.
pub fn words(filter: &Filter) -> Option<String> {
    let words: Vec<String> = [sizes(filter), age(filter)].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told(older_ms: u64, min_size: Option<u64>, max_size: Option<u64>) -> String {
        let filter = Filter {
            older: Duration::from_millis(older_ms),
            min_size,
            max_size,
            only: None,
        };
        words(&filter).unwrap_or_default()
    }

    #[test]
    fn filters_are_told_in_words() {
        assert_eq!(told(0, None, None), "");
        assert_eq!(told(5_000, None, None), "older than 5s");
        assert_eq!(told(60_000, None, None), "older than 1m");
        assert_eq!(told(70_000, None, None), "older than 1m10s");
        assert_eq!(told(250, None, None), "older than 250ms");
        assert_eq!(told(0, Some(65_536), None), "of 64 KiB and more");
        assert_eq!(told(0, None, Some(1 << 20)), "of 1 MiB at most");
        assert_eq!(told(0, Some(16), Some(100)), "of 16 B to 100 B");
        assert_eq!(told(0, Some(16), Some(16)), "of 16 B");
        assert_eq!(
            told(1_500, Some(1), None),
            "of 1 B and more, older than 1.5s"
        );
    }
}
