//! The allocator files of the host: those at the start, and those that come up later.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tracer_common::event::CodeArea;

use super::super::Leaks;
use crate::process::maps::{self, Mapping};
use crate::process::{breakpoints, info};
use crate::report::LateFile;
use crate::report::units::counted;
use crate::session::attach::{Outcome, Sighting, sightings};
use crate::session::population;

impl Leaks<'_> {
    /// Probes every allocator file that is mapped now; tells how many.
    pub(in crate::session::leaks) fn probe_everything(&mut self) -> Result<String> {
        let areas = self.look_at_all_code();
        self.probe_files(sightings(&areas), None);
        let probed = self.prober.everywhere().probed();
        if probed == 0 {
            bail!("no process on this host has mapped an allocator (malloc, free and their kin)");
        }
        Ok(counted(probed as u64, "file"))
    }

    /// All code on the host as it is now; what keeps us from it is noted.
    pub(in crate::session::leaks) fn look_at_all_code(&mut self) -> Vec<CodeArea> {
        let areas = match self.tracer.code_areas() {
            Ok(areas) => areas,
            Err(error) => {
                self.note_once(format!("new files may go without probes: {error}"));
                Vec::new()
            }
        };
        if let Some(host) = &mut self.host {
            host.identities.learn(&areas);
        }
        areas
    }

    /// Looks at files that were mapped during the trace, by whom and when; with `everything` at all that is mapped.
    pub(in crate::session::leaks) fn probe_new(
        &mut self,
        mapped: &[(u32, Mapping)],
        since: Instant,
        everything: bool,
    ) {
        let Some(host) = &mut self.host else { return };
        let mut unknown = everything;
        let mut seen: Vec<Sighting> = Vec::new();
        for (pid, mapping) in mapped {
            match host.identities.of(*pid, mapping) {
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
            seen = sightings(&self.look_at_all_code());
        }
        if !seen.is_empty() {
            self.probe_files(seen, Some(since));
        }
    }

    /// Probes files; `since` is when they were mapped, during the trace.
    fn probe_files(&mut self, seen: Vec<Sighting>, since: Option<Instant>) {
        let outcomes = self.prober.attach_everywhere(&mut self.tracer, seen);
        if outcomes.is_empty() {
            return;
        }
        self.spare_ourselves();
        for outcome in outcomes {
            match outcome {
                Outcome::Probed { file, pid } => {
                    self.log
                        .details(|| vec![format!("probed {}", file.path.display())]);
                    if let Some(since) = since {
                        self.note_late_file(pid, file.path.clone(), since.elapsed());
                    }
                }
                Outcome::Failed { path, why } => {
                    self.note_once(format!("{} is not traced: {why}", path.display()))
                }
            }
        }
        self.note_left_out();
    }

    /// Takes the probes out of memlens itself: it would pay for each of its own allocations, for nothing.
    fn spare_ourselves(&mut self) {
        let pid = std::process::id();
        let Ok(mut maps) = maps::read(pid) else {
            return;
        };
        if let Some(host) = &mut self.host {
            host.identities.translate(pid, &mut maps);
        }
        // If it fails, they stay: a cost, no error.
        let _ = breakpoints::remove(pid, &self.prober.everywhere().sites(&maps));
    }

    fn note_late_file(&mut self, pid: u32, path: std::path::PathBuf, missed: Duration) {
        let at = self.started.elapsed();
        let Some(host) = &mut self.host else { return };
        let comm = info::read(pid).map_or_else(|_| "?".to_owned(), |info| info.comm);
        host.late.push(LateFile {
            at: at.saturating_sub(missed),
            pid,
            comm,
            place: population::place(pid),
            path,
            missed,
        });
    }

    /// Adds a note, unless it was made before.
    pub(in crate::session::leaks) fn note_once(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}
