//! Every way to lose something has a name, a counter and a sentence.

/// Index into the per-CPU loss counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Loss {
    /// Blocks not tracked because the live map was full.
    LiveMapFullBlocks = 0,
    /// Bytes of those blocks.
    LiveMapFullBytes = 1,
    /// Blocks not tracked because the kernel had no memory for a map element.
    NoMemoryBlocks = 2,
    /// Bytes of those blocks.
    NoMemoryBytes = 3,
    /// Allocations counted on their process only, because the stack table was full.
    StackTableFull = 4,
    /// Calls whose return was never seen: the thread left by `longjmp`, an exception or its end.
    MissedReturns = 5,
    /// Blocks handed out again without a free having been seen.
    MissedFrees = 6,
    /// Calls not followed because the kernel had no memory for the thread's state.
    NoThreadState = 7,
    /// Successful `posix_memalign` calls whose result could not be read.
    UnreadableResult = 8,
    /// Trace events dropped because the ring buffer was full.
    RingBufferFull = 9,
    /// Process events (exec, exit, fork) dropped because their ring buffer was full.
    LifecycleFull = 10,
    /// Blocks that were moved into a `realloc` and could not be put back when it failed.
    LostInRealloc = 11,
    /// Frees of blocks that were not being tracked: older than the trace, filtered or unsampled.
    UnknownFrees = 12,
    /// Processes started by a traced process, which are not themselves traced.
    UntracedChildren = 13,
    /// Calls of processes for which the process table had no row.
    ProcessTableFull = 14,
    /// Changes of address spaces dropped because their ring buffer was full, and repaired from the maps.
    SpaceRingFull = 15,
    /// Page faults of the sample dropped because the ring buffer was full.
    FaultsUntold = 16,
}

impl Loss {
    /// Number of counters.
    pub const COUNT: u32 = 17;

    /// All counters, in index order.
    pub const ALL: [Self; Self::COUNT as usize] = [
        Self::LiveMapFullBlocks,
        Self::LiveMapFullBytes,
        Self::NoMemoryBlocks,
        Self::NoMemoryBytes,
        Self::StackTableFull,
        Self::MissedReturns,
        Self::MissedFrees,
        Self::NoThreadState,
        Self::UnreadableResult,
        Self::RingBufferFull,
        Self::LifecycleFull,
        Self::LostInRealloc,
        Self::UnknownFrees,
        Self::UntracedChildren,
        Self::ProcessTableFull,
        Self::SpaceRingFull,
        Self::FaultsUntold,
    ];

    /// Stable name, as in the JSON report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LiveMapFullBlocks => "live_map_full_blocks",
            Self::LiveMapFullBytes => "live_map_full_bytes",
            Self::NoMemoryBlocks => "no_memory_blocks",
            Self::NoMemoryBytes => "no_memory_bytes",
            Self::StackTableFull => "stack_table_full",
            Self::MissedReturns => "missed_returns",
            Self::MissedFrees => "missed_frees",
            Self::NoThreadState => "no_thread_state",
            Self::UnreadableResult => "unreadable_result",
            Self::RingBufferFull => "ring_buffer_full",
            Self::LifecycleFull => "lifecycle_full",
            Self::LostInRealloc => "lost_in_realloc",
            Self::UnknownFrees => "unknown_frees",
            Self::UntracedChildren => "untraced_children",
            Self::ProcessTableFull => "process_table_full",
            Self::SpaceRingFull => "space_ring_full",
            Self::FaultsUntold => "faults_untold",
        }
    }

    /// Whether a count here means that the totals of a report are not exact.
    ///
    /// Frees of unknown blocks and untraced children are expected: they limit what the trace
    /// covers, not what it says about it.
    pub const fn spoils_totals(self) -> bool {
        !matches!(
            self,
            Self::UnknownFrees
                | Self::UntracedChildren
                | Self::StackTableFull
                | Self::RingBufferFull
                | Self::SpaceRingFull
                | Self::FaultsUntold
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of counters is in index order and its names are unique.
    #[test]
    fn counters_are_indexed_and_named_once() {
        for (index, loss) in Loss::ALL.iter().enumerate() {
            assert_eq!(*loss as usize, index);
            assert_eq!(
                Loss::ALL
                    .iter()
                    .filter(|other| other.name() == loss.name())
                    .count(),
                1
            );
        }
    }
}
