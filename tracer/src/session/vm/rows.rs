//! From the accounts and the page maps to a report.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use tracer_common::key::Owner;
use tracer_common::limits;
use tracer_common::stack::{End, StackMeta};

use super::Vm;
use super::account::Account;
use crate::cli::SpaceSort;
use crate::process::pagemap;
use crate::report::Grouping;
use crate::report::space::group;
use crate::report::space::{Amount, SpaceOther, SpaceProcess, SpaceReport, SpaceStack};
use crate::session::output::Reader;
use crate::session::progress::Step;
use crate::session::start::monotonic_ns;
use crate::space::{Kind, Origin, Piece, Residence, residence};
use crate::symbolize::Frame;

/// Rows of what no call has mapped that are shown of each report, where the number of stacks is limited.
const OTHERS_SHOWN: usize = 10;

/// Bytes mapped at the last report.
#[derive(Default)]
pub struct Before {
    pub(super) programs: HashMap<Owner, u64>,
    stacks: HashMap<(Owner, u32), u64>,
}

/// One program's part of a report.
#[derive(Default)]
struct Part {
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

impl Vm<'_> {
    /// Makes and prints one report, and writes the files.
    pub(super) fn report(&mut self, last: bool) -> Result<Reader> {
        let requested = Instant::now();
        let step = Step::new("measuring");
        self.drain();
        let runs = |owner: &Owner| {
            self.accounts
                .get(owner)
                .is_some_and(|account| !account.over)
        };
        let owners = self.images.iter().map(|image| image.owner);
        let owners: Vec<Owner> = owners.filter(runs).collect();
        self.reconcile(owners);
        self.resolve_new_stacks(usize::MAX);
        let mut parts = self.parts();
        let top = self.config.output.top.unwrap_or(usize::MAX);
        let all = self.printer.wants_all_stacks();
        // Which stacks are alike is known when all have names.
        let by_stack = self.config.by == Some(Grouping::Stack);
        let most = if all || by_stack { usize::MAX } else { top };
        let mut report = self.render(&mut parts, last, most)?;
        self.reports += 1;
        self.sweep();
        drop(step);
        // Files have each process's stacks, all of them; the report has the first ones, or what they have in common.
        let stacks = match all {
            true => (report.stacks.clone(), report.faults.clone()),
            false => (Vec::new(), None),
        };
        if by_stack {
            report.stacks = group::by_stack(std::mem::take(&mut report.stacks));
            report.stacks_total = report.stacks.len();
        }
        report.stacks.truncate(top);
        if let Some(faults) = &mut report.faults {
            faults.stacks.truncate(top);
        }
        let printed = self.printer.print(&report)?;
        if all {
            (report.stacks, report.faults) = stacks;
            self.printer.write_files(&report)?;
        }
        self.log.report(requested);
        Ok(printed)
    }

    /// Measures each program.
    fn parts(&mut self) -> HashMap<Owner, Part> {
        let mut parts = HashMap::new();
        let mut failures = Vec::new();
        for image in &self.images {
            let owner = &image.owner;
            let Some(account) = self.accounts.get(owner) else {
                continue;
            };
            let touched = match account.over {
                true => None,
                false => match touched(account) {
                    Ok(touched) => Some(touched),
                    // Its end is another event.
                    Err(crate::process::ProcessError::Gone { .. }) => None,
                    Err(error) => {
                        failures.push(format!(
                            "what process {} has in memory is not known: {error}",
                            owner.tgid
                        ));
                        None
                    }
                },
            };
            parts.insert(*owner, part(account, touched.as_deref()));
        }
        for failure in failures {
            if !self.notes.contains(&failure) {
                self.notes.push(failure);
            }
        }
        parts
    }

    fn render(
        &mut self,
        parts: &mut HashMap<Owner, Part>,
        last: bool,
        most: usize,
    ) -> Result<SpaceReport> {
        let elapsed = self.started.elapsed();
        let processes = self.process_rows(parts, elapsed);
        let mut rows = self.stack_rows(parts);
        let mut stacks_amount = Amount::default();
        rows.iter()
            .for_each(|row| stacks_amount.add(&row.sums.amount));
        sort(&mut rows, self.config.sort);
        let mut others = other_rows(parts);
        let others_total = others.len();
        if self.config.output.top.is_some() {
            others.truncate(OTHERS_SHOWN);
        }
        let stacks_total = rows.len();
        let now = monotonic_ns();
        rows.truncate(most);
        let stacks = rows
            .into_iter()
            .map(|row| self.stack_row(row, now))
            .collect();
        Ok(SpaceReport {
            time: SystemTime::now(),
            elapsed,
            last,
            loss: self.tracer.losses_by_name()?,
            notes: self
                .notes
                .iter()
                .cloned()
                .chain(self.unwinder.iter().flat_map(|unwinder| unwinder.notes()))
                .chain(self.host_notes())
                .collect(),
            processes,
            stacks,
            stacks_total,
            stacks_amount,
            others,
            others_total,
            faults: self.fault_report(most),
            width: self.config.width,
            command_exit: self.command_exit,
            host: self.host_report(elapsed),
        })
    }

    fn process_rows(
        &mut self,
        parts: &HashMap<Owner, Part>,
        elapsed: Duration,
    ) -> Vec<SpaceProcess> {
        let mut rows = Vec::new();
        for image in &self.images {
            let (Some(part), Some(account)) =
                (parts.get(&image.owner), self.accounts.get(&image.owner))
            else {
                continue;
            };
            let before = &mut self.mapped_before.programs;
            let before = before.insert(image.owner, part.amount.mapped);
            rows.push(SpaceProcess {
                pid: image.owner.tgid,
                comm: image.comm.clone(),
                state: image.state,
                amount: part.amount,
                measured: part.measured,
                kinds: part.kinds.clone(),
                growth: before.map(|before| difference(part.amount.mapped, before)),
                corrections: account.corrections,
                host: self
                    .host
                    .as_mut()
                    .and_then(|host| host.row(account, part.amount.mapped, elapsed)),
            });
        }
        rows.sort_by_key(|row| std::cmp::Reverse((row.amount.resident, row.amount.mapped)));
        rows
    }

