//! The table against a plain map, and all interleavings of what CPUs do at one time.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::bucket::lowest_free;
use super::model::{Plain, Step, insert, run, size};
use super::word::{self, SIZE_BITS};
use super::*;
use crate::arch::native::ADDRESS_BITS;
use crate::bits::count;
use crate::key::LiveBlock;

impl Cell for loom::sync::atomic::AtomicU64 {
    fn load(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    fn store(&self, value: u64) {
        self.store(value, Ordering::Release);
    }

    fn replace(&self, expected: u64, new: u64) -> bool {
        self.compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u64..200).prop_map(Step::Insert),
        5 => (0u64..200).prop_map(Step::Take),
        1 => (0u64..200).prop_map(Step::TakeOther),
        2 => (1u32..12).prop_map(Step::Move),
    ];
    prop::collection::vec(step, 1..400)
}

proptest! {
    /// Whatever is inserted, taken and moved: the table has what a map would have, and each block once.
    #[test]
    fn it_is_a_map(steps in steps()) {
        run(steps);
    }

    /// What a block is kept as is what it was, in whichever process it is.
    #[test]
    fn a_block_comes_back(addr in 1u64..1 << ADDRESS_BITS, image: u32, size in 0u64..1 << SIZE_BITS, time_ns: u64, stack: u32, function: u32) {
        let block = LiveBlock { size, time_ns, stack, function };
        let key = word::block_key(addr, image).expect("an address");
        let payload = word::block_payload(image, &block);
        prop_assert!(key != 0 && key & word::STATE_MASK == 0 && key >> 63 == 0);
        prop_assert_eq!(word::block_in(word::word(key, word::State::Live), &payload), (addr, image, block));
        prop_assert_eq!(word::mark(&payload), word::image_mark(image));
    }

    /// Images that differ in the lower bits have other keys, the others other marks.
    #[test]
    fn images_do_not_meet(addr in 1u64..1 << ADDRESS_BITS, one: u32, other: u32) {
        prop_assume!(one != other);
        let known_by = |image| (word::block_key(addr, image), word::image_mark(image));
        prop_assert_ne!(known_by(one), known_by(other));
    }

    /// A key's place is within the generation.
    #[test]
    fn a_place_is_inside(key: u64, segments in 1..=MAX_SEGMENTS, buckets in 1..=SEGMENT_BUCKETS as u32) {
        let place = size(segments, buckets).place(key);
        prop_assert!(place.segment < segments && place.first < buckets && place.second < buckets);
    }
}

#[test]
fn addresses_beyond_user_space_have_no_key() {
    assert_eq!(word::block_key(1 << ADDRESS_BITS, 1), None);
    assert_eq!(word::block_key(0, 1), None);
}

/// The search of a cache line finds its one slot, whatever is beside it.
#[test]
fn every_slot_is_found() {
    let table = Plain::new([size(1, 1), size(0, 0)], AtomicU64::new);
    let bucket = &table.buckets[0][0];
    let keys = |slot: u64| {
        [word::STATE_MASK + 1, 1 << 62, (1 << 63) - 4, 0][slot as usize % 4] ^ slot << 8
    };
    for slot in 0..SLOTS {
        bucket.words[slot].store(
            word::word(keys(slot as u64), word::State::Live),
            Ordering::Relaxed,
        );
    }
    for slot in 0..SLOTS {
        let key = keys(slot as u64);
        assert_eq!(bucket.find(word::word(key, word::State::Live)), Some(slot));
        assert_eq!(bucket.find(word::word(key, word::State::Claimed)), None);
        assert_eq!(
            bucket.find(word::word(key ^ 1 << 40, word::State::Live)),
            None
        );
    }
}

#[test]
fn bits_of_a_bucket() {
    for used in 0..1_u32 << SLOTS {
        assert_eq!(count(used), used.count_ones());
        assert_eq!(lowest_free(used), used.trailing_ones() as usize);
    }
}

/// How full a table can be before the first block finds no slot: 80 % at the least, for addresses as allocators give
/// them out.
#[test]
fn it_fills_up_late() {
    for (stride, segments) in [(16u64, 1), (48, 3), (1 << 12, 2), (1 << 20, 1)] {
        let table = Plain::new(
            [size(segments, SEGMENT_BUCKETS as u32), size(0, 0)],
            AtomicU64::new,
        );
        let slots = table.sizes[0].slots();
        let mut blocks = 0u64;
        let key = |number: u64| {
            word::block_key(0x5555_5555_0000 + number * stride, 77).expect("an address")
        };
        while insert(&table, Phase::settled_in(0), key(blocks), &[0; PAYLOAD]).is_ok() {
            blocks += 1;
        }
        assert!(
            blocks * 10 >= slots * 8,
            "full with {blocks} of {slots}, {stride} bytes apart"
        );
    }
}

mod interleavings {
    //! Each test runs under every order in which the CPUs can do their steps, within a number of preemptions.

    use std::sync::Arc;

    use loom::sync::atomic::AtomicU64;
    use loom::thread;

    use super::*;

    type Shared = Arc<Plain<AtomicU64>>;

    const KEY: u64 = 1 << 2;
    const SETTLED: Phase = Phase::settled_in(0);
    const MOVING: Phase = Phase::moving_to(1);

    fn explore(test: impl Fn() + Send + Sync + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.max_branches = 100_000;
        model.check(test);
    }

