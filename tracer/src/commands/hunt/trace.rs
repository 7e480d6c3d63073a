//! Steps 3 and 4: two looks at the ledger of a process, and between them a trace of its heap and its mappings.

use std::cell::Cell;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::Notify;

use super::Plan;
use super::progress::Progress;
use super::watch::Watch;
use crate::analysis::change;
use crate::analysis::growth::{self, MappedRange, Seen};
use crate::cli::{HuntConfig, Invocation};
use crate::commands::explain::survey;
use crate::commands::{log, refuse_if_unable};
use crate::engine::target::{self, Target};
use crate::engine::{Flow, Interrupt, Live, Schedule, Trace, Walk, follow, monotonic_ns};
use crate::process::{info, pagemap};
use crate::profile::{Grouping, Measure, Profile};
use crate::sources::address_space::{AddressSpace, AddressSpaceOptions, MappedSince};
use crate::sources::heap::reach::When;
use crate::sources::heap::{Heap, HeapOptions};
use crate::sources::ledger::{LookError, look};
use crate::words::error;
use crate::words::units::{bytes, duration};

/// Reports of a trace: a slope takes some, and each one reads all live blocks.
const REPORTS: u32 = 16;
/// Shortest time between two of them.
const SHORTEST: Duration = Duration::from_millis(250);
/// Time between two pictures of the live line.
const PICTURE: Duration = Duration::from_millis(250);
/// A trace takes at least one part of the time in so many, however little is left.
const LEAST: u32 = 6;
/// What the end takes beside a look at the process: what holds the blocks, names, and removing the probes.
const FOR_THE_END: Duration = Duration::from_millis(2_000);
/// Stacks kept of what was mapped.
const STACKS: usize = 20;

/// The trace: what is mapped, and the heap where it has an allocator that can be traced.
type HuntTrace = Trace<(AddressSpace, Heap)>;

/// What the last two steps came to.
#[derive(Default)]
pub struct Traced {
    /// The process as it was at the end, or at the beginning if it has ended since, with what has changed.
    pub ledger: Option<Profile>,
    /// The same, with the parts of its growth, and what was mapped but not for its allocator, by stack.
    pub parts: Option<Profile>,
    /// The heap's and the mappings' samples, and how the heap's stacks move.
    pub trace: Option<Profile>,
    /// Why there is no ledger.
    pub no_ledger: Option<String>,
    /// Why the process was not traced.
    pub not_traced: Option<String>,
    /// Why the blocks of its heap were not, where all else was.
    pub no_blocks: Option<String>,
    /// Whether it ended, or replaced its program, meanwhile.
    pub ended: bool,
    /// Whether the steps were begun.
    pub was_tried: bool,
    /// Time from the first look to the end of the second.
    pub ledger_took: Duration,
    /// Time that was traced.
    pub trace_took: Duration,
}

impl Traced {
    /// Steps that were not begun.
    pub fn not_begun(why: &str) -> Self {
        Self {
            not_traced: Some(why.to_owned()),
            ..Self::default()
        }
    }
}

/// Which blocks are followed, and what that may cost the process.
fn heap_options(config: &HuntConfig) -> HeapOptions {
    HeapOptions {
        slowdown_percent: Some(config.slowdown),
        is_optional: true,
        reach: When::Last,
        ..HeapOptions::default()
    }
}

/// What the last two steps work with.
pub struct Steps<'a> {
    /// What was asked for.
    pub invocation: &'a Invocation,
    /// The settings.
    pub config: &'a HuntConfig,
    /// When all is to be over.
    pub plan: Plan,
    /// The watch, which goes on.
    pub machine: &'a Watch,
    /// Whether the user wants the end.
    pub interrupt: &'a mut Interrupt,
    /// What standard error says.
    pub progress: &'a mut Progress,
}

