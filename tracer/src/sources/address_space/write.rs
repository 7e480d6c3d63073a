//! From the accounts and the page maps to a profile.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;

use tracer_common::key::Owner;

use super::account::Account;
use super::space::{Kind, Origin, Piece, Residence, residence};
use super::{AddressSpace, SpaceOrder};
use crate::engine::{Core, Snapshot};
use crate::process::{ProcessError, pagemap};
use crate::profile::{
    CutReason, Detail, Measure, Omitted, Region, Sample, Source, Subject, Values, difference,
};

/// Values of a sample.
const MEASURES: [Measure; 9] = [
    Measure::VmMappedBytes,
    Measure::VmReservedBytes,
    Measure::VmResidentBytes,
    Measure::VmSwappedBytes,
    Measure::VmRanges,
    Measure::VmMappedTotalBytes,
    Measure::VmUnmappedTotalBytes,
    Measure::VmChangeBytes,
    Measure::VmOldestMs,
];

/// Bytes of a part of an address space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    mapped: u64,
    reserved: u64,
    resident: u64,
    swapped: u64,
    ranges: u64,
}

impl Amount {
    fn of(piece: &Piece, residence: Residence) -> Self {
        Self {
            mapped: piece.len(),
            reserved: if piece.reserved { piece.len() } else { 0 },
            resident: residence.resident,
            swapped: residence.swapped,
            ranges: 1,
        }
    }

    fn add(&mut self, other: &Self) {
        self.mapped += other.mapped;
        self.reserved += other.reserved;
        self.resident += other.resident;
        self.swapped += other.swapped;
        self.ranges += other.ranges;
    }

    /// As values; without what is in memory where that was not measured.
    fn values(&self, measured: bool) -> Values {
        let mut values = Values::default()
            .with(Measure::VmMappedBytes, self.mapped)
            .with(Measure::VmReservedBytes, self.reserved)
            .with(Measure::VmRanges, self.ranges);
        values.set_some(Measure::VmResidentBytes, measured.then_some(self.resident));
        values.set_some(Measure::VmSwappedBytes, measured.then_some(self.swapped));
        values
    }
}

/// One program's part of a profile.
#[derive(Default)]
pub(super) struct Part {
    amount: Amount,
    kinds: BTreeMap<Kind, Amount>,
    stacks: HashMap<u32, StackSums>,
    others: BTreeMap<(Kind, Option<PathBuf>, bool), Amount>,
    measured: bool,
}

/// What one stack has mapped.
#[derive(Default)]
struct StackSums {
    amount: Amount,
    kinds: BTreeMap<Kind, u64>,
    files: BTreeMap<PathBuf, u64>,
    /// When the oldest range was mapped.
    oldest_ns: Option<u64>,
}

/// A stack of a program.
struct Row {
    owner: Owner,
    row: u32,
    sums: StackSums,
    measured: bool,
    growth: Option<i64>,
}

impl AddressSpace {
    /// Measures each program.
    pub(super) fn measure_parts(&mut self, core: &mut Core) {
        self.parts.clear();
        for (owner, account) in &self.accounts {
            if core.members.get(*owner).is_none() {
                continue;
            }
            let touched = match account.over {
                true => None,
                false => match touched(account) {
                    Ok(touched) => Some(touched),
                    // Its end is another event.
                    Err(ProcessError::Gone { .. }) => None,
                    Err(error) => {
                        let pid = owner.tgid;
                        core.notes.add(format!(
                            "what process {pid} has in memory is not known: {error}"
                        ));
                        None
                    }
                },
            };
            self.parts.insert(*owner, part(account, touched.as_deref()));
        }
    }

    /// Adds a program's figures; whether it has an account.
    pub(super) fn describe_program(
        &mut self,
        core: &Core,
        owner: Owner,
        subject: &mut Subject,
    ) -> bool {
        let (Some(part), Some(account)) = (self.parts.get(&owner), self.accounts.get(&owner))
        else {
            return false;
        };
        let totals = &mut subject.totals;
        totals.add(&part.amount.values(part.measured));
        let before = self.before.insert(owner, part.amount.mapped);
        totals.set_some(
            Measure::VmChangeBytes,
            before.map(|before| difference(part.amount.mapped, before)),
        );
        let corrections = &account.corrections;
        for (measure, bytes) in [
            (Measure::VmFoundBytes, corrections.found),
            (Measure::VmGoneBytes, corrections.gone),
            (Measure::VmAccessBytes, corrections.access),
            (Measure::VmRepairedBytes, corrections.repaired),
        ] {
            totals.set(measure, bytes);
        }
        totals.set(Measure::VmUnreadMaps, u64::from(!account.map_known));
        if let Some(rates) = self.rates.get_mut(&owner) {
            rates.add(core.elapsed(), part.amount.mapped, account.calls);
            totals.set_some(Measure::VmGrowthPerMin, rates.growth_per_minute());
            totals.set_some(Measure::VmCallsPerS, rates.per_second());
        }
        let kinds = part.kinds.iter();
        subject.regions = kinds
            .map(|(kind, amount)| (*kind, amount.values(part.measured)))
            .collect();
        true
    }

