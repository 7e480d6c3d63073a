//! Sentences: whether memory is shrinking and where to, and what to look at next. Each rests on figures of the report. Pure.

use std::time::Duration;

use super::machine::{Figure, Holder};
use super::report::{CgroupRow, Hint, HostReport, Row, time_to, verdict};
use super::trend::Verdict;
use super::values::Measure;
use crate::report::units::{bytes, change, duration};

/// A part of growth that deserves "all", and one that deserves "mostly".
const ALL: f64 = 0.95;
const MOST: f64 = 0.6;
/// A holder that takes less than this part of the largest taker is not named.
const WORTH_NAMING: f64 = 0.05;
/// A cgroup is worth a hint when it is that full, or reaches its limit that soon.
const NEARLY_FULL: f64 = 0.9;
const SOON: Duration = Duration::from_secs(86_400);
/// A process younger than this may still be filling its caches.
const YOUNG: Duration = Duration::from_secs(120);
/// Address space that a process must reserve a minute before it is worth a hint.
const RESERVES: f64 = 1_048_576.0;
/// Kernel memory that must grow a minute before it is worth a hint.
const KERNEL_GROWS: f64 = 1_048_576.0;

/// A rate with its unit: "3.10 MiB/min".
pub fn rate(per_second: f64) -> String {
    format!("{}/min", bytes(per_minute(per_second)))
}

/// Whole units a minute, without a sign.
pub fn per_minute(per_second: f64) -> u64 {
    // A cast of a float is exact here or ends at the largest number.
    (per_second.abs() * 60.0).round() as u64
}

/// Whether the machine's memory is shrinking, and where to.
pub fn outlook(report: &HostReport) -> String {
    let machine = &report.machine;
    let Some(available) = machine.fit(Figure::Available) else {
        return "no trend yet: one pass so far".into();
    };
    let error = || format!("±{}", rate(available.error));
    match verdict(Some(available), false) {
        Verdict::Shrinking => {
            let size = machine.now.get(Figure::Available);
            let left = time_to(size, &available.reversed());
            let left = left.map_or(String::new(), |left| {
                format!("; it lasts {} at this rate", duration(left))
            });
            format!(
                "available memory shrinks by {} ({}): {}{left}",
                rate(available.slope),
                error(),
                takers(report)
            )
        }
        Verdict::Growing => format!(
            "available memory grows by {} ({})",
            rate(available.slope),
            error()
        ),
        Verdict::Steady => format!("available memory is steady (within {})", error()),
        Verdict::Unclear => format!(
            "available memory has no clear trend in {} ({} since the last report): watch for longer",
            duration(report.elapsed),
            change(machine.change(Figure::Available))
        ),
    }
}

/// Who takes memory, most first.
fn takers(report: &HostReport) -> String {
    let machine = &report.machine;
    let mut takers: Vec<(Holder, f64)> = Holder::ALL
        .into_iter()
        .filter_map(|holder| Some((holder, machine.holder(holder)?.certain())))
        .filter(|(_, certain)| *certain > 0.0)
        .collect();
    takers.sort_by(|one, other| other.1.total_cmp(&one.1));
    let least = takers.first().map_or(0.0, |first| first.1 * WORTH_NAMING);
    let named: Vec<String> = takers
        .iter()
        .filter(|taker| taker.1 >= least)
        .filter_map(|(holder, _)| {
            let fit = machine.holder(*holder)?;
            Some(format!("{} +{}", holder.words(), rate(fit.slope)))
        })
        .collect();
    if named.is_empty() {
        "no part of it grows for certain".into()
    } else {
        named.join(", ")
    }
}

/// What to look at next, most pressing first. `has_command` tells which commands of memlens there are.
pub fn next(report: &HostReport, has_command: &dyn Fn(&str) -> bool) -> Vec<Hint> {
    let mut hints: Vec<Hint> = report
        .growers
        .iter()
        .map(|row| grower(row, has_command))
        .collect();
    hints.extend(reserver(report, has_command));
    hints.extend(report.cgroups.iter().filter_map(cgroup));
    hints.extend(kernel(report, has_command));
    hints
}

/// A process that grows.
fn grower(row: &Row, has_command: &dyn Fn(&str) -> bool) -> Hint {
    let slope = row.fit(Measure::Total).map_or(0.0, |fit| fit.slope);
    let mut text = format!("{} grows {}", subject(row), rate(slope));
    if let Some(kind) = kind(row, slope) {
        text += &format!(", {kind}");
    }
    for (measure, noun) in [
        (Measure::Fds, "file descriptors"),
        (Measure::Threads, "threads"),
    ] {
        if row.verdict(measure) == Verdict::Growing
            && let Some(fit) = row.fit(measure)
            && per_minute(fit.slope) > 0
        {
            text += &format!(", with {} more {noun} a minute", per_minute(fit.slope));
        }
    }
    if let Some(age) = row.age.filter(|age| *age < YOUNG) {
        text += &format!(
            " (it runs for {} and may still be filling its caches)",
            duration(age)
        );
    }
    let pid = row.process.map(|key| key.pid);
    Hint {
        pid,
        text,
        commands: commands(pid, &["explain", "leaks"], has_command),
    }
}

