//! `memlens doctor --runtimes`: looks for language runtimes as a trace would, and into the running process.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use tracer_common::runtime::python::{MOST_THREADS, PythonLayout};

use crate::doctor::{RuntimeReport, RuntimeRow};
use crate::process::ProcessError;
use crate::process::maps::{self, MappedFile, Mapping};
use crate::runtime::find::bias;
use crate::runtime::hotspot::{self, Jvm};
use crate::runtime::{Attached, Files, Found, other};

/// What stacks show of Python.
const PYTHON: &str =
    "functions, files and lines of Python code, in the place of the native frames that execute it";

/// What stacks show of Java.
const JAVA: &str =
    "methods, files and lines of Java code, compiled (with what was inlined) and interpreted";

/// Looks at one process.
///
/// # Errors
/// [`ProcessError`] if its mappings cannot be read.
pub fn of(files: &mut Files, pid: u32, comm: &str) -> Result<RuntimeReport, ProcessError> {
    let maps = maps::read(pid)?;
    let mut runtimes = Vec::new();
    for file in maps::executable_files(&maps) {
        let path = file.path.display().to_string();
        match files.find(pid, &file) {
            Found::Python(build) => {
                let attached = Attached::of(build, &file, &maps);
                runtimes.extend(attached.map(|attached| python(pid, &attached, path)));
            }
            Found::HotSpot(build) => runtimes.extend(hotspot(pid, build, &file, &maps)),
            Found::Unsupported(why) => runtimes.push(RuntimeRow {
                name: why.0,
                file: path,
                found_by: "_PyRuntime".to_owned(),
                seen: "native frames only".to_owned(),
                ..RuntimeRow::default()
            }),
            Found::None => {
                let known = other(&file.path);
                runtimes.extend(known.map(|(name, seen)| RuntimeRow {
                    name: name.to_owned(),
                    file: path,
                    found_by: "the file's name".to_owned(),
                    seen: seen.to_owned(),
                    ..RuntimeRow::default()
                }));
            }
        }
    }
    Ok(RuntimeReport {
        pid,
        comm: comm.to_owned(),
        runtimes,
    })
}

fn python(pid: u32, attached: &Attached, file: String) -> RuntimeRow {
    let build = &attached.build;
    let loops = build.loops.iter();
    RuntimeRow {
        name: build.name.clone(),
        file,
        is_followed: true,
        found_by: build.found_by.to_owned(),
        offsets_from: Some(build.offsets_from.to_owned()),
        compared: build
            .compared
            .iter()
            .map(|&member| member.to_owned())
            .collect(),
        loop_bytes: Some(loops.map(|range| range.end - range.start).sum()),
        compiled: None,
        found: count(pid, &build.layout, attached.runtime()),
        seen: PYTHON.to_owned(),
    }
}

/// A Java machine, by what it says of itself while it runs.
fn hotspot(
    pid: u32,
    build: Rc<hotspot::Build>,
    file: &MappedFile,
    maps: &[Mapping],
) -> Option<RuntimeRow> {
    let bias = bias(build.is_fixed, &build.segments, file, maps)?;
    let mut machine = Jvm::new(pid, build, bias);
    machine.refresh();
    let version = machine.version();
    let blobs = machine.code().blobs_of_all();
    let compiled = blobs.filter(|blob| blob.id.is_some()).count() as u64;
    let heaps = machine.code().heaps.values();
    let bytes = heaps.map(|heap| heap.range.end - heap.range.start).sum();
    Some(RuntimeRow {
        name: version.map_or_else(
            || "HotSpot".to_owned(),
            |version| format!("HotSpot {version}"),
        ),
        file: file.path.display().to_string(),
        is_followed: version.is_some(),
        found_by: "exported symbol gHotSpotVMStructs".to_owned(),
        offsets_from: version.map(|_| "gHotSpotVMStructs in the running process".to_owned()),
        compiled: version.map(|_| (compiled, bytes)),
        seen: match (machine.refused(), version) {
            (Some(why), _) => format!("native frames only: {why}"),
            (None, None) => "native frames only: the process cannot be read".to_owned(),
            (None, Some(_)) => JAVA.to_owned(),
        },
        ..RuntimeRow::default()
    })
}

/// Interpreters and threads of a running process, by its own lists; `None` if its memory cannot be read.
fn count(pid: u32, layout: &PythonLayout, runtime: u64) -> Option<(u64, u64)> {
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let read = |address: u64, offset: u32| {
        let mut bytes = [0; 8];
        memory
            .read_exact_at(&mut bytes, address.wrapping_add(offset.into()))
            .ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let (mut interpreters, mut threads) = (0, 0);
    let mut interpreter = read(runtime, layout.interpreters)?;
    while interpreter != 0 && interpreters < u64::from(MOST_THREADS) {
        interpreters += 1;
        let mut thread = read(interpreter, layout.interpreter_threads)?;
        while thread != 0 && threads < u64::from(MOST_THREADS) {
            threads += 1;
            thread = read(thread, layout.thread_next)?;
        }
        interpreter = read(interpreter, layout.interpreter_next)?;
    }
    Some((interpreters, threads))
}
