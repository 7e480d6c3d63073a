//! `memlens record`: profiles over time, to a file.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::output::{Files, Heaps, options};
use super::{log, refuse_if_unable};
use crate::cli::{Invocation, Outcome, RecordConfig, Recorded};
use crate::engine::{self, Flow, Live, Trace, meta, target};
use crate::profile::machine::{By, Of, Order as RowOrder};
use crate::profile::{CommandExit, Meta, Profile, Source};
use crate::render::Options;
use crate::sources::address_space::{AddressSpace, AddressSpaceOptions};
use crate::sources::heap::reach::When;
use crate::sources::heap::{Heap, HeapOptions, Order};
use crate::sources::machine::View;
use crate::sources::machine::background::{Background, Sampled};
use crate::sources::machine::observe::Observer;
use crate::sources::machine::pace;
use crate::sources::machine::root::Root;
use crate::sources::machine::sampler::Sampler;
use crate::sources::machine::scan::Extras;
use crate::words::error;
use crate::words::units::{bytes, counted, duration};

/// Processes, or half as many cgroups, that a snapshot of the machine has.
const ROWS: usize = 40;

/// Runs `memlens record`.
///
/// # Errors
/// What keeps the target from being traced, or the last snapshot from being written, in one line.
pub fn run(invocation: &Invocation, config: &RecordConfig) -> Result<Outcome> {
    let has = |source| config.has(source);
    let heap = || Heap::new(heap_options(config));
    let space = || AddressSpace::new(AddressSpaceOptions::default());
    let target = config
        .target
        .as_ref()
        .filter(|_| has(Recorded::Heap) || has(Recorded::Vm));
    let Some(target) = target else {
        return record(invocation, config, || Ok(Idle(Instant::now())));
    };
    let facts = refuse_if_unable("load BPF programs")?;
    let about = || {
        let by = config.host.as_ref().map(|host| host.by).unwrap_or_default();
        target::resolve(target, by, false)
    };
    let (walk, log) = (config.walk.into(), || log(invocation));
    match (has(Recorded::Heap), has(Recorded::Vm)) {
        (true, true) => record(invocation, config, || {
            Trace::start(about()?, (heap(), space()), walk, &facts, log())
        }),
        (true, false) => record(invocation, config, || {
            Trace::start(about()?, heap(), walk, &facts, log())
        }),
        (false, _) => record(invocation, config, || {
            Trace::start(about()?, space(), walk, &facts, log())
        }),
    }
}

/// Which blocks are followed, and at what cost.
fn heap_options(config: &RecordConfig) -> HeapOptions {
    let host = config.host.as_ref();
    HeapOptions {
        // A process without an allocator has its mappings recorded all the same.
        is_optional: config.has(Recorded::Vm) && host.is_none(),
        children: config.children,
        cpu_budget_percent: host.and_then(|host| host.cpu_budget_percent),
        young: host.is_some_and(|host| host.young),
        max_processes: host.map_or(usize::MAX, |host| host.max_processes),
        reach: match host {
            Some(_) => When::Off,
            None => When::Last,
        },
        ..HeapOptions::default()
    }
}

/// Follows a trace to its end and records its profiles, and the machine's beside them.
fn record<L: Live>(
    invocation: &Invocation,
    config: &RecordConfig,
    start: impl FnOnce() -> Result<L>,
) -> Result<Outcome> {
    let interrupt = engine::Interrupt::install()?;
    let mut recorder = Recorder {
        files: Files::open(&config.outputs)?,
        options: Options {
            top: None,
            ..options(invocation)
        },
        machine: match config.has(Recorded::Host) {
            true => Some(Background::begin(Machine::new(config.schedule.interval)?)?),
            false => None,
        },
        exit: None,
        elapsed: Duration::ZERO,
    };
    engine::runtime()?.block_on(async {
        let mut live = start()?;
        engine::run(&mut live, &config.schedule.into(), interrupt, |profile| {
            recorder.take(profile)?;
            Ok(Flow::On)
        })
        .await
    })?;
    recorder.say_what_is_there();
    Ok(Outcome::Done(recorder.exit))
}

