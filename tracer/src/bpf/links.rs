//! Placing probes, through uprobe_multi links or, on older kernels, through perf events.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use aya::Ebpf;
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachPoint, UProbeLink, UProbeScope};

use super::error::LoadError;
use super::multi::load_multi;
use super::object;
use super::probe::{Method, Probe, ProbeProgram, programs_for, sessions};
use super::runtimes::{self, PROBE_RUNTIME};
use super::sys;

/// Attaching failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot attach {program} to {} at {offsets}: {cause}", path.display())]
pub struct ProbeError {
    program: &'static str,
    path: PathBuf,
    offsets: String,
    cause: String,
}

/// Number of probes that were attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Attached {
    /// Places probed.
    pub probes: usize,
    /// Kernel links that hold them.
    pub links: usize,
}

/// What keeps a probe in place: the kernel removes it when this is dropped.
pub enum Hold {
    /// All places of one program in one file.
    Multi {
        /// The link's descriptor.
        _link: OwnedFd,
    },
    /// One place.
    Perf {
        /// The event and its link.
        _link: UProbeLink,
    },
}

/// Links and the programs that they belong to.
pub struct Links {
    method: Method,
    programs: Vec<(ProbeProgram, OwnedFd)>,
    /// What is in place, by the process whose calls it sees.
    held: HashMap<u32, Vec<(ProbeProgram, Hold)>>,
    /// Threads that wait for the kernel to remove probes.
    closing: Vec<JoinHandle<()>>,
}

impl Links {
    /// Instructions that the verifier has walked through for each program of uprobe_multi links, by its name.
    pub(super) fn verified_instructions(&self) -> impl Iterator<Item = (String, u32)> {
        self.programs.iter().filter_map(|(program, fd)| {
            let verified = sys::verified_instructions(fd.as_fd()).ok()?;
            (verified > 0).then(|| (program.name().to_owned(), verified))
        })
    }

    /// Loads the programs for the method.
    pub(super) fn load(ebpf: &mut Ebpf, method: Method) -> Result<Self, LoadError> {
        let mut links = Self {
            method,
            programs: Vec::new(),
            held: HashMap::new(),
            closing: Vec::new(),
        };
        match method {
            Method::UprobeMulti | Method::UprobeSession => {
                links.programs = load_multi(ebpf, method)?;
            }
            Method::PerfEvents => {
                for program in programs_for(method).chain(ProbeProgram::OF_RUNTIMES) {
                    let name = program.name();
                    object::program::<UProbe>(ebpf, name)?
                        .load()
                        .map_err(|error| LoadError::Refused(format!("{name}: {error}")))?;
                }
                let names = ProbeProgram::OF_RUNTIMES.map(ProbeProgram::name);
                runtimes::put_programs(ebpf, PROBE_RUNTIME, names)?;
            }
        }
        Ok(links)
    }

