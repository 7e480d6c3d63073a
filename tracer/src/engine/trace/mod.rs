//! A trace of processes: named ones, a command, or all of a scope, by one or more sources.

mod begin;
mod programs;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tracer_common::key::Owner;
use tracer_common::limits;
use tracer_common::loss::Loss;

use self::begin::{allow_many_files, expecting_unwinder, prepared_unwinder};
use super::console::{Log, Step};
use super::core::Core;
use super::members::Members;
use super::meta::meta;
use super::run::{Flow, Live};
use super::runtimes::{Interpreters, Runtimes};
use super::snapshot::{Selection, Snapshot};
use super::source::Source;
use super::target::About;
use super::unwinder::{self, Extent, Unwinder};
use super::watch::{Change, Watcher};
use crate::bpf::{Method, Settings, Tracer};
use crate::preflight::Facts;
use crate::process::command::Running;
use crate::process::info;
use crate::profile::{
    Builder, CommandExit, Grouping, HostWide, LossKey, Measure, Meta, Profile, State, Subject,
};

pub use self::begin::method;

/// Stacks whose frames are named at one go, so that exits and Ctrl-C are not kept waiting.
const RESOLVE_AT_ONCE: usize = 64;
/// Diagnostic messages printed at one go, so that the trace goes on where there are many.
const MESSAGES_AT_ONCE: usize = 1_000;
/// How long a command may take to end after a Ctrl-C that it has got as well.
const COMMAND_GRACE: Duration = Duration::from_secs(2);

/// How stacks are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Frames kept of a stack.
    pub depth: u32,
    /// What is made of the frames of interpreters.
    pub interpreters: Interpreters,
    /// Most bytes of kernel memory for unwind tables; `None` walks by frame pointers alone.
    pub table_bytes: Option<u64>,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            depth: limits::MAX_DEPTH,
            interpreters: Interpreters::Shown,
            table_bytes: Some(256 << 20),
        }
    }
}

/// A running trace.
pub struct Trace<S> {
    /// What the sources share.
    pub core: Core,
    /// The sources.
    pub source: S,
    /// Which samples profiles have.
    pub selection: Selection,
    by: Option<Grouping>,
    method: Method,
    command: Option<Running>,
    command_exit: Option<CommandExit>,
    previous: Option<Duration>,
    is_frozen: bool,
}

impl<S: Source> Trace<S> {
    /// Loads the programs, attaches them and lets the trace begin. Must be called within the runtime.
    ///
    /// # Errors
    /// Why nothing can be traced.
    pub fn start(about: About, mut source: S, walk: Walk, facts: &Facts, log: Log) -> Result<Self> {
        let (members, targets, by) = match about {
            About::Named(targets) => (Members::named(), Some(targets), None),
            About::Scope { scope, by } => {
                allow_many_files();
                (Members::of_scope(&scope)?, None, Some(by))
            }
        };
        let building = Instant::now();
        let unwinder = walk.table_bytes.map(|bytes| match &targets {
            Some(targets) => prepared_unwinder(bytes, targets),
            None => expecting_unwinder(bytes, |pid| members.is_about(pid) && source.wants(pid)),
        });
        log.timing("building unwind tables", building);
        let mut settings = Settings {
            stack_depth: walk.depth,
            method: method(facts),
            ..Settings::default()
        };
        let extent = if targets.is_some() {
            Extent::Processes
        } else {
            Extent::Host
        };
        settings.unwind = unwinder.as_ref().map(|unwinder| unwinder.size(extent));
        settings.diagnostics = log.diagnostics();
        source.configure(&mut settings, targets.is_none());
        let step = Step::new("loading the BPF programs");
        let loading = Instant::now();
        let mut tracer = Tracer::load(&settings)?;
        let watcher = Watcher::new(tracer.take_lifecycle()?, targets.is_none())
            .context("cannot watch for new mappings")?;
        let runtimes = Runtimes::new(&mut tracer, walk.interpreters)?;
        let mut core = Core::new(tracer, watcher, members, (unwinder, runtimes), log)?;
        source.load(&mut core)?;
        log.timing("loading", loading);
        drop(step);
        let mut trace = Self {
            core,
            source,
            selection: Selection::ALL,
            by,
            method: settings.method,
            command: None,
            command_exit: None,
            previous: None,
            is_frozen: false,
        };
        let step = Step::new("placing probes");
        let attaching = Instant::now();
        match targets {
            Some(targets) => trace.begin_named(targets)?,
            None => trace.begin_scope()?,
        }
        drop(step);
        log.timing("attaching", attaching);
        log.say(|| format!("tracing {}; Ctrl-C ends", trace.source.summary(&trace.core)));
        log.details(|| trace.details());
        Ok(trace)
    }

