//! What a process is: its name, state, kind and identity.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use procfs::process::{Process, Stat, StatFlags};

use super::ProcessError;
use crate::arch::Arch;

/// Facts about one process at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// PID (thread-group id), as this PID namespace sees it.
    pub pid: u32,
    /// The id that was asked for was that of another thread than the first.
    pub asked_for_thread: Option<u32>,
    /// Name, at most 15 bytes.
    pub comm: String,
    /// Path of the executable; `None` where there is none or it may not be read.
    pub exe: Option<PathBuf>,
    /// What it is doing.
    pub state: State,
    /// PID of the parent.
    pub parent: u32,
    /// Number of threads.
    pub threads: u64,
    /// It runs in the kernel only.
    pub kernel_thread: bool,
    /// The executable's machine; `None` where it could not be read.
    pub machine: Option<Machine>,
    /// Real user id.
    pub uid: u32,
    /// PID in the innermost PID namespace that it lives in.
    pub ns_pid: u32,
    /// Which program image this is.
    pub image: ImageId,
}

/// What a process is doing, as far as a tracer cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs or sleeps.
    Alive,
    /// It is stopped by a signal or a debugger.
    Stopped,
    /// It has exited and waits for its parent to notice.
    Zombie,
}

/// The instruction set that an executable is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// That of this machine, with words of 64 bits.
    Own,
    /// 32-bit x86, the x32 variant of x86-64, or 32-bit Arm.
    ThirtyTwoBit,
    /// Anything else: the ELF header's `e_machine`.
    Other(u16),
}

/// Tells one program image from another under the same PID: a reused PID has another start time, an `exec` another
/// layout (address randomisation moves it; without that, arguments and environment move the stack).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageId {
    /// Start of the process, in clock ticks since boot.
    pub start_time: u64,
    /// Addresses of the code's start and end and of the stack's start; 0 or 1 where the kernel does not tell.
    layout: (u64, u64, u64),
}

impl ImageId {
    /// Whether another process has a copy of this one's memory, as after a `fork`: the same layout.
    pub fn is_copied_by(&self, other: &Self) -> bool {
        self.layout == other.layout
    }
}

/// Reads the facts about a process. `id` may be that of any of its threads.
pub fn read(id: u32) -> Result<ProcessInfo, ProcessError> {
    let wrap = |error| ProcessError::from_procfs(id, error);
    let asked = open(id)?;
    let status = asked.status().map_err(wrap)?;
    let pid = status.tgid.cast_unsigned();
    let (process, status) = match pid == id {
        true => (asked, status),
        false => {
            let process = open(pid)?;
            let status = process.status().map_err(wrap)?;
            (process, status)
        }
    };
    let stat = process.stat().map_err(wrap)?;
    let ns_pid = status.nspid.as_deref().and_then(|ids| ids.last()).copied();
    Ok(ProcessInfo {
        pid,
        asked_for_thread: (pid != id).then_some(id),
        state: state(stat.state),
        exe: process.exe().ok(),
        parent: stat.ppid.cast_unsigned(),
        threads: status.threads,
        kernel_thread: is_kernel_thread(stat.flags),
        machine: machine(pid),
        uid: status.ruid,
        ns_pid: ns_pid.map_or(pid, i32::cast_unsigned),
        image: image_of(&stat),
        comm: stat.comm,
    })
}

/// Name of a process, at most 15 bytes; "?" if it has ended.
pub fn name(pid: u32) -> String {
    let text = std::fs::read(format!("/proc/{pid}/comm"));
    text.map_or_else(
        |_| "?".to_owned(),
        |text| String::from_utf8_lossy(text.trim_ascii_end()).into_owned(),
    )
}

/// Reads which program image runs under a PID now.
pub fn image(pid: u32) -> Result<ImageId, ProcessError> {
    let stat = open(pid)?
        .stat()
        .map_err(|error| ProcessError::from_procfs(pid, error))?;
    Ok(image_of(&stat))
}

/// Where the heap of a process begins, which `brk` moves the end of; `None` where the kernel does not tell.
pub fn heap_start(pid: u32) -> Option<u64> {
    open(pid)
        .ok()?
        .stat()
        .ok()?
        .start_brk
        .filter(|start| *start > 1)
}

/// PIDs of all processes that this PID namespace shows, by ascending number.
pub fn all_pids() -> Result<Vec<u32>, ProcessError> {
    let path = PathBuf::from("/proc");
    let io = |source| ProcessError::Io {
        path: path.clone(),
        source,
    };
    let mut pids = Vec::new();
    for entry in std::fs::read_dir(&path).map_err(io)? {
        pids.extend(
            entry
                .map_err(io)?
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok()),
        );
    }
    pids.sort_unstable();
    Ok(pids)
}

/// Resident memory of this process in bytes; `None` where the kernel does not tell.
pub fn own_resident_bytes() -> Option<u64> {
    resident_bytes(std::process::id())
}

/// Resident memory of a process in bytes; `None` if it has ended.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * procfs::page_size())
}

/// What changes from moment to moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// It is stopped by a signal or a debugger.
    pub is_stopped: bool,
    /// It has ended, or its first thread has.
    pub is_zombie: bool,
    /// CPU time of all its threads, those that have ended included.
    pub cpu: Duration,
    /// Start of the process, in clock ticks since boot.
    pub start_time: u64,
    /// It runs in the kernel only.
    pub kernel_thread: bool,
}

/// Whether a process runs on although its first thread has ended.
pub fn is_without_leader(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    vitals(pid).is_some_and(|vitals| vitals.is_zombie)
        && threads.is_ok_and(|threads| threads.count() > 1)
}

