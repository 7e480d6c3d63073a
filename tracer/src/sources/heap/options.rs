//! What a trace of heaps is asked to do.

use std::num::NonZeroU64;
use std::time::Duration;

use tracer_common::limits;

use super::reach::When;
use super::rows::{Order, Which};
use crate::engine::attach::Allocator;

/// Which blocks are followed, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct HeapOptions {
    /// Smaller blocks are left out.
    pub min_size: u64,
    /// Larger blocks are left out.
    pub max_size: u64,
    /// Least age of the blocks that samples count.
    pub older: Duration,
    /// Where the allocator is.
    pub allocator: Allocator,
    /// Order of the samples.
    pub order: Order,
    /// Whether the samples list their blocks.
    pub show_blocks: bool,
    /// Which stacks have samples.
    pub which: Which,
    /// Keep totals per stack only.
    pub combined: bool,
    /// Mean bytes between two samples; `None` follows every block.
    pub sample_bytes: Option<NonZeroU64>,
    /// Live blocks followed at most.
    pub max_live: u32,
    /// Most that the probes of a scope may cost, in percent of the machine's CPUs; `None` is no limit.
    pub cpu_budget_percent: Option<f64>,
    /// Whether processes of a scope are probed that are younger than a second.
    pub young: bool,
    /// Most processes of a scope that are probed at the same time.
    pub max_processes: usize,
    /// Most that the probes may cost a named process, in percent of its CPU time; `None` is no limit.
    pub slowdown_percent: Option<f64>,
    /// Whether children of named processes are traced, too.
    pub children: bool,
    /// A process without an allocator that can be traced is no failure: its heap is [`Heap::absent`].
    pub is_optional: bool,
    /// When the blocks of named processes are judged by what holds them.
    pub reach: When,
}

impl Default for HeapOptions {
    fn default() -> Self {
        Self {
            min_size: 0,
            max_size: u64::MAX,
            older: Duration::ZERO,
            allocator: Allocator::default(),
            order: Order::Bytes,
            show_blocks: false,
            which: Which::Live,
            combined: false,
            sample_bytes: None,
            max_live: limits::DEFAULT_MAX_LIVE,
            cpu_budget_percent: None,
            young: false,
            max_processes: 32,
            slowdown_percent: None,
            children: false,
            is_optional: false,
            reach: When::Off,
        }
    }
}
