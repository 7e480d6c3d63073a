//! From `-p PID,...` and `-n NAME` to processes that can be traced, and a reason for each that cannot.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::info::{self, ImageId, Machine, ProcessInfo, State};
use super::{ProcessError, info::all_pids};
use super::{maps, translator};
use crate::arch::Arch;

/// Bytes of a name that the kernel keeps (`TASK_COMM_LEN` less the final zero).
const COMM_BYTES: usize = 15;

/// A process that can be traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its PID.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Which program image it was when it was chosen.
    pub image: ImageId,
}

/// A process that was asked for and cannot be traced.
#[derive(Debug, thiserror::Error)]
#[error("cannot trace process {id}: {reason}")]
pub struct Refusal {
    /// The id that was asked for.
    pub id: u32,
    /// Why not.
    pub reason: Untraceable,
}

/// Why a process cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum Untraceable {
    /// Nothing has that id.
    #[error("no such process (list them with `ps -e`)")]
    NoSuchProcess,
    /// It has no user-space memory.
    #[error("it is a kernel thread, which has no heap")]
    KernelThread,
    /// It is a 32-bit program.
    #[error("it is a 32-bit process, and memlens traces 64-bit {family} processes only", family = Arch::HOST.family())]
    ThirtyTwoBit,
    /// It is a program for another machine, run by an emulator.
    #[error(
        "its executable is not for {family} (ELF machine {0}), and memlens traces 64-bit {family} processes only",
        family = Arch::HOST.family()
    )]
    OtherMachine(u16),
    /// It has exited.
    #[error("it has exited and is a zombie")]
    Zombie,
    /// A tool runs a translation of its code.
    #[error(
        "it runs under {0}, which translates its code: with probes in it, it would die of SIGTRAP; --force traces it all the same"
    )]
    Translated(&'static str),
    /// It is this very process.
    #[error("it is memlens itself")]
    Myself,
    /// It could not be looked at.
    #[error(transparent)]
    Unreadable(ProcessError),
}

/// Why a name does not stand for one process.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// No process has it.
    #[error("no process is named {0}; list names with `ps -e -o pid,comm`")]
    Unknown(String),
    /// Several processes have it.
    #[error("{} processes are named {name}: give the PID of one ({})", .pids.len(), listed(.pids))]
    Several {
        /// The name.
        name: String,
        /// The PIDs of all that have it.
        pids: Vec<u32>,
    },
    /// The list of processes cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ProcessError),
}

/// What became of a request for targets.
#[derive(Debug, Default)]
pub struct Resolution {
    /// Processes to trace, each once, in the order asked for.
    pub targets: Vec<Target>,
    /// Those that cannot be traced.
    pub refusals: Vec<Refusal>,
    /// Remarks for the user, one line each.
    pub notes: Vec<String>,
    /// Whether what probes would hurt is a target as well.
    force: bool,
}

/// Resolves `-p PID[,PID...]`; with `force` also what probes would hurt.
pub fn by_pid(ids: &[u32], force: bool) -> Resolution {
    let mut found = Resolution::new(force);
    for id in ids {
        found.add(*id, info::read(*id));
    }
    found
}

