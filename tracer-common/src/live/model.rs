//! A table in plain memory beside a map that has what it should have: for property tests, models of CPUs, and the fuzz
//! target.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec::Vec;

use super::bucket::lowest_free;
use super::*;

/// A table in plain memory: the buckets of its two generations.
pub struct Plain<C> {
    /// Their sizes.
    pub sizes: [Generation; 2],
    /// Their buckets, segment after segment.
    pub buckets: [Vec<Bucket<C>>; 2],
}

impl<C: Cell> Memory for Plain<C> {
    type Cell = C;

    fn generation(&self, index: u32) -> Generation {
        self.sizes[index as usize]
    }

    fn bucket(&self, index: u32, segment: u32, number: u32) -> Option<&Bucket<C>> {
        let number = segment * self.sizes[index as usize].buckets + number;
        self.buckets[index as usize].get(number as usize)
    }
}

impl<C: Cell> Plain<C> {
    /// An empty table.
    pub fn new(sizes: [Generation; 2], cell: fn(u64) -> C) -> Self {
        let bucket = || Bucket {
            words: std::array::from_fn(|_| cell(0)),
            payloads: std::array::from_fn(|_| std::array::from_fn(|_| cell(0))),
        };
        let all = |size: Generation| {
            (0..size.segments * size.buckets)
                .map(|_| bucket())
                .collect()
        };
        Self {
            sizes,
            buckets: sizes.map(all),
        }
    }

    /// The live blocks of the generations that the phase has, as a reader sees them.
    pub fn live(&self, phase: Phase) -> Vec<(u64, Payload)> {
        let mut live = Vec::new();
        for index in 0..2 {
            if index == phase.newer() || phase.is_moving() {
                let buckets = self.buckets[index as usize].iter();
                let slots =
                    buckets.flat_map(|bucket| (0..SLOTS).filter_map(|slot| bucket.read(slot)));
                live.extend(slots.map(|(word, payload)| (word::key(word), payload)));
            }
        }
        live
    }
}

/// A size.
pub const fn size(segments: u32, buckets: u32) -> Generation {
    Generation { segments, buckets }
}

/// Inserts a block; the one that was there under its key, whose release was not seen.
pub fn insert<M: Memory>(
    memory: &M,
    phase: Phase,
    key: u64,
    payload: &Payload,
) -> Result<Option<Payload>, Full> {
    if !phase.is_moving() && insert_quickly(memory, phase.newer(), key, payload).is_ok() {
        return Ok(None);
    }
    let previous = take_slowly(memory, phase, key, None);
    put(memory, phase.newer(), key, payload)?;
    Ok(previous)
}

/// What can happen to a table.
#[derive(Clone, Debug)]
pub enum Step {
    /// A block is inserted under this number.
    Insert(u64),
    /// A block is taken.
    Take(u64),
    /// A block of this key that is not meant is looked at.
    TakeOther(u64),
    /// Begins to move into a generation of this size, or moves some blocks.
    Move(u32),
}

/// Does the steps, and checks after each that the table has what a map would have, and each block once.
pub fn run(steps: impl IntoIterator<Item = Step>) {
    let mut run = Run::new();
    for step in steps {
        match step {
            Step::Insert(number) => run.insert((number + 1) << 2),
            Step::Take(number) => run.take((number + 1) << 2, true),
            Step::TakeOther(number) => run.take((number + 1) << 2, false),
            Step::Move(some) => run.moves(some),
        }
        run.check();
    }
}

/// A table that is made larger and smaller between the steps.
struct Run {
    table: Plain<AtomicU64>,
    phase: Phase,
    /// The next slot of the older generation to move.
    next: usize,
    known: HashMap<u64, u64>,
    time: u64,
}

impl Run {
    fn new() -> Self {
        Self {
            table: Plain::new([size(1, 4), size(0, 0)], AtomicU64::new),
            phase: Phase::settled_in(0),
            next: 0,
            known: HashMap::new(),
            time: 0,
        }
    }

    fn insert(&mut self, key: u64) {
        self.time += 1;
        let payload = [self.time, self.time, 7];
        match insert(&self.table, self.phase, key, &payload) {
            Ok(previous) => {
                let known = self.known.insert(key, self.time);
                assert_eq!(previous.map(|payload| payload[0]), known);
            }
            Err(Full) => {
                let known = self.known.remove(&key);
                assert!(
                    known.is_none() || self.phase.is_moving(),
                    "a known block leaves its slot to it"
                );
                self.is_crowded();
            }
        }
    }

    /// Some bucket of the newer generation is full.
    fn is_crowded(&self) {
        let newer = &self.table.buckets[self.phase.newer() as usize];
        assert!(
            newer
                .iter()
                .any(|bucket| lowest_free(bucket.used()) == SLOTS)
        );
    }

    fn take(&mut self, key: u64, is_it: bool) {
        let taken = take(&self.table, self.phase, key, u32::from(!is_it));
        let known = match is_it {
            true => self.known.remove(&key),
            false => None,
        };
        assert_eq!(taken.map(|payload| payload[0]), known);
    }

    fn moves(&mut self, some: u32) {
        if !self.phase.is_moving() {
            let to = self.phase.older();
            let mut sizes = self.table.sizes;
            sizes[to as usize] = size(some, 3);
            let fresh = Plain::new(sizes, AtomicU64::new);
            let from = self.phase.newer() as usize;
            let kept = std::mem::take(&mut self.table.buckets[from]);
            self.table = fresh;
            self.table.buckets[from] = kept;
            self.phase = Phase::moving_to(to);
            self.next = 0;
            return;
        }
        let older = &self.table.buckets[self.phase.older() as usize];
        for _ in 0..some * 4 {
            let Some(bucket) = older.get(self.next / SLOTS) else {
                let left = older
                    .iter()
                    .flat_map(|bucket| (0..SLOTS).filter_map(|slot| bucket.read(slot)));
                if left.count() == 0 {
                    self.phase = Phase::settled_in(self.phase.newer());
                }
                self.next = 0;
                return;
            };
            if move_block(&self.table, self.phase, bucket, self.next % SLOTS).is_err() {
                self.is_crowded();
            }
            self.next += 1;
        }
    }

    fn check(&self) {
        let mut live = self.table.live(self.phase);
        live.sort_unstable();
        let mut known: Vec<_> = self
            .known
            .iter()
            .map(|(key, time)| (*key, [*time, *time, 7]))
            .collect();
        known.sort_unstable();
        assert_eq!(live, known);
        for (key, _) in &live {
            assert_eq!(live.iter().filter(|(other, _)| other == key).count(), 1);
        }
        for bucket in self.table.buckets.iter().flatten() {
            let unused = |slot: &usize| bucket.words[*slot].load(Ordering::Relaxed) == 0;
            let first = (0..SLOTS).find(unused).unwrap_or(SLOTS);
            assert!(
                (first..SLOTS).all(|slot| unused(&slot)),
                "a gap: {bucket:?}"
            );
        }
    }
}
