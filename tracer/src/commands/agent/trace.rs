//! The heap traces: one trace of the host, in which only those have probes that are wanted, in a thread of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::moments::{Moments, Told};
use super::shared::{Ask, Seen, Shared};
use super::store::Store;
use crate::agent::moment::Moment;
use crate::agent::triggers::Triggers;
use crate::analysis::holders;
use crate::analysis::verdict::{self, Stacks};
use crate::cli::{AgentConfig, ReportOn, TraceWhat};
use crate::commands::refuse_if_unable;
use crate::engine::console::Log;
use crate::engine::{About, Flow, Live, Trace as Processes, runtime};
use crate::process::info;
use crate::process::thread_time::thread_time;
use crate::profile::history::Timeline;
use crate::profile::{FindingKind, Grouping, Measure, Profile, Subject};
use crate::sources::heap::reach::When;
use crate::sources::heap::{Heap, HeapOptions, Order, Wanted};
use crate::words::error;
use crate::words::units::{bytes, counted_processes};

/// A look at the heaps takes at most one part in so many of the CPU time of its thread.
const SHARE: u32 = 20;
/// After a change of who is traced the figures are looked at often for so long, as trials are short; else seldom.
const BUSY: Duration = Duration::from_secs(3);
const SELDOM: Duration = Duration::from_millis(200);
/// Time between two looks for what holds the blocks that grow, and their part of the time.
const HOLDERS: Duration = Duration::from_secs(120);
const HOLDERS_SHARE: u32 = 200;
/// What holds more blocks than these is not looked for.
const MOST_BLOCKS: u64 = 500_000;
/// Nor in more resident memory than this, which is read several times.
const MOST_RESIDENT: u64 = 1 << 30;
/// Looks in a row after which there must be too much memory before traces are given up: tables take some while they are
/// made.
const TOO_LARGE: u32 = 3;
/// A trace that has failed is begun again after this time.
const AGAIN: Duration = Duration::from_secs(30);
/// Profiles after which the history of the page begins anew: stacks come and go.
const HISTORY: u32 = 3_000;

/// The thread that traces. When it is dropped the probes are removed.
pub struct Trace {
    asks: UnboundedSender<Ask>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Trace {
    /// Begins to trace.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn begin(shared: &Arc<Shared>, store: Arc<Store>, log: Log) -> Result<Self> {
        let (asks, asked) = unbounded_channel();
        let own = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("trace".into());
        let thread = thread.spawn(move || trace(&own, &store, log, asked));
        shared.set_trace(Some(asks.clone()));
        Ok(Self {
            asks,
            thread: Some(thread.context("cannot start a thread")?),
            shared: Arc::clone(shared),
        })
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.shared.set_trace(None);
        // One that has ended needs none.
        let _ = self.asks.send(Ask::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.shared.known().own.is_tracing = false;
    }
}

/// Why a trace is over.
enum Over {
    /// Nobody wants it any more.
    Asked,
    /// It has too much memory; another one begins with none.
    Memory,
}

fn trace(shared: &Arc<Shared>, store: &Store, log: Log, mut asked: UnboundedReceiver<Ask>) {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(failure) => return tracing::error!("{}", error::one_line(&failure)),
    };
    runtime.block_on(async {
        loop {
            let over = once(shared, store, log, &mut asked).await;
            shared.known().own.is_tracing = false;
            match over {
                Ok(Over::Asked) => return,
                Ok(Over::Memory) => {
                    trim();
                    tracing::warn!("all traces were given up for lack of memory; they begin anew");
                }
                Err(failure) => {
                    tracing::error!("no heap is traced: {}", error::one_line(&failure));
                }
            }
            if wait(&mut asked, AGAIN).await {
                return;
            }
        }
    });
    runtime.shutdown_background();
}

/// Waits, and answers that there is nothing; whether the end was asked for.
async fn wait(asked: &mut UnboundedReceiver<Ask>, time: Duration) -> bool {
    let until = Instant::now() + time;
    loop {
        tokio::select! {
            ask = asked.recv() => match ask {
                None | Some(Ask::End) => return true,
                Some(Ask::Look(answer)) => drop(answer.send(None)),
                Some(_) => {}
            },
            () = sleep_until(until) => return false,
        }
    }
}

