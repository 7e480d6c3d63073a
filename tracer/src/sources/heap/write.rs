//! From the figures to the heap's part of a profile.

use std::collections::{BTreeMap, BTreeSet};

use tracer_common::key::Owner;
use tracer_common::runtime::word::is_runtime;
use tracer_common::stack::StackMeta;

use super::figures::Figures;
use super::figures::Row;
use super::growth::set_slope;
use super::rows::{merge, select};
use super::{Heap, values};
use crate::engine::{Core, Snapshot, code_of};
use crate::profile::wire::milliseconds;
use crate::profile::{
    Cut, CutReason, Filter, HeapSection, HostWide, Measure, Sampling, Source, Values,
};
use crate::reach::outcome::Class;
use crate::runtime::merge;
use crate::symbolize::Frame;

/// Most values of a sample.
const MEASURES: [Measure; 11] = [
    Measure::HeapLiveBytes,
    Measure::HeapLiveBlocks,
    Measure::HeapAllocBytes,
    Measure::HeapAllocBlocks,
    Measure::HeapFreeBytes,
    Measure::HeapFreeBlocks,
    Measure::HeapChangeBytes,
    Measure::HeapOldestMs,
    Measure::HeapGrowthPerS,
    Measure::HeapGrowthPerSLow,
    Measure::HeapGrowthPerSHigh,
];

impl Heap {
    /// One row for each stack of a program that has unmapped libraries: its rows before and after are of other code
    /// numbers, but mostly of the same code.
    pub(super) fn merged(&self, core: &mut Core, rows: Vec<Row>) -> Vec<Row> {
        let unloaded: BTreeSet<Owner> = core
            .members
            .iter()
            .filter(|member| member.code != member.owner.image)
            .map(|member| member.owner)
            .collect();
        if unloaded.is_empty() {
            return rows;
        }
        merge(rows, |row| {
            let meta = core
                .stack_meta(row.row)
                .filter(|_| unloaded.contains(&row.owner))?;
            let words = core.tracer.stack_frames(&meta);
            let of_runtime = words.iter().copied().filter(|word| is_runtime(*word));
            let native = merge::addresses(&words);
            let frames = core.symbols.symbolize(code_of(&meta), &native, true);
            let place = |frame: Frame| (frame.module, frame.module_offset.unwrap_or(frame.address));
            let places: Vec<_> = frames
                .into_iter()
                .filter(|frame| !frame.inlined)
                .map(place)
                .collect();
            Some((row.owner, meta.end, places, of_runtime.collect::<Vec<_>>()))
        })
    }

    /// A sample for each stack, in order.
    pub(super) fn write_samples(&mut self, core: &mut Core, out: &mut Snapshot) {
        out.build.measures(MEASURES);
        if self.reaching.has_judged() {
            let measures = Class::ALL.into_iter().flat_map(Class::measures);
            out.build.measures(measures);
            out.build.measures([Measure::HeapFreedAfterLostBlocks]);
        }
        let figures = std::mem::take(&mut self.figures);
        let rows = select(&figures.rows, self.options.order, self.options.which);
        for (rank, row) in rows.iter().enumerate() {
            let Some(subject) = out.subject(row.owner) else {
                continue;
            };
            let mut values = row_values(row);
            self.add_classes(row, &mut values);
            if !out.selects(Source::Heap, rank, subject, &values) {
                continue;
            }
            let stack = core.stack(out, row.row, row.owner, CutReason::NotKept);
            let mut sample = out
                .build
                .sample(Source::Heap, subject, Some(stack), &values);
            if let Some(sums) = &row.sums {
                sample.ages = sums.ages.clone();
                sample.blocks = self.options.show_blocks.then(|| sums.blocks.clone());
            }
            sample.holders = self.holders(core, out, row);
            sample.freed = self.freed_ages(core, row);
            sample.course = row.judged.map(|judged| judged.course());
            out.build.add(sample);
        }
        self.write_cut(core, out, &rows);
        self.figures = figures;
    }

