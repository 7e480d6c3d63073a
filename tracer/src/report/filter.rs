//! Which blocks a report is about, where that is not all of them.

use std::time::Duration;

use super::units::{bytes, duration};

/// The blocks that a report counts. Sizes hold for all of it, the age for the stacks alone: totals are kept by the
/// kernel side as blocks come and go, at no certain age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockFilter {
    /// Least age in the stacks; zero for all.
    pub older: Duration,
    /// Smallest size in bytes, included; zero for all.
    pub min_size: u64,
    /// Largest size in bytes, included; `u64::MAX` for all.
    pub max_size: u64,
}

impl Default for BlockFilter {
    fn default() -> Self {
        Self {
            older: Duration::ZERO,
            min_size: 0,
            max_size: u64::MAX,
        }
    }
}

impl BlockFilter {
    /// The age as words, "older than 5s"; `None` where every age counts.
    pub fn age(&self) -> Option<String> {
        let age = duration(self.older);
        // A limit that was typed is no measurement: "5s", not "5.0s".
        let empty = [(".0s", "s"), ("m00s", "m"), ("h00m", "h"), ("d0h", "d")];
        let short = empty
            .iter()
            .find_map(|(end, unit)| Some(format!("{}{unit}", age.strip_suffix(end)?)));
        let age = short.unwrap_or(age);
        (!self.older.is_zero()).then(|| format!("older than {age}"))
    }

    /// The sizes as words, "of 64 KiB and more"; `None` where every size counts.
    pub fn sizes(&self) -> Option<String> {
        let (least, most) = (bytes(self.min_size), bytes(self.max_size));
        match (self.min_size > 0, self.max_size < u64::MAX) {
            (false, false) => None,
            (true, false) => Some(format!("of {least} and more")),
            (false, true) => Some(format!("of {most} at most")),
            (true, true) if self.min_size == self.max_size => Some(format!("of {least}")),
            (true, true) => Some(format!("of {least} to {most}")),
        }
    }

    /// Both, "of 64 KiB and more, older than 5s"; `None` where every block counts.
    pub fn words(&self) -> Option<String> {
        let words: Vec<String> = [self.sizes(), self.age()].into_iter().flatten().collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(older_ms: u64, min_size: u64, max_size: u64) -> String {
        let older = Duration::from_millis(older_ms);
        let filter = BlockFilter {
            older,
            min_size,
            max_size,
        };
        filter.words().unwrap_or_default()
    }

    #[test]
    fn filters_are_told_in_words() {
        assert_eq!(words(0, 0, u64::MAX), "");
        assert_eq!(words(5_000, 0, u64::MAX), "older than 5s");
        assert_eq!(words(60_000, 0, u64::MAX), "older than 1m");
        assert_eq!(words(70_000, 0, u64::MAX), "older than 1m10s");
        assert_eq!(words(250, 0, u64::MAX), "older than 250ms");
        assert_eq!(words(0, 65_536, u64::MAX), "of 64 KiB and more");
        assert_eq!(words(0, 0, 1 << 20), "of 1 MiB at most");
        assert_eq!(words(0, 16, 100), "of 16 B to 100 B");
        assert_eq!(words(0, 16, 16), "of 16 B");
        assert_eq!(
            words(1_500, 1, u64::MAX),
            "of 1 B and more, older than 1.5s"
        );
    }
}