    /// Places probes on one file for the calls of one process, releases first. If one is refused, none stays.
    ///
    /// The kernel puts the breakpoints into the memory of that process alone, now and whenever it maps the file
    /// (kernel/trace/bpf_trace.c, `uprobe_multi_link_filter`, and kernel/trace/trace_uprobe.c, `uprobe_perf_filter`).
    pub fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        pid: u32,
        path: &Path,
        probes: &[Probe],
    ) -> Result<Attached, ProbeError> {
        let (attached, held) = self.place(ebpf, pid, path, probes)?;
        self.held.entry(pid).or_default().extend(held);
        Ok(attached)
    }

    /// Places all of them or none.
    fn place(
        &self,
        ebpf: &mut Ebpf,
        pid: u32,
        path: &Path,
        probes: &[Probe],
    ) -> Result<(Attached, Vec<(ProbeProgram, Hold)>), ProbeError> {
        let mut held = Vec::new();
        match self.place_each(ebpf, pid, path, probes, &mut held) {
            Ok(attached) => Ok((attached, held)),
            Err(error) => {
                // Those of releases go last, as they have come first: what was seen to be allocated must be seen to be
                // released.
                while held.pop().is_some() {}
                Err(error)
            }
        }
    }

    fn place_each(
        &self,
        ebpf: &mut Ebpf,
        pid: u32,
        path: &Path,
        probes: &[Probe],
        held: &mut Vec<(ProbeProgram, Hold)>,
    ) -> Result<Attached, ProbeError> {
        let probes = match self.method {
            Method::UprobeSession => sessions(probes),
            _ => probes.to_vec(),
        };
        let mut attached = Attached::default();
        for program in programs_for(self.method) {
            let places: Vec<Probe> = probes
                .iter()
                .copied()
                .filter(|probe| probe.program == program)
                .collect();
            if places.is_empty() {
                continue;
            }
            let failed = |cause: String| ProbeError {
                program: program.name(),
                path: path.to_owned(),
                offsets: places
                    .iter()
                    .map(|probe| format!("{:#x}", probe.offset))
                    .collect::<Vec<_>>()
                    .join(", "),
                cause,
            };
            match self.method {
                Method::UprobeMulti | Method::UprobeSession => {
                    let link = self
                        .attach_multi(pid, path, program, &places)
                        .map_err(|error| failed(error.to_string()))?;
                    held.push((program, Hold::Multi { _link: link }));
                }
                Method::PerfEvents => {
                    for place in &places {
                        let link = attach_perf(ebpf, pid, path, place).map_err(&failed)?;
                        held.push((program, Hold::Perf { _link: link }));
                    }
                }
            }
            attached.probes += places.len();
        }
        attached.links = held.len();
        Ok(attached)
    }

    fn attach_multi(
        &self,
        pid: u32,
        path: &Path,
        program: ProbeProgram,
        places: &[Probe],
    ) -> io::Result<OwnedFd> {
        let loaded = self.programs.iter().find(|(kind, _)| *kind == program);
        let (_, fd) = loaded.ok_or_else(|| io::Error::other("the program is not loaded"))?;
        let offsets: Vec<u64> = places.iter().map(|probe| probe.offset).collect();
        let cookies: Vec<u64> = places.iter().map(|probe| probe.cookie).collect();
        sys::link_uprobe_multi(
            program.link_kind(),
            fd.as_fd(),
            &c_path(path)?,
            &offsets,
            &cookies,
            program.at_return(),
            pid,
        )
    }

    /// Hands over what keeps the probes of one process in place.
    pub fn take(&mut self, pid: u32) -> Vec<(ProbeProgram, Hold)> {
        self.held.remove(&pid).unwrap_or_default()
    }

    /// Removes the probes of one process, all at the same time, without waiting for the kernel: the original
    /// instructions are back within a few milliseconds, the links are gone when the last program that runs has ended.
    pub fn detach_from(&mut self, pid: u32) {
        let held = self.take(pid);
        self.close_apart(held);
    }

    /// Has the kernel take the breakpoints out of copies of a process's memory, which its forked children have:
    /// nobody's probes are theirs, but a fork copies the pages with the breakpoints in them, and each hit would cost a
    /// trap.
    ///
    /// When a probe is removed, the kernel looks at every process that maps the file, and takes the breakpoint out
    /// where no probe that is left wants it (kernel/events/uprobes.c, `register_for_each_vma`). So an empty program is
    /// placed beside the process's own probes, which does not touch its code, and removed again. With perf events the
    /// kernel does it by itself at a copy's first hit (kernel/trace/trace_uprobe.c, `uprobe_perf_func`).
    ///
    /// # Errors
    /// What the kernel refuses; the process may have ended.
    pub fn clear_copies(
        &mut self,
        ebpf: &mut Ebpf,
        pid: u32,
        path: &Path,
        probes: &[Probe],
    ) -> Result<(), ProbeError> {
        if self.method == Method::PerfEvents {
            return Ok(());
        }
        let mut offsets: Vec<u64> = probes.iter().map(|probe| probe.offset).collect();
        offsets.sort_unstable();
        offsets.dedup();
        let empty = |offset| Probe {
            program: ProbeProgram::FloorEnter,
            offset,
            cookie: 0,
        };
        let empty: Vec<Probe> = offsets.into_iter().map(empty).collect();
        let (_, held) = self.place(ebpf, pid, path, &empty)?;
        self.close_apart(held);
        Ok(())
    }

    /// Removes probes without waiting for the kernel.
    pub fn close_apart(&mut self, held: Vec<(ProbeProgram, Hold)>) {
        if held.is_empty() {
            return;
        }
        self.closing.retain(|thread| !thread.is_finished());
        let holds = held.into_iter().map(|(_, hold)| hold).collect();
        self.closing.push(thread::spawn(move || close_all(holds)));
    }

    /// Removes all probes and waits for that, entries first, so that no call is seen to begin that is not seen to end.
    pub fn detach(&mut self) {
        let held = std::mem::take(&mut self.held);
        let mut by_program: BTreeMap<ProbeProgram, Vec<Hold>> = BTreeMap::new();
        for (program, hold) in held.into_values().flatten() {
            by_program.entry(program).or_default().push(hold);
        }
        while let Some((_, holds)) = by_program.pop_last() {
            close_all(holds);
        }
        for thread in self.closing.drain(..) {
            // It only closes descriptors.
            let _ = thread.join();
        }
    }
}

/// Links that are closed at the same time.
const CLOSED_AT_ONCE: usize = 64;

/// Closes links side by side: each waits for the programs that may still run (kernel/trace/bpf_trace.c,
/// `bpf_uprobe_unregister`), some 20 ms, and all can wait for the same.
fn close_all(mut holds: Vec<Hold>) {
    let each = holds.len().div_ceil(CLOSED_AT_ONCE).max(1);
    thread::scope(|scope| {
        while !holds.is_empty() {
            let part = holds.split_off(holds.len().saturating_sub(each));
            scope.spawn(move || drop(part));
        }
    });
}

fn attach_perf(
    ebpf: &mut Ebpf,
    pid: u32,
    path: &Path,
    place: &Probe,
) -> Result<UProbeLink, String> {
    let name = place.program.name();
    let program: &mut UProbe = object::program(ebpf, name).map_err(|error| error.to_string())?;
    let pid = NonZeroU32::new(pid).ok_or("no process has the PID 0")?;
    let point = UProbeAttachPoint {
        location: place.offset.into(),
        cookie: Some(place.cookie),
    };
    program
        .attach(point, path, UProbeScope::OneProcess(pid))
        .and_then(|link| program.take_link(link))
        .map_err(|error| error.to_string())
}

impl std::ops::AddAssign for Attached {
    fn add_assign(&mut self, other: Self) {
        self.probes += other.probes;
        self.links += other.links;
    }
}

/// A path as the kernel takes it.
fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
