//! What happens to the programs of a trace: they map code, replace one another, come and end.

use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use anyhow::Result;
use tracer_common::key::Owner;

use super::Trace;
use crate::engine::core::Over;
use crate::engine::ended::is_short_lived;
use crate::engine::member::Member;
use crate::engine::members::out_of_step::OutOfStep;
use crate::engine::source::Source;
use crate::engine::watch::{Change, Program};
use crate::process::command::Exit;
use crate::process::maps::Mapping;
use crate::profile::{CommandExit, EndedProcess, State, Values};
use crate::words;

/// Programs that wait to be swept, before a sweep is worth while.
const SWEEP_AT: usize = 512;

impl<S: Source> Trace<S> {
    /// Follows the processes through exec, exit and new mappings.
    pub(super) fn apply(&mut self, changes: Vec<Change>) -> Result<()> {
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
                Change::Load(pid, command) => {
                    self.source.loading(&mut self.core, pid);
                    self.loading(pid, command)?;
                }
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
                Change::Forked(parent, child) => self.source.forked(&mut self.core, parent, child),
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
        self.source.exited(&mut self.core, pid);
        self.core.release_tables(pid);
        if let Some(command) = self.command.as_mut().filter(|command| command.pid == pid) {
            self.command_exit = command.wait().ok().map(CommandExit::from);
        }
        Ok(())
    }

    /// A named process has a child that is traced, too, in this row of the process table.
    fn born(&mut self, new: &Program, row: u32) -> Result<()> {
        let owner = new.owner;
        if self.core.members.get(owner).is_some() {
            return Ok(());
        }
        let at = self.core.elapsed();
        self.core.members.add(owner, row, new.comm.clone(), at);
        // Probes first: what it calls until then is missed.
        self.source
            .born(&mut self.core, owner, new.parent, new.at_ns);
        let loaded = self.core.members.loaded(owner.tgid);
        self.begin(owner, loaded.mappings, true);
        self.look(owner.tgid);
        match self.core.watcher.add(owner.tgid) {
            Ok(()) => Ok(()),
            // It has ended already.
            Err(_) => self.exited(owner.tgid),
        }
    }

    /// A process of a scope has come, in this row of the process table: at its first call, by a fork, or by an `exec`.
    fn admitted(&mut self, new: &Program, row: u32) -> Result<()> {
        if !self.core.members.come_by_themselves() {
            return self.born(new, row);
        }
        // What happened before its admission is taken in first.
        self.source.drain(&mut self.core)?;
        let owner = new.owner;
        if self.core.members.row(owner).is_some() {
            return Ok(()); // it was met when all that ran were
        }
        let at = self.core.elapsed();
        let loaded = self.core.members.loaded(owner.tgid);
        if !self.core.members.admit(&self.core.tracer, new, row, at) {
            self.source.passed_over(&mut self.core, owner);
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
            self.source.passed_over(&mut self.core, owner);
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
            self.core.log.line(words::ended::sentence(&ended));
        }
        self.core.ended.add(ended);
    }

    /// Gives the rows of programs that are over back, but for stacks that are still referred to.
    pub(super) fn sweep(&mut self) {
        let over = std::mem::take(&mut self.core.over);
        let mut owners: HashSet<Owner> = std::mem::take(&mut self.core.referred);
        owners.extend(over.iter().map(|over| over.owner));
        if let Err(error) = self.source.sweep(&mut self.core, &owners) {
            self.core.notes.add(format!(
                "figures of processes that ended are still counted: {error}"
            ));
            return;
        }
        if owners.is_empty() {
            return;
        }
        let referred = self.source.referred_rows();
        let rows = self
            .core
            .tracer
            .stack_rows_of(|owner| owners.contains(&owner))
            .into_iter();
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
            if let Err(error) = self.core.runtimes.forget(&self.core.tracer, *owner) {
                self.core.notes.add(error.to_string());
            }
        }
        for row in over.iter().filter_map(|over| over.row) {
            if let Err(error) = self.core.tracer.release_process(row) {
                self.core.notes.add(error.to_string());
            }
        }
    }

    /// Repairs what is known of the processes after events were lost: the process table itself has it.
    pub(super) fn resynchronize(&mut self) -> Result<()> {
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
}

impl From<Exit> for CommandExit {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self::Code(code),
            Exit::Signal(signal) => Self::Signal(signal),
        }
    }
}
