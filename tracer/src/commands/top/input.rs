//! Keys, the mouse and signals, in a thread of their own.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use anyhow::{Context, Result, bail};
use crossterm::event;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Told;
use crate::engine::Interrupt;

/// How long a signal, or another size of the terminal, may wait where no key is pressed: milliseconds.
const SLICE: u16 = 100;

/// The thread. It ends soon after this is dropped. Nobody waits for that: of a terminal that is gone crossterm reads the
/// end again and again.
pub struct Input {
    is_over: Arc<AtomicBool>,
}

impl Input {
    /// Begins to read the terminal.
    pub fn begin(interrupt: Interrupt, tell: Sender<Told>) -> Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        std::thread::Builder::new()
            .name("input".into())
            .spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    let told = match next(&interrupt) {
                        Ok(None) => continue,
                        Ok(Some(told)) => told,
                        Err(error) => Told::Broken(error),
                    };
                    let is_last = matches!(told, Told::Broken(_) | Told::Interrupted);
                    if tell.send(told).is_err() || is_last {
                        return;
                    }
                }
            })
            .context("cannot start a thread")?;
        Ok(Self { is_over })
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// What has happened, if anything has within a slice of time.
fn next(interrupt: &Interrupt) -> Result<Option<Told>> {
    if interrupt.is_set() {
        return Ok(Some(Told::Interrupted));
    }
    let stdin = io::stdin();
    let mut polled = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::from(SLICE)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error).context("cannot read the terminal"),
    }
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    let found = polled[0].revents().unwrap_or(PollFlags::empty());
    if found.intersects(gone) {
        bail!("the terminal is gone");
    }
    // Another size is told without anything to read.
    match event::poll(std::time::Duration::ZERO).context("cannot read the terminal")? {
        true => Ok(Some(Told::Event(
            event::read().context("cannot read the terminal")?,
        ))),
        false => Ok(None),
    }
}
