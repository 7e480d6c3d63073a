//! Loading the programs and maps, and reading what they gather.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use aya::{Ebpf, EbpfLoader};
use tracer_common::config::{Admission, Config, Process, State};
use tracer_common::diagnostic::Diagnostic;
use tracer_common::event::{CallEvent, CodeArea, LifecycleEvent};
use tracer_common::key::{Owner, StackTotals};
use tracer_common::lifetime::{Lifetimes, OldFrees};
use tracer_common::limits;
use tracer_common::loss::Loss;
use tracer_common::rows;
use tracer_common::runtime::python::PythonLayout;
use tracer_common::stack::StackMeta;

use super::OBJECT;
use super::error::LoadError;
use super::events::Events;
use super::keeper::Keeper;
use super::links::Links;
use super::live::{LiveBlocks, LiveTable, Sizes};
use super::object::{self, map_fd, view, view_in_parts};
use super::offsets::kernel_offsets;
use super::probe::Method;
use super::rows::StackRows;
use super::sys;
use super::tables::{TableSize, UnwindTables};
use super::view::ArrayView;

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
    /// Whether a process may be sampled during the trace although not all are from the start.
    pub may_sample: bool,
    /// How much the programs say of what they do not follow: a [`Level`](tracer_common::diagnostic::Level), or 0.
    pub diagnostics: u8,
}

impl Default for Settings {
    /// Nothing is counted: every source sets what it needs.
    fn default() -> Self {
        Self {
            sample_bytes: None,
            min_size: 0,
            max_size: u64::MAX,
            stack_depth: limits::MAX_DEPTH,
            max_live: 1,
            trace_calls: false,
            space_ring: 0,
            faults: None,
            unwind: None,
            method: Method::PerfEvents,
            admit: Admission::Named,
            adaptive: false,
            may_sample: false,
            diagnostics: 0,
        }
    }
}

