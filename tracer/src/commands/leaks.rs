//! `memlens leaks`: outstanding heap memory by stack.

use anyhow::Result;

use super::output::Printer;
use super::{follow, log, refuse_if_unable};
use crate::cli::{EXIT_DONE, EXIT_LEAKS, Invocation, LeaksConfig};
use crate::engine::{Trace, target};
use crate::profile::{Measure, Source};
use crate::sources::heap::{Heap, HeapOptions, Which};
use crate::words::filter;
use crate::words::units::bytes;

/// Runs `memlens leaks`.
pub fn run(invocation: &Invocation, config: &LeaksConfig) -> Result<u8> {
    let facts = refuse_if_unable("load BPF programs")?;
    let host = config.host.clone().unwrap_or_default();
    let mut printer = Printer::new(&config.output, invocation);
    printer.options.show_blocks = config.show_allocs;
    printer.options.per_process = host.per_process;
    if config.host.is_some() {
        printer.group_by(host.by, Measure::HeapLiveBytes);
    }
    let selection = printer.selection();
    follow(&mut printer, &config.schedule.into(), || {
        let about = target::resolve(&config.target, host.by)?;
        let heap = Heap::new(options(config));
        let mut trace = Trace::start(about, heap, config.walk.into(), &facts, log(invocation))?;
        trace.selection = selection;
        Ok(trace)
    })?;
    Ok(exit_code(config, &printer))
}

/// What the settings ask of the heap.
pub fn options(config: &LeaksConfig) -> HeapOptions {
    HeapOptions {
        min_size: config.sizes.min,
        max_size: config.sizes.max,
        older: config.older,
        allocator: (&config.allocator).into(),
        order: config.sort,
        show_blocks: config.show_allocs,
        which: match config.all_stacks {
            true => Which::All,
            false => Which::Live,
        },
        combined: config.combined,
        sample_bytes: config.sample_bytes,
        max_live: config.max_live,
        cpu_budget_percent: config
            .host
            .as_ref()
            .and_then(|host| host.cpu_budget_percent),
        is_optional: false,
    }
}

/// 1 if the last report holds more than `--fail-over` allows, which is then said.
fn exit_code(config: &LeaksConfig, printer: &Printer<'_>) -> u8 {
    let (Some(limit), Some(last)) = (config.fail_over, &printer.last) else {
        return EXIT_DONE;
    };
    let (_, live) = last.stacks_total(Source::Heap, Measure::HeapLiveBytes);
    if live <= limit {
        return EXIT_DONE;
    }
    let which = last
        .sections
        .heap
        .as_ref()
        .and_then(|heap| filter::words(&heap.filter));
    eprintln!(
        "memlens: {} live{} exceeds --fail-over {}",
        bytes(live),
        which.map_or_else(String::new, |words| format!(" ({words})")),
        bytes(limit)
    );
    EXIT_LEAKS
}
