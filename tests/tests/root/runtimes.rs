//! Frames of language runtimes: in the place of the native frames that execute them, with their own names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use memlens::profile::{CutReason, Frame, FrameKind, Measure, Missing, Source};
use memlens_tests::address_space::rested;
use memlens_tests::patience::is_slow;
use memlens_tests::{Memlens, Report, Row, Stepped, need, paths, python};
use tracer_common::loss::Loss;

/// Frames of a stack as Python tells them: function, file, line.
type Frames = Vec<(String, String, u32)>;

/// The interpreter of the machine's distribution.
const SYSTEM: &str = "/usr/bin/python3";

/// The interpreters of the machine: its own, and those of pyenv that are known.
fn interpreters() -> Result<Vec<PathBuf>> {
    let mut all = vec![PathBuf::from(SYSTEM)];
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    for version in std::fs::read_dir(home.join(".pyenv/versions"))
        .into_iter()
        .flatten()
    {
        let folder = version?;
        let name = folder.file_name().to_string_lossy().into_owned();
        let minor = name
            .strip_prefix("3.")
            .and_then(|rest| rest.split('.').next()?.parse().ok());
        if minor.is_some_and(|minor: u32| (8..=14).contains(&minor)) {
            all.push(folder.path().join("bin/python3"));
        }
    }
    all.retain(|path| path.is_file());
    let mut known = BTreeSet::new();
    all.retain(|path| known.insert(std::fs::canonicalize(path).unwrap_or_else(|_| path.clone())));
    if is_slow() {
        // The walk is the same on each kernel: of the interpreters two tell whether it works there.
        all.truncate(2);
    }
    Ok(all)
}

/// Starts a program in the distribution's interpreter, which is there when it is traced.
fn start(program: &str) -> Result<Stepped> {
    let python = python::start_in(SYSTEM.as_ref(), program)?;
    rested(python.pid())?;
    Ok(python)
}

fn is_python(frame: &Frame) -> bool {
    frame.kind == FrameKind::Python
}

/// The frames of Python on a stack; from 3.11 on a name has those of what it is in before it.
fn python_frames(row: &Row<'_>) -> Frames {
    let frames = row.frames().filter(|frame| is_python(frame));
    let own = |frame: &Frame| {
        let name = frame.symbol.as_deref().unwrap_or("?");
        let name = name.rsplit('.').next().unwrap_or(name).to_owned();
        let file = frame.file.as_deref().unwrap_or("?").to_owned();
        (name, file, frame.line.unwrap_or(0))
    };
    frames.map(own).collect()
}

/// No stack is told whose runs of frames are not as many as its native frames of the interpreter's loop.
fn check_merged(report: &Report) -> Result<()> {
    for row in report.heap() {
        ensure!(row.cut() != Some(CutReason::RuntimeMismatch), "{row:?}");
    }
    Ok(())
}

/// Each way through C back to Python, in each interpreter of the machine.
#[test]
fn stacks_are_those_that_python_tells() -> Result<()> {
    need::root()?;
    let script = std::fs::read_to_string(paths::victims().join("mixed.py"))?;
    let all = interpreters()?;
    ensure!(!all.is_empty());
    for interpreter in all {
        check_mixed(&interpreter, &script).with_context(|| interpreter.display().to_string())?;
    }
    Ok(())
}

fn check_mixed(interpreter: &std::path::Path, script: &str) -> Result<()> {
    let mut python = python::start_in(interpreter, script)?;
    rested(python.pid())?;
    let memlens = Memlens::leaks(python.pid(), &["--top", "0"])?;
    let truths: BTreeMap<u64, Frames> = serde_json::from_str(&python.told()?)?;
    let report = memlens.stop()?;
    check_merged(&report)?;
    ensure!(truths.len() == 100, "{truths:?}");
    for (size, truth) in truths {
        // A bytearray has a byte more, and the allocator may be asked for some more.
        let is_it = |row: &&Row<'_>| {
            let bytes =
                row.amount(Measure::HeapLiveBytes) / row.amount(Measure::HeapLiveBlocks).max(1);
            (size..size + 64).contains(&bytes)
        };
        let rows = report.heap();
        let row = rows
            .iter()
            .find(is_it)
            .with_context(|| format!("no stack holds {size} bytes"))?;
        ensure!(
            python_frames(row) == truth,
            "{size}: {:?}, not {truth:?}",
            python_frames(row)
        );
        // Up to 3.10 each call of Python takes several native frames, which are cut at 127; those of Python are whole.
        let cut = row.cut();
        ensure!(matches!(cut, None | Some(CutReason::TooDeep)), "{row:?}");
        // The loop is not there beside what it executes.
        let has_loop = row.has("_PyEval_EvalFrameDefault");
        ensure!(!has_loop, "{row:?}");
    }
    Ok(())
}

/// Code objects that take each other's addresses: each function is known by its own name.
const REPLACED: &str = "
import sys
held = []
sys.stdin.readline()
for number in range(300):
    exec(f'def work{number}():\\n    held.append(bytearray(20000))\\nwork{number}()\\n', {'held': held})
