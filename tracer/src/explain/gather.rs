//! Looks at a process and makes its explanation: all reading of `/proc` and of memory that `explain` does is begun here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::kind::Kind;
use super::ledger::{self, Context, Label};
use super::memory::{Memory, ProcessMemory, ReadError};
use super::runtime::{RuntimeKind, by_file};
use super::value::{Allocator, Explanation, ProcessFacts, Row, Runtime, Stacks, Totals};
use super::{allocators, huge, managed, native, stacks, words};
use crate::attach::allocator::AllocatorKind;
use crate::process::info::{self, Machine, ProcessInfo, State};
use crate::process::maps::{FileId, Mapping};
use crate::process::smaps::{self, Region};
use crate::process::{ProcessError, maps, status};

/// An allocator that a survey found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundAllocator {
    /// Which one.
    pub kind: AllocatorKind,
    /// The file that it is in, as the process sees it.
    pub file: PathBuf,
}

/// Why a process cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// It has exited and waits for its parent.
    #[error(
        "process {pid} ({comm}) has exited and holds no memory: it waits for its parent, PID {parent}, to notice"
    )]
    Zombie {
        /// PID.
        pid: u32,
        /// Name.
        comm: String,
        /// PID of the parent.
        parent: u32,
    },
    /// It has no memory of its own.
    #[error(
        "process {pid} ({comm}) is a thread of the kernel: it has no memory of its own; try `memlens host` for the \
         kernel's"
    )]
    Kernel {
        /// PID.
        pid: u32,
        /// Name.
        comm: String,
    },
    /// It went away while it was looked at.
    #[error("process {pid} exited while it was looked at")]
    Exited {
        /// PID.
        pid: u32,
    },
    /// Something could not be read.
    #[error(transparent)]
    Process(ProcessError),
}

/// Looks at a process. `survey` finds its allocators.
///
/// # Errors
/// [`ExplainError`]; what can be said without a right that is missing is said, and the rest is in the notes.
pub fn explain(
    pid: u32,
    survey: impl FnOnce(u32) -> Vec<FoundAllocator>,
) -> Result<Explanation, ExplainError> {
    let info = find(pid)?;
    let pid = info.pid;
    let gone = |error| match error {
        ProcessError::Gone { pid } => ExplainError::Exited { pid },
        other => ExplainError::Process(other),
    };
    let totals = totals(status::memory(pid).map_err(gone)?);
    let mut explanation = Explanation {
        time: now(),
        process: facts(&info),
        totals,
        ledger: Vec::new(),
        places: Vec::new(),
        unaccounted: 0,
        stacks: None,
        huge_pages: None,
        allocators: Vec::new(),
        runtimes: Vec::new(),
        findings: Vec::new(),
        notes: Vec::new(),
    };
    if let Some(asked) = info.asked_for_thread {
        let note = format!("{asked} is a thread of process {pid}, which is what is explained");
        explanation.notes.push(note);
    }
    match smaps::read(pid).and_then(|regions| Ok((regions, smaps::read_rollup(pid)?))) {
        Ok((regions, rollup)) => {
            let totals = &mut explanation.totals;
            totals.resident = rollup.resident;
            totals.anonymous = rollup.anonymous;
            totals.proportional = Some(rollup.proportional);
            totals.swapped = rollup.swapped;
            totals.huge = Some(rollup.huge);
            look_inside(&mut explanation, &info, &regions, survey)
                .map_err(|_| ExplainError::Exited { pid })?;
        }
        Err(ProcessError::Denied { .. }) => coarse(&mut explanation),
        // The rollup of a process without memory is an error of its own: it is exiting.
        Err(ProcessError::Gone { .. }) => return Err(ExplainError::Exited { pid }),
        Err(other) => return Err(ExplainError::Process(other)),
    }
    if info::image(pid).ok() != Some(info.image) {
        return Err(ExplainError::Exited { pid });
    }
    let sum: u64 = explanation.ledger.iter().map(|row| row.resident).sum();
    explanation.unaccounted = explanation.totals.resident.cast_signed() - sum.cast_signed();
    explanation.findings = words::findings(&explanation);
    Ok(explanation)
}

