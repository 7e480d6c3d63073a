//! The processes of a whole-host trace: admitted at their first call, told of while they run, let go when they end.

use std::collections::HashSet;

use tracer_common::key::Owner;

use super::super::Leaks;
use crate::heap::Totals;
use crate::report::{HeapHeld, ProcessState};
use crate::session::over::{self, Over, is_time_to_sweep};
use crate::session::population::OutOfStep;
use crate::session::watch::{Image, Program};

impl Leaks<'_> {
    /// A process has made its first traced call, in this row of the process table.
    pub(in crate::session::leaks) fn admitted(&mut self, new: Program, row: u32) {
        let at = self.started.elapsed();
        let owner = new.owner;
        let Some(host) = &mut self.host else { return };
        if host.people.admit(&self.tracer, &new, row, at).is_none() {
            return;
        }
        self.images.push(Image::new(owner, new.comm));
        self.look_again(owner.tgid);
        self.begin_guarding(owner);
    }

    /// A process has replaced its program; the row stays.
    pub(in crate::session::leaks) fn replaced_on_host(&mut self, new: Program) {
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
    pub(in crate::session::leaks) fn ended_on_host(&mut self, owner: Owner) {
        let Some(host) = &mut self.host else { return };
        let Some(row) = host.people.forget_row(owner) else {
            return;
        };
        self.over(owner, Some(row));
        self.sweep_if_needed();
    }

    /// A program is over: tells what it still held, and lets its blocks and rows be swept.
    fn over(&mut self, owner: Owner, row: Option<u32>) {
        self.take_in_new_stacks();
        let at = self.started.elapsed();
        let totals = self.totals_of(owner, row);
        let Some(host) = &mut self.host else { return };
        host.probes_off.remove(&owner);
        if let Some(member) = host.people.remove(owner)
            && (row.is_some() || totals.alloc_count > 0)
        {
            let held = HeapHeld {
                live_bytes: totals.live_bytes(),
                live_count: totals.live_count(),
                alloc_bytes: totals.alloc_bytes,
                alloc_count: totals.alloc_count,
            };
            over::remember(&mut host.ended, owner, member, at, held);
        }
        host.over.push(Over { owner, row });
        self.close(owner.tgid, ProcessState::Exited);
        self.images.retain(|image| image.owner != owner);
        if row.is_some() {
            self.release_tables(owner.tgid);
        }
    }

    /// A process has ended: others may have the room of the tables that it alone has used.
    fn release_tables(&mut self, pid: u32) {
        let Some(unwinder) = &mut self.unwinder else {
            return;
        };
        for pid in unwinder.release(&mut self.tracer, pid) {
            self.look_again_on_host(pid);
        }
    }

    /// Totals of a program over all of its stacks, and over what its process's own row stands for.
    fn totals_of(&self, owner: Owner, own: Option<u32>) -> Totals {
        let mut totals = Totals::default();
        let stacks = self.tracer.stack_rows_of(|other| other == owner);
        for row in stacks.into_iter().chain(own) {
            totals.add(&Totals::from(self.tracer.totals(row)));
        }
        totals
    }

    /// Sweeps when there is much to sweep, or little room left.
    fn sweep_if_needed(&mut self) {
        let over = self.host.as_ref().map_or(0, |host| host.over.len());
        if is_time_to_sweep(over, &self.tracer) {
            self.sweep();
        }
    }

    /// Removes the blocks of programs that are over, and gives their rows back.
    pub(in crate::session::leaks) fn sweep(&mut self) {
        let Some(host) = &mut self.host else { return };
        let over = std::mem::take(&mut host.over);
        if over.is_empty() {
            return;
        }
        let owners: HashSet<Owner> = over.iter().map(|over| over.owner).collect();
        let is_over = |owner: Owner| owners.contains(&owner);
        if let Err(error) = crate::bpf::LiveScan::new(&self.tracer).remove_owned_by(is_over) {
            self.note_once(format!(
                "blocks of processes that ended are still counted: {error}"
            ));
            return;
        }
        let rows = self.tracer.stack_rows_of(is_over);
        if let Err(error) = self.tracer.release_stack_rows(&rows) {
            // The rows are lost for this trace: a table that fills is counted by itself.
            self.note_once(error.to_string());
        }
        for Over { owner, row } in over {
            self.symbolizer.forget(owner);
            if let Some(row) = row
                && let Err(error) = self.tracer.release_process(row)
            {
                self.note_once(error.to_string());
            }
        }
    }

    /// Repairs what is known of the processes after events were lost: the process table itself tells.
    pub(in crate::session::leaks) fn resynchronise(&mut self) {
        let Some(host) = &self.host else { return };
        let OutOfStep { gone, new } = host.people.out_of_step(&self.tracer);
        for owner in gone {
            self.ended_on_host(owner);
        }
        for (program, row) in new {
            self.admitted(program, row);
        }
    }
}
