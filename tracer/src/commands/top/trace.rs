//! The traces of the view, each in a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::Told;
use crate::analysis::holders;
use crate::analysis::verdict::{self, Stacks};
use crate::cli::{Invocation, TopConfig};
use crate::commands::{log, refuse_if_unable};
use crate::engine::target::{self, About, Target};
use crate::engine::{Flow, Live, Trace as Processes, Walk, runtime};
use crate::profile::{Grouping, Measure, Profile};
use crate::sources::address_space::{AddressSpace, AddressSpaceOptions};
use crate::sources::heap::reach::When;
use crate::sources::heap::{Heap, HeapOptions, Order};
use crate::sources::kernel::{KernelOptions, KernelTrace};
use crate::top::{TraceId, Traced};
use crate::words::error;
use crate::words::units::count;

/// The first profile comes so soon.
const FIRST: Duration = Duration::from_millis(250);
/// A profile takes at most one part in so many of the time.
const SHARE: u32 = 10;
/// What holds the blocks is looked for so long after a process was opened, and then so often at most.
const FIRST_LOOK: Duration = Duration::from_secs(4);
const LOOKS: Duration = Duration::from_secs(20);
/// A look takes at most one part in so many of the time.
const LOOK_SHARE: u32 = 20;
/// What holds more blocks than these is not looked for: it would take so long that the figures stand still.
const MOST_BLOCKS: u64 = 1_000_000;
/// Slab caches of a profile.
const CACHES: usize = 10;

/// A trace. When it is dropped it ends by itself: its probes are removed, and it tells nothing any more.
pub struct Trace {
    requests: UnboundedSender<Request>,
    thread: JoinHandle<Option<Profile>>,
}

/// What is asked of a trace.
enum Request {
    /// Count only blocks of this age in stacks.
    Older(Duration),
    /// Say what holds the blocks.
    Look,
    /// End, with a last profile; with `true` its command is about to end, too.
    End(bool),
}

/// How often traces tell, and whom.
#[derive(Clone)]
pub struct Pace {
    /// Time between two profiles.
    pub interval: Duration,
    /// Where they go.
    pub tell: Sender<Told>,
}

impl Trace {
    /// Counts only blocks of this age in stacks.
    pub fn older(&self, older: Duration) {
        // One that has failed needs none.
        let _ = self.requests.send(Request::Older(older));
    }

    /// Looks for what holds the blocks from now on.
    pub fn look(&self) {
        let _ = self.requests.send(Request::Look);
    }

    /// Ends it; its last profile, if there was any. With `settles` its command is about to end as well.
    pub fn end(self, settles: bool) -> Result<Option<Profile>> {
        let _ = self.requests.send(Request::End(settles));
        let ended = self.thread.join();
        ended.map_err(|_| anyhow!("the thread of the trace has panicked"))
    }

    /// Begins a trace; `start` is called in its thread, within its runtime.
    fn begin<L: Viewed>(
        id: TraceId,
        pace: Pace,
        start: impl FnOnce() -> Result<L> + Send + 'static,
    ) -> Result<Self> {
        let (requests, asked) = unbounded_channel();
        let thread = std::thread::Builder::new().name("trace".into());
        let thread = thread.spawn(move || {
            let runtime = match runtime() {
                Ok(runtime) => runtime,
                Err(error) => {
                    tell(&pace, id, Traced::Failed(error::one_line(&error)));
                    return None;
                }
            };
            let last = runtime.block_on(follow(id, &pace, asked, start));
            // A look at a large process may still be on; nobody waits for it.
            runtime.shutdown_background();
            last.unwrap_or_else(|error| {
                tell(&pace, id, Traced::Failed(error::one_line(&error)));
                None
            })
        });
        Ok(Self {
            requests,
            thread: thread.context("cannot start a thread")?,
        })
    }
}

/// A trace that the view can ask for something.
trait Viewed: Live {
    /// Counts only blocks of this age in stacks.
    fn set_older(&mut self, older: Duration);

