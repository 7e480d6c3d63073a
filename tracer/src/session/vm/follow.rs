//! What goes on while a trace of address spaces runs: calls, new programs, ends.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use tracer_common::faults::SpaceRecord;
use tracer_common::key::Owner;
use tracer_common::loss::Loss;

use super::Vm;
use super::account;
use crate::process::info;
use crate::report::{CommandExit, ProcessState};
use crate::session::interrupt::Interrupt;
use crate::session::output::Reader;
use crate::session::progress::clear_echo;
use crate::session::start::monotonic_ns;
use crate::session::ticks::{is_last_due, ticks};
use crate::session::watch::{Change, Image};
use crate::session::{start, unwind};

/// How often the ring is emptied and new stacks are looked up.
const TICK: Duration = Duration::from_millis(20);
/// Stacks looked up at one go, so that exits and Ctrl-C are not kept waiting.
const RESOLVE_AT_ONCE: usize = 64;
/// Events kept of a program whose `exec` has not been told: it is told within milliseconds.
const MOST_EARLY: usize = 65_536;

impl Vm<'_> {
    /// Reports until there is nothing more to trace, enough reports have been made or the user ends it.
    pub(super) async fn follow(&mut self, interrupt: Interrupt) -> Result<()> {
        if self.watch(interrupt).await? == Reader::Gone {
            return Ok(());
        }
        let printed = self.report(true);
        self.tracer.disable();
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
                // Before the changes: a program that replaces itself again and again may make more of them than are taken in.
                _ = reports.tick() => {
                    if is_last_due(self.reports, self.config.count) {
                        break;
                    }
                    if self.report(false)? == Reader::Gone {
                        return Ok(Reader::Gone);
                    }
                }
                changes = self.watcher.changes() => {
                    self.apply(changes.context("cannot wait for process events")?);
                    if self.host.is_none() && self.watcher.running() == 0 {
                        break;
                    }
                }
                () = unwind::ready(&self.unwinder) => self.publish_arrived(),
                _ = tick.tick() => self.tick(),
                ready = self.events.readable() => ready?.clear_ready(),
            }
            self.drain();
            self.look_at_the_awake();
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

    fn tick(&mut self) {
        self.drain();
        self.resolve_new_stacks(RESOLVE_AT_ONCE);
        if self.host.is_some() {
            self.repair_lost_events();
        }
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

    /// Takes in the calls that were told by now, and no later ones: a program may make them faster than they are taken in.
    pub(super) fn drain(&mut self) {
        let now = monotonic_ns();
        let mut is_over = false;
        while !is_over && let Some(record) = self.events.get_mut().take_next() {
            is_over = record.time_ns() > now;
            self.take_in(&record);
        }
        if let Some(faults) = &mut self.faults {
            faults.measure(now);
        }
    }

    /// Takes in a call, a fork or a page fault.
    pub(super) fn take_in(&mut self, record: &SpaceRecord) {
        let owner = record.owner();
        let Some(account) = self.accounts.get_mut(&owner) else {
            let early = self.early.entry(owner).or_default();
            if early.len() < MOST_EARLY {
                early.push(*record);
            }
            return;
        };
        if account.over {
            return;
        }
        match record {
            SpaceRecord::Call(event) => match event.child() {
                Some(child) => {
                    let account = account.fork(child, event.left_ns);
                    self.accounts.insert(child, account);
                }
                None => {
                    if account.calls == 0 {
                        self.awake.push(owner.tgid);
                    }
                    account.apply(event, self.huge_page);
                }
            },
            SpaceRecord::Fault(event) => {
                if let Some(faults) = &mut self.faults
                    && faults.apply(event, &account.space)
                {
                    self.awake.push(owner.tgid);
                }
            }
        }
    }

    /// Processes of a whole host have made their first call since the trace began: from now on their stacks are worth a look.
    fn look_at_the_awake(&mut self) {
        for pid in std::mem::take(&mut self.awake) {
            if self.host.is_some() {
                self.look_again(pid);
            }
        }
    }

    /// Holds the accounts of programs against their maps.
    pub(super) fn reconcile(&mut self, owners: impl IntoIterator<Item = Owner>) {
        let differences = account::reconcile(
            self,
            owners,
            |vm, owner| match vm.tracer.is_present(owner) {
                true => vm.accounts.get_mut(&owner),
                // It has replaced its program: the maps are of another one.
                false => None,
            },
            |vm| vm.drain(),
            |vm| vm.lost(),
        );
        for (owner, difference) in differences {
            self.log
                .event(|| format!("process {}: {difference}", owner.tgid));
        }
    }

    /// Events that were lost, of all programs.
    pub(super) fn lost(&self) -> u64 {
        [Loss::SpaceRingFull, Loss::NoThreadState]
            .into_iter()
            .filter_map(|loss| self.tracer.loss(loss).ok())
            .sum()
    }

    /// Follows the processes through exec, exit and new code.
    fn apply(&mut self, changes: Vec<Change>) {
        if self.host.is_some() {
            return self.apply_on_host(changes);
        }
        let mut look = BTreeSet::new();
        for change in changes {
            self.log.event(|| change.words());
            match change {
                Change::Load(pid, comm) => {
                    self.close(pid, ProcessState::Replaced);
                    self.loading.insert(pid, (comm, Vec::new()));
                }
                Change::Map(pid, mapping) => match self.running(pid) {
                    Some(code) => {
                        self.symbolizer.observe(code, mapping);
                        look.insert(pid);
                    }
                    None => self.loading.entry(pid).or_default().1.push(mapping),
                },
                Change::Look(pid) => drop(look.insert(pid)),
                Change::Exec(new) => self.replaced(new.owner),
                Change::Exit(pid) => self.ended(pid),
                // No probe is placed on the loader, and the whole host is not traced.
                Change::Unload(_) | Change::Admitted(..) | Change::Ended(_) | Change::Lost => {}
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

    /// Looks at the code that a process has mapped by now.
    pub(super) fn look_again(&mut self, pid: u32) {
        let Some(code) = self.running(pid) else {
            return;
        };
        if self.host.is_some() {
            self.publish_on_host(pid);
        } else if let Some(unwinder) = &mut self.unwinder {
            unwinder.publish(&mut self.tracer, pid);
        }
        // If it has ended meanwhile, the mapping events have told what there was.
        let _ = self.symbolizer.snapshot(code);
    }

    /// A program is over.
    fn close(&mut self, pid: u32, state: ProcessState) {
        self.drain();
        self.resolve_new_stacks(usize::MAX);
        if let Some(faults) = &mut self.faults {
            faults.close(pid);
        }
        for image in &mut self.images {
            if image.owner.tgid == pid && image.state == ProcessState::Running {
                image.state = state;
                self.symbolizer.seal(image.code());
                if let Some(account) = self.accounts.get_mut(&image.owner) {
                    account.over = true;
                }
            }
        }
    }

    /// A process has replaced its program, and its address space with it.
    fn replaced(&mut self, owner: Owner) {
        self.close(owner.tgid, ProcessState::Replaced);
        self.images.retain(|image| image.owner.tgid != owner.tgid);
        self.accounts.retain(|other, _| other.tgid != owner.tgid);
        if let Some(faults) = &mut self.faults {
            faults.forget(owner.tgid);
        }
        let (mut comm, mappings) = self.loading.remove(&owner.tgid).unwrap_or_default();
        if comm.is_empty() {
            comm = info::read(owner.tgid).map_or_else(|_| "?".to_owned(), |info| info.comm);
        }
        self.images.push(Image::new(owner, comm));
        for mapping in mappings {
            self.symbolizer.observe(owner, mapping);
        }
        self.open_account(owner, true);
        self.look_again(owner.tgid);
    }

    fn ended(&mut self, pid: u32) {
        let image = self.images.iter().rfind(|image| image.owner.tgid == pid);
        // The end of a command is in the report.
        if let (Some(image), None, false) = (image, &self.command, self.quiet) {
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

    /// Lets stacks be walked through the files whose tables have been built.
    fn publish_arrived(&mut self) {
        if let Some(unwinder) = &mut self.unwinder {
            for pid in unwinder.collect(&mut self.tracer) {
                match self.host {
                    Some(_) => self.awake.push(pid),
                    None => unwinder.publish(&mut self.tracer, pid),
                }
            }
        }
    }

    /// Looks up the names in stacks that are new, while their process lives.
    pub(super) fn resolve_new_stacks(&mut self, most: usize) {
        if self.host.is_some() {
            // Of a host's stacks only those are looked up that a report shows.
            self.tracer.new_stacks();
            return;
        }
        self.unresolved.extend(self.tracer.new_stacks());
        let now = most.min(self.unresolved.len());
        for row in self.unresolved.drain(..now) {
            if let Some(meta) = self.tracer.stack_meta(row) {
                let frames = self.tracer.stack_frames(&meta);
                let code = Owner {
                    tgid: meta.owner.tgid,
                    image: meta.code,
                };
                self.symbolizer
                    .resolve(code, &frames, meta.first_is_return());
            }
        }
    }
}
