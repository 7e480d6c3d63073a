//! `memlens leaks`: outstanding heap memory per call stack, report after report.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use tokio::time::{MissedTickBehavior, interval_at};
use tracer_common::key::{Owner, StackTotals};
use tracer_common::limits;
use tracer_common::stack::{End, StackMeta};

use super::attach::{Placed, Prober};
use super::interrupt::Interrupt;
use super::output::{Printer, Reader};
use super::progress::{Step, Timings};
use super::target::{self, Targets};
use super::unwind::Unwinder;
use super::watch::{Change, Image, Watcher};
use super::{refuse_if_unable, start};
use crate::bpf::{LiveScan, Settings, Tracer};
use crate::cli::{EXIT_DONE, EXIT_LEAKS, Invocation, LeaksConfig, Sort, Unwind};
use crate::heap::{Census, Figures, Filter, Heap, Order, Row, Which, select};
use crate::process::command::{Exit, Running};
use crate::process::info;
use crate::process::maps::Mapping;
use crate::report::{CommandExit, ProcessRow, ProcessState, Report, StackRow};
use crate::symbolize::Symbolizer;

/// How often new stacks are looked up, so that their names are known when the process ends.
const RESOLVE_EVERY: Duration = Duration::from_millis(100);
/// Stacks looked up at one go, so that exits and Ctrl-C are not kept waiting.
const RESOLVE_AT_ONCE: usize = 64;
/// How long a command may take to end after a Ctrl-C that it has got as well.
const COMMAND_GRACE: Duration = Duration::from_secs(2);

/// Runs `memlens leaks`.
pub fn run(invocation: &Invocation, config: &LeaksConfig) -> Result<u8> {
    let facts = refuse_if_unable("load BPF programs")?;
    let interrupt = Interrupt::install()?;
    Printer::new(&config.output, invocation.color, config.show_allocs).check_files()?;
    let targets = target::resolve(&config.target)?;
    let mut unwinder = (config.unwind != Unwind::Fp).then(|| Unwinder::new(config.unwind_memory));
    if let Some(unwinder) = &mut unwinder {
        let _step = Step::new("building unwind tables");
        match &targets.command {
            Some((_, files)) => unwinder.prepare_files(files),
            None => targets
                .processes
                .iter()
                .for_each(|process| unwinder.prepare(process.pid)),
        }
    }
    let settings = Settings {
        unwind: unwinder.as_ref().map(Unwinder::size),
        sample_bytes: config.sample_bytes.map(u64::from),
        min_size: config.sizes.min,
        max_size: config.sizes.max,
        stack_depth: config.stack_depth,
        max_live: config.max_live,
        trace_calls: false,
        method: start::method(&facts),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut leaks = Leaks::start(invocation, config, &settings, targets, unwinder)?;
        leaks.follow(interrupt).await?;
        Ok(leaks.exit_code())
    })
}

/// A running trace.
struct Leaks<'a> {
    config: &'a LeaksConfig,
    printer: Printer<'a>,
    timings: Timings,
    tracer: Tracer,
    prober: Prober,
    watcher: Watcher,
    symbolizer: Symbolizer,
    unwinder: Option<Unwinder>,
    heap: Heap,
    images: Vec<Image>,
    /// What processes have mapped for programs that have not begun to run.
    loaded: HashMap<u32, Vec<Mapping>>,
    command: Option<Running>,
    command_exit: Option<CommandExit>,
    notes: Vec<String>,
    started: Instant,
    /// The next stack row to look up.
    unresolved: u32,
    reports: u64,
    live_at_last_report: u64,
}

impl<'a> Leaks<'a> {
    /// Loads the kernel side, places the probes and lets the trace begin.
    fn start(
        invocation: &Invocation,
        config: &'a LeaksConfig,
        settings: &Settings,
        targets: Targets,
        unwinder: Option<Unwinder>,
    ) -> Result<Self> {
        let timings = Timings::new(invocation.verbose);
        let step = Step::new("loading the BPF programs");
        let loading = Instant::now();
        let mut tracer = Tracer::load(settings)?;
        let watcher =
            Watcher::new(tracer.take_lifecycle()?).context("cannot watch for new mappings")?;
        timings.say("loading", loading);
        step.at("placing probes".into());
        let mut leaks = Self {
            config,
            printer: Printer::new(&config.output, invocation.color, config.show_allocs),
            timings,
            tracer,
            prober: Prober::new(&config.allocator, false),
            watcher,
            symbolizer: Symbolizer::new(),
            unwinder,
            heap: Heap::default(),
            images: Vec::new(),
            loaded: HashMap::new(),
            command: None,
            command_exit: None,
            notes: Vec::new(),
            started: Instant::now(),
            unresolved: limits::MAX_PROCESSES,
            reports: 0,
            live_at_last_report: 0,
        };
        let attaching = Instant::now();
        let ready = start::begin(
            &mut leaks.tracer,
            &mut leaks.prober,
            &mut leaks.watcher,
            leaks.unwinder.as_mut(),
            targets,
        )?;
        drop(step);
        timings.say("attaching", attaching);
        leaks.started = Instant::now();
        leaks.images = ready.images;
        leaks.command = ready.command;
        leaks.note_left_out();
        for image in &leaks.images {
            // A process that ends at once is reported by its end.
            let _ = leaks.symbolizer.snapshot(image.owner);
        }
        eprintln!("memlens: tracing {}", ready.summary);
        Ok(leaks)
    }