/// A process in a sentence.
fn subject(row: &Row) -> String {
    match row.process {
        Some(key) => format!("PID {} ({})", key.pid, row.name),
        None => row.name.clone(),
    }
}

/// Which kind of memory a process's growth is.
fn kind(row: &Row, slope: f64) -> Option<String> {
    let share = |measures: &[Measure]| {
        let slopes = measures.iter().filter_map(|measure| row.fit(*measure));
        slopes.map(|fit| fit.slope).sum::<f64>() / slope
    };
    let anonymous = share(&[Measure::Anonymous, Measure::Swap]);
    let kinds = [
        (anonymous, "anonymous"),
        (share(&[Measure::File]), "mapped files"),
        (share(&[Measure::Shared]), "shared memory"),
    ];
    let (largest, name) = kinds
        .into_iter()
        .max_by(|one, other| one.0.total_cmp(&other.0))?;
    if largest >= ALL {
        Some(format!("all {name}"))
    } else if largest >= MOST {
        Some(format!("mostly {name}"))
    } else if anonymous.is_finite() {
        Some(format!(
            "{:.0}% of it anonymous",
            (anonymous * 100.0).clamp(0.0, 100.0)
        ))
    } else {
        None
    }
}

/// A process that reserves address space and does not touch it, in the rows that are shown.
fn reserver(report: &HostReport, has_command: &dyn Fn(&str) -> bool) -> Option<Hint> {
    let is_young = |row: &Row| row.age.is_some_and(|age| age < YOUNG);
    let rows = report.rows.iter().filter(|row| {
        row.process.is_some() && row.verdict(Measure::Total) == Verdict::Steady && !is_young(row)
    });
    let reserves = |row: &Row| row.certain(Measure::Virtual) * 60.0;
    let row = rows.max_by(|one, other| reserves(one).total_cmp(&reserves(other)))?;
    if reserves(row) < RESERVES {
        return None;
    }
    let pid = row.process.map(|key| key.pid);
    let slope = row.fit(Measure::Virtual)?.slope;
    Some(Hint {
        pid,
        text: format!(
            "{} reserves {} of address space that it does not touch: it costs no memory yet",
            subject(row),
            rate(slope)
        ),
        commands: commands(pid, &["vm", "explain"], has_command),
    })
}

/// A cgroup that will reach its limit, or is near it.
fn cgroup(row: &CgroupRow) -> Option<Hint> {
    let max = row.bounds.max?;
    let left = row.time_left().filter(|left| *left <= SOON);
    let text = match (left, row.fullness()) {
        (Some(left), _) => format!(
            "cgroup {} reaches its limit of {} in {} at this rate",
            row.label,
            bytes(max),
            duration(left)
        ),
        (None, Some(share)) if share >= NEARLY_FULL => format!(
            "cgroup {} is at {:.0}% of its limit of {}, page cache not counted",
            row.label,
            share * 100.0,
            bytes(max)
        ),
        _ => return None,
    };
    Some(Hint {
        pid: None,
        text,
        commands: vec!["memlens host --by container".into()],
    })
}

/// Kernel memory that grows.
fn kernel(report: &HostReport, has_command: &dyn Fn(&str) -> bool) -> Option<Hint> {
    let fit = report.machine.holder(Holder::Kernel)?;
    if fit.certain() * 60.0 < KERNEL_GROWS {
        return None;
    }
    let command = match has_command("kernel") {
        true => "memlens kernel",
        false => "slabtop -s c",
    };
    Some(Hint {
        pid: None,
        text: format!("the kernel's own memory grows {}", rate(fit.slope)),
        commands: vec![command.into()],
    })
}

/// Those of memlens' commands that there are, for one process.
fn commands(pid: Option<u32>, names: &[&str], has_command: &dyn Fn(&str) -> bool) -> Vec<String> {
    let Some(pid) = pid else { return Vec::new() };
    let command = |name: &&str| match *name {
        "explain" => format!("memlens explain {pid}"),
        name => format!("memlens {name} -p {pid}"),
    };
    names
        .iter()
        .filter(|name| has_command(name))
        .map(command)
        .collect()
}
