//! Reachability of a trace's blocks: which of them something holds, judged in another thread before a report.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use tracer_common::key::{LiveBlock, Owner};

use super::figures::Row;
use crate::ahead::Ahead;
use crate::bpf::LiveReader;
use crate::engine::{Core, Work, monotonic_ns};
use crate::process::maps;
use crate::profile::{Reachability, Registers};
use crate::reach::outcome::{Blocks, Class, Outcome, blocks, reach};
use crate::reach::passes::Limits;
use crate::reach::process::{NewerBlocks, OlderBlocks, ProcessTarget};
use crate::words;

/// Blocks must be this old to be judged: a program may need some time to keep what it has just allocated.
const OLD_NS: u64 = 1_000_000_000;

/// When blocks are judged by what holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// Never.
    #[default]
    Off,
    /// For the last report.
    Last,
    /// For every report.
    Every,
}

/// Bytes and blocks of each class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassSums([(u64, u64); 5]);

impl ClassSums {
    /// Counts a block.
    pub fn add(&mut self, class: Class, bytes: u64, blocks: u64) {
        let sums = &mut self.0[class as usize];
        sums.0 += bytes;
        sums.1 += blocks;
    }

    /// Adds others.
    pub fn merge(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            own.0 += other.0;
            own.1 += other.1;
        }
    }

    /// Bytes and blocks of a class.
    pub fn of(&self, class: Class) -> (u64, u64) {
        self.0[class as usize]
    }
}

/// What is known of one program.
pub struct Judged {
    outcome: Outcome,
    /// Blocks that were allocated later are not judged.
    until_ns: u64,
    /// Blocks of each row that were called lost; `None` until they have been counted.
    lost: Option<BTreeMap<u32, u64>>,
}

impl Judged {
    /// How many blocks were called lost.
    fn count_lost(&self) -> u64 {
        self.lost.iter().flat_map(BTreeMap::values).sum()
    }

    /// The number of a block, if it was judged.
    fn find(&self, address: u64, block: &LiveBlock) -> Option<u32> {
        let is_old = block.time_ns <= self.until_ns;
        is_old.then(|| self.outcome.find(address)).flatten()
    }

    fn class(&self, number: Option<u32>) -> Class {
        number.map_or(Class::NotJudged, |number| self.outcome.class_of(number))
    }

    /// The ways to blocks of a row, and how many were looked at.
    pub fn holders(&self, row: u32) -> Option<&(u32, Vec<crate::reach::holders::Way>)> {
        self.outcome.holders.get(&row)
    }
}

