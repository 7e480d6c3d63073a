//! Looks at a process and writes its ledger: all reading of `/proc` and of memory for it begins here.

use std::path::Path;

use super::allocators::{self, FoundAllocator};
use super::memory::{Memory, ProcessMemory, ReadError};
use super::rows::{self, Context};
use super::{huge, managed, native, stacks};
use crate::attach::allocator::AllocatorKind;
use crate::engine;
use crate::process::info::{self, Machine, ProcessInfo, State};
use crate::process::maps::{FileId, Mapping};
use crate::process::smaps::{self, Region};
use crate::process::{ProcessError, status};
use crate::profile::ledger::{Allocator, Ledger, Purpose, Range, Row, ThreadStacks};
use crate::profile::{self, Measure, Profile, Subject, Values};

/// Why there is no ledger of a process.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
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

impl LookError {
    /// Whether the process is not there any more.
    pub const fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Exited { .. } | Self::Zombie { .. } | Self::Process(ProcessError::Gone { .. })
        )
    }
}

/// What is known of a process so far.
struct Looked {
    totals: Values,
    ledger: Ledger,
    notes: Vec<String>,
}

/// Looks at a process. `survey` finds its allocators.
///
/// # Errors
/// [`LookError`]. What can be said without a right that is missing is said, and the rest is in the notes.
pub fn look(
    pid: u32,
    survey: impl FnOnce(u32) -> Vec<FoundAllocator>,
) -> Result<Profile, LookError> {
    let info = find(pid)?;
    let pid = info.pid;
    let gone = |error| match error {
        ProcessError::Gone { pid } => LookError::Exited { pid },
        other => LookError::Process(other),
    };
    let mut looked = Looked {
        totals: totals(&info, &status::memory(pid).map_err(gone)?),
        ledger: Ledger {
            executable: info.exe.as_ref().map(|path| path.display().to_string()),
            start_ticks: info.image.start_time,
            ..Ledger::default()
        },
        notes: Vec::new(),
    };
    if let Some(asked) = info.asked_for_thread {
        let note = format!("{asked} is a thread of process {pid}, which is what is explained");
        looked.notes.push(note);
    }
    match smaps::read(pid).and_then(|regions| Ok((regions, smaps::read_rollup(pid)?))) {
        Ok((regions, rollup)) => {
            looked.take_rollup(&rollup);
            looked
                .look_inside(&info, &regions, survey)
                .map_err(|_| LookError::Exited { pid })?;
        }
        Err(ProcessError::Denied { .. }) => looked.look_from_outside(),
        // The rollup of a process without memory is an error of its own: it is exiting.
        Err(error) => return Err(gone(error)),
    }
    if info::image(pid).ok() != Some(info.image) {
        return Err(LookError::Exited { pid });
    }
    Ok(looked.profile(&info))
}

/// Finds a process, and refuses one that has no memory of its own.
///
/// # Errors
/// [`LookError`].
pub fn find(pid: u32) -> Result<ProcessInfo, LookError> {
    let info = info::read(pid).map_err(LookError::Process)?;
    let (pid, comm, parent) = (info.pid, info.comm.clone(), info.parent);
    if info.kernel_thread {
        return Err(LookError::Kernel { pid, comm });
    }
    match info.state {
        State::Zombie => Err(LookError::Zombie { pid, comm, parent }),
        State::Alive | State::Stopped => Ok(info),
    }
}

/// The sums that everybody may read.
fn totals(info: &ProcessInfo, status: &status::MemoryStatus) -> Values {
    Values::default()
        .with(Measure::ProcessRssBytes, status.resident)
        .with(Measure::ProcessAnonymousBytes, status.anonymous)
        .with(Measure::ProcessFileBytes, status.file)
        .with(Measure::ProcessSharedBytes, status.shared)
        .with(Measure::ProcessSwapBytes, status.swapped)
        .with(Measure::ProcessVirtualBytes, status.virtual_size)
        .with(Measure::ProcessPageTableBytes, status.page_tables)
        .with(Measure::ProcessHugetlbBytes, status.hugetlb)
        .with(Measure::ProcessThreads, info.threads)
}

