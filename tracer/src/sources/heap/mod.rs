//! The heap: calls of the allocator's functions, the blocks that are live, and the stacks that allocated them.

mod cost;
mod figures;
mod files;
mod rows;
mod write;

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use tracer_common::config::Admission;
use tracer_common::key::{Owner, StackTotals};
use tracer_common::limits;

use self::cost::Budget;
use self::figures::{Census, Figures, Filter, History, Totals};
use crate::bpf::{LiveScan, Method, Settings};
use crate::engine::attach::{Allocator, Prober};
use crate::engine::{Core, Rates, Snapshot, Source, monotonic_ns};
use crate::process::info;
use crate::process::maps::Mapping;
use crate::profile::{LateFile, Measure, State, Subject, Values};
use crate::words;

pub use self::rows::{Order, Which};

/// Which blocks are followed, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct HeapOptions {
    /// Smaller blocks are left out.
    pub min_size: u64,
    /// Larger blocks are left out.
    pub max_size: u64,
    /// Least age of the blocks that samples count.
    pub older: Duration,
    /// Where the allocator is.
    pub allocator: Allocator,
    /// Order of the samples.
    pub order: Order,
    /// Whether the samples list their blocks.
    pub show_blocks: bool,
    /// Which stacks have samples.
    pub which: Which,
    /// Keep totals per stack only.
    pub combined: bool,
    /// Mean bytes between two samples; `None` follows every block.
    pub sample_bytes: Option<NonZeroU64>,
    /// Live blocks followed at most.
    pub max_live: u32,
    /// Most that the probes of a scope may cost, in percent of the machine's CPUs; `None` is no limit.
    pub cpu_budget_percent: Option<f64>,
    /// A process without an allocator that can be traced is no failure: its heap is [`Heap::absent`].
    pub is_optional: bool,
}

impl Default for HeapOptions {
    fn default() -> Self {
        Self {
            min_size: 0,
            max_size: u64::MAX,
            older: Duration::ZERO,
            allocator: Allocator::default(),
            order: Order::Bytes,
            show_blocks: false,
            which: Which::Live,
            combined: false,
            sample_bytes: None,
            max_live: limits::DEFAULT_MAX_LIVE,
            cpu_budget_percent: None,
            is_optional: false,
        }
    }
}

/// The heaps of a trace's programs.
pub struct Heap {
    options: HeapOptions,
    prober: Prober,
    history: History,
    figures: Figures,
    rates: HashMap<Owner, Rates>,
    /// Programs that are gone and whose blocks were removed from the live map.
    swept: usize,
    budget: Budget,
    late: Vec<LateFile>,
    absent: Option<String>,
    /// Whether a command's allocator was probed before its first instruction, and no other has come since.
    from_start: bool,
}

impl Heap {
    /// Nothing is followed yet.
    pub fn new(options: HeapOptions) -> Self {
        Self {
            prober: Prober::new(&options.allocator, false),
            history: History::default(),
            figures: Figures::default(),
            rates: HashMap::new(),
            swept: 0,
            budget: Budget::default(),
            late: Vec::new(),
            absent: None,
            from_start: false,
            options,
        }
    }

    /// Why there is no heap to trace, where that was no failure.
    pub fn absent(&self) -> Option<&str> {
        self.absent.as_deref()
    }

    fn base_interval(&self) -> u64 {
        self.options.sample_bytes.map_or(0, u64::from)
    }

    fn filter(&self) -> Filter {
        Filter {
            older: self.options.older,
            sample_bytes: self.options.sample_bytes.map(u64::from),
            keep_blocks: self.options.show_blocks,
        }
    }

    /// Totals of a program over all of its stacks, and over what its process's own row stands for.
    fn totals_of(&self, core: &Core, owner: Owner, own: Option<u32>) -> Totals {
        let mut totals = Totals::default();
        let stacks = core.tracer.stack_rows_of(|other| other == owner);
        for row in stacks.into_iter().chain(own) {
            totals.add(&Totals::from(core.tracer.totals(row)));
        }
        totals
    }

