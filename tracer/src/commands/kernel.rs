//! `memlens kernel`: which kernel stacks hold the kernel's own memory.

use anyhow::Result;

use super::output::Printer;
use super::{follow, log, refuse_if_unable};
use crate::cli::{Invocation, KernelConfig, Outcome};
use crate::sources::kernel::{KernelOptions, KernelTrace};

/// Slab caches that a report shows, unless all are wanted.
const CACHES_SHOWN: usize = 10;

/// Runs `memlens kernel`.
pub fn run(invocation: &Invocation, config: &KernelConfig) -> Result<Outcome> {
    refuse_if_unable("load BPF programs")?;
    let mut printer = Printer::new(&config.output, invocation);
    let selection = printer.selection();
    follow(&mut printer, &config.schedule.into(), || {
        let mut trace = KernelTrace::start(options(config), log(invocation))?;
        trace.selection = selection;
        Ok(trace)
    })?;
    Ok(Outcome::Done(None))
}

fn options(config: &KernelConfig) -> KernelOptions {
    KernelOptions {
        slab: config.slab.clone(),
        order: config.order,
        movable: config.movable,
        min_size: config.min_size,
        older: config.older,
        sort: config.sort,
        sample_bytes: config.sample_bytes,
        max_live: config.max_live,
        caches: config.output.shown.top.map(|_| CACHES_SHOWN),
    }
}
