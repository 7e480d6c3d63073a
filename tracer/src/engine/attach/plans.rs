//! Reading and planning many files at once, on all CPUs, before a trace of many processes.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tracer_common::event::CodeArea;

use super::{FileKey, Prober, Site};
use crate::arch::Arch;
use crate::attach::loader::loader_hook;
use crate::attach::plan::{Plan, PlanOptions, plan};
use crate::attach::symbols::ObjectSymbols;
use crate::bpf::{Probe, ProbeProgram};
use crate::process::files::{self, FileBytes, OpenedFile};
use crate::process::identity::file_id;
use crate::process::maps::{FileId, MappedFile};

/// A file with code, and where it is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The kernel's identity of the file.
    pub id: FileId,
    /// Processes and the addresses at which they have mapped it: the first that still has it will do.
    pub at: Vec<(u32, Range<u64>)>,
}

/// Processes that are remembered for one file: one may end before it was looked at.
const WITNESSES: usize = 8;

/// The distinct files of what is mapped on the host, in the order in which they were met.
pub fn sightings(areas: &[CodeArea]) -> Vec<Sighting> {
    let mut places: HashMap<FileId, usize> = HashMap::new();
    let mut files: Vec<Sighting> = Vec::new();
    for area in areas {
        let id = file_id(area);
        let index = *places.entry(id).or_insert_with(|| {
            files.push(Sighting { id, at: Vec::new() });
            files.len() - 1
        });
        let at = &mut files[index].at;
        if at.len() < WITNESSES && at.last().is_none_or(|(pid, _)| *pid != area.tgid) {
            at.push((area.tgid, area.start..area.end));
        }
    }
    files
}

/// A file that was opened through one of its mappings.
struct Opened {
    path: PathBuf,
    file: OpenedFile,
}

/// What was found in a file.
pub(super) enum Content {
    /// Functions of an allocator.
    Allocator(Plan),
    /// The hook of a dynamic loader.
    Loader(Probe),
}

/// A file, read and planned.
pub(super) struct Planned {
    opened: Opened,
    /// `None`: nothing to probe.
    content: Option<Content>,
    bytes: FileBytes,
}

impl Prober {
    /// Reads the files of many processes, so that each process is probed without delay.
    pub fn prepare(&mut self, seen: &[Sighting]) {
        let planned = plan_all(seen, &self.options);
        for (sighting, planned) in seen.iter().zip(planned) {
            let Some(Planned {
                opened,
                content,
                bytes,
            }) = planned
            else {
                continue;
            };
            let Ok(key) = FileKey::of(&opened.file.file) else {
                continue;
            };
            match content {
                None => drop(self.passed.insert(sighting.id)),
                Some(_) if self.uses.contains_key(&key) => {}
                Some(content) => {
                    let found = self.take_in(&opened.path, content, &bytes);
                    self.uses.insert(key, found);
                }
            }
        }
    }
}

/// A byte of each of the probed instructions, each offset once.
pub(super) fn sites(probes: &[Probe], bytes: &[u8]) -> Vec<Site> {
    let site = |probe: &Probe| {
        Some(Site {
            offset: probe.offset,
            original: *bytes
                .get(usize::try_from(probe.offset + Arch::HOST.breakpoint().0).ok()?)?,
        })
    };
    let mut sites: Vec<Site> = probes.iter().filter_map(site).collect();
    sites.sort_unstable();
    sites.dedup();
    sites
}

/// Reads and plans files on all CPUs, in their order; `None` for those that could not be read.
fn plan_all(seen: &[Sighting], options: &PlanOptions) -> Vec<Option<Planned>> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(sighting) = seen.get(index) else {
                return done;
            };
            done.push((index, planned(sighting, options)));
        }
    };
    let mut all: Vec<Option<Planned>> = seen.iter().map(|_| None).collect();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers.min(seen.len()))
            .map(|_| scope.spawn(work))
            .collect();
        for (index, file) in threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_default())
        {
            all[index] = file;
        }
    });
    all
}

/// Opens a file through the first mapping that is still there.
fn open(sighting: &Sighting) -> Option<Opened> {
    sighting.at.iter().find_map(|(pid, range)| {
        let path = fs::read_link(files::link(*pid, range)).ok()?;
        let mapped = MappedFile {
            id: sighting.id,
            path: path.clone(),
            deleted: false,
            range: range.clone(),
            offset: 0,
        };
        let file = files::open(*pid, &mapped).ok()?;
        Some(Opened { path, file })
    })
}

fn planned(sighting: &Sighting, options: &PlanOptions) -> Option<Planned> {
    let opened = open(sighting)?;
    let bytes = files::bytes(&opened.file).ok()?;
    // A font, an archive, or code of another machine: mapped as code, and nothing for us.
    let plan = ObjectSymbols::parse(&bytes)
        .ok()
        .map(|symbols| plan(&symbols, &bytes, options))
        .filter(|plan| !plan.functions.is_empty() || !plan.left_out.is_empty());
    let content = match plan {
        Some(plan) => Some(Content::Allocator(plan)),
        None => loader_probe(&opened.path, &bytes).map(Content::Loader),
    };
    Some(Planned {
        opened,
        content,
        bytes,
    })
}

/// The probe on a dynamic loader's hook, where the file is one.
pub(super) fn loader_probe(path: &Path, image: &[u8]) -> Option<Probe> {
    // Every mapped file passes here: its name tells whether a look at its symbols is worth while.
    let name = path.file_name()?.to_string_lossy();
    if !name.starts_with("ld-") && !name.starts_with("ld.so") {
        return None;
    }
    let hook = loader_hook(image)?;
    Some(Probe {
        program: ProbeProgram::LibraryChange,
        offset: hook.offset,
        cookie: hook.distance,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    fn area(tgid: u32, inode: u64, start: u64) -> CodeArea {
        CodeArea {
            start,
            end: start + 0x1000,
            offset: 0,
            inode,
            device: 254 << 20,
            tgid,
        }
    }

    /// A file is met once, with some of the processes that have it.
    #[test]
    fn files_are_met_once() {
        let mut areas = vec![
            area(1, 10, 0x1000),
            area(1, 10, 0x9000),
            area(1, 11, 0x2000),
        ];
        areas.extend((2..20).map(|pid| area(pid, 10, 0x1000)));
        let files = sightings(&areas);
        let inodes: Vec<u64> = files.iter().map(|file| file.id.inode).collect();
        assert_eq!(inodes, [10, 11]);
        assert_eq!(files[0].at.len(), WITNESSES);
        assert_eq!(files[0].at[1], (2, 0x1000..0x2000));
        assert_eq!(files[1].at, [(1, 0x2000..0x3000)]);
    }
}
