//! From a process's mapped files to probes in the kernel: each file is read once and probed once per process.

mod all_processes;
mod error;
mod floor;
mod probes;
mod summary;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tracer_common::call::Class;

use crate::attach::plan::{LeftOut, Plan, PlanOptions, plan};
use crate::attach::symbols::{ObjectError, ObjectSymbols};
use crate::bpf::{Attached, Scope, Tracer};
use crate::process::files::{self, FileError, OpenedFile};
use crate::process::info;
use crate::process::maps::{self, MappedFile};

pub use all_processes::{Outcome, Sighting, sightings};
pub use error::AttachError;
pub use probes::{is_slow, probes};

use all_processes::{Everywhere, loader_probe};

/// A file, as `fstat` tells it: the same whichever path led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileKey {
    device: u64,
    inode: u64,
}

impl FileKey {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// A file and the probes that belong into it.
#[derive(Debug)]
pub struct ProbedFile {
    /// Its path, as the process sees it.
    pub path: PathBuf,
    /// What to probe.
    pub plan: Plan,
    /// Number of its first function in the table.
    first_function: u32,
}

/// What was placed in one process by one call.
#[derive(Debug, Default)]
pub struct Placed {
    /// Files that got probes.
    pub files: Vec<Rc<ProbedFile>>,
}

/// Where to look for the allocator; empty means discovery alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocator {
    /// Prefix of its functions.
    pub prefix: Option<String>,
    /// The only file to look in, as the target sees it.
    pub object: Option<PathBuf>,
}

/// Reads files, plans their probes and places them.
pub struct Prober {
    options: PlanOptions,
    object: Option<PathBuf>,
    plans: HashMap<FileKey, Option<Rc<ProbedFile>>>,
    placed: HashSet<(u32, FileKey)>,
    /// Loaders that are probed.
    hooked: HashSet<(u32, FileKey)>,
    /// Whether stacks are kept, for which the loader is probed.
    hooks_loader: bool,
    attached: Attached,
    functions: Vec<(String, Class)>,
    left_out: Vec<(PathBuf, LeftOut)>,
    /// What is probed for every process on the host.
    everywhere: Everywhere,
}

impl Prober {
    /// A prober that looks where the user said.
    pub fn new(allocator: &Allocator, callers_of_frees: bool) -> Self {
        Self {
            options: PlanOptions {
                prefix: allocator.prefix.clone(),
                callers_of_frees,
            },
            object: allocator.object.clone(),
            plans: HashMap::new(),
            placed: HashSet::new(),
            hooked: HashSet::new(),
            hooks_loader: !callers_of_frees,
            attached: Attached::default(),
            functions: Vec::new(),
            left_out: Vec::new(),
            everywhere: Everywhere::default(),
        }
    }

    /// Name of a traced function.
    pub fn function(&self, number: u32) -> &str {
        self.functions
            .get(number as usize)
            .map_or("?", |(name, _)| name)
    }

    /// Whether a traced function only releases.
    pub fn releases(&self, number: u32) -> bool {
        let known = self.functions.get(number as usize);
        known.is_some_and(|(_, class)| *class == Class::Free)
    }

    /// Everything that was placed so far.
    pub fn attached(&self) -> Attached {
        self.attached
    }

    /// The files that have probes, in the order in which they were met.
    fn files(&self) -> impl Iterator<Item = &Rc<ProbedFile>> {
        let placed = |key: &FileKey| self.placed.iter().any(|(_, own)| own == key);
        self.plans
            .iter()
            .filter(move |(key, _)| placed(key))
            .filter_map(|(_, file)| file.as_ref())
    }

    /// Functions that allocate or release and are not traced, with the file and the reason.
    pub fn left_out(&self) -> &[(PathBuf, LeftOut)] {
        &self.left_out
    }

    /// Probes a process: what it has mapped, or the `files` that a command is about to map.
    pub fn begin(
        &mut self,
        tracer: &mut Tracer,
        pid: u32,
        files: Option<&[PathBuf]>,
    ) -> Result<Placed, AttachError> {
        match files {
            Some(files) => self.attach_files(tracer, pid, files),
            None => self.attach(tracer, pid),
        }
    }

    /// Probes what a process has mapped and what was not probed before. Fails if there is no allocator in it.
    pub fn attach(&mut self, tracer: &mut Tracer, pid: u32) -> Result<Placed, AttachError> {
        let mapped = self.candidates(pid)?;
        let placed = self.attach_mapped(tracer, pid, &mapped)?;
        if !self.placed.iter().any(|(owner, _)| *owner == pid) {
            return Err(self.nothing_found(pid));
        }
        Ok(placed)
    }

    /// Probes what a process has mapped since the last time; nothing new is no error.
    pub fn attach_new(&mut self, tracer: &mut Tracer, pid: u32) -> Result<Placed, AttachError> {
        let mapped = self.mapped(pid)?;
        self.attach_mapped(tracer, pid, &mapped)
    }

