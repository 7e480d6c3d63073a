//! From passes to a report: who is there, how each moves, and which rows to show. Pure; what must still be read of the
//! few rows that are shown comes through [`Details`].

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::advice;
use super::cgroup_files::{Bounds, Usage};
use super::cgroups::CgroupSample;
use super::machine::{Figure, Holder, Machine};
use super::pressure::Pressure;
use super::rank::{Candidate, most_pressing, ranked, sum};
use super::report::{
    By, CgroupRow, HostReport, MachineReport, Named, Of, Order, Row, Turnover, View,
};
use super::scan::{ProcessKey, ProcessSample};
use super::series::Series;
use super::trend::Fit;
use super::values::{Measure, Values};
use crate::process::cgroup::Place;

/// Processes that hints are about, at most.
const GROWERS: usize = 3;
/// A process whose certain growth is less than this part of the largest is not worth a hint.
const WORTH_A_HINT: f64 = 0.1;

/// What one pass saw, all of it at about the same moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Seconds since the first pass.
    pub at: f64,
    /// The machine's memory.
    pub machine: Machine,
    /// Waiting for memory.
    pub pressure: Option<Pressure>,
    /// Processes killed since boot.
    pub oom_kills: Option<u64>,
    /// Processes with memory.
    pub processes: Vec<ProcessSample>,
    /// Memory cgroups.
    pub cgroups: Vec<CgroupSample>,
}

/// What is read of the rows that are shown, and of no others.
pub trait Details {
    /// PSS of a process, in bytes.
    fn pss(&mut self, pid: u32, rss: u64) -> Option<u64>;
    /// Number of file descriptors of a process.
    fn fds(&mut self, pid: u32) -> Option<u64>;
    /// Where a process belongs.
    fn place(&mut self, pid: u32) -> Option<Place>;
    /// Name of a user.
    fn user(&mut self, uid: u32) -> String;
    /// How long a process runs that began at so many clock ticks since boot.
    fn age(&mut self, start: u64) -> Option<Duration>;
    /// Limits of a cgroup.
    fn bounds(&mut self, cgroup: &str) -> Bounds;
    /// Waiting for memory in a cgroup.
    fn pressure(&mut self, cgroup: &str) -> Option<Pressure>;
    /// Whether memlens has a command of that name to point to.
    fn has_command(&self, name: &str) -> bool;
}

/// What is known of one process.
#[derive(Debug)]
struct Tracked {
    name: String,
    uid: u32,
    series: Series<Values>,
    /// Figures in the previous report.
    before: Option<Values>,
}

/// What is known of several processes together.
#[derive(Debug)]
struct Group {
    processes: usize,
    series: Series<Values>,
    before: Option<Values>,
}

/// State of the machine that a report compares with.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: f64,
    machine: Machine,
    pressure: Option<Pressure>,
    oom_kills: Option<u64>,
}

/// Follows the machine from pass to pass.
#[derive(Debug)]
pub struct Observer {
    by: By,
    /// Seconds over which growth is reckoned.
    window: f64,
    passes: u64,
    now: Mark,
    before: Mark,
    machine: Series<Machine>,
    processes: HashMap<ProcessKey, Tracked>,
    groups: HashMap<String, Group>,
    cgroups: HashMap<String, Series<Usage>>,
    gone: Turnover,
}

impl Observer {
    /// Begins with the first pass. Growth is reckoned over the last `window`.
    pub fn new(by: By, window: Option<Duration>, first: Snapshot) -> Self {
        let now = Mark::of(&first);
        let mut observer = Self {
            by,
            window: window.map_or(f64::INFINITY, |window| window.as_secs_f64()),
            passes: 0,
            now,
            before: now,
            machine: Series::new(first.at, first.machine),
            processes: HashMap::new(),
            groups: HashMap::new(),
            cgroups: HashMap::new(),
            gone: Turnover::default(),
        };
        observer.add(first);
        // What the first pass finds was there before; it has not appeared.
        observer.settle();
        observer
    }

    /// Adds a pass.
    pub fn add(&mut self, snapshot: Snapshot) {
        self.now = Mark::of(&snapshot);
        if self.passes > 0 {
            self.machine
                .push(snapshot.at, snapshot.machine, self.window);
        }
        self.passes += 1;
        self.add_groups(&snapshot);
        self.add_cgroups(&snapshot);
        self.add_processes(snapshot);
    }

