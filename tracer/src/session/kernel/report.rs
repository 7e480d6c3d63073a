//! From the rows of the programs to a report.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use tracer_common::kernel_memory::{Decoded, Kind, PAGE, What};

use super::Kernel;
use super::stacks::Stacks;
use super::sums::{Place, Sums};
use crate::cli::Sort;
use crate::report::Sampling;
use crate::report::kernel::{Held, KernelReport, KernelStack};
use crate::report::units::count;
use crate::session::output::Reader;
use crate::session::progress::Step;
use crate::session::start::monotonic_ns;

/// Caches that are shown of each report, where the number of stacks is limited.
const CACHES_SHOWN: usize = 10;
/// Caches named whose releases are missed.
const MISSED_NAMED: usize = 3;

impl Kernel<'_> {
    /// Makes and prints one report, and writes the files.
    pub(super) fn report(&mut self, last: bool) -> Result<Reader> {
        let requested = Instant::now();
        let step = Step::new("measuring");
        self.take_stacks(usize::MAX);
        let top = self.config.output.top.unwrap_or(usize::MAX);
        let all = self.printer.wants_all_stacks();
        let mut report = self.render(last, if all { usize::MAX } else { top })?;
        self.reports += 1;
        drop(step);
        let rest = report.stacks.split_off(top.min(report.stacks.len()));
        let printed = self.printer.print(&report)?;
        if all {
            report.stacks.extend(rest);
            self.printer.write_files(&report)?;
        }
        self.log.report(requested);
        Ok(printed)
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
        let interval = self.config.sample_bytes.map_or(0, u64::from);
        let older = u64::try_from(self.config.older.as_nanos()).unwrap_or(u64::MAX);
        self.memory.for_each_live(|block| {
            let place = match spare.get(&block.row) {
                Some(kind) => Some(Place::Spare(*kind)),
                None => self.stacks.of_row(block.row).map(Place::Stack),
            };
            if let Some(entry) = place.and_then(|place| sums.get_mut(&place)) {
                let age = now.saturating_sub(block.time_ns);
                entry.add_block(block, interval, age >= older);
            }
        })?;
        Ok(sums)
    }

    fn render(&mut self, last: bool, most: usize) -> Result<KernelReport> {
        let now = monotonic_ns();
        let sums = self.sums(now)?;
        let seen = self.memory.caches()?;
        let tally = self.tally(&sums, &seen);
        let mut rows = self.rows(&sums);
        let stacks_total = rows.len();
        let own = rows.iter().filter(|row| self.backing(row.place).is_none());
        let stacks_live_bytes = own.map(|row| row.held.live_bytes).sum();
        rows.truncate(most);
        let (mut caches, grown) = self.caches.growth(|name| self.held_of(name, &tally));
        let caches_total = caches.len();
        if self.config.output.top.is_some() {
            caches.truncate(CACHES_SHOWN);
        }
        let losses = self.memory.losses()?.into_iter();
        Ok(KernelReport {
            time: SystemTime::now(),
            elapsed: self.started.elapsed(),
            last,
            loss: losses.map(|(loss, count)| (loss.name(), count)).collect(),
            taken_over: self.memory.taken_over()?,
            notes: self.notes(&tally),
            only: self.only(),
            older: self.config.older,
            sampling: self
                .config
                .sample_bytes
                .map(|interval| sampling(interval.get(), &sums)),
            kinds: tally.kinds,
            backing: tally.backing,
            stacks: rows.iter().map(|row| self.row(row, now, &seen)).collect(),
            stacks_total,
            stacks_live_bytes,
            caches,
            caches_total,
            grown,
        })
    }

    /// Adds the stacks up by kind and by cache.
    fn tally(&self, sums: &BTreeMap<Place, Sums>, seen: &HashMap<u64, (String, u32)>) -> Tally {
        let mut tally = Tally {
            kinds: self.kinds().map(|kind| (kind, Held::default())).collect(),
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
            *tally.held.entry(name).or_default() += held.live_bytes;
        }
        tally
    }

    /// The stacks that hold something, in the order to show them.
    fn rows(&mut self, sums: &BTreeMap<Place, Sums>) -> Vec<Row> {
        let by_age = !self.config.older.is_zero();
        let mut now = HashMap::new();
        let mut rows = Vec::new();
        for (place, sums) in sums {
            let held = sums.held(by_age);
            let before = self.held_before.get(place).copied().unwrap_or(0);
            now.insert(*place, held.live_bytes);
            let growth = held.live_bytes.cast_signed() - before.cast_signed();
            if held.live_bytes > 0 {
                rows.push(Row {
                    place: *place,
                    held,
                    growth: (self.reports > 0).then_some(growth),
                    oldest_ns: sums.oldest_ns,
                });
            }
        }
        self.held_before = now;
        sort(&mut rows, self.config.sort);
        rows
    }

    /// What the stacks hold of a cache; `None` if it is not followed.
    fn held_of(&self, name: &str, tally: &Tally) -> Option<u64> {
        let is_followed = match (&self.config.slab, self.config.order) {
            (Some(only), _) => only == name,
            (None, order) => order.is_none(),
        };
        is_followed.then(|| tally.held.get(name).copied().unwrap_or(0))
    }

    /// Kinds that are followed.
    fn kinds(&self) -> impl Iterator<Item = Kind> + use<> {
        let (slab, order) = (self.config.slab.is_some(), self.config.order.is_some());
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
        match (&self.config.slab, self.config.order) {
            (Some(name), _) => Some(format!("slab cache {name}")),
            (None, Some(order)) => Some(format!("pages of order {order}")),
            (None, None) => None,
        }
    }

    fn notes(&self, tally: &Tally) -> Vec<String> {
        let mut notes = self.memory.gaps().to_vec();
        notes.extend(self.caches.notes().iter().cloned());
        if self.config.slab.is_none() && !self.config.movable {
            notes.push(
                "movable pages, which are user memory and page cache, are left out (--movable)"
                    .to_owned(),
            );
        }
        notes.extend(missed(&tally.missed));
        notes
    }

    fn row(&mut self, row: &Row, now: u64, seen: &HashMap<u64, (String, u32)>) -> KernelStack {
        let then = row.oldest_ns;
        let common = KernelStack {
            kind: self.kind(row.place),
            what: String::new(),
            size: None,
            held: row.held,
            growth: row.growth,
            oldest: then.map(|then| Duration::from_nanos(now.saturating_sub(then))),
            backing: self.backing(row.place),
            truncated: None,
            frames: Vec::new(),
        };
        match row.place {
            Place::Stack(stack) => {
                let stack = &self.stacks.all()[stack];
                KernelStack {
                    what: self.caches.name(stack.what, seen),
                    size: size(stack.what, seen),
                    frames: self.symbolizer.symbolize(&stack.frames),
                    ..common
                }
            }
            Place::Spare(kind) => {
                let what = match kind {
                    Kind::Slab => "slab objects",
                    Kind::Pages => "pages",
                    Kind::PerCpu => "per-CPU memory",
                };
                let why = "not kept: the table of stacks was full, or the kernel could not walk it";
                KernelStack {
                    what: what.to_owned(),
                    truncated: Some(why.to_owned()),
                    ..common
                }
            }
        }
    }
}

