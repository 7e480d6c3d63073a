//! What goes on on the host while the trace runs: new programs, new files, new processes and their ends.

use std::collections::BTreeSet;
use std::time::Instant;

use super::super::Leaks;
use crate::process::maps::{self, Mapping};
use crate::session::identities;
use crate::session::watch::Change;

impl Leaks<'_> {
    /// Follows the host: files that are new are probed first, since every microsecond counts for them.
    pub(in crate::session::leaks) fn apply_on_host(&mut self, changes: Vec<Change>) {
        let since = Instant::now();
        let mut mapped: Vec<(u32, Mapping)> = Vec::new();
        let mut later = Vec::new();
        let mut everything = false;
        for change in changes {
            self.log.event(|| change.words());
            match change {
                Change::Map(pid, mapping) => mapped.push((pid, mapping)),
                Change::Lost => everything = true,
                other => later.push(other),
            }
        }
        self.probe_new(&mapped, since, everything);
        let mut look = BTreeSet::new();
        for (pid, mapping) in mapped {
            if let Some(code) = self.running(pid) {
                self.symbolizer.observe(code, mapping);
                look.insert(pid);
            }
        }
        if everything {
            look.extend(self.images.iter().map(|image| image.owner.tgid));
        }
        for change in later {
            match change {
                Change::Admitted(new, row) => self.admitted(new, row),
                Change::Exec(new) => self.replaced_on_host(new),
                Change::Ended(owner) => self.ended_on_host(owner),
                Change::Unload(code) => self.unloading(code),
                Change::Look(_) | Change::Exit(_) => {}
                Change::Load(..) | Change::Map(..) | Change::Lost => {}
            }
        }
        for pid in look {
            self.look_again_on_host(pid);
        }
    }

    /// Looks at what a process has mapped by now.
    pub(in crate::session::leaks) fn look_again_on_host(&mut self, pid: u32) {
        let Some(code) = self.running(pid) else {
            return;
        };
        let Ok(mut maps) = maps::read(pid) else {
            return;
        };
        self.translate(pid, &mut maps);
        if let Some(unwinder) = &mut self.unwinder {
            unwinder.publish_mapped(&mut self.tracer, pid, &maps);
        }
        // If it has ended meanwhile, the mapping events have told what there was.
        let _ = self.symbolizer.snapshot(code);
    }

    /// Gives mappings the kernel's identities of their files.
    pub(in crate::session::leaks) fn translate(&mut self, pid: u32, maps: &mut [Mapping]) {
        let Some(host) = &mut self.host else { return };
        let looked = identities::translate(&mut host.identities, &mut self.tracer, pid, maps);
        if let Err(error) = looked {
            self.note_once(format!("new files may go without probes: {error}"));
        }
    }

    /// Notices that process events were lost, and looks at the process table itself then.
    pub(in crate::session::leaks) fn repair_lost_events(&mut self) {
        let Some(host) = &mut self.host else { return };
        if host.people.has_lost_events(&self.tracer) {
            self.resynchronise();
        }
    }
}
