//! What `memlens host` knows at one moment, as one plain value.

use std::time::{Duration, SystemTime};

use clap::ValueEnum;

use super::cgroup_files::{Bounds, Usage};
use super::machine::{Figure, Holder, Machine};
use super::pressure::Pressure;
use super::scan::ProcessKey;
use super::trend::{Fit, Verdict};
use super::values::{Measure, Values};
use crate::process::cgroup::Place;

/// What the table has rows for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Each process.
    #[default]
    Process,
    /// Processes of one name.
    Name,
    /// Processes of one container, or else systemd unit, or else cgroup.
    Container,
    /// Processes of one user.
    User,
}

/// The order of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// What certainly grows most first, then the largest.
    #[default]
    Growth,
    /// The largest first.
    Size,
}

/// Which figure the order is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Of {
    /// Resident and swapped memory together: it does not shrink when the kernel swaps pages out.
    #[default]
    Total,
    /// Resident memory.
    Rss,
    /// Proportional set size: shared pages divided by their users. Read from every process, which takes longer.
    Pss,
    /// Resident anonymous memory.
    Anonymous,
    /// Swapped memory.
    Swap,
    /// Address space, touched or not.
    Virtual,
}

impl Order {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Growth => Self::Size,
            Self::Size => Self::Growth,
        }
    }
}

impl Of {
    /// The figure.
    pub const fn measure(self) -> Measure {
        match self {
            Self::Total => Measure::Total,
            Self::Rss => Measure::Rss,
            Self::Pss => Measure::Pss,
            Self::Anonymous => Measure::Anonymous,
            Self::Swap => Measure::Swap,
            Self::Virtual => Measure::Virtual,
        }
    }

    /// The next one, in a circle.
    pub fn next(self) -> Self {
        let all = Self::value_variants();
        let at = all.iter().position(|of| *of == self).unwrap_or(0);
        all[(at + 1) % all.len()]
    }
}

/// How a report is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The order of the rows.
    pub order: Order,
    /// The figure that the order is about.
    pub of: Of,
    /// Rows to show; `None` shows all.
    pub top: Option<usize>,
}

/// What is known at one moment.
#[derive(Clone, Debug)]
pub struct HostReport {
    /// When it was taken.
    pub time: SystemTime,
    /// Since the first pass.
    pub elapsed: Duration,
    /// Since the previous report, or the first pass: what changes are over.
    pub changed_over: Duration,
    /// Whether it is the last one.
    pub last: bool,
    /// Passes so far.
    pub passes: u64,
    /// How long the last pass took.
    pub pass_took: Duration,
    /// The machine.
    pub machine: MachineReport,
    /// What the rows are.
    pub by: By,
    /// How they were chosen.
    pub view: View,
    /// The rows to show, in order.
    pub rows: Vec<Row>,
    /// How many rows there are, shown or not.
    pub rows_total: usize,
    /// Sum of the rows that are not shown.
    pub rest: Values,
    /// Processes with memory.
    pub processes_total: usize,
    /// Processes that certainly grow, most first, whatever the rows are: what the hints are about.
    pub growers: Vec<Row>,
    /// Processes that appeared since the previous report and are there.
    pub appeared: Turnover,
    /// Processes that were there in the previous report and are gone, with what they had at last.
    pub vanished: Turnover,
    /// Cgroups: what is nearest to its limit first.
    pub cgroups: Vec<CgroupRow>,
    /// How many cgroups there are, shown or not.
    pub cgroups_total: usize,
    /// A sentence on whether the machine's memory is shrinking, and where to.
    pub outlook: String,
    /// What to look at next.
    pub next: Vec<Hint>,
    /// What could not be seen, a sentence each.
    pub notes: Vec<String>,
}

