//! From passes to a profile: who is there, how each moves, and which rows to have. Pure; what must still be read of the
//! few rows that are shown comes through [`Details`].

use std::collections::HashMap;
use std::time::Duration;

use super::View;
use super::cgroup_files::{Bounds, Usage};
use super::cgroups::CgroupSample;
use super::figures::Figures;
use super::meminfo::Machine;
use super::rank::{Candidate, most_pressing, ranked, sum};
use super::scan::{ProcessKey, ProcessSample};
use crate::process::cgroup;
use crate::profile::machine::{
    Amount, By, Cgroup, Figure, Holder, MachineSection, Named, Of, Order, Pressure, Stalled,
    Turnover,
};
use crate::profile::series::Series;
use crate::profile::series::of_series;
use crate::profile::{Measure, Meta, Place, Profile, Source, Subject, Unit};

/// Processes that are named because they grow, at most.
const GROWERS: usize = 3;
/// A process whose certain growth is less than this part of the largest is not named.
const WORTH_NAMING: f64 = 0.1;

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
    /// How long the pass took.
    pub took: Duration,
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
}

/// What is known of one process.
#[derive(Debug)]
struct Tracked {
    name: String,
    uid: u32,
    series: Series<Figures>,
    /// Figures in the previous profile.
    before: Option<Figures>,
}

/// What is known of several processes together.
#[derive(Debug)]
struct Group {
    processes: usize,
    series: Series<Figures>,
    before: Option<Figures>,
}

/// State of the machine that a profile compares with.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: f64,
    machine: Machine,
    pressure: Option<Pressure>,
    oom_kills: Option<u64>,
    took: Duration,
}

/// Follows the machine from pass to pass.
#[derive(Debug)]
pub struct Observer {
    by: By,
    /// Seconds over which growth is computed.
    window: f64,
    passes: u64,
    now: Mark,
    before: Mark,
    /// Time of the previous profile, which `before` is the state of.
    previous: Option<f64>,
    machine: Series<Machine>,
    processes: HashMap<ProcessKey, Tracked>,
    groups: HashMap<String, Group>,
    cgroups: HashMap<String, Series<Usage>>,
    gone: Turnover,
}

impl Observer {
    /// Begins with the first pass. Growth is computed over the last `window`.
    pub fn new(by: By, window: Option<Duration>, first: Snapshot) -> Self {
        let now = Mark::of(&first);
        let mut observer = Self {
            by,
            window: window.map_or(f64::INFINITY, |window| window.as_secs_f64()),
            passes: 0,
            now,
            before: now,
            previous: None,
            machine: Series::new(first.at, first.machine),
            processes: HashMap::new(),
            groups: HashMap::new(),
            cgroups: HashMap::new(),
            gone: Turnover::default(),
        };
        observer.add(first);
        // What the first pass finds was there before; it has not appeared.
        observer.settle();
        observer.previous = None;
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
                    known.series.push(at, sample.figures, self.window);
                }
                None => {
                    let tracked = Tracked {
                        name: sample.name,
                        uid: sample.uid,
                        series: Series::new(at, sample.figures),
                        before: None,
                    };
                    self.processes.insert(sample.key, tracked);
                }
            }
        }
        let gone = &mut self.gone;
        self.processes.retain(|key, tracked| {
            let is_there = tracked.series.last_at() >= at;
            // What came and went between two profiles was in neither.
            if !is_there && tracked.before.is_some() {
                add(gone, tracked.named(*key));
            }
            is_there
        });
    }

    fn add_groups(&mut self, snapshot: &Snapshot) {
        let mut sums: HashMap<String, (usize, Figures)> = HashMap::new();
        for sample in &snapshot.processes {
            let Some(name) = group_name(self.by, sample) else {
                return;
            };
            let sum = sums.entry(name).or_default();
            *sum = (sum.0 + 1, sum.1.plus(&sample.figures));
        }
        self.groups.retain(|name, _| sums.contains_key(name));
        for (name, (processes, figures)) in sums {
            match self.groups.get_mut(&name) {
                Some(group) => {
                    group.processes = processes;
                    group.series.push(snapshot.at, figures, self.window);
                }
                None => {
                    let group = Group {
                        processes,
                        series: Series::new(snapshot.at, figures),
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

    /// The present state is what the next profile compares with.
    pub fn settle(&mut self) {
        self.before = self.now;
        self.previous = Some(self.now.at);
        self.gone = Turnover::default();
        for tracked in self.processes.values_mut() {
            tracked.before = Some(tracked.series.last());
        }
        for group in self.groups.values_mut() {
            group.before = Some(group.series.last());
        }
    }

    /// What is known now; `meta` tells when and where. Call [`Observer::settle`] after it, unless the next profile is to
    /// show the same changes again.
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

    fn process(&self, key: ProcessKey, details: &mut dyn Details) -> Option<Subject> {
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

impl Mark {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            at: snapshot.at,
            machine: snapshot.machine,
            pressure: snapshot.pressure,
            oom_kills: snapshot.oom_kills,
            took: snapshot.took,
        }
    }
}

impl Tracked {
    fn named(&self, key: ProcessKey) -> Named {
        Named {
            pid: key.pid,
            command: self.name.clone(),
            bytes: self
                .series
                .last()
                .get(Measure::ProcessTotalBytes)
                .unwrap_or(0),
        }
    }
}

/// Adds a process to those that came, or went.
fn add(turnover: &mut Turnover, process: Named) {
    turnover.processes += 1;
    turnover.bytes = turnover.bytes.saturating_add(process.bytes);
    let rank = |named: &Named| (named.bytes, std::cmp::Reverse(named.pid));
    let largest = turnover.largest.as_ref();
    if largest.is_none_or(|largest| rank(largest) < rank(&process)) {
        turnover.largest = Some(process);
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

fn difference(now: u64, before: u64) -> i64 {
    let difference = i128::from(now) - i128::from(before);
    i64::try_from(difference).unwrap_or(if difference > 0 { i64::MAX } else { i64::MIN })
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
#[path = "observe_tests.rs"]
mod tests;