/// One trace, from its beginning to its end.
async fn once(
    shared: &Arc<Shared>,
    store: &Store,
    log: Log,
    asked: &mut UnboundedReceiver<Ask>,
) -> Result<Over> {
    let config = shared.config();
    let facts = refuse_if_unable("trace heaps")?;
    let about = About::Scope {
        scope: config.watch.scope(),
        by: Grouping::Process,
    };
    let mut heap = Heap::new(options(&config));
    if config.watch.trace != TraceWhat::All {
        heap.begin_with(wanted(&config, BTreeSet::new()));
    }
    let mut live = Processes::start(about, heap, config.walk.into(), &facts, log)?;
    shared.known().own.is_tracing = true;
    let moments = Moments::open(&config.write.report_on, config.write.stall);
    let mut following = Following {
        live: &mut live,
        shared,
        store,
        triggers: Triggers::new(&config.write.report_on, config.write.report_growth),
        timeline: Timeline::default(),
        looks: 0,
        holders_due: Instant::now() + HOLDERS / 4,
        too_large: 0,
        growing: BTreeSet::new(),
        config: Arc::clone(&config),
    };
    let over = following.follow(asked, moments).await;
    live.leave();
    over
}

fn options(config: &AgentConfig) -> HeapOptions {
    HeapOptions {
        order: Order::Verdict,
        sample_bytes: config.cost.sample_bytes,
        max_live: config.cost.max_live,
        cpu_budget_percent: config.cost.cpu_budget,
        max_processes: config.cost.max_processes as usize,
        is_optional: true,
        reach: When::Off,
        ..HeapOptions::default()
    }
}

fn wanted(config: &AgentConfig, pids: BTreeSet<u32>) -> Wanted {
    Wanted::new(pids, config.watch.names.clone())
}

/// A trace that is followed.
struct Following<'a> {
    live: &'a mut Processes<Heap>,
    shared: &'a Shared,
    store: &'a Store,
    config: Arc<AgentConfig>,
    triggers: Triggers,
    timeline: Timeline,
    looks: u32,
    holders_due: Instant,
    /// Looks in a row after which there was too much memory.
    too_large: u32,
    /// Processes that grow, of which it is to be known what holds the blocks.
    growing: BTreeSet<u32>,
}

