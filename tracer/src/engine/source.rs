//! What a source adds to a trace of processes: programs, events, and its part of the profile.

use std::collections::HashSet;
use std::path::PathBuf;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::Result;
use tracer_common::key::Owner;

use super::core::Core;
use super::run::Flow;
use super::snapshot::Snapshot;
use crate::bpf::{Method, Settings};
use crate::process::maps::Mapping;
use crate::profile::{Measure, Subject, Values};

/// Work that is done in another thread.
pub type Work = Box<dyn FnOnce() + Send>;

/// A source of a trace of processes. Every method has a default that does nothing but those that each source must have.
pub trait Source {
    /// How often [`Self::tick`] is due, and the ring is emptied that does not fill by itself.
    fn period(&self) -> Duration {
        Duration::from_millis(20)
    }

    /// Sets what the source needs of the kernel side; `in_scope` where processes come by themselves.
    fn configure(&self, settings: &mut Settings, in_scope: bool);

    /// Whether a process of a scope is to be followed, as far as the source knows: unwind tables of others can wait.
    fn wants(&self, _pid: u32) -> bool {
        true
    }

    /// Attaches the source's own programs and takes its rings. Nothing is counted yet.
    ///
    /// # Errors
    /// What the kernel refuses.
    fn load(&mut self, _core: &mut Core) -> Result<()> {
        Ok(())
    }

    /// Places what the source needs in a named process; `files` are what a command is about to map.
    ///
    /// # Errors
    /// Why this process cannot be traced.
    fn attach(&mut self, _core: &mut Core, _pid: u32, _files: Option<&[PathBuf]>) -> Result<()> {
        Ok(())
    }

    /// Places what the source needs in all processes of a scope.
    ///
    /// # Errors
    /// Why nothing can be traced.
    fn attach_all(&mut self, _core: &mut Core) -> Result<()> {
        Ok(())
    }

    /// Counting has begun, in a scope: takes in the processes that run, where they do not come by themselves.
    ///
    /// # Errors
    /// Why that is not possible.
    fn begun(&mut self, _core: &mut Core) -> Result<()> {
        Ok(())
    }

    /// What is traced, in words: "process 4242 (nginx): 12 functions in libc.so.6".
    fn summary(&self, core: &Core) -> String;

    /// What `-v` adds about what was set up.
    fn details(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether the source's ring can be read; wakes the task when it can.
    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Pending
    }

    /// Takes in the events that have been sent by now.
    ///
    /// # Errors
    /// Those of standard output, where the source prints its events.
    fn drain(&mut self, _core: &mut Core) -> Result<Flow> {
        Ok(Flow::On)
    }

    /// Processes have mapped code, at `since` or later; `all` where records of that were lost.
    fn mapped(
        &mut self,
        _core: &mut Core,
        _mapped: &[(u32, Mapping)],
        _since: Instant,
        _all: bool,
    ) {
    }

    /// A process may have new code mapped.
    fn look(&mut self, _core: &mut Core, _pid: u32) {}

    /// A program begins to be traced; `is_new` if nothing of it was missed.
    fn joined(&mut self, _core: &mut Core, _owner: Owner, _is_new: bool) {}

    /// A program that the trace is not about has come, or has ended.
    fn passed_over(&mut self, _core: &mut Core, _owner: Owner) {}

    /// A process of a scope begins to run another program.
    fn loading(&mut self, _core: &mut Core, _pid: u32) {}

    /// A named process has a child that is traced as well, since this time of `CLOCK_MONOTONIC`.
    fn born(&mut self, _core: &mut Core, _owner: Owner, _parent: u32, _at_ns: u64) {}

    /// A traced process has started one that is not traced, with a copy of its memory.
    fn forked(&mut self, _core: &mut Core, _parent: Owner, _child: u32) {}

    /// The program that runs in a process is over; its figures are still to be had.
    fn closing(&mut self, _core: &mut Core, _owner: Owner) {}