    fn add_processes(&mut self, snapshot: Snapshot) {
        let Snapshot { at, processes, .. } = snapshot;
        for sample in processes {
            match self.processes.get_mut(&sample.key) {
                Some(known) => {
                    known.name = sample.name;
                    known.uid = sample.uid;
                    known.series.push(at, sample.values, self.window);
                }
                None => {
                    let tracked = Tracked {
                        name: sample.name,
                        uid: sample.uid,
                        series: Series::new(at, sample.values),
                        before: None,
                    };
                    self.processes.insert(sample.key, tracked);
                }
            }
        }
        let gone = &mut self.gone;
        self.processes.retain(|key, tracked| {
            let is_there = tracked.series.last_at() >= at;
            // What came and went between two reports was in neither.
            if !is_there && tracked.before.is_some() {
                gone.add(tracked.named(*key));
            }
            is_there
        });
    }

    fn add_groups(&mut self, snapshot: &Snapshot) {
        let mut sums: HashMap<String, (usize, Values)> = HashMap::new();
        for sample in &snapshot.processes {
            let Some(name) = group_name(self.by, sample) else {
                return;
            };
            let sum = sums.entry(name).or_default();
            *sum = (sum.0 + 1, sum.1.plus(&sample.values));
        }
        self.groups.retain(|name, _| sums.contains_key(name));
        for (name, (processes, values)) in sums {
            match self.groups.get_mut(&name) {
                Some(group) => {
                    group.processes = processes;
                    group.series.push(snapshot.at, values, self.window);
                }
                None => {
                    let group = Group {
                        processes,
                        series: Series::new(snapshot.at, values),
                        before: None,
                    };
                    self.groups.insert(name, group);
                }
            }
        }
    }

    fn add_cgroups(&mut self, snapshot: &Snapshot) {
        for sample in &snapshot.cgroups {
            match self.cgroups.get_mut(&sample.path) {
                Some(series) => series.push(snapshot.at, sample.usage, self.window),
                None => {
                    let series = Series::new(snapshot.at, sample.usage);
                    self.cgroups.insert(sample.path.clone(), series);
                }
            }
        }
        self.cgroups
            .retain(|_, series| series.last_at() >= snapshot.at);
    }

    /// The present state is what the next report compares with.
    pub fn settle(&mut self) {
        self.before = self.now;
        self.gone = Turnover::default();
        for tracked in self.processes.values_mut() {
            tracked.before = Some(tracked.series.last());
        }
        for group in self.groups.values_mut() {
            group.before = Some(group.series.last());
        }
    }

    /// What is known now. Call [`Observer::settle`] after it, unless the same changes are to be shown again.
    pub fn report(&self, view: View, time: SystemTime, details: &mut dyn Details) -> HostReport {
        let (rows, rest, rows_total) = match self.by {
            By::Process => self.process_rows(view, details),
            _ => self.group_rows(view, details),
        };
        let (cgroups, cgroups_total) = self.cgroup_rows(view, details);
        let mut report = HostReport {
            time,
            elapsed: seconds(self.now.at),
            changed_over: seconds(self.now.at - self.before.at),
            last: false,
            passes: self.passes,
            pass_took: Duration::ZERO,
            machine: self.machine_report(),
            by: self.by,
            view,
            rows,
            rows_total,
            rest,
            processes_total: self.processes.len(),
            growers: self.growers(details),
            appeared: self.appeared(),
            vanished: self.gone.clone(),
            cgroups,
            cgroups_total,
            outlook: String::new(),
            next: Vec::new(),
            notes: Vec::new(),
        };
        report.outlook = advice::outlook(&report);
        report.next = advice::next(&report, &|name| details.has_command(name));
        report
    }

    fn machine_report(&self) -> MachineReport {
        let (now, before) = (&self.now, &self.before);
        let fit = |figure: &Figure| self.machine.fit(|machine| Some(machine.get(*figure)));
        let holder = |holder: &Holder| self.machine.fit(|machine| Some(machine.held_by(*holder)));
        let microseconds = (now.at - before.at) * 1e6;
        let stalled = |now: Pressure, before: Pressure| {
            let share = |now: u64, before: u64| {
                (now.saturating_sub(before) as f64 / microseconds * 100.0).clamp(0.0, 100.0)
            };
            let some = share(now.some.total_us, before.some.total_us);
            (some, share(now.full.total_us, before.full.total_us))
        };
        let pressures = now
            .pressure
            .zip(before.pressure)
            .filter(|_| microseconds > 0.0);
        let kills = now.oom_kills.zip(before.oom_kills);
        MachineReport {
            now: now.machine,
            before: before.machine,
            fits: Figure::ALL.iter().map(fit).collect(),
            holders: Holder::ALL.iter().map(holder).collect(),
            pressure: now.pressure,
            stalled: pressures.map(|(now, before)| stalled(now, before)),
            oom_kills: now.oom_kills,
            oom_kills_new: kills.map(|(now, before)| now.saturating_sub(before)),
        }
    }