/// The stacks added up.
#[derive(Default)]
struct Tally {
    kinds: BTreeMap<Kind, Held>,
    backing: BTreeMap<Kind, Held>,
    /// Bytes held of each cache.
    held: HashMap<String, u64>,
    /// Objects of each cache that were allocated again although no release had been seen.
    missed: BTreeMap<String, u64>,
}

/// A stack that holds something.
struct Row {
    place: Place,
    held: Held,
    growth: Option<i64>,
    oldest_ns: Option<u64>,
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
    caches.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    let mut named: Vec<String> = caches
        .iter()
        .take(MISSED_NAMED)
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
fn size(what: What, seen: &HashMap<u64, (String, u32)>) -> Option<u64> {
    match what.decode() {
        Decoded::Cache(address) => seen.get(&address).map(|(_, size)| u64::from(*size)),
        Decoded::Kmalloc { bytes, .. } => Some(bytes),
        Decoded::Pages { order } => Some(PAGE << order),
        Decoded::PerCpu => None,
    }
}

/// Sorts the stacks, the same ones in the same way each time.
fn sort(rows: &mut [Row], order: Sort) {
    rows.sort_by_key(|row| {
        let by = match order {
            Sort::Bytes => i128::from(row.held.live_bytes),
            Sort::Count => i128::from(row.held.live_count),
            Sort::Growth => i128::from(row.growth.unwrap_or(0)),
            Sort::Age => -i128::from(row.oldest_ns.unwrap_or(u64::MAX)),
        };
        (std::cmp::Reverse((by, row.held.live_bytes)), row.place)
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
