//! What goes on while a trace runs: processes that come, change and go, and stacks that are new.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tracer_common::key::Owner;

use super::{Leaks, code_of};
use crate::process::info;
use crate::report::{CommandExit, ProcessState};
use crate::session::attach::Placed;
use crate::session::interrupt::Interrupt;
use crate::session::output::Reader;
use crate::session::progress::{Step, clear_echo};
use crate::session::ticks::{is_last_due, ticks};
use crate::session::watch::{Change, Image, Program};
use crate::session::{error, start, unwind};

/// How often new stacks are looked up, so that their names are known when the process ends; and, on a whole host, what the
/// probes cost.
const TICK: Duration = Duration::from_millis(100);
/// Stacks looked up at one go, so that exits and Ctrl-C are not kept waiting.
const RESOLVE_AT_ONCE: usize = 64;
/// Diagnostic messages printed at one go, so that the trace goes on where there are many.
const MESSAGES_AT_ONCE: usize = 1_000;

impl Leaks<'_> {
    /// Reports until there is nothing more to trace, enough reports have been made or the user ends it.
    pub(super) async fn follow(&mut self, interrupt: Interrupt) -> Result<()> {
        if self.watch(interrupt).await? == Reader::Gone {
            self.leave();
            return Ok(());
        }
        self.tracer.disable();
        let printed = self.report(true);
        self.leave();
        printed.map(drop)
    }

    /// Goes on until the last report is due, or nobody wants it any more.
    pub(in crate::session) async fn watch(&mut self, mut interrupt: Interrupt) -> Result<Reader> {
        let mut reports = ticks(self.config.interval);
        let mut tick = ticks(TICK);
        loop {
            tokio::select! {
                biased;
                () = interrupt.wait() => break,
                changes = self.watcher.changes() => {
                    self.apply(changes.context("cannot wait for process events")?);
                    if self.host.is_none() && self.watcher.running() == 0 {
                        break;
                    }
                }
                () = unwind::ready(&self.unwinder) => self.publish_arrived(),
                _ = reports.tick() => {
                    if is_last_due(self.reports, self.config.count) {
                        break;
                    }
                    if self.report(false)? == Reader::Gone {
                        return Ok(Reader::Gone);
                    }
                }
                _ = tick.tick() => self.tick(),
            }
        }
        if interrupt.is_set() {
            clear_echo();
            self.wait_for_command().await;
            // A target may have ended just before.
            let changes = self.watcher.collect();
            self.apply(changes);
        }
        Ok(Reader::Listening)
    }

    /// What is to be done all the time.
    fn tick(&mut self) {
        self.log.messages(&mut self.diagnostics, MESSAGES_AT_ONCE);
        if self.host.is_some() {
            self.repair_lost_events();
            self.watch_cost();
        } else {
            self.resolve_new_stacks(RESOLVE_AT_ONCE);
        }
    }

    /// Takes the probes off.
    pub(super) fn leave(&mut self) {
        start::announce_detaching(self.method, &self.prober);
        let step = Step::new("taking the probes off");
        let detaching = Instant::now();
        self.tracer.links().0.detach();
        drop(step);
        self.log.messages(&mut self.diagnostics, usize::MAX);
        self.log.timing("detaching", detaching);
    }

    /// A Ctrl-C goes to the command as well: its end belongs to the trace.
    async fn wait_for_command(&mut self) {
        let until = tokio::time::Instant::now() + start::COMMAND_GRACE;
        while self.command.is_some()
            && let Some(changes) = self.watcher.changes_by(until).await
        {
            self.apply(changes);
        }
    }

    /// Follows the processes through exec, exit and new mappings.
    fn apply(&mut self, changes: Vec<Change>) {
        if self.host.is_some() {
            return self.apply_on_host(changes);
        }
        let mut look = BTreeSet::new();
        for change in changes {
            self.log.event(|| change.words());
            match change {
                Change::Load(pid, _) => self.loading(pid),
                Change::Map(pid, mapping) => {
                    look.insert(pid);
                    match self.running(pid) {
                        Some(code) => self.symbolizer.observe(code, mapping),
                        None => self.loaded.entry(pid).or_default().push(mapping),
                    }
                }
                Change::Look(pid) => drop(look.insert(pid)),
                Change::Exec(new) => self.replaced(new),
                Change::Unload(code) => self.unloading(code),
                Change::Exit(pid) => self.ended(pid),
                // Of traces of the whole host alone.
                Change::Admitted(..) | Change::Ended(_) | Change::Lost => {}
            }
        }
        for pid in look {
            self.look_again(pid);
        }
    }

    /// The present code of a process that runs.
    pub(super) fn running(&self, pid: u32) -> Option<Owner> {
        Image::running(&self.images, pid).map(Image::code)
    }

    /// A library goes: what is known of the code so far holds for the stacks so far.
    pub(super) fn unloading(&mut self, code: Owner) {
        if let Some(old) = self.running(code.tgid) {
            self.symbolizer.seal(old);
        }
        self.resolve_new_stacks(usize::MAX);
        for image in self
            .images
            .iter_mut()
            .filter(|image| image.owner.tgid == code.tgid)
        {
            if image.state == ProcessState::Running {
                image.code = code.image;
            }
        }
        self.look_again(code.tgid);
    }

    /// The process begins to load another program: what it maps from now on is the new one's.
    fn loading(&mut self, pid: u32) {
        self.close(pid, ProcessState::Replaced);
        self.resolve_new_stacks(usize::MAX);
        self.loaded.insert(pid, Vec::new());
    }

    /// A program is over.
    pub(super) fn close(&mut self, pid: u32, state: ProcessState) {
        for image in self
            .images
            .iter_mut()
            .filter(|image| image.owner.tgid == pid)
        {
            if image.state == ProcessState::Running {
                image.state = state;
                self.symbolizer.seal(image.code());
            }
        }
    }

    fn replaced(&mut self, new: Program) {
        let owner = new.owner;
        self.close(owner.tgid, ProcessState::Replaced);
        self.resolve_new_stacks(usize::MAX);
        let mappings = self.loaded.remove(&owner.tgid).unwrap_or_default();
        self.images.push(Image::new(owner, new.comm));
        for mapping in mappings {
            self.symbolizer.observe(owner, mapping);
        }
        self.look_again(owner.tgid);
    }

    fn ended(&mut self, pid: u32) {
        self.resolve_new_stacks(usize::MAX);
        let image = self.images.iter().rfind(|image| image.owner.tgid == pid);
        // The end of a command is in the report.
        if let (Some(image), None) = (image, &self.command) {
            eprintln!("memlens: process {pid} ({}) has exited", image.comm);
        }
        self.close(pid, ProcessState::Exited);
        if let Some(unwinder) = &mut self.unwinder {
            for pid in unwinder.release(&mut self.tracer, pid) {
                unwinder.publish(&mut self.tracer, pid);
            }
        }
        if let Some(command) = self.command.as_mut().filter(|command| command.pid == pid) {
            self.command_exit = command.wait().ok().map(CommandExit::from);
        }
    }

    /// Looks at what a process has mapped by now.
    pub(super) fn look_again(&mut self, pid: u32) {
        if self.host.is_some() {
            return self.look_again_on_host(pid);
        }
        if let Some(code) = self.running(pid) {
            self.publish_mappings(pid);
            // If it has ended meanwhile, the mapping events have told what there was.
            let _ = self.symbolizer.snapshot(code);
            self.attach_new(pid);
        }
    }

    /// Lets stacks be walked through the files whose tables have been built.
    fn publish_arrived(&mut self) {
        let Some(unwinder) = &mut self.unwinder else {
            return;
        };
        for pid in unwinder.collect(&mut self.tracer) {
            match self.host {
                Some(_) => self.look_again_on_host(pid),
                None => self.publish_mappings(pid),
            }
        }
    }

    /// Lets stacks be walked through what a process has mapped by now.
    fn publish_mappings(&mut self, pid: u32) {
        if let Some(unwinder) = &mut self.unwinder {
            unwinder.publish(&mut self.tracer, pid);
        }
    }

    /// Probes what a process has mapped since the last time.
    fn attach_new(&mut self, pid: u32) {
        match self.prober.attach_new(&mut self.tracer, pid) {
            Ok(placed) => self.note_late(pid, &placed),
            // It has ended meanwhile; its end is another event.
            Err(_) if info::read(pid).is_err() => {}
            Err(failure) => self.notes.push(format!(
                "process {pid}: {}",
                error::plain(&failure.to_string())
            )),
        }
    }

    fn note_late(&mut self, pid: u32, placed: &Placed) {
        for file in &placed.files {
            self.notes.push(format!(
                "{} was mapped by process {pid} during the trace: what it allocated in the first milliseconds was missed",
                file.path.display()
            ));
        }
        self.note_left_out();
    }

    pub(super) fn note_left_out(&mut self) {
        let notes = start::left_out_notes(&self.prober);
        self.notes.retain(|note| !notes.contains(note));
        self.notes.extend(notes);
    }

    /// Looks up the names in stacks that are new, while their process lives.
    pub(super) fn resolve_new_stacks(&mut self, most: usize) {
        if self.host.is_some() {
            // Of a host's stacks only those are looked up that a report shows.
            return self.take_in_new_stacks();
        }
        self.unresolved.extend(self.tracer.new_stacks());
        let now = most.min(self.unresolved.len());
        for row in self.unresolved.drain(..now) {
            if let Some(meta) = self.tracer.stack_meta(row) {
                let frames = self.tracer.stack_frames(&meta);
                self.symbolizer.resolve(code_of(&meta), &frames, true);
            }
        }
    }
}
