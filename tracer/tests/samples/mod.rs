//! Profiles made by hand, one for each thing that an output must show well.

pub mod any;
pub mod difference;
pub mod golden;
pub mod kernel;
pub mod leaks;
pub mod leaks_host;
pub mod leaks_verdict;
pub mod vm;
pub mod vm_faults;
pub mod vm_host;
pub mod xml;

use std::time::Duration;

use jiff::Timestamp;
use memlens::profile::{
    Block, Builder, Container, Cut, CutReason, Detail, Ended, EndedName, EndedProcess, Frame,
    LossKey, Losses, Measure, Meta, Missing, Omitted, Place, Profile, Runtime, Severity, Source,
    Subject, Values,
};
use memlens::render::Options;

/// A profile, and how much of it its text shows.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The name of its golden files.
    pub name: &'static str,
    pub profile: Profile,
    pub top: Option<usize>,
    pub per_process: usize,
}

impl Sample {
    pub fn of(name: &'static str, profile: Profile) -> Self {
        Self {
            name,
            profile,
            top: None,
            per_process: 0,
        }
    }

    /// The same with the first rows of tables and the first stacks only.
    pub fn top(self, top: usize) -> Self {
        Self {
            top: Some(top),
            ..self
        }
    }

    /// The options of its text, on top of others.
    pub fn options(&self, options: Options) -> Options {
        Options {
            top: self.top,
            per_process: self.per_process,
            ..options
        }
    }
}

/// The one of that name.
pub fn named(samples: Vec<Sample>, name: &str) -> Sample {
    let found = samples.into_iter().find(|sample| sample.name == name);
    found.expect("a sample of that name")
}

pub fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// After five seconds, at 2026-03-01T12:34:56.789Z.
pub fn meta() -> Meta {
    Meta {
        time: Timestamp::from_millisecond(1_772_368_496_789).expect("a time"),
        elapsed: at(5_012),
        host: "box".into(),
        kernel: "6.18.0".into(),
        version: "0.1.0".into(),
        ..Meta::default()
    }
}

/// A frame with its file and the file's build id.
#[derive(Clone, Debug, Default)]
pub struct Code {
    pub frame: Frame,
    pub module: Option<String>,
    pub build_id: Option<String>,
}

/// A stack that holds memory, or memory without one.
#[derive(Clone, Debug)]
pub struct Held {
    pub source: Source,
    /// Whose it is: the newest program of that PID, or the kernel.
    pub pid: Option<u32>,
    pub values: Values,
    pub frames: Option<Vec<Code>>,
    pub cut: Option<CutReason>,
    pub detail: Option<Detail>,
    pub blocks: Option<Vec<Block>>,
}

/// A profile of these subjects and samples, complete until something was lost.
pub fn profile(source: Source, subjects: Vec<Subject>, held: &[Held]) -> Profile {
    let mut build = Builder::new(meta());
    build.measures(Measure::of(source));
    build.profile.subjects = subjects;
    add(&mut build, held);
    let losses = LossKey::all()
        .filter(|key| matches!(key, LossKey::Kernel(_)) == (source == Source::Kernel));
    build.profile.losses = losses.map(|key| (key, 0)).collect();
    build.finish()
}

/// Adds samples.
pub fn add(build: &mut Builder, held: &[Held]) {
    for held in held {
        let frames = held.frames.as_ref();
        let stack = frames.map(|frames| intern(build, frames, held.cut));
        let subject = index_of(&build.profile, held.pid);
        let mut sample = build.sample(held.source, subject, stack, &held.values);
        sample.detail = held.detail.clone();
        sample.blocks = held.blocks.clone();
        build.add(sample);
    }
}

/// Index of the newest program of a PID.
pub fn index_of(profile: &Profile, pid: Option<u32>) -> u32 {
    let own = profile
        .subjects
        .iter()
        .zip(0..)
        .filter(|(row, _)| row.pid == pid);
    let newest = own.max_by_key(|(row, _)| row.image);
    newest.expect("a subject of that PID").1
}

/// The index of a stack of these frames, innermost first.
pub fn intern(build: &mut Builder, frames: &[Code], cut: Option<CutReason>) -> u32 {
    let frames = frames.iter().map(|code| {
        let module = code.module.as_ref();
        let module = module.map(|path| build.module(path, code.build_id.as_deref()));
        build.frame(Frame {
            module,
            ..code.frame.clone()
        })
    });
    let frames = frames.collect();
    build.stack(frames, cut)
}

/// Counts losses; what affects totals makes the profile incomplete.
pub fn lose(profile: &mut Profile, losses: impl IntoIterator<Item = (LossKey, u64)>) {
    let lost: Losses = losses.into_iter().collect();
    profile.losses.merge(&lost);
    let mut counters = profile.losses.iter();
    profile.complete &= !counters.any(|(key, n)| n > 0 && key.severity() == Severity::Totals);
}