    fn attach_mapped(
        &mut self,
        tracer: &mut Tracer,
        pid: u32,
        mapped: &[MappedFile],
    ) -> Result<Placed, AttachError> {
        let mut placed = Placed::default();
        for mapped in mapped {
            let opened = match files::open(pid, mapped) {
                Ok(opened) => opened,
                // What vanished meanwhile or is no file holds no allocator; what the user named must be there.
                Err(error)
                    if self.object.is_some() || matches!(error, FileError::Denied { .. }) =>
                {
                    return Err(error.into());
                }
                Err(_) => continue,
            };
            self.place(tracer, pid, &mapped.path, &opened, &mut placed)?;
        }
        Ok(placed)
    }

    /// Probes files that a process is about to map.
    pub fn attach_files(
        &mut self,
        tracer: &mut Tracer,
        pid: u32,
        paths: &[PathBuf],
    ) -> Result<Placed, AttachError> {
        let key = |path: &Path| FileKey::of(&File::open(path).ok()?).ok();
        let named = self.object.clone();
        let target = named.as_deref().and_then(key);
        let is_wanted =
            |path: &&PathBuf| named.is_none() || target.is_some() && key(path) == target;
        let paths: Vec<&PathBuf> = paths.iter().filter(is_wanted).collect();
        if let (Some(path), true) = (&named, paths.is_empty()) {
            self.check_object()?;
            return Err(AttachError::NotLoaded { path: path.clone() });
        }
        let mut placed = Placed::default();
        for path in paths {
            let Ok(file) = File::open(path) else { continue };
            self.place(
                tracer,
                pid,
                path,
                &OpenedFile {
                    path: path.clone(),
                    file,
                },
                &mut placed,
            )?;
        }
        Ok(placed)
    }

    /// Plans the probes of everything that a process has mapped, without placing any.
    pub fn survey(&mut self, pid: u32) -> Result<Vec<Rc<ProbedFile>>, AttachError> {
        let mut found = Vec::new();
        for mapped in self.candidates(pid)? {
            if let Ok(opened) = files::open(pid, &mapped)
                && let Some(file) = self.planned(&mapped.path, &opened)?
            {
                found.push(file);
            }
        }
        Ok(found)
    }

    /// The files that a process has mapped and may be probed. The one that the user named must be among them.
    fn candidates(&self, pid: u32) -> Result<Vec<MappedFile>, AttachError> {
        let mapped = self.mapped(pid)?;
        if let (Some(path), true) = (&self.object, mapped.is_empty()) {
            // Say what is wrong with the file before saying that it is not mapped.
            self.check_object()?;
            let path = path.clone();
            return Err(AttachError::NotMapped { pid, path });
        }
        Ok(mapped)
    }

    /// The files that a process has mapped by now and may be probed.
    fn mapped(&self, pid: u32) -> Result<Vec<MappedFile>, AttachError> {
        let maps = maps::read(pid)?;
        let mut mapped = maps::executable_files(&maps);
        if let Some(object) = &self.object {
            // The user may name the file through a link; the maps have the link's end.
            let target = std::fs::canonicalize(
                Path::new(&format!("/proc/{pid}/root"))
                    .join(object.strip_prefix("/").unwrap_or(object)),
            );
            let target = target
                .ok()
                .and_then(|path| FileKey::of(&File::open(path).ok()?).ok());
            mapped.retain(|file| {
                file.path == *object
                    || target.is_some_and(|key| {
                        files::open(pid, file).is_ok_and(|file| {
                            FileKey::of(&file.file).is_ok_and(|found| found == key)
                        })
                    })
            });
        }
        Ok(mapped)
    }

    /// Says what is wrong with the file that the user named, where it can be seen from here.
    ///
    /// # Errors
    /// [`AttachError::Object`], [`AttachError::NoAllocator`], or why it cannot be read.
    pub fn check_object(&self) -> Result<(), AttachError> {
        let Some(path) = &self.object else {
            return Ok(());
        };
        let Ok(data) = std::fs::metadata(path) else {
            return Ok(());
        };
        let object_error = |source| AttachError::Object {
            path: path.clone(),
            source,
        };
        // A FIFO must not be waited for.
        if !data.is_file() {
            return Err(object_error(match data.is_dir() {
                true => ObjectError::Directory,
                false => ObjectError::NotRegular,
            }));
        }
        let Ok(file) = File::open(path) else {
            return Ok(());
        };
        let bytes = files::bytes(&OpenedFile {
            path: path.clone(),
            file,
        })?;
        let symbols = ObjectSymbols::parse(&bytes).map_err(object_error)?;
        if plan(&symbols, &bytes, &self.options).functions.is_empty() {
            return Err(self.no_allocator(path.display().to_string()));
        }
        Ok(())
    }

