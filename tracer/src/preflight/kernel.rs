//! What a kernel can do, as named questions about its version and what its own type information names.

use std::collections::BTreeSet;
use std::fmt;

/// A kernel, as far as BPF features depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Version: major, minor, patch.
    pub version: (u32, u32, u32),
    /// Release as `uname -r` prints it.
    pub release: String,
    /// Features that the kernel's BTF names. Distributions carry features back to older version numbers, so a
    /// feature is there when the version is new enough *or* the BTF names it.
    pub named: BTreeSet<Feature>,
}

/// A BPF feature of the kernel. Each has the first mainline version that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// `BPF_MAP_TYPE_RINGBUF` (commit 457f44363a88).
    RingBuffer,
    /// Map memory is charged to the memory cgroup in place of the memlock limit (commit 97306be45fbe).
    MemcgAccounting,
    /// Task storage in tracing programs, not only in LSM programs (commit a10787e6d58c).
    TaskStorageInTracing,
    /// `bpf_get_attach_cookie` (commit 7adfc6c9b315): one program serves many functions.
    AttachCookie,
    /// `bpf_loop` (commit e6f2dd0f8067): loops that the verifier does not unroll.
    BpfLoop,
    /// Uprobe-multi links (commit 89ae89f53d20): many probes in one call.
    UprobeMulti,
    /// The PID filter of uprobe-multi links counts whole processes (commit 46ba0e49b642); it matched one
    /// thread before.
    UprobeMultiPidFilter,
    /// Uprobe sessions (`BPF_TRACE_UPROBE_SESSION`): one program at entry and return.
    UprobeSession,
}

impl Feature {
    /// All features, oldest first.
    pub const ALL: [Self; 8] = [
        Self::RingBuffer,
        Self::MemcgAccounting,
        Self::TaskStorageInTracing,
        Self::AttachCookie,
        Self::BpfLoop,
        Self::UprobeMulti,
        Self::UprobeMultiPidFilter,
        Self::UprobeSession,
    ];

    /// What memlens cannot run without. The newest of them sets [`MINIMUM_KERNEL`].
    pub const REQUIRED: [Self; 4] = [
        Self::RingBuffer,
        Self::TaskStorageInTracing,
        Self::AttachCookie,
        Self::BpfLoop,
    ];

    /// First mainline version, major and minor.
    pub const fn since(self) -> (u32, u32) {
        match self {
            Self::RingBuffer => (5, 8),
            Self::MemcgAccounting => (5, 11),
            Self::TaskStorageInTracing => (5, 13),
            Self::AttachCookie => (5, 15),
            Self::BpfLoop => (5, 17),
            Self::UprobeMulti => (6, 6),
            Self::UprobeMultiPidFilter => (6, 10),
            Self::UprobeSession => (6, 13),
        }
    }

    /// Plain name, plural, for messages.
    pub const fn label(self) -> &'static str {
        match self {
            Self::RingBuffer => "BPF ring buffers",
            Self::MemcgAccounting => "cgroup accounting of BPF memory",
            Self::TaskStorageInTracing => "BPF task storage in tracing programs",
            Self::AttachCookie => "BPF attach cookies",
            Self::BpfLoop => "the BPF helper bpf_loop",
            Self::UprobeMulti => "uprobe-multi links",
            Self::UprobeMultiPidFilter => "uprobe-multi links with a filter for whole processes",
            Self::UprobeSession => "uprobe sessions",
        }
    }

    /// The name by which the kernel's BTF shows the feature, where it has one: an enumerator of `linux/bpf.h`.
    pub const fn btf_name(self) -> Option<&'static str> {
        match self {
            Self::RingBuffer => Some("BPF_MAP_TYPE_RINGBUF"),
            Self::AttachCookie => Some("BPF_FUNC_get_attach_cookie"),
            Self::BpfLoop => Some("BPF_FUNC_loop"),
            Self::UprobeMulti => Some("BPF_TRACE_UPROBE_MULTI"),
            Self::UprobeSession => Some("BPF_TRACE_UPROBE_SESSION"),
            Self::MemcgAccounting | Self::TaskStorageInTracing | Self::UprobeMultiPidFilter => None,
        }
    }
}

