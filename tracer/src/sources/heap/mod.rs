//! The heap: calls of the allocator's functions, the blocks that are live, and the stacks that allocated them.

mod census;
mod cost;
mod courses;
mod figures;
mod forks;
mod growth;
mod holders;
mod options;
pub mod reach;
mod rows;
mod scope;
mod sight;
mod walks;
mod write;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use tracer_common::config::Admission;
use tracer_common::key::{Owner, StackTotals};

use self::census::{Census, Filter};
use self::cost::{Cost, calibrated};
use self::figures::{Figures, History, Totals};
use self::forks::{Births, Fork};
use self::growth::Growths;
use self::reach::{Classes, Reaching};
use self::scope::ScopeTrace;
use self::walks::Walks;
use crate::bpf::{Method, Settings};
use crate::engine::attach::{Prober, sightings};
use crate::engine::{Core, Rates, Snapshot, Source, Work};
use crate::process::info;
use crate::process::maps::Mapping;
use crate::profile::{LateFile, Measure, State, Subject, Values};
use crate::words;

pub use self::options::HeapOptions;
pub use self::rows::{Order, Which};
pub use self::scope::Wanted;

/// The heaps of a trace's programs.
pub struct Heap {
    options: HeapOptions,
    prober: Prober,
    history: History,
    figures: Figures,
    growth: Growths,
    walks: Walks,
    rates: HashMap<Owner, Rates>,
    /// Programs that are gone and whose blocks were removed from the live map.
    swept: usize,
    cost: Cost,
    /// Who is probed, where processes come by themselves.
    scope: Option<ScopeTrace>,
    /// Which of them may be, where not all.
    wanted: Option<Wanted>,
    /// Programs whose probes were removed and that still run: when.
    off: HashMap<Owner, Duration>,
    /// Those of them that gave way to processes that grow.
    displaced: HashSet<Owner>,
    /// Children whose copies of the memory are to be cleared.
    forks: Vec<Fork>,
    births: Births,
    late: Vec<LateFile>,
    absent: Option<String>,
    reaching: Reaching,
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
            growth: Growths::default(),
            walks: Walks::default(),
            rates: HashMap::new(),
            swept: 0,
            cost: Cost::new(None, 0, None),
            scope: None,
            wanted: None,
            off: HashMap::new(),
            displaced: HashSet::new(),
            forks: Vec::new(),
            births: Births::default(),
            late: Vec::new(),
            absent: None,
            reaching: Reaching::new(options.reach),
            from_start: false,
            options,
        }
    }

    /// Why there is no heap to trace, where that was no failure.
    pub fn absent(&self) -> Option<&str> {
        self.absent.as_deref()
    }

    /// The least age of the blocks that samples count, from the next profile on.
    pub fn set_older(&mut self, older: Duration) {
        self.options.older = older;
    }

    /// The next profile is to say what holds the blocks, whenever else that is said.
    pub fn ask_for_holders(&mut self) {
        self.reaching.ask();
    }

    /// The same of these processes alone, which may be of a scope.
    pub fn ask_for_holders_of(&mut self, pids: BTreeSet<u32>) {
        self.reaching.ask_of(pids);
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
    /// No ring is to be emptied. Where processes come by themselves their hits are looked at so often, and a few of
    /// them get their probes each time.
    fn period(&self) -> Duration {
        match self.scope {
            Some(_) => Duration::from_millis(20),
            None => Duration::from_millis(50),
        }
    }

    fn configure(&self, settings: &mut Settings, in_scope: bool) {
        settings.sample_bytes = self.options.sample_bytes.map(u64::from);
        settings.min_size = self.options.min_size;
        settings.max_size = self.options.max_size;
        settings.max_live = self.options.max_live;
        settings.adaptive = true;
        settings.may_sample = in_scope || self.options.slowdown_percent.is_some();
        if in_scope {
            settings.admit = Admission::Calls;
        } else if self.options.children {
            settings.admit = Admission::Children;
        }
    }

    fn wants(&self, pid: u32) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.has(pid))
    }

    fn load(&mut self, core: &mut Core) -> Result<()> {
        let (base, slowdown) = (self.base_interval(), self.options.slowdown_percent);
        self.cost = Cost::new(calibrated(&mut core.tracer), base, slowdown);
        Ok(())
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
        self.prober.check_object()?;
        let areas = core.look_at_all_code();
        if core.members.is_about_everything() && self.wanted.is_none() {
            self.prober.prepare(&sightings(&areas));
        }
        self.scope = Some(ScopeTrace::new(&self.options, self.cost.pricing));
        Ok(())
    }

    fn begun(&mut self, core: &mut Core) -> Result<()> {
        if core.members.come_by_themselves() {
            self.begin_scope(core);
        }
        Ok(())
    }

    fn summary(&self, core: &Core) -> String {
        match core.members.scope() {
            Some(scope) => format!(
                "{scope}; a probe hit costs {} ns here",
                self.cost.hit().as_nanos()
            ),
            None => self.prober.summary(core.members.iter()),
        }
    }

    fn details(&self) -> Vec<String> {
        self.prober.details()
    }

    fn mapped(&mut self, core: &mut Core, mapped: &[(u32, Mapping)], since: Instant, all: bool) {
        if core.members.come_by_themselves() {
            self.probe_mapped(core, mapped, since, all);
        }
    }

    /// Probes what a named process has mapped since the last time.
    fn look(&mut self, core: &mut Core, pid: u32) {
        if core.members.come_by_themselves() || core.members.running(pid).is_none() {
            return;
        }
        let placed = match core.maps(pid) {
            Ok(maps) => self.prober.attach_new(&mut core.tracer, pid, &maps),
            Err(error) => Err(error.into()),
        };
        match placed {
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
        self.begin_rates(core, owner);
        self.begin_walk(core, owner);
    }

    fn passed_over(&mut self, core: &mut Core, owner: Owner) {
        if core.members.come_by_themselves() {
            self.leave_outsider(core, owner.tgid);
        }
    }

    fn loading(&mut self, core: &mut Core, pid: u32) {
        if core.members.come_by_themselves() {
            self.starts_program(core, pid);
        }
    }

    fn born(&mut self, core: &mut Core, owner: Owner, parent: u32, at_ns: u64) {
        self.probe_child(core, owner.tgid, parent, at_ns);
    }

    fn forked(&mut self, core: &mut Core, parent: Owner, child: u32) {
        self.notice(child);
        self.forks.push(Fork {
            parent: parent.tgid,
            child,
            at: core.elapsed(),
        });
    }

    fn exited(&mut self, core: &mut Core, pid: u32) {
        self.prober.leave(&mut core.tracer, pid);
    }

    fn left(&mut self, core: &mut Core, owner: Owner, row: Option<u32>) -> Option<Values> {
        self.rates.remove(&owner);
        self.cost.forget(owner);
        self.off.remove(&owner);
        self.displaced.remove(&owner);
        self.reaching.forget(owner);
        if row.is_some() {
            self.forget_process(core, owner.tgid);
        }
        let totals = self.totals_of(core, owner, row);
        (totals.alloc_count > 0).then(|| values(&totals))
    }

    fn tick(&mut self, core: &mut Core) {
        self.clear_copies(core);
        self.look_at_courses(core);
        if core.members.come_by_themselves() {
            self.run_scope(core);
        } else {
            self.keep_slowdown(core);
        }
    }

    fn sweep(&mut self, core: &mut Core, over: &HashSet<Owner>) -> Result<()> {
        // A named program's blocks stay until its figures were read; of a scope nobody asks for them any more.
        if core.members.come_by_themselves() {
            let images = over.iter().map(|owner| owner.image).collect();
            core.tracer.live().remove_images(&images)?;
        }
        Ok(())
    }

    fn work(&mut self, core: &mut Core, last: bool) -> Option<Work> {
        self.judge_blocks(core, last)
    }

    fn freeze(&mut self, _core: &mut Core) {
        self.walks.finish();
    }

    /// Reads the counters and the live map.
    fn measure(&mut self, core: &mut Core) -> Result<()> {
        self.conclude_trials(core);
        self.check_probes(core);
        let filter = self.filter();
        let blocks = match self.options.combined {
            true => None,
            false => {
                let since = Instant::now();
                let mut census = Census::new(filter, core.clock.moment_ns());
                self.reaching.collect();
                let judged = self.reaching.by_image();
                let mut classes = Classes::default();
                core.tracer.live().for_each(|addr, image, block| {
                    census.add(addr, block);
                    if let Some(judged) = judged.get(&image)
                        && let Some((class, block)) = classes.of(judged, addr, block)
                    {
                        census.judge(&block, class);
                    }
                })?;
                for (class, block) in classes.rest() {
                    census.judge(&block, class);
                }
                let sums = census.finish();
                core.log.timing("reading the live blocks", since);
                Some(sums)
            }
        };
        let totals = self.all_totals(core);
        let is_gone = |owner: Owner| {
            core.members
                .get(owner)
                .is_some_and(|member| !member.state.is_alive())
        };
        let mut figures = self.history.report(&totals, blocks, &filter, is_gone);
        self.reaching.count_lost(&figures.rows);
        figures.rows = self.merged(core, figures.rows);
        if figures.sampling.is_none() {
            figures.sampling = self.guard_sampling(core, &figures);
        }
        // The sums of programs that are gone are remembered; the table has room for others.
        let all = core.members.iter();
        let gone: HashSet<u32> = all
            .filter(|member| !member.state.is_alive())
            .map(|member| member.owner.image)
            .collect();
        if !self.options.combined && !self.options.show_blocks && gone.len() > self.swept {
            core.tracer.live().remove_images(&gone)?;
            self.swept = gone.len();
        }
        self.judge_courses(core, &mut figures);
        self.figures = figures;
        Ok(())
    }

    fn describe(&mut self, core: &mut Core, owner: Owner, subject: &mut Subject) -> bool {
        if self.absent.is_some() {
            return false;
        }
        let (totals, growth) = self.figures.owners.get(&owner).copied().unwrap_or_default();
        // The image between fork and exec of a command, or a shell that execs at once, has nothing to report.
        // So has a process of a scope that has probes and does nothing.
        let is_of_scope = core.members.come_by_themselves();
        let has_none = totals.alloc_count == 0 && (is_of_scope || subject.state == State::Replaced);
        if has_none || self.displaced.contains(&owner) {
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
        self.describe_growth(owner, subject);
        subject.sample_bytes = self.coarsest_interval(core, owner);
        let row = core
            .members
            .get(owner)
            .filter(|member| member.state.is_alive())
            .map(|member| member.row);
        subject.probe_percent =
            row.and_then(|row| self.cost.percent_since_report(core, owner, row));
        subject.probes_off = self.off.get(&owner).copied();
        true
    }

    fn notes(&self) -> Vec<String> {
        let own = self.births.note().into_iter();
        own.chain(self.disagreements()).collect()
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