impl HostReport {
    /// Leaves out what matters least, for a screen that is too low: cgroups, then rows of the table down to `least_rows`, then what
    /// stands at the end. Whether there was something to leave out.
    pub fn shorten(&mut self, least_rows: usize) -> bool {
        if self.cgroups.len() > 1 && self.cgroups.len() * 2 > self.rows.len() {
            self.cgroups.pop();
            return true;
        }
        (self.rows.len() > least_rows && self.drop_row())
            || self.notes.pop().is_some()
            || self.cgroups.pop().is_some()
            || (self.next.len() > 1 && self.next.pop().is_some())
    }

    fn drop_row(&mut self) -> bool {
        let row = self.rows.pop();
        if let Some(row) = &row {
            self.rest = self.rest.plus(&row.values);
        }
        row.is_some()
    }
}

/// The machine's memory.
#[derive(Clone, Debug)]
pub struct MachineReport {
    /// Now.
    pub now: Machine,
    /// At the previous report, or the first pass.
    pub before: Machine,
    /// How each figure moves, in the order of [`Figure::ALL`].
    pub fits: Vec<Option<Fit>>,
    /// How much each holder takes or gives, in the order of [`Holder::ALL`].
    pub holders: Vec<Option<Fit>>,
    /// Waiting for memory; `None` where the kernel does not tell.
    pub pressure: Option<Pressure>,
    /// Share of the time since the previous report, in percent, during which some task waited, and all did.
    pub stalled: Option<(f64, f64)>,
    /// Processes killed for want of memory since boot; `None` where the kernel does not tell.
    pub oom_kills: Option<u64>,
    /// Of those, since the previous report.
    pub oom_kills_new: Option<u64>,
}

impl MachineReport {
    /// How one figure moves.
    pub fn fit(&self, figure: Figure) -> Option<&Fit> {
        self.fits.get(figure as usize)?.as_ref()
    }

    /// How much one holder takes or gives.
    pub fn holder(&self, holder: Holder) -> Option<&Fit> {
        self.holders.get(holder as usize)?.as_ref()
    }

    /// Change of a figure since the previous report, in bytes.
    pub fn change(&self, figure: Figure) -> i64 {
        difference(self.now.get(figure), self.before.get(figure))
    }
}

/// One process, or several together.
#[derive(Clone, Debug)]
pub struct Row {
    /// The process; `None` for a group.
    pub process: Option<ProcessKey>,
    /// Name of the process, or of the group.
    pub name: String,
    /// Its user, of a process.
    pub user: Option<String>,
    /// Where it belongs, of a process.
    pub place: Option<Place>,
    /// How long it runs, of a process.
    pub age: Option<Duration>,
    /// Processes in it.
    pub processes: usize,
    /// Its figures now.
    pub values: Values,
    /// Its figures in the previous report; `None` if it was not there.
    pub before: Option<Values>,
    /// How each figure moves, in the order of [`Measure::ALL`].
    pub fits: Vec<Option<Fit>>,
}

impl Row {
    /// How one figure moves.
    pub fn fit(&self, measure: Measure) -> Option<&Fit> {
        self.fits.get(measure as usize)?.as_ref()
    }

    /// What can be said of how one figure moves.
    pub fn verdict(&self, measure: Measure) -> Verdict {
        verdict(self.fit(measure), measure.is_count())
    }

    /// The slope of one figure that is certain, in units per second; zero where none is.
    pub fn certain(&self, measure: Measure) -> f64 {
        self.fit(measure).map_or(0.0, Fit::certain)
    }

    /// Change of one figure since the previous report.
    pub fn change(&self, measure: Measure) -> Option<i64> {
        Some(difference(
            self.values.get(measure)?,
            self.before?.get(measure)?,
        ))
    }
}

/// Processes that came, or went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turnover {
    /// How many.
    pub processes: usize,
    /// What they have, or had at last: resident and swapped, in bytes.
    pub bytes: u64,
    /// The one with most.
    pub largest: Option<Named>,
}

/// A process by number and name, with what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its PID.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Resident and swapped memory, in bytes.
    pub bytes: u64,
}

