//! What does not grow, what is taken back, and the order of all.

use super::*;

#[test]
fn benign_memory_is_told_apart() {
    let of = |form: Form| {
        let mut build = trace();
        add_stack(&mut build, "cache_fill", Some(form), live(2 << 20, 9_800));
        the_one(build)
    };
    assert_eq!(
        of(Form::Saturating),
        is(
            FindingKind::Cache,
            "cache or warm-up: cache_fill grows less and less, 2 MiB so far"
        )
    );
    assert_eq!(
        of(Form::Turnover),
        is(
            FindingKind::Turnover,
            "turnover: 2 MiB of cache_fill take the place of blocks that are older than the trace: together they do not grow"
        )
    );
    for form in [Some(Form::Steady), Some(Form::Shrinking), None] {
        let mut build = trace();
        add_stack(&mut build, "work", form, live(2 << 20, 9_800));
        assert_eq!(found(build), [], "{form:?}");
    }
    // A cache of a few bytes is not worth a line.
    let mut small = trace();
    add_stack(
        &mut small,
        "cache_fill",
        Some(Form::Saturating),
        live(1_000, 9),
    );
    assert_eq!(found(small), []);
}

#[test]
fn what_is_lost_once_is_no_leak() {
    let of = |form: Option<Form>| {
        let mut build = trace();
        let values = live(3_000, 100)
            .with(Measure::HeapLostBytes, 360_u64)
            .with(Measure::HeapLostBlocks, 12_u64)
            .with(Measure::HeapLostWithBytes, 60_u64)
            .with(Measure::HeapLostWithBlocks, 2_u64);
        add_stack(&mut build, "load_config", form, values);
        judged(&mut build);
        let (kind, text) = the_one(build);
        assert_eq!(kind, FindingKind::OneTimeLoss);
        text
    };
    let start = "one-time loss: nothing points to 12 of load_config's 100 blocks, and only lost blocks to 2 more";
    assert_eq!(
        of(Some(Form::Steady)),
        format!("{start}, which do not grow")
    );
    assert_eq!(
        of(Some(Form::Saturating)),
        format!("{start}, which grow less and less")
    );
    assert_eq!(
        of(None),
        format!("{start}; whether it goes on is not known")
    );
    let mut build = trace();
    let values = live(3_000, 100)
        .with(Measure::HeapLostBytes, 3_000_u64)
        .with(Measure::HeapLostBlocks, 100_u64);
    add_stack(&mut build, "load_config", Some(Form::TooEarly), values);
    judged(&mut build);
    let found = found(build);
    assert_eq!(
        found[0].text,
        "one-time loss: nothing points to load_config's 100 blocks; too early to say whether it goes on: another 12s"
    );
}

#[test]
fn what_only_a_stack_holds_is_worth_a_look() {
    let mut build = trace();
    let values = live(1 << 20, 64).with(Measure::HeapStackOnlyBytes, 1_u64 << 20);
    add_stack(&mut build, "parse", Some(Form::Steady), values);
    judged(&mut build);
    assert_eq!(
        the_one(build),
        is(
            FindingKind::StackOnly,
            "look at it: 1 MiB of parse, up to 1m30s old, are held by a stack or a register only"
        )
    );
    let mut build = trace();
    let values = growing(live(1 << 20, 64)).with(Measure::HeapStackOnlyBytes, 1_u64 << 20);
    add_stack(&mut build, "parse", Some(Form::Growing), values);
    judged(&mut build);
    let (kind, text) = the_one(build);
    assert_eq!(kind, FindingKind::Growing);
    assert!(
        text.starts_with(
            "growing: parse grows by 2 KiB/s, and only a stack or a register holds it"
        ),
        "{text}"
    );
}

/// A verdict that was proven wrong is taken back: of the stack where that is known, or else of the process.
#[test]
fn a_verdict_is_taken_back() {
    let lost = |form: Form, own: [Option<u64>; 2]| {
        let mut build = trace();
        for (function, own) in ["swap_list", "other"].into_iter().zip(own) {
            let values = growing(live(200_000, 9_800))
                .with(Measure::HeapLostBytes, 200_000_u64)
                .with(Measure::HeapLostBlocks, 9_800_u64);
            let mut values = values;
            values.set_some(Measure::HeapFreedAfterLostBlocks, own);
            add_stack(&mut build, function, Some(form), values);
        }
        let reach = judged(&mut build);
        (reach.lost_before, reach.freed_after_lost) = (312, 7);
        found(build)
    };
    let kinds = |found: &[Finding]| found.iter().map(|finding| finding.kind).collect::<Vec<_>>();
    let of_process = lost(Form::Growing, [None, None]);
    assert_eq!(kinds(&of_process), [FindingKind::Growing; 2]);
    assert_eq!(
        of_process[0].text,
        "growing: swap_list grows by 2 KiB/s; it is not lost, as 7 of 312 blocks that were called lost earlier were freed \
         since"
    );
    let of_stack = lost(Form::Growing, [Some(7), None]);
    assert_eq!(kinds(&of_stack), [FindingKind::Leak, FindingKind::Growing]);
    assert!(of_stack[0].text.contains("other grows"), "{of_stack:?}");
    let steady = lost(Form::Steady, [None, None]);
    assert_eq!(
        (steady[0].kind, steady[0].text.as_str()),
        (
            FindingKind::TakenBack,
            "taken back: 195 KiB of swap_list are not lost, as 7 of 312 blocks that were called lost earlier were freed since"
        )
    );
}

/// The most important verdict comes first, in the findings and in the stacks.
#[test]
fn the_order_is_that_of_the_verdicts() {
    let mut build = trace();
    judged(&mut build);
    add_stack(&mut build, "steady", Some(Form::Steady), live(9 << 20, 1));
    add_stack(
        &mut build,
        "cache",
        Some(Form::Saturating),
        live(3 << 20, 1),
    );
    let lost = live(200, 2)
        .with(Measure::HeapLostBytes, 100_u64)
        .with(Measure::HeapLostBlocks, 1_u64);
    add_stack(&mut build, "once", Some(Form::Steady), lost);
    add_stack(
        &mut build,
        "grows",
        Some(Form::Growing),
        growing(live(2 << 20, 1)),
    );
    let leak = growing(live(1 << 20, 2))
        .with(Measure::HeapLostBytes, 1_u64 << 20)
        .with(Measure::HeapLostBlocks, 2_u64);
    add_stack(&mut build, "leaks", Some(Form::Growing), leak);
    let mut profile = build.finish();
    sort(&mut profile);
    add(&mut profile, Stacks::MostImportant);
    let names: Vec<&str> = profile
        .samples
        .iter()
        .filter_map(|sample| profile.frames(sample).next()?.symbol.as_deref())
        .collect();
    assert_eq!(names, ["leaks", "grows", "once", "cache", "steady"]);
    let kinds: Vec<FindingKind> = profile
        .findings
        .iter()
        .map(|finding| finding.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            FindingKind::Leak,
            FindingKind::Growing,
            FindingKind::OneTimeLoss,
            FindingKind::Cache
        ]
    );
}

/// Where nothing is known of growth and holders, nothing is claimed and nothing moved.
#[test]
fn nothing_is_claimed_without_figures() {
    let mut build = trace();
    add_stack(&mut build, "small", None, live(100, 1));
    add_stack(&mut build, "large", None, live(9 << 20, 1));
    let mut profile = build.finish();
    let before = profile.clone();
    sort(&mut profile);
    add(&mut profile, Stacks::MostImportant);
    assert_eq!(profile, before);
}