    /// A named process has ended.
    fn exited(&mut self, _core: &mut Core, _pid: u32) {}

    /// A named process has replaced this program.
    fn replaced(&mut self, _core: &mut Core, _old: Owner) {}

    /// A program of a scope is over, and its process too if its `row` is given: what it held, where that is worth a
    /// word.
    fn left(&mut self, _core: &mut Core, _owner: Owner, _row: Option<u32>) -> Option<Values> {
        None
    }

    /// What is to be done all the time.
    fn tick(&mut self, _core: &mut Core) {}

    /// Drops what belongs to programs that are over.
    ///
    /// # Errors
    /// Why their rows cannot be given back.
    fn sweep(&mut self, _core: &mut Core, _over: &HashSet<Owner>) -> Result<()> {
        Ok(())
    }

    /// Rows of stacks that are still referred to, although their program may be over.
    fn referred_rows(&self) -> HashSet<u32> {
        HashSet::new()
    }

    /// Nothing is counted after this.
    fn freeze(&mut self, _core: &mut Core) {}

    /// What the next report needs and takes long. It is done in another thread, while the trace goes on.
    fn work(&mut self, _core: &mut Core, _last: bool) -> Option<Work> {
        None
    }

    /// Reads the figures of this moment.
    ///
    /// # Errors
    /// What kept them from being read.
    fn measure(&mut self, core: &mut Core) -> Result<()>;

    /// Adds a program's figures; whether there is anything to report of it.
    fn describe(&mut self, core: &mut Core, owner: Owner, subject: &mut Subject) -> bool;

    /// What the subjects are ordered by, most first.
    fn ranked_by(&self) -> &'static [Measure];

    /// Writes samples and sections.
    ///
    /// # Errors
    /// What kept the figures from being read.
    fn write(&mut self, core: &mut Core, out: &mut Snapshot) -> Result<()>;

    /// Sentences about what the figures do not cover, as of now; those that stay as they are belong to the trace's
    /// notes.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether its figures are exact, losses that are counted aside.
    fn is_exact(&self) -> bool {
        true
    }

    /// Says that removing its probes will take a while, where it will.
    fn announce_leaving(&self, _method: Method) {}
}

/// Two sources of one trace.
impl<A: Source, B: Source> Source for (A, B) {
    fn period(&self) -> Duration {
        self.0.period().min(self.1.period())
    }

    fn configure(&self, settings: &mut Settings, in_scope: bool) {
        self.0.configure(settings, in_scope);
        self.1.configure(settings, in_scope);
    }

    fn wants(&self, pid: u32) -> bool {
        self.0.wants(pid) || self.1.wants(pid)
    }

    fn load(&mut self, core: &mut Core) -> Result<()> {
        self.0.load(core)?;
        self.1.load(core)
    }

    fn attach(&mut self, core: &mut Core, pid: u32, files: Option<&[PathBuf]>) -> Result<()> {
        self.0.attach(core, pid, files)?;
        self.1.attach(core, pid, files)
    }

    fn attach_all(&mut self, core: &mut Core) -> Result<()> {
        self.0.attach_all(core)?;
        self.1.attach_all(core)
    }

    fn begun(&mut self, core: &mut Core) -> Result<()> {
        self.0.begun(core)?;
        self.1.begun(core)
    }

    fn summary(&self, core: &Core) -> String {
        format!("{}; {}", self.0.summary(core), self.1.summary(core))
    }

