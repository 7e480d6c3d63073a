//! One pass over the processes: what each has, in as few system calls as it takes.
//!
//! A pass reads one file and asks for the attributes of one folder of each process: `status`, and `fd`, whose size is
//! the number of open descriptors since Linux 6.2. The folder's inode belongs to one process and never to the next one
//! with its PID, so as long as it stays the process is the same, and `stat` with the start time is read for new ones
//! only.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use super::figures::Figures;
use super::root::Root;
use super::status::{self, Parsed, Status};
use crate::process::cgroup;
use crate::profile::Place;

/// Threads that share a pass, at most. The work is the kernel's; more would only disturb it.
const MOST_THREADS: usize = 4;
/// Processes for which a thread of its own pays.
const WORTH_A_THREAD: usize = 100;

/// Tells a process from another one that had its PID before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// PID, as this PID namespace sees it.
    pub pid: u32,
    /// Its start, in clock ticks since boot.
    pub start: u64,
}

/// One process at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSample {
    /// Which process.
    pub key: ProcessKey,
    /// Name, at most 15 bytes.
    pub name: String,
    /// Real user id.
    pub uid: u32,
    /// Where it belongs; read only where a pass is asked to.
    pub place: Option<String>,
    /// Its figures.
    pub figures: Figures,
}

/// What one pass saw.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// Processes with memory, by PID.
    pub processes: Vec<ProcessSample>,
    /// Processes whose PSS was asked for and may not be read.
    pub denied: usize,
    /// Processes that could not be read for another reason than that they had gone.
    pub unreadable: usize,
}

/// What a pass reads beyond what it always does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// The PSS of each process. The kernel walks all pages of the process for it.
    pub pss: bool,
    /// The container, unit or cgroup of each process.
    pub places: bool,
}

/// Reads processes, pass after pass.
#[derive(Debug)]
pub struct Scanner {
    proc: PathBuf,
    extras: Extras,
    /// Whether the size of `/proc/PID/fd` is a number of descriptors.
    counts_fds: bool,
    known: HashMap<u32, Known>,
}

/// What is remembered of a process, so that it need not be read again.
#[derive(Clone, Debug)]
struct Known {
    inode: u64,
    start: u64,
    place: Option<String>,
}

/// Why a process gives no sample.
enum Missing {
    /// It has exited, or has no memory.
    Nothing,
    /// What the kernel says of it makes no sense.
    Unreadable,
}

/// A sample, what to remember, and whether its PSS was refused.
type Seen = (ProcessSample, Known, bool);

impl Scanner {
    /// A scanner of the processes below `root`.
    pub fn new(root: &Root, extras: Extras) -> Self {
        let proc = root.path("proc");
        Self {
            counts_fds: fs::metadata(proc.join("self/fd")).is_ok_and(|fd| fd.size() > 0),
            proc,
            extras,
            known: HashMap::new(),
        }
    }

    /// Whether passes count file descriptors. Before Linux 6.2 each count takes a walk over them, see [`Scanner::fds`].
    pub fn counts_fds(&self) -> bool {
        self.counts_fds
    }

    /// Changes what the passes to come read.
    pub fn set_extras(&mut self, extras: Extras) {
        self.extras = extras;
    }

    /// Reads all processes.
    ///
    /// # Errors
    /// Only where the list of processes itself cannot be read.
    pub fn pass(&mut self) -> io::Result<Pass> {
        let pids = pids(&self.proc)?;
        let cpus = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = (pids.len() / WORTH_A_THREAD).clamp(1, cpus.min(MOST_THREADS));
        let share = pids.len().div_ceil(threads).max(1);
        let this = &*self;
        let read = thread::scope(|scope| {
            let chunks = pids.chunks(share);
            let readers: Vec<_> = chunks
                .map(|chunk| scope.spawn(move || this.read_all(chunk)))
                .collect();
            let joined = readers.into_iter().map(|reader| reader.join());
            joined.collect::<Result<Vec<_>, _>>()
        });
        let read =
            read.map_err(|_| io::Error::other("a thread that reads processes has failed"))?;
        let mut pass = Pass::default();
        let mut known = HashMap::with_capacity(pids.len());
        for seen in read.into_iter().flatten() {
            match seen {
                Ok((sample, remembered, denied)) => {
                    pass.denied += usize::from(denied);
                    known.insert(sample.key.pid, remembered);
                    pass.processes.push(sample);
                }
                Err(Missing::Nothing) => {}
                Err(Missing::Unreadable) => pass.unreadable += 1,
            }
        }
        self.known = known;
        Ok(pass)
    }

    /// Forgets where processes belong, so that the next pass reads it again.
    pub fn forget_places(&mut self) {
        for known in self.known.values_mut() {
            known.place = None;
        }
    }

