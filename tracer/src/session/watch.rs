//! The traced processes while a trace runs: who execs, who exits, who maps new code.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};
use tracer_common::event::{LifecycleEvent, LifecycleKind};
use tracer_common::key::Owner;

use crate::bpf::{Events, Mapped, MappingEvents};
use crate::report::ProcessState;

/// One program that was traced: a process from one `exec` to the next.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its owner id.
    pub owner: Owner,
    /// Its name.
    pub comm: String,
    /// Whether it still runs.
    pub state: ProcessState,
}

/// Something happened to a traced process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has replaced its program; the new one's owner id.
    Exec(Owner),
    /// It has ended.
    Exit(u32),
    /// It has mapped new code.
    Map(u32),
}

/// Watches the traced processes.
pub struct Watcher {
    lifecycle: AsyncFd<Events<LifecycleEvent>>,
    mappings: Vec<AsyncFd<MappingEvents>>,
    exits: HashMap<u32, AsyncFd<OwnedFd>>,
}

impl Watcher {
    /// Starts to watch. Must be called within the runtime.
    pub fn new(lifecycle: Events<LifecycleEvent>) -> io::Result<Self> {
        let rings = MappingEvents::open()?;
        let mappings = rings.into_iter().map(readable).collect::<io::Result<_>>()?;
        Ok(Self {
            lifecycle: readable(lifecycle)?,
            mappings,
            exits: HashMap::new(),
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

    /// Whether the process is one that still runs.
    pub fn is_running(&self, pid: u32) -> bool {
        self.exits.contains_key(&pid)
    }

    /// Waits until something happens, and tells what. Execs come before exits.
    pub async fn changes(&mut self) -> io::Result<Vec<Change>> {
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

    /// What has happened by now.
    pub fn collect(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some(event) = self.lifecycle.get_mut().take_next() {
            changes.push(match LifecycleKind::from_raw(event.kind) {
                Some(LifecycleKind::Exec) => Change::Exec(event.owner),
                _ => Change::Exit(event.owner.tgid),
            });
        }
        for ring in &mut self.mappings {
            for mapped in ring.get_mut().drain() {
                match mapped {
                    Mapped::Process(pid) if self.exits.contains_key(&pid) => {
                        changes.push(Change::Map(pid))
                    }
                    Mapped::Process(_) => {}
                    Mapped::Unknown => {
                        changes.extend(self.exits.keys().map(|pid| Change::Map(*pid)))
                    }
                }
            }
        }
        for (pid, end) in &self.exits {
            if has_ended(end) && !changes.contains(&Change::Exit(*pid)) {
                changes.push(Change::Exit(*pid));
            }
        }
        for change in &changes {
            if let Change::Exit(pid) = change {
                self.exits.remove(pid);
            }
        }
        changes
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
