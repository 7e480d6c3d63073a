//! A table of live blocks in the kernel.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering, fence};

use tracer_common::live::word::{State, is, key};
use tracer_common::live::{Directory, Generation, MAX_SEGMENTS, Payload, Phase, SLOTS, move_block};

use super::memory::{Destination, MappedBucket, Segments};
use super::sizes::Sizes;
use crate::ahead::prefetch;
use crate::bpf::grace::GracePeriod;
use crate::bpf::sys;
use crate::bpf::view::ArrayView;

/// A table of live blocks. Only one at a time reads or changes it from here, so that no block is seen twice.
pub struct LiveTable {
    /// The kernel's map of segments.
    map: OwnedFd,
    directory: ArrayView<Directory>,
    generations: [Segments; 2],
    phase: Phase,
    sizes: Sizes,
    grace: GracePeriod,
}

impl LiveTable {
    /// Makes the table in these maps, with room for what a trace begins with.
    ///
    /// # Errors
    /// What the kernel says; `ENOMEM` where there is no memory for it.
    pub fn new(
        map: BorrowedFd<'_>,
        directory: ArrayView<Directory>,
        sizes: Sizes,
        first: Generation,
    ) -> io::Result<Self> {
        let mut table = Self {
            map: map.try_clone_to_owned()?,
            directory,
            generations: [Segments::default(), Segments::default()],
            phase: Phase::settled_in(0),
            sizes,
            grace: GracePeriod::new()?,
        };
        table.install(0, Segments::create(first)?)?;
        table.set_phase(Phase::settled_in(0));
        Ok(table)
    }

    /// Lets the programs find a generation, in a place that they do not use.
    fn install(&mut self, index: u32, segments: Segments) -> io::Result<()> {
        sys::put_all(self.map.as_fd(), index * MAX_SEGMENTS, &segments.fds())?;
        if let Some(directory) = self.directory.pointer(0) {
            let size = segments.size();
            // SAFETY: a mapped, aligned record; no program reads the size of this generation.
            unsafe { (&raw mut (*directory).generations[index as usize & 1]).write_volatile(size) };
        }
        self.generations[index as usize & 1] = segments;
        Ok(())
    }

