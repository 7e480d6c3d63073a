//! What grows: leaks, collections, load.

use super::*;

#[test]
fn what_grows_and_is_lost_is_a_leak() {
    let mut build = trace();
    let values = growing(live(200_000, 9_800))
        .with(Measure::HeapLostBytes, 199_000_u64)
        .with(Measure::HeapLostBlocks, 9_790_u64)
        .with(Measure::HeapNotJudgedBlocks, 10_u64);
    let stack = add_stack(&mut build, "leak_in_loop", Some(Form::Growing), values);
    judged(&mut build);
    let found = found(build);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].kind, found[0].text.as_str()),
        (
            FindingKind::Leak,
            "leak: leak_in_loop grows by 2 KiB/s, and nothing points to 9,790 of its 9,800 blocks"
        )
    );
    assert_eq!((found[0].subject, found[0].stack), (Some(0), Some(stack)));
    assert_eq!(found[0].figures.amount(Measure::HeapLostBytes), 199_000);
    assert_eq!(
        found[0].figures.get(Measure::HeapGrowthPerSLow),
        Some(1_946.0.into())
    );
    assert!(found[0].commands.is_empty());
}

/// 12 KiB/s beside a plateau in the same stack: what is lost is what has come.
#[test]
fn a_leak_beside_a_plateau_is_a_leak() {
    let mut build = trace();
    let values = growing(live(20 << 20, 20_000))
        .with(Measure::HeapLostBytes, 200_000_u64)
        .with(Measure::HeapLostBlocks, 100_u64)
        .with(Measure::HeapHeldBytes, 20_000_000_u64);
    add_stack(&mut build, "make_buffer", Some(Form::Growing), values);
    judged(&mut build);
    assert_eq!(
        the_one(build),
        is(
            FindingKind::Leak,
            "leak: make_buffer grows by 2 KiB/s, and nothing points to 100 of its 20,000 blocks"
        )
    );
}

fn held(kind: RootKind, shared: u32) -> Builder {
    let mut build = trace();
    let table = add_stack(
        &mut build,
        "rehash",
        Some(Form::Growing),
        growing(live(8_192, 1)),
    );
    let values = growing(live(200_000, 9_800)).with(Measure::HeapHeldBytes, 200_000_u64);
    add_stack(&mut build, "insert", Some(Form::Growing), values);
    let mut holder = holder(
        kind,
        shared,
        "global sessions in app -> 8.0 KiB (rehash) -> 32 B (insert)",
    );
    holder.links = vec![HolderLink {
        stack: Some(table),
        function: Some("rehash".to_owned()),
        ..HolderLink::default()
    }];
    build.profile.samples[1].holders = vec![holder];
    judged(&mut build);
    build
}

fn of_insert(build: Builder) -> (FindingKind, String) {
    let found = found(build).into_iter();
    let mut own = found.filter(|finding| finding.text.contains("insert grows"));
    let finding = own.next().expect("a finding on insert");
    (finding.kind, finding.text)
}

#[test]
fn what_one_holder_has_is_a_collection() {
    assert_eq!(
        of_insert(held(RootKind::Global, 100)),
        is(
            FindingKind::Collection,
            "collection that never shrinks: insert grows by 2 KiB/s, all held by global sessions in app, where rehash grows \
             too"
        )
    );
    let (kind, text) = of_insert(held(RootKind::Global, 80));
    assert_eq!(kind, FindingKind::Collection);
    assert!(
        text.contains("80 of 100 blocks that were looked at held by global sessions in app"),
        "{text}"
    );
}

/// The array that holds the blocks is a part of the same collection: it has no finding of its own.
#[test]
fn one_collection_is_told_once() {
    let mut build = held(RootKind::Global, 100);
    let held = Some(8_192_u64.into());
    let column = build
        .profile
        .column(Measure::HeapHeldBytes)
        .expect("a column");
    build.profile.samples[0].values[column] = held;
    let low = build
        .profile
        .column(Measure::HeapGrowthPerSLow)
        .expect("a column");
    build.profile.samples[0].values[low] = Some(1.0.into());
    build.profile.samples[0].holders = vec![holder(
        RootKind::Global,
        100,
        "global sessions in app -> 8.0 KiB (rehash)",
    )];
    let kinds: Vec<FindingKind> = found(build).iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::Collection]);
}

/// The place alone names nobody.
#[test]
fn a_holder_without_a_name_is_no_collection() {
    for kind in [
        RootKind::OlderBlock,
        RootKind::UnknownHeap,
        RootKind::YoungBlock,
    ] {
        let (kind, text) = of_insert(held(kind, 100));
        assert_eq!(kind, FindingKind::Growing);
        assert!(
            text.ends_with("all held by global sessions in app"),
            "{text}"
        );
    }
}

#[test]
fn what_many_hold_is_load() {
    assert_eq!(
        of_insert(held(RootKind::Global, 12)),
        is(
            FindingKind::Load,
            "load: insert grows by 2 KiB/s, and many hold it: global sessions in app has most, 12 of 100 blocks that were \
             looked at"
        )
    );
}

#[test]
fn what_grows_unjudged_is_not_called_a_leak() {
    let mut build = trace();
    add_stack(
        &mut build,
        "insert",
        Some(Form::Growing),
        growing(live(200_000, 9_800)),
    );
    let found = found(build);
    assert_eq!(found[0].kind, FindingKind::Growing);
    assert_eq!(
        found[0].text,
        "growing: insert grows by 2 KiB/s; what holds it is told at the end, or with --reach every"
    );
    assert_eq!(found[0].commands, ["memlens leaks -p 4242 --reach every"]);
    let mut build = trace();
    add_stack(
        &mut build,
        "insert",
        Some(Form::Growing),
        growing(live(200_000, 9_800)),
    );
    judged(&mut build);
    let (_, text) = the_one(build);
    assert!(
        text.ends_with("none of its blocks could be judged"),
        "{text}"
    );
}
