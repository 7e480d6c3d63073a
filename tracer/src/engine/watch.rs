//! The traced processes while a trace runs: who execs, who exits, who maps new code.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};
use tracer_common::event::{LifecycleEvent, LifecycleKind};
use tracer_common::key::Owner;

use crate::bpf::{Events, Mapped, MappedCode, MappingEvents};
use crate::process::maps::{FileId, Mapping, MappingName};

use super::clock::monotonic_ns;

/// A program that begins to be traced, as the kernel side tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its owner id.
    pub owner: Owner,
    /// Its name.
    pub comm: String,
    /// User id that it runs as.
    pub uid: u32,
    /// Its parent; 0 if that is not known.
    pub parent: u32,
    /// When it began to be traced, by `CLOCK_MONOTONIC`.
    pub at_ns: u64,
}

impl From<&LifecycleEvent> for Program {
    fn from(event: &LifecycleEvent) -> Self {
        Self {
            owner: event.owner,
            comm: String::from_utf8_lossy(event.name()).into_owned(),
            uid: event.uid,
            parent: event.parent,
            at_ns: event.time_ns,
        }
    }
}

/// Something happened to a traced process. In order of time, a program's life is: `Load`, `Map` for its executable,
/// `Exec`, `Map` for its libraries, `Exit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It begins to load another program, of this name.
    Load(u32, String),
    /// It has mapped this code.
    Map(u32, Mapping),
    /// It may have mapped code.
    Look(u32),
    /// It has replaced its program by this one.
    Exec(Program),
    /// It is about to unmap a library; the new code number in place of the image number.
    Unload(Owner),
    /// It has ended.
    Exit(u32),
    /// It has made its first traced call in a trace of the whole host; with its row in the process table.
    Admitted(Program, u32),
    /// A process of a trace of the whole host has ended.
    Ended(Owner),
    /// A traced process has started one that is not traced, with a copy of its memory.
    Forked(Owner, u32),
    /// Records were lost: any process may have mapped anything.
    Lost,
}

impl Change {
    /// What happened, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Load(pid, comm) => {
                format!("process {pid} begins to load another program, {comm}")
            }
            Self::Map(pid, mapping) => format!(
                "process {pid} maps code at {:#x}-{:#x}: {}",
                mapping.start,
                mapping.end,
                mapping
                    .label()
                    .map_or_else(|| "anonymous".into(), |path| path.to_string_lossy())
            ),
            Self::Look(pid) => format!("process {pid} may have mapped code"),
            Self::Exec(new) => format!("process {} has called exec: {}", new.owner.tgid, new.comm),
            Self::Unload(code) => format!("process {} unmaps a library", code.tgid),
            Self::Exit(pid) => format!("process {pid} has exited"),
            Self::Admitted(new, _) => {
                format!(
                    "process {} is traced from now on: {}",
                    new.owner.tgid, new.comm
                )
            }
            Self::Ended(owner) => format!("process {} has exited", owner.tgid),
            Self::Forked(parent, child) => {
                format!("process {} has forked process {child}", parent.tgid)
            }
            Self::Lost => "records of mappings were lost".to_owned(),
        }
    }
}

/// Watches the traced processes.
pub struct Watcher {
    lifecycle: AsyncFd<Events<LifecycleEvent>>,
    mappings: Vec<AsyncFd<MappingEvents>>,
    exits: HashMap<u32, AsyncFd<OwnedFd>>,
    /// Whether all processes are watched, or only those that were added.
    everyone: bool,
    /// Read from one source while another, read before it, may hold what happened earlier.
    held: Vec<(u64, Change)>,
}

impl Watcher {
    /// Starts to watch: the processes that are added, or `everyone` on the host, whose ends are then told by the kernel
    /// side, not by descriptors. Must be called within the runtime.
    pub fn new(lifecycle: Events<LifecycleEvent>, everyone: bool) -> io::Result<Self> {
        let rings = MappingEvents::open()?;
        let mappings = rings.into_iter().map(readable).collect::<io::Result<_>>()?;
        Ok(Self {
            lifecycle: readable(lifecycle)?,
            mappings,
            exits: HashMap::new(),
            everyone,
            held: Vec::new(),
        })
    }

    /// Watches a process for its end.
    pub fn add(&mut self, pid: u32) -> io::Result<()> {
        self.exits.insert(pid, readable(pidfd(pid)?)?);
        Ok(())
    }

    /// How many processes are still running.
    pub fn running(&self) -> usize {
        self.exits.len()
    }

    /// Waits until something happens, and tells what. Execs come before exits.
    pub async fn changes(&mut self) -> io::Result<Vec<Change>> {
        if !self.held.is_empty() {
            return Ok(self.collect());
        }
        let lifecycle = wait(&self.lifecycle);
        let mappings = any(&self.mappings);
        let exits = any(self.exits.values());
        tokio::select! {
            result = lifecycle => result?,
            result = mappings => result?,
            result = exits => result?,
        };
        Ok(self.collect())
    }