/// Resolves `-n NAME`: every process whose name or executable's file name is NAME, memlens itself left out.
/// No target and no refusal means that nothing has that name.
pub fn by_name(name: &OsStr, force: bool) -> Result<Resolution, ProcessError> {
    let own = std::process::id();
    let mut found = Resolution::new(force);
    for pid in all_pids()?.into_iter().filter(|pid| *pid != own) {
        match info::read(pid) {
            Ok(info) if has_name(&info.comm, info.exe.as_deref(), name) => found.add(pid, Ok(info)),
            // Others come and go while the list is read.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(found)
}

/// The only process of that name, traceable or not. Zombies count only where no other process has the name.
///
/// # Errors
/// [`NameError`] where no process or several processes have the name.
pub fn one_by_name(name: &str) -> Result<u32, NameError> {
    // It is looked at, not probed.
    let found = by_name(name.as_ref(), true)?;
    let is_zombie = |refusal: &&Refusal| matches!(refusal.reason, Untraceable::Zombie);
    let (zombies, others): (Vec<_>, Vec<_>) = found.refusals.iter().partition(is_zombie);
    let mut pids: Vec<u32> = found.targets.iter().map(|target| target.pid).collect();
    pids.extend(others.iter().map(|refusal| refusal.id));
    if pids.is_empty() {
        pids.extend(zombies.iter().map(|refusal| refusal.id));
    }
    match pids[..] {
        [] => Err(NameError::Unknown(name.to_owned())),
        [pid] => Ok(pid),
        _ => Err(NameError::Several {
            name: name.to_owned(),
            pids,
        }),
    }
}

/// The first PIDs, so that the line stays short.
fn listed(pids: &[u32]) -> String {
    let mut words: Vec<String> = pids.iter().take(8).map(u32::to_string).collect();
    if pids.len() > words.len() {
        words.push("...".to_owned());
    }
    words.join(", ")
}

impl Resolution {
    fn new(force: bool) -> Self {
        Self {
            force,
            ..Self::default()
        }
    }

    fn add(&mut self, id: u32, info: Result<ProcessInfo, ProcessError>) {
        let translated = |pid| match self.force {
            true => None,
            false => translator::of(pid, &maps::read(pid).unwrap_or_default()),
        };
        match classify(info, std::process::id(), translated) {
            Err(reason) => self.refusals.push(Refusal { id, reason }),
            Ok((target, _)) if self.targets.iter().any(|known| known.pid == target.pid) => {}
            Ok((target, thread)) => {
                if let Some(thread) = thread {
                    self.notes.push(format!(
                        "{thread} is a thread of process {} ({}): tracing the process",
                        target.pid, target.comm
                    ));
                }
                self.targets.push(target);
            }
        }
    }
}

/// Decides whether a process can be traced. Also returns the thread id, where one was given for a PID.
fn classify(
    info: Result<ProcessInfo, ProcessError>,
    own_pid: u32,
    translated: impl Fn(u32) -> Option<&'static str>,
) -> Result<(Target, Option<u32>), Untraceable> {
    let info = info.map_err(|error| match error {
        ProcessError::Gone { .. } => Untraceable::NoSuchProcess,
        other => Untraceable::Unreadable(other),
    })?;
    match (info.state, info.machine) {
        _ if info.pid == own_pid => Err(Untraceable::Myself),
        _ if info.kernel_thread => Err(Untraceable::KernelThread),
        (State::Zombie, _) => Err(Untraceable::Zombie),
        (_, Some(Machine::ThirtyTwoBit)) => Err(Untraceable::ThirtyTwoBit),
        (_, Some(Machine::Other(number))) => Err(Untraceable::OtherMachine(number)),
        // Where the executable cannot be read, attaching will say why.
        (_, Some(Machine::Own) | None) => {
            if let Some(tool) = translated(info.pid) {
                return Err(Untraceable::Translated(tool));
            }
            let target = Target {
                pid: info.pid,
                comm: info.comm,
                image: info.image,
            };
            Ok((target, info.asked_for_thread))
        }
    }
}

/// Whether a process has that name: its `comm` (of which the kernel keeps 15 bytes) or its executable's file name.
pub fn has_name(comm: &str, exe: Option<&Path>, name: &OsStr) -> bool {
    let name = name.as_bytes();
    let file_name = exe.and_then(Path::file_name).map(OsStr::as_bytes);
    let file_name = file_name.map(|file| file.strip_suffix(b" (deleted)").unwrap_or(file));
    let comm = comm.as_bytes();
    if file_name == Some(name) || comm == name {
        return true;
    }
    // A cut comm says no more than how the name begins: the file name decides, unless it is that of an interpreter.
    let cut = comm.len() == COMM_BYTES && name.len() > COMM_BYTES && name.starts_with(comm);
    cut && !file_name.is_some_and(|file| file.starts_with(comm))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(comm: &str, exe: &str) -> ProcessInfo {
        let mut info = info::read(std::process::id()).expect("own process");
        info.pid = 4242;
        info.comm = comm.into();
        info.exe = Some(exe.into());
        info
    }

    fn refusal(change: impl FnOnce(&mut ProcessInfo)) -> String {
        let mut process = info("victim", "/bin/victim");
        change(&mut process);
        classify(Ok(process), 1, |_| None)
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn each_refusal_has_its_reason() {
        assert!(refusal(|p| p.kernel_thread = true).contains("kernel thread"));
        assert!(refusal(|p| p.state = State::Zombie).contains("zombie"));
        assert!(refusal(|p| p.pid = 1).contains("memlens itself"));
        assert!(
            refusal(|p| p.machine = Some(Machine::ThirtyTwoBit))
                .contains("64-bit x86 processes only")
        );
        assert!(refusal(|p| p.machine = Some(Machine::Other(183))).contains("183"));
        let ordinary = || Ok(info("victim", "/bin/victim"));
        classify(ordinary(), 1, |_| None).expect("an ordinary process is fine");
        let refused = classify(ordinary(), 1, |_| Some("valgrind")).expect_err("translated");
        assert!(
            refused.to_string().starts_with("it runs under valgrind"),
            "{refused}"
        );
    }

    #[test]
    fn several_pids_succeed_in_part() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("spawn");
        let found = by_pid(
            &[child.id(), std::process::id(), 1 << 23, child.id()],
            false,
        );
        child.kill().expect("kill");
        child.wait().expect("reap");
        assert_eq!(
            found.targets.iter().map(|t| t.pid).collect::<Vec<_>>(),
            [child.id()]
        );
        let said: Vec<_> = found.refusals.iter().map(Refusal::to_string).collect();
        assert_eq!(said.len(), 2);
        assert!(said[0].ends_with("it is memlens itself"), "{}", said[0]);
        assert!(
            said[1].starts_with("cannot trace process 8388608: no such process"),
            "{}",
            said[1]
        );
    }

    #[test]
    fn names_match_by_comm_or_executable() {
        let yes = |comm, exe: &str, name: &str| {
            assert!(
                has_name(comm, Some(exe.as_ref()), name.as_ref()),
                "{comm} {exe} {name}"
            )
        };
        let no = |comm, exe: &str, name: &str| {
            assert!(
                !has_name(comm, Some(exe.as_ref()), name.as_ref()),
                "{comm} {exe} {name}"
            )
        };
        yes("redis-server", "/usr/bin/redis-check-rdb", "redis-server");
        yes("worker", "/usr/sbin/nginx", "nginx");
        yes("nginx", "/usr/sbin/nginx (deleted)", "nginx");
        yes(
            "gnome-session-b",
            "/usr/libexec/gnome-session-binary",
            "gnome-session-binary",
        );
        yes("my-long-script-", "/usr/bin/python3", "my-long-script-name");
        no(
            "gnome-session-b",
            "/usr/libexec/gnome-session-bootstrap",
            "gnome-session-binary",
        );
        no("redis-server", "/usr/bin/redis-server", "redis");
        no("a", "/bin/a", "ab");
    }

    /// A zombie has the name only as long as no other process has it; two processes are one too many.
    #[test]
    fn a_name_stands_for_one_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = format!("one-{}", std::process::id());
        let start = |program: &str, argument: &str| {
            let path = folder.path().join(program).join(&name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("is made");
            let _ = std::os::unix::fs::symlink(format!("/bin/{program}"), &path);
            let child = std::process::Command::new(path).arg(argument).spawn();
            child.expect("spawn")
        };
        let found = || one_by_name(&name).map_err(|error| error.to_string());
        let unknown = format!("no process is named {name}; list names with `ps -e -o pid,comm`");
        assert_eq!(found(), Err(unknown));
        let mut zombie = start("true", "");
        while info::read(zombie.id()).expect("child").state != State::Zombie {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(found(), Ok(zombie.id()));
        let mut first = start("sleep", "60");
        assert_eq!(found(), Ok(first.id()));
        let mut second = start("sleep", "60");
        let several = found().expect_err("two processes");
        for child in [&mut zombie, &mut first, &mut second] {
            let _ = child.kill();
            child.wait().expect("reap");
        }
        assert!(
            several.starts_with(&format!("2 processes are named {name}: ")),
            "{several}"
        );
        assert_eq!(listed(&[7; 9]), "7, 7, 7, 7, 7, 7, 7, 7, ...");
    }

    #[test]
    fn finds_a_process_by_name() {
        let mut child = std::process::Command::new("sleep")
            .arg("61")
            .spawn()
            .expect("spawn");
        // Between fork and exec it still has this program's name.
        while info::read(child.id()).expect("child").comm != "sleep" {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let found = by_name("sleep".as_ref(), false).expect("list processes");
        child.kill().expect("kill");
        child.wait().expect("reap");
        assert!(found.targets.iter().any(|t| t.pid == child.id()));
    }
}