    /// What `-v` tells of the probes and the unwind tables.
    fn details(&mut self) -> Vec<String> {
        let mut lines = self.source.details();
        lines.push(format!("{} members", self.core.members.len()));
        let (used, room) = self.core.tracer.tables().usage();
        if room.rows > 0 {
            lines.push(format!(
                "unwind tables: {} of {} rows, {} of {} buckets",
                used.rows, room.rows, used.buckets, room.buckets
            ));
        }
        lines
    }

    /// Takes in what the sources were sent.
    fn drain(&mut self) -> Result<Flow> {
        let flow = self.source.drain(&mut self.core);
        self.tell();
        flow
    }

    /// Tells all sources of programs that one of them has counted in.
    pub(super) fn tell(&mut self) {
        for (owner, is_new) in self.core.members.take_untold() {
            self.source.joined(&mut self.core, owner, is_new);
        }
    }

    /// Nothing is counted from now on.
    pub fn freeze(&mut self) {
        if !self.is_frozen {
            self.source.freeze(&mut self.core);
            self.core.tracer.disable();
            self.is_frozen = true;
        }
    }

    /// The profile's subjects, in the order of the sources, and their indices by program.
    fn subjects(&mut self, build: &mut Builder) -> HashMap<Owner, u32> {
        let members: Vec<(Owner, Subject)> = self
            .core
            .members
            .iter()
            .map(|member| (member.owner, member.subject()))
            .collect();
        let mut rows = Vec::with_capacity(members.len());
        for (owner, mut subject) in members {
            if subject.state.is_alive()
                && let Some(vitals) = info::vitals(owner.tgid)
            {
                subject
                    .totals
                    .set(Measure::ProcessRssBytes, vitals.resident_bytes);
                if vitals.is_stopped {
                    subject.state = State::Stopped;
                }
            }
            if self.source.describe(&mut self.core, owner, &mut subject) {
                let rank: Vec<u64> = self
                    .source
                    .ranked_by()
                    .iter()
                    .map(|by| subject.totals.amount(*by))
                    .collect();
                rows.push((rank, owner, subject));
            }
        }
        rows.sort_by(|(one, _, _), (other, _, _)| other.cmp(one));
        rows.into_iter()
            .map(|(_, owner, subject)| (owner, build.subject(subject)))
            .collect()
    }

    fn meta(&self, elapsed: Duration, last: bool) -> Meta {
        Meta {
            command_exit: self.command_exit,
            elapsed,
            previous: self.previous,
            last,
            ..meta()
        }
    }

    fn host_wide(&self, by: Grouping, profile: &Profile) -> HostWide {
        HostWide {
            scope: self.core.members.scope().unwrap_or_default(),
            by,
            groups: profile.groups(by, self.source.ranked_by()),
            ended: self.core.ended.ended(),
            own_rss_bytes: info::own_resident_bytes(),
            ..profile.sections.host_wide.clone().unwrap_or_default()
        }
    }
}

impl<S: Source> Live for Trace<S> {
    fn period(&self) -> Duration {
        self.source.period()
    }

    async fn next(&mut self) -> Result<Flow> {
        enum Woken {
            Changes(Vec<Change>),
            Tables,
            Events,
        }
        let (core, source) = (&mut self.core, &mut self.source);
        let woken = tokio::select! {
            biased;
            changes = core.watcher.changes() => Woken::Changes(changes.context("cannot wait for process events")?),
            () = unwinder::ready(&core.unwinder) => Woken::Tables,
            ready = std::future::poll_fn(|context| source.poll_ready(context)) => {
                ready.context("cannot wait for events")?;
                Woken::Events
            }
        };
        match woken {
            Woken::Changes(changes) => self.apply(changes)?,
            Woken::Tables => self.core.publish_arrived(),
            Woken::Events => {}
        }
        let flow = self.drain()?;
        let is_over = !self.core.members.come_by_themselves() && self.core.watcher.running() == 0;
        Ok(if is_over && flow == Flow::On {
            Flow::Ended
        } else {
            flow
        })
    }

