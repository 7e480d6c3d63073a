//! The tables that the programs and user space share. Each says who writes, who reads, who removes, what
//! happens when it is full, and how its size was reckoned.

use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, ProgramArray, Queue, RingBuf};
use aya_ebpf::macros::btf_map;
use tracer_common::cache::CacheEntry;
use tracer_common::config::{Process, State};
use tracer_common::diagnostic::Diagnostic;
use tracer_common::event::{CallEvent, LifecycleEvent};
use tracer_common::key::{StackKey, StackTotals};
use tracer_common::lifetime::{Lifetimes, OldFrees};
use tracer_common::limits;
use tracer_common::loss::Loss;
use tracer_common::memo::Memo;
use tracer_common::rows;
use tracer_common::runtime;
use tracer_common::runtime::note::CodeKey;
use tracer_common::runtime::python::PythonLayout;
use tracer_common::space::SpaceEvent;
use tracer_common::stack::StackMeta;
use tracer_common::unwind::{FileKey, FileTable, Mapping};

use crate::live::{Directories, MMAPABLE, Segments};
use crate::records::Thread;
use crate::task_storage::TaskStorage;

/// `BPF_F_NO_PREALLOC`: elements are allocated when they are inserted.
const NO_PREALLOC: usize = 1;
/// Live blocks (`tracer_common::live`), in the segments of two generations. The outer map is written by user space,
/// which makes segments as blocks live and removes those of a generation that has been emptied. Slots are written at an
/// allocation's return and freed at the release (or at the entry of a `realloc`), both by the programs; user space
/// reads them through the mapping, frees what a process left behind, and moves blocks to another generation. Full: the
/// block is not tracked, and counted with its bytes. Size: 2 MiB for each segment, 64 KiB for the outer map;
/// `--max-live` is the bound.
#[btf_map]
pub static LIVE: Segments = Segments::new();

/// Sizes of the generations of [`LIVE`], one element. Written by user space, which is told through it that there is
/// little room.
#[btf_map]
pub static LIVE_DIRECTORY: Directories = Directories::new();

/// Wakes the thread of user space that makes [`LIVE`] larger. Written when the programs find little room; full: it is
/// awake.
#[btf_map]
pub static LIVE_PRESSURE: RingBuf<u64, 4096> = RingBuf::new();

/// Traced processes: thread-group id to row in [`PROCESSES`]. Written by user space, and by the programs where
/// processes are admitted; removed by the exit program. Processes that run in another's memory have its row. Full: the
/// process is refused, or its calls are counted as not followed. Size: twice `MAX_PROCESSES`.
#[btf_map]
pub static PROCESS_SLOTS: HashMap<u32, u32, { 2 * limits::MAX_PROCESSES as usize }> =
    HashMap::new();

/// The processes themselves. Written when a process is added, by user space or the admitting program, and by the
/// programs at an exec, an exit and the first return. A row is used again after user space has released it.
#[btf_map]
pub static PROCESSES: Array<Process, { limits::MAX_PROCESSES as usize }, MMAPABLE> = Array::new();

/// Rows of [`PROCESSES`] that have been used and are free again; those above `State::next_process` are free, too. Put
/// in by user space when it releases a process, taken out by both sides. Size: `MAX_PROCESSES`, so that it is never
/// full.
#[btf_map]
pub static FREE_PROCESSES: Queue<u32, { limits::MAX_PROCESSES as usize }> = Queue::new();

/// Stack to row. Key: hash, process and code. Written by the programs when a stack is first seen, read by them at each
/// allocation, removed by user space when it releases a row. No memory: the process's own row is used, and counted.
/// Size: as many as there are rows, elements allocated as stacks come.
#[btf_map]
pub static STACK_ROWS: HashMap<StackKey, u32, { rows::STACKS as usize }, NO_PREALLOC> =
    HashMap::new();

/// Rows for stacks that are free, in one ring for each class (see `tracer_common::rows`). Written by user space, read
/// by the programs. Empty: a row of the next larger class is taken, in the end the process's own row, which is counted.
#[btf_map]
pub static FREE_ROWS: Array<u64, { rows::STACKS as usize }, MMAPABLE> = Array::new();