/// Finds a process, and refuses one that has no memory of its own.
///
/// # Errors
/// [`ExplainError`].
pub fn find(pid: u32) -> Result<ProcessInfo, ExplainError> {
    let info = info::read(pid).map_err(ExplainError::Process)?;
    check(&info)?;
    Ok(info)
}

fn check(info: &ProcessInfo) -> Result<(), ExplainError> {
    let (pid, comm) = (info.pid, info.comm.clone());
    if info.kernel_thread {
        return Err(ExplainError::Kernel { pid, comm });
    }
    if info.state == State::Zombie {
        return Err(ExplainError::Zombie {
            pid,
            comm,
            parent: info.parent,
        });
    }
    Ok(())
}

/// The sums that everybody may read.
fn totals(status: status::MemoryStatus) -> Totals {
    Totals {
        resident: status.resident,
        virtual_size: status.virtual_size,
        proportional: None,
        anonymous: status.anonymous,
        file: status.file,
        shared: status.shared,
        swapped: status.swapped,
        huge: None,
        hugetlb: status.hugetlb,
        page_tables: status.page_tables,
    }
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| (since.as_millis() as f64) / 1e3)
}

fn facts(info: &ProcessInfo) -> ProcessFacts {
    ProcessFacts {
        pid: info.pid,
        comm: info.comm.clone(),
        exe: info.exe.as_ref().map(|path| path.display().to_string()),
        start_ticks: info.image.start_time,
        threads: info.threads,
    }
}

/// What can be said without the right to look inside: the sums that everybody may read.
fn coarse(explanation: &mut Explanation) {
    let totals = explanation.totals;
    let row = |kind, resident, swapped| Row {
        kind,
        name: None,
        mappings: 0,
        virtual_size: 0,
        resident,
        proportional: 0,
        anonymous: if kind == Kind::Anonymous { resident } else { 0 },
        swapped,
        huge: 0,
    };
    explanation.ledger = vec![
        row(Kind::Anonymous, totals.anonymous, totals.swapped),
        row(Kind::Shared, totals.shared, 0),
        row(Kind::Files, totals.file, 0),
    ];
    explanation.notes.push(
        "without the right to trace the process only sums can be read: run as root, or with CAP_SYS_PTRACE, for its \
         regions, allocators and runtimes"
            .to_owned(),
    );
}

/// Fills in what needs the process's memory.
fn look_inside(
    explanation: &mut Explanation,
    info: &ProcessInfo,
    regions: &[Region],
    survey: impl FnOnce(u32) -> Vec<FoundAllocator>,
) -> Result<(), ReadError> {
    let pid = info.pid;
    let program = program_of(pid, regions);
    let mut context = Context {
        program,
        ..Context::default()
    };
    let mut memory = match ProcessMemory::open(pid) {
        Ok(memory) => memory,
        Err(ReadError::Gone) => return Err(ReadError::Gone),
        Err(error) => {
            explanation
                .notes
                .push(format!("heaps and runtimes were not looked at: {error}"));
            take(explanation, ledger::sort(regions, &context, |_, _| None));
            return Ok(());
        }
    };
    let mappings: Vec<Mapping> = regions
        .iter()
        .map(|region| region.mapping.clone())
        .collect();
    let found = survey(pid);
    if info.machine == Some(Machine::ThirtyTwoBit) {
        explanation
            .notes
            .push("a 32-bit process: its heap is not walked".to_owned());
    }
    let kinds = runtime_kinds(&mappings);
    let mut labels = managed::look(explanation, &mut memory, info, &mappings, &kinds)?;
    labels.extend(stack_labels(pid, &mut memory, &mappings)?);
    if let [only] = &other_allocators(&found)[..]
        && kinds.is_empty()
    {
        context.allocator = Some(format!("{}, by elimination", allocators::name(*only)));
    }
    for allocator in &found {
        let read = native::read_allocator(&mut memory, pid, allocator, regions, &mut labels)?;
        explanation.allocators.push(read);
    }
    if context.allocator.is_some() {
        // The libc is mapped all the same, but its own allocator was never set up.
        let is_idle = |allocator: &Allocator| {
            allocator.name == "glibc"
                && allocator
                    .heap
                    .as_ref()
                    .is_none_or(|heap| heap.sum().system == 0)
        };
        explanation
            .allocators
            .retain(|allocator| !is_idle(allocator));
    }
    if found.is_empty() && info.machine == Some(Machine::X86_64) {
        let glibc = native::by_layout(&mut memory, info, regions, &mut labels)?;
        if glibc.is_none() {
            let note = "no allocator was found among the files that it has mapped";
            explanation.notes.push(note.to_owned());
        }
        explanation.allocators.extend(glibc);
    }
    labels.extend(native::mapped_block_labels(
        &mut memory,
        &explanation.allocators,
        &mappings,
        &labels,
    )?);
    context.labels = ledger::tidy(labels);
    let resident = |start, end| memory.resident(start, end).ok();
    take(explanation, ledger::sort(regions, &context, resident));
    explanation.huge_pages = huge::look(&mut memory, pid, regions)?;
    explanation.stacks = stack_sum(&explanation.ledger);
    managed::settle(explanation, &kinds);
    Ok(())
}