    fn tick(&mut self) {
        // What it may fail at is printing, which the next event shows again.
        let _ = self.drain();
        self.core.publish_generated();
        self.core.resolve_new_stacks(RESOLVE_AT_ONCE);
        self.core.print_diagnostics(MESSAGES_AT_ONCE);
        if self.core.members.have_lost_events(&self.core.tracer) {
            let _ = self.resynchronize();
        }
        self.source.tick(&mut self.core);
        self.tell();
    }

    /// A Ctrl-C goes to the command as well: its end belongs to the trace.
    async fn settle(&mut self) {
        let until = tokio::time::Instant::now() + COMMAND_GRACE;
        while self.command.is_some()
            && let Some(changes) = self.core.watcher.changes_by(until).await
        {
            let _ = self.apply(changes);
        }
        // A target may have ended just before.
        let changes = self.core.watcher.collect();
        let _ = self.apply(changes);
    }

    async fn prepare(&mut self, last: bool) -> Result<Flow> {
        let Some(work) = self.source.work(&mut self.core, last) else {
            return Ok(Flow::On);
        };
        let step = Step::new("looking for what holds the blocks");
        let begun = Instant::now();
        let mut work = tokio::task::spawn_blocking(work);
        let mut tick = tokio::time::interval(self.period());
        let mut flow = Flow::On;
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    done.context("the look at what holds the blocks failed")?;
                    break;
                }
                now = self.next(), if flow == Flow::On => flow = now?,
                _ = tick.tick() => self.tick(),
            }
        }
        drop(step);
        self.core
            .log
            .timing("looking for what holds the blocks", begun);
        Ok(flow)
    }

    fn snapshot(&mut self, last: bool) -> Result<Profile> {
        let requested = Instant::now();
        let step = Step::new("measuring");
        if last {
            self.freeze();
        }
        self.drain()?;
        self.core.resolve_new_stacks(usize::MAX);
        let elapsed = self.core.clock.take_moment();
        self.source.measure(&mut self.core)?;
        let mut build = Builder::new(self.meta(elapsed, last));
        let subjects = self.subjects(&mut build);
        let mut out = Snapshot::new(build, self.selection, subjects);
        self.source.write(&mut self.core, &mut out)?;
        let mut profile = out.finish().finish();
        let mut losses = self.core.tracer.losses()?;
        for (loss, count) in &self.core.losses {
            *losses.entry(*loss).or_default() += count;
        }
        profile.losses = Loss::ALL
            .into_iter()
            .map(|loss| {
                (
                    LossKey::Trace(loss),
                    losses.get(&loss).copied().unwrap_or(0),
                )
            })
            .collect();
        profile.notes = self.core.notes.all().to_vec();
        profile
            .notes
            .extend(self.core.unwinder.iter().flat_map(Unwinder::notes));
        profile.notes.extend(self.core.members.left_out());
        profile.notes.extend(self.source.notes());
        profile.sections.unwind = self.core.unwinder.as_ref().map(Unwinder::table_use);
        if let Some(by) = self.by {
            profile.sections.host_wide = Some(self.host_wide(by, &profile));
        }
        let is_followed = |subject: &Subject| subject.probes_off.is_none();
        profile.complete = profile.losses.are_harmless()
            && self.source.is_exact()
            && profile.subjects.iter().all(is_followed);
        self.sweep();
        self.previous = Some(elapsed);
        self.core.reports += 1;
        drop(step);
        self.core.log.report(requested);
        Ok(profile)
    }

    fn leave(&mut self) {
        self.core.tracer.disable();
        self.source.announce_leaving(self.method);
        let step = Step::new("removing the probes");
        let detaching = Instant::now();
        self.core.tracer.links().0.detach();
        drop(step);
        self.core.print_diagnostics(usize::MAX);
        self.core.log.timing("detaching", detaching);
    }
}
