//! The processes of a whole-host trace: admitted at their first call, told of while they run, let go when they end.

use std::collections::HashSet;
use std::time::Duration;

use tracer_common::key::Owner;

use super::super::Leaks;
use super::Over;
use crate::heap::Totals;
use crate::process::cgroup::Place;
use crate::process::info::ProcessInfo;
use crate::process::scope::Candidate;
use crate::process::{info, maps};
use crate::report::{EndedProcess, ProcessState, Rates};
use crate::session::watch::{Image, Program};

/// Programs that are over and wait to be swept, before a sweep is worth while.
const SWEEP_AT: usize = 512;

/// A process that the trace is about.
pub(super) struct Member {
    /// Its row in the process table.
    pub(super) row: u32,
    pub(super) comm: String,
    /// Number of its executable, where that is known.
    pub(super) program: Option<u32>,
    pub(super) place: Place,
    pub(super) uid: u32,
    pub(super) user: String,
    pub(super) first_seen: Duration,
    pub(super) started_in_trace: bool,
    pub(super) rates: Rates,
    pub(super) probes_off_at: Option<Duration>,
}

/// Where a process belongs; nowhere if it has ended.
pub(super) fn place(pid: u32) -> Place {
    Place::of(&cgroup_text(pid))
}

fn cgroup_text(pid: u32) -> String {
    // Names of cgroups need not be UTF-8.
    let bytes = std::fs::read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Leaks<'_> {
    /// A process has made its first traced call, in this row of the process table.
    pub(in crate::session::leaks) fn admitted(&mut self, new: Program, row: u32) {
        let Program {
            owner,
            comm,
            uid,
            parent,
        } = new;
        let at = self.started.elapsed();
        let mut cgroup = cgroup_text(owner.tgid);
        // Asked afterwards: if it still has an executable, it ran when it was asked where it is.
        let info = info::read(owner.tgid).ok();
        let exe = info.as_ref().and_then(|info| info.exe.clone());
        if exe.is_none() && parent != 0 {
            // It has ended already: nothing is told of it, or that it is nowhere (v1, kernel/cgroup/cgroup.c,
            // proc_cgroup_show). It began where its parent is.
            cgroup.push_str(&cgroup_text(parent));
        }
        let Some(host) = &mut self.host else { return };
        host.rows.insert(owner, row);
        let candidate = Candidate {
            pid: owner.tgid,
            comm: &comm,
            exe: exe.as_deref(),
            uid,
            cgroup: &cgroup,
        };
        if !host.filter.matches(&candidate) {
            host.strangers.insert(owner);
            self.tracer.set_active(row, false);
            return;
        }
        let member = Member {
            row,
            comm: comm.clone(),
            program: exe.map(|exe| host.programs.number(exe)),
            place: Place::of(&cgroup),
            uid,
            user: host.users.name(uid).to_owned(),
            first_seen: at,
            started_in_trace: is_new(info.as_ref(), host.began),
            rates: Rates::new(at),
            probes_off_at: None,
        };
        host.members.insert(owner, member);
        self.images.push(Image::new(owner, comm));
        self.look_again(owner.tgid);
        self.begin_guarding(owner);
    }

    /// A process has replaced its program; the row stays.
    pub(in crate::session::leaks) fn replaced_on_host(&mut self, new: Program) {
        let Some(host) = &mut self.host else { return };
        let tgid = new.owner.tgid;
        let old = host
            .rows
            .keys()
            .find(|old| old.tgid == tgid && **old != new.owner);
        let row = match old.copied() {
            Some(old) => {
                let row = host.rows.remove(&old);
                host.strangers.remove(&old);
                self.over(old, None);
                row
            }
            // Its admission was not told: the ring was full then.
            None => self.tracer.row_of(tgid),
        };
        if let Some(row) = row {
            self.admitted(new, row);
        }
    }

    /// A process has ended.
    pub(in crate::session::leaks) fn ended_on_host(&mut self, owner: Owner) {
        let Some(host) = &mut self.host else { return };
        let Some(row) = host.rows.remove(&owner) else {
            return;
        };
        host.strangers.remove(&owner);
        self.over(owner, Some(row));
        self.sweep_if_needed();
    }

    /// A program is over: tells what it still held, and lets its blocks and rows be swept.
    fn over(&mut self, owner: Owner, row: Option<u32>) {
        self.take_in_new_stacks();
        let at = self.started.elapsed();
        let totals = self.totals_of(owner, row);
        let Some(host) = &mut self.host else { return };
        if let Some(member) = host.members.remove(&owner)
            && (row.is_some() || totals.alloc_count > 0)
        {
            let ended = EndedProcess {
                pid: owner.tgid,
                comm: member.comm,
                place: member.place,
                user: member.user,
                at,
                traced: at.saturating_sub(member.first_seen),
                live_bytes: totals.live_bytes(),
                live_count: totals.live_count(),
                alloc_bytes: totals.alloc_bytes,
                alloc_count: totals.alloc_count,
            };
            if !ended.is_short_lived() {
                eprintln!("memlens: {}", ended.sentence());
            }
            host.ended.add(ended);
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
        if over >= SWEEP_AT || (over > 0 && self.tracer.stack_rows_are_scarce()) {
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
        let rows: Vec<_> = self.tracer.process_rows().collect();
        let Some(host) = &self.host else { return };
        let gone: Vec<Owner> = host
            .rows
            .iter()
            .filter(|(owner, row)| {
                let now = rows.iter().find(|(number, _)| number == *row);
                now.is_none_or(|(_, process)| {
                    process.owner.tgid != owner.tgid || process.active == 0
                }) && maps::read(owner.tgid).is_err()
            })
            .map(|(owner, _)| *owner)
            .collect();
        for owner in gone {
            self.ended_on_host(owner);
        }
        let known = |host: &super::WholeHost, owner| host.rows.contains_key(&owner);
        let new: Vec<_> = rows
            .into_iter()
            .filter(|(_, process)| process.active != 0)
            .filter(|(_, process)| {
                self.host
                    .as_ref()
                    .is_some_and(|host| !known(host, process.owner))
            })
            .collect();
        for (row, process) in new {
            // What the lost event would have told.
            let Ok(info) = info::read(process.owner.tgid) else {
                continue;
            };
            let program = Program {
                owner: process.owner,
                comm: info.comm,
                uid: info.uid,
                // It runs: it can be asked itself.
                parent: 0,
            };
            self.admitted(program, row);
        }
    }
}

/// Whether a process began after the trace did, at `began` clock ticks after boot.
fn is_new(info: Option<&ProcessInfo>, began: u64) -> bool {
    // One that has ended already was short-lived.
    info.is_none_or(|info| info.image.start_time > began)
}
