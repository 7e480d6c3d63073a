//! Loading the programs and maps, and reading what they gather.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use aya::maps::{Map, MapData, PerCpuArray};
use aya::programs::RawTracePoint;
use aya::{Ebpf, EbpfLoader};
use tracer_common::config::{Admission, Config, Process, State};
use tracer_common::event::{CallEvent, CodeArea, LifecycleEvent};
use tracer_common::key::{Owner, StackTotals};
use tracer_common::limits;
use tracer_common::loss::Loss;
use tracer_common::rows;
use tracer_common::stack::StackMeta;

use super::events::Events;
use super::links::{Links, Method};
use super::offsets::kernel_offsets;
use super::rows::StackRows;
use super::tables::UnwindTables;
use super::view::ArrayView;

/// The BPF object, built and committed by `cargo xtask ebpf`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("memlens.bpf.o");

/// What a trace asks of the kernel side.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Mean bytes between two samples; `None` traces every block.
    pub sample_bytes: Option<u64>,
    /// Smaller requests are not tracked.
    pub min_size: u64,
    /// Larger requests are not tracked.
    pub max_size: u64,
    /// Frames kept of one stack, at most 127.
    pub stack_depth: u32,
    /// Most live blocks tracked.
    pub max_live: u32,
    /// Send every call instead of keeping accounts.
    pub trace_calls: bool,
    /// Bytes of the ring for changes of address spaces, a power of two; 0 where they are not followed.
    pub space_ring: u32,
    /// Follow page faults, by a sample of this mean distance: 1 takes every one, 0 as many as cost little.
    pub faults: Option<u32>,
    /// Room for unwind tables; `None` walks stacks by frame pointers alone.
    pub unwind: Option<TableSize>,
    /// How probes are attached.
    pub method: Method,
    /// Which processes are traced that were not named.
    pub admit: Admission,
    /// Give each process its own sampling interval, and count its probe hits.
    pub adaptive: bool,
}

/// Room for unwind tables, in 8-byte entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TableSize {
    /// Rows.
    pub rows: u32,
    /// Buckets.
    pub buckets: u32,
    /// Executable mappings of all processes together, old and new ones side by side; at least
    /// [`limits::MAX_MAPPINGS`] are made room for. An entry takes 32 bytes.
    pub mappings: u32,
}

/// Loading failed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel refused a map or a program.
    #[error("cannot load the BPF programs: {0}")]
    Refused(String),
    /// The process table is full.
    #[error(
        "more than {} processes in one trace; name fewer",
        limits::MAX_PROCESSES
    )]
    TooManyProcesses,
    /// The kernel has no tracepoints at system calls.
    #[error(
        "this kernel has no system call tracepoints, which memlens vm needs; boot one that is built with CONFIG_FTRACE_SYSCALLS"
    )]
    NoSystemCalls,
    /// The kernel has no tracepoints at page faults.
    #[error(
        "this kernel has no page fault tracepoints (exceptions:page_fault_user, on x86 only), which --faults needs; leave --faults out"
    )]
    NoPageFaults,
    /// A map could not be read or written.
    #[error("cannot access the BPF map {map}: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Whether the developer asked for the verifier's whole log.
pub(super) fn verifier_log_wanted() -> bool {
    std::env::var_os("MEMLENS_VERIFIER_LOG").is_some()
}

/// One line out of an error and its causes; verifier logs are cut to their last words.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    if verifier_log_wanted() {
        return text;
    }
    let line = text
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("unknown cause");
    line.trim().to_owned()
}

impl LoadError {
    pub(super) fn refused(error: &dyn std::error::Error) -> Self {
        Self::Refused(one_line(error))
    }
}

/// A loaded kernel side.
pub struct Tracer {
    pub(super) ebpf: Ebpf,
    links: Links,
    pub(super) rows: StackRows,
    pub(super) processes: ArrayView<Process>,
    pub(super) state: ArrayView<State>,
    pub(super) tables: UnwindTables,
    /// Rows of processes to release as soon as nobody runs in their memory.
    pub(super) leaving: Vec<u32>,
}

