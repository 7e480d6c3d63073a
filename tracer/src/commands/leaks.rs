//! `memlens leaks`: outstanding heap memory by stack.

use anyhow::{Result, bail};

use super::output::{Heaps, Printer};
use super::{follow, log, refuse_if_unable};
use crate::analysis::verdict;
use crate::cli::{FailOn, Invocation, LeaksConfig, Outcome};
use crate::engine::{Trace, target};
use crate::profile::{FindingKind, Measure, Profile, Sample, Source};
use crate::sources::heap::reach::When;
use crate::sources::heap::{Heap, HeapOptions, Order, Which};
use crate::words::filter;
use crate::words::units::{bytes, counted, duration};

/// Runs `memlens leaks`.
pub fn run(invocation: &Invocation, config: &LeaksConfig) -> Result<Outcome> {
    let facts = refuse_if_unable("load BPF programs")?;
    let host = config.host.clone().unwrap_or_default();
    let mut printer = Printer::new(&config.output, invocation);
    printer.options.show_blocks = config.show_allocs;
    printer.options.per_process = host.per_process;
    printer.options.every_stack = config.all_stacks || config.sort != Order::Verdict;
    printer.judge(Heaps {
        order: config.sort,
        group_frames: config.group_frames.map(|frames| frames as usize),
        must_know_all: config.fail_on.is_some(),
    });
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
    outcome(config, &printer)
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
        reach: config.reach.unwrap_or(match &config.host {
            Some(_) => When::Off,
            None => When::Last,
        }),
    }
}

/// How it went: whether the last report has what `--fail-over` or `--fail-on` does not allow, which is then said.
fn outcome(config: &LeaksConfig, printer: &Printer<'_>) -> Result<Outcome> {
    let Some(last) = &printer.last else {
        return Ok(Outcome::Done(printer.command_exit()));
    };
    let over = config
        .fail_over
        .and_then(|limit| exceeds(config, last, limit));
    let on = config.fail_on.map(|what| {
        check_judged(last)?;
        anyhow::Ok(match what {
            FailOn::Lost => lost(last),
            FailOn::Leak => leaks(last),
        })
    });
    let on = on.transpose()?.flatten();
    let mut told = over.into_iter().chain(on).peekable();
    if told.peek().is_none() {
        return Ok(Outcome::Done(printer.command_exit()));
    }
    told.for_each(|why| eprintln!("memlens: {why}"));
    Ok(Outcome::Leaks)
}

/// What is live beyond the limit of `--fail-over`.
fn exceeds(config: &LeaksConfig, last: &Profile, limit: u64) -> Option<String> {
    if last.meta.elapsed <= config.older {
        eprintln!(
            "memlens: --fail-over had nothing to count: no block is older than {}, since the trace took only {}; trace for longer, \
             or give a smaller --older",
            duration(config.older),
            duration(last.meta.elapsed)
        );
    }
    let (_, live) = last.stacks_total(Source::Heap, Measure::HeapLiveBytes);
    let heap = last.sections.heap.as_ref();
    let which = heap.and_then(|heap| filter::words(&heap.filter));
    (live > limit).then(|| {
        format!(
            "{} live{} exceeds --fail-over {}",
            bytes(live),
            which.map_or_else(String::new, |words| format!(" ({words})")),
            bytes(limit)
        )
    })
}

/// Refuses to pass where no block was judged: that is not the same as none that is lost.
fn check_judged(last: &Profile) -> Result<()> {
    if last.sections.reachability.is_empty() {
        bail!(
            "--fail-on had nothing to judge: the last report does not know what points to the blocks; leave out \
             --reach off, and end the trace while the process runs"
        );
    }
    Ok(())
}

/// What is lost, for `--fail-on lost`.
fn lost(last: &Profile) -> Option<String> {
    let (mut size, mut blocks) = (0_u64, 0_u64);
    let is_certain = |sample: &&Sample| !verdict::is_taken_back(last, sample);
    for sample in last.samples_of(Source::Heap).filter(is_certain) {
        let amount = |measure| last.amount(sample, measure);
        size += amount(Measure::HeapLostBytes) + amount(Measure::HeapLostWithBytes);
        blocks += amount(Measure::HeapLostBlocks) + amount(Measure::HeapLostWithBlocks);
    }
    let blocks = counted(blocks, "block");
    (size > 0).then(|| {
        format!(
            "{} lost in {blocks}, which --fail-on lost does not allow",
            bytes(size)
        )
    })
}

/// What leaks, for `--fail-on leak`.
fn leaks(last: &Profile) -> Option<String> {
    let found = last.findings.iter();
    let leaks = found.filter(|finding| finding.kind == FindingKind::Leak);
    let stacks = leaks.count() as u64;
    (stacks > 0).then(|| {
        format!(
            "{} found, which --fail-on leak does not allow",
            counted(stacks, "leak")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Builder, Finding, Meta, Reachability, Subject, Values};

    fn profile(lost: u64, is_judged: bool) -> Profile {
        let mut build = Builder::new(Meta::default());
        build.measures(Measure::of(Source::Heap));
        let subject = build.subject(Subject::process(7, "app"));
        let stack = build.stack(Vec::new(), None);
        let values = Values::default()
            .with(Measure::HeapLiveBytes, 4_096_u64)
            .with(Measure::HeapLostBytes, lost)
            .with(Measure::HeapLostBlocks, lost / 16);
        let sample = build.sample(Source::Heap, subject, Some(stack), &values);
        build.add(sample);
        if is_judged {
            build.profile.sections.reachability = vec![Reachability::default()];
        }
        build.finish()
    }

    #[test]
    fn what_is_lost_is_not_allowed() {
        let said = |lost: u64| super::lost(&profile(lost, true));
        assert_eq!(said(0), None);
        assert_eq!(
            said(160).as_deref(),
            Some("160 B lost in 10 blocks, which --fail-on lost does not allow")
        );
        let mut taken_back = profile(160, true);
        taken_back.sections.reachability[0].freed_after_lost = 1;
        assert_eq!(super::lost(&taken_back), None);
        assert!(check_judged(&profile(0, true)).is_ok());
        let error = check_judged(&profile(0, false)).expect_err("no block was judged");
        assert!(error.to_string().contains("--reach off"), "{error}");
    }

    #[test]
    fn leaks_are_not_allowed() {
        let mut profile = profile(160, true);
        profile
            .findings
            .push(Finding::new(FindingKind::OneTimeLoss, "lost"));
        assert_eq!(leaks(&profile), None);
        profile
            .findings
            .push(Finding::new(FindingKind::Leak, "a leak"));
        assert_eq!(
            leaks(&profile).as_deref(),
            Some("1 leak found, which --fail-on leak does not allow")
        );
    }
}
