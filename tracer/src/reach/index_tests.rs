use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Blocks that do not overlap: gaps and sizes in grains, from a few far places on.
fn blocks() -> impl Strategy<Value = BTreeMap<u64, u64>> {
    let size =
        prop_oneof![4 => 0_u64..40, 1 => 0_u64..5000, 1 => (5_u64 << 20) / 8 - 9..(5 << 20) / 8];
    let run = prop::collection::vec((0_u64..300, size, 0_u64..8), 0..60);
    prop::collection::vec((0_u64..1 << 17, run), 1..4).prop_map(|runs| {
        let mut all = BTreeMap::new();
        let mut lowest = 0;
        let mut runs = runs;
        runs.sort_by_key(|(place, _)| *place);
        for (place, run) in runs {
            let mut at = lowest.max(place << 30);
            for (gap, grains, odd) in run {
                at += gap * GRAIN;
                let size = (grains * GRAIN).saturating_sub(odd.min(grains));
                if at + size >= 1 << ADDRESS_BITS {
                    break;
                }
                all.insert(at, size);
                at += size.next_multiple_of(GRAIN).max(GRAIN);
            }
            lowest = at;
        }
        all
    })
}

fn index(blocks: &BTreeMap<u64, u64>) -> BlockIndex {
    let mut starts = Starts::new(1 << 30, 4).expect("room");
    assert!(blocks.keys().all(|start| starts.add(*start)));
    let mut index = starts.finish().expect("room");
    for (number, size) in blocks.values().enumerate() {
        index.set_size(number as u32, *size);
    }
    index
}

fn by_search(blocks: &BTreeMap<u64, u64>, address: u64) -> Option<Found> {
    let (start, size) = blocks.range(..=address).next_back()?;
    let offset = address - start;
    let number = blocks.range(..start).count() as u32;
    (offset == 0 || offset < *size).then_some(Found { number, offset })
}

proptest! {
    #[test]
    fn is_as_a_sorted_array(blocks in blocks(), others in prop::collection::vec(0_u64..1 << 47, 20)) {
        let index = index(&blocks);
        prop_assert_eq!(index.count() as usize, blocks.len());
        let span = index.span();
        for step in [1, 3, 1000] {
            let some = (0..index.count()).step_by(step);
            let starts = blocks.keys().copied().step_by(step);
            prop_assert!(index.starts(some).eq(starts));
        }
        for (number, (start, size)) in blocks.iter().enumerate() {
            prop_assert_eq!(index.start(number as u32), *start);
            prop_assert_eq!(index.size(number as u32), *size);
            let edges = [*start, start + size / 2, start + size, start.wrapping_sub(1), start + size + 1];
            for address in edges.into_iter().filter(|address| *address < 1 << 47) {
                prop_assert_eq!(index.find(address), by_search(&blocks, address), "{:#x}", address);
            }
            for address in [*start, start + size.saturating_sub(1)] {
                prop_assert!(span.all.contains(&address) && !span.hole.contains(&address));
            }
        }
        for address in others {
            prop_assert_eq!(index.find(address), by_search(&blocks, address));
        }
    }
}

#[test]
fn sizes_beyond_32_bits() {
    let blocks = BTreeMap::from([(0x1000, 16), (0x10_0000, 5 << 32)]);
    let index = index(&blocks);
    assert_eq!(index.size(1), 5 << 32);
    let found = index.find(0x10_0000 + (5 << 32) - 1);
    assert_eq!(found.map(|found| found.number), Some(1));
    assert_eq!(index.find(0x10_0000 + (5 << 32)), None);
    assert_eq!(index.find(1 << 47), None);
    assert_eq!(index.find(u64::MAX), None);
}

#[test]
fn what_cannot_be_known_is_said() {
    let mut starts = Starts::new(0, 0).expect("room");
    assert!(!starts.add(0x1004));
    assert!(!starts.add(1 << 47));
    assert!(starts.add(0x1000) && starts.add(0x20_0000));
    // There was room for two leaves.
    assert!(!starts.add(0x40_0000));
}