/// Leaves out so many samples, with these values.
pub fn omit(profile: &mut Profile, source: Source, with_stack: bool, samples: u64, values: Values) {
    profile.omitted.push(Omitted {
        source,
        subject: 0,
        with_stack,
        samples,
        values,
    });
}

/// So many stacks that are cut at one place.
pub fn cut_at(
    profile: &mut Profile,
    pid: u32,
    reason: CutReason,
    module: Option<&str>,
    (stacks, values): (u64, Values),
) {
    let mut build = Builder::from_profile(std::mem::take(profile));
    let row = Cut {
        subject: index_of(&build.profile, Some(pid)),
        reason,
        module: module.map(|path| build.module(path, None)),
        stacks,
        values,
    };
    build.profile.sections.cut.push(row);
    *profile = build.finish();
}

/// A frame with all that debug information tells.
pub fn frame(symbol: &str, offset: u64, file: &str, line: u32) -> Code {
    Code {
        frame: Frame {
            address: 0x5555_5555_4000 + offset,
            symbol: Some(symbol.into()),
            offset: Some(offset),
            module_offset: Some(0x4000 + offset),
            file: Some(file.into()),
            line: Some(line),
            ..Frame::default()
        },
        module: Some("/usr/bin/victim".into()),
        build_id: Some("0123456789abcdef0123456789abcdef01234567".into()),
    }
}

/// A frame of which only the symbol table tells.
pub fn bare(symbol: &str, offset: u64, module: &str) -> Code {
    Code {
        frame: Frame {
            address: 0x7fff_f7d0_0000 + offset,
            symbol: Some(symbol.into()),
            offset: Some(offset),
            module_offset: Some(0x2_7000 + offset),
            ..Frame::default()
        },
        module: Some(module.into()),
        build_id: Some("fedcba9876543210fedcba9876543210fedcba98".into()),
    }
}

/// A frame of which nothing but its address is known.
pub fn unknown(address: u64, missing: Missing) -> Code {
    Code {
        frame: Frame {
            address,
            missing: Some(missing),
            ..Frame::default()
        },
        ..Code::default()
    }
}

/// A frame that was inlined into the next one.
pub fn inlined(mut code: Code) -> Code {
    code.frame.inlined = true;
    code.frame.offset = None;
    code
}

/// The frames with those of a program's start.
pub fn with_main(mut frames: Vec<Code>) -> Vec<Code> {
    frames.extend([
        frame("main", 0x2c, "/build/victim/src/main.c", 42),
        bare(
            "__libc_start_call_main",
            0x78,
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
        ),
        bare("_start", 0x21, "/usr/bin/victim"),
    ]);
    frames
}

/// The place of a unit's cgroup.
pub fn unit(cgroup: &str) -> Place {
    Place {
        unit: cgroup.rsplit_once('/').map(|(_, unit)| unit.to_owned()),
        cgroup: cgroup.into(),
        ..Place::default()
    }
}

fn container(runtime: Runtime, folder: &str) -> Place {
    let id = "3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8";
    Place {
        container: Some(Container {
            runtime,
            id: id.into(),
        }),
        cgroup: format!("{folder}-{id}.scope"),
        ..Place::default()
    }
}

/// The places of processes on a host: a container, a pod, a shell and a unit with a long name.
pub fn places() -> [Place; 4] {
    let pod = "/kubepods.slice/kubepods-burstable.slice/cri-containerd";
    [
        container(Runtime::Docker, "/system.slice/docker"),
        Place {
            pod: Some("2f1d5a0c-7c1b-4b36-9a55-0d8e6f3b2a11".into()),
            ..container(Runtime::Containerd, pod)
        },
        unit("/user.slice/user-1000.slice/session-3.scope"),
        unit("/system.slice/a-unit-with-a-rather-long-name-of-its-own.service"),
    ]
}

/// A process of a service that ended at and after so many milliseconds.
pub fn gone(pid: u32, command: &str, times: (u64, u64), totals: Values) -> EndedProcess {
    EndedProcess {
        pid,
        command: command.into(),
        place: unit("/system.slice/cron.service"),
        user: "root".into(),
        at: at(times.0),
        traced: at(times.1),
        totals,
    }
}

/// So many processes of one name that ended, the last of them then.
pub fn gone_by_name(command: &str, processes: u64, last_ms: u64, totals: Values) -> EndedName {
    EndedName {
        command: command.into(),
        processes,
        last_at: at(last_ms),
        totals,
    }
}

pub fn ended(processes: Vec<EndedProcess>, names: Vec<EndedName>) -> Ended {
    let mut totals = Values::default();
    processes
        .iter()
        .for_each(|process| totals.add(&process.totals));
    names.iter().for_each(|name| totals.add(&name.totals));
    let of_names: u64 = names.iter().map(|name| name.processes).sum();
    Ended {
        count: processes.len() as u64 + of_names,
        totals,
        processes,
        names,
    }
}