    /// A sample for each stack, in order, and for what no call of the trace has mapped.
    pub(super) fn write_samples(&mut self, core: &mut Core, out: &mut Snapshot) {
        out.build.measures(MEASURES);
        let mut parts = std::mem::take(&mut self.parts);
        let mut rows = self.rows(core, &mut parts);
        sort(&mut rows, self.options.order);
        let now = core.clock.moment_ns();
        self.stacks.clear();
        for (rank, row) in rows.into_iter().enumerate() {
            let Some(subject) = out.subject(row.owner) else {
                continue;
            };
            let values = self.row_values(&row, now);
            if !out.selects(Source::AddressSpace, rank, subject, &values) {
                continue;
            }
            let stack = core.stack(out, row.row, row.owner, CutReason::NotKeptOrMoved);
            self.stacks.insert(Some((row.owner, row.row)), stack);
            let files = most_first(row.sums.files).into_iter();
            let region = Region {
                kinds: most_first(row.sums.kinds),
                files: files
                    .map(|file| file.to_string_lossy().into_owned())
                    .collect(),
                during_trace: true,
            };
            let sample = out
                .build
                .sample(Source::AddressSpace, subject, Some(stack), &values);
            out.build.add(Sample {
                detail: Some(Detail::Region(region)),
                ..sample
            });
        }
        if parts
            .values()
            .any(|part| part.others.keys().any(|(.., during_trace)| *during_trace))
        {
            self.stacks
                .insert(None, out.build.stack(Vec::new(), Some(CutReason::NoCall)));
        }
        self.write_others(out, &parts);
        self.parts = parts;
    }

    /// Takes the stacks out of the parts.
    fn rows(&mut self, core: &Core, parts: &mut HashMap<Owner, Part>) -> Vec<Row> {
        let mut before = std::mem::take(&mut self.before_by_stack);
        let mut rows = Vec::new();
        for (owner, part) in parts {
            for (row, sums) in part.stacks.drain() {
                let mapped = sums.amount.mapped;
                let old = before.remove(&(*owner, row));
                let growth = (core.reports > 0).then(|| difference(mapped, old.unwrap_or(0)));
                self.before_by_stack.insert((*owner, row), mapped);
                rows.push(Row {
                    owner: *owner,
                    row,
                    sums,
                    measured: part.measured,
                    growth,
                });
            }
        }
        rows
    }

    fn row_values(&self, row: &Row, now: u64) -> Values {
        let account = self.accounts.get(&row.owner);
        let totals = account.and_then(|account| account.space.totals().get(&Origin::Call(row.row)));
        let totals = totals.copied().unwrap_or_default();
        let oldest = row
            .sums
            .oldest_ns
            .map_or(0, |then| now.saturating_sub(then));
        let mut values = row
            .sums
            .amount
            .values(row.measured)
            .with(Measure::VmMappedTotalBytes, totals.mapped)
            .with(Measure::VmUnmappedTotalBytes, totals.unmapped)
            .with(Measure::VmOldestMs, oldest / 1_000_000);
        values.set_some(Measure::VmChangeBytes, row.growth);
        values
    }

