//! From the rows of the programs to a profile.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::Result;
use tracer_common::kernel_memory::{Decoded, Kind, PAGE, What};

use super::stacks::Stacks;
use super::sums::{Place, Sums};
use super::{KernelOrder, KernelTrace};
use crate::engine::{Snapshot, meta};
use crate::profile::{
    Ages, Builder, CutReason, Detail, Filter, KernelObject, KernelSection, LossKey, Losses,
    Measure, Meta, Profile, Sample, Sampling, Source, State, Subject, Values,
};
use crate::words::units::count;

/// Caches named whose releases are missed.
const MISSED_NAMED: usize = 3;

/// Values of a sample.
const MEASURES: [Measure; 6] = [
    Measure::KernelLiveBytes,
    Measure::KernelLiveBlocks,
    Measure::KernelAllocBytes,
    Measure::KernelAllocBlocks,
    Measure::KernelChangeBytes,
    Measure::KernelOldestMs,
];

/// The stacks added up.
#[derive(Default)]
struct Tally {
    kinds: BTreeMap<Kind, Values>,
    backing: BTreeMap<Kind, Values>,
    /// Bytes held of each cache.
    held: HashMap<String, u64>,
    /// Objects of each cache that were allocated again although no release had been seen.
    missed: BTreeMap<String, u64>,
}

/// A stack that holds something.
struct Row {
    place: Place,
    held: Values,
    growth: Option<i64>,
    oldest_ns: Option<u64>,
    ages: Ages,
}

/// Caches that were seen: name and object size by address.
type Seen = HashMap<u64, (String, u32)>;

impl KernelTrace {
    /// The profile of this moment.
    pub(super) fn write(&mut self, elapsed: Duration, last: bool) -> Result<Profile> {
        let now = self.clock.moment_ns();
        let sums = self.sums(now)?;
        let seen = self.memory.caches()?;
        let tally = self.tally(&sums, &seen);
        let mut totals = Values::default();
        tally.kinds.values().for_each(|held| totals.add(held));
        let mut build = Builder::new(Meta {
            elapsed,
            previous: self.previous,
            last,
            ..meta()
        });
        build.measures(MEASURES);
        let subject = build.subject(Subject {
            command: "kernel".to_owned(),
            state: State::Running,
            totals,
            ..Subject::default()
        });
        let mut out = Snapshot::new(build, self.selection, HashMap::new());
        for (rank, row) in self.rows(&sums).into_iter().enumerate() {
            self.write_row(&mut out, &row, (rank, subject), now, &seen);
        }
        let mut profile = out.finish().finish();
        profile.losses = self.losses()?;
        profile.complete = profile.losses.are_harmless();
        profile.notes = self.notes(&tally);
        let mut slab = self.caches.growth(|name| self.held_of(name, &tally));
        if let (Some(slab), Some(shown)) = (&mut slab, self.options.caches) {
            slab.caches.truncate(shown);
        }
        let by_kind = |kinds: BTreeMap<Kind, Values>| {
            kinds
                .into_iter()
                .map(|(kind, held)| (kind.into(), held))
                .collect()
        };
        profile.sections.kernel = Some(KernelSection {
            filter: Filter {
                older: self.options.older,
                min_size: Some(self.options.min_size).filter(|size| *size > 0),
                max_size: None,
                only: self.only(),
            },
            sampling: self
                .options
                .sample_bytes
                .map(|interval| sampling(interval.get(), &sums)),
            kinds: by_kind(tally.kinds),
            backing: by_kind(tally.backing),
            taken_over: self.memory.taken_over()?,
            slab,
        });
        Ok(profile)
    }

    fn losses(&self) -> Result<Losses> {
        let mut losses: Losses = LossKey::all()
            .filter(|key| matches!(key, LossKey::Kernel(_)))
            .map(|key| (key, 0))
            .collect();
        for (loss, count) in self.memory.losses()? {
            losses.add(LossKey::Kernel(loss), count);
        }
        Ok(losses)
    }

