//! From the sample of page faults to the part of a report that is about them.

use std::collections::HashMap;
use std::path::PathBuf;

use tracer_common::key::Owner;

use super::{Place, Sums};
use crate::process::maps::FileId;
use crate::report::space::faults::{FaultAmount, FaultReport, FaultStack, Mapper, Touched};
use crate::session::vm::Vm;
use crate::space::Origin;

impl Vm<'_> {
    /// The page faults by now, where they are followed: of at most so many stacks.
    pub(in crate::session::vm) fn fault_report(&mut self, most: usize) -> Option<FaultReport> {
        // The same moment for both counts, as programs go on.
        let kernel = self.faults.as_ref()?.kernel();
        self.drain();
        let faults = self.faults.as_mut()?;
        faults.measure(u64::MAX);
        let mut total = Sums::default();
        let mut rows = Vec::new();
        for (stack, places) in &faults.stacks {
            let mut sums = Sums::default();
            places.values().for_each(|place| sums.add(place));
            total.add(&sums);
            if sums.samples > 0 {
                rows.push((*stack, sums.amount()));
            }
        }
        rows.sort_by_key(|(stack, amount)| {
            (std::cmp::Reverse((amount.new_bytes, amount.faults)), *stack)
        });
        let stacks_total = rows.len();
        let is_first = self.reports == 0;
        let new_bytes = rows
            .iter()
            .map(|(stack, amount)| (*stack, amount.new_bytes))
            .collect();
        let before = match &mut self.faults {
            Some(faults) => std::mem::replace(&mut faults.before, new_bytes),
            None => HashMap::new(),
        };
        rows.truncate(most);
        let stacks = rows
            .into_iter()
            .map(|(stack, amount)| {
                let (frames, truncated) = self.frames_of(stack.1, stack.0);
                let before = before.get(&stack).copied().unwrap_or(0);
                FaultStack {
                    pid: stack.0.tgid,
                    amount,
                    recent_new_bytes: (!is_first).then(|| amount.new_bytes.saturating_sub(before)),
                    touched: self.touched_by(stack),
                    truncated,
                    frames,
                }
            })
            .collect();
        Some(FaultReport {
            total: total.amount(),
            kernel,
            stacks,
            stacks_total,
        })
    }

    /// What a stack touched, most new memory first.
    fn touched_by(&mut self, stack: (Owner, u32)) -> Vec<Touched> {
        let faults = self.faults.as_ref();
        let places = faults.and_then(|faults| faults.stacks.get(&stack));
        let mut places: Vec<(Place, FaultAmount)> = places
            .into_iter()
            .flatten()
            .filter(|(_, sums)| sums.samples > 0)
            .map(|(place, sums)| (*place, sums.amount()))
            .collect();
        places.sort_by_key(|(place, amount)| {
            let most = std::cmp::Reverse((amount.new_bytes, amount.faults));
            (most, place.kind, place.origin)
        });
        places
            .into_iter()
            .map(|(place, amount)| Touched {
                kind: place.kind,
                file: place.file.and_then(|file| self.file_name(stack.0, file)),
                mapper: match place.origin {
                    Some(Origin::Before) => Mapper::Before,
                    Some(Origin::Call(row)) => Mapper::Stack(self.frames_of(row, stack.0).0),
                    Some(Origin::Found) | None => Mapper::Unknown,
                },
                amount,
            })
            .collect()
    }

    fn file_name(&self, owner: Owner, file: FileId) -> Option<PathBuf> {
        self.accounts.get(&owner)?.names.get(&file).cloned()
    }
}