impl Following<'_> {
    async fn follow(
        &mut self,
        asked: &mut UnboundedReceiver<Ask>,
        mut moments: Moments,
    ) -> Result<Over> {
        let mut tick = interval(self.live.period());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut busy_until = Instant::now() + BUSY;
        let mut ticked = Instant::now();
        let mut due = Instant::now() + self.config.watch.interval;
        loop {
            tokio::select! {
                biased;
                // Before all else: a victim is known until its end is taken in.
                told = moments.next() => self.take(told)?,
                ask = asked.recv() => match ask {
                    None | Some(Ask::End) => return Ok(Over::Asked),
                    Some(Ask::Want(pids)) => {
                        if self.want(pids) {
                            busy_until = Instant::now() + BUSY;
                        }
                    }
                    Some(Ask::Look(answer)) => self.answer(answer, asked)?,
                    Some(Ask::Report(moment)) => self.report(moment)?,
                },
                () = sleep_until(due) => {
                    if !self.growing.is_empty() && Instant::now() >= self.holders_due {
                        self.look_for_holders(&mut moments).await?;
                    }
                    // What holds the blocks has a part of the time of its own.
                    let begun = thread_time();
                    let seen = self.look()?;
                    let cgroups = seen.profile.subjects.iter();
                    moments.watch_cgroups(cgroups.map(|subject| subject.place.cgroup.as_str()));
                    due = Instant::now() + self.config.watch.interval.max((thread_time() - begun) * SHARE);
                    if self.shed() {
                        return Ok(Over::Memory);
                    }
                }
                flow = self.live.next() => if flow? != Flow::On {
                    return Ok(Over::Asked);
                },
                now = tick.tick() => if now < busy_until || now >= ticked + SELDOM {
                    ticked = now;
                    self.live.tick();
                },
            }
        }
    }

    /// Other processes are wanted; whether that changes anything.
    fn want(&mut self, pids: BTreeSet<u32>) -> bool {
        if self.config.watch.trace == TraceWhat::All {
            return false;
        }
        let live = &mut *self.live;
        live.source.want(&mut live.core, wanted(&self.config, pids))
    }

    /// Looks at the heaps, and makes what is seen known.
    fn look(&mut self) -> Result<Seen> {
        let begun = thread_time();
        let mut profile = judged(self.live.snapshot(false)?);
        self.looks += 1;
        if self.looks.is_multiple_of(HISTORY) {
            self.timeline = Timeline::default();
        }
        self.timeline.add(&profile);
        self.timeline.fill(&mut profile);
        self.growing = growing(&profile);
        let seen = self.shared.set_heaps(profile, self.config.serve.with_pid);
        {
            let mut known = self.shared.known();
            known.own.heap_seconds = (thread_time() - begun).as_secs_f64();
            known.own.probed = self.live.source.probed() as u64;
        }
        for moment in Triggers::of_heaps(&seen.profile) {
            if self.triggers.takes(self.shared.elapsed(), &moment) {
                self.write(moment, &seen.profile);
            }
        }
        Ok(seen)
    }

    /// Answers a request for a profile of now, and those that wait behind it.
    fn answer(
        &mut self,
        first: oneshot::Sender<Option<Seen>>,
        asked: &mut UnboundedReceiver<Ask>,
    ) -> Result<()> {
        let seen = self.look()?;
        drop(first.send(Some(seen.clone())));
        while let Ok(ask) = asked.try_recv() {
            match ask {
                Ask::Look(answer) => drop(answer.send(Some(seen.clone()))),
                Ask::Want(pids) => drop(self.want(pids)),
                Ask::Report(moment) => self.write(moment, &seen.profile),
                // The channel is closed by then, too, which the loop sees.
                Ask::End => asked.close(),
            }
        }
        Ok(())
    }

    /// Looks for what holds the blocks. A kill that is told meanwhile is more important.
    async fn look_for_holders(&mut self, moments: &mut Moments) -> Result<()> {
        let begun = Instant::now();
        let growing = std::mem::take(&mut self.growing);
        self.live.source.ask_for_holders_of(growing);
        let told = tokio::select! {
            biased;
            told = moments.next() => Some(told),
            prepared = self.live.prepare(false) => { prepared?; None }
        };
        let took = begun.elapsed();
        self.holders_due = Instant::now() + HOLDERS.max(took * HOLDERS_SHARE);
        match told {
            Some(told) => self.take(told),
            None => Ok(()),
        }
    }

    /// Something has happened.
    fn take(&mut self, told: Vec<Told>) -> Result<()> {
        for told in told {
            match told {
                Told::Killed(pid) => self.killed(pid)?,
                Told::Moment(moment) => {
                    if self.triggers.takes(self.shared.elapsed(), &moment) {
                        self.report(moment)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The kernel kills a process: its stacks are still in the tables.
    fn killed(&mut self, pid: u32) -> Result<()> {
        self.shared.known().own.oom_seen += 1;
        let member = self.live.core.members.running(pid);
        let Some(command) = member.map(|member| member.command.clone()) else {
            let name = info::name(pid);
            tracing::warn!(
                "process {pid} ({name}), which is not traced, is killed for lack of memory"
            );
            return Ok(());
        };
        let moment = Moment {
            why: ReportOn::Oom,
            pid: Some(pid),
            cgroup: None,
            text: format!(
                "written because process {pid} ({command}) was killed for lack of memory"
            ),
        };
        tracing::warn!("process {pid} ({command}) is killed for lack of memory");
        match self.triggers.takes(self.shared.elapsed(), &moment) {
            true => self.report(moment),
            false => Ok(()),
        }
    }

    fn report(&mut self, moment: Moment) -> Result<()> {
        let seen = self.look()?;
        self.write(moment, &seen.profile);
        Ok(())
    }

    fn write(&self, moment: Moment, profile: &Profile) {
        match moment.part(profile) {
            Some(part) => self.store.write(moment, part),
            None => tracing::debug!("{}: nothing of that is traced", moment.text),
        }
    }

    /// Gives traces up where the agent has too much memory, look after look; whether all must go.
    fn shed(&mut self) -> bool {
        let most = self.config.cost.memory;
        let resident = || info::own_resident_bytes().unwrap_or_default();
        if resident() > most {
            trim();
        }
        let resident = resident();
        let room = self.shared.room.load(Ordering::Relaxed);
        if resident <= most {
            self.too_large = 0;
            let all = self.config.cost.max_processes as usize;
            if room < all && resident < most / 5 * 4 {
                self.shared.room.store(room + 1, Ordering::Relaxed);
            }
            return false;
        }
        self.too_large += 1;
        if self.too_large < TOO_LARGE {
            return false;
        }
        self.too_large = 0;
        self.shared.known().own.shed += 1;
        let fewer = self.live.source.probed().min(room) / 2;
        tracing::warn!(
            "{} are more than --memory allows ({}): {} at most stay traced",
            bytes(resident),
            bytes(most),
            counted_processes(fewer as u64)
        );
        self.shared.room.store(fewer, Ordering::Relaxed);
        fewer == 0
    }
}

/// The processes whose heaps grow, and that a look for what holds the blocks is not too much for.
fn growing(profile: &Profile) -> BTreeSet<u32> {
    let grows = |kind| matches!(kind, FindingKind::Growing | FindingKind::Leak);
    let found = profile.findings.iter();
    let found = found.filter(|finding| grows(finding.kind));
    let subjects = found.filter_map(|finding| profile.subject(finding.subject?));
    let is_fit = |subject: &&Subject| {
        let amount = |measure| subject.totals.amount(measure);
        amount(Measure::HeapLiveBlocks) <= MOST_BLOCKS
            && amount(Measure::ProcessRssBytes) <= MOST_RESIDENT
            && subject.sample_bytes.is_none()
    };
    subjects
        .filter(is_fit)
        .filter_map(|subject| subject.pid)
        .collect()
}

/// Gives memory back to the system that is free.
fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
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