/// Oldest mainline kernel that memlens runs on: `bpf_loop`, which walks stacks of any depth, came with 5.17.
pub const MINIMUM_KERNEL: (u32, u32) = Feature::BpfLoop.since();

/// Oldest kernel that the tests run on (`cargo xtask vm`): older ones down to [`MINIMUM_KERNEL`] have all that is
/// needed, as far as their version and type information tell.
pub const OLDEST_TESTED_KERNEL: (u32, u32) = (6, 1);

impl Kernel {
    /// A kernel known by its release alone, such as `6.1.0-18-amd64`. What cannot be read counts as 0.
    pub fn from_release(release: &str) -> Self {
        let mut numbers = release
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .next()
            .unwrap_or_default()
            .split('.')
            .map(|number| number.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Self {
            version: (next(), next(), next()),
            release: release.trim().to_owned(),
            named: BTreeSet::new(),
        }
    }

    fn has(&self, feature: Feature) -> bool {
        (self.version.0, self.version.1) >= feature.since() || self.named.contains(&feature)
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.release)
    }
}

/// Whether the tests run on kernels as old as this one.
pub fn is_tested(kernel: &Kernel) -> bool {
    (kernel.version.0, kernel.version.1) >= OLDEST_TESTED_KERNEL
}

/// Whether programs can send records through a ring buffer.
pub fn has_ringbuf(kernel: &Kernel) -> bool {
    kernel.has(Feature::RingBuffer)
}

/// Whether uprobe programs can keep state in a task.
pub fn has_task_storage_in_tracing(kernel: &Kernel) -> bool {
    kernel.has(Feature::TaskStorageInTracing)
}

/// Whether one program can tell its attach points apart.
pub fn has_attach_cookie(kernel: &Kernel) -> bool {
    kernel.has(Feature::AttachCookie)
}

/// Whether programs can loop through `bpf_loop`.
pub fn has_bpf_loop(kernel: &Kernel) -> bool {
    kernel.has(Feature::BpfLoop)
}

/// Whether many uprobes can be attached by one link.
pub fn has_uprobe_multi(kernel: &Kernel) -> bool {
    kernel.has(Feature::UprobeMulti)
}

/// Whether the PID filter of a uprobe-multi link takes in all threads of the process.
pub fn uprobe_multi_pid_filter_counts_threads(kernel: &Kernel) -> bool {
    kernel.has(Feature::UprobeMultiPidFilter)
}

/// Whether one program can run at entry and return, and skip the return.
pub fn has_uprobe_session(kernel: &Kernel) -> bool {
    kernel.has(Feature::UprobeSession)
}

/// Whether maps count against the locked-memory limit, which must then be raised.
pub fn needs_memlock_raised(kernel: &Kernel) -> bool {
    !kernel.has(Feature::MemcgAccounting)
}

/// The required features that the kernel lacks, oldest first.
pub fn missing_features(kernel: &Kernel) -> Vec<Feature> {
    Feature::REQUIRED
        .into_iter()
        .filter(|feature| !kernel.has(*feature))
        .collect()
}

/// Finds the features that a kernel's BTF names.
///
/// `btf` is the whole of `/sys/kernel/btf/vmlinux`: a header of 24 bytes, whose fields at 16 and 20 place the
/// string section after the header (Documentation/bpf/btf.rst, section 3). Anything else gives the empty set.
pub fn features_named_in_btf(btf: &[u8]) -> BTreeSet<Feature> {
    let Some(strings) = btf_strings(btf) else {
        return BTreeSet::new();
    };
    strings
        .split(|byte| *byte == 0)
        .filter_map(|name| {
            Feature::ALL
                .into_iter()
                .find(|feature| feature.btf_name().map(str::as_bytes) == Some(name))
        })
        .collect()
}