    /// Adds up the rows of each stack, and the live blocks.
    fn sums(&self, now: u64) -> Result<BTreeMap<Place, Sums>> {
        let mut sums: BTreeMap<Place, Sums> = BTreeMap::new();
        for (row, stack) in self.stacks.rows() {
            let entry = sums.entry(Place::Stack(stack)).or_default();
            entry.add_totals(&self.memory.totals(row));
            entry.missed_frees += u64::from(self.memory.missed_frees(row));
        }
        let followed: Vec<Kind> = self.kinds().collect();
        let spare = Stacks::spare_rows().filter(|(_, kind)| followed.contains(kind));
        let spare: HashMap<u32, Kind> = spare.collect();
        for (row, kind) in &spare {
            let entry = sums.entry(Place::Spare(*kind)).or_default();
            entry.add_totals(&self.memory.totals(*row));
        }
        let interval = self.options.sample_bytes.map_or(0, u64::from);
        let older = u64::try_from(self.options.older.as_nanos()).unwrap_or(u64::MAX);
        self.memory.for_each_live(|block| {
            let place = match spare.get(&block.row) {
                Some(kind) => Some(Place::Spare(*kind)),
                None => self.stacks.of_row(block.row).map(Place::Stack),
            };
            if let Some(entry) = place.and_then(|place| sums.get_mut(&place)) {
                entry.add_block(block, interval, now.saturating_sub(block.time_ns), older);
            }
        })?;
        Ok(sums)
    }

    /// Adds the stacks up by kind and by cache.
    fn tally(&self, sums: &BTreeMap<Place, Sums>, seen: &Seen) -> Tally {
        let none = Sums::default().held(false);
        let mut tally = Tally {
            kinds: self.kinds().map(|kind| (kind, none.clone())).collect(),
            ..Tally::default()
        };
        for (place, sums) in sums {
            let held = sums.held(false);
            match self.backing(*place) {
                Some(kind) => tally.backing.entry(kind).or_default().add(&held),
                None => tally.kinds.entry(self.kind(*place)).or_default().add(&held),
            }
            let Place::Stack(stack) = place else { continue };
            let name = self.caches.name(self.stacks.all()[*stack].what, seen);
            if sums.missed_frees > 0 {
                *tally.missed.entry(name.clone()).or_default() += sums.missed_frees;
            }
            *tally.held.entry(name).or_default() += held.amount(Measure::KernelLiveBytes);
        }
        tally
    }

    /// The stacks that hold something, in the order to show them.
    fn rows(&mut self, sums: &BTreeMap<Place, Sums>) -> Vec<Row> {
        let by_age = !self.options.older.is_zero();
        let mut now = HashMap::new();
        let mut rows = Vec::new();
        for (place, sums) in sums {
            let held = sums.held(by_age);
            let bytes = held.amount(Measure::KernelLiveBytes);
            let before = self.held_before.get(place).copied().unwrap_or(0);
            now.insert(*place, bytes);
            let growth = bytes.cast_signed() - before.cast_signed();
            if bytes > 0 {
                rows.push(Row {
                    place: *place,
                    held,
                    growth: (self.reports > 0).then_some(growth),
                    oldest_ns: sums.oldest_ns,
                    ages: sums.ages.clone(),
                });
            }
        }
        self.held_before = now;
        sort(&mut rows, self.options.sort);
        rows
    }

    /// What the stacks hold of a cache that is followed; `None` if slab objects are not.
    fn held_of(&self, name: &str, tally: &Tally) -> Option<u64> {
        let is_followed = self.options.order.is_none();
        is_followed.then(|| tally.held.get(name).copied().unwrap_or(0))
    }

    /// Kinds that are followed.
    fn kinds(&self) -> impl Iterator<Item = Kind> + use<> {
        let (slab, order) = (self.options.slab.is_some(), self.options.order.is_some());
        Kind::ALL.into_iter().filter(move |kind| match kind {
            Kind::Slab => !order,
            Kind::Pages => !slab,
            Kind::PerCpu => !order && !slab,
        })
    }

    fn kind(&self, place: Place) -> Kind {
        match place {
            Place::Stack(stack) => self.stacks.all()[stack].what.kind(),
            Place::Spare(kind) => kind,
        }
    }

    /// The kind under which pages lie, where that kind is followed: they would be counted twice.
    fn backing(&self, place: Place) -> Option<Kind> {
        let Place::Stack(stack) = place else {
            return None;
        };
        let under = self.stacks.all()[stack].backing?;
        self.kinds().any(|kind| kind == under).then_some(under)
    }

    /// What is followed, where that is not everything.
    fn only(&self) -> Option<String> {
        match (&self.options.slab, self.options.order) {
            (Some(name), _) => Some(format!("slab cache {name}")),
            (None, Some(order)) => Some(format!("pages of order {order}")),
            (None, None) => None,
        }
    }

    fn notes(&self, tally: &Tally) -> Vec<String> {
        let mut notes = self.memory.gaps().to_vec();
        notes.extend(self.caches.notes().iter().cloned());
        if self.options.slab.is_none() && !self.options.movable {
            notes.push(
                "movable pages, which are user memory and page cache, are left out (--movable)"
                    .to_owned(),
            );
        }
        notes.extend(missed(&tally.missed));
        notes
    }

