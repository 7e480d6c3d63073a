//! The parts of the JSON report that only a trace of the whole host has.

use serde::Serialize;

use super::Report;
use super::group::{GroupRow, groups};
use super::host::{
    EndedName, EndedProcess, GuardAction, GuardStep, HeapHeld, Host, LateFile, MemberRow,
    ProcessHost, ProcessStacks,
};
use super::json::{JsonOptions, WireStack, lossy, millis};
use crate::process::cgroup::Place;

/// What only a trace of the whole host tells.
#[derive(Serialize)]
pub struct WireHost<'a> {
    scope: &'a str,
    by: &'static str,
    groups: Vec<GroupRow>,
    process_stacks: Vec<WireProcessStacks<'a>>,
    ended: WireEnded<'a>,
    guard: WireGuard<'a>,
    late_files: Vec<WireLateFile<'a>>,
    probed_files: usize,
    own_rss_bytes: Option<u64>,
}

/// What only a trace of the whole host tells of a process.
#[derive(Serialize)]
pub struct WireProcessHost<'a> {
    #[serde(flatten)]
    member: WireMember<'a>,
    allocs_per_second: Option<f64>,
    rss_bytes: Option<u64>,
    sample_bytes: Option<u64>,
    probes_off_ms: Option<u64>,
}

/// What every whole-host trace knows of a process.
#[derive(Serialize)]
pub struct WireMember<'a> {
    #[serde(flatten)]
    place: WirePlace<'a>,
    uid: u32,
    user: &'a str,
    first_seen_ms: u64,
    started_in_trace: bool,
    growth_per_minute: Option<i64>,
}

/// Where a process belongs.
#[derive(Serialize)]
struct WirePlace<'a> {
    r#where: String,
    container: Option<WireContainer<'a>>,
    pod: Option<&'a str>,
    unit: Option<&'a str>,
    cgroup: &'a str,
}

#[derive(Serialize)]
struct WireContainer<'a> {
    runtime: &'static str,
    id: &'a str,
}

#[derive(Serialize)]
struct WireProcessStacks<'a> {
    pid: u32,
    stacks_total: usize,
    stacks_live_bytes: u64,
    stacks: Vec<WireStack<'a>>,
}

#[derive(Serialize)]
struct WireEnded<'a> {
    count: u64,
    live_bytes: u64,
    live_count: u64,
    processes: Vec<WireEndedProcess<'a>>,
    names: Vec<WireEndedName<'a>>,
}

/// A process that ended; what it held is the trace's own matter.
#[derive(Serialize)]
pub struct WireEndedProcess<'a, H = HeapHeld> {
    pid: u32,
    comm: &'a str,
    r#where: String,
    user: &'a str,
    ended_ms: u64,
    traced_ms: u64,
    #[serde(flatten)]
    held: &'a H,
}

/// Processes of one name that ended.
#[derive(Serialize)]
pub struct WireEndedName<'a, H = HeapHeld> {
    comm: &'a str,
    processes: u64,
    last_ended_ms: u64,
    #[serde(flatten)]
    held: &'a H,
}

#[derive(Serialize)]
struct WireGuard<'a> {
    budget_percent: Option<f64>,
    cost_percent: f64,
    hits_per_second: u64,
    steps: Vec<WireStep<'a>>,
}

#[derive(Serialize)]
struct WireStep<'a> {
    at_ms: u64,
    pid: Option<u32>,
    comm: &'a str,
    r#where: String,
    action: &'static str,
    sample_bytes: Option<u64>,
    sample_bytes_before: Option<u64>,
    hits_per_second: u64,
    cost_percent: f64,
    total_percent: f64,
    later_processes: u64,
    sentence: String,
}

#[derive(Serialize)]
struct WireLateFile<'a> {
    at_ms: u64,
    pid: u32,
    comm: &'a str,
    r#where: String,
    path: String,
    missed_ms: u64,
}

