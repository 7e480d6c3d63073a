//! A child process that cannot outlive its owner.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::patience::patient;

/// How often a wait looks again.
const POLL: Duration = Duration::from_millis(5);

/// How long a process may take for the work that is waited for.
const WORK_LIMIT: Duration = Duration::from_secs(60);

/// How long a server may take to stop its own children when it is told to end.
const GRACE: Duration = Duration::from_secs(3);

/// A process started here, in a process group of its own: the group is killed when this is dropped, the process when
/// the thread that started it dies.
#[derive(Debug)]
pub struct Owned {
    child: Child,
    what: String,
    gentle: bool,
}

impl Owned {
    /// Starts a command.
    pub fn start(command: &mut Command) -> Result<Self> {
        Self::start_with(command, false)
    }

    /// Starts a server that has children of its own: it is told to end (SIGTERM), and killed only if it does not.
    pub fn start_server(command: &mut Command) -> Result<Self> {
        Self::start_with(command, true)
    }

    fn start_with(command: &mut Command, gentle: bool) -> Result<Self> {
        let signal = if gentle { libc::SIGTERM } else { libc::SIGKILL };
        let what = format!("{command:?}");
        // SAFETY: between fork and exec only prctl is called, which is safe there and touches no memory.
        unsafe {
            command.process_group(0).pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, signal) == 0 {
                    Ok(())
                } else {
                    Err(std::io::Error::last_os_error())
                }
            });
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {what}"))?;
        Ok(Self {
            child,
            what,
            gentle,
        })
    }

    /// The command as it was started.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Its PID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard library handle, for the pipes.
    pub fn handle(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends it a signal, unless it has ended already.
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        send_signal(self.pid(), signal).with_context(|| format!("to {}", self.what))
    }

    /// Its status, if it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("cannot wait for {}", self.what))
    }

    /// Waits until it ends, for so long at most.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let limit = patient(limit);
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                bail!("{} still runs after {limit:?}", self.what);
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // What fails here has ended before, and that is what is wanted.
        if self.gentle {
            let _ = self.signal(libc::SIGTERM);
            let _ = self.wait(GRACE);
        }
        let group = i32::try_from(self.pid()).unwrap_or(i32::MAX);
        let _ = kill(-group, libc::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to one process.
pub fn send_signal(pid: u32, signal: i32) -> Result<()> {
    let pid = i32::try_from(pid).context("a PID fits a signed number")?;
    kill(pid, signal).with_context(|| format!("cannot send signal {signal} to PID {pid}"))
}

fn kill(pid: i32, signal: i32) -> std::io::Result<()> {
    // SAFETY: kill takes two integers and touches no memory.
    if unsafe { libc::kill(pid, signal) } == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// Polls until something is there, for so long at most.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let limit = patient(limit);
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if start.elapsed() > limit {
            bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(POLL);
    }
}

/// Polls until what there is has stayed the same for so long.
pub fn until_unchanged<T: PartialEq>(
    what: &str,
    still: Duration,
    limit: Duration,
    mut look: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut last = (look()?, Instant::now());
    until(what, limit, || {
        let now = look()?;
        if now != last.0 {
            last = (now, Instant::now());
        }
        Ok((last.1.elapsed() >= still).then_some(()))
    })?;
    Ok(last.0)
}

/// State letters of a process's threads (proc_pid_stat(5)). One that has just ended has none.
pub fn thread_states(pid: u32) -> Result<Vec<char>> {
    let mut states = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = std::fs::read_to_string(thread?.path().join("stat")).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map(|(_, rest)| rest);
        states.extend(rest.and_then(|rest| rest.chars().next()));
    }
    Ok(states)
}

/// Waits until a process has worked for so long, by its CPU time: what else runs on the machine does not matter.
pub fn until_worked(pid: u32, time: Duration) -> Result<()> {
    /// `USER_HZ`, which is the same on all machines that memlens runs on.
    const TICKS_A_SECOND: u64 = 100;
    let used = || -> Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, fields) = stat.rsplit_once(") ").context("no name in its stat")?;
        // User and system time are the fields 14 and 15; the state after the name is the third.
        let times = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
        Ok(times.sum::<Result<u64, _>>()?)
    };
    let wanted = used()? + u64::try_from(time.as_millis())? * TICKS_A_SECOND / 1_000;
    let what = format!("PID {pid} works for {time:?}");
    until(&what, WORK_LIMIT, || Ok((used()? >= wanted).then_some(())))
}
