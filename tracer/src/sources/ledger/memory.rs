//! Reading another process's memory without stopping it and without bringing in pages that are not there.
//!
//! A plain read of untouched memory would make the kernel map a page for it, and one of swapped memory would swap it
//! back in. So the page map is asked first, and only pages that are in memory are read. What is read may change
//! meanwhile: whoever interprets it checks it.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::process::ProcessError;
use crate::process::maps::{self, Mapping};

/// Bytes of a page; x86-64 has no other base size.
pub const PAGE: u64 = 4096;

/// Pages looked up in the page map at once: 8 MiB of memory.
const BATCH: usize = 2048;

/// Most remote pieces of one call (`UIO_MAXIOV`).
const MOST_PIECES: usize = 1024;

/// Where a page of memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// In memory.
    Present,
    /// On a swap device.
    Swapped,
    /// Nowhere: never touched, or given back.
    Absent,
}

/// Why memory could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The process has exited.
    #[error("the process has exited")]
    Gone,
    /// The kernel refused it.
    #[error("no permission to read its memory: run as root, or with CAP_SYS_PTRACE")]
    Denied,
    /// Nothing is there, or not any more.
    #[error("nothing is mapped at {0:#x}")]
    Unmapped(u64),
    /// The page is swapped out, and reading it would bring it back.
    #[error("the page at {0:#x} is swapped out, and reading it would bring it back")]
    Swapped(u64),
    /// Any other error.
    #[error("its memory cannot be read: {}", .0.desc())]
    Other(Errno),
}

impl ReadError {
    fn from_errno(errno: Errno, address: u64) -> Self {
        match errno {
            Errno::ESRCH => Self::Gone,
            Errno::EPERM | Errno::EACCES => Self::Denied,
            Errno::EFAULT | Errno::EIO => Self::Unmapped(address),
            other => Self::Other(other),
        }
    }

    /// Whether reading anything else is hopeless, too.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Gone | Self::Denied)
    }
}

/// Memory of a process, or an image of it.
pub trait Memory {
    /// Where the pages from `start` (a multiple of [`PAGE`]) on are.
    ///
    /// # Errors
    /// [`ReadError`], but never `Unmapped` or `Swapped`: such pages are absent or swapped.
    fn pages(&mut self, start: u64, count: usize) -> Result<Vec<Page>, ReadError>;

    /// Copies present pages: `into` covers `pages` from `start` on. Bytes of other pages are set to 0.
    ///
    /// # Errors
    /// [`ReadError`]; `Unmapped` where a page has gone since `pages` was asked.
    fn copy(&mut self, start: u64, pages: &[Page], into: &mut [u8]) -> Result<(), ReadError>;

    /// Copies bytes that must all be present.
    ///
    /// # Errors
    /// [`ReadError`].
    fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), ReadError> {
        let mut window = Window::default();
        window.load(self, address, into.len())?;
        let bytes = window.bytes_at(address, into.len())?;
        into.copy_from_slice(bytes);
        Ok(())
    }

    /// Reads one word.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn word(&mut self, address: u64) -> Result<u64, ReadError> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Bytes of the whole pages in a range that are in memory.
    ///
    /// # Errors
    /// As [`Memory::pages`].
    fn resident(&mut self, start: u64, end: u64) -> Result<u64, ReadError> {
        let mut page = start.next_multiple_of(PAGE);
        let end = end - end % PAGE;
        let mut resident = 0;
        while page < end {
            let count =
                usize::try_from((end - page) / PAGE).map_or(BATCH, |pages| pages.min(BATCH));
            let pages = self.pages(page, count)?;
            let present = pages.iter().filter(|page| **page == Page::Present).count();
            resident += present as u64 * PAGE;
            page += count as u64 * PAGE;
        }
        Ok(resident)
    }
}

/// A process to look at: its memory, and its mappings as they are now.
pub trait Process: Memory {
    /// Reads the mappings anew.
    ///
    /// # Errors
    /// [`ReadError`].
    fn mappings(&mut self) -> Result<Vec<Mapping>, ReadError>;
}

/// A piece of memory as it was at one moment.
#[derive(Clone, Debug, Default)]
pub struct Window {
    start: u64,
    bytes: Vec<u8>,
    pages: Vec<Page>,
}

impl Window {
    /// Loads the pages that `length` bytes from `address` on touch.
    ///
    /// # Errors
    /// [`ReadError`]; the window is empty then.
    pub fn load<M: Memory + ?Sized>(
        &mut self,
        memory: &mut M,
        address: u64,
        length: usize,
    ) -> Result<(), ReadError> {
        let start = address - address % PAGE;
        let end = address
            .checked_add(length as u64)
            .and_then(|end| end.checked_next_multiple_of(PAGE))
            .ok_or(ReadError::Unmapped(address))?;
        let length = usize::try_from(end - start).map_err(|_| ReadError::Unmapped(address))?;
        self.bytes.clear();
        self.pages = memory.pages(start, length / PAGE as usize)?;
        self.start = start;
        self.bytes.resize(length, 0);
        let copied = memory.copy(start, &self.pages, &mut self.bytes);
        if copied.is_err() {
            self.bytes.clear();
        }
        copied
    }

    /// One past the last address.
    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Whether the window covers bytes, present or not.
    pub fn covers(&self, address: u64, length: u64) -> bool {
        address >= self.start && address.saturating_add(length) <= self.end()
    }

    /// The word at an address that the window covers.
    ///
    /// # Errors
    /// `Unmapped` or `Swapped` where its page is not in memory.
    #[inline]
    pub fn word(&self, address: u64) -> Result<u64, ReadError> {
        let offset = address.wrapping_sub(self.start) as usize;
        match self.bytes.get(offset..).and_then(|rest| rest.first_chunk()) {
            // A word of zeroes is rare where it matters, and may be a page that is not there.
            Some([0, 0, 0, 0, 0, 0, 0, 0]) => self.check(address).map(|()| 0),
            Some(word) => Ok(u64::from_le_bytes(*word)),
            None => Err(ReadError::Unmapped(address)),
        }
    }