    /// A sample for each kind and file that no call of the trace has mapped, those with most in memory first.
    fn write_others(&self, out: &mut Snapshot, parts: &HashMap<Owner, Part>) {
        let mut others: Vec<_> = parts
            .iter()
            .filter_map(|(owner, part)| Some((out.subject(*owner)?, owner.tgid, part)))
            .flat_map(|(subject, pid, part)| {
                let others = part.others.iter();
                others.map(move |(what, amount)| (subject, pid, what, amount, part.measured))
            })
            .collect();
        others.sort_by_key(|(_, pid, (kind, ..), amount, _)| {
            (
                std::cmp::Reverse((amount.resident, amount.mapped)),
                *pid,
                *kind,
            )
        });
        let shown = self.options.others.unwrap_or(usize::MAX);
        for (index, (subject, _, (kind, name, during_trace), amount, measured)) in
            others.into_iter().enumerate()
        {
            let values = amount.values(measured);
            if index >= shown {
                omit(&mut out.build.profile.omitted, subject, &values);
                continue;
            }
            let name = name
                .as_ref()
                .map(|name| name.to_string_lossy().into_owned());
            let region = Region {
                kinds: vec![*kind],
                files: name.into_iter().collect(),
                during_trace: *during_trace,
            };
            let sample = out
                .build
                .sample(Source::AddressSpace, subject, None, &values);
            out.build.add(Sample {
                detail: Some(Detail::Region(region)),
                ..sample
            });
        }
    }

    /// The path of a file that a program has mapped, where it is known.
    pub(in crate::sources) fn file_name(
        &self,
        owner: Owner,
        file: crate::process::maps::FileId,
    ) -> Option<String> {
        let name = self.accounts.get(&owner)?.names.get(&file)?;
        Some(name.to_string_lossy().into_owned())
    }
}

/// Sums up a sample without a stack that is not in the profile.
fn omit(omitted: &mut Vec<Omitted>, subject: u32, values: &Values) {
    let known = omitted.iter_mut().find(|own| {
        own.subject == subject && own.source == Source::AddressSpace && !own.with_stack
    });
    match known {
        Some(known) => {
            known.samples += 1;
            known.values.add(values);
        }
        None => omitted.push(Omitted {
            source: Source::AddressSpace,
            subject,
            with_stack: false,
            samples: 1,
            values: values.clone(),
        }),
    }
}

/// Which of a program's pages are in memory or in swap.
fn touched(account: &Account) -> Result<Vec<pagemap::Region>, ProcessError> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for piece in account.space.pieces().iter() {
        match ranges.last_mut() {
            Some(last) if last.end == piece.start => last.end = piece.end,
            _ => ranges.push(piece.range()),
        }
    }
    pagemap::touched(account.owner.tgid, &ranges)
}

/// Sums up a program's pieces.
fn part(account: &Account, regions: Option<&[pagemap::Region]>) -> Part {
    let mut part = Part {
        measured: regions.is_some(),
        ..Part::default()
    };
    let pieces = account.space.pieces();
    let there = residence(pieces.iter(), regions.unwrap_or_default());
    for (piece, residence) in pieces.iter().zip(there) {
        let amount = Amount::of(piece, residence);
        part.amount.add(&amount);
        part.kinds.entry(piece.kind).or_default().add(&amount);
        let name = piece.file.and_then(|file| account.names.get(&file.id));
        match piece.origin {
            Origin::Call(row) => {
                let sums = part.stacks.entry(row).or_default();
                sums.amount.add(&amount);
                *sums.kinds.entry(piece.kind).or_default() += piece.len();
                if let Some(name) = name {
                    *sums.files.entry(name.clone()).or_default() += piece.len();
                }
                let oldest = sums.oldest_ns.unwrap_or(u64::MAX).min(piece.mapped_ns);
                sums.oldest_ns = Some(oldest);
            }
            Origin::Before | Origin::Found => {
                let during = piece.origin == Origin::Found;
                let key = (piece.kind, name.cloned(), during);
                part.others.entry(key).or_default().add(&amount);
            }
        }
    }
    part
}

fn most_first<T: Ord>(sizes: BTreeMap<T, u64>) -> Vec<T> {
    let mut sizes: Vec<(T, u64)> = sizes.into_iter().collect();
    sizes.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    sizes.into_iter().map(|(what, _)| what).collect()
}

/// Sorts the stacks, the same ones in the same way each time.
fn sort(rows: &mut [Row], order: SpaceOrder) {
    rows.sort_by_key(|row| {
        let Amount {
            mapped,
            resident,
            swapped,
            ranges,
            ..
        } = row.sums.amount;
        let by = match order {
            SpaceOrder::Resident => i128::from(resident + swapped),
            SpaceOrder::Mapped => i128::from(mapped),
            SpaceOrder::Ranges => i128::from(ranges),
            SpaceOrder::Growth => i128::from(row.growth.unwrap_or(0)),
            SpaceOrder::Age => -i128::from(row.sums.oldest_ns.unwrap_or(u64::MAX)),
        };
        (std::cmp::Reverse((by, mapped)), row.owner, row.row)
    });
}