impl<'a> WireHost<'a> {
    /// The host's part of a report, as it is written.
    pub fn of(report: &'a Report, host: &'a Host, options: JsonOptions) -> Self {
        let process_stacks = host.process_stacks.iter();
        let held = host.ended.held();
        Self {
            scope: &host.scope,
            by: host.by.name(),
            groups: groups(&report.processes, host.by),
            process_stacks: process_stacks
                .map(|process| WireProcessStacks::of(process, options))
                .collect(),
            ended: WireEnded {
                count: host.ended.count(),
                live_bytes: held.live_bytes,
                live_count: held.live_count,
                processes: host
                    .ended
                    .processes
                    .iter()
                    .map(WireEndedProcess::of)
                    .collect(),
                names: host.ended.names.iter().map(WireEndedName::of).collect(),
            },
            guard: WireGuard {
                budget_percent: host.guard.budget_percent,
                cost_percent: host.guard.cost_percent,
                hits_per_second: host.guard.hits_per_second,
                steps: host.guard.steps.iter().map(WireStep::of).collect(),
            },
            late_files: host.late_files.iter().map(WireLateFile::of).collect(),
            probed_files: host.probed_files,
            own_rss_bytes: host.own_rss_bytes,
        }
    }
}

impl<'a> WireMember<'a> {
    /// As it is written.
    pub fn of(member: &'a MemberRow) -> Self {
        Self {
            place: WirePlace::of(&member.place),
            uid: member.uid,
            user: &member.user,
            first_seen_ms: millis(member.first_seen),
            started_in_trace: member.started_in_trace,
            growth_per_minute: member.growth_per_minute,
        }
    }
}

impl<'a> WirePlace<'a> {
    fn of(place: &'a Place) -> Self {
        Self {
            r#where: place.label(),
            container: place.container.as_ref().map(|container| WireContainer {
                runtime: container.runtime.name(),
                id: &container.id,
            }),
            pod: place.pod.as_deref(),
            unit: place.unit.as_deref(),
            cgroup: &place.path,
        }
    }
}

impl<'a> WireProcessHost<'a> {
    /// The host's part of a process, as it is written.
    pub fn of(host: &'a ProcessHost) -> Self {
        Self {
            member: WireMember::of(&host.member),
            allocs_per_second: host.allocs_per_second,
            rss_bytes: host.rss_bytes,
            sample_bytes: host.sample_bytes,
            probes_off_ms: host.probes_off_at.map(millis),
        }
    }
}

impl<'a> WireProcessStacks<'a> {
    fn of(process: &'a ProcessStacks, options: JsonOptions) -> Self {
        let stacks = process.stacks.iter();
        Self {
            pid: process.pid,
            stacks_total: process.stacks_total,
            stacks_live_bytes: process.stacks_live_bytes,
            stacks: stacks.map(|stack| WireStack::of(stack, options)).collect(),
        }
    }
}

impl<'a, H> WireEndedProcess<'a, H> {
    /// As it is written.
    pub fn of(process: &'a EndedProcess<H>) -> Self {
        Self {
            pid: process.pid,
            comm: &process.comm,
            r#where: process.place.label(),
            user: &process.user,
            ended_ms: millis(process.at),
            traced_ms: millis(process.traced),
            held: &process.held,
        }
    }
}

impl<'a, H> WireEndedName<'a, H> {
    /// As it is written.
    pub fn of(name: &'a EndedName<H>) -> Self {
        Self {
            comm: &name.comm,
            processes: name.processes,
            last_ended_ms: millis(name.last_at),
            held: &name.held,
        }
    }
}

impl<'a> WireStep<'a> {
    fn of(step: &'a GuardStep) -> Self {
        let (action, from, to) = match step.action {
            GuardAction::Sample { from, to } => ("sample", from, to),
            GuardAction::ProbesOff => ("probes_off", None, None),
        };
        Self {
            at_ms: millis(step.at),
            pid: step.pid,
            comm: &step.comm,
            r#where: step.place.label(),
            action,
            sample_bytes: to,
            sample_bytes_before: from,
            hits_per_second: step.hits_per_second,
            cost_percent: step.cost_percent,
            total_percent: step.total_percent,
            later_processes: step.later_processes,
            sentence: step.sentence(),
        }
    }
}

impl<'a> WireLateFile<'a> {
    fn of(file: &'a LateFile) -> Self {
        Self {
            at_ms: millis(file.at),
            pid: file.pid,
            comm: &file.comm,
            r#where: file.place.label(),
            path: lossy(&file.path),
            missed_ms: millis(file.missed),
        }
    }
}
