//! How long blocks live, in words.

use std::time::Duration;

use super::units::{bytes, counted, duration};
use crate::profile::Ages;

/// The last number of the ages at which blocks were freed: it stands for all that are older.
const LAST_FREED: usize = Ages::LAST_FREED;

/// Number of the live ages from 65.5 seconds on: the first that are all beyond a minute.
const MINUTE: usize = 17;

/// How soon the freed blocks had gone, and how much of what lives is older; `None` where none was freed.
pub fn sentence(freed: &Ages, live: &Ages) -> Option<String> {
    let all: u64 = freed.buckets().iter().sum();
    if all == 0 {
        return None;
    }
    let nearly_all = all - all / 100;
    let mut gone = 0;
    let last = freed.buckets().iter().position(|blocks| {
        gone += blocks;
        gone >= nearly_all
    })?;
    let blocks = counted(all, "block");
    if last >= LAST_FREED {
        let bound = lower(bound(LAST_FREED - 1));
        return Some(format!(
            "of the {blocks} freed here, more than 1% had lived for longer than {bound}"
        ));
    }
    let older = |from: usize| live.buckets().iter().skip(from).sum::<u64>();
    let rest = match (older(MINUTE), older(last + 1)) {
        (0, 0) => String::new(),
        (0, older) => format!("; {} of what lives is older", bytes(older)),
        (older, _) => format!(
            "; {} of what lives is older than {}",
            bytes(older),
            lower(bound(MINUTE - 1))
        ),
    };
    let within = upper(bound(last));
    Some(format!(
        "99% of the {blocks} freed here had gone within {within}{rest}"
    ))
}

/// The age that all blocks of a number are below.
const fn bound(bucket: usize) -> Duration {
    Duration::from_millis(1 << bucket)
}

/// An age, rounded down: what is older than the age is older than what is printed.
fn lower(age: Duration) -> String {
    duration(age)
}

/// An age, rounded up to what is printed.
fn upper(age: Duration) -> String {
    let step = match age.as_secs() {
        0 => 1,
        1..60 => 100,
        _ => 1_000,
    };
    let ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX - step);
    duration(Duration::from_millis(ms.div_ceil(step) * step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ages(amounts: &[(u64, u64)]) -> Ages {
        let mut ages = Ages::default();
        for (ms, amount) in amounts {
            ages.add(ms * 1_000_000, *amount);
        }
        ages
    }

    #[test]
    fn lifetimes_are_told() {
        let freed = ages(&[(0, 9_000), (1_500, 905), (30_000, 95)]);
        let live = ages(&[(100, 1_000), (3_000, 2_048), (70_000, 10 << 20)]);
        assert_eq!(
            sentence(&freed, &live).as_deref(),
            Some(
                "99% of the 10,000 blocks freed here had gone within 2.1s; 10 MiB of what lives is older than 1m05s"
            )
        );
        let young = ages(&[(100, 1_000), (3_000, 2_048)]);
        assert_eq!(
            sentence(&freed, &young).as_deref(),
            Some(
                "99% of the 10,000 blocks freed here had gone within 2.1s; 2 KiB of what lives is older"
            )
        );
        assert_eq!(
            sentence(&ages(&[(0, 1)]), &Ages::default()).as_deref(),
            Some("99% of the 1 block freed here had gone within 1ms")
        );
        assert_eq!(sentence(&Ages::default(), &live), None);
    }

    /// The last number of the freed ages has no upper end.
    #[test]
    fn the_last_age_is_open() {
        let freed = ages(&[(0, 98), (270_000, 2)]);
        assert_eq!(
            sentence(&freed, &Ages::default()).as_deref(),
            Some("of the 100 blocks freed here, more than 1% had lived for longer than 4m22s")
        );
    }

    #[test]
    fn ages_are_rounded_to_the_safe_side() {
        assert_eq!(upper(Duration::from_millis(512)), "512ms");
        assert_eq!(upper(Duration::from_millis(1_024)), "1.1s");
        assert_eq!(upper(Duration::from_millis(65_536)), "1m06s");
        assert_eq!(lower(Duration::from_millis(65_536)), "1m05s");
    }
}
