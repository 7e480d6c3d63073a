//! Hunts that were made up: what they came to is written by the code that the program runs.

mod parts;

use std::time::Duration;

use memlens::analysis::hunt::conclude;
use memlens::profile::hunt::{HuntOutcome, HuntStep, StepKind};
use memlens::profile::ledger::{LanguageRuntime, Ledger, LedgerChange, Purpose, RssGrowth};
use memlens::profile::machine::Holder;
use memlens::profile::{Finding, FindingKind, Measure, Profile, Subject};

use parts::{KIB, MIB, PID, changed, growth, hunt_of, machine, with_heap, with_mappings};

/// A hunt, and what must come out of it.
pub struct Sample {
    /// Name of its golden files.
    pub name: &'static str,
    /// The hunt with its conclusion.
    pub profile: Profile,
    /// What it must have found.
    pub outcome: HuntOutcome,
    /// What the conclusion and the commands must say.
    pub says: &'static [&'static str],
}

/// All of them.
pub fn all() -> Vec<Sample> {
    let mut all = machines();
    all.extend(processes());
    all.extend(special());
    all
}

fn sample(
    name: &'static str,
    outcome: HuntOutcome,
    says: &'static [&'static str],
    mut profile: Profile,
) -> Sample {
    conclude(&mut profile);
    Sample {
        name,
        profile,
        outcome,
        says,
    }
}

/// No process grows.
fn machines() -> Vec<Sample> {
    let takes = |holder, mib: f64| hunt_of(machine(&[(holder, mib)]), None);
    vec![
        sample(
            "nothing",
            HuntOutcome::NothingGrows,
            &[
                "nothing grows",
                "52 processes",
                "more than 64 KiB/min",
                "memlens hunt --for 10m",
            ],
            hunt_of(machine(&[]), None),
        ),
        sample(
            "kernel",
            HuntOutcome::Kernel,
            &["the kernel's own memory grows 30 MiB/min", "memlens kernel"],
            takes(Holder::Kernel, 30.0),
        ),
        sample(
            "cache",
            HuntOutcome::PageCache,
            &["page cache grows 900 MiB/min", "no leak"],
            takes(Holder::Cache, 900.0),
        ),
        sample(
            "cache_and_kernel",
            HuntOutcome::Kernel,
            &["the kernel's own memory grows 2 MiB/min"],
            hunt_of(
                machine(&[(Holder::Cache, 900.0), (Holder::Kernel, 2.0)]),
                None,
            ),
        ),
        sample(
            "shared",
            HuntOutcome::Shared,
            &[
                "shared memory and tmpfs grows 12 MiB/min",
                "df -h -t tmpfs",
                "memlens host",
            ],
            takes(Holder::Shared, 12.0),
        ),
        sample(
            "drivers",
            HuntOutcome::Drivers,
            &["drivers", "memlens kernel"],
            takes(Holder::Other, 4.0),
        ),
        sample(
            "many_small",
            HuntOutcome::NotExplained,
            &[
                "processes together grow 6 MiB/min",
                "3 processes appeared",
                "--by name",
            ],
            many_small(),
        ),
        sample(
            "too_early",
            HuntOutcome::TooEarly,
            &["too early to say", "memlens hunt --for 10m"],
            too_early(),
        ),
    ]
}

fn many_small() -> Profile {
    let mut profile = hunt_of(machine(&[(Holder::Processes, 6.0)]), None);
    let machine = profile.sections.machine.as_mut().expect("a machine");
    machine.appeared.processes = 3;
    machine.appeared.bytes = 5 * MIB;
    profile
}

fn too_early() -> Profile {
    let mut profile = hunt_of(machine(&[]), None);
    let machine = profile.sections.machine.as_mut().expect("a machine");
    machine.passes = 3;
    let hunt = profile.sections.hunt.as_mut().expect("a hunt");
    hunt.interrupted = true;
    hunt.took = Duration::from_millis(1_400);
    profile
}

/// A process that grows by so many MiB a minute, with what changed between its ledgers.
fn grower(change: LedgerChange) -> Profile {
    let mut profile = hunt_of(machine(&[(Holder::Processes, 6.0)]), Some(growth(6.0, 0.1)));
    profile.sections.ledger = Some(Ledger::default());
    profile.sections.ledger_change = Some(change);
    profile
}

/// What a trace saw of its growth.
fn traced(profile: &mut Profile, heap_bytes: i64, mapped_bytes: i64) {
    let change = profile.sections.ledger_change.clone().unwrap_or_default();
    profile.sections.growth = Some(RssGrowth {
        traced: change.over,
        resident_bytes: change.resident_bytes,
        heap_bytes,
        mapped_bytes: Some(mapped_bytes),
        ..RssGrowth::default()
    });
}

