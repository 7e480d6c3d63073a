//! The parts of a report that only the whole host has.

use std::time::Duration;

use tracer_common::key::Owner;

use super::super::Leaks;
use crate::heap::{Figures, Row};
use crate::process::info;
use crate::report::{
    Grouping, Host, ProcessHost, ProcessRow, ProcessStacks, ProcessState, Sampling,
};

impl Leaks<'_> {
    /// Whether a program's numbers are in the reports.
    pub(in crate::session::leaks) fn is_reported(&self, owner: Owner) -> bool {
        match &self.host {
            Some(host) => host.people.members().contains_key(&owner),
            None => true,
        }
    }

    /// The sample's error where the guard made samples; `None` where every block is followed.
    pub(in crate::session::leaks) fn guard_sampling(&self, figures: &Figures) -> Option<Sampling> {
        let host = self.host.as_ref()?;
        let base = self.config.sample_bytes.map_or(0, u64::from);
        // Only blocks of a sample have a variance.
        let sampled = || {
            let sums = figures.rows.iter().filter_map(|row| row.sums.as_ref());
            sums.filter(|sums| sums.variance > 0.0)
        };
        let steps = host.people.members().values();
        let steps = steps.map(|member| self.tracer.step(member.row));
        let least = steps.filter(|step| *step > 0).min();
        if least.is_none() && sampled().next().is_none() {
            return None;
        }
        let variance: f64 = sampled().map(|sums| sums.variance).sum();
        Some(Sampling {
            interval_bytes: tracer_common::sampling::interval(base, least.unwrap_or(1)),
            live_samples: sampled().map(|sums| sums.samples).sum(),
            standard_error_bytes: variance.sqrt().round() as u64,
        })
    }

    /// A row for each process that runs, largest first.
    pub(in crate::session::leaks) fn host_rows(
        &mut self,
        figures: &Figures,
        elapsed: Duration,
    ) -> Vec<ProcessRow> {
        let first = self.reports == 0;
        let base = self.config.sample_bytes.map_or(0, u64::from);
        let Some(host) = &mut self.host else {
            return Vec::new();
        };
        let mut rows = Vec::with_capacity(host.people.members().len());
        for (owner, member) in host.people.members_mut() {
            let (totals, growth) = figures.owners.get(owner).copied().unwrap_or_default();
            member
                .rates
                .add(elapsed, totals.live_bytes(), totals.alloc_count);
            let step = self.tracer.step(member.row);
            let interval = tracer_common::sampling::interval(base, step);
            rows.push(ProcessRow {
                pid: owner.tgid,
                comm: member.comm.clone(),
                state: ProcessState::Running,
                live_bytes: totals.live_bytes(),
                live_count: totals.live_count(),
                alloc_bytes: totals.alloc_bytes,
                alloc_count: totals.alloc_count,
                growth_bytes: growth.or_else(|| (!first).then_some(0)),
                free_bytes: totals.free_bytes,
                free_count: totals.free_count,
                host: Some(ProcessHost {
                    member: member.reported(),
                    allocs_per_second: member.rates.allocs_per_second(),
                    rss_bytes: info::resident_bytes(owner.tgid),
                    sample_bytes: Some(interval).filter(|interval| *interval > 0),
                    probes_off_at: host.probes_off.get(owner).copied(),
                }),
            });
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.live_bytes));
        rows
    }

    /// Whether equal stacks of several processes are one row.
    pub(in crate::session::leaks) fn groups_stacks(&self) -> bool {
        let by = self.host.as_ref().map(|host| host.settings.by);
        by == Some(Grouping::Stack)
    }

    /// What else the report tells of the host, with these processes and, in their order, these stacks.
    pub(in crate::session::leaks) fn host_report(
        &mut self,
        processes: &[ProcessRow],
        rows: &[&Row],
        elapsed: Duration,
    ) -> Option<Host> {
        let guard = self.guard_report();
        let probed_files = self.prober.everywhere().probed();
        let process_stacks = self.process_stacks(processes, rows);
        let host = self.host.as_mut()?;
        let previous = std::mem::replace(&mut host.previous, elapsed);
        Some(Host {
            scope: host.people.scope(),
            by: host.settings.by,
            previous,
            top: self.config.output.top,
            process_stacks,
            ended: host.ended.ended(),
            guard,
            late_files: host.late.clone(),
            probed_files,
            own_rss_bytes: info::own_resident_bytes(),
        })
    }

    /// The top stacks of each of the first processes.
    fn process_stacks(&mut self, processes: &[ProcessRow], rows: &[&Row]) -> Vec<ProcessStacks> {
        let most = self
            .host
            .as_ref()
            .map_or(0, |host| host.settings.per_process);
        if most == 0 {
            return Vec::new();
        }
        let shown = self.config.output.top.unwrap_or(usize::MAX);
        let first = processes.iter().take(shown);
        first
            .map(|process| {
                let own = rows.iter().copied();
                let own: Vec<&Row> = own.filter(|row| row.owner.tgid == process.pid).collect();
                ProcessStacks {
                    pid: process.pid,
                    stacks: self.stack_rows(&own[..most.min(own.len())]),
                    stacks_total: own.len(),
                    stacks_live_bytes: own.iter().map(|row| row.live_bytes).sum(),
                }
            })
            .collect()
    }
}
