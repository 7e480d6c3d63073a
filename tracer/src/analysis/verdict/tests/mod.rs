//! Every rule, with profiles made by hand: what they are made with.

mod growing;
mod processes;
mod quiet;

use std::time::Duration;

use super::*;
use crate::profile::{
    Builder, Course, Form, Frame, Growth, HeapSection, HeldFrom, Holder, HolderLink, Meta,
    Reachability, RootKind, Subject, Values,
};

/// A process that is traced for 100 seconds.
fn trace() -> Builder {
    let mut build = Builder::new(Meta {
        elapsed: Duration::from_secs(100),
        ..Meta::default()
    });
    build.measures(Measure::of(Source::Heap));
    let mut subject = Subject::process(4242, "app");
    subject.totals = live(10 << 20, 10_000);
    build.subject(subject);
    build.profile.sections.heap = Some(HeapSection::default());
    build
}

fn live(bytes: u64, blocks: u64) -> Values {
    Values::default()
        .with(Measure::HeapLiveBytes, bytes)
        .with(Measure::HeapLiveBlocks, blocks)
}

fn growing(values: Values) -> Values {
    values
        .with(Measure::HeapGrowthPerS, 2_048.0)
        .with(Measure::HeapGrowthPerSLow, 1_946.0)
        .with(Measure::HeapGrowthPerSHigh, 2_150.0)
}

fn course(form: Form) -> Course {
    Course {
        form,
        reports: 20,
        wait: (form == Form::TooEarly).then(|| Duration::from_millis(11_400)),
    }
}

/// Adds a stack of one function below `main`.
fn add_stack(build: &mut Builder, function: &str, form: Option<Form>, values: Values) -> u32 {
    let frames = [function, "main"].map(|name| {
        build.frame(Frame {
            symbol: Some(name.into()),
            ..Frame::default()
        })
    });
    let stack = build.stack(frames.into(), None);
    let values = values.with(Measure::HeapOldestMs, 90_000_u64);
    let mut sample = build.sample(Source::Heap, 0, Some(stack), &values);
    sample.course = form.map(course);
    build.add(sample);
    stack
}

fn judged(build: &mut Builder) -> &mut Reachability {
    build.profile.sections.reachability = vec![Reachability::default()];
    &mut build.profile.sections.reachability[0]
}

fn holder(kind: RootKind, shared: u32, text: &str) -> Holder {
    Holder {
        sampled: 100,
        shared,
        root: HeldFrom {
            kind,
            name: Some("sessions".to_owned()),
            ..HeldFrom::default()
        },
        links: Vec::new(),
        more_links: 0,
        text: text.to_owned(),
    }
}

fn found(build: Builder) -> Vec<Finding> {
    let mut profile = build.finish();
    add(&mut profile, Stacks::MostImportant);
    profile.findings
}

/// The only finding.
fn the_one(build: Builder) -> (FindingKind, String) {
    let mut found = found(build);
    assert_eq!(found.len(), 1, "{found:?}");
    let finding = found.remove(0);
    (finding.kind, finding.text)
}

/// Kind and sentence, for comparison.
fn is(kind: FindingKind, text: &str) -> (FindingKind, String) {
    (kind, text.to_owned())
}
