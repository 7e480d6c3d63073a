//! One program image: where its code was mapped when last looked at, remembered beyond its end.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::process::ProcessError;
use crate::process::files;
use crate::process::info::{self, ImageId};
use crate::process::maps::{self, FileId, Mapping, MappingName};
use crate::runtime::hotspot::Jvm;

use super::module::{Module, Modules};

/// Names may be wrong if a library was replaced at the same addresses within this time.
const MAX_AGE: Duration = Duration::from_secs(1);
/// At the least between two readings of the maps, however many addresses are not in them.
const MIN_AGE: Duration = Duration::from_millis(20);
/// Mappings that are gone and still remembered.
const MAX_UNMAPPED: usize = 1024;

/// The code of one program image.
#[derive(Debug)]
pub(super) struct Image {
    pid: u32,
    ns_pid: u32,
    /// `None` where the program is known by its mapping events alone: it had ended before it could be looked at.
    id: Option<ImageId>,
    /// Executable mappings, by address.
    mapped: Vec<Mapping>,
    /// Executable mappings of files that have been unmapped since, where nothing else is now; newest last.
    unmapped: Vec<Mapping>,
    modules: HashMap<FileId, Rc<Module>>,
    /// What a just-in-time compiler wrote for `perf`.
    perf_map: Option<File>,
    /// What generates code in it.
    generated: Option<Rc<RefCell<Jvm>>>,
    /// Its PID is not looked at any more: the program has exited or another has taken its place.
    sealed: bool,
    read_at: Instant,
}

impl Image {
    /// Looks at a process for the first time.
    pub fn read(pid: u32, modules: &mut Modules) -> Result<Image, ProcessError> {
        let info = info::read(pid)?;
        let mut image = Image {
            pid,
            ns_pid: info.ns_pid,
            id: Some(info.image),
            mapped: Vec::new(),
            unmapped: Vec::new(),
            modules: HashMap::new(),
            perf_map: None,
            generated: None,
            sealed: false,
            read_at: Instant::now(),
        };
        image.refresh(modules)?;
        match image.mapped.is_empty() {
            // A zombie has no mappings any more.
            true => Err(ProcessError::Gone { pid }),
            false => Ok(image),
        }
    }

    /// A program of which nothing is known but what [`Image::learn`] will tell.
    pub fn unseen(pid: u32) -> Image {
        Image {
            pid,
            ns_pid: pid,
            id: None,
            mapped: Vec::new(),
            unmapped: Vec::new(),
            modules: HashMap::new(),
            perf_map: None,
            generated: None,
            sealed: false,
            read_at: Instant::now(),
        }
    }

    /// Takes note of code that was just mapped.
    pub fn learn(&mut self, mapping: Mapping, modules: &mut Modules) {
        for file in maps::executable_files(std::slice::from_ref(&mapping)) {
            self.modules.insert(file.id, modules.get(self.pid, &file));
        }
        let mut mapped = self.mapped.clone();
        mapped.retain(|old| old.end <= mapping.start || old.start >= mapping.end);
        let at = mapped.partition_point(|old| old.start < mapping.start);
        mapped.insert(at, mapping);
        self.remember_unmapped(&mapped);
        self.mapped = mapped;
    }

    /// Takes over what the same program looks like now. What is gone is still remembered: it may have been mapped and
    /// unmapped again before anybody looked.
    pub fn renew(&mut self, now: Image) {
        if self.sealed {
            return;
        }
        self.remember_unmapped(&now.mapped);
        self.modules.extend(now.modules);
        self.perf_map = now.perf_map.or(self.perf_map.take());
        (self.mapped, self.id, self.ns_pid, self.read_at) =
            (now.mapped, now.id, now.ns_pid, now.read_at);
    }

    /// Looks again, unless it was just done or the program is gone. A program that has exited, or has been replaced
    /// by `exec`, is remembered as it was.
    pub fn refresh_if_needed(
        &mut self,
        addresses: impl Iterator<Item = u64>,
        modules: &mut Modules,
    ) {
        let age = self.read_at.elapsed();
        if self.sealed || self.id.is_none() || age < MIN_AGE {
            return;
        }
        let is_unknown = |address| holding(&self.mapped, address).is_none();
        let needed = age > MAX_AGE || { addresses }.any(is_unknown);
        if needed && matches!(self.refresh(modules), Err(ProcessError::Gone { .. })) {
            self.sealed = true;
        }
    }

