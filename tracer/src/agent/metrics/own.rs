//! The metrics of the agent itself.

use std::collections::BTreeMap;

use crate::render::openmetrics::{Exposition, Kind};

/// What the agent knows of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Own {
    /// Its version.
    pub version: String,
    /// The host's kernel.
    pub kernel: String,
    /// CPU time that it has used.
    pub cpu_seconds: f64,
    /// Its resident memory.
    pub resident_bytes: u64,
    /// Seconds since it began.
    pub up_seconds: f64,
    /// Processes with probes.
    pub probed: u64,
    /// Processes that it would trace.
    pub wanted: u64,
    /// Times that traces were given up for lack of memory.
    pub shed: u64,
    /// Whether heaps can be traced at all.
    pub is_tracing: bool,
    /// How long the last look at the heaps took.
    pub heap_seconds: f64,
    /// Requests, by the status of their answer.
    pub requests: BTreeMap<u16, u64>,
    /// Connections that were refused.
    pub refused: u64,
    /// Reports written, by reason.
    pub reports: BTreeMap<&'static str, u64>,
    /// Reports that could not be written.
    pub failed_reports: u64,
    /// Kills for lack of memory that were seen, traced or not.
    pub oom_seen: u64,
    /// Exports to OTLP that were accepted, and that failed.
    pub exports: (u64, u64),
    /// Times that the settings were read again, and that they were refused.
    pub reloads: (u64, u64),
}

pub(super) fn write(out: &mut Exposition, own: &Own) {
    out.family(
        "memlens_build",
        Kind::Info,
        "Version of memlens, and of the kernel.",
    )
    .sample(&[("version", &own.version), ("kernel", &own.kernel)], 1.0);
    let mut gauge = |name, help: &str, value: f64| {
        out.family(name, Kind::Gauge, help).sample(&[], value);
    };
    let is_tracing = f64::from(u8::from(own.is_tracing));
    gauge(
        "memlens_agent_tracing",
        "1 if heaps can be traced.",
        is_tracing,
    );
    gauge(
        "memlens_agent_resident_bytes",
        "Resident memory of the agent.",
        own.resident_bytes as f64,
    );
    gauge(
        "memlens_agent_up_seconds",
        "Time since the agent began.",
        own.up_seconds,
    );
    gauge(
        "memlens_agent_probed_processes",
        "Processes with probes.",
        own.probed as f64,
    );
    gauge(
        "memlens_agent_wanted_processes",
        "Processes that are named or certainly grow.",
        own.wanted as f64,
    );
    gauge(
        "memlens_agent_heap_look_seconds",
        "Time that the last look at the heaps took.",
        own.heap_seconds,
    );
    let mut counter = |name, help: &str, value: f64| {
        out.family(name, Kind::Counter, help).sample(&[], value);
    };
    counter(
        "memlens_agent_cpu_seconds",
        "CPU time of the agent.",
        own.cpu_seconds,
    );
    counter(
        "memlens_agent_shed",
        "Times that traces were given up for lack of memory.",
        own.shed as f64,
    );
    counter(
        "memlens_agent_refused_connections",
        "Connections that were refused: too many.",
        own.refused as f64,
    );
    counter(
        "memlens_agent_failed_reports",
        "Reports that could not be written.",
        own.failed_reports as f64,
    );
    counter(
        "memlens_agent_oom_kills_seen",
        "Kills for lack of memory that the agent saw, of traced processes or not.",
        own.oom_seen as f64,
    );
    let labeled = [
        (
            "memlens_agent_exports",
            "Profiles sent by OTLP.",
            own.exports,
        ),
        (
            "memlens_agent_reloads",
            "Times that the settings were read again.",
            own.reloads,
        ),
    ];
    for (name, help, (good, bad)) in labeled {
        out.family(name, Kind::Counter, help)
            .sample(&[("result", "ok")], good as f64)
            .sample(&[("result", "failed")], bad as f64);
    }
    let mut requests = out.family(
        "memlens_agent_requests",
        Kind::Counter,
        "Requests, by status.",
    );
    for (status, count) in &own.requests {
        requests.sample(&[("status", &status.to_string())], *count as f64);
    }
    let mut reports = out.family(
        "memlens_agent_reports",
        Kind::Counter,
        "Reports written, by reason.",
    );
    for (why, count) in &own.reports {
        reports.sample(&[("why", why)], *count as f64);
    }
}