impl Steps<'_> {
    /// Looks at a process, traces it until the time is over, and looks again.
    pub async fn run(&mut self, pid: u32) -> Traced {
        let image = info::image(pid).ok();
        let begun = Instant::now();
        let mut trace = self.begin(pid);
        let since = monotonic_ns();
        self.machine.restart();
        let (before, followed) = self.watch(pid, &mut trace).await;
        self.progress.end(self.interrupt.is_set());
        let trace_took = begun.elapsed();
        let mut ended = Ended::of(pid, trace, since);
        let failure = followed.err().map(|error| error::one_line(&error));
        ended.not_traced = ended.not_traced.or(failure);
        let ended_early = ended.is_over || info::image(pid).ok() != image;
        Traced {
            was_tried: true,
            ledger_took: begun.elapsed(),
            trace_took,
            ended: ended_early,
            ..ended.with(before, ended_early)
        }
    }

    /// Begins to trace; why that is not possible, where it is not.
    fn begin(&self, pid: u32) -> Result<HuntTrace> {
        let facts = refuse_if_unable("trace a process")?;
        let about = target::resolve(&Target::Pids(vec![pid]), Grouping::default(), false)?;
        let space = AddressSpace::new(AddressSpaceOptions::default());
        let heap = Heap::new(heap_options(self.config));
        Trace::start(
            about,
            (space, heap),
            Walk::default(),
            &facts,
            log(self.invocation).quiet(),
        )
    }

    /// Lets the trace go on until the time is over, and looks at the process at the beginning.
    async fn watch(
        &mut self,
        pid: u32,
        trace: &mut Result<HuntTrace>,
    ) -> (Result<Profile, LookError>, Result<()>) {
        let Self {
            plan,
            interrupt,
            progress,
            ..
        } = self;
        let left = plan.end().saturating_duration_since(Instant::now());
        let schedule = Schedule {
            interval: Some((left / REPORTS).max(SHORTEST)),
            count: None,
        };
        // The time is over when the end can be reached in time, which the first look tells.
        let (end, mut is_end) = Interrupt::by_hand();
        let over = Notify::new();
        let live = Cell::new(None);
        let is_traced = trace.is_ok();
        let clock = async {
            let looked = Instant::now();
            // In another thread, so that the trace goes on.
            let before = tokio::task::spawn_blocking(move || look(pid, survey)).await;
            let until = until(*plan, looked.elapsed());
            announce(pid, is_traced, until);
            progress.begin("step 4 of 4: tracing");
            while Instant::now() < until && !interrupt.is_set() {
                progress.at(&words(pid, is_traced, live.get()));
                tokio::select! {
                    () = over.notified() => break,
                    () = interrupt.wait() => {}
                    () = tokio::time::sleep(PICTURE) => {}
                }
                if !is_traced && info::image(pid).is_err() {
                    break;
                }
            }
            // Without a trace nobody waits for it.
            let _ = end.send(true);
            before
        };
        let follow = async {
            let followed = match trace {
                Ok(trace) => {
                    let report = &mut |profile: Profile| {
                        live.set(Some(profile.totals().amount(Measure::HeapLiveBytes)));
                        Ok(Flow::On)
                    };
                    match follow(trace, &schedule, &mut is_end, report).await {
                        Ok(_) => trace.prepare(true).await.map(drop),
                        Err(error) => Err(error),
                    }
                }
                // The ledgers are compared when the time is over all the same.
                Err(_) => {
                    is_end.wait().await;
                    Ok(())
                }
            };
            over.notify_one();
            followed
        };
        let (before, followed) = tokio::join!(clock, follow);
        let gone = |_| Err(LookError::Exited { pid });
        (before.unwrap_or_else(gone), followed)
    }
}

/// When a trace ends, so that all is over in time; a look at the process takes so long.
fn until(plan: Plan, look: Duration) -> Instant {
    let now = Instant::now();
    let until = plan.end().checked_sub(look * 3 / 2 + FOR_THE_END);
    until.unwrap_or(now).max(now + plan.time / LEAST)
}