print('done', flush=True)
sys.stdin.readline()
";

#[test]
fn code_that_is_replaced_keeps_its_name() -> Result<()> {
    need::root()?;
    let mut python = start(REPLACED)?;
    let memlens = Memlens::leaks(python.pid(), &["--top", "0"])?;
    python.work()?;
    let report = memlens.stop()?;
    check_merged(&report)?;
    let mut blocks = BTreeMap::new();
    for row in report
        .heap()
        .iter()
        .filter(|row| row.amount(Measure::HeapLiveBytes) >= 20_000)
    {
        let frames = python_frames(row);
        let (name, ..) = frames.first().with_context(|| format!("{row:?}"))?;
        *blocks.entry(name.clone()).or_insert(0) += row.amount(Measure::HeapLiveBlocks);
    }
    blocks.retain(|name, _| name.starts_with("work"));
    ensure!(
        blocks.len() == 300 && blocks.values().all(|blocks| *blocks == 1),
        "{blocks:?}"
    );
    Ok(())
}

/// While memlens does not get to run, more functions are new than there is room for their names.
#[test]
fn names_without_room_are_counted() -> Result<()> {
    need::root()?;
    const FUNCTIONS: u64 = 5_000;
    let mut python = start(&REPLACED.replace("300", &FUNCTIONS.to_string()))?;
    let mut memlens = Memlens::leaks(python.pid(), &["--top", "0"])?;
    memlens.signal(libc::SIGSTOP)?;
    python.work()?;
    memlens.signal(libc::SIGCONT)?;
    let report = memlens.stop()?;
    let dropped = report.losses.of(Loss::NamesDropped);
    ensure!(dropped > 0, "names_dropped is {dropped}");
    // They are missing, and none is another function's.
    let (mut blocks, mut unnamed) = (BTreeMap::new(), 0);
    for row in report.heap() {
        let own = row.frames().find(|frame| is_python(frame));
        let held = row.amount(Measure::HeapLiveBlocks);
        match own.and_then(|frame| frame.symbol.as_deref()) {
            Some(name) if name.starts_with("work") => {
                *blocks.entry(name.to_owned()).or_insert(0) += held
            }
            None if own.is_some() => unnamed += held,
            _ => {}
        }
    }
    let named = blocks.len() as u64;
    ensure!(blocks.values().all(|blocks| *blocks == 1), "{blocks:?}");
    ensure!(
        named > 1_000 && (FUNCTIONS..FUNCTIONS + 10).contains(&(named + unnamed)),
        "{named} and {unnamed}"
    );
    ensure!(report.complete, "the totals are exact");
    Ok(())
}

/// A command from its first instruction on, which imports much: many code objects live for less than a millisecond.
const IMPORTS: &str = "
import argparse, asyncio, concurrent.futures, csv, email, http.server, json, logging.config, unittest, xml.dom.minidom
def kept(): return [bytearray(5000) for _ in range(200)]
held = kept()
import os
os._exit(0)
";

#[test]
fn frames_have_names_from_the_first_import_on() -> Result<()> {
    need::root()?;
    let report = Memlens::run(["leaks", "--json", "--top", "0", "--", SYSTEM, "-c", IMPORTS])?
        .last_report()?;
    check_merged(&report)?;
    let rows = report.heap();
    let frames: Vec<&Frame> = rows
        .iter()
        .flat_map(Row::frames)
        .filter(|frame| is_python(frame))
        .collect();
    let unnamed = frames
        .iter()
        .filter(|frame| frame.missing.is_some() || frame.line.is_none())
        .count();
    ensure!(frames.len() > 500, "{} frames", frames.len());
    ensure!(
        unnamed * 1000 <= frames.len(),
        "{unnamed} of {} frames have no name or line",
        frames.len()
    );
    let kept = rows.iter().filter(|row| row.has("kept"));
    let bytes: u64 = kept.map(|row| row.amount(Measure::HeapLiveBytes)).sum();
    ensure!((200 * 5_000..200 * 5_200).contains(&bytes), "{bytes} bytes");
    Ok(())
}

/// Threads that allocate without the interpreter's lock have their own frames.
const THREADS: &str = "
import ctypes, sys, threading
malloc = ctypes.CDLL(None).malloc
malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
def leaf(number):
    for _ in range(100): malloc(100_000 + number)
work = {}
for number in range(8):
    exec(f'def work_{number}(): leaf({number})', {'leaf': leaf}, work)
sys.stdin.readline()
threads = [threading.Thread(target=one) for one in work.values()]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print('done', flush=True)
sys.stdin.readline()
";

