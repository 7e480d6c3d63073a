//! Comparison with the maps, and repair from them.

use proptest::prelude::*;

use super::super::*;
use super::model::{Model, PAGES, address, calls, pages_of, possible, whats};
use crate::process::maps;

fn run(whats: &[What], lose: &[bool]) -> (AddressSpace, Model) {
    let (mut space, mut model) = (AddressSpace::default(), Model::default());
    for (turn, call) in possible(whats).iter().enumerate() {
        model.apply(call);
        if !lose.get(turn).copied().unwrap_or(false) {
            space.apply(call);
        }
    }
    (space, model)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever calls were lost, after a repair from the maps there is no difference, and the totals are right.
    #[test]
    fn a_repair_leaves_no_difference(
        whats in prop::collection::vec(whats(), 1..25), lose in prop::collection::vec(any::<bool>(), 25),
    ) {
        let (mut space, model) = run(&whats, &lose);
        let maps = model.maps();
        let differences = space.differences(&maps, &[]);
        for (at, (tracked, mapped)) in pages_of(&space).iter().zip(&model.pages).enumerate() {
            let expected = match (tracked, mapped) {
                (None, Some(page)) => Some(Unlike::NotTracked(page.kind)),
                (Some(page), None) => Some(Unlike::NotMapped(page.kind)),
                (Some(tracked), Some(mapped)) if tracked.reserved != mapped.reserved => Some(Unlike::Access(mapped.reserved)),
                _ => None,
            };
            let named = differences.iter().find(|difference| difference.range.contains(&address(at)));
            prop_assert_eq!(named.map(|difference| difference.unlike), expected, "page {}", at);
        }
        let repair = space.repair(&maps, &differences, Origin::Found, 1000);
        prop_assert_eq!(repair.is_nothing(), differences.is_empty());
        prop_assert_eq!(space.differences(&maps, &[]), []);
        let live: u64 = space.totals().values().map(|totals| totals.mapped - totals.unmapped).sum();
        prop_assert_eq!(live, space.mapped());
        prop_assert_eq!(live, model.pages.iter().flatten().count() as u64 * PAGE);
    }

    /// Ranges that calls changed while the maps were read are not judged; all others are.
    #[test]
    fn unsettled_ranges_are_left_out(
        whats in prop::collection::vec(whats(), 1..25), lose in prop::collection::vec(any::<bool>(), 25),
        from in 0..PAGES, len in 0..PAGES,
    ) {
        let (space, model) = run(&whats, &lose);
        let unsettled = address(from)..address((from + len).min(PAGES));
        let pages = |differences: Vec<Difference>| -> Vec<(u64, Unlike)> {
            let pages = |difference: Difference| difference.range.step_by(PAGE as usize).map(move |page| (page, difference.unlike));
            differences.into_iter().flat_map(pages).collect()
        };
        let mut all = pages(space.differences(&model.maps(), &[]));
        all.retain(|(page, _)| !unsettled.contains(page));
        prop_assert_eq!(pages(space.differences(&model.maps(), &[unsettled])), all);
    }
}

#[test]
fn differences_are_named() {
    let maps = maps::parse(
        b"1000-3000 rw-p 00000000 00:00 0 \n\
          5000-6000 ---p 00000000 00:00 0 \n\
          7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]\n\
          ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n",
    )
    .expect("the lines are well-formed");
    let map = |start, len| What::Map {
        start,
        len,
        backing: Backing::ANONYMOUS,
    };
    let mut space = AddressSpace::default();
    for call in calls(&[map(0x2000, 0x2000), map(0x5000, 0x1000)]) {
        space.apply(&call);
    }
    let differences = space.differences(&maps, &[]);
    let words: Vec<String> = differences.iter().map(Difference::to_string).collect();
    assert_eq!(
        words,
        [
            "0x1000-0x2000 is mapped (anonymous) and not tracked",
            "0x3000-0x4000 is tracked (anonymous) and not mapped",
            "0x5000-0x6000 allows no access and is tracked as if it did",
            "0x7ffc00000000-0x7ffc00021000 is mapped (stack) and not tracked",
        ]
    );
    let own: Vec<bool> = differences
        .iter()
        .map(Difference::is_the_kernels_own)
        .collect();
    assert_eq!(own, [false, false, false, true]);
    let repair = space.repair(&maps, &differences, Origin::Found, 7);
    assert_eq!(
        repair,
        Repair {
            found: 0x22000,
            gone: 0x1000,
            access: 0x1000
        }
    );
}

/// This process's own maps are read as they are, but for what the kernel changes meanwhile.
#[test]
fn own_maps_agree_with_themselves() {
    let maps = maps::read(std::process::id()).expect("own maps");
    let space = AddressSpace::from_maps(&maps, None, 5);
    assert_eq!(space.differences(&maps, &[]), []);
    assert!(space.pieces().iter().any(|piece| piece.kind == Kind::Stack));
    assert!(space.pieces().iter().any(|piece| piece.kind == Kind::File));
    assert!(
        space
            .pieces()
            .iter()
            .all(|piece| piece.origin == Origin::Before)
    );
}
