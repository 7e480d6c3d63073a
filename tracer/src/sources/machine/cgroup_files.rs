//! What the memory controller's files say of one cgroup, version 1 and 2. Pure.

/// A cgroup's memory at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All that is charged to it (`memory.current`, `memory.usage_in_bytes`), page cache included.
    pub current: u64,
    /// Of that, what cannot be given back: without files and reclaimable kernel objects. This is what must fit the
    /// limit.
    pub kept: u64,
    /// What it has swapped out; `None` where the kernel does not tell.
    pub swap: Option<u64>,
}

/// What a cgroup may use, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// The limit at which processes are killed (`memory.max`, `memory.limit_in_bytes`); `None` is no limit.
    pub max: Option<u64>,
    /// The limit above which allocations are slowed down (`memory.high`, version 2); `None` is no limit.
    pub high: Option<u64>,
    /// Processes in it and below that were killed for want of memory, since it was made; `None` where the kernel does
    /// not tell.
    pub oom_kills: Option<u64>,
}

/// Version of the cgroup interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Version 1, a hierarchy for each controller.
    V1,
    /// Version 2, one hierarchy.
    V2,
}

impl Version {
    /// The file with the present use.
    pub const fn current_file(self) -> &'static str {
        match self {
            Self::V1 => "memory.usage_in_bytes",
            Self::V2 => "memory.current",
        }
    }

    /// The file with the limit.
    pub const fn max_file(self) -> &'static str {
        match self {
            Self::V1 => "memory.limit_in_bytes",
            Self::V2 => "memory.max",
        }
    }

    /// The file that counts processes killed.
    pub const fn events_file(self) -> &'static str {
        match self {
            Self::V1 => "memory.oom_control",
            Self::V2 => "memory.events",
        }
    }

    /// Keys of `memory.stat` that can be given back. Version 1 has its kernel objects elsewhere.
    const fn reclaimable(self) -> &'static [&'static str] {
        match self {
            Self::V1 => &["total_active_file", "total_inactive_file"],
            Self::V2 => &["active_file", "inactive_file", "slab_reclaimable"],
        }
    }
}

/// The use, from the texts of [`Version::current_file`] and `memory.stat`; `None` where they are not what the kernel
/// writes.
pub fn usage(version: Version, current: &str, stat: &str) -> Option<Usage> {
    let current: u64 = current.trim().parse().ok()?;
    let mut reclaimable = 0_u64;
    let mut swap = None;
    for line in stat.lines() {
        let Some((key, value)) = line.split_once(' ') else {
            continue;
        };
        if version.reclaimable().contains(&key) {
            reclaimable = reclaimable.saturating_add(value.trim().parse().ok()?);
        } else if version == Version::V1 && key == "total_swap" {
            swap = value.trim().parse().ok();
        }
    }
    Some(Usage {
        current,
        kept: current.saturating_sub(reclaimable),
        swap,
    })
}

/// A limit in bytes; `None` for "max" and for version 1's "no limit", the largest multiple of a page below 2^63.
pub fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 62)
}

/// Processes killed, from the text of [`Version::events_file`].
pub fn oom_kills(events: &str) -> Option<u64> {
    let line = events
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "));
    line?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V2_STAT: &str = "anon 104857600\nfile 52428800\nkernel 4194304\nslab_reclaimable 1048576\n\
                           slab_unreclaimable 524288\ninactive_file 30000000\nactive_file 20000000\n";
    const V1_STAT: &str = "cache 52428800\nrss 104857600\ninactive_file 1\ntotal_rss 104857600\n\
                           total_swap 8192\ntotal_inactive_file 30000000\ntotal_active_file 20000000\n";

    #[test]
    fn what_can_be_given_back_is_not_kept() {
        let two = usage(Version::V2, "161480704\n", V2_STAT).expect("is read");
        assert_eq!(two.current, 161_480_704);
        assert_eq!(two.kept, 161_480_704 - 51_048_576);
        let one = usage(Version::V1, "157286400\n", V1_STAT).expect("is read");
        assert_eq!((one.kept, one.swap), (107_286_400, Some(8192)));
    }

    #[test]
    fn limits_may_be_absent() {
        assert_eq!(limit("536870912\n"), Some(536_870_912));
        for none in ["max\n", "9223372036854771712\n", "", "-1"] {
            assert_eq!(limit(none), None, "{none}");
        }
    }

    #[test]
    fn kills_are_counted_in_both_versions() {
        assert_eq!(
            oom_kills("low 0\nhigh 3\nmax 9\noom 1\noom_kill 2\noom_group_kill 0\n"),
            Some(2)
        );
        assert_eq!(
            oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
            Some(4)
        );
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\n"), None);
    }

    #[test]
    fn broken_texts_give_nothing() {
        assert_eq!(usage(Version::V2, "", V2_STAT), None);
        assert_eq!(usage(Version::V2, "12 kB", V2_STAT), None);
        assert_eq!(usage(Version::V2, "12", "active_file x\n"), None);
        let without_stat = usage(Version::V2, "12", "").expect("the use alone");
        assert_eq!((without_stat.current, without_stat.kept), (12, 12));
    }

    proptest! {
        #[test]
        fn no_more_is_kept_than_used(current in "\\PC{0,24}", stat in "[a-z_0-9 \n]{0,200}") {
            for version in [Version::V1, Version::V2] {
                if let Some(usage) = usage(version, &current, &stat) {
                    prop_assert!(usage.kept <= usage.current);
                }
            }
            let _ = (limit(&current), oom_kills(&stat));
        }
    }
}
