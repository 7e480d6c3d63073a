//! Placing probes, through uprobe_multi links or, on older kernels, through perf events.

use std::ffi::CString;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use aya::Ebpf;
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachPoint, UProbeScope};

use super::error::LoadError;
use super::multi::load_multi;
use super::object;
use super::probe::{Method, Probe, ProbeProgram, Scope, programs_for, sessions};
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

/// Links and the programs that they belong to.
pub struct Links {
    method: Method,
    programs: Vec<(ProbeProgram, OwnedFd)>,
    links: Vec<(ProbeProgram, OwnedFd)>,
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
            links: Vec::new(),
        };
        match method {
            Method::UprobeMulti | Method::UprobeSession => {
                links.programs = load_multi(ebpf, method)?;
            }
            Method::PerfEvents => {
                for program in programs_for(method) {
                    let name = program.name();
                    object::program::<UProbe>(ebpf, name)?
                        .load()
                        .map_err(|error| LoadError::Refused(format!("{name}: {error}")))?;
                }
            }
        }
        Ok(links)
    }

    /// Places probes on one file, releases first.
    pub fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        scope: Scope,
        path: &Path,
        probes: &[Probe],
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
                        .attach_multi(scope, path, program, &places)
                        .map_err(|error| failed(error.to_string()))?;
                    self.links.push((program, link));
                    attached.links += 1;
                }
                Method::PerfEvents => {
                    for place in &places {
                        attach_perf(ebpf, scope, path, place).map_err(&failed)?;
                        attached.links += 1;
                    }
                }
            }
            attached.probes += places.len();
        }
        Ok(attached)
    }

    fn attach_multi(
        &self,
        scope: Scope,
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
            scope.pid(),
        )
    }

    /// Removes all probes, entries first, so that no call is seen to begin that is not seen to end.
    pub fn detach(&mut self) {
        self.links
            .sort_by_key(|(program, _)| std::cmp::Reverse(*program));
        let mut links = std::mem::take(&mut self.links);
        while let Some((program, _)) = links.first() {
            let program = *program;
            let others = links.iter().position(|(other, _)| *other != program);
            let rest = links.split_off(others.unwrap_or(links.len()));
            close_all(links);
            links = rest;
        }
    }
}

/// Links that are closed at the same time.
const CLOSED_AT_ONCE: usize = 32;

/// Closes links side by side: each waits for the programs that may still run (kernel/trace/bpf_trace.c,
/// `bpf_uprobe_unregister`), some 20 ms, and all can wait for the same.
fn close_all(mut links: Vec<(ProbeProgram, OwnedFd)>) {
    let each = links.len().div_ceil(CLOSED_AT_ONCE).max(1);
    thread::scope(|scope| {
        while !links.is_empty() {
            let part = links.split_off(links.len().saturating_sub(each));
            scope.spawn(move || drop(part));
        }
    });
}

fn attach_perf(ebpf: &mut Ebpf, scope: Scope, path: &Path, place: &Probe) -> Result<(), String> {
    let name = place.program.name();
    let program: &mut UProbe = object::program(ebpf, name).map_err(|error| error.to_string())?;
    let scope =
        NonZeroU32::new(scope.pid()).map_or(UProbeScope::AllProcesses, UProbeScope::OneProcess);
    let point = UProbeAttachPoint {
        location: place.offset.into(),
        cookie: Some(place.cookie),
    };
    program
        .attach(point, path, scope)
        .map(drop)
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
