//! The allocator files of a scope's processes: those at the start, and those that are mapped later.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::Heap;
use crate::engine::attach::{Outcome, Sighting, sightings};
use crate::engine::{Core, place};
use crate::process::breakpoints;
use crate::process::info;
use crate::process::maps::{self, Mapping};
use crate::profile::LateFile;

impl Heap {
    /// Probes every allocator file that is mapped now.
    pub(super) fn probe_everything(&mut self, core: &mut Core) -> Result<()> {
        let areas = core.look_at_all_code();
        self.probe_files(core, sightings(&areas), None);
        if self.prober.everywhere().probed() == 0 {
            self.prober.check_object()?;
            bail!("no process on this host has mapped an allocator (malloc, free and their kin)");
        }
        Ok(())
    }

    /// Looks at files that were mapped during the trace, by whom and when; with `everything` at all that is mapped.
    pub(super) fn probe_new(
        &mut self,
        core: &mut Core,
        mapped: &[(u32, Mapping)],
        since: Instant,
        everything: bool,
    ) {
        let mut unknown = everything;
        let mut seen: Vec<Sighting> = Vec::new();
        for (pid, mapping) in mapped {
            match core.identities.of(*pid, mapping) {
                Some(id) if self.prober.everywhere().knows(id) => {}
                Some(id) => {
                    let at = (*pid, mapping.start..mapping.end);
                    match seen.iter_mut().find(|file| file.id == id) {
                        Some(file) => file.at.push(at),
                        None => seen.push(Sighting { id, at: vec![at] }),
                    }
                }
                None => unknown = true,
            }
        }
        if unknown {
            seen = sightings(&core.look_at_all_code());
        }
        if !seen.is_empty() {
            self.probe_files(core, seen, Some(since));
        }
    }

    /// Probes files; `since` is when they were mapped, during the trace.
    fn probe_files(&mut self, core: &mut Core, seen: Vec<Sighting>, since: Option<Instant>) {
        let outcomes = self.prober.attach_everywhere(&mut core.tracer, seen);
        if outcomes.is_empty() {
            return;
        }
        self.spare_ourselves(core);
        for outcome in outcomes {
            match outcome {
                Outcome::Probed { file, pid } => {
                    core.log
                        .details(|| vec![format!("probed {}", file.path.display())]);
                    if let Some(since) = since {
                        self.note_late_file(core, pid, &file.path, since.elapsed());
                    }
                }
                Outcome::Failed { path, why } => core
                    .notes
                    .add(format!("{} is not traced: {why}", path.display())),
            }
        }
        self.note_left_out(core);
    }

    /// Removes the probes from memlens itself: it would pay for each of its own allocations, for nothing.
    fn spare_ourselves(&self, core: &mut Core) {
        let pid = std::process::id();
        let Ok(mut maps) = maps::read(pid) else {
            return;
        };
        core.identities.translate(pid, &mut maps);
        // If it fails, they stay: a cost, no error.
        let _ = breakpoints::remove(pid, &self.prober.everywhere().sites(&maps));
    }

    fn note_late_file(&mut self, core: &Core, pid: u32, path: &Path, missed: Duration) {
        self.late.push(LateFile {
            at: core.elapsed().saturating_sub(missed),
            pid,
            command: info::read(pid).map_or_else(|_| "?".to_owned(), |info| info.comm),
            place: place(pid),
            path: path.to_string_lossy().into_owned(),
            missed,
        });
    }
}
