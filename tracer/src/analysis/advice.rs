//! Whether the machine's memory is shrinking and where to, and what to look at next. Each sentence rests on figures of
//! the profile. Pure.

use std::time::Duration;

use crate::profile::machine::{Cgroup, Figure, Holder, MachineSection};
use crate::profile::trend::Verdict;
use crate::profile::{Finding, FindingKind, Growth, Measure, Profile, Subject};
use crate::words::units::{bytes, change, duration};

/// Shares of growth that count as "all", and as "mostly".
const ALL: f64 = 0.95;
const MOST: f64 = 0.6;
/// A holder that takes less than this share of what the largest one takes is not named.
const WORTH_NAMING: f64 = 0.05;
/// A cgroup is worth a hint when it is that full, or reaches its limit that soon.
const NEARLY_FULL: f64 = 0.9;
const SOON: Duration = Duration::from_secs(86_400);
/// A process younger than this may still be filling its caches.
pub(super) const YOUNG: Duration = Duration::from_secs(120);
/// Bytes a minute from which growth of address space, or of kernel memory, is worth a hint.
const WORTH_A_HINT: f64 = 1_048_576.0;

/// Tells which commands of memlens there are.
type HasCommand<'a> = &'a dyn Fn(&str) -> bool;

/// Adds the outlook and the hints to a profile of a machine, the most pressing hint first.
pub fn add(profile: &mut Profile, has_command: HasCommand<'_>) {
    let Some(machine) = &profile.sections.machine else {
        return;
    };
    let mut findings = vec![Finding::new(
        FindingKind::Outlook,
        outlook(profile, machine),
    )];
    findings.extend(
        machine
            .growers
            .iter()
            .map(|row| grower(profile, row, has_command)),
    );
    findings.extend(reserver(profile, has_command));
    findings.extend(machine.cgroups.iter().filter_map(cgroup));
    findings.extend(kernel(machine, has_command));
    profile.findings.extend(findings);
}

/// Whether the machine's memory is shrinking, and where to.
pub(super) fn outlook(profile: &Profile, machine: &MachineSection) -> String {
    let available = machine.figure(Figure::Available);
    let Some(growth) = available.growth else {
        return "no trend yet: one pass so far".into();
    };
    let by = rate(growth.per_min);
    let error = growth.error().map_or_else(String::new, rate);
    match growth.verdict {
        Verdict::Shrinking => {
            let left = growth.time_to_shrink(available.bytes);
            let left = left.map_or(String::new(), |left| {
                format!("; it lasts {} at this rate", duration(left))
            });
            format!(
                "available memory shrinks by {by} (±{error}): {}{left}",
                takers(machine)
            )
        }
        Verdict::Growing => format!("available memory grows by {by} (±{error})"),
        Verdict::Steady => format!("available memory is steady (within ±{error})"),
        Verdict::Unclear => format!(
            "available memory has no clear trend in {} ({} since the last report): watch for longer",
            duration(profile.meta.elapsed),
            change(available.change_bytes)
        ),
    }
}

/// Who takes memory, most first.
fn takers(machine: &MachineSection) -> String {
    let growths = machine.holders.iter();
    let growths = growths.filter_map(|(holder, amount)| Some((*holder, amount.growth?)));
    let mut takers: Vec<(Holder, Growth)> =
        growths.filter(|(_, growth)| growth.certain > 0.0).collect();
    takers.sort_by(|(_, one), (_, other)| other.certain.total_cmp(&one.certain));
    let least = takers
        .first()
        .map_or(0.0, |(_, first)| first.certain * WORTH_NAMING);
    let named = takers.iter().filter(|(_, growth)| growth.certain >= least);
    let named: Vec<String> = named
        .map(|(holder, growth)| format!("{} +{}", holder.words(), rate(growth.per_min)))
        .collect();
    match named.is_empty() {
        true => "no part of it grows for certain".into(),
        false => named.join(", "),
    }
}

/// A process that grows.
fn grower(profile: &Profile, row: &Subject, has_command: HasCommand<'_>) -> Finding {
    let text = grows(row);
    about(profile, row, text, &["explain", "leaks"], has_command)
}

/// How a process grows, in a sentence.
pub(super) fn grows(row: &Subject) -> String {
    let per_min = per_min(row, Measure::ProcessTotalBytes);
    let mut text = format!("{} grows {}", name(row), rate(per_min));
    if let Some(kind) = kind(row, per_min) {
        text += &format!(", {kind}");
    }
    for (measure, noun) in [
        (Measure::ProcessFds, "file descriptors"),
        (Measure::ProcessThreads, "threads"),
    ] {
        let more = self::per_min(row, measure).round();
        if row.verdict(measure) == Verdict::Growing && more > 0.0 {
            text += &format!(", with {more} more {noun} a minute");
        }
    }
    if let Some(age) = row.age.filter(|_| is_young(row)) {
        text += &format!(
            " (it runs for {} and may still be filling its caches)",
            duration(age)
        );
    }
    text
}

