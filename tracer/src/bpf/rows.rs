//! Rows of the stack tables: handed to the programs, read when they are new, taken back when their program is over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use tracer_common::config::State;
use tracer_common::key::{Owner, StackKey, StackTotals};
use tracer_common::lifetime::Lifetimes;
use tracer_common::limits;
use tracer_common::rows::{self, CLASSES, Ring};
use tracer_common::runtime::MAX_WORDS;
use tracer_common::stack::{StackMeta, hash_stack};

use super::view::ArrayView;

/// The stack tables, through shared memory.
pub(super) struct StackRows {
    pub(super) state: ArrayView<State>,
    pub(super) free: ArrayView<u64>,
    pub(super) totals: ArrayView<StackTotals>,
    pub(super) lifetimes: ArrayView<Lifetimes>,
    pub(super) stacks: ArrayView<StackMeta>,
    pub(super) frames: ArrayView<u64>,
    /// Rows that the programs have taken out of each ring and that were looked at.
    seen: [u32; CLASSES as usize],
    /// Rows that were still being written when they were looked at, or for which there was no memory.
    unfinished: Vec<u32>,
    /// Rows with a stack, each told of once, by the program that has it.
    used: BTreeMap<Owner, Vec<u32>>,
}

impl StackRows {
    /// Puts all rows into the rings; no program runs yet.
    pub(super) fn new(
        state: ArrayView<State>,
        free: ArrayView<u64>,
        totals: ArrayView<StackTotals>,
        lifetimes: ArrayView<Lifetimes>,
        stacks: ArrayView<StackMeta>,
        frames: ArrayView<u64>,
    ) -> Self {
        let rows = Self {
            state,
            free,
            totals,
            lifetimes,
            stacks,
            frames,
            seen: [0; CLASSES as usize],
            unfinished: Vec::new(),
            used: BTreeMap::new(),
        };
        for class in 0..CLASSES {
            let first = rows::first_row(class);
            (first..first + rows::class_rows(class)).for_each(|row| rows.put(class, row));
        }
        rows
    }

    /// A ring's two counters.
    fn ring(&self, class: u32) -> Option<(&AtomicU32, &AtomicU32)> {
        let state = self.state.pointer(0)?;
        // SAFETY: a mapped element that lives as long as its view, and aligned counters in it that the programs access
        // atomically or only read.
        unsafe {
            let ring: *mut Ring = &raw mut (*state).free_rows[class as usize];
            Some((
                AtomicU32::from_ptr(&raw mut (*ring).taken),
                AtomicU32::from_ptr(&raw mut (*ring).put),
            ))
        }
    }

    /// Lets the programs use a row, which must be clear. A ring has room for all rows of its class.
    fn put(&self, class: u32, row: u32) {
        let Some((_, put)) = self.ring(class) else {
            return;
        };
        let position = put.load(Ordering::Relaxed);
        self.free
            .write(rows::ring_index(class, position) as usize, u64::from(row));
        // The programs read the entry after the counter.
        put.store(position.wrapping_add(1), Ordering::Release);
    }

    /// Rows that hold a new stack since the last call, oldest first within each class.
    pub(super) fn new_stacks(&mut self) -> Vec<u32> {
        let mut taken = std::mem::take(&mut self.unfinished);
        for class in 0..CLASSES {
            let Some((head, _)) = self.ring(class) else {
                continue;
            };
            let head = head.load(Ordering::Acquire);
            let mut position = self.seen[class as usize];
            while position != head {
                let index = rows::ring_index(class, position);
                taken.extend(self.free.read(index as usize).map(|row| row as u32));
                position = position.wrapping_add(1);
            }
            self.seen[class as usize] = head;
        }
        let mut ready = Vec::new();
        for row in taken {
            match self.settled(row) {
                Some(meta) if meta.state == StackMeta::READY && self.can_be_read(row, &meta) => {
                    self.used.entry(meta.owner).or_default().push(row);
                    ready.push(row);
                }
                // Nothing was counted on it.
                Some(meta) if meta.state == StackMeta::ABANDONED => self.clear(row),
                _ => self.unfinished.push(row),
            }
        }
        ready
    }

    /// Whether what belongs to a row is mapped, from now on.
    fn can_be_read(&self, row: u32, meta: &StackMeta) -> bool {
        // A row's frames lie in one part.
        self.totals.pointer(row as usize).is_some()
            && self.lifetimes.pointer(row as usize).is_some()
            && self.frames.pointer(meta.first_frame as usize).is_some()
    }

