//! Probes on files for every process on the host: each file is read once and probed once, whoever maps it.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tracer_common::event::CodeArea;

use super::{ProbedFile, Prober, probes};
use crate::attach::loader::loader_hook;
use crate::attach::plan::{Plan, PlanOptions, plan};
use crate::attach::symbols::ObjectSymbols;
use crate::bpf::{Probe, ProbeProgram, Scope, Tracer};
use crate::process::breakpoints::Site;
use crate::process::files::{self, FileBytes, OpenedFile};
use crate::process::identity::file_id;
use crate::process::maps::{FileId, MappedFile, Mapping};

/// A file with code, and where it is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The kernel's identity of the file.
    pub id: FileId,
    /// Processes and the addresses at which they have mapped it: the first that still has it will do.
    pub at: Vec<(u32, Range<u64>)>,
}

impl Sighting {
    /// Whether one of the mappings is still there.
    fn is_there(&self) -> bool {
        let mut links = self.at.iter().map(|(pid, range)| link(*pid, range));
        links.any(|link| fs::symlink_metadata(link).is_ok())
    }
}

/// The link to the file behind a mapping.
fn link(pid: u32, range: &Range<u64>) -> PathBuf {
    format!("/proc/{pid}/map_files/{:x}-{:x}", range.start, range.end).into()
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
    pid: u32,
    path: PathBuf,
    file: OpenedFile,
}

/// What a file holds for us.
enum Content {
    /// Functions of an allocator.
    Allocator(Plan),
    /// The hook of a dynamic loader.
    Loader(Probe),
}

/// A file that is worth a probe, read and planned.
struct Planned {
    opened: Opened,
    content: Content,
    bytes: FileBytes,
}

/// What became of a file.
pub enum Outcome {
    /// It has got probes.
    Probed {
        /// The file.
        file: Rc<ProbedFile>,
        /// A process that has mapped it.
        pid: u32,
    },
    /// It holds an allocator and could not be probed, for this reason.
    Failed {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// A file's probes in place, and what they replaced.
#[derive(Debug, Default)]
pub struct Everywhere {
    /// Offset in the file and the first byte there, of each file that was looked at; none where there is no probe.
    files: HashMap<FileId, Vec<(u64, u8)>>,
}

impl Everywhere {
    /// Whether the file was looked at before.
    pub fn knows(&self, id: FileId) -> bool {
        self.files.contains_key(&id)
    }

    /// Files with probes.
    pub fn probed(&self) -> usize {
        self.files
            .values()
            .filter(|sites| !sites.is_empty())
            .count()
    }

    /// Where the probes lie in a process with these mappings, whose files carry the kernel's identities.
    pub fn sites(&self, maps: &[Mapping]) -> Vec<Site> {
        let code = maps.iter().filter(|mapping| mapping.execute);
        code.flat_map(|mapping| {
            let sites = self.files.get(&mapping.file).map_or(&[][..], Vec::as_slice);
            sites.iter().filter_map(|(offset, original)| {
                let distance = offset.checked_sub(mapping.offset)?;
                let address = mapping.start.checked_add(distance)?;
                (address < mapping.end).then_some(Site {
                    address,
                    original: *original,
                })
            })
        })
        .collect()
    }
}

impl Prober {
    /// Probes files for every process; those that were looked at before are passed over.
    pub fn attach_everywhere(&mut self, tracer: &mut Tracer, seen: Vec<Sighting>) -> Vec<Outcome> {
        let new: Vec<Sighting> = seen
            .into_iter()
            .filter(|file| !self.everywhere.knows(file.id))
            .collect();
        let planned = plan_all(&new, &self.options, self.object.as_deref());
        let mut outcomes = Vec::new();
        for (sighting, planned) in new.iter().zip(planned) {
            // Also without probes: it need not be read again.
            self.everywhere.files.insert(sighting.id, Vec::new());
            let Some(planned) = planned else { continue };
            match self.place_everywhere(tracer, sighting.id, planned) {
                // Whoever had it mapped has ended; another may map it again.
                Some(Outcome::Failed { .. }) if !sighting.is_there() => {
                    self.everywhere.files.remove(&sighting.id);
                }
                outcome => outcomes.extend(outcome),
            }
        }
        outcomes
    }

    /// What was probed for every process.
    pub fn everywhere(&self) -> &Everywhere {
        &self.everywhere
    }

    fn place_everywhere(
        &mut self,
        tracer: &mut Tracer,
        id: FileId,
        planned: Planned,
    ) -> Option<Outcome> {
        let Planned {
            opened,
            content,
            bytes,
        } = planned;
        let (places, file) = match content {
            Content::Allocator(plan) => {
                if plan.functions.is_empty() {
                    self.leave_out(&opened.path, &plan);
                    return None;
                }
                let file = self.register(&opened.path, plan);
                (probes(&file), Some(file))
            }
            Content::Loader(probe) => (vec![probe], None),
        };
        let (links, ebpf) = tracer.links();
        match (
            links.attach(ebpf, Scope::Everyone, &opened.file.path, &places),
            file,
        ) {
            (Ok(attached), file) => {
                self.attached += attached;
                self.everywhere.files.insert(id, originals(&places, &bytes));
                let pid = opened.pid;
                file.map(|file| Outcome::Probed { file, pid })
            }
            // Without the hook only the stacks of code at reused addresses get the older code's names.
            (Err(_), None) => None,
            (Err(error), Some(file)) => Some(Outcome::Failed {
                path: file.path.clone(),
                why: error.to_string(),
            }),
        }
    }
}

/// The first bytes of the probed instructions, each offset once.
fn originals(probes: &[Probe], bytes: &[u8]) -> Vec<(u64, u8)> {
    let mut sites: Vec<(u64, u8)> = probes
        .iter()
        .filter_map(|probe| {
            Some((
                probe.offset,
                *bytes.get(usize::try_from(probe.offset).ok()?)?,
            ))
        })
        .collect();
    sites.sort_unstable();
    sites.dedup();
    sites
}

/// Reads and plans files on all CPUs, in their order; `None` for those that need no probe.
fn plan_all(
    seen: &[Sighting],
    options: &PlanOptions,
    object: Option<&Path>,
) -> Vec<Option<Planned>> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(sighting) = seen.get(index) else {
                return done;
            };
            done.push((index, planned(sighting, options, object)));
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
        let path = fs::read_link(link(*pid, range)).ok()?;
        let mapped = MappedFile {
            id: sighting.id,
            path: path.clone(),
            deleted: false,
            range: range.clone(),
            offset: 0,
        };
        let file = files::open(*pid, &mapped).ok()?;
        Some(Opened {
            pid: *pid,
            path,
            file,
        })
    })
}

