//! From the kernel side's counters and blocks to a report.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use anyhow::Result;
use tracer_common::key::{Owner, StackTotals};
use tracer_common::limits;
use tracer_common::stack::{End, StackMeta};

use super::{Leaks, code_of};
use crate::bpf::LiveScan;
use crate::cli::Sort;
use crate::heap::{Census, Figures, Filter, Order, Row, Which, merge, select};
use crate::report::{CutRow, CutTally, ProcessRow, ProcessState, Report, StackRow, by_stack};
use crate::session::output::Reader;
use crate::session::progress::Step;
use crate::session::start;
use crate::session::unwind::Unwinder;
use crate::symbolize::Frame;

impl Leaks<'_> {
    /// Makes and prints one report, and writes the files.
    pub(super) fn report(&mut self, last: bool) -> Result<Reader> {
        let requested = Instant::now();
        let step = Step::new("symbolizing");
        let top = self.config.output.top.unwrap_or(usize::MAX);
        let all = self.printer.wants_all_stacks();
        // Which stacks are alike is known when all have names.
        let every = all || self.groups_stacks();
        let mut report = self.made(last, if every { usize::MAX } else { top })?;
        self.live_at_last_report = report.stacks_live_bytes;
        drop(step);
        // Files have each process's stacks, all of them; the report has the first ones, or what they have in common.
        let stacks = if all {
            report.stacks.clone()
        } else {
            Vec::new()
        };
        if self.groups_stacks() {
            report.stacks = by_stack(std::mem::take(&mut report.stacks));
            report.stacks_total = report.stacks.len();
        }
        report.stacks.truncate(top);
        let printed = self.printer.print(&report)?;
        if all {
            report.stacks = stacks;
            self.printer.write_files(&report)?;
        }
        self.log.report(requested);
        Ok(printed)
    }

    /// Makes one report, with so many stacks at most.
    pub(super) fn made(&mut self, last: bool, most: usize) -> Result<Report> {
        self.resolve_new_stacks(usize::MAX);
        let mut figures = self.figures()?;
        figures.rows = self.merged(figures.rows);
        let report = self.render(&figures, last, most)?;
        self.reports += 1;
        Ok(report)
    }

    /// One row for each stack of a program that has unmapped libraries: its rows before and after are of other code
    /// numbers, but mostly of the same code.
    fn merged(&mut self, rows: Vec<Row>) -> Vec<Row> {
        let unloaded: BTreeSet<Owner> = self
            .images
            .iter()
            .filter(|image| image.code != image.owner.image)
            .map(|image| image.owner)
            .collect();
        if unloaded.is_empty() {
            return rows;
        }
        merge(rows, |row| {
            let meta = self
                .tracer
                .stack_meta(row.row)
                .filter(|_| unloaded.contains(&row.owner))?;
            let addresses = self.tracer.stack_frames(&meta);
            let frames = self.symbolizer.symbolize(code_of(&meta), &addresses, true);
            let place = |frame: Frame| (frame.module, frame.module_offset.unwrap_or(frame.address));
            let places: Vec<_> = frames
                .into_iter()
                .filter(|frame| !frame.inlined)
                .map(place)
                .collect();
            Some((row.owner, meta.end, places))
        })
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
        let mut figures = self.heap.report(&totals, blocks, &filter, is_gone);
        if self.host.is_some() {
            if figures.sampling.is_none() {
                figures.sampling = self.guard_sampling(&figures);
            }
            // What was gone by now was told of when it went.
            self.sweep();
            return Ok(figures);
        }
        // Their sums are remembered; the map has room for others. Nothing is added for a program that is gone.
        let gone = running.values().filter(|running| !**running).count();
        if !self.config.combined && !self.config.show_allocs && gone > self.swept {
            LiveScan::new(&self.tracer).remove_owned_by(is_gone)?;
            self.swept = gone;
        }
        Ok(figures)
    }

    fn all_totals(&self) -> Vec<(u32, Owner, StackTotals)> {
        let processes = self.tracer.process_rows();
        let processes = processes.map(|(row, process)| (row, process.owner));
        let stacks = self.tracer.stack_rows();
        let stacks = stacks.filter_map(|row| Some((row, self.tracer.stack_meta(row)?.owner)));
        processes
            .chain(stacks)
            .filter(|(_, owner)| self.is_reported(*owner))
            .map(|(row, owner)| (row, owner, self.tracer.totals(row)))
            .collect()
    }

    fn render(&mut self, figures: &Figures, last: bool, most: usize) -> Result<Report> {
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
        let elapsed = self.started.elapsed();
        let stacks = self.stack_rows(&rows[..most.min(rows.len())]);
        let processes = match self.host {
            Some(_) => self.host_rows(figures, elapsed),
            None => self.process_rows(figures),
        };
        let host = self.host_report(&processes, &rows, elapsed);
        let live: Vec<&Row> = rows
            .iter()
            .copied()
            .filter(|row| row.live_bytes > 0 || row.live_count > 0)
            .collect();
        let cut = self.cut_rows(&live);
        Ok(Report {
            time: SystemTime::now(),
            elapsed,
            last,
            loss: self.tracer.losses_by_name()?,
            notes: self
                .notes
                .iter()
                .cloned()
                .chain(self.unwinder.iter().flat_map(Unwinder::notes))
                .collect(),
            filter: self.block_filter(),
            sampling: figures.sampling,
            stacks_total: rows.len(),
            processes,
            stacks,
            stacks_live_bytes: rows.iter().map(|row| row.live_bytes).sum(),
            cut,
            unwind: self.unwinder.as_ref().map(Unwinder::table_use),
            command_exit: self.command_exit,
            host,
        })
    }

    /// What the report shows of these rows.
    pub(super) fn stack_rows(&mut self, rows: &[&Row]) -> Vec<StackRow> {
        rows.iter().map(|row| self.stack_row(row)).collect()
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
                host: None,
            });
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.live_bytes));
        rows
    }

    /// Sums up the stacks that ended early.
    fn cut_rows(&mut self, live: &[&Row]) -> Vec<CutRow> {
        let mut tally = CutTally::default();
        let stacks = live.iter().filter(|row| row.row >= limits::MAX_PROCESSES);
        for row in stacks {
            let Some(meta) = self.tracer.stack_meta(row.row) else {
                continue;
            };
            let end = End::from_raw(meta.end);
            let Some(reason) = end.clause() else { continue };
            // How many frames are kept is nothing that a file can help.
            let module = match end {
                End::TooDeep => None,
                _ => self.last_module(&meta),
            };
            let held = (row.live_bytes, row.live_count);
            tally.add(row.owner.tgid, reason, module, held);
        }
        tally.rows()
    }

    /// The file of a stack's last frame.
    fn last_module(&mut self, meta: &StackMeta) -> Option<PathBuf> {
        let addresses = self.tracer.stack_frames(meta);
        let last = addresses.last().copied().into_iter().collect::<Vec<_>>();
        let frames = self.symbolizer.symbolize(code_of(meta), &last, true);
        frames.into_iter().next_back()?.module
    }

    fn stack_row(&mut self, row: &Row) -> StackRow {
        let (frames, truncated) = match self
            .tracer
            .stack_meta(row.row)
            .filter(|_| row.row >= limits::MAX_PROCESSES)
        {
            Some(meta) => {
                let addresses = self.tracer.stack_frames(&meta);
                let frames = self.symbolizer.symbolize(code_of(&meta), &addresses, true);
                (frames, End::from_raw(meta.end).clause().map(str::to_owned))
            }
            None => (
                Vec::new(),
                Some("not kept: the table of stacks was full".to_owned()),
            ),
        };
        StackRow {
            pid: row.owner.tgid,
            also: Vec::new(),
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
}
