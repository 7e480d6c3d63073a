//! Starts a command stopped: the child waits before `exec` until it is released, so that probes are there first.

use std::ffi::{CString, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::startup::{CommandError, find_command};

/// A command that has not run its first instruction yet. Dropping it ends the child.
#[derive(Debug)]
pub struct Stopped {
    /// `None` once released.
    child: Option<Pid>,
    /// A byte here lets the child go; closing it ends the child.
    gate: io::PipeWriter,
    /// Carries the errno of a failed `exec`; a successful one closes it.
    failure: io::PipeReader,
    command: OsString,
}

/// A command that runs. Dropping it leaves the command running.
#[derive(Debug)]
pub struct Running {
    /// Its PID.
    pub pid: u32,
    /// Set once it has been waited for: from then on the PID may be another process's.
    exit: Option<Exit>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Stopped {
    /// Forks a child that will run `argv` in this environment, with this process's standard streams and all signals
    /// at their defaults. The child dies with the calling *thread* until it is released.
    pub fn spawn(argv: &[OsString]) -> Result<Stopped, CommandError> {
        let command = argv.first().cloned().unwrap_or_default();
        let fail = |source| CommandError {
            command: command.clone().into(),
            source,
        };
        let image = Image::prepare(argv)?;
        let (gate_reader, gate) = io::pipe().map_err(fail)?;
        let (failure, failure_writer) = io::pipe().map_err(fail)?;
        let child = Child {
            gate: gate_reader.as_raw_fd(),
            gate_writer: gate.as_raw_fd(),
            failure: failure_writer.as_raw_fd(),
            parent: std::process::id().cast_signed(),
            image: image.pointers(),
        };
        // SAFETY: the child calls nothing but `Child::run`, which makes async-signal-safe calls only and never
        // returns; all that it needs was allocated above.
        match unsafe { fork() } {
            Err(errno) => Err(fail(errno.into())),
            Ok(ForkResult::Child) => child.run(),
            Ok(ForkResult::Parent { child }) => Ok(Stopped {
                child: Some(child),
                gate,
                failure,
                command,
            }),
        }
    }

    /// PID of the child, which the command will keep.
    pub fn pid(&self) -> u32 {
        self.child.map_or(0, |pid| pid.as_raw().cast_unsigned())
    }

    /// Lets the child run the command, and returns when the `exec` is done: from then on it outlives this process.
    pub fn release(mut self) -> Result<Running, CommandError> {
        let pid = self.pid();
        let mut errno = Vec::new();
        let result = self
            .gate
            .write_all(&[1])
            .and_then(|()| self.failure.read_to_end(&mut errno));
        let source = match (result, <[u8; 4]>::try_from(errno.as_slice())) {
            (Err(error), _) => error,
            (Ok(_), Ok(errno)) => io::Error::from_raw_os_error(i32::from_ne_bytes(errno)),
            (Ok(_), Err(_)) => {
                self.child = None;
                return Ok(Running { pid, exit: None });
            }
        };
        // Dropping `self` reaps the child.
        Err(CommandError {
            command: self.command.clone().into(),
            source,
        })
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(pid) = self.child.take() {
            // It has not been waited for, so the PID is still its own. Both calls may fail only if it is gone already.
            let _ = signal::kill(pid, Signal::SIGKILL);
            let _ = wait(pid, WaitPidFlag::empty());
        }
    }
}

impl Running {
    /// Waits until the command ends.
    pub fn wait(&mut self) -> io::Result<Exit> {
        loop {
            if let Some(exit) = self.poll(WaitPidFlag::empty())? {
                return Ok(exit);
            }
        }
    }

    /// How the command ended; `None` while it runs.
    pub fn try_wait(&mut self) -> io::Result<Option<Exit>> {
        self.poll(WaitPidFlag::WNOHANG)
    }

    /// Sends a signal to the command. Does nothing once it has been waited for.
    pub fn kill(&self, signal: Signal) -> io::Result<()> {
        match self.exit {
            Some(_) => Ok(()),
            None => Ok(signal::kill(self.id(), signal)?),
        }
    }

    fn poll(&mut self, flags: WaitPidFlag) -> io::Result<Option<Exit>> {
        if self.exit.is_none() {
            self.exit = wait(self.id(), flags)?;
        }
        Ok(self.exit)
    }

    fn id(&self) -> Pid {
        Pid::from_raw(self.pid.cast_signed())
    }
}

fn wait(pid: Pid, flags: WaitPidFlag) -> io::Result<Option<Exit>> {
    loop {
        return match waitpid(pid, Some(flags)) {
            Ok(WaitStatus::Exited(_, code)) => Ok(Some(Exit::Code(code))),
            Ok(WaitStatus::Signaled(_, signal, _)) => Ok(Some(Exit::Signal(signal as i32))),
            Ok(_) => Ok(None),
            Err(nix::errno::Errno::EINTR) => continue,
            Err(errno) => Err(errno.into()),
        };
    }
}

/// The strings that `execve` takes, allocated before the fork.
struct Image {
    path: CString,
    argv: Vec<CString>,
    /// `/bin/sh PATH ARGS...`: what `execvp` tries for a file that the kernel cannot execute.
    shell_argv: Vec<CString>,
    envp: Vec<CString>,
}

/// The same as pointers, each list with a null at its end. Valid as long as the `Image` is.
struct ImagePointers {
    path: *const libc::c_char,
    argv: Vec<*const libc::c_char>,
    shell_argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
}

impl Image {
    fn prepare(argv: &[OsString]) -> Result<Image, CommandError> {
        let command = argv.first().cloned().unwrap_or_default();
        let path = find_command(&command)?;
        let c_string = |bytes: Vec<u8>| {
            CString::new(bytes).map_err(|error| CommandError {
                command: command.clone().into(),
                source: io::Error::new(io::ErrorKind::InvalidInput, error),
            })
        };
        let path = c_string(path.as_os_str().as_bytes().to_vec())?;
        let argv: Vec<CString> = argv
            .iter()
            .map(|arg| c_string(arg.as_bytes().to_vec()))
            .collect::<Result<_, _>>()?;
        let mut shell_argv = vec![c"/bin/sh".to_owned(), path.clone()];
        shell_argv.extend(argv.iter().skip(1).cloned());
        let envp = std::env::vars_os()
            .map(|(name, value)| c_string([name.as_bytes(), b"=", value.as_bytes()].concat()))
            .collect::<Result<_, _>>()?;
        Ok(Image {
            path,
            argv,
            shell_argv,
            envp,
        })
    }

    fn pointers(&self) -> ImagePointers {
        let list = |strings: &[CString]| {
            strings
                .iter()
                .map(|s| s.as_ptr())
                .chain([std::ptr::null()])
                .collect()
        };
        ImagePointers {
            path: self.path.as_ptr(),
            argv: list(&self.argv),
            shell_argv: list(&self.shell_argv),
            envp: list(&self.envp),
        }
    }
}

/// What the child needs between fork and exec, where only async-signal-safe calls are allowed (signal-safety(7)):
/// another thread may have held the allocator's lock at the fork.
struct Child {
    gate: RawFd,
    gate_writer: RawFd,
    failure: RawFd,
    parent: libc::pid_t,
    image: ImagePointers,
}

impl Child {
    fn run(&self) -> ! {
        // SAFETY: closes the child's copy of a descriptor that nothing in the child uses. Were it left open, the
        // read at the gate would never see the parent's end close.
        unsafe { libc::close(self.gate_writer) };
        // SAFETY: takes integers only.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        // SAFETY: takes nothing. A parent that died before the line above would not be noticed by it.
        if unsafe { libc::getppid() } != self.parent {
            exit_now(127);
        }
        reset_signals();
        if !self.wait_at_gate() {
            exit_now(127);
        }
        // SAFETY: takes integers only. The parent waits for the exec, so it cannot end in between unnoticed.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
        let mut errno = exec(self.image.path, &self.image.argv, &self.image.envp);
        if errno == libc::ENOEXEC {
            errno = exec(
                c"/bin/sh".as_ptr(),
                &self.image.shell_argv,
                &self.image.envp,
            );
        }
        let bytes = errno.to_ne_bytes();
        // SAFETY: writes four bytes of a live array. Should it fail, the exit status still tells.
        unsafe { libc::write(self.failure, bytes.as_ptr().cast(), bytes.len()) };
        exit_now(127)
    }

    /// Waits for the byte that lets the child go; false if the parent closed its end instead.
    fn wait_at_gate(&self) -> bool {
        let mut byte = 0u8;
        loop {
            // SAFETY: reads at most one byte, into a live byte.
            let read = unsafe { libc::read(self.gate, (&raw mut byte).cast(), 1) };
            if read >= 0 {
                return read == 1;
            }
            if io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                return false;
            }
        }
    }
}

/// Sets every signal to its default and unblocks all, as a shell would start the command.
fn reset_signals() {
    // 64 is the kernel's last signal number. SIGKILL, SIGSTOP and the two that libc keeps for itself fail, harmlessly.
    for signal in 1..=64 {
        // SAFETY: the default disposition runs no code of this process.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: all-zero is a valid sigset_t, the empty set; both pointers are valid or null as allowed.
    unsafe {
        let none: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Returns only on failure, with the errno.
fn exec(
    path: *const libc::c_char,
    argv: &[*const libc::c_char],
    envp: &[*const libc::c_char],
) -> i32 {
    // SAFETY: the strings are owned by the `Image` that outlives the fork, and both lists end in a null.
    unsafe { libc::execve(path, argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::ENOEXEC)
}

fn exit_now(code: i32) -> ! {
    // SAFETY: ends the child without running this process's exit handlers a second time.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
