//! From a process's mapped files to probes in the kernel: each file is read once, and probed in each process on its
//! own.

mod error;
mod floor;
mod placed;
mod plans;
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
use crate::bpf::{Attached, Tracer};
use crate::process::files::{self, FileError, OpenedFile};
use crate::process::info;
use crate::process::maps::{self, FileId, MappedFile, Mapping};

pub use error::AttachError;
pub use placed::Missing;
pub use plans::sightings;
pub use probes::{is_slow, probes};

use placed::Probed;
use plans::{Content, loader_probe};

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
    /// Offsets of the probed instructions and the first byte of each.
    sites: Vec<Site>,
    /// Whether it was probed in any process.
    was_placed: std::cell::Cell<bool>,
}

/// A probed instruction in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Site {
    /// Offset in the file.
    offset: u64,
    /// The byte there by which a breakpoint would be told (`Arch::breakpoint`).
    original: u8,
}

/// What a file holds for us.
#[derive(Clone, Debug)]
enum Use {
    /// Nothing.
    Nothing,
    /// Functions of an allocator.
    Allocator(Rc<ProbedFile>),
    /// The hook of a dynamic loader.
    Loader(crate::bpf::Probe),
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
    /// What each file that was read holds.
    uses: HashMap<FileKey, Use>,
    /// Files with nothing for us, as the mappings of all processes tell them: they need not be opened again.
    passed: HashSet<FileId>,
    /// What is in place, by process.
    probed: HashMap<u32, Probed>,
    /// Whether stacks are kept, for which the loader is probed.
    hooks_loader: bool,
    attached: Attached,
    functions: Vec<(String, Class)>,
    left_out: Vec<(PathBuf, LeftOut)>,
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
            uses: HashMap::new(),
            passed: HashSet::new(),
            probed: HashMap::new(),
            hooks_loader: !callers_of_frees,
            attached: Attached::default(),
            functions: Vec::new(),
            left_out: Vec::new(),
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

    /// The files that have probes now or had them.
    fn files(&self) -> impl Iterator<Item = &Rc<ProbedFile>> {
        let mut files: Vec<&Rc<ProbedFile>> = self
            .uses
            .values()
            .filter_map(|held| match held {
                Use::Allocator(file) if file.was_placed.get() => Some(file),
                _ => None,
            })
            .collect();
        files.sort_by_key(|file| file.first_function);
        files.into_iter()
    }

    /// How many files have probes now or had them.
    pub fn probed_files(&self) -> usize {
        self.files().count()
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
        let maps = maps::read(pid)?;
        let mapped = self.chosen(pid, &maps);
        self.check_chosen(pid, &mapped)?;
        let placed = self.attach_mapped(tracer, pid, &mapped)?;
        self.locate(pid, &maps);
        if !self.has_probes(pid) {
            return Err(self.nothing_found(pid));
        }
        Ok(placed)
    }

    /// Probes what a process has mapped since the last time; nothing new is no error.
    pub fn attach_new(
        &mut self,
        tracer: &mut Tracer,
        pid: u32,
        maps: &[Mapping],
    ) -> Result<Placed, AttachError> {
        let mut mapped = self.chosen(pid, maps);
        mapped.retain(|file| !self.passed.contains(&file.id));
        let placed = self.attach_mapped(tracer, pid, &mapped)?;
        self.locate(pid, maps);
        Ok(placed)
    }

    fn attach_mapped(
        &mut self,
        tracer: &mut Tracer,
        pid: u32,
        mapped: &[MappedFile],
    ) -> Result<Placed, AttachError> {
        let mut placed = Placed::default();
        for mapped in mapped {
            if self.holds(pid, mapped.id) {
                continue;
            }
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
            let source = (mapped.path.as_path(), Some(mapped.id));
            self.place(tracer, pid, source, &opened, &mut placed)?;
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
            let opened = OpenedFile {
                path: path.clone(),
                file,
            };
            self.place(tracer, pid, (path, None), &opened, &mut placed)?;
        }
        Ok(placed)
    }

    /// Plans the probes of everything that a process has mapped, without placing any.
    pub fn survey(&mut self, pid: u32) -> Result<Vec<Rc<ProbedFile>>, AttachError> {
        let mut found = Vec::new();
        let mapped = self.chosen(pid, &maps::read(pid)?);
        self.check_chosen(pid, &mapped)?;
        for mapped in mapped {
            if let Ok(opened) = files::open(pid, &mapped)
                && let Some((_, Use::Allocator(file))) = self.use_of(&mapped.path, &opened)?
            {
                found.push(file);
            }
        }
        Ok(found)
    }

