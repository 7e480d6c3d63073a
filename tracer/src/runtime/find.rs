//! Which runtime a program has: files are looked at once, whoever maps them.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::hotspot;
use super::image::Segment;
use super::python::{self, Build};
use crate::process::files;
use crate::process::maps::{self, FileId, MappedFile, Mapping};

/// Why the runtime of a file cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(pub String);

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No runtime that is known of.
    None,
    /// CPython.
    Python(Rc<Build>),
    /// HotSpot.
    HotSpot(Rc<hotspot::Build>),
    /// A runtime that cannot be followed.
    Unsupported(Unsupported),
}

/// A runtime in a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Which build it is.
    pub build: Rc<Build>,
    /// Where its file is loaded, above the stated addresses.
    pub bias: u64,
    /// The file, as the process sees it.
    pub path: PathBuf,
}

impl Attached {
    /// A build in a process that has mapped this file; `None` if it is not loaded as it says.
    pub fn of(build: Rc<Build>, file: &MappedFile, mapped: &[Mapping]) -> Option<Self> {
        let bias = bias(build.is_fixed, &build.segments, file, mapped)?;
        Some(Self {
            build,
            bias,
            path: file.path.clone(),
        })
    }

    /// Address of the runtime's state.
    pub fn runtime(&self) -> u64 {
        self.build.runtime.wrapping_add(self.bias)
    }

    /// Whether a native frame, by its return address, is one of the interpreter's loop.
    pub fn is_loop(&self, address: u64) -> bool {
        let at = address.wrapping_sub(self.bias).wrapping_sub(1);
        let is_in = |range: &Range<u64>| range.contains(&at);
        self.build.loops.iter().any(is_in)
    }
}

/// A runtime that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// CPython.
    Python(Attached),
    /// HotSpot: the build, and where its file is loaded, above the stated addresses.
    HotSpot(Rc<hotspot::Build>, u64),
}

/// Files that were looked at.
#[derive(Debug, Default)]
pub struct Files(HashMap<FileId, Found>);

impl Files {
    /// The runtimes among the files that a process has mapped, in the order of their addresses.
    pub fn look(&mut self, pid: u32, mapped: &[Mapping]) -> Vec<Result<Runtime, Unsupported>> {
        let executable = maps::executable_files(mapped);
        executable
            .iter()
            .filter_map(|file| match self.find(pid, file) {
                Found::None => None,
                Found::Unsupported(why) => Some(Err(why)),
                Found::Python(build) => {
                    let attached = Attached::of(build, file, mapped);
                    attached.map(|attached| Ok(Runtime::Python(attached)))
                }
                Found::HotSpot(build) => {
                    let bias = bias(build.is_fixed, &build.segments, file, mapped)?;
                    Some(Ok(Runtime::HotSpot(build, bias)))
                }
            })
            .collect()
    }

    /// What a file is that a process has mapped.
    pub fn find(&mut self, pid: u32, file: &MappedFile) -> Found {
        if let Some(known) = self.0.get(&file.id) {
            return known.clone();
        }
        let Ok(opened) = files::open(pid, file) else {
            // Another process may let us.
            return Found::None;
        };
        let found = match files::bytes(&opened) {
            Ok(bytes) => inspect(&bytes),
            Err(_) => Found::None,
        };
        self.0.insert(file.id, found.clone());
        found
    }
}

/// A runtime that is known by the name of its file alone and whose frames are not read: its name, and what stacks show.
pub fn other(path: &Path) -> Option<(&'static str, &'static str)> {
    const KNOWN: [(&str, &str, &str); 9] = [
        (
            "libjvm.so",
            "a Java machine that does not describe itself",
            "native frames; names of compiled methods if it writes a perf map (jcmd PID Compiler.perfmap)",
        ),
        (
            "node",
            "V8",
            "native frames; names of functions with --perf-basic-prof",
        ),
        (
            "libnode.so",
            "V8",
            "native frames; names of functions with --perf-basic-prof",
        ),
        ("libpypy", "PyPy", "native frames only"),
        ("pypy", "PyPy", "native frames only"),
        ("libpythonvm", "GraalPy", "native frames only"),
        ("graalpy", "GraalPy", "native frames only"),
        ("libruby", "Ruby", "native frames only"),
        ("php", "PHP", "native frames only"),
    ];
    let name = path.file_name()?.to_str()?;
    let is_it = |start: &str| name.starts_with(start) && (start != "node" || name == start);
    let (_, runtime, seen) = KNOWN.iter().find(|(start, ..)| is_it(start))?;
    Some((runtime, seen))
}

/// Looks at a file.
pub fn inspect(data: &[u8]) -> Found {
    match python::inspect(data) {
        None => match hotspot::file::inspect(data) {
            Some(build) => Found::HotSpot(Rc::new(build)),
            None => Found::None,
        },
        Some(Ok(build)) => Found::Python(Rc::new(build)),
        Some(Err(why)) => Found::Unsupported(Unsupported(why)),
    }
}

/// Where a file is loaded, above its stated addresses.
pub fn bias(
    is_fixed: bool,
    segments: &[Segment],
    file: &MappedFile,
    mapped: &[Mapping],
) -> Option<u64> {
    const PAGE: u64 = !4095;
    if is_fixed {
        return Some(0);
    }
    let own = mapped.iter().filter(|mapping| mapping.file == file.id);
    own.filter_map(|mapping| {
        let segment = segments
            .iter()
            .find(|segment| segment.offset & PAGE == mapping.offset)?;
        Some(mapping.start.wrapping_sub(segment.address & PAGE))
    })
    .next()
}
