//! What goes on on the host while the trace runs: processes that come, replace their program and end, and new code.

use std::collections::BTreeSet;

use tracer_common::faults::SpaceRecord;

use super::super::Vm;
use crate::process::maps;
use crate::session::identities;
use crate::session::population::OutOfStep;
use crate::session::watch::Change;

/// Events of a program that nobody has told of are kept for so long: its admission is told within milliseconds, unless that
/// was lost.
const EARLY_KEPT_NS: u64 = 10_000_000_000;

impl Vm<'_> {
    /// Follows the host.
    pub(in crate::session::vm) fn apply_on_host(&mut self, changes: Vec<Change>) {
        let mut look = BTreeSet::new();
        for change in changes {
            self.log.event(|| change.words());
            match change {
                Change::Map(pid, mapping) => {
                    if let Some(code) = self.running(pid) {
                        self.symbolizer.observe(code, mapping);
                        look.insert(pid);
                    }
                }
                Change::Admitted(new, row) => {
                    look.insert(new.owner.tgid);
                    self.admitted(new, row);
                }
                Change::Exec(new) => {
                    look.insert(new.owner.tgid);
                    self.replaced_on_host(new);
                }
                Change::Ended(owner) => self.ended_on_host(owner),
                Change::Lost => look.extend(self.images.iter().map(|image| image.owner.tgid)),
                Change::Load(..) | Change::Look(_) | Change::Exit(_) | Change::Unload(_) => {}
            }
        }
        for pid in look {
            self.look_again(pid);
        }
    }

    /// Lets a process's stacks be walked through what it has mapped by now.
    pub(in crate::session::vm) fn publish_on_host(&mut self, pid: u32) {
        let Some(unwinder) = &mut self.unwinder else {
            return;
        };
        let Ok(mut maps) = maps::read(pid) else {
            return;
        };
        let Some(host) = &mut self.host else { return };
        let looked = identities::translate(&mut host.identities, &mut self.tracer, pid, &mut maps);
        unwinder.publish_mapped(&mut self.tracer, pid, &maps);
        if let Err(error) = looked {
            self.note_once(format!("stacks through new files may be cut: {error}"));
        }
    }

    /// Notices that process events were lost, and looks at the process table itself then.
    pub(in crate::session::vm) fn repair_lost_events(&mut self) {
        let Some(host) = &mut self.host else { return };
        if !host.people.has_lost_events(&self.tracer) {
            return;
        }
        let OutOfStep { gone, new } = host.people.out_of_step(&self.tracer);
        for owner in gone {
            self.ended_on_host(owner);
        }
        for (program, row) in new {
            self.admitted(program, row);
        }
        self.forget_the_unknown();
    }

    /// Drops what was told of programs that nobody knows, and that are not about to be told of.
    pub(super) fn forget_the_unknown(&mut self) {
        let Some(host) = &self.host else { return };
        let now = crate::session::start::monotonic_ns();
        self.early.retain(|_, events| {
            let last = events.last().map_or(0, SpaceRecord::time_ns);
            now.saturating_sub(last) < EARLY_KEPT_NS
        });
        self.accounts.retain(|owner, account| {
            let is_young = |born| now.saturating_sub(born) < EARLY_KEPT_NS;
            host.people.row(*owner).is_some() || account.born_ns.is_some_and(is_young)
        });
    }
}