impl Tracer {
    /// Loads programs and maps; no probe is placed yet, and events are not counted before [`Self::enable`].
    pub fn load(settings: &Settings) -> Result<Self, LoadError> {
        let config = Config {
            sample_bytes: settings.sample_bytes.unwrap_or(0),
            min_size: settings.min_size,
            max_size: settings.max_size,
            stack_depth: settings.stack_depth.clamp(1, limits::MAX_DEPTH),
            trace: u32::from(settings.trace_calls),
            unwind: u32::from(settings.unwind.is_some()),
            admit: settings.admit as u32,
            adaptive: u32::from(settings.adaptive),
            faults: u32::from(settings.faults.is_some()),
            fault_interval: settings.faults.unwrap_or(0),
            offsets: kernel_offsets(),
            reserved: 0,
        };
        let mut loader = EbpfLoader::new();
        loader
            .allow_unsupported_maps()
            .override_global("CONFIG", &config, true);
        let tables = settings.unwind.unwrap_or_default();
        let tables = TableSize {
            rows: tables.rows.max(1),
            buckets: tables.buckets.max(1),
            mappings: tables.mappings.max(limits::MAX_MAPPINGS),
        };
        loader
            .map_max_entries("UNWIND_ROWS", tables.rows)
            .map_max_entries("UNWIND_BUCKETS", tables.buckets)
            .map_max_entries("MAPPINGS", tables.mappings);
        // The table that this kind of trace does not use is made as small as it can be.
        loader.map_max_entries("SPACE", settings.space_ring.max(4096));
        if settings.trace_calls {
            loader.map_max_entries("LIVE", 1);
        } else {
            loader
                .map_max_entries("LIVE", settings.max_live)
                .map_max_entries("CALLS", 4096);
        }
        let mut ebpf = loader
            .load(OBJECT)
            .map_err(|error| LoadError::refused(&error))?;
        // A session saves the returns of calls that are not sampled; where all are recorded there is none to save.
        let is_sampled = settings.sample_bytes.is_some() || settings.adaptive;
        let links = Links::load(&mut ebpf, settings.method.for_trace(is_sampled))?;
        let stack_rows = StackRows::new(
            view(&ebpf, "STATE", 1)?,
            view(&ebpf, "FREE_ROWS", rows::STACKS as usize)?,
            view(&ebpf, "TOTALS", rows::ROWS as usize)?,
            view(&ebpf, "STACKS", rows::ROWS as usize)?,
            view(&ebpf, "FRAMES", rows::FRAMES as usize)?,
        );
        let mut tracer = Self {
            rows: stack_rows,
            processes: view(&ebpf, "PROCESSES", limits::MAX_PROCESSES as usize)?,
            state: view(&ebpf, "STATE", 1)?,
            tables: UnwindTables::new(&ebpf, tables)?,
            ebpf,
            links,
            leaving: Vec::new(),
        };
        tracer.attach_lifecycle()?;
        Ok(tracer)
    }

    fn attach_lifecycle(&mut self) -> Result<(), LoadError> {
        for name in ["process_exec", "process_exit", "process_fork"] {
            let program: Option<&mut RawTracePoint> = self
                .ebpf
                .program_mut(name)
                .and_then(|program| program.try_into().ok());
            let Some(program) = program else {
                return Err(LoadError::Refused(format!(
                    "the object has no program {name}"
                )));
            };
            let tracepoint = format!("sched_{name}");
            program
                .load()
                .and_then(|()| program.attach(&tracepoint))
                .map_err(|error| LoadError::refused(&error))?;
        }
        Ok(())
    }

    /// Instructions that the verifier has walked through for each loaded program, by its name: what the kernel limits
    /// to a million. Empty before Linux 5.16, which does not tell.
    pub fn verified_instructions(&self) -> BTreeMap<String, u32> {
        let by_aya = self.ebpf.programs().filter_map(|(name, program)| {
            let verified = program.info().ok()?.verified_instruction_count()?;
            Some((name.to_owned(), verified))
        });
        by_aya.chain(self.links.verified_instructions()).collect()
    }

    /// The unwind tables.
    pub fn tables(&mut self) -> &mut UnwindTables {
        &mut self.tables
    }

    /// Draws the next image number; the exec program draws from the same counter.
    pub(super) fn draw_image(&mut self) -> u32 {
        let Some(state) = self.state.pointer(0) else {
            return 0;
        };
        // SAFETY: a mapped, aligned u32 that the exec program increments atomically as well.
        let counter = unsafe { std::sync::atomic::AtomicU32::from_ptr(&raw mut (*state).images) };
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1
    }

    /// Begins to count. All probes should be in place, so that no block's release is missed.
    pub fn enable(&mut self) {
        self.set_enabled(1);
    }

    /// Stops counting; what was gathered stays.
    pub fn disable(&mut self) {
        self.set_enabled(0);
    }

    fn set_enabled(&mut self, value: u32) {
        if let Some(state) = self.state.pointer(0) {
            // SAFETY: a mapped, aligned u32 that only user space writes.
            unsafe { (&raw mut (*state).enabled).write_volatile(value) };
        }
    }

    /// Code that every process on the host has mapped from files.
    pub fn code_areas(&mut self) -> Result<Vec<CodeArea>, LoadError> {
        super::areas::read(&mut self.ebpf)
    }

