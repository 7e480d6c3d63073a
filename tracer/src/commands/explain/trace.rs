//! `memlens explain --trace`: what a trace sees between two looks at a process, joined into them.

use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::{Context, Result};

use super::survey;
use crate::analysis::change;
use crate::analysis::growth::{self, MappedRange, Seen};
use crate::cli::Invocation;
use crate::commands::{log, refuse_if_unable};
use crate::engine::target::{self, Target};
use crate::engine::{Flow, Interrupt, Live, Schedule, Trace, Walk, follow, monotonic_ns, runtime};
use crate::preflight::Facts;
use crate::process::{info, pagemap};
use crate::profile::{Grouping, Profile, Severity};
use crate::sources::address_space::{AddressSpace, AddressSpaceOptions};
use crate::sources::heap::{Heap, HeapOptions};
use crate::sources::ledger::{find, look};
use crate::words::{error, loss, units};

/// Stacks kept of each part of the growth.
const STACKS: usize = 10;

/// The trace: what is mapped, and the heap where it has an allocator that can be traced.
type GrowthTrace = Trace<(AddressSpace, Heap)>;

/// Looks at a process, traces it for so long, and looks again.
///
/// # Errors
/// What keeps the process from being looked at.
pub fn run(invocation: &Invocation, pid: u32, time: Duration) -> Result<Profile> {
    let process = find(pid)?;
    let facts = refuse_if_unable("trace a process")?;
    let interrupt = Interrupt::install()?;
    let runtime = runtime()?;
    let (before, mut trace, begun) = runtime.block_on(async {
        let mut trace = begin(invocation, process.pid, &facts);
        let begun = monotonic_ns();
        let before = watch(&mut trace, process.pid, time, interrupt).await?;
        anyhow::Ok((before, trace, begun))
    })?;
    let ranges = trace.as_mut().ok().map(|trace| {
        trace.freeze();
        trace.source.0.ranges(process.pid, begun)
    });
    let ranges = ranges.unwrap_or_default();
    let addresses: Vec<_> = ranges.iter().map(|(range, _)| range.clone()).collect();
    let touched = pagemap::touched(process.pid, &addresses);
    let after = look(process.pid, survey);
    // Names are looked up, and probes removed, when the figures are there.
    let _runtime = runtime.enter();
    let mut seen = trace
        .and_then(|trace| end(trace, ranges))
        .unwrap_or_else(|failure| Seen {
            not_seen: vec![format!(
                "what happened meanwhile: {}",
                error::one_line(&failure)
            )],
            ..Seen::default()
        });
    let mut after = match after {
        Ok(after) if info::image(process.pid).ok() == Some(process.image) => after,
        Err(error) if !error.is_gone() => return Err(error.into()),
        _ => return Ok(only(before)),
    };
    let touched = touched.unwrap_or_else(|error| {
        seen.ranges = None;
        seen.not_seen
            .push(format!("what was mapped meanwhile: {error}"));
        Vec::new()
    });
    change::add(&before, &mut after)?;
    Ok(growth::add(&before, after, &seen, &touched, STACKS))
}

/// Begins to trace; why that is not possible, where it is not.
fn begin(invocation: &Invocation, pid: u32, facts: &Facts) -> Result<GrowthTrace> {
    let about = target::resolve(&Target::Pids(vec![pid]), Grouping::default(), false)?;
    let space = AddressSpace::new(AddressSpaceOptions::default());
    let options = HeapOptions {
        is_optional: true,
        ..HeapOptions::default()
    };
    let heap = Heap::new(options);
    Trace::start(
        about,
        (space, heap),
        Walk::default(),
        facts,
        log(invocation).quiet(),
    )
}

/// Lets the trace go on until the time is over, and looks at the process at the beginning.
async fn watch(
    trace: &mut Result<GrowthTrace>,
    pid: u32,
    time: Duration,
    mut interrupt: Interrupt,
) -> Result<Profile> {
    let look = async {
        // In another thread, so that the trace goes on.
        let looked = tokio::task::spawn_blocking(move || look(pid, survey));
        let before = looked.await.context("the look at the process failed")??;
        let name = before
            .subjects
            .first()
            .map_or("", |process| &process.command);
        let time = units::duration(time);
        eprintln!("memlens: tracing process {pid} ({name}) for {time}; Ctrl-C ends it early");
        anyhow::Ok(before)
    };
    let follow = async {
        match trace {
            Ok(trace) => {
                let until = Schedule {
                    interval: Some(time),
                    count: NonZeroU64::new(1),
                };
                follow(trace, &until, &mut interrupt, &mut |_| Ok(Flow::On)).await?;
            }
            // The ledgers are compared when the time is over all the same.
            Err(_) => tokio::select! {
                () = tokio::time::sleep(time) => {}
                () = interrupt.wait() => {}
            },
        }
        anyhow::Ok(())
    };
    let (before, ()) = tokio::try_join!(look, follow)?;
    Ok(before)
}

/// Ends a trace, and names what it saw.
fn end(
    mut trace: GrowthTrace,
    ranges: Vec<crate::sources::address_space::MappedSince>,
) -> Result<Seen> {
    let profile = trace.snapshot(true);
    trace.leave();
    let profile = profile?;
    let (space, heap) = &trace.source;
    let range = |(range, stack): (std::ops::Range<u64>, _)| {
        Some(MappedRange {
            start: range.start,
            end: range.end,
            stack: space.stack_index(stack)?,
        })
    };
    let ranges = ranges.into_iter().filter_map(range).collect();
    let lost = loss::sentences(&profile).into_iter();
    let lost = lost
        .filter(|lost| lost.severity != Severity::Coverage)
        .map(|lost| lost.text);
    let absent = heap
        .absent()
        .map(|why| format!("blocks of the heap: {why}"));
    let mut not_seen: Vec<String> = Vec::new();
    for text in absent
        .into_iter()
        .chain(lost)
        .chain(profile.notes.iter().cloned())
    {
        if !not_seen.contains(&text) {
            not_seen.push(text);
        }
    }
    Ok(Seen {
        trace: profile,
        ranges: Some(ranges),
        not_seen,
    })
}

/// What there is to print of a process that is not there any more.
fn only(mut profile: Profile) -> Profile {
    let note = "the process exited or replaced its program while it was traced: this is what it was like before";
    profile.notes.push(note.to_owned());
    profile
}