/// One cgroup.
#[derive(Clone, Debug)]
pub struct CgroupRow {
    /// Path from the root of its hierarchy.
    pub path: String,
    /// Container, unit or last part of the path.
    pub label: String,
    /// What it uses.
    pub usage: Usage,
    /// Its limits.
    pub bounds: Bounds,
    /// How what cannot be given back moves.
    pub fit: Option<Fit>,
    /// Waiting for memory in it; `None` where the kernel does not tell.
    pub pressure: Option<Pressure>,
}

impl CgroupRow {
    /// Time until what cannot be given back reaches the limit, if it certainly grows.
    pub fn time_left(&self) -> Option<Duration> {
        time_to(
            self.bounds.max?.saturating_sub(self.usage.kept),
            self.fit.as_ref()?,
        )
    }

    /// Share of the limit that is in use and cannot be given back.
    pub fn fullness(&self) -> Option<f64> {
        self.bounds
            .max
            .map(|max| self.usage.kept as f64 / max.max(1) as f64)
    }
}

/// What to look at next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The process that it is about.
    pub pid: Option<u32>,
    /// What was seen.
    pub text: String,
    /// What to run.
    pub commands: Vec<String>,
}

/// Slopes that nobody minds: 64 KiB a minute, or 1 % of the size a minute; one thing a minute.
fn negligible(fit: &Fit, is_count: bool) -> f64 {
    let per_minute = if is_count { 1.0 } else { 65_536.0 };
    f64::max(per_minute, fit.mean.abs() / 100.0) / 60.0
}

/// What can be said of how something moves.
pub fn verdict(fit: Option<&Fit>, is_count: bool) -> Verdict {
    fit.map_or(Verdict::Unclear, |fit| {
        fit.verdict(negligible(fit, is_count))
    })
}

/// Time until so many bytes more are taken, at a slope that is certain; a hundred years count as never.
pub fn time_to(bytes: u64, fit: &Fit) -> Option<Duration> {
    const NEVER: f64 = 100.0 * 365.0 * 86_400.0;
    if fit.certain() <= 0.0 {
        return None;
    }
    let seconds = bytes as f64 / fit.slope;
    (seconds < NEVER).then(|| Duration::from_secs_f64(seconds))
}

fn difference(now: u64, before: u64) -> i64 {
    let difference = i128::from(now) - i128::from(before);
    i64::try_from(difference).unwrap_or(if difference > 0 { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(slope: f64) -> Fit {
        let points: Vec<(f64, f64)> = (0..10)
            .map(|i| (f64::from(i), 1e6 + slope * f64::from(i)))
            .collect();
        Fit::through(&points).expect("a line")
    }

    #[test]
    fn the_time_left_follows_the_slope() {
        assert_eq!(time_to(1_000, &line(10.0)), Some(Duration::from_secs(100)));
        assert_eq!(time_to(0, &line(10.0)), Some(Duration::ZERO));
        assert_eq!(time_to(1_000, &line(-10.0)), None);
        assert_eq!(time_to(1_000, &line(0.0)), None);
        assert_eq!(time_to(u64::MAX, &line(0.001)), None);
    }

    #[test]
    fn differences_never_wrap() {
        assert_eq!(difference(5, 7), -2);
        assert_eq!(difference(u64::MAX, 0), i64::MAX);
        assert_eq!(difference(0, u64::MAX), i64::MIN);
    }

    #[test]
    fn every_measure_and_holder_has_its_place() {
        for (index, measure) in Measure::ALL.iter().enumerate() {
            assert_eq!(*measure as usize, index);
        }
        for (index, figure) in Figure::ALL.iter().enumerate() {
            assert_eq!(*figure as usize, index);
        }
        for (index, holder) in Holder::ALL.iter().enumerate() {
            assert_eq!(*holder as usize, index);
        }
        assert_eq!(Of::Virtual.next(), Of::Total);
    }
}