    /// Takes the stacks out of the parts.
    fn stack_rows(&mut self, parts: &mut HashMap<Owner, Part>) -> Vec<Row> {
        let mut before = std::mem::take(&mut self.mapped_before.stacks);
        let mut rows = Vec::new();
        for (owner, part) in parts {
            for (row, sums) in part.stacks.drain() {
                let mapped = sums.amount.mapped;
                let old = before.remove(&(*owner, row));
                let growth = (self.reports > 0).then(|| difference(mapped, old.unwrap_or(0)));
                self.mapped_before.stacks.insert((*owner, row), mapped);
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

    /// The frames of a stack that `owner` has, and why it is cut where it is.
    pub(super) fn frames_of(&mut self, row: u32, owner: Owner) -> (Vec<Frame>, Option<String>) {
        let meta = self.tracer.stack_meta(row);
        let Some(meta) = meta.filter(|_| row >= limits::MAX_PROCESSES) else {
            let why = "not kept: the table of stacks was full, or the range was moved there";
            return (Vec::new(), Some(why.to_owned()));
        };
        let addresses = self.tracer.stack_frames(&meta);
        let code = self.code_of(&meta, owner);
        let first_is_return = meta.first_is_return();
        let frames = self.symbolizer.symbolize(code, &addresses, first_is_return);
        (frames, End::from_raw(meta.end).clause().map(str::to_owned))
    }

    fn stack_row(&mut self, row: Row, now: u64) -> SpaceStack {
        let (frames, truncated) = self.frames_of(row.row, row.owner);
        let account = self.accounts.get(&row.owner);
        let totals = account.and_then(|account| account.space.totals().get(&Origin::Call(row.row)));
        let totals = totals.copied().unwrap_or_default();
        let StackSums {
            amount,
            kinds,
            files,
            oldest_ns,
        } = row.sums;
        SpaceStack {
            pid: row.owner.tgid,
            also: Vec::new(),
            amount,
            measured: row.measured,
            kinds: most_first(kinds),
            files: most_first(files),
            mapped_total: totals.mapped,
            unmapped_total: totals.unmapped,
            growth: row.growth,
            oldest: Duration::from_nanos(oldest_ns.map_or(0, |then| now.saturating_sub(then))),
            truncated,
            frames,
        }
    }
}

impl Vm<'_> {
    /// What the addresses of a stack that `owner` has are known by. One that was inherited is the parent's; if that had ended
    /// before its code was looked at, the child has the same code at the same addresses.
    fn code_of(&self, meta: &StackMeta, owner: Owner) -> Owner {
        let parents = Owner {
            tgid: meta.owner.tgid,
            image: meta.code,
        };
        match meta.owner == owner || self.symbolizer.knows(parents) {
            true => parents,
            false => self.running(owner.tgid).unwrap_or(owner),
        }
    }
}

fn difference(now: u64, before: u64) -> i64 {
    i64::try_from(i128::from(now) - i128::from(before)).unwrap_or(i64::MAX)
}

/// Which of a program's pages are in memory or in swap.
fn touched(account: &Account) -> Result<Vec<pagemap::Region>, crate::process::ProcessError> {
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
        let amount = amount_of(piece, residence);
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

pub(super) fn amount_of(piece: &Piece, residence: Residence) -> Amount {
    Amount {
        mapped: piece.len(),
        reserved: if piece.reserved { piece.len() } else { 0 },
        resident: residence.resident,
        swapped: residence.swapped,
        ranges: 1,
    }
}

fn most_first<T: Ord>(sizes: BTreeMap<T, u64>) -> Vec<T> {
    let mut sizes: Vec<(T, u64)> = sizes.into_iter().collect();
    sizes.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    sizes.into_iter().map(|(what, _)| what).collect()
}

fn other_rows(parts: &HashMap<Owner, Part>) -> Vec<SpaceOther> {
    let mut rows: Vec<SpaceOther> = parts
        .iter()
        .flat_map(|(owner, part)| {
            let row =
                |((kind, name, during), amount): (&(Kind, Option<PathBuf>, bool), &Amount)| {
                    SpaceOther {
                        pid: owner.tgid,
                        kind: *kind,
                        name: name.clone(),
                        during: *during,
                        amount: *amount,
                        measured: part.measured,
                    }
                };
            part.others.iter().map(row)
        })
        .collect();
    rows.sort_by_key(|row| {
        let Amount {
            resident, mapped, ..
        } = row.amount;
        (std::cmp::Reverse((resident, mapped)), row.pid, row.kind)
    });
    rows
}

/// Sorts the stacks, the same ones in the same way each time.
fn sort(rows: &mut [Row], order: SpaceSort) {
    rows.sort_by_key(|row| {
        let Amount {
            mapped,
            resident,
            swapped,
            ranges,
            ..
        } = row.sums.amount;
        let by = match order {
            SpaceSort::Resident => i128::from(resident + swapped),
            SpaceSort::Mapped => i128::from(mapped),
            SpaceSort::Ranges => i128::from(ranges),
            SpaceSort::Growth => i128::from(row.growth.unwrap_or(0)),
            SpaceSort::Age => -i128::from(row.sums.oldest_ns.unwrap_or(u64::MAX)),
        };
        (std::cmp::Reverse((by, mapped)), row.owner, row.row)
    });
}