/// A process that reserves address space and does not touch it, among the rows.
fn reserver(profile: &Profile, has_command: HasCommand<'_>) -> Option<Finding> {
    let is_steady = |row: &&Subject| row.verdict(Measure::ProcessTotalBytes) == Verdict::Steady;
    let rows = profile
        .subjects
        .iter()
        .filter(|row| row.pid.is_some() && !is_young(row));
    let reserves = |row: &Subject| {
        let growth = row.growth.get(&Measure::ProcessVirtualBytes);
        growth.map_or(0.0, |growth| growth.certain)
    };
    let most = rows
        .filter(is_steady)
        .max_by(|one, other| reserves(one).total_cmp(&reserves(other)));
    let row = most.filter(|row| reserves(row) >= WORTH_A_HINT)?;
    let text = format!(
        "{} reserves {} of address space that it does not touch: it costs no memory yet",
        name(row),
        rate(per_min(row, Measure::ProcessVirtualBytes))
    );
    Some(about(profile, row, text, &["vm", "explain"], has_command))
}

/// A cgroup that will reach its limit, or is near it.
fn cgroup(row: &Cgroup) -> Option<Finding> {
    let max = bytes(row.max_bytes?);
    let left = row.full_in.filter(|left| *left <= SOON);
    let text = match (left, row.fullness()) {
        (Some(left), _) => format!(
            "cgroup {} reaches its limit of {max} in {} at this rate",
            row.label,
            duration(left)
        ),
        (None, Some(share)) if share >= NEARLY_FULL => format!(
            "cgroup {} is at {:.0}% of its limit of {max}, page cache not counted",
            row.label,
            share * 100.0
        ),
        _ => return None,
    };
    Some(hint(text, vec!["memlens host --by container".into()]))
}

/// Kernel memory that grows.
fn kernel(machine: &MachineSection, has_command: HasCommand<'_>) -> Option<Finding> {
    let growth = machine.holders.get(&Holder::Kernel)?.growth?;
    let command = match has_command("kernel") {
        true => "memlens kernel",
        false => "slabtop -s c",
    };
    let text = format!("the kernel's own memory grows {}", rate(growth.per_min));
    (growth.certain >= WORTH_A_HINT).then(|| hint(text, vec![command.into()]))
}

fn hint(text: String, commands: Vec<String>) -> Finding {
    Finding {
        commands,
        ..Finding::new(FindingKind::Next, text)
    }
}

/// A hint about a process, with those of the commands that there are.
fn about(
    profile: &Profile,
    row: &Subject,
    text: String,
    names: &[&str],
    has_command: HasCommand<'_>,
) -> Finding {
    let command = |name: &&str, pid: u32| match *name {
        "explain" => format!("memlens explain {pid}"),
        name => format!("memlens {name} -p {pid}"),
    };
    let commands = names.iter().filter(|name| has_command(name));
    let subject = profile.subjects.iter().position(|own| own.pid == row.pid);
    Finding {
        subject: subject.and_then(|index| u32::try_from(index).ok()),
        ..hint(
            text,
            commands
                .filter_map(|name| Some(command(name, row.pid?)))
                .collect(),
        )
    }
}

/// A rate of bytes without its sign: "3.10 MiB/min".
fn rate(per_min: f64) -> String {
    // A cast of a float ends at the largest number.
    format!("{}/min", bytes(per_min.abs().round() as u64))
}

/// A process in a sentence.
fn name(row: &Subject) -> String {
    match row.pid {
        Some(pid) => format!("PID {pid} ({})", row.command),
        None => row.command.clone(),
    }
}

pub(super) fn is_young(row: &Subject) -> bool {
    row.age.is_some_and(|age| age < YOUNG)
}

/// How a figure moves, in units a minute; 0 where that is not known.
fn per_min(row: &Subject, measure: Measure) -> f64 {
    row.growth
        .get(&measure)
        .map_or(0.0, |growth| growth.per_min)
}

/// Which kind of memory a process's growth is.
fn kind(row: &Subject, whole: f64) -> Option<String> {
    let share = |measures: &[Measure]| {
        let parts = measures.iter().map(|measure| per_min(row, *measure));
        parts.sum::<f64>() / whole
    };
    let anonymous = share(&[Measure::ProcessAnonymousBytes, Measure::ProcessSwapBytes]);
    let kinds = [
        (anonymous, "anonymous"),
        (share(&[Measure::ProcessFileBytes]), "mapped files"),
        (share(&[Measure::ProcessSharedBytes]), "shared memory"),
    ];
    let (largest, name) = kinds
        .into_iter()
        .max_by(|one, other| one.0.total_cmp(&other.0))?;
    if largest >= ALL {
        Some(format!("all {name}"))
    } else if largest >= MOST {
        Some(format!("mostly {name}"))
    } else {
        let percent = (anonymous * 100.0).clamp(0.0, 100.0);
        anonymous
            .is_finite()
            .then(|| format!("{percent:.0}% of it anonymous"))
    }
}