    /// The next profile is to say what holds the blocks.
    fn ask_for_holders(&mut self) {}
}

impl Viewed for Processes<(Heap, AddressSpace)> {
    fn set_older(&mut self, older: Duration) {
        self.source.0.set_older(older);
    }

    fn ask_for_holders(&mut self) {
        self.source.0.ask_for_holders();
    }
}

impl Viewed for KernelTrace {
    fn set_older(&mut self, older: Duration) {
        KernelTrace::set_older(self, older);
    }
}

/// The trace of what the command line asks for.
pub fn of_target(
    invocation: &Invocation,
    config: &TopConfig,
    about: About,
    tell: Sender<Told>,
) -> Result<Trace> {
    let pace = Pace {
        interval: config.interval,
        tell,
    };
    let heap = heap_options(config, config.older);
    let walk = config.walk.into();
    let log = log(invocation).quiet();
    Trace::begin(TraceId::Target, pace, move || {
        let facts = refuse_if_unable("load BPF programs")?;
        Processes::start(about, sources(heap), walk, &facts, log)
    })
}

/// The trace of a process that was opened in the view.
pub fn of_process(
    invocation: &Invocation,
    config: &TopConfig,
    pid: u32,
    older: Duration,
    pace: Pace,
) -> Result<Trace> {
    let heap = HeapOptions {
        cpu_budget_percent: None,
        ..heap_options(config, older)
    };
    let walk: Walk = config.walk.into();
    let (log, force) = (log(invocation).quiet(), config.force);
    Trace::begin(TraceId::Process(pid), pace, move || {
        let facts = refuse_if_unable("trace a process")?;
        let about = target::resolve(&Target::Pids(vec![pid]), Grouping::Process, force)?;
        Processes::start(about, sources(heap), walk, &facts, log)
    })
}

/// The trace of the kernel's memory.
pub fn of_kernel(invocation: &Invocation, older: Duration, pace: Pace) -> Result<Trace> {
    let log = log(invocation).quiet();
    let options = KernelOptions {
        older,
        caches: Some(CACHES),
        ..KernelOptions::default()
    };
    Trace::begin(TraceId::Kernel, pace, move || {
        refuse_if_unable("load BPF programs")?;
        KernelTrace::start(options, log)
    })
}

fn sources(heap: HeapOptions) -> (Heap, AddressSpace) {
    (
        Heap::new(heap),
        AddressSpace::new(AddressSpaceOptions::default()),
    )
}

fn heap_options(config: &TopConfig, older: Duration) -> HeapOptions {
    let host = config.host.clone().unwrap_or_default();
    HeapOptions {
        older,
        allocator: (&config.allocator).into(),
        order: Order::Verdict,
        sample_bytes: config.sample_bytes,
        cpu_budget_percent: host.cpu_budget_percent,
        young: host.young,
        max_processes: host.max_processes,
        slowdown_percent: config.slowdown,
        is_optional: true,
        reach: When::Off,
        ..HeapOptions::default()
    }
}

fn tell(pace: &Pace, id: TraceId, traced: Traced) {
    // The view may be over.
    let _ = pace.tell.send(Told::Trace(id, traced));
}

/// When to look for what holds the blocks.
#[derive(Default)]
struct Looks {
    next: Option<Instant>,
    /// Live blocks of the last profile.
    blocks: u64,
    /// Whether it was said that there are too many.
    is_said: bool,
}

impl Looks {
    fn begin(&mut self) {
        self.next.get_or_insert(Instant::now() + FIRST_LOOK);
    }

    /// Whether a look is due, and what is to be said where it cannot be.
    fn is_due(&mut self) -> (bool, Option<String>) {
        let is_due = self.next.is_some_and(|next| next <= Instant::now());
        if !is_due || self.blocks <= MOST_BLOCKS {
            return (is_due, None);
        }
        let is_said = std::mem::replace(&mut self.is_said, true);
        let why = || {
            format!(
                "what holds the blocks is not looked for, as there are more than {}: leave, and run memlens leaks",
                count(MOST_BLOCKS)
            )
        };
        (false, (!is_said).then(why))
    }