    /// Sums up the stacks with live memory that ended early.
    fn write_cut(&self, core: &mut Core, out: &mut Snapshot, rows: &[&Row]) {
        let mut tally: BTreeMap<(u32, CutReason, Option<u32>), (u64, Values)> = BTreeMap::new();
        for row in rows
            .iter()
            .filter(|row| row.live_bytes > 0 || row.live_count > 0)
        {
            let cut = core
                .stack_meta(row.row)
                .and_then(|meta| Some((core.cut(&meta, row.owner)?, meta)));
            let (Some((reason, meta)), Some(subject)) = (cut, out.subject(row.owner)) else {
                continue;
            };
            let module = last_module(core, out, reason, &meta);
            let sums = tally.entry((subject, reason, module)).or_default();
            sums.0 += 1;
            sums.1.add(
                &Values::default()
                    .with(Measure::HeapLiveBytes, row.live_bytes)
                    .with(Measure::HeapLiveBlocks, row.live_count),
            );
        }
        let cut = &mut out.build.profile.sections.cut;
        cut.extend(
            tally
                .into_iter()
                .map(|((subject, reason, module), (stacks, values))| Cut {
                    subject,
                    reason,
                    module,
                    stacks,
                    values,
                }),
        );
        // Stable: the same report is the same text.
        cut.sort_by_key(|row| {
            std::cmp::Reverse((row.values.amount(Measure::HeapLiveBytes), row.stacks))
        });
    }

    /// The sample's error where the guard made samples; `None` where every block is followed.
    pub(super) fn guard_sampling(&self, core: &Core, figures: &Figures) -> Option<Sampling> {
        // Only blocks of a sample have a variance.
        let sampled = || {
            let sums = figures.rows.iter().filter_map(|row| row.sums.as_ref());
            sums.filter(|sums| sums.variance > 0.0)
        };
        let least = core
            .members
            .iter()
            .filter_map(|member| self.coarsest_interval(core, member.owner))
            .min();
        if least.is_none() && sampled().next().is_none() {
            return None;
        }
        let variance: f64 = sampled().map(|sums| sums.variance).sum();
        Some(Sampling {
            interval_bytes: least.unwrap_or_else(|| self.cost.pricing.interval(1)),
            live_samples: sampled().map(|sums| sums.samples).sum(),
            standard_error_bytes: variance.sqrt().round() as u64,
        })
    }

    pub(super) fn write_sections(&mut self, core: &Core, out: &mut Snapshot) {
        let reachability = self.reachability(core, out);
        let net = self.net_growths(out);
        let sections = &mut out.build.profile.sections;
        sections.reachability = reachability;
        sections.heap = Some(HeapSection {
            filter: Filter {
                older: self.options.older,
                min_size: Some(self.options.min_size).filter(|size| *size > 0),
                max_size: Some(self.options.max_size).filter(|size| *size < u64::MAX),
                only: None,
            },
            sampling: self.figures.sampling,
            from_start: self.from_start,
            net,
        });
        sections.guard = self.guard_report();
        if core.members.come_by_themselves() {
            let scope = self.scope.as_ref();
            sections.host_wide = Some(HostWide {
                admission: scope.map(|scope| scope.report(core.elapsed())),
                late_files: self.late.clone(),
                probed_files: self.prober.probed_files(),
                ..HostWide::default()
            });
        }
    }
}

/// What a stack holds; of the age that is wanted.
fn row_values(row: &Row) -> Values {
    let mut values = values(&row.totals);
    values.set(Measure::HeapLiveBytes, row.live_bytes);
    values.set(Measure::HeapLiveBlocks, row.live_count);
    values.set_some(Measure::HeapChangeBytes, row.growth);
    values.set_some(Measure::HeapOldestMs, row.oldest().map(milliseconds));
    set_slope(&mut values, row.judged.as_ref());
    values
}

/// The file of a stack's last frame, where it has to do with the reason why the stack is cut.
fn last_module(
    core: &mut Core,
    out: &mut Snapshot,
    reason: CutReason,
    meta: &StackMeta,
) -> Option<u32> {
    // How many frames are kept is nothing that a file can help.
    if reason == CutReason::TooDeep || reason.is_of_runtime() {
        return None;
    }
    let frame = core.outermost_frame(meta)?;
    Some(
        out.build
            .module(&frame.module?.to_string_lossy(), frame.build_id.as_deref()),
    )
}