impl Looked {
    /// The sum that the kernel takes in one go over the mappings.
    fn take_rollup(&mut self, rollup: &smaps::Usage) {
        for (measure, bytes) in [
            (Measure::ProcessRssBytes, rollup.resident),
            (Measure::ProcessAnonymousBytes, rollup.anonymous),
            (Measure::ProcessPssBytes, rollup.proportional),
            (Measure::ProcessSwapBytes, rollup.swapped),
            (Measure::ProcessHugeBytes, rollup.huge),
        ] {
            self.totals.set(measure, bytes);
        }
    }

    /// What can be said without the right to look inside: the sums that everybody may read.
    fn look_from_outside(&mut self) {
        let row = |kind: Purpose, measure, anonymous_bytes, swapped_bytes| Row {
            row: kind.into(),
            mappings: 0,
            virtual_bytes: 0,
            resident_bytes: self.totals.amount(measure),
            proportional_bytes: 0,
            anonymous_bytes,
            swapped_bytes,
            huge_bytes: 0,
        };
        let anonymous = self.totals.amount(Measure::ProcessAnonymousBytes);
        let swapped = self.totals.amount(Measure::ProcessSwapBytes);
        self.ledger.rows = vec![
            row(
                Purpose::Anonymous,
                Measure::ProcessAnonymousBytes,
                anonymous,
                swapped,
            ),
            row(Purpose::Shared, Measure::ProcessSharedBytes, 0, 0),
            row(Purpose::Files, Measure::ProcessFileBytes, 0, 0),
        ];
        self.notes.push(
            "without the right to trace the process only sums can be read: run as root, or with CAP_SYS_PTRACE, for \
             its regions, allocators and runtimes"
                .to_owned(),
        );
    }

    /// Fills in what needs the process's memory.
    fn look_inside(
        &mut self,
        info: &ProcessInfo,
        regions: &[Region],
        survey: impl FnOnce(u32) -> Vec<FoundAllocator>,
    ) -> Result<(), ReadError> {
        let pid = info.pid;
        let mut context = Context {
            program: program_of(pid, regions),
            ..Context::default()
        };
        let mut memory = match ProcessMemory::open(pid) {
            Ok(memory) => memory,
            Err(ReadError::Gone) => return Err(ReadError::Gone),
            Err(error) => {
                self.notes
                    .push(format!("heaps and runtimes were not looked at: {error}"));
                self.take(rows::sort(regions, &context, |_, _| None));
                return Ok(());
            }
        };
        let mappings: Vec<Mapping> = regions
            .iter()
            .map(|region| region.mapping.clone())
            .collect();
        let found = survey(pid);
        if info.machine == Some(Machine::ThirtyTwoBit) {
            self.notes
                .push("a 32-bit process: its heap is not walked".to_owned());
        }
        let kinds = managed::kinds(&mappings);
        let (runtimes, mut labels) = managed::look(&mut memory, info, &mappings, &kinds)?;
        self.ledger.runtimes = runtimes;
        labels.extend(stack_labels(pid, &mut memory, &mappings)?);
        if let [only] = &other_allocators(&found)[..]
            && kinds.is_empty()
        {
            context.allocator = Some(format!("{}, by elimination", allocators::name(*only)));
        }
        self.read_allocators(&mut memory, info, &found, regions, &mut labels)?;
        if context.allocator.is_some() {
            // The libc is mapped all the same, but its own allocator was never set up.
            self.ledger
                .allocators
                .retain(|allocator| !is_idle(allocator));
        }
        let blocks =
            native::mapped_block_labels(&mut memory, &self.ledger.allocators, &mappings, &labels)?;
        labels.extend(blocks);
        context.labels = rows::tidy(labels);
        let resident = |start, end| memory.resident(start, end).ok();
        self.take(rows::sort(regions, &context, resident));
        self.ledger.huge_pages = huge::look(&mut memory, pid, regions)?;
        self.ledger.stacks = stack_sum(&self.ledger.rows);
        managed::settle(&mut self.ledger.runtimes, &self.ledger.rows, &kinds);
        Ok(())
    }