    /// Whether the programs have less than a quarter of some class of rows left.
    pub(super) fn are_scarce(&self) -> bool {
        (0..CLASSES).any(|class| {
            let Some((taken, put)) = self.ring(class) else {
                return false;
            };
            let left = put
                .load(Ordering::Relaxed)
                .wrapping_sub(taken.load(Ordering::Relaxed));
            left < rows::class_rows(class) / 4
        })
    }

    /// Rows with a stack that [`Self::new_stacks`] has told of.
    pub(super) fn used(&self) -> impl Iterator<Item = u32> {
        self.used.values().flatten().copied()
    }

    /// What is known of a row's stack; `None` if there is none.
    pub(super) fn meta(&self, row: u32) -> Option<StackMeta> {
        if row < limits::MAX_PROCESSES {
            return None;
        }
        self.settled(row)
            .filter(|meta| meta.state == StackMeta::READY)
    }

    /// What is in a row, with all that the programs have written before its state.
    fn settled(&self, row: u32) -> Option<StackMeta> {
        let place = self.stacks.pointer(row as usize)?;
        // SAFETY: a mapped, aligned u32, which programs write meanwhile and which is written once a row is used.
        let state = unsafe { AtomicU32::from_ptr(&raw mut (*place).state) }.load(Ordering::Acquire);
        let meta = self.stacks.read(row as usize)?;
        Some(StackMeta { state, ..meta })
    }

    /// The words of a row's stack: native addresses, innermost first, then those of a runtime (`tracer_common::runtime`).
    pub(super) fn frames(&self, meta: &StackMeta) -> Vec<u64> {
        let first = meta.first_frame as usize;
        (first..first + meta.frames.min(MAX_WORDS) as usize)
            .filter_map(|index| self.frames.read(index))
            .collect()
    }

    /// The key under which the programs find the stack of a row.
    pub(super) fn key(&self, row: u32) -> Option<StackKey> {
        let meta = self.meta(row)?;
        Some(StackKey {
            hash: hash_stack(&self.frames(&meta), meta.end),
            tgid: meta.owner.tgid,
            code: meta.code,
        })
    }

    /// Rows of programs that are over.
    pub(super) fn rows_of(&self, is_over: impl Fn(Owner) -> bool) -> Vec<u32> {
        let over = self.used.iter().filter(|(owner, _)| is_over(**owner));
        over.flat_map(|(_, rows)| rows).copied().collect()
    }

    /// Takes a row back, which the programs no longer find; `false` if there was no stack in it.
    pub(super) fn release(&mut self, row: u32) -> bool {
        let Some(owner) = self.meta(row).map(|meta| meta.owner) else {
            return false;
        };
        let Some(rows) = self.used.get_mut(&owner) else {
            return false;
        };
        // Rows of one program are released all together, the last first.
        let Some(at) = rows.iter().rposition(|known| *known == row) else {
            return false;
        };
        rows.swap_remove(at);
        if rows.is_empty() {
            self.used.remove(&owner);
        }
        self.clear(row);
        true
    }

