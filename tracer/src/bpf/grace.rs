//! Waiting until every program that is running now has ended.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya_obj::generated::bpf_map_type;

use super::sys;

/// Waits for programs by a rule that the kernel keeps for user space: when an update of a map of maps returns, no
/// program (that cannot sleep: ours cannot) can still use the map before (kernel/bpf/syscall.c,
/// `maybe_wait_bpf_programs`, since Linux 4.20).
///
/// `membarrier(2)` would not do: with one CPU it returns at once, and there, too, a program can be preempted.
pub struct GracePeriod {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl GracePeriod {
    /// Makes the two small maps that it takes.
    pub fn new() -> io::Result<Self> {
        let inner = sys::create_array(bpf_map_type::BPF_MAP_TYPE_ARRAY, 8, 0, None)?;
        let kind = bpf_map_type::BPF_MAP_TYPE_ARRAY_OF_MAPS;
        let outer = sys::create_array(kind, 4, 0, Some(inner.as_fd()))?;
        Ok(Self { outer, inner })
    }

    /// Returns when every program that was running at the call has ended: after some tens of milliseconds.
    pub fn wait(&self) -> io::Result<()> {
        sys::put(self.outer.as_fd(), 0, self.inner.as_fd())
    }
}