/// Totals of each row. Added to by the programs, read by user space, and cleared by it when it releases the row. Size:
/// as many as there are rows.
#[btf_map]
pub static TOTALS: Array<StackTotals, { rows::ROWS as usize }, MMAPABLE> = Array::new();

/// Ages at which the blocks of each row were released. Added to by the programs, read by user space, and cleared by it
/// when it releases the row. Full: a counter begins anew, which user space makes up for. Size: as many as there are
/// rows, a cache line each: 8 MiB.
#[btf_map]
pub static LIFETIMES: Array<Lifetimes, { rows::ROWS as usize }, MMAPABLE> = Array::new();

/// Released blocks of each process that the trace does not know. Added to by the programs, which clear it at an `exec`;
/// read by user space, and cleared by it when it releases the process. Size: a row for each of [`PROCESSES`], 256 KiB.
#[btf_map]
pub static OLD_FREES: Array<OldFrees, { limits::MAX_PROCESSES as usize }, MMAPABLE> = Array::new();

/// What is known of each row's stack besides its frames. Written once by the programs, read by user space, and cleared
/// by it when it releases the row. Size: as many as there are rows.
#[btf_map]
pub static STACKS: Array<StackMeta, { rows::ROWS as usize }, MMAPABLE> = Array::new();

/// Frames of all stacks; a row's number tells where its own begin. Written by the programs before the row is ready.
#[btf_map]
pub static FRAMES: Array<u64, { rows::FRAMES as usize }, MMAPABLE> = Array::new();

/// Executable mappings, sorted by address in each process's part. Written by user space in a part that is not in use,
/// then switched to. Full: the process has no mappings, and its stacks are cut and marked. Size: `MAX_MAPPINGS`.
#[btf_map]
pub static MAPPINGS: Array<Mapping, { limits::MAX_MAPPINGS as usize }, MMAPABLE> = Array::new();

/// Unwind rows of all files, end to end. Written by user space before a mapping refers to them. Full: the file has no
/// table, and stacks through it are cut and marked. Size: by the files at hand, within `--unwind-memory`.
#[btf_map]
pub static UNWIND_ROWS: Array<u64, { limits::DEFAULT_UNWIND_ROWS as usize }, MMAPABLE> =
    Array::new();

/// Buckets of all files' code, end to end. As [`UNWIND_ROWS`].
#[btf_map]
pub static UNWIND_BUCKETS: Array<u64, { limits::DEFAULT_UNWIND_BUCKETS as usize }, MMAPABLE> =
    Array::new();

/// Files to their tables, for mappings that are newer than what user space has published. Written by user space when a
/// table is stored, removed before its room is used again. Full: stacks through such mappings are cut until they are
/// published. Size: `MAX_FILES`.
#[btf_map]
pub static FILES: HashMap<FileKey, FileTable, { limits::MAX_FILES as usize }> = HashMap::new();

/// Rules found before. Written and read by the programs on all CPUs without locks (see `CacheEntry`). Full: entries
/// are replaced. Size: `RULE_CACHE_BITS`.
#[btf_map]
pub static RULE_CACHE: Array<CacheEntry, { 1 << limits::RULE_CACHE_BITS }> = Array::new();

/// Rows of stacks that were found in [`STACK_ROWS`] before; an entry that stays when user space removes its row is of a
/// process or code that is over, whose number does not come again. Written, read and full as [`RULE_CACHE`]. Size:
/// `ROW_CACHE_BITS`.
#[btf_map]
pub static ROW_CACHE: Array<CacheEntry, { 1 << limits::ROW_CACHE_BITS }> = Array::new();

/// Stack walks done before. Written and read by the programs on all CPUs without locks (see `Memo`), never removed:
/// what a walk went by is part of what it is known by. Full: entries are replaced. Size: `MEMO_BITS`.
#[btf_map]
pub static MEMOS: Array<Memo, { 1 << limits::MEMO_BITS }> = Array::new();

