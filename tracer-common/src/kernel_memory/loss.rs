//! What a trace of the kernel's memory can lose, each with a counter.

use crate::counter::counters;

counters! {
    /// What is lost, by its counter.
    pub enum KernelLoss {
        /// Blocks not tracked because the table of live blocks was full.
        LiveFullBlocks("live_map_full_blocks", affects_totals = true),
        /// Bytes of those blocks.
        LiveFullBytes("live_map_full_bytes", affects_totals = true),
        /// Blocks counted without their stack because the table of stacks was full.
        StackTableFull("stack_table_full", affects_totals = false),
        /// Blocks whose stack the kernel could not walk.
        NoStack("no_stack", affects_totals = false),
        /// Blocks allocated again at an address whose release was not seen.
        MissedFrees("missed_frees", affects_totals = true),
        /// Releases of blocks that are not tracked.
        UnknownFrees("unknown_frees", affects_totals = false),
        /// Caches not told apart because there are more than the table holds.
        CachesFull("caches_full", affects_totals = true),
        /// Objects of a release in bulk beyond [`super::MAX_BULK`].
        BulkTooLong("bulk_too_long", affects_totals = true),
        /// Allocations in interrupts that hit while the program itself was running, twice over. Computed by user space.
        NestedAllocs("nested_allocs", affects_totals = true),
        /// Releases in such interrupts. Computed by user space.
        NestedFrees("nested_frees", affects_totals = true),
    }
}