    /// Counters of every program and stack that the trace is about.
    fn all_totals(&self, core: &Core) -> Vec<(u32, Owner, StackTotals)> {
        let processes = core.tracer.process_rows();
        let processes = processes.map(|(row, process)| (row, process.owner));
        let stacks = core.tracer.stack_rows();
        let stacks = stacks.filter_map(|row| Some((row, core.tracer.stack_meta(row)?.owner)));
        processes
            .chain(stacks)
            .filter(|(_, owner)| core.members.get(*owner).is_some())
            .map(|(row, owner)| (row, owner, core.tracer.totals(row)))
            .collect()
    }

    /// Notes the functions that are not traced.
    fn note_left_out(&self, core: &mut Core) {
        for note in self.prober.left_out_notes() {
            core.notes.add(note);
        }
    }
}

/// Values of these totals.
fn values(totals: &Totals) -> Values {
    Values::default()
        .with(Measure::HeapLiveBytes, totals.live_bytes())
        .with(Measure::HeapLiveBlocks, totals.live_count())
        .with(Measure::HeapAllocBytes, totals.alloc_bytes)
        .with(Measure::HeapAllocBlocks, totals.alloc_count)
        .with(Measure::HeapFreeBytes, totals.free_bytes)
        .with(Measure::HeapFreeBlocks, totals.free_count)
}