    /// Never looks at the process again.
    pub fn seal(&mut self) {
        self.sealed = true;
    }

    /// Whether the process is not looked at any more.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Whether both are of the same program: no exec and no reuse of the PID between them.
    pub fn is_same_program(&self, other: &Image) -> bool {
        self.id.is_none() || self.id == other.id
    }

    /// The mapping that holds an address, or held it last.
    pub fn mapping(&self, address: u64) -> Option<&Mapping> {
        let unmapped = || {
            self.unmapped
                .iter()
                .rev()
                .find(|mapping| mapping.contains(address))
        };
        holding(&self.mapped, address).or_else(unmapped)
    }

    /// The module of a mapping; `None` for memory that is not a file's.
    pub fn module(&self, mapping: &Mapping) -> Option<&Rc<Module>> {
        self.modules
            .get(&mapping.file)
            .filter(|_| mapping.file.inode != 0)
    }

    /// What generates code in it.
    pub fn generated(&self) -> Option<&Rc<RefCell<Jvm>>> {
        self.generated.as_ref()
    }

    /// Tells what generates code in it.
    pub fn set_generated(&mut self, machine: Rc<RefCell<Jvm>>) {
        self.generated = Some(machine);
    }

    /// The perf map as it is now, or as it was left; `None` where there is none.
    pub fn perf_map(&mut self) -> Option<&File> {
        if !self.sealed {
            self.open_perf_map();
        }
        self.perf_map.as_ref()
    }

    fn refresh(&mut self, modules: &mut Modules) -> Result<(), ProcessError> {
        let pid = self.pid;
        let mut mapped = maps::read(pid)?;
        mapped.retain(|mapping| mapping.execute);
        let opened: HashMap<FileId, Rc<Module>> = maps::executable_files(&mapped)
            .iter()
            .map(|file| (file.id, modules.get(pid, file)))
            .collect();
        // Only now is it certain whose maps and files these were.
        if Some(info::image(pid)?) != self.id || mapped.is_empty() {
            return Err(ProcessError::Gone { pid });
        }
        self.remember_unmapped(&mapped);
        self.mapped = mapped;
        self.modules.extend(opened);
        self.open_perf_map();
        self.read_at = Instant::now();
        Ok(())
    }

    /// Code may have been unmapped (`dlclose`) since a stack went through it.
    fn remember_unmapped(&mut self, mapped: &[Mapping]) {
        let is_file = |mapping: &Mapping| matches!(mapping.name, MappingName::File { .. });
        let was = std::mem::take(&mut self.mapped).into_iter().filter(is_file);
        self.unmapped.extend(was);
        // The first new mapping that ends after the old one's start.
        let covered = |old: &Mapping| {
            let first = mapped.partition_point(|new| new.end <= old.start);
            mapped.get(first).is_some_and(|new| new.start < old.end)
        };
        self.unmapped.retain(|old| !covered(old));
        let excess = self.unmapped.len().saturating_sub(MAX_UNMAPPED);
        self.unmapped.drain(..excess);
        let kept: HashSet<FileId> = self.unmapped.iter().chain(mapped).map(|m| m.file).collect();
        self.modules.retain(|id, _| kept.contains(id));
    }

    fn open_perf_map(&mut self) {
        let path = format!("/tmp/perf-{}.map", self.ns_pid);
        if let Ok(file) = files::open_in_root(self.pid, path.as_ref()) {
            self.perf_map = Some(file);
        }
    }
}

/// The mapping that holds an address, among mappings sorted by address.
fn holding(sorted: &[Mapping], address: u64) -> Option<&Mapping> {
    let first = sorted.partition_point(|mapping| mapping.end <= address);
    sorted
        .get(first)
        .filter(|mapping| mapping.contains(address))
}
