//! What was found where no process grows: the kernel, the page cache, shared memory, drivers, or nothing.

use super::choose::{NEGLIGIBLE, matters};
use super::{Found, next, rate, rate_of};
use crate::analysis::advice;
use crate::profile::hunt::{Hunt, HuntOutcome, NextCommand, StepKind};
use crate::profile::machine::{Holder, MachineSection};
use crate::profile::trend::FEWEST;
use crate::profile::{Growth, Profile};
use crate::words::units::{bytes, counted_processes, duration};

/// Growth of a part of the machine's memory, in bytes per minute, that is worth a sentence.
const WORTH_NAMING: f64 = 1_048_576.0;

/// What was found where no process certainly grows.
pub(super) fn found(profile: &Profile, hunt: &Hunt) -> Found {
    let Some(machine) = &profile.sections.machine else {
        return too_early(hunt);
    };
    if machine.passes < FEWEST as u64 {
        return too_early(hunt);
    }
    match takers(machine).first() {
        Some((holder, growth)) => taker(machine, *holder, growth),
        None => nothing(hunt, machine),
    }
}

/// Who certainly takes memory, most first; the page cache, which gives it back, only after all others.
fn takers(machine: &MachineSection) -> Vec<(Holder, Growth)> {
    let growths = machine.holders.iter();
    let mut takers: Vec<(Holder, Growth)> = growths
        .filter_map(|(holder, amount)| Some((*holder, amount.growth?)))
        .filter(|(_, growth)| growth.certain >= WORTH_NAMING)
        .collect();
    takers.sort_by(|(one, grows), (other, others)| {
        let cache = (*one == Holder::Cache).cmp(&(*other == Holder::Cache));
        cache.then_with(|| others.certain.total_cmp(&grows.certain))
    });
    takers
}

fn taker(machine: &MachineSection, holder: Holder, growth: &Growth) -> Found {
    let by = rate_of(growth);
    let no_process = format!(
        "none of {} certainly grows",
        counted_processes(machine.processes_total as u64)
    );
    let (outcome, text, next) = match holder {
        Holder::Kernel => (
            HuntOutcome::Kernel,
            format!("the kernel's own memory grows {by}, and it cannot give it back; {no_process}"),
            vec![next::kernel()],
        ),
        Holder::Cache => (
            HuntOutcome::PageCache,
            format!(
                "the page cache grows {by}: that is no leak, the kernel gives it back when memory is needed; {no_process}"
            ),
            vec![next::longer(None)],
        ),
        Holder::Shared | Holder::HugePages => (
            HuntOutcome::Shared,
            format!(
                "{} grows {by}: files in a tmpfs, or segments that only their removal or swap frees; {no_process}",
                holder.words()
            ),
            next::shared(),
        ),
        Holder::Other => (
            HuntOutcome::Drivers,
            format!(
                "memory that no counter names grows {by}: drivers, virtual machines and the like take it directly; \
                 {no_process}"
            ),
            vec![next::kernel(), next::host()],
        ),
        Holder::Processes => (
            HuntOutcome::NotExplained,
            format!(
                "processes together grow {by}, but no single one of them does for certain: many small ones, or new ones{}",
                appeared(machine)
            ),
            vec![
                NextCommand::new(
                    "memlens host --by name 30 1",
                    "sums by name, over half a minute",
                ),
                NextCommand::new(
                    "memlens host --by container 30 1",
                    "sums by container or service",
                ),
            ],
        ),
    };
    Found {
        outcome,
        text,
        next,
    }
}

fn appeared(machine: &MachineSection) -> String {
    match machine.appeared.processes {
        0 => String::new(),
        new => format!(
            " ({} appeared, with {})",
            counted_processes(new as u64),
            bytes(machine.appeared.bytes)
        ),
    }
}

fn nothing(hunt: &Hunt, machine: &MachineSection) -> Found {
    let seen = hunt
        .step(StepKind::Process)
        .and_then(|step| step.least_bytes_per_min);
    let seen = seen.map_or_else(String::new, |least| {
        format!(
            "; a process that grows by more than {} would have been seen",
            rate((least as f64).max(NEGLIGIBLE))
        )
    });
    Found {
        outcome: HuntOutcome::NothingGrows,
        text: format!(
            "nothing grows: {} and the machine were watched for {}{seen}",
            counted_processes(machine.processes_total as u64),
            duration(hunt.took)
        ),
        next: vec![next::longer(None), next::host()],
    }
}

fn too_early(hunt: &Hunt) -> Found {
    Found {
        outcome: HuntOutcome::TooEarly,
        text: format!(
            "too early to say: {} are too few samples for a trend",
            duration(hunt.took)
        ),
        next: vec![next::longer(None)],
    }
}

/// What to say where a process was found, and something else of the machine takes more, or another process grows as
/// well.
pub(super) fn beside(
    profile: &Profile,
    hunt: &Hunt,
    growth: Option<&Growth>,
) -> Vec<(String, NextCommand)> {
    let Some(machine) = profile.sections.machine.as_ref() else {
        return Vec::new();
    };
    let own = growth.map_or(0.0, |growth| growth.per_min.max(0.0));
    let takers = takers(machine).into_iter();
    let more = takers.filter(|(_, growth)| growth.certain > own);
    let more = more.filter_map(|(holder, growth)| match holder {
        Holder::Kernel => Some((
            format!("the kernel's own memory grows more, {}", rate_of(&growth)),
            next::kernel(),
        )),
        Holder::Shared => Some((
            format!("shared memory and tmpfs grow more, {}", rate_of(&growth)),
            next::shared().remove(0),
        )),
        _ => None,
    });
    let suspect = hunt.suspect.as_ref().map(|suspect| suspect.pid);
    let others = machine.growers.iter().filter(|row| row.pid != suspect);
    let others = others.filter_map(|row| {
        let growth = row.growth.get(&machine.of.measure())?;
        let is_certain = matters(growth) && !advice::is_young(row);
        let text = format!(
            "{} grows too, {}",
            crate::words::names::process(row),
            rate_of(growth)
        );
        is_certain.then(|| Some((text, next::other(row.pid?, &row.command))))?
    });
    more.chain(others).collect()
}
