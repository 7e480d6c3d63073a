//! The report as JSON: one object, one line. Its form is a promise, written down in `docs/host.md`.

use std::io::{self, Write};

use clap::ValueEnum;
use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::machine::{Figure, Holder, HugePool};
use super::pressure::{Pressure, Stall};
use super::report::{CgroupRow, Hint, HostReport, MachineReport, Row, Turnover, verdict};
use super::trend::Fit;
use super::values::Measure;
use crate::report::json::{millis, write_line};

/// Name and version of the form; the number changes when a reader could break.
pub const SCHEMA: &str = "memlens.host/1";

/// Writes the report as one line.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &HostReport, out: &mut impl Write) -> io::Result<()> {
    write_line(&WireReport::of(report)?, out)
}

#[derive(Serialize)]
struct WireReport<'a> {
    schema: &'static str,
    time: String,
    elapsed_ms: u64,
    changed_over_ms: u64,
    last: bool,
    passes: u64,
    pass_us: u64,
    outlook: &'a str,
    machine: WireMachine<'a>,
    by: String,
    sort: String,
    of: String,
    processes_total: usize,
    rows_total: usize,
    rows: Vec<WireRow<'a>>,
    growers: Vec<WireRow<'a>>,
    appeared: WireTurnover<'a>,
    vanished: WireTurnover<'a>,
    cgroups_total: usize,
    cgroups: Vec<WireCgroup<'a>>,
    next: Vec<WireHint<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct WireMachine<'a> {
    figures: Figures<'a>,
    holders: Holders<'a>,
    huge_pool: WirePool,
    pressure: Option<WirePressure>,
    stalled_percent: Option<WireStalled>,
    oom_kills: Option<u64>,
    oom_kills_new: Option<u64>,
}

#[derive(Serialize)]
struct WireFigure {
    value: Option<u64>,
    change: Option<i64>,
    growth: Option<WireGrowth>,
}

#[derive(Serialize)]
struct WireGrowth {
    per_minute: f64,
    low: Option<f64>,
    high: Option<f64>,
    verdict: &'static str,
    samples: usize,
}

#[derive(Serialize)]
struct WirePool {
    pages: u64,
    free: u64,
    reserved: u64,
    page_bytes: u64,
}

#[derive(Serialize)]
struct WirePressure {
    some: WireStall,
    full: WireStall,
}

#[derive(Serialize)]
struct WireStall {
    avg10: f32,
    avg60: f32,
    avg300: f32,
    total_us: u64,
}

#[derive(Serialize)]
struct WireStalled {
    some: f64,
    full: f64,
}

#[derive(Serialize)]
struct WireRow<'a> {
    pid: Option<u32>,
    name: &'a str,
    user: Option<&'a str>,
    cgroup: Option<&'a str>,
    label: Option<String>,
    age_ms: Option<u64>,
    processes: usize,
    figures: RowFigures<'a>,
}

#[derive(Serialize)]
struct WireTurnover<'a> {
    processes: usize,
    bytes: u64,
    largest: Option<WireNamed<'a>>,
}

#[derive(Serialize)]
struct WireNamed<'a> {
    pid: u32,
    name: &'a str,
    bytes: u64,
}

#[derive(Serialize)]
struct WireCgroup<'a> {
    path: &'a str,
    label: &'a str,
    current: u64,
    kept: u64,
    swap: Option<u64>,
    max: Option<u64>,
    high: Option<u64>,
    oom_kills: Option<u64>,
    growth: Option<WireGrowth>,
    full_in_s: Option<u64>,
    pressure: Option<WirePressure>,
}

#[derive(Serialize)]
struct WireHint<'a> {
    pid: Option<u32>,
    text: &'a str,
    commands: &'a [String],
}

/// The machine's figures as an object, by name.
struct Figures<'a>(&'a MachineReport);

impl Serialize for Figures<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Figure::ALL.len()))?;
        for figure in Figure::ALL {
            let wire = WireFigure {
                value: Some(self.0.now.get(figure)),
                change: Some(self.0.change(figure)),
                growth: growth(self.0.fit(figure), false),
            };
            map.serialize_entry(figure.name(), &wire)?;
        }
        map.end()
    }
}

/// Who has the memory, as an object by name.
struct Holders<'a>(&'a MachineReport);

impl Serialize for Holders<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Holder::ALL.len()))?;
        for holder in Holder::ALL {
            let (now, before) = (self.0.now.held_by(holder), self.0.before.held_by(holder));
            let wire = WireFigure {
                value: Some(now),
                change: now.checked_signed_diff(before),
                growth: growth(self.0.holder(holder), false),
            };
            map.serialize_entry(holder.name(), &wire)?;
        }
        map.end()
    }
}

/// A row's figures as an object, by name.
struct RowFigures<'a>(&'a Row);

