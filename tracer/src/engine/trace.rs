//! A trace of processes: named ones, a command, or all of a scope, by one or more sources.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tracer_common::key::Owner;
use tracer_common::limits;
use tracer_common::loss::Loss;

use super::console::{Log, Step};
use super::core::{Core, Over};
use super::ended::is_short_lived;
use super::members::{Member, Members, OutOfStep};
use super::meta::meta;
use super::run::{Flow, Live};
use super::snapshot::{Selection, Snapshot};
use super::source::Source;
use super::target::{About, Chosen, Targets};
use super::unwinder::{self, Extent, Unwinder};
use super::watch::{Change, Program, Watcher};
use crate::bpf::{Method, Settings, Tracer};
use crate::preflight::{self, Facts};
use crate::process::command::{Exit, Running};
use crate::process::info;
use crate::process::maps::{self, Mapping};
use crate::profile::{
    Builder, CommandExit, EndedProcess, Grouping, HostWide, LossKey, Measure, Meta, Profile, State,
    Subject, Values,
};
use crate::words;

/// Stacks whose frames are named at one go, so that exits and Ctrl-C are not kept waiting.
const RESOLVE_AT_ONCE: usize = 64;
/// Diagnostic messages printed at one go, so that the trace goes on where there are many.
const MESSAGES_AT_ONCE: usize = 1_000;
/// How long a command may take to end after a Ctrl-C that it has got as well.
const COMMAND_GRACE: Duration = Duration::from_secs(2);
/// Programs that wait to be swept, before a sweep is worth while.
const SWEEP_AT: usize = 512;

