//! From passes to trends: who is there, and how each moves. Pure; what must still be read of the few rows that are
//! shown comes through [`Details`].

mod rising;
mod write;

use std::collections::HashMap;
use std::time::Duration;

use super::cgroup_files::{Bounds, Usage};
use super::cgroups::CgroupSample;
use super::figures::Figures;
use super::meminfo::Machine;
use super::scan::{ProcessKey, ProcessSample};
use crate::profile::machine::{By, Named, Pressure, Turnover};
use crate::profile::series::Series;
use crate::profile::{Measure, Place};

pub use rising::Rising;

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

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests;