/// A heap that leaks on one stack.
fn leaking() -> Profile {
    let mut profile = grower(LedgerChange {
        heap_in_use_bytes: Some(3_900 * 1024),
        heap_free_bytes: Some(-12 * 1024),
        ..changed(
            4 * MIB,
            &[(Purpose::BrkHeap, 4 * MIB), (Purpose::Anonymous, 12 * KIB)],
        )
    });
    traced(&mut profile, (4 * MIB).cast_signed(), 0);
    with_heap(
        &profile,
        &[
            ("handle_request", 3_900 * KIB, Some(5.9)),
            ("log_line", 20 * KIB, None),
        ],
    )
}

/// A busy process, of which the first moments were traced.
fn too_dear() -> Profile {
    let mut profile = grower(changed(4 * MIB, &[(Purpose::Allocator, 4 * MIB)]));
    traced(&mut profile, (4 * MIB).cast_signed(), 0);
    let mut profile = with_heap(&profile, &[("dictAdd", 96 * KIB, None)]);
    profile.subjects[0].probes_off = Some(Duration::from_millis(1_700));
    profile
}

fn judged(kind: FindingKind, text: &str) -> Profile {
    let mut profile = leaking();
    profile.findings.push(Finding {
        subject: Some(0),
        stack: Some(0),
        ..Finding::new(kind, text)
    });
    profile
}

fn mapping() -> Profile {
    let mut profile = grower(changed(4 * MIB, &[(Purpose::Anonymous, 4 * MIB)]));
    traced(&mut profile, 0, (4 * MIB).cast_signed());
    with_mappings(&profile, "map_segment", 4 * MIB)
}

fn managed() -> Profile {
    let mut profile = grower(LedgerChange {
        runtime_heap_bytes: (4 * MIB).cast_signed(),
        native_bytes: (64 * KIB).cast_signed(),
        ..changed(4 * MIB, &[(Purpose::RuntimeHeap, 4 * MIB)])
    });
    profile.sections.ledger = Some(Ledger {
        runtimes: vec![LanguageRuntime {
            name: "JVM 21.0.5".to_owned(),
            ..LanguageRuntime::default()
        }],
        ..Ledger::default()
    });
    with_heap(&profile, &[])
}

fn fragmented() -> Profile {
    let mut profile = grower(LedgerChange {
        heap_in_use_bytes: Some(0),
        heap_free_bytes: Some((4 * MIB).cast_signed()),
        ..changed(4 * MIB, &[(Purpose::BrkHeap, 4 * MIB)])
    });
    traced(&mut profile, (4 * MIB).cast_signed(), 0);
    with_heap(&profile, &[("parse", 96 * KIB, None)])
}

fn older() -> Profile {
    let mut profile = grower(changed(4 * MIB, &[(Purpose::ProgramData, 4 * MIB)]));
    traced(&mut profile, 0, 0);
    let growth = profile.sections.growth.as_mut().expect("parts");
    growth.older_bytes = (4 * MIB).cast_signed();
    growth.older_rows = vec![memlens::profile::ledger::RowShare {
        row: Purpose::ProgramData.into(),
        resident_bytes: (4 * MIB).cast_signed(),
    }];
    with_heap(&profile, &[])
}

/// A process grows.
fn processes() -> Vec<Sample> {
    use HuntOutcome::*;
    vec![
        sample(
            "heap",
            Heap,
            &[
                "server (4242) grows 6 MiB/min (5.90 MiB to 6.10 MiB)",
                "heap stack #1 (handle_request) accounts for it",
                "memlens leaks -p 4242 --older 1m",
            ],
            leaking(),
        ),
        sample(
            "heap_judged",
            Heap,
            &["server (4242) grows", "nothing points to 38,000 blocks"],
            judged(
                FindingKind::Leak,
                "leak: nothing points to 38,000 blocks of handle_request",
            ),
        ),
        sample(
            "too_dear",
            Heap,
            &["were removed after 1.7s", "memlens hunt 4242 --slowdown 50"],
            too_dear(),
        ),
        sample(
            "mappings",
            Mappings,
            &["mapping stack #1 (map_segment)", "memlens vm -p 4242"],
            mapping(),
        ),
        sample(
            "runtime",
            RuntimeHeap,
            &["JVM 21.0.5", "jcmd 4242 GC.heap_dump"],
            managed(),
        ),
        sample(
            "fragmented",
            Fragmentation,
            &[
                "keeps memory that the program has freed",
                "4 MiB more is free",
            ],
            fragmented(),
        ),
        sample("older", OlderMappings, &["program: data and bss"], older()),
        sample(
            "files",
            MappedFiles,
            &["no leak"],
            grower(changed(4 * MIB, &[(Purpose::Files, 4 * MIB)])),
        ),
        sample(
            "shared_process",
            Shared,
            &["shared memory", "memlens vm -p 4242", "ipcs -m"],
            grower(changed(4 * MIB, &[(Purpose::Shared, 4 * MIB)])),
        ),
        sample(
            "not_explained",
            NotExplained,
            &[
                "nothing that was seen meanwhile explains it",
                "memlens explain --trace 5m 4242",
            ],
            grower(changed(0, &[])),
        ),
    ]
}

