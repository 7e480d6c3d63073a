//! The metrics: the machine, its processes and cgroups, the traced heaps, and the agent itself. Bounded: rows of at
//! most so many processes, summed by name, container and unit; never a stack.

mod heaps;
mod own;

use std::collections::BTreeMap;

use super::counters::{Counters, Whose};
use crate::profile::machine::{Cgroup, Figure, MachineSection};
use crate::profile::{Growth, Measure, Profile};
use crate::render::openmetrics::{Dialect, Exposition, Kind};

pub use own::Own;

/// What the metrics are made of.
pub struct Known<'a> {
    /// The machine, whose subjects are the processes that have rows.
    pub machine: Option<&'a Profile>,
    /// The traced heaps.
    pub heaps: Option<&'a Profile>,
    /// Counters of the traced heaps.
    pub counters: &'a Counters,
    /// The agent itself.
    pub own: &'a Own,
    /// Whether each process has a row.
    pub with_pid: bool,
    /// Whether the largest functions have rows.
    pub with_functions: bool,
}

/// Minutes are what growths are in, seconds what metrics are in.
const SECONDS: f64 = 60.0;

/// All metrics, as text.
pub fn text(known: &Known<'_>, dialect: Dialect) -> String {
    let mut out = Exposition::new(dialect);
    if let Some(machine) = known.machine {
        if let Some(section) = &machine.sections.machine {
            host(&mut out, section);
            cgroups(&mut out, &section.cgroups);
        }
        processes(&mut out, machine, known.with_pid);
    }
    if let Some(heaps) = known.heaps {
        heaps::write(&mut out, heaps, known);
    }
    own::write(&mut out, known.own);
    out.finish()
}

/// A slope and the ends of its 95 % interval, in bytes per second; the ends are not known of few samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Slope {
    mean: f64,
    low: Option<f64>,
    high: Option<f64>,
}

impl Slope {
    fn of(growth: &Growth) -> Self {
        // One jump is no growth: the end that is nearer to zero is the certain growth, which knows jumps.
        let low = growth.low.map(|low| match low > 0.0 {
            true => growth.certain,
            false => low,
        });
        let high = growth.high.map(|high| match high < 0.0 {
            true => growth.certain,
            false => high,
        });
        Self {
            mean: growth.per_min / SECONDS,
            low: low.map(|low| low / SECONDS),
            high: high.map(|high| high / SECONDS),
        }
    }

    /// Of two together, on the safe side: the ends add up.
    fn plus(self, other: Self) -> Self {
        let both = |one: Option<f64>, other: Option<f64>| Some(one? + other?);
        Self {
            mean: self.mean + other.mean,
            low: both(self.low, other.low),
            high: both(self.high, other.high),
        }
    }
}

/// Labels of a row.
fn labels<'a>(whose: &'a Whose, pid: &'a str) -> Vec<(&'static str, &'a str)> {
    let mut labels = vec![
        ("comm", whose.comm.as_str()),
        ("container", whose.container.as_str()),
        ("unit", whose.unit.as_str()),
    ];
    if whose.pid.is_some() {
        labels.push(("pid", pid));
    }
    labels
}

fn pid_of(whose: &Whose) -> String {
    whose.pid.map(|pid| pid.to_string()).unwrap_or_default()
}