    fn table(buckets: [u32; 2]) -> Shared {
        Arc::new(Plain::new(
            buckets.map(|buckets| size(1, buckets)),
            AtomicU64::new,
        ))
    }

    fn put(table: &Shared, phase: Phase, key: u64, mark: u64) -> Option<Payload> {
        insert(&**table, phase, key, &[mark, mark, mark]).expect("room")
    }

    fn get(table: &Shared, phase: Phase, key: u64) -> Option<u64> {
        let [mark, second, third] = take(&**table, phase, key, 0)?;
        assert_eq!([mark, mark], [second, third], "torn");
        Some(mark)
    }

    /// Two CPUs put blocks of their own into one bucket, and take them out again.
    #[test]
    fn two_keys_compete_for_slots() {
        explore(|| {
            let table = table([1, 0]);
            let other = table.clone();
            let cpu = thread::spawn(move || {
                assert_eq!(put(&other, SETTLED, 2 << 2, 20), None);
                assert_eq!(get(&other, SETTLED, 2 << 2), Some(20));
            });
            assert_eq!(put(&table, SETTLED, KEY, 10), None);
            assert_eq!(get(&table, SETTLED, KEY), Some(10));
            cpu.join().expect("no panic");
            assert_eq!(table.live(SETTLED), []);
        });
    }

    /// A free slot of another key is claimed while its old key is looked for.
    #[test]
    fn a_tombstone_is_taken_over() {
        explore(|| {
            let table = table([1, 0]);
            put(&table, SETTLED, KEY, 10);
            assert_eq!(get(&table, SETTLED, KEY), Some(10));
            let other = table.clone();
            let cpu = thread::spawn(move || put(&other, SETTLED, 2 << 2, 20));
            assert_eq!(get(&table, SETTLED, KEY), None);
            put(&table, SETTLED, KEY, 11);
            assert_eq!(get(&table, SETTLED, KEY), Some(11));
            cpu.join().expect("no panic");
            assert_eq!(table.live(SETTLED), [(2 << 2, [20, 20, 20])]);
        });
    }

    /// Two threads of a broken program release one block: one of them gets it.
    #[test]
    fn a_double_free_has_one_winner() {
        explore(|| {
            let table = table([1, 0]);
            put(&table, SETTLED, KEY, 10);
            let other = table.clone();
            let cpu = thread::spawn(move || get(&other, SETTLED, KEY));
            let here = get(&table, SETTLED, KEY);
            let there = cpu.join().expect("no panic");
            assert!(matches!((here, there), (Some(10), None) | (None, Some(10))));
            assert_eq!(table.live(SETTLED), []);
        });
    }

    /// A block is released while it is moved, and its address is given out again.
    #[test]
    fn a_block_is_taken_while_it_is_moved() {
        explore(|| {
            let table = table([1, 1]);
            put(&table, SETTLED, KEY, 10);
            let other = table.clone();
            let mover = thread::spawn(move || move_block(&*other, MOVING, &other.buckets[0][0], 0));
            assert_eq!(get(&table, MOVING, KEY), Some(10));
            assert_eq!(get(&table, MOVING, KEY), None, "it is gone");
            assert_eq!(put(&table, MOVING, KEY, 11), None);
            assert_eq!(mover.join().expect("no panic"), Ok(()));
            assert_eq!(table.live(MOVING), [(KEY, [11, 11, 11])]);
            assert_eq!(get(&table, MOVING, KEY), Some(11));
            assert_eq!(table.live(MOVING), []);
        });
    }

    /// A block whose release was not seen is allocated again while it is moved.
    #[test]
    fn a_block_is_replaced_while_it_is_moved() {
        explore(|| {
            let table = table([1, 1]);
            put(&table, SETTLED, KEY, 10);
            let other = table.clone();
            let mover = thread::spawn(move || move_block(&*other, MOVING, &other.buckets[0][0], 0));
            let previous = put(&table, MOVING, KEY, 11);
            assert_eq!(previous, Some([10, 10, 10]));
            assert_eq!(mover.join().expect("no panic"), Ok(()));
            assert_eq!(table.live(MOVING), [(KEY, [11, 11, 11])]);
        });
    }

    /// A block is moved while others come into the bucket that it is moved to.
    #[test]
    fn a_block_is_moved_among_others() {
        explore(|| {
            let table = table([1, 1]);
            put(&table, SETTLED, KEY, 10);
            let other = table.clone();
            let mover = thread::spawn(move || move_block(&*other, MOVING, &other.buckets[0][0], 0));
            put(&table, MOVING, 2 << 2, 20);
            assert_eq!(mover.join().expect("no panic"), Ok(()));
            let mut live = table.live(MOVING);
            live.sort_unstable();
            assert_eq!(live, [(KEY, [10, 10, 10]), (2 << 2, [20, 20, 20])]);
        });
    }

    /// A reader sees a block whole or not at all, whatever comes into its slot meanwhile.
    #[test]
    fn a_reader_sees_no_mixture() {
        explore(|| {
            let table = table([1, 0]);
            put(&table, SETTLED, KEY, 10);
            let other = table.clone();
            let cpu = thread::spawn(move || {
                get(&other, SETTLED, KEY);
                put(&other, SETTLED, KEY, 11);
            });
            for (key, payload) in table.live(SETTLED) {
                assert!(
                    key == KEY && (payload == [10; 3] || payload == [11; 3]),
                    "{payload:?}"
                );
            }
            cpu.join().expect("no panic");
        });
    }
}