#[test]
fn threads_have_their_own_frames() -> Result<()> {
    need::root()?;
    let mut python = start(THREADS)?;
    let memlens = Memlens::leaks(python.pid(), &["--top", "0"])?;
    python.work()?;
    let report = memlens.stop()?;
    check_merged(&report)?;
    let mut blocks = 0;
    for row in report.heap() {
        let each = row.amount(Measure::HeapLiveBytes) / row.amount(Measure::HeapLiveBlocks).max(1);
        let Some(number) = each.checked_sub(100_000).filter(|number| *number < 8) else {
            continue;
        };
        let frames = python_frames(&row);
        let names: Vec<&str> = frames
            .iter()
            .map(|(name, ..)| name.as_str())
            .take(2)
            .collect();
        ensure!(
            names == ["leaf", &format!("work_{number}")],
            "{number}: {names:?}"
        );
        blocks += row.amount(Measure::HeapLiveBlocks);
    }
    ensure!(blocks == 800, "{blocks} blocks");
    Ok(())
}

/// A program with a stack that allocates and maps by functions of its own.
const MAPS: &str = "
import mmap, sys
held = []
def map_some():
    for _ in range(10): held.append(mmap.mmap(-1, 1 << 20))
sys.stdin.readline()
map_some()
print('done', flush=True)
sys.stdin.readline()
";

#[test]
fn mappings_have_the_frames_too() -> Result<()> {
    need::root()?;
    let mut python = start(MAPS)?;
    let pid = python.pid().to_string();
    let mut memlens = Memlens::start(["vm", "3600", "--json", "--top", "0", "-p", &*pid])?;
    memlens.wait_until_tracing()?;
    python.work()?;
    let report = memlens.stop()?;
    let rows = report.rows(Source::AddressSpace);
    let own = rows.iter().filter(|row| row.has("map_some"));
    let bytes: u64 = own.map(|row| row.amount(Measure::VmMappedBytes)).sum();
    ensure!(bytes == 10 << 20, "{bytes} bytes");
    Ok(())
}

/// The loop is shown beside what it executes, or nothing of what it executes.
#[test]
fn the_loop_is_shown_where_it_is_asked_for() -> Result<()> {
    need::root()?;
    let shown = |more: &[&str]| -> Result<(usize, usize)> {
        let mut python = start(REPLACED)?;
        let memlens = Memlens::leaks(python.pid(), more)?;
        python.work()?;
        let report = memlens.stop()?;
        let rows = report.heap();
        let frames = || rows.iter().flat_map(Row::frames);
        let loops =
            frames().filter(|frame| frame.symbol.as_deref() == Some("_PyEval_EvalFrameDefault"));
        Ok((
            loops.count(),
            frames().filter(|frame| is_python(frame)).count(),
        ))
    };
    let (loops, frames) = shown(&[])?;
    ensure!(loops == 0 && frames > 0, "{loops}, {frames}");
    let (loops, frames) = shown(&["--native"])?;
    ensure!(loops > 0 && frames > 0, "{loops}, {frames}");
    let (loops, frames) = shown(&["--no-interpreters"])?;
    ensure!(loops > 0 && frames == 0, "{loops}, {frames}");
    Ok(())
}

/// Threads of C that have no state in the runtime come and go, and so do states that they are given.
const STATES: &str = "
import ctypes, sys, threading
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
held = []
def called(_):
    held.append(bytearray(30_000))
    return 0
callback = CALLBACK(called)
libc = ctypes.CDLL(None)
create, join = libc.pthread_create, libc.pthread_join
sys.stdin.readline()
for _ in range(200):
    thread = ctypes.c_ulong()
    create(ctypes.byref(thread), None, callback, None)
    join(thread, None)
print('done', flush=True)
sys.stdin.readline()
";

#[test]
fn states_that_come_and_go_are_followed() -> Result<()> {
    need::root()?;
    let mut python = start(STATES)?;
    let memlens = Memlens::leaks(python.pid(), &["--top", "0"])?;
    python.work()?;
    let report = memlens.stop()?;
    check_merged(&report)?;
    let rows = report.heap();
    let own = rows.iter().filter(|row| row.has("called"));
    let blocks: u64 = own
        .filter(|row| row.amount(Measure::HeapLiveBytes) >= 30_000)
        .map(|row| row.amount(Measure::HeapLiveBlocks))
        .sum();
    ensure!(blocks == 200, "{blocks} blocks");
    let gone = |frame: &Frame| frame.missing == Some(Missing::CodeGone);
    ensure!(!rows.iter().flat_map(Row::frames).any(gone));
    Ok(())
}

/// What doctor says of an interpreter, and of a process without one.
#[test]
fn doctor_tells_the_runtime() -> Result<()> {
    need::root()?;
    let python = start(MAPS)?;
    let pid = python.pid().to_string();
    let text = Memlens::run(["doctor", "--runtimes", "-p", &*pid])?
        .output
        .join("\n");
    for part in [
        "CPython 3.",
        "_PyRuntime",
        "co_filename",
        "1 interpreter, 1 thread",
        "files and lines",
    ] {
        ensure!(text.contains(part), "no {part:?} in:\n{text}");
    }
    let own = std::process::id().to_string();
    let text = Memlens::run(["doctor", "--runtimes", "-p", &*own])?
        .output
        .join("\n");
    ensure!(text.contains("no language runtime"), "{text}");
    Ok(())
}
