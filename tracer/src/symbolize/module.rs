//! A mapped file, held open: its descriptor outlives the process and the file's name.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use object::elf::{FileHeader64, NT_GNU_BUILD_ID, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, ReadCache};

use crate::process::files::{self, FileError};
use crate::process::maps::{FileId, MappedFile};
use crate::profile::Missing;

/// A file that holds code.
#[derive(Debug)]
pub(super) struct Module {
    /// Open, or the reason why it is not.
    file: Result<File, Missing>,
    elf: OnceCell<Elf>,
}

/// What an ELF file says about itself; empty for any other file.
#[derive(Debug, Default)]
struct Elf {
    build_id: Option<String>,
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    offset: u64,
    size: u64,
    address: u64,
}

impl Module {
    fn open(pid: u32, mapped: &MappedFile) -> Module {
        let file =
            files::open(pid, mapped)
                .map(|opened| opened.file)
                .map_err(|error| match error {
                    FileError::Gone { .. } => Missing::FileGone,
                    FileError::Denied { .. } => Missing::FileDenied,
                    FileError::Replaced { .. } => Missing::FileReplaced,
                    FileError::NotRegular { .. } => Missing::FileNotRegular,
                    FileError::Io { .. } => Missing::FileUnopened,
                });
        Module {
            file,
            elf: OnceCell::new(),
        }
    }

    /// A path that leads to this very file from within this process, or the reason why there is none.
    pub fn path(&self) -> Result<PathBuf, Missing> {
        let file = self.file.as_ref().map_err(|reason| *reason)?;
        Ok(PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
    }

    /// Build id, in hex.
    pub fn build_id(&self) -> Option<&str> {
        self.elf().build_id.as_deref()
    }

    /// SVMA of a file offset.
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        let segment = self
            .elf()
            .segments
            .iter()
            .find(|s| offset.wrapping_sub(s.offset) < s.size)?;
        Some((offset - segment.offset).wrapping_add(segment.address))
    }

    /// Whether it is an ELF file.
    pub fn is_elf(&self) -> bool {
        !self.elf().segments.is_empty()
    }

    fn elf(&self) -> &Elf {
        self.elf.get_or_init(|| {
            self.file
                .as_ref()
                .ok()
                .and_then(|file| read_elf(file).ok())
                .unwrap_or_default()
        })
    }
}

/// Build id of an ELF file, in hex.
pub(super) fn build_id(path: &Path) -> Option<String> {
    read_elf(&File::open(path).ok()?).ok()?.build_id
}

fn read_elf(file: &File) -> object::read::Result<Elf> {
    let data = ReadCache::new(file);
    let header = FileHeader64::<LittleEndian>::parse(&data)?;
    let endian = header.endian()?;
    let mut elf = Elf::default();
    for segment in header.program_headers(endian, &data)? {
        if segment.p_type(endian) == PT_LOAD {
            let (offset, size) = segment.file_range(endian);
            elf.segments.push(Segment {
                offset,
                size,
                address: segment.p_vaddr(endian),
            });
        }
        let Ok(Some(mut notes)) = segment.notes(endian, &data) else {
            continue;
        };
        while let Ok(Some(note)) = notes.next() {
            if note.name() == b"GNU" && note.n_type(endian) == NT_GNU_BUILD_ID {
                elf.build_id = Some(
                    note.desc()
                        .iter()
                        .map(|byte| format!("{byte:02x}"))
                        .collect(),
                );
            }
        }
    }
    Ok(elf)
}

/// Every module in use, each open once however many processes map it.
#[derive(Debug, Default)]
pub(super) struct Modules(HashMap<FileId, Rc<Module>>);

impl Modules {
    /// The module of a mapped file.
    pub fn get(&mut self, pid: u32, mapped: &MappedFile) -> Rc<Module> {
        if let Some(known) = self.0.get(&mapped.id)
            && known.file.is_ok()
        {
            // An open file keeps its inode number from being given to another.
            return Rc::clone(known);
        }
        let module = Rc::new(Module::open(pid, mapped));
        self.0.insert(mapped.id, Rc::clone(&module));
        module
    }

    /// Closes the modules that no process image holds any more; returns the paths that they had.
    pub fn close_unused(&mut self) -> Vec<PathBuf> {
        let unused: Vec<FileId> = self
            .0
            .iter()
            .filter(|(_, module)| Rc::strong_count(module) == 1)
            .map(|(id, _)| *id)
            .collect();
        let closed = unused
            .iter()
            .filter_map(|id| self.0.get(id)?.path().ok())
            .collect();
        self.0.retain(|id, _| !unused.contains(id));
        closed
    }
}