    fn place(
        &mut self,
        tracer: &mut Tracer,
        pid: u32,
        path: &Path,
        opened: &OpenedFile,
        placed: &mut Placed,
    ) -> Result<(), AttachError> {
        let Some(file) = self.planned(path, opened)? else {
            return self.place_loader_hook(tracer, pid, path, opened);
        };
        let Ok(key) = FileKey::of(&opened.file) else {
            return Ok(());
        };
        if !self.placed.insert((pid, key)) {
            return Ok(());
        }
        let (links, ebpf) = tracer.links();
        match links.attach(ebpf, Scope::Process(pid), &opened.path, &probes(&file)) {
            Ok(attached) => self.attached += attached,
            Err(error) => {
                self.placed.remove(&(pid, key));
                // A refusal because the process has just ended is told as such.
                info::read(pid)?;
                return Err(error.into());
            }
        }
        placed.files.push(file);
        Ok(())
    }

    /// Probes the dynamic loader, so that the kernel side learns of a library's end before another takes its place.
    fn place_loader_hook(
        &mut self,
        tracer: &mut Tracer,
        pid: u32,
        path: &Path,
        opened: &OpenedFile,
    ) -> Result<(), AttachError> {
        let Ok(key) = FileKey::of(&opened.file) else {
            return Ok(());
        };
        if !self.hooks_loader || self.hooked.contains(&(pid, key)) {
            return Ok(());
        }
        let probe = files::bytes(opened)
            .ok()
            .and_then(|image| loader_probe(path, &image));
        let Some(probe) = probe else {
            return Ok(());
        };
        let (links, ebpf) = tracer.links();
        // Without it stacks are still counted; only those of code at reused addresses get the older code's names.
        if links
            .attach(ebpf, Scope::Process(pid), &opened.path, &[probe])
            .is_ok()
        {
            self.hooked.insert((pid, key));
        }
        Ok(())
    }

    /// The plan of a file; `None` if there is nothing to probe in it.
    fn planned(
        &mut self,
        path: &Path,
        opened: &OpenedFile,
    ) -> Result<Option<Rc<ProbedFile>>, AttachError> {
        let Ok(key) = FileKey::of(&opened.file) else {
            return Ok(None);
        };
        if let Some(known) = self.plans.get(&key) {
            return Ok(known.clone());
        }
        let file = self.read(path, opened)?;
        self.plans.insert(key, file.clone());
        Ok(file)
    }

    fn read(
        &mut self,
        path: &Path,
        opened: &OpenedFile,
    ) -> Result<Option<Rc<ProbedFile>>, AttachError> {
        let named = self.object.is_some();
        let bytes = match files::bytes(opened) {
            Ok(bytes) => bytes,
            Err(error) if named => return Err(error.into()),
            Err(_) => return Ok(None),
        };
        let symbols = match ObjectSymbols::parse(&bytes) {
            Ok(symbols) => symbols,
            Err(source) if named => {
                return Err(AttachError::Object {
                    path: path.to_owned(),
                    source,
                });
            }
            Err(_) => return Ok(None), // a font, an archive: mapped, but not code
        };
        let plan = plan(&symbols, &bytes, &self.options);
        if plan.functions.is_empty() && !(named && plan.left_out.is_empty()) {
            self.leave_out(path, &plan);
            return Ok(None);
        }
        if plan.functions.is_empty() {
            return Err(self.no_allocator(path.display().to_string()));
        }
        Ok(Some(self.register(path, plan)))
    }

    /// Keeps which functions of a file are not traced.
    fn leave_out(&mut self, path: &Path, plan: &Plan) {
        let left = plan.left_out.iter().cloned();
        self.left_out
            .extend(left.map(|left| (path.to_owned(), left)));
    }

    /// Takes the functions of a file into the table.
    fn register(&mut self, path: &Path, plan: Plan) -> Rc<ProbedFile> {
        self.leave_out(path, &plan);
        let first_function = self.functions.len() as u32;
        let functions = plan.functions.iter();
        self.functions
            .extend(functions.map(|function| (function.name.clone(), function.call.class)));
        Rc::new(ProbedFile {
            path: path.to_owned(),
            plan,
            first_function,
        })
    }

    /// The error for a process without anything to probe.
    pub fn nothing_found(&self, pid: u32) -> AttachError {
        let name = info::read(pid)
            .map(|info| format!(" ({})", info.comm))
            .unwrap_or_default();
        self.no_allocator(format!("process {pid}{name}"))
    }

    fn no_allocator(&self, place: String) -> AttachError {
        let hint = match &self.options.prefix {
            Some(_) => " with this prefix; leave out --symbols-prefix to look for the usual ones",
            None if self.object.is_some() => {
                "; if its functions have a prefix, name it with --symbols-prefix"
            }
            None => {
                "; is it static and stripped, or written in Go? name the file with --object, or a prefix with --symbols-prefix"
            }
        };
        AttachError::NoAllocator { place, hint }
    }
}
