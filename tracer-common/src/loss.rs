//! Every way to lose something has a name, a counter and a sentence.

use crate::counter::counters;

counters! {
    /// Index into the per-CPU loss counters.
    ///
    /// Frees of unknown blocks and untraced children are expected: they limit what the trace covers, not what it says
    /// about it.
    pub enum Loss {
        /// Blocks not tracked because the live map was full.
        LiveMapFullBlocks("live_map_full_blocks", affects_totals = true),
        /// Bytes of those blocks.
        LiveMapFullBytes("live_map_full_bytes", affects_totals = true),
        /// Blocks not tracked because the live map was full and had not been made larger yet.
        LiveMapLateBlocks("live_map_late_blocks", affects_totals = true),
        /// Bytes of those blocks.
        LiveMapLateBytes("live_map_late_bytes", affects_totals = true),
        /// Blocks not tracked because their address or size is beyond 2^47.
        FarBlocks("far_blocks", affects_totals = true),
        /// Bytes of those blocks.
        FarBytes("far_bytes", affects_totals = true),
        /// Allocations counted on their process only, because the stack table was full.
        StackTableFull("stack_table_full", affects_totals = false),
        /// Calls whose return was never seen: the thread left by `longjmp`, an exception or its end.
        MissedReturns("missed_returns", affects_totals = true),
        /// Blocks handed out again without a free having been seen.
        MissedFrees("missed_frees", affects_totals = true),
        /// Calls not followed because the kernel had no memory for the thread's state.
        NoThreadState("no_thread_state", affects_totals = true),
        /// Successful `posix_memalign` calls whose result could not be read.
        UnreadableResult("unreadable_result", affects_totals = true),
        /// Trace events dropped because the ring buffer was full.
        RingBufferFull("ring_buffer_full", affects_totals = false),
        /// Process events (exec, exit, fork) dropped because their ring buffer was full.
        LifecycleFull("lifecycle_full", affects_totals = true),
        /// Blocks that were moved into a `realloc` and could not be put back when it failed.
        LostInRealloc("lost_in_realloc", affects_totals = true),
        /// Frees of blocks that were not being tracked: older than the trace, filtered or unsampled.
        UnknownFrees("unknown_frees", affects_totals = false),
        /// Processes started by a traced process, which are not themselves traced.
        UntracedChildren("untraced_children", affects_totals = false),
        /// Calls of processes for which the process table had no row.
        ProcessTableFull("process_table_full", affects_totals = true),
        /// Changes of address spaces dropped because their ring buffer was full, and repaired from the maps.
        SpaceRingFull("space_ring_full", affects_totals = false),
        /// Page faults of the sample dropped because the ring buffer was full.
        FaultsDropped("faults_dropped", affects_totals = false),
        /// Probes that were found to be gone from a process's memory, although nobody had removed them. Counted by user
        /// space.
        ProbesGone("probes_gone", affects_totals = true),
        /// Blocks not tracked because the program that goes on with stacks in language runtimes could not run.
        NotContinued("not_continued", affects_totals = true),
        /// Names of code objects dropped because their ring buffer was full.
        NamesDropped("names_dropped", affects_totals = false),
        /// Code objects that were on a stack and could not be read.
        CodeUnreadable("code_unreadable", affects_totals = false),
        /// Diagnostic messages dropped because their ring buffer was full.
        DiagnosticsDropped("diagnostics_dropped", affects_totals = false),
    }
}