    /// The rows to show, the sum of the others, and the number of all.
    fn process_rows(&self, view: View, details: &mut dyn Details) -> (Vec<Row>, Values, usize) {
        let all = self.processes.iter();
        let ranked = ranked(
            view,
            all.map(|(key, one)| (*key, one.name.as_str(), &one.series)),
        );
        let shown = view.top.unwrap_or(ranked.len()).min(ranked.len());
        let rows = ranked[..shown]
            .iter()
            .filter_map(|one| self.process_row(one.id, details));
        (rows.collect(), sum(&ranked[shown..]), ranked.len())
    }

    fn process_row(&self, key: ProcessKey, details: &mut dyn Details) -> Option<Row> {
        let tracked = self.processes.get(&key)?;
        let mut values = tracked.series.last();
        values.pss = values.pss.or_else(|| details.pss(key.pid, values.rss));
        values.fds = values.fds.or_else(|| details.fds(key.pid));
        Some(Row {
            process: Some(key),
            name: tracked.name.clone(),
            user: Some(details.user(tracked.uid)),
            place: details.place(key.pid),
            age: details.age(key.start),
            processes: 1,
            values,
            before: tracked.before,
            fits: fits(&tracked.series),
        })
    }

    /// As [`Observer::process_rows`].
    fn group_rows(&self, view: View, details: &mut dyn Details) -> (Vec<Row>, Values, usize) {
        let all = self.groups.iter();
        let ranked = ranked(
            view,
            all.map(|(name, group)| (name, name.as_str(), &group.series)),
        );
        let shown = view.top.unwrap_or(ranked.len()).min(ranked.len());
        let rows = ranked[..shown].iter().filter_map(|one| {
            let group = self.groups.get(one.id)?;
            let user = || one.id.parse().ok().filter(|_| self.by == By::User);
            Some(Row {
                process: None,
                name: user().map_or_else(|| one.id.clone(), |uid| details.user(uid)),
                user: None,
                place: None,
                age: None,
                processes: group.processes,
                values: group.series.last(),
                before: group.before,
                fits: fits(&group.series),
            })
        });
        (rows.collect(), sum(&ranked[shown..]), ranked.len())
    }

    /// The processes that certainly grow most.
    fn growers(&self, details: &mut dyn Details) -> Vec<Row> {
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
            .map_or(0.0, |first| first.growth * WORTH_A_HINT);
        let worth = |one: &&Candidate<'_, ProcessKey>| one.growth > 0.0 && one.growth >= least;
        let growers = ranked.iter().take(GROWERS).filter(worth);
        growers
            .filter_map(|one| self.process_row(one.id, details))
            .collect()
    }

    fn appeared(&self) -> Turnover {
        let mut appeared = Turnover::default();
        for (key, tracked) in &self.processes {
            if tracked.before.is_none() {
                appeared.add(tracked.named(*key));
            }
        }
        appeared
    }

    fn cgroup_rows(&self, view: View, details: &mut dyn Details) -> (Vec<CgroupRow>, usize) {
        let mut rows: Vec<CgroupRow> = Vec::with_capacity(self.cgroups.len());
        for (path, series) in &self.cgroups {
            let bounds = details.bounds(path);
            // The root of a hierarchy is the machine itself, unless it is that of a container.
            if path == "/" && bounds.max.is_none() {
                continue;
            }
            rows.push(CgroupRow {
                path: path.clone(),
                label: Place::of(&format!("0::{path}")).label(),
                usage: series.last(),
                bounds,
                fit: series.fit(|usage| Some(usage.kept)),
                pressure: None,
            });
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

impl Mark {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            at: snapshot.at,
            machine: snapshot.machine,
            pressure: snapshot.pressure,
            oom_kills: snapshot.oom_kills,
        }
    }
}

impl Tracked {
    fn named(&self, key: ProcessKey) -> Named {
        Named {
            pid: key.pid,
            name: self.name.clone(),
            bytes: self.series.last().get(Measure::Total).unwrap_or(0),
        }
    }
}

impl Turnover {
    fn add(&mut self, process: Named) {
        self.processes += 1;
        self.bytes = self.bytes.saturating_add(process.bytes);
        let rank = |named: &Named| (named.bytes, std::cmp::Reverse(named.pid));
        if self
            .largest
            .as_ref()
            .is_none_or(|largest| rank(largest) < rank(&process))
        {
            self.largest = Some(process);
        }
    }
}

/// The group of a process; `None` where there are none.
fn group_name(by: By, sample: &ProcessSample) -> Option<String> {
    match by {
        By::Process => None,
        By::Name => Some(sample.name.clone()),
        By::Container => Some(sample.place.clone().unwrap_or_else(|| "unknown".into())),
        By::User => Some(sample.uid.to_string()),
    }
}

fn fits(series: &Series<Values>) -> Vec<Option<Fit>> {
    let fit = |measure: &Measure| series.fit(|values| values.get(*measure));
    Measure::ALL.iter().map(fit).collect()
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
#[path = "observe_tests.rs"]
mod tests;