    fn read_allocators(
        &mut self,
        memory: &mut ProcessMemory,
        info: &ProcessInfo,
        found: &[FoundAllocator],
        regions: &[Region],
        labels: &mut Vec<Range>,
    ) -> Result<(), ReadError> {
        for allocator in found {
            let read = native::read_allocator(memory, info.pid, allocator, regions, labels)?;
            self.ledger.allocators.push(read);
        }
        if found.is_empty() && info.machine == Some(Machine::Own) {
            let glibc = native::by_layout(memory, info, regions, labels)?;
            if glibc.is_none() {
                let note = "no allocator was found among the files that it has mapped";
                self.notes.push(note.to_owned());
            }
            self.ledger.allocators.extend(glibc);
        }
        Ok(())
    }

    fn take(&mut self, sorted: rows::Sorted) {
        self.ledger.rows = sorted.rows;
        self.ledger.ranges = sorted.ranges;
    }

    fn profile(mut self, info: &ProcessInfo) -> Profile {
        let resident = self.totals.amount(Measure::ProcessRssBytes);
        let swapped = self.totals.amount(Measure::ProcessSwapBytes);
        self.totals
            .set(Measure::ProcessTotalBytes, resident + swapped);
        let sum = self.ledger.resident_bytes(|_| true);
        self.ledger.unaccounted_bytes = resident.cast_signed() - sum.cast_signed();
        let mut profile = Profile {
            meta: engine::meta(),
            subjects: vec![Subject {
                uid: Some(info.uid),
                state: match info.state {
                    State::Stopped => profile::State::Stopped,
                    State::Alive | State::Zombie => profile::State::Running,
                },
                totals: self.totals,
                ..Subject::process(info.pid, info.comm.clone())
            }],
            notes: self.notes,
            ..Profile::default()
        };
        profile.sections.ledger = Some(self.ledger);
        profile
    }
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

fn other_allocators(found: &[FoundAllocator]) -> Vec<AllocatorKind> {
    let mut kinds: Vec<_> = found.iter().map(|allocator| allocator.kind).collect();
    kinds.retain(|kind| allocators::takes_anonymous(*kind));
    kinds.dedup();
    kinds
}

/// Whether it is glibc's allocator, and has nothing.
fn is_idle(allocator: &Allocator) -> bool {
    let system = allocator
        .heap
        .as_ref()
        .map_or(0, |heap| heap.sum().system_bytes);
    allocator.name == allocators::name(AllocatorKind::Glibc) && system == 0
}

fn stack_labels(
    pid: u32,
    memory: &mut ProcessMemory,
    mappings: &[Mapping],
) -> Result<Vec<Range>, ReadError> {
    let stacks = stacks::find(memory, mappings, &stack_pointers(pid))?.into_iter();
    Ok(stacks
        .map(|(start, end)| Range::new(start, end, Purpose::ThreadStacks))
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

/// All rows of thread stacks together, where there are any.
fn stack_sum(rows: &[Row]) -> Option<ThreadStacks> {
    let of_stacks = rows
        .iter()
        .filter(|row| row.row.kind == Purpose::ThreadStacks);
    let sums = of_stacks.map(|row| ThreadStacks {
        count: row.mappings,
        virtual_bytes: row.virtual_bytes,
        resident_bytes: row.resident_bytes,
    });
    sums.reduce(|sum, row| ThreadStacks {
        count: sum.count + row.count,
        virtual_bytes: sum.virtual_bytes + row.virtual_bytes,
        resident_bytes: sum.resident_bytes + row.resident_bytes,
    })
}