    fn set_phase(&mut self, phase: Phase) {
        self.phase = phase;
        if let Some(directory) = self.directory.pointer(0) {
            // SAFETY: a mapped, aligned u32 that only user space writes.
            unsafe { AtomicU32::from_ptr(&raw mut (*directory).phase) }
                .store(phase.0, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
    }

    /// The generations that hold blocks.
    fn in_use(&self) -> impl Iterator<Item = &Segments> {
        let older = self.phase.is_moving().then_some(self.phase.older());
        let all = std::iter::once(self.phase.newer()).chain(older);
        all.map(|index| &self.generations[index as usize])
    }

    /// Calls `visit` for each bucket.
    fn for_each_bucket(&self, mut visit: impl FnMut(&MappedBucket)) -> io::Result<()> {
        for segment in self.in_use().flat_map(Segments::mapped) {
            let segment = segment?;
            let buckets = segment.buckets();
            for (number, bucket) in buckets.iter().enumerate() {
                // The pages of a segment lie anywhere in memory, which the CPU does not foresee.
                buckets.get(number + 2).map(prefetch);
                visit(bucket);
            }
        }
        Ok(())
    }

    /// Calls `visit` once for each live block, with its word and its payload. Blocks that come and go meanwhile may be
    /// missed.
    ///
    /// # Errors
    /// If a part of the table cannot be mapped.
    pub fn for_each(&self, mut visit: impl FnMut(u64, &Payload)) -> io::Result<()> {
        self.for_each_bucket(|bucket| {
            for (word, payload) in (0..SLOTS).filter_map(|slot| bucket.read(slot)) {
                visit(word, &payload);
            }
        })
    }

    /// Removes blocks; returns how many there were.
    ///
    /// # Errors
    /// If a part of the table cannot be mapped.
    pub fn remove_if(&self, is_gone: impl Fn(u64, &Payload) -> bool) -> io::Result<usize> {
        let mut removed = 0;
        self.for_each_bucket(|bucket| {
            for slot in 0..SLOTS {
                if let Some((word, payload)) = bucket.read(slot)
                    && is_gone(word, &payload)
                    && bucket.change(slot, key(word), State::Live, State::Free)
                {
                    removed += 1;
                }
            }
        })?;
        Ok(removed)
    }

    /// How many blocks there are.
    fn count(&self) -> io::Result<u64> {
        let mut live = 0;
        self.for_each_bucket(|bucket| live += bucket.used().count_ones() as u64)?;
        Ok(live)
    }

    /// Whether another size would be better for so many blocks.
    pub fn fits_better(&self, live: u64) -> bool {
        let now = self.generations[self.phase.newer() as usize].size();
        self.phase.is_moving() || self.sizes.better(now, live).is_some()
    }

    /// Makes the table larger or smaller where that is better for what lives; whether it did.
    ///
    /// # Errors
    /// What the kernel says, `ENOMEM` where there is no memory: the table stays as it is, and the next call tries
    /// again.
    pub fn fit(&mut self) -> io::Result<bool> {
        if self.phase.is_moving() {
            // The newer generation had no room for the rest.
            self.empty_older()?;
        }
        if self.phase.is_moving() {
            return Ok(false);
        }
        let now = self.generations[self.phase.newer() as usize].size();
        let Some(size) = self.sizes.better(now, self.count()?) else {
            return Ok(false);
        };
        let to = self.phase.older();
        self.install(to, Segments::create(size)?)?;
        self.set_phase(Phase::moving_to(to));
        // A program that began before may still put a block into the older generation.
        self.grace.wait()?;
        self.empty_older()?;
        Ok(true)
    }

    /// Moves the blocks of the older generation into the newer one, and gives its memory back when it is empty.
    fn empty_older(&mut self) -> io::Result<()> {
        let (newer, older) = (self.phase.newer(), self.phase.older());
        let mut is_empty = true;
        for part in Destination::parts(newer, &self.generations[newer as usize]) {
            let part = part?;
            for segment in self.generations[older as usize].mapped() {
                for bucket in segment?.buckets() {
                    is_empty &= self.move_blocks(bucket, &part);
                }
            }
        }
        if !is_empty {
            return Ok(());
        }
        self.set_phase(Phase::settled_in(newer));
        self.grace.wait()?;
        // Nothing can be taken out of a map of maps at once, but other maps can be put in.
        let retired = std::mem::take(&mut self.generations[older as usize]);
        if let Some(other) = self.generations[newer as usize].fds().first() {
            let others = vec![*other; retired.fds().len()];
            sys::put_all(self.map.as_fd(), older * MAX_SEGMENTS, &others)?;
        }
        Ok(())
    }

    /// Moves the blocks of a bucket that belong into this part of the newer generation; `false` if there was no room
    /// for one.
    fn move_blocks(&self, bucket: &MappedBucket, part: &Destination) -> bool {
        let mut had_room = true;
        for slot in 0..SLOTS {
            let word = bucket.words[slot].load(Ordering::Acquire);
            if is(word, State::Live) && part.has(key(word)) {
                had_room &= move_block(part, self.phase, bucket, slot).is_ok();
            }
        }
        had_room
    }

    /// Lets the programs say when there is little room; not where there is nothing to be done about it.
    pub fn watch(&self) {
        let now = self.generations[self.phase.newer() as usize].size();
        let can_grow = now != self.sizes.most();
        if let Some(directory) = self.directory.pointer(0) {
            // SAFETY: mapped, aligned u32s that the programs only read, or set to 1.
            unsafe {
                (&raw mut (*directory).press_at).write_volatile(Sizes::press_at(now));
                (&raw mut (*directory).at_most).write_volatile(u32::from(!can_grow));
                (&raw mut (*directory).pressed).write_volatile(u32::from(!can_grow));
            }
        }
    }
}