    fn details(&self) -> Vec<String> {
        [self.0.details(), self.1.details()].concat()
    }

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.0.poll_ready(context) {
            Poll::Pending => self.1.poll_ready(context),
            ready => ready,
        }
    }

    fn drain(&mut self, core: &mut Core) -> Result<Flow> {
        match self.0.drain(core)? {
            Flow::On => self.1.drain(core),
            over => Ok(over),
        }
    }

    fn mapped(&mut self, core: &mut Core, mapped: &[(u32, Mapping)], since: Instant, all: bool) {
        self.0.mapped(core, mapped, since, all);
        self.1.mapped(core, mapped, since, all);
    }

    fn look(&mut self, core: &mut Core, pid: u32) {
        self.0.look(core, pid);
        self.1.look(core, pid);
    }

    fn joined(&mut self, core: &mut Core, owner: Owner, is_new: bool) {
        self.0.joined(core, owner, is_new);
        self.1.joined(core, owner, is_new);
    }

    fn passed_over(&mut self, core: &mut Core, owner: Owner) {
        self.0.passed_over(core, owner);
        self.1.passed_over(core, owner);
    }

    fn loading(&mut self, core: &mut Core, pid: u32) {
        self.0.loading(core, pid);
        self.1.loading(core, pid);
    }

    fn born(&mut self, core: &mut Core, owner: Owner, parent: u32, at_ns: u64) {
        self.0.born(core, owner, parent, at_ns);
        self.1.born(core, owner, parent, at_ns);
    }

    fn forked(&mut self, core: &mut Core, parent: Owner, child: u32) {
        self.0.forked(core, parent, child);
        self.1.forked(core, parent, child);
    }

    fn closing(&mut self, core: &mut Core, owner: Owner) {
        self.0.closing(core, owner);
        self.1.closing(core, owner);
    }

    fn exited(&mut self, core: &mut Core, pid: u32) {
        self.0.exited(core, pid);
        self.1.exited(core, pid);
    }

    fn replaced(&mut self, core: &mut Core, old: Owner) {
        self.0.replaced(core, old);
        self.1.replaced(core, old);
    }

    fn left(&mut self, core: &mut Core, owner: Owner, row: Option<u32>) -> Option<Values> {
        match (self.0.left(core, owner, row), self.1.left(core, owner, row)) {
            (Some(mut one), Some(other)) => {
                one.add(&other);
                Some(one)
            }
            (one, other) => one.or(other),
        }
    }

    fn tick(&mut self, core: &mut Core) {
        self.0.tick(core);
        self.1.tick(core);
    }

    fn sweep(&mut self, core: &mut Core, over: &HashSet<Owner>) -> Result<()> {
        self.0.sweep(core, over)?;
        self.1.sweep(core, over)
    }

    fn referred_rows(&self) -> HashSet<u32> {
        &self.0.referred_rows() | &self.1.referred_rows()
    }

    fn freeze(&mut self, core: &mut Core) {
        self.0.freeze(core);
        self.1.freeze(core);
    }

    fn work(&mut self, core: &mut Core, last: bool) -> Option<Work> {
        match (self.0.work(core, last), self.1.work(core, last)) {
            (Some(one), Some(other)) => Some(Box::new(move || {
                one();
                other();
            })),
            (one, other) => one.or(other),
        }
    }

    fn measure(&mut self, core: &mut Core) -> Result<()> {
        self.0.measure(core)?;
        self.1.measure(core)
    }

    fn describe(&mut self, core: &mut Core, owner: Owner, subject: &mut Subject) -> bool {
        let one = self.0.describe(core, owner, subject);
        self.1.describe(core, owner, subject) || one
    }

    fn ranked_by(&self) -> &'static [Measure] {
        self.0.ranked_by()
    }

    fn write(&mut self, core: &mut Core, out: &mut Snapshot) -> Result<()> {
        self.0.write(core, out)?;
        self.1.write(core, out)
    }

    fn notes(&self) -> Vec<String> {
        [self.0.notes(), self.1.notes()].concat()
    }

    fn is_exact(&self) -> bool {
        self.0.is_exact() && self.1.is_exact()
    }

    fn announce_leaving(&self, method: Method) {
        self.0.announce_leaving(method);
        self.1.announce_leaving(method);
    }
}