/// Switch and counters of the trace, one element. `enabled` is written by user space, the counters by the programs.
#[btf_map]
pub static STATE: Array<State, 1, MMAPABLE> = Array::new();

/// Loss counters. Added to by the programs, summed over the CPUs by user space. Size: one for each kind of loss.
#[btf_map]
pub static LOSSES: PerCpuArray<u64, { Loss::COUNT as usize }> = PerCpuArray::new();

/// State of each traced thread. Created at the thread's first traced call, removed by the kernel when the thread ends.
/// No memory: the call is not followed, and counted. Size: as many as there are threads.
#[btf_map]
pub static THREADS: TaskStorage<Thread> = TaskStorage::new();

/// Calls, for `memlens trace`. Full: the event is dropped, and counted.
#[btf_map]
pub static CALLS: RingBuf<CallEvent, { limits::TRACE_RING_BYTES as usize }> = RingBuf::new();

/// Changes of address spaces and, where they are followed, page faults (`SpaceRecord`), for `memlens vm`. Full: the
/// event is dropped, and counted; user space then repairs its account from the maps.
#[btf_map]
pub static SPACE: RingBuf<SpaceEvent, { limits::SPACE_RING_BYTES as usize }> = RingBuf::new();

/// Exec and exit of traced processes. Full: the event is dropped, and counted; user space learns of an exit by
/// the process's file descriptor too.
#[btf_map]
pub static LIFECYCLE: RingBuf<LifecycleEvent, { limits::LIFECYCLE_RING_BYTES as usize }> =
    RingBuf::new();

/// Messages about what is not followed, where the trace asks for them. Full: the message is dropped, and counted. Size:
/// one page where the trace does not ask.
#[btf_map]
pub static DIAGNOSTICS: RingBuf<Diagnostic, { limits::DIAGNOSTICS_RING_BYTES as usize }> =
    RingBuf::new();

/// The program for the returns of a session: one program would be too large for both. Written by user space when it
/// loads the programs.
#[btf_map]
pub static SESSION_RETURN: ProgramArray<1> = ProgramArray::new();

/// Where things are in the language runtimes of the traced processes, one element for each version and build. Written by
/// user space before a process refers to it, never removed. Full: processes with further ones have native frames only,
/// and a note says so. Size: `MAX_LAYOUTS`.
#[btf_map]
pub static LAYOUTS: Array<PythonLayout, { runtime::MAX_LAYOUTS as usize }> = Array::new();

/// Stamps of the code objects whose names were told. Written by the programs when a stack is new, removed by user space
/// when the program image is over. Full: names are told again for each new stack. Size: `MAX_CODES`, elements allocated
/// as they come.
#[btf_map]
pub static CODES: HashMap<CodeKey, u64, { limits::MAX_CODES as usize }, NO_PREALLOC> =
    HashMap::new();

/// What code objects are called, and for which stacks all of them have been told (`Note`). Full: the record is dropped,
/// and counted; it is told again with the next new stack. Size: 600 of the most frequent ones between two looks.
#[btf_map]
pub static NOTES: RingBuf<u64, { limits::NOTES_RING_BYTES as usize }> = RingBuf::new();

/// The programs that go on with a stack in a language runtime, for probes: the walk, the names, the
/// account. Written by user space
/// when it loads the programs; so are the other three, since a program runs on in one of its own kind only.
#[btf_map]
pub static PROBE_RUNTIME: ProgramArray<3> = ProgramArray::new();

/// As [`PROBE_RUNTIME`], for the returns of sessions.
#[btf_map]
pub static SESSION_RUNTIME: ProgramArray<3> = ProgramArray::new();

/// As [`PROBE_RUNTIME`], for the ends of system calls.
#[btf_map]
pub static SPACE_RUNTIME: ProgramArray<3> = ProgramArray::new();

/// As [`PROBE_RUNTIME`], for page faults.
#[btf_map]
pub static FAULT_RUNTIME: ProgramArray<3> = ProgramArray::new();