/// Writes a family with a sample for each row that has a value.
fn family<T>(
    out: &mut Exposition,
    (name, kind, help): (&'static str, Kind, &str),
    rows: &BTreeMap<Whose, T>,
    value: impl Fn(&T) -> Option<f64>,
) {
    let mut family = out.family(name, kind, help);
    for (whose, row) in rows {
        let pid = pid_of(whose);
        family.maybe(&labels(whose, &pid), value(row));
    }
}

fn host(out: &mut Exposition, section: &MachineSection) {
    let available = section.figure(Figure::Available);
    let bytes = |figure| section.figure(figure).bytes as f64;
    out.family(
        "memlens_host_total_bytes",
        Kind::Gauge,
        "Memory that the kernel manages.",
    )
    .sample(&[], bytes(Figure::Total));
    out.family(
        "memlens_host_available_bytes",
        Kind::Gauge,
        "Memory that programs could allocate without swapping.",
    )
    .sample(&[], available.bytes as f64);
    let slope = available.growth.as_ref().map(Slope::of);
    growth(out, &HOST_GROWTH, &[(&[], slope)]);
    let help = "Time in which tasks waited for memory; kind is some or full.";
    let mut stalls = out.family("memlens_host_memory_stall_seconds", Kind::Counter, help);
    if let Some(pressure) = &section.pressure {
        stalls.sample(&[("kind", "some")], pressure.some.total.as_secs_f64());
        stalls.sample(&[("kind", "full")], pressure.full.total.as_secs_f64());
    }
    out.family(
        "memlens_host_oom_kills",
        Kind::Counter,
        "Processes killed for lack of memory since boot.",
    )
    .maybe(&[], section.oom_kills.map(|kills| kills as f64));
    out.family(
        "memlens_host_processes",
        Kind::Gauge,
        "Processes that have memory.",
    )
    .sample(&[], section.processes_total as f64);
}

/// Names and helps of a slope and of the ends of its interval.
struct GrowthNames {
    names: [&'static str; 3],
    what: &'static str,
}

const HOST_GROWTH: GrowthNames = GrowthNames {
    names: [
        "memlens_host_available_growth_bytes_per_second",
        "memlens_host_available_growth_low_bytes_per_second",
        "memlens_host_available_growth_high_bytes_per_second",
    ],
    what: "available memory",
};
const PROCESS_GROWTH: GrowthNames = GrowthNames {
    names: [
        "memlens_process_growth_bytes_per_second",
        "memlens_process_growth_low_bytes_per_second",
        "memlens_process_growth_high_bytes_per_second",
    ],
    what: "resident and swapped memory",
};
const CGROUP_GROWTH: GrowthNames = GrowthNames {
    names: [
        "memlens_cgroup_growth_bytes_per_second",
        "memlens_cgroup_growth_low_bytes_per_second",
        "memlens_cgroup_growth_high_bytes_per_second",
    ],
    what: "memory that cannot be reclaimed",
};
const HEAP_GROWTH: GrowthNames = GrowthNames {
    names: [
        "memlens_process_heap_growth_bytes_per_second",
        "memlens_process_heap_growth_low_bytes_per_second",
        "memlens_process_heap_growth_high_bytes_per_second",
    ],
    what: "live heap memory, turnover taken off",
};

/// The labels of a row, and its slope.
type GrowthRow<'a> = (&'a [(&'a str, &'a str)], Option<Slope>);

/// Writes three families: the slope, and both ends of its interval.
fn growth(out: &mut Exposition, names: &GrowthNames, rows: &[GrowthRow<'_>]) {
    let helps = [
        format!("Growth of {}.", names.what),
        format!(
            "Lower end of the 95 % interval of the growth of {}.",
            names.what
        ),
        format!(
            "Upper end of the 95 % interval of the growth of {}.",
            names.what
        ),
    ];
    for (place, (name, help)) in names.names.iter().zip(&helps).enumerate() {
        let mut family = out.family(name, Kind::Gauge, help);
        for (labels, slope) in rows {
            let value = slope.and_then(|slope| match place {
                0 => Some(slope.mean),
                1 => slope.low,
                _ => slope.high,
            });
            family.maybe(labels, value);
        }
    }
}

/// As [`growth`], of rows of processes.
fn growth_of(
    out: &mut Exposition,
    names: &GrowthNames,
    slopes: impl IntoIterator<Item = (Whose, Slope)>,
) {
    let rows: Vec<(Whose, String, Slope)> = slopes
        .into_iter()
        .map(|(whose, slope)| (whose.clone(), pid_of(&whose), slope))
        .collect();
    let all: Vec<Vec<(&str, &str)>> = rows
        .iter()
        .map(|(whose, pid, _)| labels(whose, pid))
        .collect();
    let rows: Vec<GrowthRow<'_>> = all
        .iter()
        .zip(&rows)
        .map(|(labels, (.., slope))| (labels.as_slice(), Some(*slope)))
        .collect();
    growth(out, names, &rows);
}

fn cgroups(out: &mut Exposition, cgroups: &[Cgroup]) {
    let mut family = |name, kind, help: &str, value: &dyn Fn(&Cgroup) -> Option<f64>| {
        let mut family = out.family(name, kind, help);
        for cgroup in cgroups {
            family.maybe(&[("cgroup", cgroup.path.as_str())], value(cgroup));
        }
    };
    family(
        "memlens_cgroup_memory_bytes",
        Kind::Gauge,
        "All memory that is charged to the cgroup.",
        &|cgroup| Some(cgroup.current_bytes as f64),
    );
    family(
        "memlens_cgroup_kept_bytes",
        Kind::Gauge,
        "Memory of the cgroup that cannot be reclaimed.",
        &|cgroup| Some(cgroup.kept_bytes as f64),
    );
    family(
        "memlens_cgroup_limit_bytes",
        Kind::Gauge,
        "Limit at which processes of the cgroup are killed.",
        &|cgroup| cgroup.max_bytes.map(|max| max as f64),
    );
    family(
        "memlens_cgroup_time_to_limit_seconds",
        Kind::Gauge,
        "Time until the cgroup reaches its limit, if it certainly grows.",
        &|cgroup| cgroup.full_in.map(|time| time.as_secs_f64()),
    );
    family(
        "memlens_cgroup_oom_kills",
        Kind::Counter,
        "Processes of the cgroup that were killed for lack of memory.",
        &|cgroup| cgroup.oom_kills.map(|kills| kills as f64),
    );
    let all: Vec<[(&str, &str); 1]> = cgroups
        .iter()
        .map(|cgroup| [("cgroup", cgroup.path.as_str())])
        .collect();
    let rows: Vec<GrowthRow<'_>> = all
        .iter()
        .zip(cgroups)
        .map(|(labels, cgroup)| (labels.as_slice(), cgroup.growth.as_ref().map(Slope::of)))
        .collect();
    growth(out, &CGROUP_GROWTH, &rows);
}

/// What the rows of processes have.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    processes: u64,
    bytes: u64,
    slope: Option<Slope>,
}

fn processes(out: &mut Exposition, machine: &Profile, with_pid: bool) {
    let mut rows: BTreeMap<Whose, Row> = BTreeMap::new();
    for subject in &machine.subjects {
        let row = rows.entry(Whose::of(subject, with_pid)).or_default();
        row.processes += 1;
        row.bytes += subject.totals.amount(Measure::ProcessTotalBytes);
        let growth = subject.growth.get(&Measure::ProcessTotalBytes);
        row.slope = match (row.slope, growth.map(Slope::of)) {
            (Some(one), Some(other)) => Some(one.plus(other)),
            (one, other) => one.or(other),
        };
    }
    let bytes = "Resident and swapped memory of the processes that have rows.";
    family(
        out,
        ("memlens_process_memory_bytes", Kind::Gauge, bytes),
        &rows,
        |row| Some(row.bytes as f64),
    );
    let count = "Processes that the row sums up.";
    family(
        out,
        ("memlens_process_instances", Kind::Gauge, count),
        &rows,
        |row| Some(row.processes as f64),
    );
    let slopes = rows
        .into_iter()
        .filter_map(|(whose, row)| Some((whose, row.slope?)));
    growth_of(out, &PROCESS_GROWTH, slopes);
}

#[cfg(test)]
mod tests;
