//! `memlens leaks`: outstanding heap memory by stack.

use anyhow::Result;

use super::output::Printer;
use super::{follow, log, refuse_if_unable};
use crate::cli::{Invocation, LeaksConfig, Outcome};
use crate::engine::{Trace, target};
use crate::profile::{Measure, Source};
use crate::sources::heap::{Heap, HeapOptions, Which};
use crate::words::filter;
use crate::words::units::{bytes, duration};

/// Runs `memlens leaks`.
pub fn run(invocation: &Invocation, config: &LeaksConfig) -> Result<Outcome> {
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
        let about = target::resolve(&config.target, host.by, config.force)?;
        let heap = Heap::new(options(config));
        let mut trace = Trace::start(about, heap, config.walk.into(), &facts, log(invocation))?;
        trace.selection = selection;
        Ok(trace)
    })?;
    Ok(outcome(config, &printer))
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
        young: config.host.as_ref().is_some_and(|host| host.young),
        max_processes: config
            .host
            .as_ref()
            .map_or(usize::MAX, |host| host.max_processes),
        slowdown_percent: config.slowdown,
        children: config.children,
        is_optional: false,
    }
}

/// How it went: whether the last report holds more than `--fail-over` allows, which is then said.
fn outcome(config: &LeaksConfig, printer: &Printer<'_>) -> Outcome {
    let done = Outcome::Done(printer.command_exit());
    let (Some(limit), Some(last)) = (config.fail_over, &printer.last) else {
        return done;
    };
    if last.meta.elapsed <= config.older {
        eprintln!(
            "memlens: --fail-over had nothing to count: no block is older than {}, since the trace took only {}; trace for longer, \
             or give a smaller --older",
            duration(config.older),
            duration(last.meta.elapsed)
        );
    }
    let (_, live) = last.stacks_total(Source::Heap, Measure::HeapLiveBytes);
    if live <= limit {
        return done;
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
    Outcome::Leaks
}