    /// Clears a row and lets the programs use it again.
    fn clear(&self, row: u32) {
        let Some(class) = rows::class_of(row) else {
            return;
        };
        self.totals.write(row as usize, StackTotals::default());
        self.lifetimes.write(row as usize, Lifetimes::default());
        self.stacks.write(row as usize, StackMeta::default());
        self.put(class, row);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::fd::AsFd;

    use nix::sys::memfd::{MFdFlags, memfd_create};
    use proptest::prelude::*;

    use super::*;

    /// An array in plain memory.
    fn memory<T: aya::Pod>(len: usize) -> ArrayView<T> {
        let fd = memfd_create(c"rows", MFdFlags::empty()).expect("a memory file");
        nix::unistd::ftruncate(&fd, (len * size_of::<T>()) as i64).expect("room");
        ArrayView::new(fd.as_fd(), len).expect("mapped")
    }

    fn rows() -> StackRows {
        StackRows::new(
            memory(1),
            memory(rows::STACKS as usize),
            memory(rows::ROWS as usize),
            memory(rows::ROWS as usize),
            memory(rows::ROWS as usize),
            memory(rows::FRAMES as usize),
        )
    }

    /// Takes a row as the programs do.
    fn take(rows: &StackRows, frames: u32) -> Option<u32> {
        (rows::class_for(frames)..CLASSES).find_map(|class| {
            let (taken, put) = rows.ring(class).expect("a ring");
            let position = taken.load(Ordering::Relaxed);
            (position != put.load(Ordering::Relaxed)).then(|| {
                taken.store(position.wrapping_add(1), Ordering::Relaxed);
                let index = rows::ring_index(class, position);
                rows.free.read(index as usize).expect("an entry") as u32
            })
        })
    }

    /// Writes a stack as the programs do.
    fn finish(rows: &StackRows, row: u32, frames: &[u64], state: u32) {
        let class = rows::class_of(row).expect("a stack's row");
        let first_frame = rows::first_frame(row, class);
        for (index, frame) in frames.iter().enumerate() {
            rows.frames.write(first_frame as usize + index, *frame);
        }
        let meta = StackMeta {
            owner: Owner {
                tgid: 7,
                image: row,
            },
            first_frame,
            frames: frames.len() as u32,
            state,
            ..StackMeta::default()
        };
        rows.stacks.write(row as usize, meta);
    }

    #[test]
    fn a_stack_is_told_once_and_when_it_is_ready() {
        let mut rows = rows();
        assert!(rows.new_stacks().is_empty());
        let (first, second) = (
            take(&rows, 3).expect("room"),
            take(&rows, 40).expect("room"),
        );
        finish(&rows, second, &[1; 40], StackMeta::READY);
        assert_eq!(rows.new_stacks(), [second]);
        finish(&rows, first, &[5, 6, 7], StackMeta::READY);
        assert_eq!(rows.new_stacks(), [first]);
        assert!(rows.new_stacks().is_empty());
        let meta = rows.meta(first).expect("ready");
        assert_eq!(rows.frames(&meta), [5, 6, 7]);
        let key = rows.key(first).expect("ready");
        assert_eq!(key.hash, hash_stack(&[5, 6, 7], meta.end));
        assert_eq!(rows.rows_of(|owner| owner.image == second), [second]);
    }

    /// A released row is clear, is no stack any more, and can hold another one.
    #[test]
    fn a_released_row_is_used_again() {
        let mut rows = rows();
        let row = take(&rows, 200).expect("room");
        finish(&rows, row, &[1; 200], StackMeta::READY);
        rows.totals.write(
            row as usize,
            StackTotals {
                alloc_bytes: 9,
                ..StackTotals::default()
            },
        );
        assert_eq!(rows.new_stacks(), [row]);
        assert!(rows.release(row));
        assert!(!rows.release(row), "it is released once");
        assert_eq!(rows.used().count(), 0);
        assert_eq!(
            (rows.meta(row), rows.totals.totals(row)),
            (None, StackTotals::default())
        );
        let rest = rows::class_rows(CLASSES - 1) - 1;
        for _ in 0..rest {
            assert_ne!(take(&rows, 200), Some(row));
        }
        assert_eq!(take(&rows, 200), Some(row));
        assert_eq!(take(&rows, 200), None);
    }

    /// A class that is used up borrows from the next larger one.
    #[test]
    fn short_stacks_take_longer_rows_in_the_end() {
        let rows = rows();
        let taken: BTreeSet<u32> = std::iter::from_fn(|| take(&rows, 1)).collect();
        assert_eq!(taken.len(), rows::STACKS as usize, "all rows, each once");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Whatever is taken, abandoned and released, no row is in two hands, and each ready one is told exactly once.
        #[test]
        fn rows_are_in_one_hand(steps in proptest::collection::vec((0u32..5, 0u32..128), 0..400)) {
            let mut rows = rows();
            let (mut writing, mut ready, mut known) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
            for (what, number) in steps {
                match what {
                    0 | 1 => {
                        let row = take(&rows, number).expect("room");
                        prop_assert!(!writing.contains(&row) && !ready.contains(&row) && !known.contains(&row));
                        writing.push(row);
                    }
                    2 => if let Some(row) = writing.pop() {
                        let abandoned = number % 4 == 0;
                        finish(&rows, row, &[1], if abandoned { StackMeta::ABANDONED } else { StackMeta::READY });
                        if !abandoned {
                            ready.insert(row);
                        }
                    },
                    3 => {
                        let told: BTreeSet<u32> = rows.new_stacks().into_iter().collect();
                        prop_assert_eq!(&told, &ready);
                        known.append(&mut ready);
                    }
                    _ => if let Some(row) = known.pop_first() {
                        prop_assert!(rows.release(row));
                    },
                }
            }
        }
    }
}