    /// Reports until there is nothing more to trace, enough reports have been made or the user ends it.
    async fn follow(&mut self, mut interrupt: Interrupt) -> Result<()> {
        let first = tokio::time::Instant::now() + self.config.interval;
        let mut reports = interval_at(first, self.config.interval);
        let mut resolve = interval_at(tokio::time::Instant::now() + RESOLVE_EVERY, RESOLVE_EVERY);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        resolve.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = interrupt.wait() => break,
                changes = self.watcher.changes() => {
                    self.apply(changes.context("cannot wait for process events")?);
                    if self.watcher.running() == 0 {
                        break;
                    }
                }
                _ = reports.tick() => {
                    let last = self.config.count.is_some_and(|count| self.reports + 1 >= count.get());
                    if last {
                        break;
                    }
                    if self.report(false)? == Reader::Gone {
                        self.leave();
                        return Ok(());
                    }
                }
                _ = resolve.tick() => self.resolve_new_stacks(RESOLVE_AT_ONCE),
            }
        }
        if interrupt.is_set() {
            self.wait_for_command().await;
            // A target may have ended just before.
            let changes = self.watcher.collect();
            self.apply(changes);
        }
        self.tracer.disable();
        let printed = self.report(true);
        self.leave();
        printed.map(drop)
    }

    /// Takes the probes off.
    fn leave(&mut self) {
        let step = Step::new("taking the probes off");
        let detaching = Instant::now();
        self.tracer.links().0.detach();
        drop(step);
        self.timings.say("detaching", detaching);
    }

    /// A Ctrl-C goes to the command as well: its end belongs to the trace.
    async fn wait_for_command(&mut self) {
        let until = tokio::time::Instant::now() + COMMAND_GRACE;
        while self.command.is_some() && self.watcher.running() > 0 {
            match tokio::time::timeout_at(until, self.watcher.changes()).await {
                Ok(Ok(changes)) => self.apply(changes),
                _ => break,
            }
        }
    }

    /// Follows the processes through exec, exit and new mappings.
    fn apply(&mut self, changes: Vec<Change>) {
        let mut look = BTreeSet::new();
        for change in changes {
            match change {
                Change::Load(pid) => self.loading(pid),
                Change::Map(pid, mapping) => {
                    look.insert(pid);
                    match self.running(pid) {
                        Some(owner) => self.symbolizer.observe(owner, mapping),
                        None => self.loaded.entry(pid).or_default().push(mapping),
                    }
                }
                Change::Look(pid) => drop(look.insert(pid)),
                Change::Exec(owner) => self.replaced(owner),
                Change::Exit(pid) => self.ended(pid),
            }
        }
        for pid in look {
            self.look_again(pid);
        }
    }

    fn running(&self, pid: u32) -> Option<Owner> {
        let is_running =
            |image: &&Image| image.owner.tgid == pid && image.state == ProcessState::Running;
        self.images.iter().find(is_running).map(|image| image.owner)
    }

    /// The process begins to load another program: what it maps from now on is the new one's.
    fn loading(&mut self, pid: u32) {
        self.resolve_new_stacks(usize::MAX);
        self.close(pid, ProcessState::Replaced);
        self.loaded.insert(pid, Vec::new());
    }

    /// A program is over.
    fn close(&mut self, pid: u32, state: ProcessState) {
        for image in self
            .images
            .iter_mut()
            .filter(|image| image.owner.tgid == pid)
        {
            if image.state == ProcessState::Running {
                image.state = state;
                self.symbolizer.seal(image.owner);
            }
        }
    }

    fn replaced(&mut self, owner: Owner) {
        self.resolve_new_stacks(usize::MAX);
        self.close(owner.tgid, ProcessState::Replaced);
        let mappings = self.loaded.remove(&owner.tgid).unwrap_or_default();
        let comm = info::read(owner.tgid).map(|info| info.comm).ok();
        let comm = comm
            .or_else(|| file_name(mappings.first()?))
            .unwrap_or_default();
        self.images.push(Image {
            owner,
            comm,
            state: ProcessState::Running,
        });
        for mapping in mappings {
            self.symbolizer.observe(owner, mapping);
        }
        self.look_again(owner.tgid);
    }

    fn ended(&mut self, pid: u32) {
        self.resolve_new_stacks(usize::MAX);
        self.close(pid, ProcessState::Exited);
        if let Some(command) = self.command.as_mut().filter(|command| command.pid == pid) {
            self.command_exit = match command.wait() {
                Ok(Exit::Code(code)) => Some(CommandExit::Code(code)),
                Ok(Exit::Signal(signal)) => Some(CommandExit::Signal(signal)),
                Err(_) => None,
            };
        }
    }

    /// Looks at what a process has mapped by now.
    fn look_again(&mut self, pid: u32) {
        if let Some(owner) = self.running(pid) {
            self.publish_mappings(pid);
            // If it has ended meanwhile, the mapping events have told what there was.
            let _ = self.symbolizer.snapshot(owner);
            self.attach_new(pid);
        }
    }

    /// Lets stacks be walked through what a process has mapped by now.
    fn publish_mappings(&mut self, pid: u32) {
        if let Some(unwinder) = &mut self.unwinder {
            unwinder.publish(&mut self.tracer, pid);
        }
    }

    /// Probes what a process has mapped since the last time.
    fn attach_new(&mut self, pid: u32) {
        match self.prober.attach_new(&mut self.tracer, pid) {
            Ok(placed) => self.note_late(pid, &placed),
            // It has ended meanwhile; its end is another event.
            Err(_) if info::read(pid).is_err() => {}
            Err(error) => self.notes.push(format!("process {pid}: {error}")),
        }
    }

    fn note_late(&mut self, pid: u32, placed: &Placed) {
        for file in &placed.files {
            self.notes.push(format!(
                "{} was mapped by process {pid} during the trace: what it allocated in the first milliseconds was missed",
                file.path.display()
            ));
        }
        self.note_left_out();
    }

    fn note_left_out(&mut self) {
        let notes = start::left_out_notes(&self.prober);
        self.notes.retain(|note| !notes.contains(note));
        self.notes.extend(notes);
    }

    /// Looks up the names in stacks that are new, while their process lives.
    fn resolve_new_stacks(&mut self, most: usize) {
        let end = self.tracer.rows();
        let mut left = most;
        while self.unresolved < end && left > 0 {
            // A row that is still being written is looked up the next time.
            let Some(meta) = self.tracer.stack_meta(self.unresolved) else {
                return;
            };
            if meta.state == StackMeta::READY {
                let frames = self.tracer.stack_frames(&meta);
                self.symbolizer.resolve(meta.owner, &frames, true);
                left -= 1;
            }
            self.unresolved += 1;
        }
    }

    /// Makes and prints one report.
    fn report(&mut self, last: bool) -> Result<Reader> {
        let requested = Instant::now();
        let step = Step::new("symbolizing");
        self.resolve_new_stacks(usize::MAX);
        let figures = self.figures()?;
        let report = self.render(&figures, last, self.config.output.top)?;
        self.reports += 1;
        self.live_at_last_report = report.stacks_live_bytes;
        let all = if last && self.printer.wants_all_stacks() {
            Some(self.render(&figures, last, None)?)
        } else {
            None
        };
        drop(step);
        let printed = self.printer.print(&report)?;
        if let Some(all) = all {
            self.printer.write_files(&all)?;
        }
        self.timings.report(requested);
        Ok(printed)
    }

    fn filter(&self) -> Filter {
        Filter {
            older: self.config.older,
            sample_bytes: self.config.sample_bytes.map(u64::from),
            keep_blocks: self.config.show_allocs,
        }
    }

    /// Reads the counters and the live map.
    fn figures(&mut self) -> Result<Figures> {
        let filter = self.filter();
        let blocks = if self.config.combined {
            None
        } else {
            let mut census = Census::new(filter, start::monotonic_ns());
            LiveScan::new(&self.tracer).for_each(|key, block| census.add(key, block))?;
            Some(census.finish())
        };
        let totals = self.all_totals();
        let running: HashMap<Owner, bool> = self
            .images
            .iter()
            .map(|image| (image.owner, image.state == ProcessState::Running))
            .collect();
        let is_gone = |owner: Owner| running.get(&owner) == Some(&false);
        let figures = self.heap.report(&totals, blocks, &filter, is_gone);
        if !self.config.combined
            && !self.config.show_allocs
            && running.values().any(|running| !running)
        {
            // Their sums are remembered; the map has room for others.
            LiveScan::new(&self.tracer).remove_owned_by(is_gone)?;
        }
        Ok(figures)
    }

    fn all_totals(&self) -> Vec<(u32, Owner, StackTotals)> {
        let processes = (0..limits::MAX_PROCESSES)
            .map_while(|row| Some((row, self.tracer.process_row_owner(row)?)));
        let stacks = (limits::MAX_PROCESSES..self.tracer.rows())
            .filter_map(|row| Some((row, self.tracer.stack_meta(row)?.owner)));
        processes
            .chain(stacks)
            .map(|(row, owner)| (row, owner, self.tracer.totals(row)))
            .collect()
    }

    fn render(&mut self, figures: &Figures, last: bool, top: Option<usize>) -> Result<Report> {
        let order = match self.config.sort {
            Sort::Bytes => Order::Bytes,
            Sort::Count => Order::Count,
            Sort::Growth => Order::Growth,
            Sort::Age => Order::Age,
        };
        let which = if self.config.all_stacks {
            Which::All
        } else {
            Which::Live
        };
        let rows = select(&figures.rows, order, which);
        let shown = rows.iter().take(top.unwrap_or(usize::MAX));
        let stacks = shown.map(|row| self.stack_row(row)).collect();
        Ok(Report {
            time: SystemTime::now(),
            elapsed: self.started.elapsed(),
            last,
            loss: self
                .tracer
                .losses()?
                .into_iter()
                .map(|(loss, count)| (loss.name(), count))
                .collect(),
            notes: self
                .notes
                .iter()
                .chain(self.unwinder.iter().flat_map(|unwinder| unwinder.notes()))
                .cloned()
                .collect(),
            sampling: figures.sampling,
            processes: self.process_rows(figures),
            stacks,
            stacks_total: rows.len(),
            stacks_live_bytes: rows.iter().map(|row| row.live_bytes).sum(),
            command_exit: self.command_exit,
        })
    }

    fn process_rows(&self, figures: &Figures) -> Vec<ProcessRow> {
        let mut rows: Vec<ProcessRow> = Vec::new();
        for image in &self.images {
            let (totals, growth) = figures
                .owners
                .get(&image.owner)
                .copied()
                .unwrap_or_default();
            // The image between fork and exec of a command, or a shell that execs at once, has nothing to tell.
            if image.state == ProcessState::Replaced && totals.alloc_count == 0 {
                continue;
            }
            rows.push(ProcessRow {
                pid: image.owner.tgid,
                comm: image.comm.clone(),
                state: image.state,
                live_bytes: totals.live_bytes(),
                live_count: totals.live_count(),
                alloc_bytes: totals.alloc_bytes,
                alloc_count: totals.alloc_count,
                growth_bytes: growth.or_else(|| (self.reports > 0).then_some(0)),
                free_bytes: totals.free_bytes,
                free_count: totals.free_count,
            });
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.live_bytes));
        rows
    }

    fn stack_row(&mut self, row: &Row) -> StackRow {
        let (frames, truncated) = match self
            .tracer
            .stack_meta(row.row)
            .filter(|_| row.row >= limits::MAX_PROCESSES)
        {
            Some(meta) => {
                let addresses = self.tracer.stack_frames(&meta);
                let frames = self.symbolizer.symbolize(meta.owner, &addresses, true);
                (frames, End::from_raw(meta.end).clause().map(str::to_owned))
            }
            None => (
                Vec::new(),
                Some("not kept: the table of stacks was full".to_owned()),
            ),
        };
        StackRow {
            pid: row.owner.tgid,
            live_bytes: row.live_bytes,
            live_count: row.live_count,
            alloc_bytes: row.totals.alloc_bytes,
            alloc_count: row.totals.alloc_count,
            free_bytes: row.totals.free_bytes,
            free_count: row.totals.free_count,
            growth_bytes: row.growth,
            oldest_age: row.oldest(),
            truncated,
            frames,
            blocks: row
                .sums
                .as_ref()
                .map(|sums| sums.blocks.clone())
                .unwrap_or_default(),
        }
    }

    /// 1 if the last report holds more than the user allows.
    fn exit_code(&self) -> u8 {
        match self.config.fail_over {
            Some(limit) if self.live_at_last_report > limit => EXIT_LEAKS,
            _ => EXIT_DONE,
        }
    }
}

fn file_name(mapping: &Mapping) -> Option<String> {
    Some(mapping.label()?.file_name()?.to_string_lossy().into_owned())
}