    /// Writes the sample of a row, unless it is only summed up.
    fn write_row(
        &mut self,
        out: &mut Snapshot,
        row: &Row,
        (rank, subject): (usize, u32),
        now: u64,
        seen: &Seen,
    ) {
        let mut values = row.held.clone();
        values.set_some(Measure::KernelChangeBytes, row.growth);
        let oldest = row
            .oldest_ns
            .map(|then| now.saturating_sub(then) / 1_000_000);
        values.set_some(Measure::KernelOldestMs, oldest);
        // What lies under another kind is not added to the sum of what is left out.
        let mut omitted = values.clone();
        if self.backing(row.place).is_some() {
            omitted.set(Measure::KernelLiveBytes, 0_u64);
        }
        if !out.selects(Source::Kernel, rank, subject, &omitted) {
            return;
        }
        let kind = self.kind(row.place);
        let (what, size, stack) = match row.place {
            Place::Stack(index) => {
                let known = &self.stacks.all()[index];
                let frames = self.symbolizer.symbolize(&known.frames);
                let frames = out.intern(&frames);
                let stack = out.build.stack(frames, None);
                (
                    self.caches.name(known.what, seen),
                    size(known.what, seen),
                    stack,
                )
            }
            Place::Spare(kind) => {
                let what = match kind {
                    Kind::Slab => "slab objects",
                    Kind::Pages => "pages",
                    Kind::PerCpu => "per-CPU memory",
                };
                (
                    what.to_owned(),
                    None,
                    out.build
                        .stack(Vec::new(), Some(CutReason::NotKeptOrNotWalked)),
                )
            }
        };
        let backing = self.backing(row.place).map(Into::into);
        let sample = out
            .build
            .sample(Source::Kernel, subject, Some(stack), &values);
        let object = KernelObject {
            kind: kind.into(),
            what,
            size,
            backing,
        };
        out.build.add(Sample {
            detail: Some(Detail::Kernel(object)),
            ages: row.ages.clone(),
            ..sample
        });
    }
}

fn sampling(interval_bytes: u64, sums: &BTreeMap<Place, Sums>) -> Sampling {
    let variance: f64 = sums.values().map(|sums| sums.variance).sum();
    Sampling {
        interval_bytes,
        live_samples: sums.values().map(|sums| sums.samples).sum(),
        standard_error_bytes: variance.sqrt().round() as u64,
    }
}

/// Of which caches releases are missed, the most first: the stacks that hold these hold less than it seems.
fn missed(caches: &BTreeMap<String, u64>) -> Option<String> {
    let mut caches: Vec<(&String, &u64)> = caches.iter().collect();
    caches.sort_by_key(|(name, count)| (Reverse(**count), *name));
    let named = caches.iter().take(MISSED_NAMED);
    let mut named: Vec<String> = named
        .map(|(name, missed)| format!("{name} ({})", count(**missed)))
        .collect();
    if caches.len() > MISSED_NAMED {
        named.push(format!("{} more", caches.len() - MISSED_NAMED));
    }
    (!named.is_empty()).then(|| {
        format!(
            "releases that were not seen were of {}: what stacks hold of these may be too much",
            named.join(", ")
        )
    })
}

/// Bytes of one object or block.
fn size(what: What, seen: &Seen) -> Option<u64> {
    match what.decode() {
        Decoded::Cache(address) => seen.get(&address).map(|(_, size)| u64::from(*size)),
        Decoded::Kmalloc { bytes, .. } => Some(bytes),
        Decoded::Pages { order } => Some(PAGE << order),
        Decoded::PerCpu => None,
    }
}

/// Sorts the stacks, the same ones in the same way each time.
fn sort(rows: &mut [Row], order: KernelOrder) {
    rows.sort_by_key(|row| {
        let bytes = row.held.amount(Measure::KernelLiveBytes);
        let by = match order {
            KernelOrder::Bytes => i128::from(bytes),
            KernelOrder::Count => i128::from(row.held.amount(Measure::KernelLiveBlocks)),
            KernelOrder::Growth => i128::from(row.growth.unwrap_or(0)),
            KernelOrder::Age => -i128::from(row.oldest_ns.unwrap_or(u64::MAX)),
        };
        (Reverse((by, bytes)), row.place)
    });
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_whose_releases_are_missed_are_named() {
        assert_eq!(missed(&BTreeMap::new()), None);
        let names = [("a", 1), ("b", 3_000), ("c", 2), ("d", 1)];
        let caches = names.map(|(name, count)| (name.to_owned(), count)).into();
        let told = missed(&caches).expect("a sentence");
        assert!(
            told.contains("of b (3,000), c (2), a (1), 1 more:"),
            "{told}"
        );
    }
}