/// A loaded kernel side.
pub struct Tracer {
    pub(super) ebpf: Ebpf,
    links: Links,
    /// Closes the links if memlens is killed.
    keeper: Option<Keeper>,
    live: LiveBlocks,
    pub(super) rows: StackRows,
    pub(super) processes: ArrayView<Process>,
    pub(super) old_frees: ArrayView<OldFrees>,
    pub(super) state: ArrayView<State>,
    pub(super) tables: UnwindTables,
    /// Layouts of language runtimes, by their numbers.
    pub(super) layouts: Vec<PythonLayout>,
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
            tick_ns: sys::tick_ns(),
            stack_depth: settings.stack_depth.clamp(1, limits::MAX_DEPTH),
            trace: u32::from(settings.trace_calls),
            unwind: u32::from(settings.unwind.is_some()),
            admit: settings.admit as u32,
            adaptive: u32::from(settings.adaptive),
            faults: u32::from(settings.faults.is_some()),
            fault_interval: settings.faults.unwrap_or(0),
            diagnostics: settings.diagnostics.into(),
            offsets: kernel_offsets(),
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
        if settings.diagnostics == 0 {
            loader.map_max_entries("DIAGNOSTICS", 4096);
        }
        if !settings.trace_calls {
            loader.map_max_entries("CALLS", 4096);
        }
        let mut ebpf = loader.load(&OBJECT)?;
        // A session saves the returns of calls that are not sampled; where all are recorded there is none to save.
        let is_sampled = settings.sample_bytes.is_some() || settings.may_sample;
        let links = Links::load(&mut ebpf, settings.method.for_trace(is_sampled))?;
        let stack_rows = StackRows::new(
            view(&ebpf, "STATE", 1)?,
            view(&ebpf, "FREE_ROWS", rows::STACKS as usize)?,
            view_in_parts(&ebpf, "TOTALS", rows::ROWS as usize)?,
            view_in_parts(&ebpf, "LIFETIMES", rows::ROWS as usize)?,
            view_in_parts(&ebpf, "STACKS", rows::ROWS as usize)?,
            view_in_parts(&ebpf, "FRAMES", rows::FRAMES as usize)?,
        );
        let live = live_table(&ebpf, settings)?;
        let pressure = Events::take_from(&mut ebpf, "LIVE_PRESSURE")?;
        // Before there is another thread.
        let keeper = Keeper::start().ok();
        let mut tracer = Self {
            live: LiveBlocks::new(live, pressure).map_err(live_failed)?,
            rows: stack_rows,
            processes: view(&ebpf, "PROCESSES", limits::MAX_PROCESSES as usize)?,
            old_frees: view_in_parts(&ebpf, "OLD_FREES", limits::MAX_PROCESSES as usize)?,
            state: view(&ebpf, "STATE", 1)?,
            tables: UnwindTables::new(&ebpf, tables)?,
            ebpf,
            links,
            keeper,
            layouts: Vec::new(),
            leaving: Vec::new(),
        };
        for name in ["process_exec", "process_exit", "process_fork"] {
            let tracepoint = format!("sched_{name}");
            let absent = LoadError::Refused(format!("the kernel has no tracepoint {tracepoint}"));
            object::place(&mut tracer.ebpf, name, &[&tracepoint], absent)?;
        }
        Ok(tracer)
    }

    /// Instructions that the verifier has walked through for each loaded program, by its name: what the kernel limits
    /// to a million. Empty before Linux 5.16, which does not tell.
    pub fn verified_instructions(&self) -> BTreeMap<String, u32> {
        object::verified_instructions(&self.ebpf)
            .chain(self.links.verified_instructions())
            .collect()
    }

    /// The live blocks.
    pub fn live(&self) -> &LiveBlocks {
        &self.live
    }

    /// The unwind tables.
    pub fn tables(&mut self) -> &mut UnwindTables {
        &mut self.tables
    }

    /// Draws the next image number; the exec program draws from the same counter.
    /// The processes that are memlens itself.
    pub fn own_processes(&self) -> impl Iterator<Item = u32> + use<> {
        let keeper = self.keeper.as_ref().map(Keeper::pid);
        std::iter::once(std::process::id()).chain(keeper)
    }

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

    /// What is known of the stack in a row; `None` while the row is being written, if it is free, and for a process's
    /// own row.
    pub fn stack_meta(&self, row: u32) -> Option<StackMeta> {
        self.rows.meta(row)
    }

    /// A stack's frames, innermost first.
    pub fn stack_frames(&self, meta: &StackMeta) -> Vec<u64> {
        self.rows.frames(meta)
    }

    /// A row's totals.
    pub fn totals(&self, row: u32) -> StackTotals {
        self.rows.totals.totals(row)
    }

    /// Ages at which a row's blocks were released, so far; each count wraps around.
    pub fn lifetimes(&self, row: u32) -> Lifetimes {
        self.rows.lifetimes.read(row as usize).unwrap_or_default()
    }

    /// Released blocks that the trace does not know, of the process in a row of the process table.
    pub fn old_frees(&self, row: u32) -> OldFrees {
        self.old_frees.read(row as usize).unwrap_or_default()
    }

    /// Loss counters that are not zero, summed over the CPUs.
    pub fn losses(&self) -> Result<BTreeMap<Loss, u64>, LoadError> {
        object::losses(&self.ebpf)
    }

    /// One loss counter, summed over the CPUs.
    pub fn loss(&self, loss: Loss) -> Result<u64, LoadError> {
        object::loss(&self.ebpf, loss as u32)
    }

    /// As [`Self::losses`], by the counters' stable names.
    pub fn losses_by_name(&self) -> Result<BTreeMap<&'static str, u64>, LoadError> {
        let losses = self.losses()?.into_iter();
        Ok(losses.map(|(loss, count)| (loss.name(), count)).collect())
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

    /// Takes the ring of diagnostic messages out; none come unless [`Settings::diagnostics`] asks for them.
    ///
    /// # Errors
    /// [`LoadError::Refused`] if it has been taken out before.
    pub fn take_diagnostics(&mut self) -> Result<Events<Diagnostic>, LoadError> {
        Events::take_from(&mut self.ebpf, "DIAGNOSTICS")
    }
}

fn live_failed(cause: std::io::Error) -> LoadError {
    LoadError::Create {
        map: "LIVE".into(),
        cause,
    }
}

/// The table of live blocks, as large as a trace begins with; it stays empty where calls are traced.
fn live_table(ebpf: &Ebpf, settings: &Settings) -> Result<LiveTable, LoadError> {
    let sizes = Sizes::up_to(if settings.trace_calls {
        1
    } else {
        settings.max_live
    });
    let directory = view(ebpf, "LIVE_DIRECTORY", 1)?;
    LiveTable::new(map_fd(ebpf, "LIVE")?, directory, sizes, sizes.first()).map_err(live_failed)
}
