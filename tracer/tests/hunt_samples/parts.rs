//! What hunts are made of.

use std::time::Duration;

use jiff::Timestamp;
use memlens::analysis::hunt::choose::Candidate;
use memlens::analysis::hunt::steps;
use memlens::profile::hunt::{Hunt, HuntStep, StepKind, Suspect};
use memlens::profile::ledger::{LedgerChange, Purpose, RowChange};
use memlens::profile::machine::{Amount, Figure, Holder, MachineSection};
use memlens::profile::trend::Verdict;
use memlens::profile::{
    Builder, Detail, Frame, Growth, Measure, Meta, Profile, Sample, Source, Subject, Values,
};

pub const KIB: u64 = 1 << 10;
pub const MIB: u64 = 1 << 20;
pub const PID: u32 = 4242;

/// A growth of so many MiB a minute, with half the width of its interval.
pub fn growth(mib_per_min: f64, error: f64) -> Growth {
    let [per_min, error] = [mib_per_min, error].map(|mib| mib * MIB as f64);
    let certain = match per_min > 0.0 {
        true => (per_min - error).max(0.0),
        false => (per_min + error).min(0.0),
    };
    Growth {
        per_min,
        low: Some(per_min - error),
        high: Some(per_min + error),
        certain,
        verdict: match certain {
            certain if certain > 0.0 => Verdict::Growing,
            certain if certain < 0.0 => Verdict::Shrinking,
            _ if error <= 65_536.0 => Verdict::Steady,
            _ => Verdict::Unclear,
        },
        samples: 40,
    }
}

/// A machine after a watch, in which these grow by so many MiB a minute.
pub fn machine(takers: &[(Holder, f64)]) -> Profile {
    let kept = takers.iter().filter(|(holder, _)| *holder != Holder::Cache);
    let taken: f64 = kept.map(|(_, mib)| mib).sum();
    let amount = |bytes, growth: Growth| Amount {
        bytes,
        change_bytes: (growth.per_min / 3.0) as i64,
        growth: Some(growth),
    };
    let mut machine = MachineSection {
        passes: 40,
        processes_total: 52,
        rows_total: 52,
        changed_over: Duration::from_secs(20),
        ..MachineSection::default()
    };
    let available = match taken > 0.0 {
        true => growth(-taken, 0.2),
        false => growth(0.0, 0.02),
    };
    machine
        .figures
        .insert(Figure::Total, amount(16 << 30, growth(0.0, 0.0)));
    machine
        .figures
        .insert(Figure::Available, amount(6 << 30, available));
    for holder in Holder::ALL {
        let taker = takers.iter().find(|(taker, _)| taker == holder);
        let grows = taker.map_or(growth(0.0, 0.01), |(_, mib)| growth(*mib, 0.1));
        machine.holders.insert(*holder, amount(1 << 30, grows));
    }
    let mut profile = Profile {
        meta: Meta {
            time: Timestamp::from_millisecond(1_795_000_000_250).expect("a time"),
            elapsed: Duration::from_secs(20),
            host: "web-1".to_owned(),
            kernel: "6.18.0".to_owned(),
            version: "0.1.0".to_owned(),
            last: true,
            ..Meta::default()
        },
        ..Profile::default()
    };
    profile.sections.machine = Some(machine);
    profile
}

/// Many that do not grow, and a noisy one.
fn candidates() -> Vec<Candidate> {
    let candidate = |pid| Candidate {
        pid,
        command: format!("worker-{pid}"),
        growth: match pid {
            20 => growth(1.0, 3.0),
            _ => growth(0.0, 0.01),
        },
        age: Duration::from_secs(7_200),
        is_since_the_start: true,
    };
    (0..52).map(candidate).collect()
}

/// A hunt on that machine; after a process that moves like this, if one is given.
pub fn hunt_of(mut profile: Profile, growth: Option<Growth>) -> Profile {
    let mut hunt = Hunt {
        time: Duration::from_secs(60),
        took: Duration::from_millis(58_300),
        steps: vec![steps::machine(&profile, Duration::from_secs(20))],
        ..Hunt::default()
    };
    let process = growth.map(|growth| {
        let totals = Values::default().with(Measure::ProcessTotalBytes, 96 * MIB);
        let mut process = Subject {
            totals,
            age: Some(Duration::from_secs(7_200)),
            ..Subject::process(PID, "server")
        };
        for measure in [Measure::ProcessTotalBytes, Measure::ProcessAnonymousBytes] {
            process.growth.insert(measure, growth);
        }
        process
    });
    let took = Duration::from_secs(20);
    hunt.steps.push(match &process {
        Some(process) if !growth.is_some_and(|growth| growth.certain > 0.0) => {
            steps::asked_for(process, "6.18.0", took)
        }
        process => steps::choice(&candidates(), process.as_ref(), "6.18.0", took),
    });
    if let (Some(process), Some(growth)) = (process, growth) {
        hunt.suspect = Some(Suspect {
            pid: PID,
            command: "server".to_owned(),
            growth: Some(growth),
            ..Suspect::default()
        });
        let machine = profile.sections.machine.as_mut().expect("a machine");
        machine.growers = vec![process.clone()];
        profile.subjects.push(process);
    }
    profile.sections.hunt = Some(hunt);
    profile
}

