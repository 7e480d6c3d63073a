//! Allocators other than glibc's: what they are called, and why their figures cannot be read from outside.

use std::path::PathBuf;

use crate::attach::allocator::AllocatorKind;

/// An allocator that a survey of a process's files found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundAllocator {
    /// Which one.
    pub kind: AllocatorKind,
    /// The file that it is in, as the process sees it.
    pub file: PathBuf,
}

/// Its name.
pub const fn name(kind: AllocatorKind) -> &'static str {
    match kind {
        AllocatorKind::Glibc => "glibc",
        AllocatorKind::Musl => "musl",
        AllocatorKind::Jemalloc => "jemalloc",
        AllocatorKind::Tcmalloc => "tcmalloc",
        AllocatorKind::Mimalloc => "mimalloc",
        AllocatorKind::Unknown => "an allocator without a known name",
    }
}

/// Why its heap is not read, and how to ask for its figures instead.
pub const fn unreadable(kind: AllocatorKind) -> &'static str {
    match kind {
        AllocatorKind::Glibc => "its main arena was not looked for",
        AllocatorKind::Musl => {
            "not readable, because musl writes no list of its blocks that leads through all of them"
        }
        AllocatorKind::Jemalloc => {
            "not readable, because jemalloc exports functions for its statistics and no data; ask in the program: \
             mallctl stats.allocated and stats.resident, or malloc_stats_print (redis: INFO memory)"
        }
        AllocatorKind::Tcmalloc => {
            "not readable, because tcmalloc exports functions for its statistics and no more data; ask in the program: \
             MallocExtension::GetStats"
        }
        AllocatorKind::Mimalloc => {
            "not readable, because mimalloc exports functions for its statistics and no data; start the program \
             with MIMALLOC_SHOW_STATS=1, or ask in it: mi_stats_print"
        }
        AllocatorKind::Unknown => "not readable, because how it keeps its blocks is not known",
    }
}

/// Whether anonymous memory of a process with this allocator, of which nothing else is known, is taken to be its own.
pub const fn takes_anonymous(kind: AllocatorKind) -> bool {
    matches!(
        kind,
        AllocatorKind::Jemalloc | AllocatorKind::Tcmalloc | AllocatorKind::Mimalloc
    )
}