    /// As [`Self::changes`], but `None` if nothing happens by then, or none of those that were added runs any more.
    pub async fn changes_by(&mut self, until: tokio::time::Instant) -> Option<Vec<Change>> {
        if self.running() == 0 {
            return None;
        }
        tokio::time::timeout_at(until, self.changes())
            .await
            .ok()?
            .ok()
    }

    /// What has happened by now, in order of time.
    ///
    /// The sources are read one after the other. What is newer than the beginning of this is held until the next time:
    /// a library mapped meanwhile is read, but that another was unmapped before it may not be.
    pub fn collect(&mut self) -> Vec<Change> {
        let mut changes = std::mem::take(&mut self.held);
        // Ends that are seen now are told after everything that was written before them.
        let ended: Vec<u32> = self
            .exits
            .iter()
            .filter(|(_, end)| has_ended(end))
            .map(|(pid, _)| *pid)
            .collect();
        let until = monotonic_ns();
        while let Some(event) = self.lifecycle.get_mut().take_next() {
            match LifecycleKind::from_raw(event.kind) {
                Some(LifecycleKind::Exec) => {
                    changes.push((event.time_ns, Change::Exec(Program::from(&event))))
                }
                Some(LifecycleKind::Unload) => {
                    changes.push((event.time_ns, Change::Unload(event.owner)))
                }
                Some(LifecycleKind::Admitted) => changes.push((
                    event.time_ns,
                    Change::Admitted(Program::from(&event), event.slot),
                )),
                Some(LifecycleKind::Forked) => {
                    changes.push((event.time_ns, Change::Forked(event.owner, event.slot)))
                }
                Some(LifecycleKind::Exit) if self.everyone => {
                    changes.push((event.time_ns, Change::Ended(event.owner)))
                }
                // Told by the process's descriptor.
                Some(LifecycleKind::Exit) | None => {}
            }
        }
        let (everyone, exits) = (self.everyone, &self.exits);
        let watched = |pid: &u32| everyone || exits.contains_key(pid);
        for ring in &mut self.mappings {
            for event in ring.get_mut().drain() {
                match event.what {
                    Mapped::Code(code) if watched(&code.pid) => {
                        changes.push((event.time_ns, Change::Map(code.pid, mapping(code))));
                    }
                    Mapped::Exec { pid, comm } if watched(&pid) => {
                        changes.push((event.time_ns, Change::Load(pid, comm)));
                    }
                    Mapped::Lost if everyone => changes.push((until, Change::Lost)),
                    Mapped::Lost => {
                        changes.extend(exits.keys().map(|pid| (until, Change::Look(*pid))))
                    }
                    _ => {}
                }
            }
        }
        changes.sort_by_key(|(time, _)| *time);
        self.held = changes.split_off(changes.partition_point(|(time, _)| *time <= until));
        self.exits.retain(|pid, _| !ended.contains(pid));
        changes
            .into_iter()
            .map(|(_, change)| change)
            .chain(ended.into_iter().map(Change::Exit))
            .collect()
    }
}

/// A mapping event as `/proc/PID/maps` would tell it.
fn mapping(code: MappedCode) -> Mapping {
    let path = PathBuf::from(OsString::from_vec(code.name));
    let file = FileId {
        dev: code.device,
        inode: code.inode,
    };
    let name = match path.as_os_str().as_bytes() {
        b"" | b"//anon" => MappingName::Anonymous,
        [b'[', ..] => MappingName::Special(path.to_string_lossy().into_owned()),
        _ => MappingName::File {
            path,
            deleted: false,
        },
    };
    Mapping {
        start: code.start,
        end: code.end,
        read: true,
        write: false,
        execute: true,
        shared: false,
        offset: code.offset,
        file,
        name,
    }
}

/// Lets the runtime wait until a source can be read.
pub fn readable<T: AsRawFd>(source: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: every source here owns its descriptor and keeps it for as long as it lives.
    let registered = unsafe { AsyncFd::register_with_interest(source, Interest::READABLE) };
    registered.map_err(|error| error.into_parts().1)
}

async fn wait<T: AsRawFd>(source: &AsyncFd<T>) -> io::Result<()> {
    source
        .readable()
        .await?
        .clear_ready_matching(Ready::READABLE);
    Ok(())
}

/// Waits for the first of several; for ever if there are none.
async fn any<'a, T: AsRawFd + 'a>(
    sources: impl IntoIterator<Item = &'a AsyncFd<T>>,
) -> io::Result<()> {
    let mut waits: Vec<_> = sources
        .into_iter()
        .map(|source| Box::pin(wait(source)))
        .collect();
    std::future::poll_fn(move |context| {
        for wait in &mut waits {
            if let std::task::Poll::Ready(result) = wait.as_mut().poll(context) {
                return std::task::Poll::Ready(result);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// A descriptor that becomes readable when the process ends (Linux 5.3, pidfd_open(2)).
fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: a system call with two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

fn has_ended(pidfd: &AsyncFd<OwnedFd>) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut polled = [PollFd::new(pidfd.get_ref().as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut polled, PollTimeout::ZERO), Ok(1))
}