    fn done(&mut self, took: Duration) {
        self.next = Some(Instant::now() + LOOKS.max(took * LOOK_SHARE));
    }
}

/// Follows a trace until it is asked to end; its last profile, if that was asked for.
async fn follow<L: Viewed>(
    id: TraceId,
    pace: &Pace,
    mut asked: UnboundedReceiver<Request>,
    start: impl FnOnce() -> Result<L>,
) -> Result<Option<Profile>> {
    let mut live = start()?;
    let followed = live_until_asked(id, pace, &mut asked, &mut live).await;
    let last = match followed {
        Ok(Ended::WithLast(settles)) => {
            if settles {
                live.settle().await;
            }
            live.snapshot(true).map(|profile| Some(judged(profile)))
        }
        Ok(Ended::AtOnce) => Ok(None),
        Err(error) => Err(error),
    };
    live.leave();
    last
}

/// How a trace was ended.
enum Ended {
    /// Its last profile is wanted; with `true` its command is about to end, too.
    WithLast(bool),
    /// Nobody wants to know more.
    AtOnce,
}

async fn live_until_asked<L: Viewed>(
    id: TraceId,
    pace: &Pace,
    asked: &mut UnboundedReceiver<Request>,
    live: &mut L,
) -> Result<Ended> {
    let mut tick = interval(live.period());
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = Instant::now() + FIRST;
    let mut looks = Looks::default();
    let mut is_on = true;
    loop {
        tokio::select! {
            biased;
            request = asked.recv() => match request {
                None => return Ok(Ended::AtOnce),
                Some(Request::End(settles)) => return Ok(Ended::WithLast(settles)),
                Some(Request::Older(older)) => live.set_older(older),
                Some(Request::Look) => looks.begin(),
            },
            () = sleep_until(due), if is_on => {
                let begun = Instant::now();
                let (look, why_not) = looks.is_due();
                if let Some(why_not) = why_not {
                    tell(pace, id, Traced::Note(why_not));
                }
                if look {
                    live.ask_for_holders();
                }
                let prepared = tokio::select! {
                    biased;
                    ended = end_asked(asked) => return Ok(ended),
                    prepared = live.prepare(false) => prepared?,
                };
                if look {
                    looks.done(begun.elapsed());
                }
                let reading = Instant::now();
                let profile = judged(live.snapshot(false)?);
                looks.blocks = profile.totals().amount(Measure::HeapLiveBlocks);
                tell(pace, id, Traced::Profile(Arc::new(profile)));
                due = Instant::now() + pace.interval.max(reading.elapsed() * SHARE);
                is_on = prepared == Flow::On;
            }
            flow = live.next(), if is_on => is_on = flow? == Flow::On,
            _ = tick.tick(), if is_on => live.tick(),
        }
        if !is_on {
            // Figures of what has ended stay as they are, until somebody leaves.
            let profile = judged(live.snapshot(false)?);
            tell(pace, id, Traced::Profile(Arc::new(profile)));
            tell(pace, id, Traced::Ended);
            return Ok(end_asked(asked).await);
        }
    }
}

/// Waits until the end is asked for. What else is asked for meanwhile comes too late.
async fn end_asked(asked: &mut UnboundedReceiver<Request>) -> Ended {
    loop {
        match asked.recv().await {
            None => return Ended::AtOnce,
            Some(Request::End(settles)) => return Ended::WithLast(settles),
            Some(Request::Older(_) | Request::Look) => {}
        }
    }
}

/// A profile with the verdicts on its stacks, in their order.
fn judged(mut profile: Profile) -> Profile {
    verdict::sort(&mut profile);
    holders::name(&mut profile);
    // Sentences must not put off to a last report what the next one may tell.
    let is_last = std::mem::replace(&mut profile.meta.last, true);
    verdict::add(&mut profile, Stacks::MostImportant);
    profile.meta.last = is_last;
    profile
}
