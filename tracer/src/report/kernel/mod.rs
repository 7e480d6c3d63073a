//! The report of `memlens kernel` as one plain value: which kernel stacks hold the kernel's own memory, and which caches have grown.

pub mod json;
mod loss;
mod picture;
pub mod text;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tracer_common::kernel_memory::{KernelLoss, Kind};

use super::Sampling;
use super::loss::is_exact;
use crate::symbolize::Frame;

pub use picture::{folded, svg};

/// What was allocated and released since the start. In JSON as it is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Bytes held.
    pub live_bytes: u64,
    /// Objects or blocks held.
    pub live_count: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Objects or blocks allocated.
    pub alloc_count: u64,
}

impl Held {
    /// Adds another part.
    pub fn add(&mut self, other: &Self) {
        self.live_bytes += other.live_bytes;
        self.live_count += other.live_count;
        self.alloc_bytes += other.alloc_bytes;
        self.alloc_count += other.alloc_count;
    }
}

/// What a trace of the kernel's memory knows at one moment.
#[derive(Clone, Debug)]
pub struct KernelReport {
    /// When it was taken.
    pub time: SystemTime,
    /// How long the trace had run by then.
    pub elapsed: Duration,
    /// Whether this is the last report of the trace.
    pub last: bool,
    /// Every loss counter that is not zero, by its stable name.
    pub loss: BTreeMap<&'static str, u64>,
    /// Events in interrupts that came upon the program that counts them, and were counted by the second one.
    pub taken_over: u64,
    /// Sentences about what the numbers do not cover.
    pub notes: Vec<String>,
    /// What is followed, where that is not everything: "slab cache dentry".
    pub only: Option<String>,
    /// Least age of what the stacks hold; zero for every age.
    pub older: Duration,
    /// How the numbers were estimated, where they were.
    pub sampling: Option<Sampling>,
    /// All stacks together, by kind; the kinds that are followed. Pages that lie under another kind that is followed are not among
    /// them.
    pub kinds: BTreeMap<Kind, Held>,
    /// Pages under slab objects and per-CPU memory, by that kind.
    pub backing: BTreeMap<Kind, Held>,
    /// The stacks to show, in the order to show them.
    pub stacks: Vec<KernelStack>,
    /// How many stacks hold something, shown or not.
    pub stacks_total: usize,
    /// What they hold, shown or not, without pages under another kind that is followed.
    pub stacks_live_bytes: u64,
    /// Slab caches that have grown since the start, the most first.
    pub caches: Vec<CacheGrowth>,
    /// How many caches have grown, shown or not.
    pub caches_total: usize,
    /// How they have grown, shown or not; `None` where the kernel's own count cannot be read.
    pub grown: Option<Grown>,
}

/// What one kernel stack holds.
#[derive(Clone, Debug)]
pub struct KernelStack {
    /// Where the memory comes from.
    pub kind: Kind,
    /// The cache, the order of the pages: "filp", "kmalloc-64", "pages of order 2", "per-CPU memory".
    pub what: String,
    /// Bytes of one object or block; `None` for per-CPU memory, whose sizes differ.
    pub size: Option<u64>,
    /// How much. With `older`, what is held is what has that age.
    pub held: Held,
    /// Change of the bytes held since the previous report; `None` in the first.
    pub growth: Option<i64>,
    /// Age of the oldest object.
    pub oldest: Option<Duration>,
    /// These pages lie under memory of this kind, which has rows of its own.
    pub backing: Option<Kind>,
    /// Why the stack is cut, where it is.
    pub truncated: Option<String>,
    /// Frames, innermost first.
    pub frames: Vec<Frame>,
}

/// A slab cache that has grown, as the kernel counts it. In JSON as it is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CacheGrowth {
    /// Its name.
    pub name: String,
    /// Objects that are allocated now.
    pub objects: u64,
    /// Change of these since the start.
    pub objects_change: i64,
    /// Bytes of its slabs now.
    pub bytes: u64,
    /// Change of these since the start.
    pub bytes_change: i64,
    /// Bytes that the stacks of the trace hold of it; `None` if it is not followed.
    pub held_bytes: Option<u64>,
}

/// All caches that have grown, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grown {
    /// Bytes of slabs.
    pub bytes: u64,
    /// Of these, what the stacks of the trace hold: of each cache, at most what it has grown by.
    pub explained: u64,
}

impl KernelReport {
    /// Whether the totals are exact, but for what is said of them.
    pub fn complete(&self) -> bool {
        is_exact::<KernelLoss>(&self.loss)
    }

    /// All kinds together.
    pub fn held(&self) -> Held {
        let mut sum = Held::default();
        self.kinds.values().for_each(|held| sum.add(held));
        sum
    }
}

#[cfg(test)]
mod tests;