fn row_change(kind: Purpose, resident_bytes: i64) -> RowChange {
    RowChange {
        row: kind.into(),
        resident_bytes,
        virtual_bytes: resident_bytes,
    }
}

/// What changed in 38 seconds.
pub fn changed(resident: u64, rows: &[(Purpose, u64)]) -> LedgerChange {
    let rows = rows
        .iter()
        .map(|(kind, bytes)| row_change(*kind, bytes.cast_signed()));
    LedgerChange {
        over: Duration::from_secs(38),
        resident_bytes: resident.cast_signed(),
        virtual_bytes: resident.cast_signed(),
        native_bytes: resident.cast_signed(),
        rows: rows.collect(),
        ..LedgerChange::default()
    }
}

/// The last two steps, of what the profile has by now.
fn traced(mut profile: Profile) -> Profile {
    let took = Duration::from_secs(38);
    let sections = &profile.sections;
    let ledger = steps::ledger(
        sections.ledger.as_ref(),
        sections.ledger_change.as_ref(),
        took,
    );
    let trace = steps::trace(&profile, took);
    let hunt = profile.sections.hunt.as_mut().expect("a hunt");
    let others = |step: &HuntStep| !matches!(step.step, StepKind::Ledger | StepKind::Trace);
    hunt.steps.retain(others);
    hunt.steps.extend([ledger, trace]);
    profile
}

/// A stack of these functions, innermost first.
fn stack(build: &mut Builder, functions: &[&str]) -> u32 {
    let frames = functions.iter().enumerate().map(|(index, function)| {
        let module = build.module(
            match function.starts_with("__GI_") {
                true => "/usr/lib/libc.so.6",
                false => "/usr/bin/server",
            },
            None,
        );
        let offset = 0x1000 + 64 * index as u64;
        build.frame(Frame {
            address: 0x40_0000 + offset,
            symbol: Some((*function).into()),
            offset: Some(16),
            module: Some(module),
            module_offset: Some(offset),
            ..Frame::default()
        })
    });
    let frames: Vec<u32> = frames.collect();
    build.stack(frames, None)
}

/// A trace of the heap in which these functions hold so much, and grow by so many MiB a minute.
pub fn with_heap(profile: &Profile, held: &[(&str, u64, Option<f64>)]) -> Profile {
    let mut build = Builder::from_profile(profile.clone());
    build.measures([
        Measure::HeapLiveBytes,
        Measure::HeapLiveBlocks,
        Measure::HeapGrowthPerS,
        Measure::HeapGrowthPerSLow,
        Measure::HeapGrowthPerSHigh,
    ]);
    let all: u64 = held.iter().map(|(_, bytes, _)| bytes).sum();
    if let Some(process) = build.profile.subjects.first_mut() {
        process.totals.set(Measure::HeapLiveBytes, all);
        process.totals.set(Measure::HeapLiveBlocks, all / 100);
        process.totals.set(Measure::HeapAllocBytes, all * 3);
        process.probe_percent = Some(1.8);
    }
    for (function, bytes, grows) in held {
        let stack = stack(&mut build, &[function, "main"]);
        let mut values = Values::default()
            .with(Measure::HeapLiveBytes, *bytes)
            .with(Measure::HeapLiveBlocks, bytes / 100);
        let slope = grows.map_or_else(|| growth(0.0, 0.01), |mib| growth(mib, 0.05));
        for (measure, per_min) in [
            (Measure::HeapGrowthPerS, Some(slope.per_min)),
            (Measure::HeapGrowthPerSLow, slope.low),
            (Measure::HeapGrowthPerSHigh, slope.high),
        ] {
            values.set_some(
                measure,
                per_min.map(|per_min| (per_min / 6.0).round() / 10.0),
            );
        }
        let sample = build.sample(Source::Heap, 0, Some(stack), &values);
        build.add(sample);
    }
    traced(build.finish())
}

/// A trace in which a function has mapped so much, and not for an allocator.
pub fn with_mappings(profile: &Profile, function: &str, bytes: u64) -> Profile {
    let mut build = Builder::from_profile(with_heap(profile, &[]));
    build.measures([
        Measure::VmMappedBytes,
        Measure::VmResidentBytes,
        Measure::VmRanges,
    ]);
    let stack = stack(&mut build, &["__GI___mmap64", function, "main"]);
    let values = Values::default()
        .with(Measure::VmMappedBytes, bytes * 2)
        .with(Measure::VmResidentBytes, bytes)
        .with(Measure::VmRanges, 64_u64);
    let sample = build.sample(Source::AddressSpace, 0, Some(stack), &values);
    build.add(Sample {
        detail: Some(Detail::Ledger(vec![Purpose::Anonymous.into()])),
        ..sample
    });
    traced(build.finish())
}