fn btf_strings(btf: &[u8]) -> Option<&[u8]> {
    const MAGIC: [u8; 2] = 0xeb9f_u16.to_ne_bytes();
    let word = |at: usize| {
        let bytes = btf.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_ne_bytes(bytes)).ok()
    };
    if !btf.starts_with(&MAGIC) {
        return None;
    }
    let start = word(4)?.checked_add(word(16)?)?;
    btf.get(start..start.checked_add(word(20)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_are_read() {
        let cases = [
            ("6.18.44-fc-v657", (6, 18, 44)),
            ("5.10.0-28-amd64\n", (5, 10, 0)),
            ("6.1-rc3", (6, 1, 0)),
            ("5.14.0-427.13.1.el9_4.x86_64", (5, 14, 0)),
            ("7.2.1+deb14-cloud-amd64", (7, 2, 1)),
            ("", (0, 0, 0)),
        ];
        for (release, version) in cases {
            assert_eq!(Kernel::from_release(release).version, version, "{release}");
        }
    }

    /// Each feature is absent just before its version and present from it on.
    #[test]
    fn a_table_of_kernels() {
        type Question = fn(&Kernel) -> bool;
        let table: [(&str, Question, &str, &str); 8] = [
            ("ring buffer", has_ringbuf, "5.7.19", "5.8.0"),
            (
                "task storage",
                has_task_storage_in_tracing,
                "5.12.19",
                "5.13.0",
            ),
            ("cookie", has_attach_cookie, "5.14.21", "5.15.0"),
            ("loop", has_bpf_loop, "5.16.20", "5.17.0"),
            ("multi", has_uprobe_multi, "6.5.13", "6.6.0"),
            (
                "filter",
                uprobe_multi_pid_filter_counts_threads,
                "6.9.12",
                "6.10.0",
            ),
            ("session", has_uprobe_session, "6.12.40", "6.13.0"),
            (
                "memcg",
                |kernel| !needs_memlock_raised(kernel),
                "5.10.200",
                "5.11.0",
            ),
        ];
        for (name, question, before, from) in table {
            assert!(
                !question(&Kernel::from_release(before)),
                "{name} on {before}"
            );
            assert!(question(&Kernel::from_release(from)), "{name} on {from}");
            assert!(question(&Kernel::from_release("7.2.0")), "{name} on 7.2");
        }
    }

    #[test]
    fn a_feature_that_was_carried_back_counts() {
        let mut kernel = Kernel::from_release("5.14.0-427.el9.x86_64");
        assert_eq!(
            missing_features(&kernel),
            [Feature::AttachCookie, Feature::BpfLoop]
        );
        kernel.named = BTreeSet::from([Feature::AttachCookie, Feature::BpfLoop]);
        assert_eq!(missing_features(&kernel), []);
        assert!(!has_uprobe_multi(&kernel));
    }

    #[test]
    fn no_required_feature_is_newer_than_the_minimum() {
        let minimum = Feature::REQUIRED
            .iter()
            .map(|feature| feature.since())
            .max();
        assert_eq!(minimum, Some(MINIMUM_KERNEL));
        assert!(Feature::ALL.is_sorted_by_key(|feature| feature.since()));
    }

    fn btf_with(strings: &[u8]) -> Vec<u8> {
        let types = [0_u8; 12];
        let mut btf = 0xeb9f_u16.to_ne_bytes().to_vec();
        btf.extend([1, 0]);
        let lengths = [24, 0, types.len(), types.len(), strings.len()];
        for word in lengths.map(|word| u32::try_from(word).expect("is small")) {
            btf.extend(word.to_ne_bytes());
        }
        btf.extend(types);
        btf.extend(strings);
        btf
    }

    #[test]
    fn features_are_found_in_btf_by_whole_name() {
        let btf = btf_with(b"\0int\0BPF_FUNC_loop\0xBPF_TRACE_UPROBE_MULTI\0");
        assert_eq!(
            features_named_in_btf(&btf),
            BTreeSet::from([Feature::BpfLoop])
        );
    }

    #[test]
    fn broken_btf_names_nothing() {
        let whole = btf_with(b"\0BPF_FUNC_loop\0");
        for end in 0..whole.len() {
            assert!(
                features_named_in_btf(&whole[..end]).is_empty(),
                "{end} bytes"
            );
        }
        let mut swapped = whole.clone();
        swapped.swap(0, 1);
        assert!(features_named_in_btf(&swapped).is_empty());
        let mut huge = whole;
        huge[20..24].fill(0xff);
        assert!(features_named_in_btf(&huge).is_empty());
    }
}
