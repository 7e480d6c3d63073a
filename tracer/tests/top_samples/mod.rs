//! A view that has seen a machine and some traces: the profiles of other golden files, put together.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use memlens::profile::machine::By;
use memlens::profile::{Measure, Number, Profile};
use memlens::top::{App, Settings, TraceId, Traced};

/// Seconds that the machine has been looked at.
const SECONDS: u64 = 40;

/// A blessed profile.
fn blessed(name: &str) -> Profile {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let text = std::fs::read(folder.join(name)).expect("a golden file");
    Profile::parse(&text).expect("a profile")
}

/// The machine, some seconds later: one process grows, another one takes and gives back.
fn machine(second: u64) -> Profile {
    let mut profile = blessed("host/leaking.json");
    let by = Duration::from_secs(second);
    profile.meta.time += by;
    profile.meta.elapsed += by;
    for subject in &mut profile.subjects {
        let more = match subject.pid {
            Some(4242) => second * 500_000,
            Some(2210) => (second % 8) * 30_000_000,
            _ => 0,
        };
        for measure in [Measure::ProcessTotalBytes, Measure::ProcessVirtualBytes] {
            let now = subject.totals.amount(measure);
            subject.totals.set(measure, now + more);
        }
    }
    profile
}

/// A profile as if it were of another process.
fn moved(name: &str, pid: u32, command: &str) -> Profile {
    let mut profile = blessed(name);
    for subject in &mut profile.subjects {
        (subject.pid, subject.command) = (Some(pid), command.to_owned());
    }
    profile
}

/// The heap of a process, so many percent of what was blessed.
fn heap(percent: u64) -> Profile {
    let mut profile = moved("leaks/verdict_collection.json", 4242, "api");
    let column = profile.column(Measure::HeapLiveBytes).expect("live bytes");
    let scaled = |value: u64| value * percent / 100;
    for sample in &mut profile.samples {
        let live = sample.values[column].map_or(0, Number::whole).max(0);
        sample.values[column] = Some(scaled(live.cast_unsigned()).into());
    }
    let subject = &mut profile.subjects[0];
    let live = subject.totals.amount(Measure::HeapLiveBytes);
    subject.totals.set(Measure::HeapLiveBytes, scaled(live));
    subject.totals.set(Measure::HeapAllocsPerS, 12_345.6);
    profile
}

fn take_heap(app: &mut App, percent: u64) {
    let profile = Traced::Profile(Arc::new(heap(percent)));
    app.take_trace(TraceId::Target, profile);
}

/// A view of processes, or groups of them.
pub fn app_of(by: By, unicode: bool) -> App {
    let mut app = App::new(Settings {
        by,
        target: Some("api (4242)".into()),
        target_pids: vec![4242],
        time_zone: TimeZone::UTC,
        color: false,
        unicode,
        older: Duration::ZERO,
    });
    for second in 0..SECONDS {
        take_heap(&mut app, 60 + second);
        app.take_machine(machine(second), Some(42 << 20));
    }
    app
}

/// A view of processes.
pub fn app() -> App {
    app_of(By::Process, true)
}

/// More has been allocated.
pub fn grown(app: &mut App) {
    take_heap(app, 150);
    app.take_machine(machine(SECONDS + 20), Some(42 << 20));
}

/// The address space of a process that was opened comes.
pub fn space_comes(app: &mut App, pid: u32) {
    let profile = moved("vm/growing.json", pid, "java");
    app.take_trace(TraceId::Process(pid), Traced::Profile(Arc::new(profile)));
}

/// The kernel's memory comes, once it is traced.
pub fn kernel_comes(app: &mut App) {
    let profile = blessed("kernel/all_kinds.json");
    app.take_trace(TraceId::Kernel, Traced::Profile(Arc::new(profile)));
}