/// Reads what changes of a process; `None` if it has ended.
pub fn vitals(pid: u32) -> Option<Vitals> {
    parse_vitals(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads the text of `/proc/PID/stat`: the state is field 3, flags 9, CPU ticks of the program and of the kernel for it
/// 14 and 15, the start 22, resident pages 24 (proc_pid_stat(5)). The name, field 2, may hold anything but ends with
/// the last parenthesis.
fn parse_vitals(text: &[u8]) -> Option<Vitals> {
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(&text[end + 1..])
        .ok()?
        .split_ascii_whitespace();
    let letter = fields.next()?.chars().next()?;
    let flags: u32 = fields.nth(5)?.parse().ok()?;
    let mut ticks: u64 = fields.nth(4)?.parse().ok()?;
    ticks += fields.next()?.parse::<u64>().ok()?;
    let start_time = fields.nth(6)?.parse().ok()?;
    let pages: u64 = fields.nth(1)?.parse().ok()?;
    Some(Vitals {
        resident_bytes: pages * procfs::page_size(),
        is_stopped: state(letter) == State::Stopped,
        is_zombie: state(letter) == State::Zombie,
        cpu: Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64),
        start_time,
        kernel_thread: is_kernel_thread(flags),
    })
}

/// The present time as [`ImageId::start_time`] counts it: clock ticks since boot, suspended time included.
pub fn now_in_ticks() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    let now = now.map(Duration::from).unwrap_or_default();
    (now.as_secs_f64() * procfs::ticks_per_second() as f64) as u64
}

fn open(pid: u32) -> Result<Process, ProcessError> {
    let id = i32::try_from(pid).map_err(|_| ProcessError::Gone { pid })?;
    Process::new(id).map_err(|error| ProcessError::from_procfs(pid, error))
}

fn state(letter: char) -> State {
    match letter {
        'Z' | 'X' | 'x' => State::Zombie,
        'T' | 't' => State::Stopped,
        _ => State::Alive,
    }
}

fn is_kernel_thread(flags: u32) -> bool {
    flags & StatFlags::PF_KTHREAD.bits() != 0
}

fn image_of(stat: &Stat) -> ImageId {
    ImageId {
        start_time: stat.starttime,
        layout: (stat.startcode, stat.endcode, stat.startstack),
    }
}

/// The machine that a process's executable is made for; `None` where it cannot be read.
pub fn machine(pid: u32) -> Option<Machine> {
    let mut header = [0; 20];
    File::open(format!("/proc/{pid}/exe"))
        .ok()?
        .read_exact(&mut header)
        .ok()?;
    machine_of(&header)
}

/// Reads the machine off an ELF header: `EI_CLASS` at 4, `e_machine` at 18.
fn machine_of(header: &[u8; 20]) -> Option<Machine> {
    use object::elf::{EM_386, EM_ARM, EM_X86_64, Machine as Number};
    if header[..4] != *b"\x7fELF" {
        return None;
    }
    Some(
        match (
            header[4],
            Number(u16::from_le_bytes([header[18], header[19]])),
        ) {
            (2, own) if own == Arch::HOST.elf_machine() => Machine::Own,
            (1, EM_386 | EM_X86_64 | EM_ARM) => Machine::ThirtyTwoBit,
            (_, other) => Machine::Other(other.0),
        },
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn knows_itself() {
        let info = read(std::process::id()).expect("own process");
        assert_eq!(info.pid, std::process::id());
        assert_eq!(info.exe, std::env::current_exe().ok());
        assert_eq!(info.machine, Some(Machine::Own));
        assert_eq!(info.state, State::Alive);
        assert!(!info.kernel_thread && info.threads >= 1 && info.asked_for_thread.is_none());
        assert_eq!(image(info.pid).expect("own image"), info.image);
        assert!(all_pids().expect("list").contains(&info.pid));
    }

    #[test]
    fn a_thread_leads_to_its_process() {
        let (tid_out, tid_in) = std::sync::mpsc::channel();
        let (done_out, done_in) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tid_out
                .send(nix::unistd::gettid().as_raw().cast_unsigned())
                .expect("send");
            let _ = done_in.recv();
        });
        let tid = tid_in.recv().expect("tid");
        let info = read(tid).expect("thread");
        assert_eq!(
            (info.pid, info.asked_for_thread),
            (std::process::id(), Some(tid))
        );
        drop(done_out);
        thread.join().expect("join");
    }

    #[test]
    fn a_zombie_is_a_zombie_and_then_gone() {
        let mut child = Command::new("true").spawn().expect("spawn");
        let pid = child.id();
        let start = std::time::Instant::now();
        while read(pid).expect("not reaped yet").state != State::Zombie {
            assert!(start.elapsed().as_secs() < 10, "true did not exit");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        child.wait().expect("reap");
        assert!(matches!(read(pid), Err(ProcessError::Gone { .. })));
    }

    #[test]
    fn an_id_out_of_range_is_gone() {
        assert!(matches!(read(u32::MAX), Err(ProcessError::Gone { .. })));
    }

    #[test]
    fn the_header_tells_the_machine() {
        let header = |class, machine: u16| {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(b"\x7fELF");
            bytes[4] = class;
            bytes[18..].copy_from_slice(&machine.to_le_bytes());
            bytes
        };
        assert_eq!(machine_of(&header(2, 62)), Some(Machine::Own));
        assert_eq!(machine_of(&header(1, 3)), Some(Machine::ThirtyTwoBit));
        assert_eq!(machine_of(&header(1, 62)), Some(Machine::ThirtyTwoBit));
        assert_eq!(machine_of(&header(2, 183)), Some(Machine::Other(183)));
        assert_eq!(machine_of(&[0; 20]), None);
        assert!(is_kernel_thread(0x0020_8040) && !is_kernel_thread(0x0040_0000));
    }
}
