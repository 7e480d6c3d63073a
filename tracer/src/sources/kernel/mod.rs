//! The kernel's own memory: slab objects, pages and per-CPU memory, by the kernel stacks that allocated them.

mod caches;
mod stacks;
mod sums;
mod write;

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tracer_common::kernel_memory::DEFAULT_MAX_LIVE;

use self::caches::Caches;
use self::stacks::Stacks;
use self::sums::Place;
use crate::bpf::{KernelMemory, KernelSettings};
use crate::engine::console::{Log, Step};
use crate::engine::{Flow, Live, Selection, TraceClock};
use crate::profile::Profile;
use crate::symbolize::KernelSymbolizer;

/// How often new stacks are looked up.
const TICK: Duration = Duration::from_millis(100);
/// Stacks looked up at one go, so that Ctrl-C is not kept waiting.
const STACKS_AT_ONCE: usize = 2048;

/// Order of the samples, largest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelOrder {
    /// By live bytes.
    #[default]
    Bytes,
    /// By live blocks.
    Count,
    /// By the change of live bytes.
    Growth,
    /// By the age of the oldest block.
    Age,
}

/// What is followed, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelOptions {
    /// The only slab cache to follow.
    pub slab: Option<String>,
    /// The only order of pages to follow.
    pub order: Option<u32>,
    /// Whether to follow movable pages.
    pub movable: bool,
    /// Smaller blocks are left out.
    pub min_size: u64,
    /// Least age of what the samples hold.
    pub older: Duration,
    /// Order of the samples.
    pub sort: KernelOrder,
    /// Mean bytes between two samples; `None` follows every block.
    pub sample_bytes: Option<NonZeroU64>,
    /// Live blocks followed at most.
    pub max_live: u32,
    /// Slab caches that profiles list; `None` is all.
    pub caches: Option<usize>,
}

impl Default for KernelOptions {
    fn default() -> Self {
        Self {
            slab: None,
            order: None,
            movable: false,
            min_size: 0,
            older: Duration::ZERO,
            sort: KernelOrder::default(),
            sample_bytes: None,
            max_live: DEFAULT_MAX_LIVE,
            caches: None,
        }
    }
}

/// A running trace of the kernel's memory.
pub struct KernelTrace {
    options: KernelOptions,
    /// Which samples profiles have.
    pub selection: Selection,
    log: Log,
    memory: KernelMemory,
    symbolizer: KernelSymbolizer,
    stacks: Stacks,
    caches: Caches,
    clock: TraceClock,
    reports: u64,
    previous: Option<Duration>,
    /// Bytes that each stack held at the last report.
    held_before: HashMap<Place, u64>,
}

impl KernelTrace {
    /// Loads the programs and begins to count.
    ///
    /// # Errors
    /// Why the kernel's memory cannot be traced.
    pub fn start(options: KernelOptions, log: Log) -> Result<Self> {
        let mut caches = Caches::new()?;
        let cache = match &options.slab {
            None => None,
            Some(name) => match caches.filter(name) {
                None => bail!("no slab cache {name}: the names are in /proc/slabinfo"),
                filter => filter,
            },
        };
        let step = Step::new("loading the BPF programs");
        let loading = Instant::now();
        let memory = KernelMemory::load(&KernelSettings {
            sample_bytes: options.sample_bytes.map(u64::from),
            min_size: options.min_size,
            max_live: options.max_live,
            slab: options.order.is_none(),
            pages: options.slab.is_none(),
            percpu: options.order.is_none() && options.slab.is_none(),
            cache,
            order: options.order,
            movable: options.movable,
        })?;
        log.timing("loading", loading);
        drop(step);
        let mut trace = Self {
            options,
            selection: Selection::ALL,
            log,
            memory,
            symbolizer: KernelSymbolizer::new(),
            stacks: Stacks::default(),
            caches,
            clock: TraceClock::start(),
            reports: 0,
            previous: None,
            held_before: HashMap::new(),
        };
        // The list of symbols is read before, so that reading it is not traced.
        trace.symbolizer.symbolize(&[0]);
        trace.caches.begin();
        trace.clock = TraceClock::start();
        trace.memory.enable();
        log.say(|| "tracing the kernel's memory; Ctrl-C ends".to_owned());
        Ok(trace)
    }

    /// The least age of what the samples hold, from the next profile on.
    pub fn set_older(&mut self, older: Duration) {
        self.options.older = older;
    }

    /// Looks at stacks that are new.
    fn take_stacks(&mut self, most: usize) {
        let rows = self.memory.rows();
        let (memory, symbolizer) = (&self.memory, &mut self.symbolizer);
        self.stacks.take(
            rows,
            most,
            |row| memory.stack(row),
            |frames| symbolizer.symbolize(frames),
        );
    }
}

impl Live for KernelTrace {
    fn period(&self) -> Duration {
        TICK
    }

    async fn next(&mut self) -> Result<Flow> {
        std::future::pending().await
    }

    fn tick(&mut self) {
        self.take_stacks(STACKS_AT_ONCE);
    }

    fn snapshot(&mut self, last: bool) -> Result<Profile> {
        let requested = Instant::now();
        let step = Step::new("measuring");
        if last {
            self.memory.disable();
        }
        let elapsed = self.clock.take_moment();
        self.take_stacks(usize::MAX);
        let profile = self.write(elapsed, last)?;
        self.reports += 1;
        self.previous = Some(elapsed);
        drop(step);
        self.log.report(requested);
        Ok(profile)
    }

    fn leave(&mut self) {
        self.memory.disable();
    }
}