    /// PSS of one process, in bytes.
    ///
    /// # Errors
    /// `PermissionDenied` for processes of others; `NotFound` where it has gone or has no memory.
    pub fn pss(&self, pid: u32) -> io::Result<u64> {
        let text = fs::read(self.path(pid, "smaps_rollup"))?;
        status::pss(&text).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Number of open file descriptors of one process, counted one by one.
    ///
    /// # Errors
    /// As [`Scanner::pss`].
    pub fn fds(&self, pid: u32) -> io::Result<u64> {
        Ok(fs::read_dir(self.path(pid, "fd"))?.count() as u64)
    }

    /// Where one process belongs.
    ///
    /// # Errors
    /// `NotFound` where it has gone.
    pub fn place(&self, pid: u32) -> io::Result<Place> {
        Ok(cgroup::place(&fs::read_to_string(
            self.path(pid, "cgroup"),
        )?))
    }

    fn path(&self, pid: u32, file: &str) -> PathBuf {
        self.proc.join(format!("{pid}/{file}"))
    }

    fn read_all(&self, pids: &[u32]) -> Vec<Result<Seen, Missing>> {
        let mut buffer = Vec::with_capacity(4096);
        pids.iter()
            .map(|pid| self.read(*pid, &mut buffer))
            .collect()
    }

    fn read(&self, pid: u32, buffer: &mut Vec<u8>) -> Result<Seen, Missing> {
        let status = self.status(pid, buffer)?;
        let fd = fs::metadata(self.path(pid, "fd")).ok();
        let inode = fd.as_ref().map_or(0, MetadataExt::ino);
        let known = self
            .known
            .get(&pid)
            .filter(|known| inode != 0 && known.inode == inode);
        let start = match known {
            Some(known) => known.start,
            None => self.start(pid, buffer)?,
        };
        let mut figures = status.figures;
        figures.fds = fd.filter(|_| self.counts_fds).map(|fd| fd.size());
        let mut denied = false;
        if self.extras.pss {
            let pss = self.pss(pid);
            denied = pss.as_ref().is_err_and(is_denied);
            figures.pss = pss.ok();
        }
        let place = match known.and_then(|known| known.place.clone()) {
            None if self.extras.places => self.place(pid).ok().map(|place| place.label()),
            known => known,
        };
        let sample = ProcessSample {
            key: ProcessKey { pid, start },
            name: status.name,
            uid: status.uid,
            place: place.clone(),
            figures,
        };
        let known = Known {
            inode,
            start,
            place,
        };
        Ok((sample, known, denied))
    }

    fn status(&self, pid: u32, buffer: &mut Vec<u8>) -> Result<Status, Missing> {
        read_into(&self.path(pid, "status"), buffer)?;
        match status::parse(buffer) {
            Parsed::Process(status) => Ok(status),
            Parsed::NoMemory { threads_left: true } => self.status_of_a_thread(pid, buffer),
            Parsed::NoMemory { .. } => Err(Missing::Nothing),
            Parsed::Malformed => Err(Missing::Unreadable),
        }
    }

    /// The first thread may exit before the others: the kernel then says of the process what it says of a zombie, and
    /// the memory shows in the threads that are left.
    fn status_of_a_thread(&self, pid: u32, buffer: &mut Vec<u8>) -> Result<Status, Missing> {
        let tasks = self.path(pid, "task");
        for tid in pids(&tasks).map_err(|_| Missing::Nothing)? {
            if read_into(&tasks.join(format!("{tid}/status")), buffer).is_ok()
                && let Parsed::Process(status) = status::parse(buffer)
            {
                return Ok(status);
            }
        }
        Err(Missing::Nothing)
    }

    fn start(&self, pid: u32, buffer: &mut Vec<u8>) -> Result<u64, Missing> {
        read_into(&self.path(pid, "stat"), buffer)?;
        status::start_time(buffer).ok_or(Missing::Unreadable)
    }
}

/// Whether the kernel refused, rather than that there was nothing to read.
pub fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Numbers among the names in a folder, in ascending order.
fn pids(folder: &Path) -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    pids.sort_unstable();
    Ok(pids)
}

/// Reads a file of a process into a buffer that is used again and again.
fn read_into(path: &Path, buffer: &mut Vec<u8>) -> Result<(), Missing> {
    buffer.clear();
    let read = File::open(path).and_then(|mut file| file.read_to_end(buffer));
    match read {
        // An empty text is what is left of a process that exits during the read.
        Ok(0) => Err(Missing::Nothing),
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => Err(Missing::Nothing),
            _ => Err(Missing::Unreadable),
        },
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