fn two_growers() -> Profile {
    let mut profile = leaking();
    let machine = profile.sections.machine.as_mut().expect("a machine");
    let mut other = Subject::process(812, "redis-server");
    other
        .growth
        .insert(Measure::ProcessTotalBytes, growth(2.0, 0.5));
    other.age = Some(Duration::from_secs(86_400));
    let young = Subject {
        age: Some(Duration::from_secs(9)),
        pid: Some(999),
        command: "cc1".to_owned(),
        ..other.clone()
    };
    machine.growers.extend([other, young]);
    profile
}

fn suspect(profile: &mut Profile) -> &mut memlens::profile::hunt::Suspect {
    let hunt = profile.sections.hunt.as_mut().expect("a hunt");
    hunt.suspect.as_mut().expect("a suspect")
}

fn ended() -> Profile {
    let mut profile = leaking();
    suspect(&mut profile).ended = true;
    profile.sections.ledger_change = None;
    profile
}

/// A process that was asked for and moves like this.
fn asked_for(mib_per_min: f64, error: f64) -> Profile {
    let growth = growth(mib_per_min, error);
    let mut profile = hunt_of(machine(&[]), Some(growth));
    suspect(&mut profile).asked_for = true;
    suspect(&mut profile).least_bytes_per_min = Some((error * MIB as f64) as u64);
    profile.sections.ledger = Some(Ledger::default());
    profile.sections.ledger_change = Some(changed(0, &[]));
    profile
}

fn without_root() -> Profile {
    let mut profile = grower(changed(4 * MIB, &[(Purpose::BrkHeap, 4 * MIB)]));
    let hunt = profile.sections.hunt.as_mut().expect("a hunt");
    hunt.not_traced = Some("cannot trace a process: it takes root".to_owned());
    hunt.steps.push(HuntStep::new(
        StepKind::Trace,
        "not traced: cannot trace a process: it takes root",
        Duration::from_secs(38),
    ));
    profile
}

fn kernel_and_process() -> Profile {
    let mut profile = leaking();
    let kernel = machine(&[(Holder::Kernel, 30.0)]).sections.machine;
    let growers = std::mem::take(&mut profile.sections.machine.as_mut().expect("one").growers);
    profile.sections.machine = kernel;
    profile.sections.machine.as_mut().expect("one").growers = growers;
    profile
}

/// What is neither the machine alone nor a plain growth.
fn special() -> Vec<Sample> {
    use HuntOutcome::*;
    vec![
        sample(
            "two_growers",
            Heap,
            &[
                "redis-server (812) grows too, 2 MiB/min",
                "memlens hunt 812",
            ],
            two_growers(),
        ),
        sample(
            "kernel_and_process",
            Heap,
            &["the kernel's own memory grows more", "memlens kernel"],
            kernel_and_process(),
        ),
        sample(
            "ended",
            Ended,
            &[
                "server (4242) ended",
                "until then it grew 6 MiB/min",
                "handle_request",
                "memlens hunt -n server",
            ],
            ended(),
        ),
        sample(
            "steady",
            DoesNotGrow,
            &[
                "server (4242) does not grow",
                "more than 20 KiB/min would have been seen",
            ],
            with_heap(&asked_for(0.0, 0.019_531_25), &[]),
        ),
        sample(
            "takes_the_place",
            DoesNotGrow,
            &[
                "does not grow",
                "(cache_put) grow all the same",
                "take the place of older ones",
            ],
            with_heap(
                &asked_for(0.0, 0.019_531_25),
                &[("cache_put", 4 * MIB, Some(6.0))],
            ),
        ),
        sample(
            "noisy",
            TooEarly,
            &["goes up and down", "only a growth of more than 90 MiB/min"],
            with_heap(&asked_for(4.0, 90.0), &[]),
        ),
        sample(
            "without_root",
            Heap,
            &[
                "its heap, whose blocks were not traced",
                "It was not traced: cannot trace a process",
            ],
            without_root(),
        ),
    ]
}

/// The PID that commands are to have.
pub const HUNTED: u32 = PID;