    /// Bytes that the window covers.
    ///
    /// # Errors
    /// `Unmapped` or `Swapped` where one of their pages is not in memory.
    pub fn bytes_at(&self, address: u64, length: usize) -> Result<&[u8], ReadError> {
        let offset = address.wrapping_sub(self.start) as usize;
        let end = offset.checked_add(length);
        let bytes = end.and_then(|end| self.bytes.get(offset..end));
        let bytes = bytes.ok_or(ReadError::Unmapped(address))?;
        let mut page = address - address % PAGE;
        while page < address + length as u64 {
            self.check(page)?;
            page += PAGE;
        }
        Ok(bytes)
    }

    fn check(&self, address: u64) -> Result<(), ReadError> {
        match self.pages.get(((address - self.start) / PAGE) as usize) {
            Some(Page::Present) => Ok(()),
            Some(Page::Swapped) => Err(ReadError::Swapped(address)),
            Some(Page::Absent) | None => Err(ReadError::Unmapped(address)),
        }
    }
}

/// The memory of a running process.
#[derive(Debug)]
pub struct ProcessMemory {
    pid: Pid,
    pagemap: File,
}

impl ProcessMemory {
    /// Opens the memory of a process for reading.
    ///
    /// # Errors
    /// [`ReadError`]: `Denied` or `Gone`.
    pub fn open(pid: u32) -> Result<Self, ReadError> {
        let errno = |error: std::io::Error| match error.raw_os_error() {
            Some(libc::ENOENT) => ReadError::Gone,
            Some(code) => ReadError::from_errno(Errno::from_raw(code), 0),
            None => ReadError::Other(Errno::UnknownErrno),
        };
        let pagemap = File::open(format!("/proc/{pid}/pagemap")).map_err(errno)?;
        let pid = i32::try_from(pid).map_err(|_| ReadError::Gone)?;
        let memory = Self {
            pid: Pid::from_raw(pid),
            pagemap,
        };
        // The right to read a page map is less than the right to read memory: ask for the latter now.
        match memory.pieces(0, &[Page::Present], &mut [0; PAGE as usize]) {
            Err(ReadError::Unmapped(_)) | Ok(()) => Ok(memory),
            Err(error) => Err(error),
        }
    }

    /// Adds the pages from `start` on to `pages`, at most [`BATCH`].
    fn look_up(&self, start: u64, count: usize, pages: &mut Vec<Page>) -> Result<(), ReadError> {
        let mut bytes = [0; BATCH * 8];
        let bytes = &mut bytes[..count * 8];
        let read = self.pagemap.read_at(bytes, start / PAGE * 8);
        let read = read.map_err(|error| {
            ReadError::from_errno(Errno::from_raw(error.raw_os_error().unwrap_or(0)), start)
        })?;
        pages.extend(bytes[..read].chunks_exact(8).map(|entry| page(entry[7])));
        // A process that has exited has an empty page map; so has the part above its addresses.
        pages.extend(std::iter::repeat_n(Page::Absent, count - read / 8));
        Ok(())
    }

    fn pieces(&self, start: u64, pages: &[Page], into: &mut [u8]) -> Result<(), ReadError> {
        let mut remote = Vec::new();
        let mut local = Vec::new();
        let mut rest = into;
        let mut at = start;
        for run in pages.chunk_by(|one, next| one == next) {
            let length = run.len() * PAGE as usize;
            let (piece, after) = rest.split_at_mut(length);
            rest = after;
            if run[0] == Page::Present {
                remote.push(RemoteIoVec {
                    base: at as usize,
                    len: length,
                });
                local.push(IoSliceMut::new(piece));
            }
            at += length as u64;
        }
        for (remote, local) in remote
            .chunks(MOST_PIECES)
            .zip(local.chunks_mut(MOST_PIECES))
        {
            let wanted: usize = remote.iter().map(|piece| piece.len).sum();
            let address = remote.first().map_or(start, |piece| piece.base as u64);
            let read = process_vm_readv(self.pid, local, remote)
                .map_err(|errno| ReadError::from_errno(errno, address))?;
            if read < wanted {
                return Err(ReadError::Unmapped(address + read as u64));
            }
        }
        Ok(())
    }
}

/// What the highest byte of a page map entry says: bit 63 present, bit 62 swapped.
const fn page(high: u8) -> Page {
    if high & 0x80 != 0 {
        Page::Present
    } else if high & 0x40 != 0 {
        Page::Swapped
    } else {
        Page::Absent
    }
}

impl Memory for ProcessMemory {
    fn pages(&mut self, start: u64, count: usize) -> Result<Vec<Page>, ReadError> {
        let mut pages = Vec::with_capacity(count);
        while pages.len() < count {
            let more = (count - pages.len()).min(BATCH);
            self.look_up(start + pages.len() as u64 * PAGE, more, &mut pages)?;
        }
        Ok(pages)
    }

    fn copy(&mut self, start: u64, pages: &[Page], into: &mut [u8]) -> Result<(), ReadError> {
        self.pieces(start, pages, into)
    }
}

impl Process for ProcessMemory {
    fn mappings(&mut self) -> Result<Vec<Mapping>, ReadError> {
        maps::read(self.pid.as_raw().cast_unsigned()).map_err(|error| match error {
            ProcessError::Gone { .. } => ReadError::Gone,
            ProcessError::Denied { .. } => ReadError::Denied,
            _ => ReadError::Other(Errno::EIO),
        })
    }
}
