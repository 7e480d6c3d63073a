//! A thread that makes the table of live blocks larger when the programs find little room in it.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tracer_common::event::Pressure;
use tracer_common::key::LiveBlock;
use tracer_common::live::word;

use super::table::LiveTable;
use crate::bpf::LoadError;
use crate::bpf::events::Events;

/// How long the thread rests when there was nothing to do; where there is no memory, up to [`LONGEST_REST`].
const REST: Duration = Duration::from_millis(20);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// The live blocks of processes, in a table that is kept at the right size.
pub struct LiveBlocks {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The same blocks, for reading in another thread.
#[derive(Clone)]
pub struct LiveReader(Arc<Shared>);

/// What the thread and the others have in common.
struct Shared {
    table: Mutex<LiveTable>,
    /// Wakes the thread.
    wake: EventFd,
    /// Ends the thread.
    stop: AtomicBool,
}

fn failed(source: io::Error) -> LoadError {
    LoadError::Map {
        map: "LIVE",
        source,
    }
}

impl LiveBlocks {
    /// Starts the thread. `pressure` is what the programs send when they find little room.
    ///
    /// # Errors
    /// If there is no further thread or descriptor.
    pub fn new(table: LiveTable, pressure: Events<Pressure>) -> io::Result<Self> {
        table.watch();
        let shared = Arc::new(Shared {
            table: Mutex::new(table),
            wake: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
            stop: AtomicBool::new(false),
        });
        let own = shared.clone();
        let thread = Builder::new()
            .name("live table".into())
            .spawn(move || own.keep(pressure))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// As [`LiveReader::for_each`].
    ///
    /// # Errors
    /// [`LoadError::Map`] if the table cannot be read.
    pub fn for_each(&self, visit: impl FnMut(u64, u32, &LiveBlock)) -> Result<(), LoadError> {
        self.shared.for_each(visit)
    }

    /// Reads them in another thread. The table stays as long as there is a reader.
    pub fn reader(&self) -> LiveReader {
        LiveReader(self.shared.clone())
    }

    /// Removes the blocks of program images that are gone; returns how many there were.
    ///
    /// # Errors
    /// [`LoadError::Map`] if the table cannot be read.
    pub fn remove_images(&self, gone: &HashSet<u32>) -> Result<usize, LoadError> {
        if gone.is_empty() {
            return Ok(0);
        }
        let is_gone = |word: u64, payload: &_| gone.contains(&word::block_in(word, payload).1);
        self.shared.table().remove_if(is_gone).map_err(failed)
    }
}

impl LiveReader {
    /// Calls `visit` once for each live block, with its address and the number of its program image. Blocks that come
    /// and go meanwhile may be missed.
    ///
    /// # Errors
    /// [`LoadError::Map`] if the table cannot be read.
    pub fn for_each(&self, visit: impl FnMut(u64, u32, &LiveBlock)) -> Result<(), LoadError> {
        self.0.for_each(visit)
    }
}

impl Drop for LiveBlocks {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, LiveTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn for_each(&self, mut visit: impl FnMut(u64, u32, &LiveBlock)) -> Result<(), LoadError> {
        let mut live = 0;
        let table = self.table();
        table
            .for_each(|word, payload| {
                let (addr, image, block) = word::block_in(word, payload);
                live += 1;
                visit(addr, image, &block);
            })
            .map_err(failed)?;
        if table.fits_better(live) {
            self.wake();
        }
        Ok(())
    }

    fn wake(&self) {
        // It fails only if the thread has been woken 2^64 times and has not looked.
        let _ = self.wake.write(1);
    }

    /// Keeps the table at the right size until it is to stop.
    fn keep(&self, mut pressure: Events<Pressure>) {
        let mut rest = REST;
        while !self.stop.load(Ordering::SeqCst) {
            // SAFETY: the descriptor of a ring that outlives the borrow.
            let ring = unsafe { BorrowedFd::borrow_raw(pressure.as_raw_fd()) };
            if wait(&[self.wake.as_fd(), ring], None).is_err() {
                return;
            }
            // It fails where the ring has woken the thread.
            let _ = self.wake.read();
            while pressure.take_next().is_some() {}
            let fitted = {
                let mut table = self.table();
                let fitted = table.fit();
                table.watch();
                fitted
            };
            rest = match fitted {
                Ok(true) => continue,
                Ok(false) => REST,
                Err(_) => LONGEST_REST.min(rest * 2),
            };
            // Only an end wakes it before.
            if wait(&[self.wake.as_fd()], Some(rest)).is_err() {
                return;
            }
        }
    }
}

/// Waits until one of them can be read, or for so long.
fn wait(fds: &[BorrowedFd<'_>], longest: Option<Duration>) -> nix::Result<()> {
    let mut fds: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    let longest = longest.and_then(|longest| PollTimeout::try_from(longest).ok());
    loop {
        match poll(&mut fds, longest.unwrap_or(PollTimeout::NONE)) {
            Err(nix::Error::EINTR) => {}
            other => return other.map(drop),
        }
    }
}