impl Serialize for RowFigures<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Measure::ALL.len()))?;
        for measure in Measure::ALL {
            let wire = WireFigure {
                value: self.0.values.get(measure),
                change: self.0.change(measure),
                growth: growth(self.0.fit(measure), measure.is_count()),
            };
            map.serialize_entry(measure.name(), &wire)?;
        }
        map.end()
    }
}

fn growth(fit: Option<&Fit>, is_count: bool) -> Option<WireGrowth> {
    let fit = fit?;
    // Hundredths of a unit a minute are more than enough, and keep the lines short.
    let round = |per_second: f64| (per_second * 6_000.0).round() / 100.0;
    let known = fit.error.is_finite();
    Some(WireGrowth {
        per_minute: round(fit.slope),
        low: known.then(|| round(fit.slope - fit.error)),
        high: known.then(|| round(fit.slope + fit.error)),
        verdict: verdict(Some(fit), is_count).name(),
        samples: fit.samples,
    })
}

impl<'a> WireReport<'a> {
    fn of(report: &'a HostReport) -> io::Result<Self> {
        let time = Timestamp::try_from(report.time).map_err(io::Error::other)?;
        Ok(Self {
            schema: SCHEMA,
            time: time.to_string(),
            elapsed_ms: millis(report.elapsed),
            changed_over_ms: millis(report.changed_over),
            last: report.last,
            passes: report.passes,
            pass_us: u64::try_from(report.pass_took.as_micros()).unwrap_or(u64::MAX),
            outlook: &report.outlook,
            machine: WireMachine::of(&report.machine),
            by: word(report.by),
            sort: word(report.view.order),
            of: word(report.view.of),
            processes_total: report.processes_total,
            rows_total: report.rows_total,
            rows: report.rows.iter().map(WireRow::of).collect(),
            growers: report.growers.iter().map(WireRow::of).collect(),
            appeared: WireTurnover::of(&report.appeared),
            vanished: WireTurnover::of(&report.vanished),
            cgroups_total: report.cgroups_total,
            cgroups: report.cgroups.iter().map(WireCgroup::of).collect(),
            next: report.next.iter().map(WireHint::of).collect(),
            notes: &report.notes,
        })
    }
}

impl<'a> WireMachine<'a> {
    fn of(machine: &'a MachineReport) -> Self {
        Self {
            figures: Figures(machine),
            holders: Holders(machine),
            huge_pool: WirePool::of(&machine.now.pool),
            pressure: machine.pressure.as_ref().map(WirePressure::of),
            stalled_percent: machine
                .stalled
                .map(|(some, full)| WireStalled { some, full }),
            oom_kills: machine.oom_kills,
            oom_kills_new: machine.oom_kills_new,
        }
    }
}

impl WirePool {
    fn of(pool: &HugePool) -> Self {
        Self {
            pages: pool.pages,
            free: pool.free,
            reserved: pool.reserved,
            page_bytes: pool.page_bytes,
        }
    }
}

impl WirePressure {
    fn of(pressure: &Pressure) -> Self {
        let stall = |stall: &Stall| WireStall {
            avg10: stall.avg10,
            avg60: stall.avg60,
            avg300: stall.avg300,
            total_us: stall.total_us,
        };
        Self {
            some: stall(&pressure.some),
            full: stall(&pressure.full),
        }
    }
}

impl<'a> WireRow<'a> {
    fn of(row: &'a Row) -> Self {
        Self {
            pid: row.process.map(|key| key.pid),
            name: &row.name,
            user: row.user.as_deref(),
            cgroup: row.place.as_ref().map(|place| place.path.as_str()),
            label: row.place.as_ref().map(|place| place.label()),
            age_ms: row.age.map(millis),
            processes: row.processes,
            figures: RowFigures(row),
        }
    }
}

impl<'a> WireTurnover<'a> {
    fn of(turnover: &'a Turnover) -> Self {
        Self {
            processes: turnover.processes,
            bytes: turnover.bytes,
            largest: turnover.largest.as_ref().map(|named| WireNamed {
                pid: named.pid,
                name: &named.name,
                bytes: named.bytes,
            }),
        }
    }
}

impl<'a> WireCgroup<'a> {
    fn of(row: &'a CgroupRow) -> Self {
        Self {
            path: &row.path,
            label: &row.label,
            current: row.usage.current,
            kept: row.usage.kept,
            swap: row.usage.swap,
            max: row.bounds.max,
            high: row.bounds.high,
            oom_kills: row.bounds.oom_kills,
            growth: growth(row.fit.as_ref(), false),
            full_in_s: row.time_left().map(|left| left.as_secs()),
            pressure: row.pressure.as_ref().map(WirePressure::of),
        }
    }
}

impl<'a> WireHint<'a> {
    fn of(hint: &'a Hint) -> Self {
        Self {
            pid: hint.pid,
            text: &hint.text,
            commands: &hint.commands,
        }
    }
}

/// The word of the command line for a setting.
fn word(value: impl ValueEnum) -> String {
    let word = value.to_possible_value();
    word.map_or_else(String::new, |word| word.get_name().to_owned())
}