/// Says that the trace is on.
fn announce(pid: u32, is_traced: bool, until: Instant) {
    let time = duration(until.saturating_duration_since(Instant::now()));
    let name = info::name(pid);
    match is_traced {
        true => {
            eprintln!("memlens: tracing process {pid} ({name}) for {time}; Ctrl-C ends it early")
        }
        false => eprintln!(
            "memlens: process {pid} ({name}) cannot be traced; its ledgers are {time} apart; Ctrl-C ends it early"
        ),
    }
}

/// What the live line says.
fn words(pid: u32, is_traced: bool, live: Option<u64>) -> String {
    let name = info::name(pid);
    match (is_traced, live) {
        (true, Some(live)) => format!(
            "step 4 of 4: tracing {name} ({pid}), {} more live",
            bytes(live)
        ),
        (true, None) => format!("step 4 of 4: tracing {name} ({pid})"),
        (false, _) => format!("step 3 of 4: waiting for the second look at {name} ({pid})"),
    }
}

/// What is known at the end of a trace.
struct Ended {
    after: Result<Profile, LookError>,
    seen: Option<Seen>,
    touched: Vec<pagemap::Region>,
    not_traced: Option<String>,
    no_blocks: Option<String>,
    /// Whether the trace has seen its end.
    is_over: bool,
}

impl Ended {
    /// Ends a trace: first what must be of the same moment, then the names, then the probes.
    fn of(pid: u32, trace: Result<HuntTrace>, since: u64) -> Self {
        let mut trace = trace;
        let ranges = trace.as_mut().ok().map(|trace| {
            trace.freeze();
            trace.source.0.ranges(pid, since)
        });
        let ranges = ranges.unwrap_or_default();
        let addresses: Vec<Range<u64>> = ranges.iter().map(|(range, _)| range.clone()).collect();
        let touched = pagemap::touched(pid, &addresses);
        let mut ended = Self {
            after: look(pid, survey),
            seen: None,
            touched: Vec::new(),
            not_traced: None,
            no_blocks: None,
            is_over: false,
        };
        let seen = trace.and_then(|trace| {
            ended.no_blocks = trace.source.1.absent().map(str::to_owned);
            named(trace, ranges)
        });
        match seen {
            Ok(mut seen) => {
                ended.is_over = !seen.trace.subjects.iter().any(|own| own.state.is_alive());
                match touched {
                    Ok(touched) => ended.touched = touched,
                    Err(_) => seen.ranges = None,
                }
                ended.seen = Some(seen);
            }
            Err(error) => ended.not_traced = Some(error::one_line(&error)),
        }
        ended
    }

    /// Joins the first look in.
    fn with(self, before: Result<Profile, LookError>, ended_early: bool) -> Traced {
        let mut traced = Traced {
            not_traced: self.not_traced,
            no_blocks: self.no_blocks,
            ..Traced::default()
        };
        match (before, self.after) {
            (Ok(before), Ok(mut after)) if !ended_early => {
                match change::add(&before, &mut after) {
                    Ok(()) => {
                        let parts = self.seen.as_ref().map(|seen| {
                            growth::add(&before, after.clone(), seen, &self.touched, STACKS)
                        });
                        traced.parts = parts;
                    }
                    Err(error) => traced.no_ledger = Some(error.to_string()),
                }
                traced.ledger = Some(after);
            }
            (Ok(before), _) => traced.ledger = Some(before),
            (Err(error), _) => traced.no_ledger = Some(error.to_string()),
        }
        traced.trace = self.seen.map(|seen| seen.trace);
        traced
    }
}

/// The last profile of a trace, which has names; the probes are gone then.
fn named(mut trace: HuntTrace, ranges: Vec<MappedSince>) -> Result<Seen> {
    let profile = trace.snapshot(true);
    trace.leave();
    let profile = profile.context("the trace cannot be read")?;
    let space = &trace.source.0;
    let range = |(range, stack): (Range<u64>, _)| {
        Some(MappedRange {
            start: range.start,
            end: range.end,
            stack: space.stack_index(stack)?,
        })
    };
    Ok(Seen {
        trace: profile,
        ranges: Some(ranges.into_iter().filter_map(range).collect()),
        not_seen: Vec::new(),
    })
}
