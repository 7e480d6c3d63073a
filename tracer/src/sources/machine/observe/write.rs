//! From what was observed of the machine to a profile.

use std::time::Duration;

use super::super::View;
use super::super::cgroup_files::{Bounds, Usage};
use super::super::figures::Figures;
use super::super::meminfo::Machine;
use super::super::rank::{Candidate, most_pressing, ranked, sum};
use super::super::scan::ProcessKey;
use super::{Details, Mark, Observer, add, seconds};
use crate::process::cgroup;
use crate::profile::machine::{
    Amount, By, Cgroup, Figure, Holder, MachineSection, Of, Order, Stalled, Turnover,
};
use crate::profile::series::{Series, of_series};
use crate::profile::{Measure, Meta, Profile, Source, Subject, Unit, difference};

/// Processes that are named because they grow, at most.
const GROWERS: usize = 3;
/// A process whose certain growth is less than this part of the largest is not named.
const WORTH_NAMING: f64 = 0.1;

impl Observer {
    /// What is known now; `meta` tells when and where. Call [`Observer::settle`] after it, unless the next profile is
    /// to show the same changes again.
    pub fn profile(&self, view: View, meta: Meta, details: &mut dyn Details) -> Profile {
        let (subjects, rest, rows_total) = match self.by {
            By::Process => self.processes(view, details),
            _ => self.groups(view, details),
        };
        let (cgroups, cgroups_total) = self.cgroups(view, details);
        let machine = MachineSection {
            by: self.by,
            sort: view.order,
            of: view.of,
            processes_total: self.processes.len(),
            rows_total,
            rest: rest.values(),
            growers: self.growers(details),
            appeared: self.appeared(),
            vanished: self.gone.clone(),
            cgroups,
            cgroups_total,
            ..self.machine_section()
        };
        let mut profile = Profile {
            meta: Meta {
                elapsed: seconds(self.now.at),
                previous: self.previous.map(seconds),
                ..meta
            },
            subjects,
            ..Profile::default()
        };
        profile.sections.machine = Some(machine);
        profile
    }

    /// What the machine's own figures are, without processes and cgroups.
    fn machine_section(&self) -> MachineSection {
        let (now, before) = (&self.now, &self.before);
        let amount = |bytes: &dyn Fn(&Machine) -> u64| Amount {
            bytes: bytes(&now.machine),
            change_bytes: difference(bytes(&now.machine), bytes(&before.machine)),
            growth: of_series(&self.machine, false, |machine| Some(bytes(machine))),
        };
        let figures = Figure::ALL.iter();
        let holders = Holder::ALL.iter();
        let kills = now.oom_kills.zip(before.oom_kills);
        MachineSection {
            figures: figures
                .map(|figure| (*figure, amount(&|machine| machine.get(*figure))))
                .collect(),
            holders: holders
                .map(|holder| (*holder, amount(&|machine| machine.held_by(*holder))))
                .collect(),
            huge_pool: now.machine.pool,
            pressure: now.pressure,
            stalled_percent: stalled(now, before),
            oom_kills: now.oom_kills,
            oom_kills_new: kills.map(|(now, before)| now.saturating_sub(before)),
            passes: self.passes,
            pass_ms: now.took.as_secs_f64() * 1e3,
            changed_over: seconds(now.at - before.at),
            ..MachineSection::default()
        }
    }

    /// The rows to have, the sum of the others, and the number of all.
    fn processes(&self, view: View, details: &mut dyn Details) -> (Vec<Subject>, Figures, usize) {
        let all = self.processes.iter();
        let ranked = ranked(
            view,
            all.map(|(key, one)| (*key, one.name.as_str(), &one.series)),
        );
        let (shown, others) = divided(&ranked, view.top);
        let rows = shown.iter().filter_map(|one| self.process(one.id, details));
        (rows.collect(), sum(others), ranked.len())
    }

    pub(super) fn process(&self, key: ProcessKey, details: &mut dyn Details) -> Option<Subject> {
        let tracked = self.processes.get(&key)?;
        let mut figures = tracked.series.last();
        figures.pss = figures.pss.or_else(|| details.pss(key.pid, figures.rss));
        figures.fds = figures.fds.or_else(|| details.fds(key.pid));
        Some(Subject {
            uid: Some(tracked.uid),
            user: Some(details.user(tracked.uid)),
            place: details.place(key.pid).unwrap_or_default(),
            age: details.age(key.start),
            ..row(
                Some(key.pid),
                tracked.name.clone(),
                1,
                figures,
                tracked.before,
                &tracked.series,
            )
        })
    }