/// Takes the profiles of a trace, and writes them.
struct Recorder {
    files: Files,
    options: Options,
    machine: Option<Background<Machine>>,
    /// How the traced command ended.
    exit: Option<CommandExit>,
    elapsed: Duration,
}

impl Recorder {
    /// Records a profile, one for each source that it has, and one of the machine.
    fn take(&mut self, profile: Profile) -> Result<()> {
        let last = profile.meta.last;
        self.exit = profile.meta.command_exit;
        self.elapsed = profile.meta.elapsed;
        let sources = [Source::Heap, Source::AddressSpace];
        let present = sources.into_iter().filter(|source| profile.has(*source));
        let mut parts: Vec<Profile> = present.map(|source| profile.only(source)).collect();
        if let Some(machine) = &self.machine {
            parts.push(machine.state().profile(last)?);
        }
        let heaps = Heaps {
            order: Order::Verdict,
            group_frames: None,
            must_know_all: true,
        };
        for (place, part) in parts.into_iter().enumerate() {
            let part = match part.has(Source::Heap) {
                true => heaps.judge(part),
                false => part,
            };
            // Files of one profile have the first part.
            match place {
                0 => self.files.write(&part, &self.options)?,
                _ => self.files.record(&part, last)?,
            }
        }
        Ok(())
    }

    fn say_what_is_there(&self) {
        for recording in self.files.recordings() {
            let (snapshots, length) = recording.written();
            eprintln!(
                "memlens: recorded {} over {} in {} ({}); memlens report {} shows the last",
                counted(snapshots, "snapshot"),
                duration(self.elapsed),
                recording.path().display(),
                bytes(length),
                recording.path().display()
            );
        }
    }
}

/// The machine, looked at some ten times in an interval.
struct Machine {
    sampler: Sampler,
    observer: Observer,
    interval: Duration,
    /// Why it is not looked at any more.
    failure: Option<String>,
}

impl Machine {
    fn new(interval: Duration) -> Result<Self> {
        let mut sampler = Sampler::new(Root::machine(), Extras::default());
        let first = sampler.snapshot()?;
        Ok(Self {
            observer: Observer::new(By::Process, None, first),
            sampler,
            interval,
            failure: None,
        })
    }

    /// The machine as it is now.
    fn profile(&mut self, last: bool) -> Result<Profile> {
        if let Some(failure) = &self.failure {
            anyhow::bail!("{failure}");
        }
        let view = View {
            order: RowOrder::Growth,
            of: Of::Total,
            top: Some(ROWS),
        };
        let meta = Meta { last, ..meta() };
        let mut profile = self.observer.profile(view, meta, &mut self.sampler);
        profile.notes = self.sampler.notes();
        self.observer.settle();
        self.sampler.refresh();
        Ok(profile)
    }
}

impl Sampled for Machine {
    fn sample(&mut self) -> bool {
        match self.sampler.snapshot() {
            Ok(snapshot) => self.observer.add(snapshot),
            Err(error) => self.failure = Some(error::one_line(&error)),
        }
        self.failure.is_none()
    }

    fn period(&self) -> Duration {
        pace::period(self.interval, self.sampler.took())
    }
}

/// No trace at all: time passes, since this moment.
struct Idle(Instant);

impl Live for Idle {
    fn period(&self) -> Duration {
        Duration::from_secs(3600)
    }

    async fn next(&mut self) -> Result<Flow> {
        std::future::pending().await
    }

    fn tick(&mut self) {}

    fn snapshot(&mut self, last: bool) -> Result<Profile> {
        let mut profile = Profile::default();
        profile.meta.last = last;
        profile.meta.elapsed = self.0.elapsed();
        Ok(profile)
    }

    fn leave(&mut self) {}
}
