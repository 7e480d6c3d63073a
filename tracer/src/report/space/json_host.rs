//! The parts of the JSON report of address spaces that only a trace of the whole host has.

use std::collections::BTreeMap;

use serde::Serialize;

use super::group::{SpaceGroup, groups};
use super::json::WireAmount;
use super::{SpaceHeld, SpaceHost, SpaceProcessHost, SpaceReport};
use crate::report::json_host::{WireEndedName, WireEndedProcess, WireMember};

/// What only a trace of the whole host tells.
#[derive(Serialize)]
pub struct WireHost<'a> {
    scope: &'a str,
    by: &'static str,
    groups: Vec<WireGroup>,
    ended: WireEnded<'a>,
    own_rss_bytes: Option<u64>,
}

/// What only a trace of the whole host tells of a process.
#[derive(Serialize)]
pub struct WireProcessHost<'a> {
    #[serde(flatten)]
    member: WireMember<'a>,
    calls_per_second: Option<f64>,
    map_known: bool,
}

#[derive(Serialize)]
struct WireGroup {
    key: String,
    processes: u64,
    #[serde(flatten)]
    amount: WireAmount,
    kinds: BTreeMap<&'static str, WireAmount>,
    growth_per_minute: Option<i64>,
}

#[derive(Serialize)]
struct WireEnded<'a> {
    count: u64,
    #[serde(flatten)]
    held: SpaceHeld,
    processes: Vec<WireEndedProcess<'a, SpaceHeld>>,
    names: Vec<WireEndedName<'a, SpaceHeld>>,
}

impl<'a> WireHost<'a> {
    /// The host's part of a report, as it is written.
    pub fn of(report: &SpaceReport, host: &'a SpaceHost) -> Self {
        let groups = groups(&report.processes, host.by);
        let ended = &host.ended;
        Self {
            scope: &host.scope,
            by: host.by.name(),
            groups: groups.into_iter().map(WireGroup::of).collect(),
            ended: WireEnded {
                count: ended.count(),
                held: ended.held(),
                processes: ended.processes.iter().map(WireEndedProcess::of).collect(),
                names: ended.names.iter().map(WireEndedName::of).collect(),
            },
            own_rss_bytes: host.own_rss_bytes,
        }
    }
}

impl<'a> WireProcessHost<'a> {
    /// The host's part of a process, as it is written.
    pub fn of(host: &'a SpaceProcessHost) -> Self {
        Self {
            member: WireMember::of(&host.member),
            calls_per_second: host.calls_per_second,
            map_known: host.map_known,
        }
    }
}

impl WireGroup {
    fn of(group: SpaceGroup) -> Self {
        let kinds = group.kinds.iter();
        Self {
            processes: group.processes,
            amount: WireAmount::of(&group.amount, group.measured),
            kinds: kinds
                .map(|(kind, amount)| (kind.name(), WireAmount::of(amount, group.measured)))
                .collect(),
            growth_per_minute: group.growth_per_minute,
            key: group.key,
        }
    }
}