fn take(explanation: &mut Explanation, sorted: ledger::Sorted) {
    explanation.ledger = sorted.rows;
    explanation.places = sorted.places;
}

/// The executable's file, as the mappings name it.
fn program_of(pid: u32, regions: &[Region]) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    let inode = std::fs::metadata(format!("/proc/{pid}/exe")).ok()?.ino();
    let link = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let link = link.to_string_lossy();
    let link = Path::new(link.strip_suffix(" (deleted)").unwrap_or(&link));
    // The inode alone may be another file system's, the path alone another file's.
    let mut mapped = regions.iter().map(|region| &region.mapping);
    let same = |mapping: &&Mapping| mapping.file.inode == inode && mapping.label() == Some(link);
    mapped.find(same).map(|mapping| mapping.file)
}

/// The runtimes whose files are mapped; Go shows by where its heap lies.
fn runtime_kinds(mappings: &[Mapping]) -> BTreeSet<RuntimeKind> {
    let files = maps::executable_files(mappings);
    let mut kinds: BTreeSet<_> = files
        .iter()
        .filter_map(|file| by_file(&file.path))
        .collect();
    if managed::is_go(mappings) {
        kinds.insert(RuntimeKind::Go);
    }
    kinds
}

fn other_allocators(found: &[FoundAllocator]) -> Vec<AllocatorKind> {
    let mut kinds: Vec<_> = found.iter().map(|allocator| allocator.kind).collect();
    kinds.retain(|kind| allocators::takes_anonymous(*kind));
    kinds.dedup();
    kinds
}

fn stack_labels(
    pid: u32,
    memory: &mut ProcessMemory,
    mappings: &[Mapping],
) -> Result<Vec<Label>, ReadError> {
    let pointers = stack_pointers(pid);
    let stacks = stacks::find(memory, mappings, &pointers)?;
    Ok(stacks
        .into_iter()
        .map(|(start, end)| Label::new(start, end, Kind::ThreadStacks))
        .collect())
}

/// Stack pointers of the threads that sleep.
fn stack_pointers(pid: u32) -> Vec<u64> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    tasks
        .filter_map(Result::ok)
        .filter_map(|task| std::fs::read_to_string(task.path().join("syscall")).ok())
        .filter_map(|text| stacks::pointer(&text))
        .collect()
}

fn stack_sum(ledger: &[Row]) -> Option<Stacks> {
    let mut rows = ledger.iter().filter(|row| row.kind == Kind::ThreadStacks);
    let first = rows.next()?;
    let more: Vec<&Row> = rows.collect();
    let sum =
        |value: fn(&Row) -> u64| value(first) + more.iter().map(|row| value(row)).sum::<u64>();
    Some(Stacks {
        count: sum(|row| row.mappings),
        virtual_size: sum(|row| row.virtual_size),
        resident: sum(|row| row.resident),
    })
}

/// A runtime of which nothing is known yet.
pub(super) fn unknown_runtime(kind: RuntimeKind) -> Runtime {
    Runtime {
        name: kind.words().to_owned(),
        heap_resident: None,
        objects: None,
        figures: Vec::new(),
        unreadable: None,
    }
}
