//! How the live bytes of each stack and program go on: looked at about each second, in bounded memory.
//!
//! The times are shared by all. When there are [`MOST`], every second one goes, and from then on the time between two
//! of them is twice as long, so that they stay evenly spread over the whole trace. A stack takes 4 bytes for each.

use std::collections::HashMap;

use rustc_hash::FxHashMap;
use tracer_common::key::{Owner, StackTotals};
use tracer_common::lifetime::{BUCKETS, Lifetimes, OldFrees};
use tracer_common::sampling::COUNT_ONE;

use crate::profile::Ages;
use crate::profile::turnover::Sizes;

/// Most times that are kept; odd, so that the first and the last stay when every second one goes.
const MOST: usize = 49;
/// Seconds between two of them at first.
const PERIOD: f64 = 1.0;
/// How much earlier than that will do: ticks are no clockwork.
const EARLY: f64 = 0.03;

/// What is known of a program at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Live bytes of the trace.
    pub live: u64,
    /// Released blocks that are older than the trace.
    pub old: OldFrees,
}

impl Moment {
    /// What it has grown by since the trace began.
    pub fn net(&self, sizes: &Sizes) -> f64 {
        self.live as f64 - self.replaced(sizes)
    }

    /// As [`Self::net`], of the chunks that glibc has around the blocks: `blocks` of them live, which can hold `slack`
    /// bytes more than was asked for. `None` where the size of older ones is not known.
    pub fn net_with_headers(&self, blocks: u64, slack: f64) -> Option<f64> {
        const HEADER: f64 = 8.0;
        let old = self.old;
        let is_known = old.sized == old.blocks;
        let live = self.live as f64 + blocks as f64 * (slack + HEADER);
        is_known.then_some(live - old.bytes as f64 - old.blocks as f64 * HEADER)
    }

    /// Bytes of blocks older than the trace that were released.
    pub fn replaced(&self, sizes: &Sizes) -> f64 {
        sizes.requested(self.old.blocks, self.old.sized, self.old.bytes)
    }
}

/// Values from some time on.
#[derive(Clone, Debug, Default)]
struct Track<V> {
    /// Number of the time of the first.
    first: usize,
    values: Vec<V>,
}

impl<V: Copy> Track<V> {
    /// A track that begins with nothing at the time before this one.
    fn begin(at: usize, nothing: V) -> Self {
        Self {
            first: at.saturating_sub(1),
            values: vec![nothing; at.min(1)],
        }
    }

    /// Adds the value of a time, unless it has one, or ended before.
    fn push(&mut self, at: usize, value: V) {
        if self.first + self.values.len() == at {
            self.values.push(value);
        }
    }

    /// Drops the values of every second time.
    fn thin(&mut self) {
        let first = self.first;
        let mut number = first;
        self.values.retain(|_| {
            number += 1;
            (number - 1).is_multiple_of(2)
        });
        self.values.shrink_to_fit();
        self.first = first.div_ceil(2);
    }
}

/// Lifetimes that were read before their counts could wrap around.
#[derive(Clone, Debug)]
struct Harvest {
    owner: Owner,
    /// What the counts were then.
    read: Lifetimes,
    /// What they had come to.
    sums: [u64; BUCKETS],
    /// Blocks that had been released then.
    freed: u64,
}

/// Blocks released since a row's lifetimes were read, before they are read again: half of what a count holds.
const HARVEST_AFTER: u64 = 1 << 31;

/// The courses of a trace.
#[derive(Debug)]
pub struct Courses {
    times: Vec<f64>,
    period: f64,
    stacks: FxHashMap<u32, (Owner, Track<f32>)>,
    programs: HashMap<Owner, Track<Moment>>,
    harvests: FxHashMap<u32, Harvest>,
}

impl Default for Courses {
    fn default() -> Self {
        Self {
            // All begins with nothing.
            times: vec![0.0],
            period: PERIOD,
            stacks: FxHashMap::default(),
            programs: HashMap::new(),
            harvests: FxHashMap::default(),
        }
    }
}

impl Courses {
    /// Whether it is time to look, at this many seconds of the trace.
    pub fn is_due(&self, now: f64) -> bool {
        now >= self.times.last().copied().unwrap_or(0.0) + self.period - EARLY
    }

    /// Takes in the counters of the rows of programs that run, and what is known of the programs. `lifetimes` reads
    /// those of a row. Rows that are not among them any more, and whose programs `is_known` does not know, are
    /// forgotten.
    pub fn look(
        &mut self,
        now: f64,
        rows: &[(u32, Owner, StackTotals)],
        programs: impl IntoIterator<Item = (Owner, Moment)>,
        lifetimes: impl Fn(u32) -> Lifetimes,
        is_known: impl Fn(Owner) -> bool,
    ) {
        let at = self.times.len();
        self.times.push(now);
        self.stacks.retain(|_, (owner, _)| is_known(*owner));
        self.programs.retain(|owner, _| is_known(*owner));
        self.harvests.retain(|_, harvest| is_known(harvest.owner));
        for (row, owner, totals) in rows {
            let live = totals.alloc_bytes.saturating_sub(totals.free_bytes);
            if live > 0 || self.stacks.contains_key(row) {
                let track = self
                    .stacks
                    .entry(*row)
                    .or_insert_with(|| (*owner, Track::begin(at, 0.0)));
                if track.0 != *owner {
                    *track = (*owner, Track::begin(at, 0.0));
                }
                track.1.push(at, live as f32);
            }
            self.harvest(*row, *owner, totals, &lifetimes);
        }
        for (owner, moment) in programs {
            self.programs
                .entry(owner)
                .or_insert_with(|| Track::begin(at, Moment::default()))
                .push(at, moment);
        }
        if self.times.len() >= MOST {
            self.thin();
        }
    }

