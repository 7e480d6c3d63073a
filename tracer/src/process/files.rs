//! Opens a file that a process has mapped so that it is the very file: not another one of the same name.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Deref, Range};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::remedy;
use super::maps::MappedFile;

/// Why a mapped file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The process has exited, or has unmapped the file, and no name leads to it.
    #[error("{path} of process {pid} is gone: it was unmapped, or the process has exited")]
    Gone {
        /// The process.
        pid: u32,
        /// The file's path as the process saw it.
        path: PathBuf,
    },
    /// The kernel refused it.
    #[error(
        "no permission to open {path}: {}",
        remedy("run as root, or with CAP_SYS_ADMIN (for /proc/PID/map_files) and CAP_SYS_PTRACE")
    )]
    Denied {
        /// What was opened.
        path: PathBuf,
    },
    /// The path names another file by now (an upgrade, say), and the mapped one was out of reach.
    #[error("{path} is not the file that process {pid} has mapped: it was replaced since")]
    Replaced {
        /// The process.
        pid: u32,
        /// What was opened.
        path: PathBuf,
    },
    /// A device or the like.
    #[error("{path} is not a regular file")]
    NotRegular {
        /// What was opened.
        path: PathBuf,
    },
    /// Any other I/O error.
    #[error("cannot open {path}: {source}")]
    Io {
        /// What was opened.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A mapped file, open.
#[derive(Debug)]
pub struct OpenedFile {
    /// The path that led to it. It leads there again while the process keeps it mapped, so a probe can be attached
    /// through it.
    pub path: PathBuf,
    /// The file.
    pub file: File,
}

/// The bytes of a file, mapped for reading.
#[derive(Debug)]
pub struct FileBytes(memmap2::Mmap);

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The link to the file behind a mapping of a process.
pub fn link(pid: u32, range: &Range<u64>) -> PathBuf {
    format!("/proc/{pid}/map_files/{:x}-{:x}", range.start, range.end).into()
}

/// Opens a mapped file of a process: through `map_files`, which reaches deleted and replaced files too, else by
/// its path in the process's own mount namespace.
pub fn open(pid: u32, mapped: &MappedFile) -> Result<OpenedFile, FileError> {
    let first = match open_regular(link(pid, &mapped.range)) {
        Ok(opened) => return Ok(opened),
        Err(error) => error,
    };
    let roots = [format!("/proc/{pid}/root"), "/".to_owned()];
    let by_name = open_by_name(pid, mapped, &roots[0])
        // The process is gone, and its mount namespace with it: the file may be the same in ours.
        .or_else(|error| open_by_name(pid, mapped, &roots[1]).map_err(|_| error));
    match by_name {
        Ok(opened) => Ok(opened),
        // Of two refusals the first tells more: with the right to use map_files there would be no second.
        Err(_) if is_denied(&first.1) => Err(sort(pid, mapped, first)),
        Err(second) => Err(second),
    }
}

/// Opens a regular file by its path in the process's mount namespace.
pub fn open_in_root(pid: u32, path: &Path) -> io::Result<File> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let path = Path::new(&format!("/proc/{pid}/root")).join(relative);
    open_regular(path)
        .map(|opened| opened.file)
        .map_err(|(_, error)| error)
}

/// Maps an open file for reading.
pub fn bytes(opened: &OpenedFile) -> Result<FileBytes, FileError> {
    // SAFETY: the mapping is private and only read. A file that is truncated meanwhile would raise SIGBUS at a
    // read past its new end; package managers replace libraries by rename and leave the mapped inode alone.
    let map = unsafe { memmap2::Mmap::map(&opened.file) };
    map.map(FileBytes).map_err(|source| FileError::Io {
        path: opened.path.clone(),
        source,
    })
}

fn open_by_name(pid: u32, mapped: &MappedFile, root: &str) -> Result<OpenedFile, FileError> {
    let relative = mapped.path.strip_prefix("/").unwrap_or(&mapped.path);
    let path = Path::new(root).join(relative);
    let opened = open_regular(path).map_err(|error| sort(pid, mapped, error))?;
    let inode = opened.file.metadata().map(|data| data.ino());
    match inode {
        // The device is left out of the comparison: overlayfs and btrfs report another one by stat than in maps.
        Ok(inode) if inode == mapped.id.inode => Ok(opened),
        Ok(_) => Err(FileError::Replaced {
            pid,
            path: opened.path,
        }),
        Err(source) => Err(FileError::Io {
            path: opened.path,
            source,
        }),
    }
}

/// Opens without waiting (a path may by now name a FIFO) and makes sure that it is a regular file.
fn open_regular(path: PathBuf) -> Result<OpenedFile, (PathBuf, io::Error)> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(&path);
    match opened.and_then(|file| Ok((file.metadata()?, file))) {
        Ok((data, file)) if data.is_file() => Ok(OpenedFile { path, file }),
        Ok(_) => Err((path, io::Error::from_raw_os_error(libc::ENODEV))),
        Err(error) => Err((path, error)),
    }
}

fn is_denied(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM))
}

fn sort(pid: u32, mapped: &MappedFile, (path, source): (PathBuf, io::Error)) -> FileError {
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => FileError::Gone {
            pid,
            path: mapped.path.clone(),
        },
        Some(libc::EACCES | libc::EPERM) => FileError::Denied { path },
        Some(libc::ENODEV | libc::ENXIO | libc::EISDIR) => FileError::NotRegular { path },
        _ => FileError::Io { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::super::maps;
    use super::*;

    fn own_file(suffix: &str) -> MappedFile {
        let files = maps::executable_files(&maps::read(std::process::id()).expect("own maps"));
        files
            .into_iter()
            .find(|f| f.path.to_string_lossy().contains(suffix))
            .expect("mapped")
    }

    #[test]
    fn opens_the_very_file() {
        let opened = open(std::process::id(), &own_file("libc.so")).expect("open libc");
        assert_eq!(bytes(&opened).expect("map it")[..4], *b"\x7fELF");
    }

    #[test]
    fn by_name_only_the_same_inode_will_do() {
        let pid = std::process::id();
        let mut file = own_file("libc.so");
        open_by_name(pid, &file, "/").expect("the same inode");
        file.id.inode += 1;
        assert!(matches!(
            open_by_name(pid, &file, "/"),
            Err(FileError::Replaced { .. })
        ));
    }

    #[test]
    fn a_file_without_any_name_left_is_gone() {
        let mut file = own_file("libc.so");
        file.range = 0x1000..0x2000;
        file.path = "/no such file".into();
        let error = open(std::process::id(), &file).expect_err("nothing there");
        assert!(
            matches!(error, FileError::Gone { .. } | FileError::Denied { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_device_is_not_regular() {
        let mut file = own_file("libc.so");
        file.path = "/dev/null".into();
        assert!(matches!(
            open_by_name(std::process::id(), &file, "/"),
            Err(FileError::NotRegular { .. })
        ));
    }
}
