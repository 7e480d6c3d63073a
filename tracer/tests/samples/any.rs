//! Profiles of any content, for what must hold for all of them.

use std::time::Duration;

use memlens::analysis::verdict::{self, Stacks};
use memlens::profile::{
    Block, Builder, Course, Cut, CutReason, Detail, Form, Frame, HeldFrom, Holder, KernelKind,
    KernelObject, Mapper, Measure, Missing, Profile, Region, RegionKind, RootKind, Source, Touched,
    Values,
};
use proptest::prelude::*;
use proptest::sample::select;

use super::{Code, Held, Sample, add, kernel, leaks, vm};

/// What a program can choose: names that look like names, any text, and what outputs separate parts with.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z_:<>(), ]{0,120}",
        "\\PC{0,40}",
        "(a|;|\n|\x1b| |7|\u{4e2d}|`|\\||\\\\|<script>|@me|www.|http://|\u{202e}){0,30}",
    ]
}

fn any_code() -> impl Strategy<Value = Code> {
    use prop::option::of;
    let known = (of(name()), of(any::<u64>()), any::<u64>(), any::<bool>());
    let module = (of(name()), of(any::<u64>()), of("[0-9a-f]{0,64}"));
    let source = (of(name()), of(any::<u32>()));
    let missing = of(select(vec![
        Missing::NoSymbols,
        Missing::NotMapped,
        Missing::NoPerfMap,
    ]));
    (known, module, source, missing).prop_map(|(known, module, source, missing)| Code {
        frame: Frame {
            address: known.2,
            symbol: known.0.map(Into::into),
            offset: known.1,
            module_offset: module.1,
            file: source.0.map(Into::into),
            line: source.1,
            inlined: known.3,
            missing,
            ..Frame::default()
        },
        module: module.0,
        build_id: module.2,
    })
}

/// A sample of the first figure of a source, on some stack.
fn any_held(source: Source) -> impl Strategy<Value = Held> {
    let frames = prop::collection::vec(any_code(), 0..6);
    let blocks = prop::collection::vec(any::<(u64, u32, u32)>(), 0..3);
    let cut = prop::option::of(select(vec![CutReason::TooDeep, CutReason::NotKept]));
    let numbers = any::<(u32, Option<i64>, Option<u32>)>();
    (frames, blocks, cut, name(), numbers).prop_map(move |(frames, blocks, cut, what, numbers)| {
        let mut values = Values::default();
        for measure in Measure::of(source) {
            values.set(measure, 3_u64);
        }
        let first = Measure::of(source).next().expect("a measure");
        values.set(first, u64::from(numbers.0));
        values.set_some(Measure::HeapChangeBytes, numbers.1);
        values.set_some(Measure::HeapOldestMs, numbers.2.map(i64::from));
        let block = |(address, size, ms): (u64, u32, u32)| Block {
            address,
            size: size.into(),
            age: Duration::from_millis(ms.into()),
        };
        Held {
            source,
            pid: None,
            values,
            frames: Some(frames),
            cut,
            detail: detail(source, what),
            blocks: (source == Source::Heap).then(|| blocks.into_iter().map(block).collect()),
        }
    })
}

fn detail(source: Source, what: String) -> Option<Detail> {
    match source {
        Source::AddressSpace => Some(Detail::Region(Region {
            kinds: vec![RegionKind::File],
            files: vec![what],
            during_trace: false,
        })),
        Source::PageFaults => Some(Detail::Touched(vec![Touched {
            kind: None,
            file: Some(what),
            mapper: Mapper::Stack(0),
            faults: 1,
            major: 0,
            new_bytes: 4_096,
        }])),
        Source::Kernel => Some(Detail::Kernel(KernelObject {
            kind: KernelKind::Slab,
            what,
            size: Some(64),
            backing: None,
        })),
        Source::Heap | Source::Process => None,
    }
}

/// A sample made by hand with any names, stacks and notes.
pub fn any_sample() -> impl Strategy<Value = Sample> {
    let (faults, spaces): (Vec<Sample>, Vec<Sample>) = vm::all()
        .into_iter()
        .partition(|sample| sample.profile.has(Source::PageFaults));
    prop_oneof![
        any_of(Source::Heap, leaks::all()),
        any_of(Source::AddressSpace, spaces),
        any_of(Source::PageFaults, faults),
        any_of(Source::Kernel, kernel::all()),
    ]
}

fn any_of(source: Source, samples: Vec<Sample>) -> impl Strategy<Value = Sample> {
    let held = prop::collection::vec(any_held(source), 0..4);
    let cut = prop::collection::vec(any::<(u32, u32)>(), 0..8);
    let notes = prop::collection::vec(name(), 0..2);
    (select(samples), held, cut, name(), notes).prop_map(
        |(mut sample, mut held, cut, command, notes)| {
            let profile = &mut sample.profile;
            profile.notes = notes;
            let Some(first) = profile.subjects.first_mut() else {
                return sample;
            };
            first.command = command;
            let pid = first.pid;
            held.iter_mut().for_each(|held| held.pid = pid);
            profile.samples.clear();
            let mut build = Builder::from_profile(std::mem::take(profile));
            add(&mut build, &held);
            build.profile.sections.cut = cut.into_iter().map(any_cut).collect();
            *profile = build.finish();
            judge(profile);
            sample
        },
    )
}

/// Every other stack of a heap grows, held by what a name that the program chose is in.
fn judge(profile: &mut Profile) {
    let name = profile.subjects[0].command.clone();
    for sample in profile.samples.iter_mut().step_by(2) {
        sample.course = Some(Course {
            form: Form::Growing,
            reports: 9,
            wait: None,
        });
        sample.holders = vec![Holder {
            sampled: 9,
            shared: 8,
            root: HeldFrom {
                kind: RootKind::Global,
                name: Some(name.clone()),
                ..HeldFrom::default()
            },
            links: Vec::new(),
            more_links: 0,
            text: format!("global {name} in {name}"),
        }];
    }
    profile.findings.clear();
    verdict::add(profile, Stacks::Others);
}

fn any_cut((stacks, bytes): (u32, u32)) -> Cut {
    Cut {
        subject: 0,
        reason: CutReason::Unreadable,
        module: Some(0),
        stacks: stacks.into(),
        values: Values::default().with(Measure::HeapLiveBytes, u64::from(bytes)),
    }
}
