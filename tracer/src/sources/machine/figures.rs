//! The figures of one process, or of several together, small enough to keep many of them over time.

use crate::profile::{Measure, Source, Values};

/// Figures of a process at one moment: sizes in bytes, and counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Resident memory (`VmRSS`): anonymous, mapped files and shared memory. Pages that several processes share count
    /// in each.
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

impl Figures {
    /// The figure of a measure; `None` where it was not read.
    pub fn get(&self, measure: Measure) -> Option<u64> {
        let file = || {
            self.rss
                .saturating_sub(self.anonymous.saturating_add(self.shared))
        };
        Some(match measure {
            Measure::ProcessTotalBytes => self.rss.saturating_add(self.swap),
            Measure::ProcessRssBytes => self.rss,
            Measure::ProcessPssBytes => self.pss?,
            Measure::ProcessAnonymousBytes => self.anonymous,
            Measure::ProcessFileBytes => file(),
            Measure::ProcessSharedBytes => self.shared,
            Measure::ProcessSwapBytes => self.swap,
            Measure::ProcessVirtualBytes => self.virtual_size,
            Measure::ProcessPageTableBytes => self.page_tables,
            Measure::ProcessThreads => self.threads,
            Measure::ProcessFds => self.fds?,
            _ => return None,
        })
    }

    /// All figures that were read.
    pub fn values(&self) -> Values {
        Measure::of(Source::Process)
            .filter_map(|measure| Some((measure, self.get(measure)?.into())))
            .collect()
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
        let one = Figures {
            rss: 10,
            anonymous: 6,
            shared: 1,
            swap: 5,
            threads: 1,
            fds: Some(3),
            ..Figures::default()
        };
        let both = one.plus(&Figures {
            rss: u64::MAX,
            threads: 2,
            pss: Some(7),
            ..Figures::default()
        });
        assert_eq!((both.rss, both.threads, both.swap), (u64::MAX, 3, 5));
        assert_eq!((both.fds, both.pss), (Some(3), Some(7)));
        let values = one.values();
        assert_eq!(values.whole(Measure::ProcessTotalBytes), Some(15));
        assert_eq!(values.whole(Measure::ProcessFileBytes), Some(3));
        assert_eq!(values.whole(Measure::ProcessPssBytes), None);
    }
}
