//! Removes the probes quickly when memlens is killed.
//!
//! The kernel closes the descriptors of a dead process one after the other, and each link waits for a grace period,
//! some 50 ms: the probes of a hundred processes would stay for half a minute. So a second process shares memlens's
//! table of descriptors (`CLONE_FILES`, and nothing else), waits for memlens's end, and closes them on many threads of
//! control at the same time. It has a copy of memlens's memory, as after a fork, in which only system calls are made.

use std::io;
use std::os::fd::RawFd;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// Processes that close descriptors at the same time.
const CLOSERS: RawFd = 64;
/// Signals that a terminal sends to memlens and to it alike, or that ask memlens to end: memlens answers them.
const IGNORED: [libc::c_int; 5] = [
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGPIPE,
];

/// The process that waits; ended when dropped, when the probes are gone.
#[derive(Debug)]
pub struct Keeper(Pid);

impl Keeper {
    /// Starts it. To be called while there is one thread.
    ///
    /// # Errors
    /// What the system said; without it all works as well, but for the time after a kill.
    pub fn start() -> io::Result<Self> {
        // SAFETY: a system call with two integers.
        let parent = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) };
        let parent = RawFd::try_from(parent).ok().filter(|fd| *fd >= 0);
        let parent = parent.ok_or_else(io::Error::last_os_error)?;
        match share_files() {
            0 => wait_and_close(parent),
            pid if pid > 0 => Ok(Self(Pid::from_raw(pid))),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Its PID.
    pub fn pid(&self) -> u32 {
        self.0.as_raw().cast_unsigned()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // It may have been killed: then there is nothing left to end.
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

/// A fork whose child has the same table of descriptors, not a copy; 0 in the child, negative where it failed.
fn share_files() -> libc::pid_t {
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: without CLONE_VM the child goes on in a copy of this memory and of this stack, as after fork(2); the
    // callers make system calls only in it.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    pid as libc::pid_t
}

/// Waits for the end of the process behind this descriptor, then closes everything. Allocates nothing.
fn wait_and_close(parent: RawFd) -> ! {
    for signal in IGNORED {
        // SAFETY: a disposition of this process alone, which shares descriptors and nothing else.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let mut ended = libc::pollfd {
        fd: parent,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one structure of this stack frame.
    while unsafe { libc::poll(&raw mut ended, 1, -1) } < 0 {}
    let most = limit();
    for share in 0..CLOSERS {
        if share_files() == 0 {
            close_every(share, most);
        }
    }
    // Where no process could be made, this one closes what is left.
    close_every(0, most);
}

/// Descriptors that there can be.
fn limit() -> RawFd {
    const MOST: RawFd = 1 << 20;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a structure of this stack frame.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    RawFd::try_from(limit.rlim_cur).unwrap_or(MOST).min(MOST)
}

/// Closes every so manieth descriptor, and ends.
fn close_every(share: RawFd, most: RawFd) -> ! {
    let mut fd = 3 + share;
    while fd < most {
        // SAFETY: nobody uses the table any more: memlens has ended.
        unsafe { libc::close(fd) };
        fd += CLOSERS;
    }
    // SAFETY: ends this process, without what a library may have to do at the end.
    unsafe { libc::_exit(0) }
}