/// Tells what became of blocks, some blocks later, when the CPU has fetched what tells it.
#[derive(Default)]
pub struct Classes<'a> {
    /// Blocks whose number is looked up.
    coming: Ahead<(&'a Judged, u64, LiveBlock)>,
    /// Blocks whose class is looked up, by their numbers.
    found: Ahead<(&'a Judged, Option<u32>, LiveBlock)>,
}

impl<'a> Classes<'a> {
    /// Takes in a block of a program, and tells of an earlier one.
    pub fn of(
        &mut self,
        judged: &'a Judged,
        address: u64,
        block: &LiveBlock,
    ) -> Option<(Class, LiveBlock)> {
        judged.outcome.prefetch(address);
        let came = self.coming.push((judged, address, *block))?;
        self.find(came)
    }

    fn find(
        &mut self,
        (judged, address, block): (&'a Judged, u64, LiveBlock),
    ) -> Option<(Class, LiveBlock)> {
        let number = judged.find(address, &block);
        if let Some(number) = number {
            judged.outcome.prefetch_class(number);
        }
        let (judged, number, block) = self.found.push((judged, number, block))?;
        Some((judged.class(number), block))
    }

    /// Tells of those that came last.
    pub fn rest(mut self) -> impl Iterator<Item = (Class, LiveBlock)> {
        let coming = std::mem::take(&mut self.coming).rest();
        let told: Vec<_> = coming.filter_map(|came| self.find(came)).collect();
        let found = self.found.rest();
        told.into_iter()
            .chain(found.map(|(judged, number, block)| (judged.class(number), block)))
    }
}

/// What a thread has found.
enum Found {
    Judged(Box<Judged>),
    Not(String),
}

/// Proven errors: blocks that were called lost and were released later.
#[derive(Clone, Debug, Default)]
struct Errors {
    /// Blocks that were called lost.
    lost: u64,
    /// Of these, released since; by row.
    freed: BTreeMap<u32, u64>,
}

/// Reachability over the reports of a trace.
#[derive(Default)]
pub struct Reaching {
    when: When,
    /// Blocks are to be judged for the next report.
    is_asked: bool,
    /// Processes that alone are to be judged for the next report.
    asked_of: Option<BTreeSet<u32>>,
    found: Arc<Mutex<Vec<(Owner, Found, Errors)>>>,
    judged: HashMap<Owner, Judged>,
    /// Programs that were not judged, and why.
    refused: Vec<(Owner, String)>,
    errors: HashMap<Owner, Errors>,
}

/// One program to be judged.
struct Task {
    owner: Owner,
    older_exist: bool,
    earlier: Option<Judged>,
}

impl Reaching {
    /// Nothing is judged yet.
    pub fn new(when: When) -> Self {
        Self {
            when,
            ..Self::default()
        }
    }

    /// Blocks are judged for the next report.
    pub fn ask(&mut self) {
        self.is_asked = true;
    }

    /// The same, of these processes alone; of those of a scope, too.
    pub fn ask_of(&mut self, pids: BTreeSet<u32>) {
        self.asked_of = Some(pids);
    }

    /// A program of a scope is over: nobody asks for its blocks any more.
    pub fn forget(&mut self, owner: Owner) {
        self.judged.remove(&owner);
        self.errors.remove(&owner);
        self.refused.retain(|(other, _)| *other != owner);
    }

    /// The work before a report. `unfit` tells why a program cannot be judged; `is_whole` that no block is older than
    /// the trace.
    pub fn work(
        &mut self,
        core: &Core,
        last: bool,
        is_whole: bool,
        unfit: impl Fn(Owner) -> Option<String>,
    ) -> Option<Work> {
        let is_asked = std::mem::take(&mut self.is_asked);
        let is_due = match self.when {
            _ if is_asked => true,
            When::Off => false,
            When::Last => last,
            When::Every => true,
        };
        let asked_of = self.asked_of.take();
        // Of a whole host nobody could wait for all.
        if asked_of.is_none() && (!is_due || core.members.come_by_themselves()) {
            return None;
        }
        self.refused.clear();
        let alive = core.members.iter().filter(|member| member.state.is_alive());
        let is_meant = |owner: &Owner| {
            let of = asked_of.as_ref();
            of.is_none_or(|of| of.contains(&owner.tgid))
        };
        let owners: Vec<Owner> = alive.map(|member| member.owner).filter(is_meant).collect();
        let mut tasks = Vec::new();
        for owner in &owners {
            match unfit(*owner) {
                Some(why) => self.refused.push((*owner, why)),
                None => tasks.push(Task {
                    owner: *owner,
                    older_exist: !is_whole || owners.len() > 1 || core.members.come_by_themselves(),
                    earlier: self.judged.remove(owner),
                }),
            }
        }
        if tasks.is_empty() {
            return None;
        }
        let (live, found) = (core.tracer.live().reader(), self.found.clone());
        Some(Box::new(move || {
            for task in tasks {
                let owner = task.owner;
                let (result, errors) = task.run(&live);
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.push((owner, result, errors));
            }
        }))
    }

    /// Takes in what was found.
    pub fn collect(&mut self) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        for (owner, result, errors) in found.drain(..) {
            let all = self.errors.entry(owner).or_default();
            all.lost += errors.lost;
            for (row, freed) in errors.freed {
                *all.freed.entry(row).or_default() += freed;
            }
            match result {
                Found::Judged(judged) => {
                    self.judged.insert(owner, *judged);
                }
                Found::Not(why) => self.refused.push((owner, why)),
            }
        }
    }

    /// What is known of each program, by the number of its image.
    pub fn by_image(&self) -> HashMap<u32, &Judged> {
        let all = self.judged.iter();
        all.map(|(owner, judged)| (owner.image, judged)).collect()
    }

    /// Whether any program was judged.
    pub fn has_judged(&self) -> bool {
        !self.judged.is_empty()
    }

    /// What is known of a program.
    pub fn of(&self, owner: Owner) -> Option<&Judged> {
        self.judged.get(&owner)
    }

    /// Counts the blocks that were called lost, where that has not been done yet: of each row those that are there at
    /// the first report. What was released before was not lost, and nobody was told so.
    pub fn count_lost(&mut self, rows: &[Row]) {
        for (owner, judged) in &mut self.judged {
            judged.lost.get_or_insert_with(|| {
                let own = rows.iter().filter(|row| row.owner == *owner);
                let lost = own.map(|row| (row.row, row.sums.as_ref().map_or(0, |sums| sums.lost)));
                lost.filter(|(_, lost)| *lost > 0).collect()
            });
        }
    }

    /// Blocks of rows that were called lost and have been released: in earlier reports, and since the last judgment, of
    /// which `live` blocks that were called lost are still there.
    pub fn freed(&self, owner: Owner, rows: impl Iterator<Item = u32>, live: u64) -> u64 {
        let errors = self.errors.get(&owner).map(|errors| &errors.freed);
        let judged = self.judged.get(&owner);
        let called = judged.and_then(|judged| judged.lost.as_ref());
        let of = |counts: Option<&BTreeMap<u32, u64>>, row: u32| {
            counts.and_then(|counts| counts.get(&row)).copied()
        };
        let (mut earlier, mut lost) = (0, 0);
        for row in rows {
            earlier += of(errors, row).unwrap_or(0);
            lost += of(called, row).unwrap_or(0);
        }
        earlier + lost.saturating_sub(live)
    }

    /// The section of a program, if it was to be judged. `freed` are those of its blocks that were called lost and have
    /// been released.
    pub fn section(
        &self,
        owner: Owner,
        subject: u32,
        freed: u64,
        young: u64,
    ) -> Option<Reachability> {
        let refused = self.refused.iter().find(|(other, _)| *other == owner);
        if let Some((_, why)) = refused {
            return Some(Reachability {
                subject,
                registers: Registers::None,
                limits: vec![format!("not judged: {why}")],
                ..Reachability::default()
            });
        }
        let judged = self.judged.get(&owner)?;
        let earlier = self.errors.get(&owner).map_or(0, |errors| errors.lost);
        Some(Reachability {
            subject,
            blocks_young: young,
            lost_before: earlier + judged.count_lost(),
            freed_after_lost: freed,
            ..judged.outcome.reachability.clone()
        })
    }
}

impl Task {
    fn run(mut self, live: &LiveReader) -> (Found, Errors) {
        let errors = self.proven(live);
        let found = match self.judge(live) {
            Ok(judged) => Found::Judged(Box::new(judged)),
            Err(error) => Found::Not(words::error::plain(&error.to_string())),
        };
        (found, errors)
    }

    /// Which of the blocks that were called lost are gone.
    fn proven(&mut self, live: &LiveReader) -> Errors {
        let earlier = self.earlier.take();
        let Some(earlier) = earlier.filter(|earlier| earlier.count_lost() > 0) else {
            return Errors::default();
        };
        let mut freed = earlier.lost.clone().unwrap_or_default();
        let lost = earlier.count_lost();
        let image = self.owner.image;
        let read = live.for_each(|address, own, block| {
            let is_lost = own == image && earlier.class(earlier.find(address, block)).is_lost();
            if is_lost && let Some(freed) = freed.get_mut(&block.stack) {
                *freed = freed.saturating_sub(1);
            }
        });
        // What could not be read proves nothing.
        freed.retain(|_, freed| *freed > 0 && read.is_ok());
        Errors { lost, freed }
    }

    fn judge(&self, live: &LiveReader) -> anyhow::Result<Judged> {
        let (pid, image) = (self.owner.tgid, self.owner.image);
        let now_ns = monotonic_ns();
        let until_ns = now_ns.saturating_sub(OLD_NS);
        let older = match self.older_exist {
            true => OlderBlocks::of(pid),
            false => OlderBlocks::None,
        };
        let newer = Newer {
            live: live.clone(),
            image,
            since_ns: now_ns,
        };
        let target = ProcessTarget::new(pid, older, newer)?;
        let blocks = listed(live, pid, image, until_ns..now_ns)?;
        Ok(Judged {
            outcome: reach(target, blocks, Limits::DEFAULT)?,
            until_ns,
            lost: None,
        })
    }
}

/// The blocks of a program that were allocated before the end of `young_ns`, and are young if that was within it.
fn listed(live: &LiveReader, pid: u32, image: u32, young_ns: Range<u64>) -> anyhow::Result<Blocks> {
    let mappings = maps::read(pid)?;
    let writable = mappings.iter().filter(|mapping| mapping.write);
    let (bytes, count) = writable.fold((0, 0), |(bytes, count), mapping| {
        (bytes + mapping.end - mapping.start, count + 1)
    });
    let mut failed = None;
    let all = blocks(bytes, count, |each| {
        let read = live.for_each(|address, own, block| {
            if own == image && block.time_ns <= young_ns.end {
                let is_young = block.time_ns > young_ns.start;
                each(address, block.size, block.stack, is_young);
            }
        });
        failed = failed.take().or(read.err());
    })?;
    failed.map_or(Ok(all), |error| Err(error.into()))
}

/// The blocks of a program that were allocated since they were listed.
struct Newer {
    live: LiveReader,
    image: u32,
    since_ns: u64,
}

impl NewerBlocks for Newer {
    fn list(&mut self) -> Vec<Range<u64>> {
        let mut newer = Vec::new();
        // What cannot be read holds nothing, and what it alone holds is not called lost before three passes agree.
        let _ = self.live.for_each(|address, image, block| {
            if image == self.image && block.time_ns > self.since_ns {
                newer.push(address..address + block.size);
            }
        });
        newer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_add_up() {
        let mut sums = ClassSums::default();
        sums.add(Class::Lost, 100, 2);
        sums.add(Class::Held, 7, 1);
        let mut other = ClassSums::default();
        other.add(Class::NotJudged, 5, 1);
        other.add(Class::Lost, 30, 1);
        sums.merge(&other);
        assert_eq!(sums.of(Class::Lost), (130, 3));
        assert_eq!(sums.of(Class::NotJudged), (5, 1));
        assert_eq!(sums.of(Class::Held), (7, 1));
        assert_eq!(sums.of(Class::StackOnly), (0, 0));
    }
}