impl Source for Heap {
    /// No ring is to be emptied; the guard looks at the cost ten times a second.
    fn period(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn configure(&self, settings: &mut Settings, in_scope: bool) {
        settings.sample_bytes = self.options.sample_bytes.map(u64::from);
        settings.min_size = self.options.min_size;
        settings.max_size = self.options.max_size;
        settings.max_live = self.options.max_live;
        if in_scope {
            settings.admit = Admission::Calls;
            settings.adaptive = true;
        }
    }

    fn attach(&mut self, core: &mut Core, pid: u32, files: Option<&[PathBuf]>) -> Result<()> {
        self.from_start = files.is_some();
        match self.prober.begin(&mut core.tracer, pid, files) {
            Err(error) if self.options.is_optional => {
                self.absent = Some(words::error::one_line(&error.into()))
            }
            attached => drop(attached?),
        }
        self.note_left_out(core);
        Ok(())
    }

    fn attach_all(&mut self, core: &mut Core) -> Result<()> {
        let base = self.base_interval();
        self.budget = Budget::calibrated(&mut core.tracer, self.options.cpu_budget_percent, base)?;
        self.probe_everything(core)
    }

    fn summary(&self, core: &Core) -> String {
        match core.members.scope() {
            Some(scope) => format!(
                "{scope}: {} with allocators; a probe hit costs {} ns here",
                words::units::counted(self.prober.everywhere().probed() as u64, "file"),
                self.budget.hit().as_nanos()
            ),
            None => self.prober.summary(core.members.iter()),
        }
    }

    fn details(&self) -> Vec<String> {
        self.prober.details()
    }

    fn mapped(&mut self, core: &mut Core, mapped: &[(u32, Mapping)], since: Instant, all: bool) {
        if core.members.come_by_themselves() {
            self.probe_new(core, mapped, since, all);
        }
    }

    /// Probes what a named process has mapped since the last time.
    fn look(&mut self, core: &mut Core, pid: u32) {
        if core.members.come_by_themselves() || core.members.running(pid).is_none() {
            return;
        }
        match self.prober.attach_new(&mut core.tracer, pid) {
            Ok(placed) => {
                self.from_start &= placed.files.is_empty();
                for file in &placed.files {
                    core.notes.add(format!(
                        "{} was mapped by process {pid} during the trace: what it allocated in the first milliseconds was missed",
                        file.path.display()
                    ));
                }
                self.note_left_out(core);
            }
            // It has ended meanwhile; its end is another event.
            Err(_) if info::read(pid).is_err() => {}
            Err(failure) => core.notes.add(format!(
                "process {pid}: {}",
                words::error::plain(&failure.to_string())
            )),
        }
    }

    fn joined(&mut self, core: &mut Core, owner: Owner, _is_new: bool) {
        let at = core.elapsed();
        self.rates.insert(owner, Rates::new(at));
        if core.members.come_by_themselves() {
            self.begin_guarding(core, owner);
        }
    }

    fn left(&mut self, core: &mut Core, owner: Owner, row: Option<u32>) -> Option<Values> {
        self.rates.remove(&owner);
        self.budget.forget(owner);
        let totals = self.totals_of(core, owner, row);
        (row.is_some() || totals.alloc_count > 0).then(|| values(&totals))
    }

    fn tick(&mut self, core: &mut Core) {
        if core.members.come_by_themselves() {
            self.watch_cost(core);
        }
    }

    fn sweep(&mut self, core: &mut Core, is_over: &dyn Fn(Owner) -> bool) -> Result<()> {
        // A named program's blocks stay until its figures were read; of a scope nobody asks for them any more.
        if core.members.come_by_themselves() {
            LiveScan::new(&core.tracer).remove_owned_by(is_over)?;
        }
        Ok(())
    }

    /// Reads the counters and the live map.
    fn measure(&mut self, core: &mut Core) -> Result<()> {
        let filter = self.filter();
        let blocks = match self.options.combined {
            true => None,
            false => {
                let mut census = Census::new(filter, monotonic_ns());
                LiveScan::new(&core.tracer).for_each(|key, block| census.add(key, block))?;
                Some(census.finish())
            }
        };
        let totals = self.all_totals(core);
        let is_gone = |owner: Owner| {
            core.members
                .get(owner)
                .is_some_and(|member| !member.state.is_alive())
        };
        let mut figures = self.history.report(&totals, blocks, &filter, is_gone);
        figures.rows = self.merged(core, figures.rows);
        if figures.sampling.is_none() {
            figures.sampling = self.guard_sampling(core, &figures);
        }
        // The sums of programs that are gone are remembered; the map has room for others.
        let is_gone = |owner: Owner| {
            core.members
                .get(owner)
                .is_some_and(|member| !member.state.is_alive())
        };
        let gone = core
            .members
            .iter()
            .filter(|member| !member.state.is_alive())
            .count();
        if !self.options.combined && !self.options.show_blocks && gone > self.swept {
            LiveScan::new(&core.tracer).remove_owned_by(is_gone)?;
            self.swept = gone;
        }
        self.figures = figures;
        Ok(())
    }

    fn describe(&mut self, core: &mut Core, owner: Owner, subject: &mut Subject) -> bool {
        if self.absent.is_some() {
            return false;
        }
        let (totals, growth) = self.figures.owners.get(&owner).copied().unwrap_or_default();
        // The image between fork and exec of a command, or a shell that execs at once, has nothing to report.
        if subject.state == State::Replaced && totals.alloc_count == 0 {
            return false;
        }
        subject.totals.add(&values(&totals));
        let growth = growth.or_else(|| (core.reports > 0).then_some(0));
        subject.totals.set_some(Measure::HeapChangeBytes, growth);
        if let Some(rates) = self.rates.get_mut(&owner) {
            rates.add(core.elapsed(), totals.live_bytes(), totals.alloc_count);
            subject
                .totals
                .set_some(Measure::HeapGrowthPerMin, rates.growth_per_minute());
            subject
                .totals
                .set_some(Measure::HeapAllocsPerS, rates.per_second());
        }
        let step = core
            .members
            .get(owner)
            .map_or(0, |member| core.tracer.step(member.row));
        let interval = tracer_common::sampling::interval(self.base_interval(), step);
        subject.sample_bytes = Some(interval).filter(|interval| *interval > 0);
        subject.probes_off = self.budget.probes_off(owner);
        true
    }

    fn ranked_by(&self) -> &'static [Measure] {
        &[Measure::HeapLiveBytes]
    }

    fn write(&mut self, core: &mut Core, out: &mut Snapshot) -> Result<()> {
        if self.absent.is_none() {
            self.write_samples(core, out);
            self.write_sections(core, out);
        }
        Ok(())
    }

    fn announce_leaving(&self, method: Method) {
        self.prober.announce_detaching(method);
    }
}