/// How stacks are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Frames kept of a stack.
    pub depth: u32,
    /// Most bytes of kernel memory for unwind tables; `None` walks by frame pointers alone.
    pub table_bytes: Option<u64>,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            depth: limits::MAX_DEPTH,
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
            None => expecting_unwinder(bytes, &members),
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
        let mut core = Core::new(tracer, watcher, members, unwinder, log)?;
        source.load(&mut core)?;
        log.timing("loading", loading);
        drop(step);
        let mut trace = Self {
            core,
            source,
            selection: Selection::ALL,
            by,
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

    /// Attaches named processes, begins to count and releases the command.
    fn begin_named(&mut self, targets: Targets) -> Result<()> {
        let files = targets.command.as_ref().map(|(_, files)| files.as_slice());
        let mut failure = None;
        let mut changes = Vec::new();
        for process in &targets.processes {
            let Err(error) = self.begin_process(process, files, &mut changes) else {
                continue;
            };
            let error = gone(process.pid).unwrap_or(error);
            if targets.processes.len() > 1 {
                eprintln!(
                    "memlens: process {} is left out: {}",
                    process.pid,
                    words::error::one_line(&error)
                );
            }
            failure = Some(error);
        }
        if let Some(failure) = failure.filter(|_| self.core.members.is_empty()) {
            return Err(failure);
        }
        let owners: Vec<Owner> = self
            .core
            .members
            .iter()
            .map(|member| member.owner)
            .collect();
        self.core.publish_arrived();
        owners
            .iter()
            .for_each(|owner| self.core.publish(owner.tgid));
        self.core.tracer.enable();
        self.core.started = Instant::now();
        for owner in owners {
            self.source.joined(&mut self.core, owner, false);
            // A process that ends at once is reported by its end.
            let _ = self.core.symbols.snapshot(owner);
        }
        self.apply(changes)?;
        if let Some((stopped, _)) = targets.command {
            self.command = Some(stopped.release()?);
        }
        Ok(())
    }

    /// Attaches a process and counts it in. What happens to others meanwhile goes to `changes`.
    fn begin_process(
        &mut self,
        process: &Chosen,
        files: Option<&[PathBuf]>,
        changes: &mut Vec<Change>,
    ) -> Result<()> {
        let pid = process.pid;
        self.source.attach(&mut self.core, pid, files)?;
        // An `exec` from before it is counted in would be taken for one that ends the program that is counted in.
        changes.extend(self.core.watcher.collect());
        self.core.watcher.add(pid)?;
        let owner = self.core.tracer.add_process(pid)?;
        let row = self.core.tracer.row_of(pid).unwrap_or_default();
        self.core
            .members
            .add(owner, row, process.comm.clone(), Duration::ZERO);
        Ok(())
    }

    /// Attaches all processes of a scope and begins to count.
    fn begin_scope(&mut self) -> Result<()> {
        // memlens itself is on the host, and is not traced.
        self.core.tracer.exclude_process(std::process::id())?;
        self.core.publish_arrived();
        self.source.attach_all(&mut self.core)?;
        self.core.tracer.enable();
        self.core.started = Instant::now();
        self.source.begun(&mut self.core)
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

    /// Follows the processes through exec, exit and new mappings.
    fn apply(&mut self, changes: Vec<Change>) -> Result<()> {
        let since = Instant::now();
        let mut look = BTreeSet::new();
        let mapped: Vec<(u32, Mapping)> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Map(pid, mapping) => Some((*pid, mapping.clone())),
                _ => None,
            })
            .collect();
        let all = changes.contains(&Change::Lost);
        // New files come first: their calls are missed until they are probed.
        self.source.mapped(&mut self.core, &mapped, since, all);
        for change in changes {
            self.core.log.event(|| change.words());
            match change {
                Change::Load(pid, command) => self.loading(pid, command)?,
                Change::Map(pid, mapping) => {
                    if self.core.members.maps_for_next(pid, &mapping) {
                        continue;
                    }
                    if let Some(code) = self.core.members.code(pid) {
                        self.core.symbols.observe(code, mapping);
                        look.insert(pid);
                    }
                }
                Change::Look(pid) => drop(look.insert(pid)),
                Change::Lost => {
                    look.extend(self.core.members.iter().map(|member| member.owner.tgid))
                }
                Change::Unload(code) => self.unloading(code, &mut look),
                Change::Exec(new) if self.core.members.come_by_themselves() => {
                    self.replaced_in_scope(&new)?
                }
                Change::Exec(new) => self.replaced(&new)?,
                Change::Exit(pid) => self.exited(pid)?,
                Change::Admitted(new, row) => self.admitted(&new, row)?,
                Change::Ended(owner) => self.ended(owner)?,
            }
        }
        for pid in look {
            self.look(pid);
        }
        Ok(())
    }

    /// Looks at what a process has mapped by now.
    fn look(&mut self, pid: u32) {
        self.core.look(pid);
        self.source.look(&mut self.core, pid);
    }

    /// The process begins to load another program: what it maps from now on is the new one's.
    fn loading(&mut self, pid: u32, command: String) -> Result<()> {
        if self.core.members.running(pid).is_none() {
            return Ok(());
        }
        if !self.core.members.come_by_themselves() {
            self.close(pid, State::Replaced)?;
        }
        self.core.members.loads(pid, command);
        Ok(())
    }

    /// A library goes: what is known of the code so far holds for the stacks so far.
    fn unloading(&mut self, code: Owner, look: &mut BTreeSet<u32>) {
        if let Some(old) = self.core.members.code(code.tgid) {
            self.core.symbols.seal(old);
        }
        self.core.resolve_new_stacks(usize::MAX);
        self.core.members.set_code(code);
        look.insert(code.tgid);
    }

    /// The program that runs in a process is over.
    fn close(&mut self, pid: u32, state: State) -> Result<()> {
        self.source.drain(&mut self.core)?;
        self.core.resolve_new_stacks(usize::MAX);
        let running = self.core.members.running(pid).map(|member| member.owner);
        if let Some(owner) = running {
            self.source.closing(&mut self.core, owner);
        }
        if let Some(code) = self.core.members.close(pid, state).map(Member::code) {
            self.core.symbols.seal(code);
        }
        Ok(())
    }

    /// A named process has replaced its program.
    fn replaced(&mut self, new: &Program) -> Result<()> {
        let owner = new.owner;
        self.close(owner.tgid, State::Replaced)?;
        if let Some(old) = self
            .core
            .members
            .last(owner.tgid)
            .map(|member| member.owner)
        {
            self.source.replaced(&mut self.core, old);
        }
        let loaded = self.core.members.loaded(owner.tgid);
        let command = if new.comm.is_empty() {
            loaded.command
        } else {
            new.comm.clone()
        };
        let row = self.core.tracer.row_of(owner.tgid).unwrap_or_default();
        let at = self.core.elapsed();
        self.core.members.add(owner, row, command, at);
        self.begin(owner, loaded.mappings, true);
        self.look(owner.tgid);
        Ok(())
    }

    /// A program begins to be followed, with the code that was mapped for it before it ran.
    fn begin(&mut self, owner: Owner, mappings: Vec<Mapping>, is_new: bool) {
        mappings
            .into_iter()
            .for_each(|mapping| self.core.symbols.observe(owner, mapping));
        self.source.joined(&mut self.core, owner, is_new);
    }

    /// A named process has ended.
    fn exited(&mut self, pid: u32) -> Result<()> {
        // The end of a command is in the report.
        if let (Some(member), None) = (self.core.members.last(pid), &self.command) {
            self.core
                .log
                .say(|| format!("process {pid} ({}) has exited", member.command));
        }
        self.close(pid, State::Exited)?;
        self.core.release_tables(pid);
        if let Some(command) = self.command.as_mut().filter(|command| command.pid == pid) {
            self.command_exit = command.wait().ok().map(CommandExit::from);
        }
        Ok(())
    }

    /// A process of a scope has come, in this row of the process table: at its first call, by a fork, or by an `exec`.
    fn admitted(&mut self, new: &Program, row: u32) -> Result<()> {
        // What happened before its admission is taken in first.
        self.source.drain(&mut self.core)?;
        let owner = new.owner;
        if self.core.members.row(owner).is_some() {
            return Ok(()); // it was met when all that ran were
        }
        let at = self.core.elapsed();
        let loaded = self.core.members.loaded(owner.tgid);
        if !self.core.members.admit(&self.core.tracer, new, row, at) {
            self.source.passed_over(owner);
            return Ok(());
        }
        let is_new = self
            .core
            .members
            .get(owner)
            .is_some_and(|member| member.started_in_trace);
        self.begin(owner, loaded.mappings, is_new);
        self.core.look(owner.tgid);
        Ok(())
    }

    /// A process of a scope has replaced its program; the row stays.
    fn replaced_in_scope(&mut self, new: &Program) -> Result<()> {
        self.source.drain(&mut self.core)?;
        let loaded = self.core.members.loaded(new.owner.tgid);
        let (old, row) = self.core.members.replaced(&mut self.core.tracer, new.owner);
        if let Some(old) = old {
            self.leave_scope(old, None);
        }
        if let Some(row) = row {
            self.core.members.loads(new.owner.tgid, loaded.command);
            for mapping in &loaded.mappings {
                self.core.members.maps_for_next(new.owner.tgid, mapping);
            }
            self.admitted(new, row)?;
        }
        Ok(())
    }

    /// A process of a scope has ended.
    fn ended(&mut self, owner: Owner) -> Result<()> {
        self.source.drain(&mut self.core)?;
        let Some(row) = self.core.members.forget_row(owner) else {
            self.source.passed_over(owner);
            return Ok(());
        };
        self.leave_scope(owner, Some(row));
        let over = self.core.over.len();
        if over >= SWEEP_AT || (over > 0 && self.core.tracer.stack_rows_are_scarce()) {
            self.sweep();
        }
        Ok(())
    }

    /// A program of a scope is over: what it still held is remembered, and its blocks and rows are to be swept.
    fn leave_scope(&mut self, owner: Owner, row: Option<u32>) {
        // Rows are known by their owner once they were taken in.
        self.core.resolve_new_stacks(usize::MAX);
        let held = self.source.left(&mut self.core, owner, row);
        if let (Some(member), Some(totals)) = (self.core.members.remove(owner), held) {
            self.core.symbols.seal(member.code());
            self.remember(member, totals);
        }
        self.core.over.push(Over { owner, row });
        if row.is_some() {
            self.core.release_tables(owner.tgid);
        }
    }

    /// Remembers what a program held at its end; and says so, unless it was short-lived.
    fn remember(&mut self, member: Member, totals: Values) {
        let at = self.core.elapsed();
        let ended = EndedProcess {
            pid: member.owner.tgid,
            command: member.command,
            place: member.place,
            user: member.user.unwrap_or_default(),
            at,
            traced: at.saturating_sub(member.first_seen),
            totals,
        };
        if !is_short_lived(&ended) {
            eprintln!("memlens: {}", words::ended::sentence(&ended));
        }
        self.core.ended.add(ended);
    }

    /// Gives the rows of programs that are over back, but for stacks that are still referred to.
    fn sweep(&mut self) {
        let over = std::mem::take(&mut self.core.over);
        let mut owners: HashSet<Owner> = std::mem::take(&mut self.core.referred);
        owners.extend(over.iter().map(|over| over.owner));
        let is_over = |owner: Owner| owners.contains(&owner);
        if let Err(error) = self.source.sweep(&mut self.core, &is_over) {
            self.core.notes.add(format!(
                "figures of processes that ended are still counted: {error}"
            ));
            return;
        }
        if owners.is_empty() {
            return;
        }
        let referred = self.source.referred_rows();
        let rows = self.core.tracer.stack_rows_of(is_over).into_iter();
        let (kept, free): (Vec<u32>, Vec<u32>) = rows.partition(|row| referred.contains(row));
        if let Err(error) = self.core.tracer.release_stack_rows(&free) {
            // The rows are lost for this trace: a table that fills is counted by itself.
            self.core.notes.add(error.to_string());
        }
        let kept = kept
            .iter()
            .filter_map(|row| self.core.tracer.stack_meta(*row));
        self.core.referred = kept.map(|meta| meta.owner).collect();
        for owner in owners.difference(&self.core.referred) {
            self.core.symbols.forget(*owner);
        }
        for row in over.iter().filter_map(|over| over.row) {
            if let Err(error) = self.core.tracer.release_process(row) {
                self.core.notes.add(error.to_string());
            }
        }
    }

    /// Repairs what is known of the processes after events were lost: the process table itself has it.
    fn resynchronize(&mut self) -> Result<()> {
        let OutOfStep { gone, new } = self.core.members.out_of_step(&self.core.tracer);
        for owner in gone {
            self.ended(owner)?;
        }
        for (program, row) in new {
            self.admitted(&program, row)?;
        }
        self.sweep();
        Ok(())
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
            if let Some(vitals) = info::vitals(owner.tgid).filter(|_| subject.state.is_alive()) {
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
        let flow = self.source.drain(&mut self.core)?;
        let is_over = !self.core.members.come_by_themselves() && self.core.watcher.running() == 0;
        Ok(if is_over && flow == Flow::On {
            Flow::Ended
        } else {
            flow
        })
    }

    fn tick(&mut self) {
        // What it may fail at is printing, which the next event shows again.
        let _ = self.source.drain(&mut self.core);
        self.core.resolve_new_stacks(RESOLVE_AT_ONCE);
        self.core.print_diagnostics(MESSAGES_AT_ONCE);
        if self.core.members.have_lost_events(&self.core.tracer) {
            let _ = self.resynchronize();
        }
        self.source.tick(&mut self.core);
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

    fn snapshot(&mut self, last: bool) -> Result<Profile> {
        let requested = Instant::now();
        let step = Step::new("measuring");
        if last {
            self.freeze();
        }
        self.source.drain(&mut self.core)?;
        self.core.resolve_new_stacks(usize::MAX);
        let elapsed = self.core.elapsed();
        self.source.measure(&mut self.core)?;
        let mut build = Builder::new(self.meta(elapsed, last));
        let subjects = self.subjects(&mut build);
        let mut out = Snapshot::new(build, self.selection, subjects);
        self.source.write(&mut self.core, &mut out)?;
        let mut profile = out.finish().finish();
        let losses = self.core.tracer.losses()?;
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
        self.source.announce_leaving();
        let step = Step::new("removing the probes");
        let detaching = Instant::now();
        self.core.tracer.links().0.detach();
        drop(step);
        self.core.print_diagnostics(usize::MAX);
        self.core.log.timing("detaching", detaching);
    }
}

impl From<Exit> for CommandExit {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self::Code(code),
            Exit::Signal(signal) => Self::Signal(signal),
        }
    }
}

