//! What is said of processes.

use super::*;
use crate::profile::trend::Verdict;

#[test]
fn too_early_is_one_line() {
    let mut build = trace();
    for function in ["one", "other"] {
        add_stack(
            &mut build,
            function,
            Some(Form::TooEarly),
            live(2 << 20, 9_800),
        );
    }
    assert_eq!(
        the_one(build),
        is(FindingKind::TooEarly, "too early to say: another 12s")
    );
    // The process's own course decides where it is known.
    let mut build = trace();
    build.profile.subjects[0].course = Some(course(Form::Steady));
    add_stack(
        &mut build,
        "one",
        Some(Form::TooEarly),
        live(2 << 20, 9_800),
    );
    assert_eq!(found(build), []);
    let mut build = trace();
    build.profile.subjects[0].course = Some(course(Form::TooEarly));
    build.subject(Subject::process(7, "other"));
    add_stack(&mut build, "one", Some(Form::Steady), live(2 << 20, 9_800));
    assert_eq!(
        the_one(build),
        is(
            FindingKind::TooEarly,
            "too early to say: another 12s for app (4242)"
        )
    );
}

#[test]
fn growth_that_no_stack_explains_is_told() {
    let mut build = trace();
    let subject = &mut build.profile.subjects[0];
    subject.course = Some(course(Form::Growing));
    subject.totals = growing(subject.totals.clone());
    add_stack(&mut build, "work", Some(Form::Steady), live(2 << 20, 9_800));
    let spread = build.profile.clone();
    assert_eq!(
        the_one(build),
        is(
            FindingKind::Unexplained,
            "unexplained: the heap of app (4242) grows by 2 KiB/s, and none of its stacks does for certain: watch for longer"
        )
    );
    // Where the profile may lack the stack that grows, nothing is said.
    let mut others = spread;
    others.omitted.push(crate::profile::Omitted {
        source: Source::Heap,
        subject: 0,
        with_stack: true,
        samples: 3,
        values: Values::default(),
    });
    add(&mut others, Stacks::Others);
    assert_eq!(others.findings, []);
}

/// The memory of a process grows by so much a minute, and its heap by 2,150 bytes a second at most.
fn resident(certain_per_min: f64) -> Vec<Finding> {
    let mut build = trace();
    let subject = &mut build.profile.subjects[0];
    subject.totals = growing(subject.totals.clone());
    subject.growth.insert(
        Measure::ProcessRssBytes,
        Growth {
            per_min: certain_per_min,
            low: Some(certain_per_min),
            high: Some(certain_per_min),
            certain: certain_per_min,
            verdict: Verdict::Growing,
            samples: 20,
        },
    );
    add_stack(&mut build, "work", Some(Form::Steady), live(2 << 20, 9_800));
    found(build)
}

#[test]
fn memory_beyond_the_heap_is_told() {
    let found = resident(60.0 * 10_240.0);
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].text,
        "unexplained: the memory of app (4242) grows by 10 KiB/s for certain, and its heap by 2.10 KiB/s at most: the rest is \
         fragmentation, the allocator's own, a runtime's heap or mappings"
    );
    assert_eq!(found[0].commands, ["memlens explain 4242"]);
    assert_eq!(resident(60.0 * 2_400.0), []);
    assert_eq!(resident(0.0), []);
}

#[test]
fn turnover_of_a_process_is_told_where_no_stack_tells() {
    let mut build = trace();
    let subject = &mut build.profile.subjects[0];
    subject.course = Some(course(Form::Turnover));
    subject.totals.set(Measure::HeapOldFreeBytes, 6_u64 << 20);
    add_stack(&mut build, "work", Some(Form::Steady), live(2 << 20, 9_800));
    assert_eq!(
        the_one(build),
        is(
            FindingKind::Turnover,
            "turnover: the heap of app (4242) does not grow: its new blocks take the place of 6 MiB that are older than the \
             trace"
        )
    );
}
