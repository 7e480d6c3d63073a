//! What a trace of the kernel's memory can lose, each with a counter.

/// What is lost, by its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum KernelLoss {
    /// Blocks not tracked because the table of live blocks was full.
    LiveFullBlocks = 0,
    /// Bytes of those blocks.
    LiveFullBytes = 1,
    /// Blocks not tracked because the table was in use by what an interrupt came upon.
    BusyBlocks = 2,
    /// Blocks counted without their stack because the table of stacks was full.
    StackTableFull = 3,
    /// Blocks whose stack the kernel could not walk.
    NoStack = 4,
    /// Blocks allocated again at an address whose release was not seen.
    MissedFrees = 5,
    /// Releases of blocks that are not tracked.
    UnknownFrees = 6,
    /// Caches not told apart because there are more than the table holds.
    CachesFull = 7,
    /// Objects of a release in bulk beyond [`super::MAX_BULK`].
    BulkTooLong = 8,
    /// Allocations in interrupts that came upon the program itself, twice over. Reckoned by user space.
    NestedAllocs = 9,
    /// Releases in such interrupts. Reckoned by user space.
    NestedFrees = 10,
}

impl KernelLoss {
    /// Number of counters.
    pub const COUNT: u32 = 11;

    /// All counters, in index order.
    pub const ALL: [Self; Self::COUNT as usize] = [
        Self::LiveFullBlocks,
        Self::LiveFullBytes,
        Self::BusyBlocks,
        Self::StackTableFull,
        Self::NoStack,
        Self::MissedFrees,
        Self::UnknownFrees,
        Self::CachesFull,
        Self::BulkTooLong,
        Self::NestedAllocs,
        Self::NestedFrees,
    ];

    /// Stable name, as in the JSON report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LiveFullBlocks => "live_map_full_blocks",
            Self::LiveFullBytes => "live_map_full_bytes",
            Self::BusyBlocks => "live_map_busy_blocks",
            Self::StackTableFull => "stack_table_full",
            Self::NoStack => "no_stack",
            Self::MissedFrees => "missed_frees",
            Self::UnknownFrees => "unknown_frees",
            Self::CachesFull => "caches_full",
            Self::BulkTooLong => "bulk_too_long",
            Self::NestedAllocs => "nested_allocs",
            Self::NestedFrees => "nested_frees",
        }
    }

    /// Whether a count here means that the totals of a report are not exact.
    pub const fn spoils_totals(self) -> bool {
        !matches!(
            self,
            Self::StackTableFull | Self::NoStack | Self::UnknownFrees
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_indexed_and_named_once() {
        for (index, loss) in KernelLoss::ALL.iter().enumerate() {
            assert_eq!(*loss as usize, index);
            let same = KernelLoss::ALL
                .iter()
                .filter(|other| other.name() == loss.name());
            assert_eq!(same.count(), 1);
        }
    }
}
