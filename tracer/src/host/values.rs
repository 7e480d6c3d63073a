//! The figures of one process, or of several together.

/// Figures of a process at one moment: sizes in bytes, and counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// Resident memory (`VmRSS`): anonymous, mapped files and shared memory. Pages that several processes share count in each.
    pub rss: u64,
    /// Resident anonymous memory (`RssAnon`): heaps, stacks, arenas.
    pub anonymous: u64,
    /// Resident shared memory (`RssShmem`): tmpfs, System V, shared anonymous mappings.
    pub shared: u64,
    /// Anonymous memory that was swapped out (`VmSwap`).
    pub swap: u64,
    /// Size of the address space (`VmSize`), touched or not.
    pub virtual_size: u64,
    /// Page tables (`VmPTE`).
    pub page_tables: u64,
    /// Number of threads.
    pub threads: u64,
    /// Number of open file descriptors, where it could be counted.
    pub fds: Option<u64>,
    /// Proportional set size: resident pages, each divided by the number of processes that share it; where it was read.
    pub pss: Option<u64>,
}

/// One of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// What the process occupies: resident and swapped. It does not change when the kernel swaps pages out.
    Total,
    /// Resident memory.
    Rss,
    /// Proportional set size.
    Pss,
    /// Resident anonymous memory.
    Anonymous,
    /// Resident memory of files: what is neither anonymous nor shared memory.
    File,
    /// Resident shared memory.
    Shared,
    /// Swapped memory.
    Swap,
    /// Address space.
    Virtual,
    /// Page tables.
    PageTables,
    /// Threads.
    Threads,
    /// File descriptors.
    Fds,
}

impl Measure {
    /// All, in the order in which they are given out.
    pub const ALL: [Self; 11] = [
        Self::Total,
        Self::Rss,
        Self::Pss,
        Self::Anonymous,
        Self::File,
        Self::Shared,
        Self::Swap,
        Self::Virtual,
        Self::PageTables,
        Self::Threads,
        Self::Fds,
    ];

    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Rss => "rss",
            Self::Pss => "pss",
            Self::Anonymous => "anonymous",
            Self::File => "file",
            Self::Shared => "shared",
            Self::Swap => "swap",
            Self::Virtual => "virtual",
            Self::PageTables => "page_tables",
            Self::Threads => "threads",
            Self::Fds => "fds",
        }
    }

    /// Whether it is a number of things rather than of bytes.
    pub const fn is_count(self) -> bool {
        matches!(self, Self::Threads | Self::Fds)
    }
}

impl Values {
    /// One of the figures; `None` where it was not read.
    pub fn get(&self, measure: Measure) -> Option<u64> {
        Some(match measure {
            Measure::Total => self.rss.saturating_add(self.swap),
            Measure::Rss => self.rss,
            Measure::Pss => return self.pss,
            Measure::Anonymous => self.anonymous,
            Measure::File => self
                .rss
                .saturating_sub(self.anonymous.saturating_add(self.shared)),
            Measure::Shared => self.shared,
            Measure::Swap => self.swap,
            Measure::Virtual => self.virtual_size,
            Measure::PageTables => self.page_tables,
            Measure::Threads => self.threads,
            Measure::Fds => return self.fds,
        })
    }

    /// The sum of two processes' figures. What is known of one alone is the sum.
    pub fn plus(&self, other: &Self) -> Self {
        let known = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        Self {
            rss: self.rss.saturating_add(other.rss),
            anonymous: self.anonymous.saturating_add(other.anonymous),
            shared: self.shared.saturating_add(other.shared),
            swap: self.swap.saturating_add(other.swap),
            virtual_size: self.virtual_size.saturating_add(other.virtual_size),
            page_tables: self.page_tables.saturating_add(other.page_tables),
            threads: self.threads.saturating_add(other.threads),
            fds: known(self.fds, other.fds),
            pss: known(self.pss, other.pss),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_what_is_known() {
        let one = Values {
            rss: 10,
            anonymous: 6,
            shared: 1,
            swap: 5,
            threads: 1,
            fds: Some(3),
            ..Values::default()
        };
        let both = one.plus(&Values {
            rss: u64::MAX,
            threads: 2,
            pss: Some(7),
            ..Values::default()
        });
        assert_eq!((both.rss, both.threads, both.swap), (u64::MAX, 3, 5));
        assert_eq!((both.fds, both.pss), (Some(3), Some(7)));
        assert_eq!(one.get(Measure::Total), Some(15));
        assert_eq!(one.get(Measure::File), Some(3));
        assert_eq!(one.get(Measure::Pss), None);
    }

    #[test]
    fn names_are_distinct() {
        let names: std::collections::BTreeSet<_> = Measure::ALL.map(Measure::name).into();
        assert_eq!(names.len(), Measure::ALL.len());
    }
}