    /// As [`Observer::processes`].
    fn groups(&self, view: View, details: &mut dyn Details) -> (Vec<Subject>, Figures, usize) {
        let all = self.groups.iter();
        let ranked = ranked(
            view,
            all.map(|(name, group)| (name, name.as_str(), &group.series)),
        );
        let (shown, others) = divided(&ranked, view.top);
        let rows = shown.iter().filter_map(|one| {
            let group = self.groups.get(one.id)?;
            let uid = || one.id.parse().ok().filter(|_| self.by == By::User);
            let name = uid().map_or_else(|| one.id.clone(), |uid| details.user(uid));
            let figures = group.series.last();
            Some(row(
                None,
                name,
                group.processes,
                figures,
                group.before,
                &group.series,
            ))
        });
        (rows.collect(), sum(others), ranked.len())
    }

    /// The processes that certainly grow most.
    fn growers(&self, details: &mut dyn Details) -> Vec<Subject> {
        let by_growth = View {
            order: Order::Growth,
            of: Of::Total,
            top: None,
        };
        let all = self.processes.iter();
        let ranked = ranked(
            by_growth,
            all.map(|(key, one)| (*key, one.name.as_str(), &one.series)),
        );
        let least = ranked
            .first()
            .map_or(0.0, |first| first.growth * WORTH_NAMING);
        let growers = ranked
            .iter()
            .take(GROWERS)
            .filter(|one| one.growth > 0.0 && one.growth >= least);
        growers
            .filter_map(|one| self.process(one.id, details))
            .collect()
    }

    fn appeared(&self) -> Turnover {
        let mut appeared = Turnover::default();
        for (key, tracked) in &self.processes {
            if tracked.before.is_none() {
                add(&mut appeared, tracked.named(*key));
            }
        }
        appeared
    }

    /// The cgroups to have, and the number of all.
    fn cgroups(&self, view: View, details: &mut dyn Details) -> (Vec<Cgroup>, usize) {
        let mut rows: Vec<Cgroup> = Vec::with_capacity(self.cgroups.len());
        for (path, series) in &self.cgroups {
            let bounds = details.bounds(path);
            // The root of a hierarchy is the machine itself, unless it is that of a container.
            if path != "/" || bounds.max.is_some() {
                rows.push(cgroup(path, series, bounds));
            }
        }
        rows.sort_by(most_pressing);
        let total = rows.len();
        rows.truncate(view.top.map_or(total, |top| top.div_ceil(2)));
        for row in &mut rows {
            row.pressure = details.pressure(&row.path);
        }
        (rows, total)
    }
}

/// The candidates that get a row, and the others.
fn divided<'a, 'b, Id>(
    ranked: &'a [Candidate<'b, Id>],
    top: Option<usize>,
) -> (&'a [Candidate<'b, Id>], &'a [Candidate<'b, Id>]) {
    ranked.split_at(top.unwrap_or(ranked.len()).min(ranked.len()))
}

/// A row of the table, with nothing in it that only a process has.
fn row(
    pid: Option<u32>,
    command: String,
    processes: usize,
    figures: Figures,
    before: Option<Figures>,
    series: &Series<Figures>,
) -> Subject {
    let growth = |measure: Measure| {
        let is_count = measure.unit() == Unit::Count;
        Some((
            measure,
            of_series(series, is_count, |figures| figures.get(measure))?,
        ))
    };
    Subject {
        pid,
        command,
        processes: processes as u64,
        totals: figures.values(),
        before: before.map(|before| before.values()).unwrap_or_default(),
        growth: Measure::of(Source::Process).filter_map(growth).collect(),
        ..Subject::default()
    }
}

fn cgroup(path: &str, series: &Series<Usage>, bounds: Bounds) -> Cgroup {
    let usage = series.last();
    let growth = of_series(series, false, |usage| Some(usage.kept));
    let left = bounds.max.map(|max| max.saturating_sub(usage.kept));
    Cgroup {
        path: path.to_owned(),
        label: cgroup::place(&format!("0::{path}")).label(),
        current_bytes: usage.current,
        kept_bytes: usage.kept,
        swap_bytes: usage.swap,
        max_bytes: bounds.max,
        high_bytes: bounds.high,
        oom_kills: bounds.oom_kills,
        growth,
        full_in: left
            .zip(growth)
            .and_then(|(left, growth)| growth.time_to_grow(left)),
        pressure: None,
    }
}

/// Share of the time between two moments in which tasks waited for memory.
fn stalled(now: &Mark, before: &Mark) -> Option<Stalled> {
    let time = seconds(now.at - before.at).as_secs_f64();
    let (now, before) = now.pressure.zip(before.pressure).filter(|_| time > 0.0)?;
    let share = |now: Duration, before: Duration| {
        (now.saturating_sub(before).as_secs_f64() / time * 100.0).clamp(0.0, 100.0)
    };
    Some(Stalled {
        some: share(now.some.total, before.some.total),
        full: share(now.full.total, before.full.total),
    })
}