fn planned(sighting: &Sighting, options: &PlanOptions, object: Option<&Path>) -> Option<Planned> {
    let opened = open(sighting)?;
    if object.is_some_and(|object| object != opened.path) {
        return None;
    }
    let bytes = files::bytes(&opened.file).ok()?;
    // A font, an archive, or code of another machine: mapped as code, and nothing for us.
    let symbols = ObjectSymbols::parse(&bytes).ok()?;
    let plan = plan(&symbols, &bytes, options);
    let content = if plan.functions.is_empty() && plan.left_out.is_empty() {
        Content::Loader(loader_probe(&opened.path, &bytes)?)
    } else {
        Content::Allocator(plan)
    };
    drop(symbols);
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
    use crate::process::maps;

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

    /// A probe's address follows from its offset and the mapping that shows it.
    #[test]
    fn sites_lie_in_their_mappings() {
        let line = |text: &str| maps::parse_line(text.as_bytes()).expect("a line of maps");
        let maps = [
            line("1000-3000 r--p 00000000 fe:00 7 /lib/libc.so"),
            line("3000-5000 r-xp 00002000 fe:00 7 /lib/libc.so"),
            line("8000-9000 r-xp 00000000 fe:00 8 /bin/other"),
        ];
        let mut everywhere = Everywhere::default();
        let id = maps[0].file;
        let sites = vec![(0x100, 1), (0x2000, 2), (0x3fff, 3), (0x4000, 4)];
        everywhere.files.insert(id, sites);
        everywhere.files.insert(maps[2].file, Vec::new());
        let found: Vec<(u64, u8)> = everywhere
            .sites(&maps)
            .iter()
            .map(|site| (site.address, site.original))
            .collect();
        assert_eq!(found, [(0x3000, 2), (0x4fff, 3)]);
        assert!(everywhere.knows(id) && everywhere.knows(maps[2].file));
        assert_eq!(everywhere.probed(), 1);
    }
}
