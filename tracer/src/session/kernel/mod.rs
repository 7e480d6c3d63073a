//! `memlens kernel`: which kernel stacks hold the kernel's own memory, report after report.

mod caches;
mod report;
mod stacks;
mod sums;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use self::caches::Caches;
use self::stacks::Stacks;
use super::interrupt::Interrupt;
use super::output::{Printer, Reader};
use super::progress::{Log, Step, clear_echo};
use super::refuse_if_unable;
use super::ticks::{is_last_due, ticks};
use crate::bpf::{KernelMemory, KernelSettings};
use crate::cli::{EXIT_DONE, Invocation, KernelConfig};
use crate::symbolize::KernelSymbolizer;

/// How often new stacks are looked up.
const TICK: Duration = Duration::from_millis(100);
/// Stacks looked up at one go, so that Ctrl-C is not kept waiting.
const STACKS_AT_ONCE: usize = 2048;

/// Runs `memlens kernel`.
pub fn run(invocation: &Invocation, config: &KernelConfig) -> Result<u8> {
    refuse_if_unable("load BPF programs")?;
    let interrupt = Interrupt::install()?;
    Printer::new(&config.output, invocation, false).check_files()?;
    let mut caches = Caches::new()?;
    let filter = match &config.slab {
        None => None,
        Some(name) => match caches.filter(name) {
            Some(filter) => Some(filter),
            None => bail!("no slab cache {name}: the names are in /proc/slabinfo"),
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let step = Step::new("loading the BPF programs");
        let loading = Instant::now();
        let log = Log::new(invocation.verbose);
        let memory = KernelMemory::load(&KernelSettings {
            sample_bytes: config.sample_bytes.map(u64::from),
            min_size: config.min_size,
            max_live: config.max_live,
            slab: config.order.is_none(),
            pages: config.slab.is_none(),
            percpu: config.order.is_none() && config.slab.is_none(),
            cache: filter,
            order: config.order,
            movable: config.movable,
        })?;
        log.timing("loading", loading);
        drop(step);
        let mut kernel = Kernel {
            config,
            printer: Printer::new(&config.output, invocation, false),
            log,
            memory,
            symbolizer: KernelSymbolizer::new(),
            stacks: Stacks::default(),
            caches,
            started: Instant::now(),
            reports: 0,
            held_before: HashMap::new(),
        };
        kernel.begin();
        kernel.follow(interrupt).await?;
        Ok(EXIT_DONE)
    })
}

/// A running trace of the kernel's memory.
struct Kernel<'a> {
    config: &'a KernelConfig,
    printer: Printer<'a>,
    log: Log,
    memory: KernelMemory,
    symbolizer: KernelSymbolizer,
    stacks: Stacks,
    caches: Caches,
    started: Instant,
    reports: u64,
    /// Bytes that each stack held at the last report.
    held_before: HashMap<sums::Place, u64>,
}

impl Kernel<'_> {
    /// Begins to count, from the caches as they are.
    fn begin(&mut self) {
        // The list of symbols is read before, so that reading it is not traced.
        self.symbolizer.symbolize(&[0]);
        self.caches.begin();
        self.memory.enable();
        self.started = Instant::now();
        eprintln!("memlens: tracing the kernel's memory; Ctrl-C ends");
    }

    /// Reports until enough reports have been made or the user ends it.
    async fn follow(&mut self, mut interrupt: Interrupt) -> Result<()> {
        let mut reports = ticks(self.config.interval);
        let mut tick = ticks(TICK);
        loop {
            tokio::select! {
                biased;
                () = interrupt.wait() => break,
                _ = reports.tick() => {
                    if is_last_due(self.reports, self.config.count) {
                        break;
                    }
                    if self.report(false)? == Reader::Gone {
                        return Ok(());
                    }
                }
                _ = tick.tick() => self.take_stacks(STACKS_AT_ONCE),
            }
        }
        if interrupt.is_set() {
            clear_echo();
        }
        self.memory.disable();
        self.report(true).map(drop)
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