    fn thin(&mut self) {
        let mut number = 0;
        self.times.retain(|_| {
            number += 1;
            number % 2 == 1
        });
        self.period *= 2.0;
        self.stacks.values_mut().for_each(|(_, track)| track.thin());
        self.programs.values_mut().for_each(Track::thin);
    }

    /// Reads the lifetimes of a row before its counts wrap around unseen.
    fn harvest(
        &mut self,
        row: u32,
        owner: Owner,
        totals: &StackTotals,
        lifetimes: impl Fn(u32) -> Lifetimes,
    ) {
        let freed = totals.free_count / COUNT_ONE;
        let known = self.harvests.get(&row).filter(|known| known.owner == owner);
        if freed.saturating_sub(known.map_or(0, |known| known.freed)) < HARVEST_AFTER {
            return;
        }
        let read = lifetimes(row);
        let sums = sums(known, &read);
        self.harvests.insert(
            row,
            Harvest {
                owner,
                read,
                sums,
                freed,
            },
        );
    }

    /// Blocks of these rows of one stack that were released, by age.
    pub fn freed(
        &self,
        owner: Owner,
        rows: impl IntoIterator<Item = u32>,
        lifetimes: impl Fn(u32) -> Lifetimes,
    ) -> Ages {
        let mut all = [0; BUCKETS];
        for row in rows {
            let known = self.harvests.get(&row).filter(|known| known.owner == owner);
            let own = sums(known, &lifetimes(row));
            all.iter_mut().zip(own).for_each(|(all, own)| *all += own);
        }
        Ages::of_lifetimes(&all)
    }

    /// Seconds and live bytes of these rows of one stack, which is that of `owner`; `now` is what they come to at the
    /// moment, where the program runs.
    pub fn of_stack(
        &self,
        owner: Owner,
        rows: impl IntoIterator<Item = u32>,
        now: Option<(f64, u64)>,
    ) -> Vec<(f64, f64)> {
        let tracks: Vec<&Track<f32>> = rows
            .into_iter()
            .filter_map(|row| self.stacks.get(&row))
            .filter(|(known, _)| *known == owner)
            .map(|(_, track)| track)
            .collect();
        let Some(first) = tracks.iter().map(|track| track.first).min() else {
            return self.only_now(now);
        };
        let end = tracks.iter().map(|track| track.first + track.values.len());
        let end = end.max().unwrap_or(first);
        let mut points: Vec<(f64, f64)> = self.times[first..end.min(self.times.len())]
            .iter()
            .map(|time| (*time, 0.0))
            .collect();
        for track in tracks {
            let from = track.first - first;
            for (point, value) in points[from..].iter_mut().zip(&track.values) {
                point.1 += f64::from(*value);
            }
        }
        self.with_now(points, now.map(|(at, live)| (at, live as f64)))
    }

    /// As [`Self::of_stack`], of a program.
    pub fn of_program(
        &self,
        owner: Owner,
        now: Option<(f64, Moment)>,
        value: impl Fn(&Moment) -> f64,
    ) -> Vec<(f64, f64)> {
        let now_value = now.map(|(at, moment)| (at, value(&moment)));
        let Some(track) = self.programs.get(&owner) else {
            return self.with_now(Vec::new(), now_value);
        };
        let times = &self.times[track.first.min(self.times.len())..];
        let values = track.values.iter().map(value);
        self.with_now(times.iter().copied().zip(values).collect(), now_value)
    }

    /// The last that was seen of a program.
    pub fn last_of(&self, owner: Owner) -> Option<Moment> {
        self.programs.get(&owner)?.values.last().copied()
    }

    /// What was not there the last time has come since.
    fn only_now(&self, now: Option<(f64, u64)>) -> Vec<(f64, f64)> {
        let before = self.times.last().map(|time| (*time, 0.0));
        self.with_now(
            before.into_iter().collect(),
            now.map(|(at, live)| (at, live as f64)),
        )
    }

    /// Adds the moment that is now, unless one was looked at just before.
    fn with_now(&self, mut points: Vec<(f64, f64)>, now: Option<(f64, f64)>) -> Vec<(f64, f64)> {
        let last = points.last().map_or(f64::NEG_INFINITY, |point| point.0);
        points.extend(now.filter(|now| now.0 > last + PERIOD / 4.0));
        points
    }
}

/// What the counts of a row have come to.
fn sums(known: Option<&Harvest>, now: &Lifetimes) -> [u64; BUCKETS] {
    std::array::from_fn(|bucket| {
        let count = now.counts[bucket];
        match known {
            None => u64::from(count),
            Some(known) => {
                known.sums[bucket] + u64::from(count.wrapping_sub(known.read.counts[bucket]))
            }
        }
    })
}

#[cfg(test)]
#[path = "courses_tests.rs"]
mod tests;
