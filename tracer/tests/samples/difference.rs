//! Differences of two profiles made by hand.

use std::time::Duration;

use memlens::profile::{Profile, diff};

use super::leaks::{base, process, stack};
use super::{Sample, frame, with_main};

fn build(pid: u32, host: &str, minute: u64, held: &[(&str, u32, u64, u64)]) -> Profile {
    let live = held.iter().map(|(_, _, bytes, _)| bytes).sum();
    let blocks = held.iter().map(|(_, _, _, blocks)| blocks).sum();
    let stacks: Vec<_> = held
        .iter()
        .map(|(function, line, bytes, blocks)| {
            let code = frame(
                function,
                u64::from(*line),
                "/build/server/src/cache.c",
                *line,
            );
            stack(pid, *bytes, *blocks, with_main(vec![code]))
        })
        .collect();
    let mut profile = base(vec![process(pid, "server", live, blocks)], &stacks);
    profile.meta.host = host.into();
    profile.meta.elapsed = Duration::from_secs(60 * minute);
    profile.meta.time += Duration::from_secs(60 * minute);
    profile.meta.last = true;
    profile
}

/// Two moments of one run, and two builds whose code is elsewhere.
pub fn all() -> Vec<Sample> {
    let before = [
        ("load_index", 10, 900_000, 300),
        ("session_new", 40, 64_000, 1_000),
        ("log_append", 90, 32_000, 1),
        ("parse_config", 120, 5_000, 40),
    ];
    let after = [
        ("session_new", 40, 6_400_000, 100_000),
        ("load_index", 10, 900_000, 300),
        ("log_append", 90, 16_000, 1),
        ("reload", 150, 2_048, 2),
    ];
    let moved = [
        ("session_new", 47, 6_400_000, 100_000),
        ("load_index", 12, 910_000, 310),
        ("log_append", 99, 32_000, 1),
        ("parse_config", 133, 5_000, 40),
    ];
    let first = build(4242, "web1", 1, &before);
    vec![
        Sample::of(
            "two_moments",
            diff::between(&first, &build(4242, "web1", 11, &after)),
        ),
        Sample::of(
            "two_builds",
            diff::between(&first, &build(990, "web2", 11, &moved)),
        ),
        Sample::of(
            "the_same",
            diff::between(&first, &build(4242, "web1", 2, &before)),
        ),
    ]
}