    /// The probes of this trace.
    pub fn links(&mut self) -> (&mut Links, &mut Ebpf) {
        (&mut self.links, &mut self.ebpf)
    }

    /// Rows of stacks that are new since the last call, each once. One that is still being written comes the next time.
    pub fn new_stacks(&mut self) -> Vec<u32> {
        self.rows.new_stacks()
    }

    /// Rows of the stacks that [`Self::new_stacks`] has told of and that were not released.
    pub fn stack_rows(&self) -> impl Iterator<Item = u32> {
        self.rows.used()
    }

    /// Whether rows for stacks run short: those of programs that are over should be released.
    pub fn stack_rows_are_scarce(&self) -> bool {
        self.rows.are_scarce()
    }

    /// Rows of the stacks of programs that are over, to release.
    pub fn stack_rows_of(&self, is_over: impl Fn(Owner) -> bool) -> Vec<u32> {
        self.rows.rows_of(is_over)
    }

    /// What is known of the stack in a row; `None` while the row is being written, if it is free, and for a process's own row.
    pub fn stack_meta(&self, row: u32) -> Option<StackMeta> {
        self.rows.meta(row)
    }

    /// A stack's frames, innermost first.
    pub fn stack_frames(&self, meta: &StackMeta) -> Vec<u64> {
        self.rows.frames(meta)
    }

    /// A row's totals.
    pub fn totals(&self, row: u32) -> StackTotals {
        self.rows.totals(row)
    }

    /// Loss counters that are not zero, summed over the CPUs.
    pub fn losses(&self) -> Result<BTreeMap<Loss, u64>, LoadError> {
        let mut losses = BTreeMap::new();
        for loss in Loss::ALL {
            let count = self.loss(loss)?;
            if count > 0 {
                losses.insert(loss, count);
            }
        }
        Ok(losses)
    }

    /// One loss counter, summed over the CPUs.
    pub fn loss(&self, loss: Loss) -> Result<u64, LoadError> {
        let map = self.ebpf.map("LOSSES").ok_or_else(|| missing("LOSSES"))?;
        let counters: PerCpuArray<&MapData, u64> = map
            .try_into()
            .map_err(|error| LoadError::refused(&error as &aya::maps::MapError))?;
        let values = counters
            .get(&(loss as u32), 0)
            .map_err(|error| LoadError::refused(&error))?;
        Ok(values.iter().sum())
    }

    /// As [`Self::losses`], by the counters' stable names.
    pub fn losses_by_name(&self) -> Result<BTreeMap<&'static str, u64>, LoadError> {
        let losses = self.losses()?.into_iter();
        Ok(losses.map(|(loss, count)| (loss.name(), count)).collect())
    }

    /// The live map's descriptor, for [`super::LiveScan`].
    pub(super) fn live_map(&self) -> Result<BorrowedFd<'_>, LoadError> {
        self.map("LIVE")
    }

    pub(super) fn map(&self, name: &'static str) -> Result<BorrowedFd<'_>, LoadError> {
        map_fd(&self.ebpf, name)
    }

    /// Takes the ring of process events out.
    pub fn take_lifecycle(&mut self) -> Result<Events<LifecycleEvent>, LoadError> {
        Events::take_from(&mut self.ebpf, "LIFECYCLE")
    }

    /// Takes the ring of calls out.
    pub fn take_calls(&mut self) -> Result<Events<CallEvent>, LoadError> {
        Events::take_from(&mut self.ebpf, "CALLS")
    }
}

pub(super) fn missing(map: &str) -> LoadError {
    LoadError::Refused(format!("the object has no map {map}"))
}

pub(super) fn map_mut<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut Map, LoadError> {
    ebpf.map_mut(name).ok_or_else(|| missing(name))
}

/// Descriptor of a map of any kind.
pub(super) fn map_fd<'a>(ebpf: &'a Ebpf, name: &str) -> Result<BorrowedFd<'a>, LoadError> {
    let data = match ebpf.map(name).ok_or_else(|| missing(name))? {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::PerCpuArray(data)
        | Map::Queue(data)
        | Map::ProgramArray(data)
        | Map::RingBuf(data)
        | Map::Unsupported(data) => data,
        _ => return Err(missing(name)),
    };
    Ok(data.fd().as_fd())
}

pub(super) fn view<T: aya::Pod>(
    ebpf: &Ebpf,
    name: &'static str,
    len: usize,
) -> Result<ArrayView<T>, LoadError> {
    ArrayView::new(map_fd(ebpf, name)?, len).map_err(|source| LoadError::Map { map: name, source })
}

/// Whether a path can be handed to the kernel.
pub(super) fn c_path(path: &Path) -> io::Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt;
    Ok(std::ffi::CString::new(path.as_os_str().as_bytes())?)
}