    /// The one file that the user named must be among those that a process has mapped.
    fn check_chosen(&self, pid: u32, mapped: &[MappedFile]) -> Result<(), AttachError> {
        match &self.object {
            Some(path) if mapped.is_empty() => {
                // Say what is wrong with the file before saying that it is not mapped.
                self.check_object()?;
                let path = path.clone();
                Err(AttachError::NotMapped { pid, path })
            }
            _ => Ok(()),
        }
    }

    /// The files that a process has mapped and may be probed.
    fn chosen(&self, pid: u32, maps: &[Mapping]) -> Vec<MappedFile> {
        let mut mapped = maps::executable_files(maps);
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
        mapped
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

    /// Places what belongs into a file that a process has mapped, or is about to map.
    fn place(
        &mut self,
        tracer: &mut Tracer,
        pid: u32,
        (path, id): (&Path, Option<FileId>),
        opened: &OpenedFile,
        placed: &mut Placed,
    ) -> Result<(), AttachError> {
        let Some((key, found)) = self.use_of(path, opened)? else {
            return Ok(());
        };
        match found {
            Use::Nothing => self.passed.extend(id),
            Use::Allocator(file) => {
                let probes = probes(&file);
                let sites = &file.sites;
                if self.place_probes(tracer, pid, (key, id), &opened.path, &probes, sites)? {
                    file.was_placed.set(true);
                    placed.files.push(file);
                }
            }
            // Without it stacks are still counted; only those of code at reused addresses get the older code's names.
            Use::Loader(probe) if self.hooks_loader => {
                let _ = self.place_probes(tracer, pid, (key, id), &opened.path, &[probe], &[]);
            }
            Use::Loader(_) => {}
        }
        Ok(())
    }

    /// What a file holds; `None` where it cannot be told which file it is.
    fn use_of(
        &mut self,
        path: &Path,
        opened: &OpenedFile,
    ) -> Result<Option<(FileKey, Use)>, AttachError> {
        let Ok(key) = FileKey::of(&opened.file) else {
            return Ok(None);
        };
        if let Some(known) = self.uses.get(&key) {
            return Ok(Some((key, known.clone())));
        }
        let found = self.read(path, opened)?;
        self.uses.insert(key, found.clone());
        Ok(Some((key, found)))
    }

    fn read(&mut self, path: &Path, opened: &OpenedFile) -> Result<Use, AttachError> {
        let named = self.object.is_some();
        let bytes = match files::bytes(opened) {
            Ok(bytes) => bytes,
            Err(error) if named => return Err(error.into()),
            Err(_) => return Ok(Use::Nothing),
        };
        let symbols = match ObjectSymbols::parse(&bytes) {
            Ok(symbols) => symbols,
            Err(source) if named => {
                return Err(AttachError::Object {
                    path: path.to_owned(),
                    source,
                });
            }
            Err(_) => return Ok(Use::Nothing), // a font, an archive: mapped, but not code
        };
        let plan = plan(&symbols, &bytes, &self.options);
        if plan.functions.is_empty() && named && plan.left_out.is_empty() {
            return Err(self.no_allocator(path.display().to_string()));
        }
        let content = match plan.functions.is_empty() && plan.left_out.is_empty() {
            true => loader_probe(path, &bytes).map(Content::Loader),
            false => Some(Content::Allocator(plan)),
        };
        Ok(content.map_or(Use::Nothing, |content| self.take_in(path, content, &bytes)))
    }

    /// What a file that was read is good for; its functions go into the table.
    fn take_in(&mut self, path: &Path, content: Content, bytes: &[u8]) -> Use {
        match content {
            Content::Loader(probe) => Use::Loader(probe),
            Content::Allocator(plan) if plan.functions.is_empty() => {
                self.leave_out(path, &plan);
                Use::Nothing
            }
            Content::Allocator(plan) => Use::Allocator(self.register(path, plan, bytes)),
        }
    }

    /// Keeps which functions of a file are not traced.
    fn leave_out(&mut self, path: &Path, plan: &Plan) {
        let left = plan.left_out.iter().cloned();
        self.left_out
            .extend(left.map(|left| (path.to_owned(), left)));
    }

    /// Takes the functions of a file into the table.
    fn register(&mut self, path: &Path, plan: Plan, bytes: &[u8]) -> Rc<ProbedFile> {
        self.leave_out(path, &plan);
        let first_function = self.functions.len() as u32;
        let functions = plan.functions.iter();
        self.functions
            .extend(functions.map(|function| (function.name.clone(), function.call.class)));
        let mut file = ProbedFile {
            path: path.to_owned(),
            plan,
            first_function,
            sites: Vec::new(),
            was_placed: std::cell::Cell::new(false),
        };
        file.sites = plans::sites(&probes(&file), bytes);
        Rc::new(file)
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