/// How probes are attached on this kernel. `MEMLENS_ATTACH=multi` forces the way of kernels without sessions, `perf` that of
/// older ones, for tests.
pub fn method(facts: &Facts) -> Method {
    let forced = std::env::var_os("MEMLENS_ATTACH");
    let forced = forced.as_deref().and_then(std::ffi::OsStr::to_str);
    if forced == Some("perf") || !preflight::uprobe_multi_pid_filter_counts_threads(&facts.kernel) {
        Method::PerfEvents
    } else if forced == Some("multi") || !preflight::has_uprobe_session(&facts.kernel) {
        Method::UprobeMulti
    } else {
        Method::UprobeSession
    }
}

/// An unwinder with the tables of what the targets have mapped, or are about to map.
fn prepared_unwinder(bytes: u64, targets: &Targets) -> Unwinder {
    let step = Step::new("building unwind tables");
    let mut unwinder = Unwinder::new(bytes);
    match &targets.command {
        Some((_, files)) => unwinder.want_files(files),
        None => targets
            .processes
            .iter()
            .for_each(|process| unwinder.want(process.pid)),
    }
    unwinder.finish(&step);
    unwinder
}

/// An unwinder with the tables begun of what the scope's processes have mapped.
fn expecting_unwinder(bytes: u64, members: &Members) -> Unwinder {
    let mut unwinder = Unwinder::new(bytes);
    let pids = info::all_pids().unwrap_or_default();
    for pid in pids.into_iter().filter(|pid| members.is_about(*pid)) {
        // A process that has ended meanwhile needs none.
        if let Ok(maps) = maps::read(pid) {
            unwinder.expect(pid, &maps);
        }
    }
    unwinder
}

/// The error for a process that ended while it was looked at.
fn gone(pid: u32) -> Option<anyhow::Error> {
    let error = info::read(pid).err()?;
    Some(anyhow::anyhow!(
        "{error} while it was being attached; check the PID and try again"
    ))
}

/// Lets us open as many files as the administrator allows at all: links, and every file with code on the host.
fn allow_many_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // If it fails, files that cannot be opened are reported one by one.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}
