//! The programs of a whole-host trace: each has an account from the moment it is known, and leaves what it held behind.

use std::collections::HashSet;

use tracer_common::key::Owner;

use super::super::account::Account;
use super::super::faults::Faults;
use super::super::{Vm, maps_of};
use crate::report::space::SpaceHeld;
use crate::session::over::{self, Over, is_time_to_sweep};
use crate::session::watch::{Image, Program};
use crate::space::{Kind, Origin};

impl Vm<'_> {
    /// A program has come, in this row of the process table: by a fork, by an `exec`, or at its first call.
    pub(super) fn admitted(&mut self, new: Program, row: u32) {
        let at = self.started.elapsed();
        // What was forked is told before its admission is.
        self.drain();
        let owner = new.owner;
        let Some(host) = &mut self.host else { return };
        if host.people.row(owner).is_some() {
            return; // it was met when all that ran were
        }
        let Some(member) = host.people.admit(&self.tracer, &new, row, at) else {
            self.accounts.remove(&owner);
            self.early.remove(&owner);
            return;
        };
        let is_new = member.started_in_trace;
        self.images.push(Image::new(owner, new.comm));
        if !self.accounts.contains_key(&owner) {
            let lost = self.lost();
            self.begin_account(owner, &maps_of(owner), is_new, lost);
        } else if let Some(faults) = &mut self.faults {
            faults.begin(owner);
        }
        self.begin_rates(owner);
    }

    /// A process has replaced its program; the row stays.
    pub(super) fn replaced_on_host(&mut self, new: Program) {
        self.drain();
        let Some(host) = &mut self.host else { return };
        let (old, row) = host.people.replaced(&mut self.tracer, new.owner);
        if let Some(old) = old {
            self.over(old, None);
        }
        if let Some(row) = row {
            self.admitted(new, row);
        }
    }

    /// A process has ended.
    pub(super) fn ended_on_host(&mut self, owner: Owner) {
        self.drain();
        let Some(host) = &mut self.host else { return };
        let Some(row) = host.people.forget_row(owner) else {
            self.accounts.remove(&owner);
            return;
        };
        self.over(owner, Some(row));
        self.sweep_if_needed();
    }

    /// A program is over: with its process what it held is remembered; its rows are to be swept.
    fn over(&mut self, owner: Owner, row: Option<u32>) {
        // Rows are known by their owner once they were taken in.
        self.tracer.new_stacks();
        let at = self.started.elapsed();
        let account = self.accounts.remove(&owner);
        self.mapped_before.programs.remove(&owner);
        if let Some(faults) = &mut self.faults {
            faults.forget(owner.tgid);
        }
        let Some(host) = &mut self.host else { return };
        if let (Some(member), Some(_)) = (host.people.remove(owner), row) {
            let held = account.as_ref().map(held).unwrap_or_default();
            over::remember(&mut host.ended, owner, member, at, held);
        }
        host.over.push(Over { owner, row });
        for image in self.images.iter().filter(|image| image.owner == owner) {
            self.symbolizer.seal(image.code());
        }
        self.images.retain(|image| image.owner != owner);
        if row.is_some() {
            self.release_tables(owner.tgid);
        }
    }

    /// A process has ended: others may have the room of the tables that it alone has used.
    fn release_tables(&mut self, pid: u32) {
        if let Some(unwinder) = &mut self.unwinder {
            let others = unwinder.release(&mut self.tracer, pid);
            self.awake.extend(others);
        }
    }

    /// Sweeps when there is much to sweep, or little room left.
    fn sweep_if_needed(&mut self) {
        let over = self.host.as_ref().map_or(0, |host| host.over.len());
        if is_time_to_sweep(over, &self.tracer) {
            self.sweep();
        }
    }

    /// Gives the rows of programs that are over back, but for stacks that ranges of a forked child still refer to.
    pub(in crate::session::vm) fn sweep(&mut self) {
        self.forget_the_unknown();
        let Some(host) = &mut self.host else { return };
        let over = std::mem::take(&mut host.over);
        for row in over.iter().filter_map(|over| over.row) {
            if let Err(error) = self.tracer.release_process(row)
                && !self.notes.contains(&error.to_string())
            {
                self.notes.push(error.to_string());
            }
        }
        let mut owners = std::mem::take(&mut host.survived);
        owners.extend(over.iter().map(|over| over.owner));
        if owners.is_empty() {
            return;
        }
        let inherited = self.inherited_stacks();
        let is_over = |owner: Owner| owners.contains(&owner);
        let (kept, free): (Vec<u32>, Vec<u32>) = self
            .tracer
            .stack_rows_of(is_over)
            .into_iter()
            .partition(|row| inherited.contains(row));
        if let Err(error) = self.tracer.release_stack_rows(&free) {
            // The rows are lost for this trace: a table that fills is counted by itself.
            self.note_once(error.to_string());
        }
        let survived: HashSet<Owner> = kept
            .iter()
            .filter_map(|row| self.tracer.stack_meta(*row))
            .map(|meta| meta.owner)
            .collect();
        for owner in owners.difference(&survived) {
            self.symbolizer.forget(*owner);
        }
        if let Some(host) = &mut self.host {
            host.survived = survived;
        }
    }

    /// Rows of the stacks that ranges of forked children came by, in their parents; also those of ranges that were touched.
    fn inherited_stacks(&self) -> HashSet<u32> {
        let forked = self.accounts.values();
        let forked = forked.filter(|account| account.born_ns.is_some());
        forked
            .flat_map(|account| account.space.pieces().iter())
            .filter_map(|piece| match piece.origin {
                Origin::Call(row) => Some(row),
                Origin::Before | Origin::Found => None,
            })
            .chain(self.faults.iter().flat_map(Faults::mappers))
            .collect()
    }
}

/// What a program held at its end.
fn held(account: &Account) -> SpaceHeld {
    let mut held = SpaceHeld {
        unread: u64::from(!account.map_known),
        ..SpaceHeld::default()
    };
    for piece in account.space.pieces().iter() {
        held.mapped_bytes += piece.len();
        let inherited = account.born_ns.is_some_and(|born| piece.mapped_ns <= born);
        if matches!(piece.origin, Origin::Call(_)) && !inherited {
            held.called_bytes += piece.len();
            let is_memory = matches!(piece.kind, Kind::Brk | Kind::Anonymous | Kind::Stack);
            if is_memory && !piece.reserved {
                held.anonymous_bytes += piece.len();
            }
        }
    }
    held
}
