//! From the sample of page faults to a profile.

use std::cmp::Reverse;
use std::collections::HashMap;

use tracer_common::key::Owner;

use super::{Place, Sums, whole};
use crate::engine::{Core, Snapshot};
use crate::profile::{CutReason, Detail, Mapper, Measure, PageFaults, Sample, Source, Touched};
use crate::sources::address_space::AddressSpace;
use crate::sources::address_space::space::Origin;

/// Values of a sample.
const MEASURES: [Measure; 6] = [
    Measure::FaultsCount,
    Measure::FaultsMajor,
    Measure::FaultsNewBytes,
    Measure::FaultsChangeBytes,
    Measure::FaultsError,
    Measure::FaultsSamples,
];

impl AddressSpace {
    /// The page faults by now, where they are followed.
    pub(in crate::sources) fn write_faults(&mut self, core: &mut Core, out: &mut Snapshot) {
        // The same moment for both counts, as programs go on.
        let Some(kernel) = self.faults.as_ref().map(super::Faults::kernel) else {
            return;
        };
        self.take_in_all(core);
        let Some(faults) = &mut self.faults else {
            return;
        };
        faults.measure(u64::MAX);
        let mut total = Sums::default();
        let mut rows: Vec<((Owner, u32), Sums)> = Vec::new();
        for (stack, places) in &faults.stacks {
            let mut sums = Sums::default();
            places.values().for_each(|place| sums.add(place));
            total.add(&sums);
            if sums.samples > 0 {
                rows.push((*stack, sums));
            }
        }
        rows.sort_by_key(|(stack, sums)| (Reverse((sums.new_bytes(), whole(sums.faults))), *stack));
        let now: HashMap<(Owner, u32), u64> = rows
            .iter()
            .map(|(stack, sums)| (*stack, sums.new_bytes()))
            .collect();
        let before = std::mem::replace(&mut faults.before, now);
        out.build.measures(MEASURES);
        for (rank, (stack, sums)) in rows.into_iter().enumerate() {
            let Some(subject) = out.subject(stack.0) else {
                continue;
            };
            let mut values = sums.values();
            if core.reports > 0 {
                let recent = sums
                    .new_bytes()
                    .saturating_sub(before.get(&stack).copied().unwrap_or(0));
                values.set(Measure::FaultsChangeBytes, recent);
            }
            if !out.selects(Source::PageFaults, rank, subject, &values) {
                continue;
            }
            let index = core.stack(out, stack.1, stack.0, CutReason::NotKept);
            let touched = self.touched_by(core, out, stack);
            let sample = out
                .build
                .sample(Source::PageFaults, subject, Some(index), &values);
            out.build.add(Sample {
                detail: Some(Detail::Touched(touched)),
                ..sample
            });
        }
        out.build.profile.sections.page_faults = Some(PageFaults {
            totals: total.values(),
            kernel,
        });
    }

    /// What a stack touched, most new memory first.
    fn touched_by(&self, core: &mut Core, out: &mut Snapshot, stack: (Owner, u32)) -> Vec<Touched> {
        let places = self
            .faults
            .as_ref()
            .and_then(|faults| faults.stacks.get(&stack));
        let places = places
            .into_iter()
            .flatten()
            .filter(|(_, sums)| sums.samples > 0);
        let mut places: Vec<(Place, Sums)> = places.map(|(place, sums)| (*place, *sums)).collect();
        places.sort_by_key(|(place, sums)| {
            (
                Reverse((sums.new_bytes(), whole(sums.faults))),
                place.kind,
                place.origin,
            )
        });
        places
            .into_iter()
            .map(|(place, sums)| Touched {
                kind: place.kind,
                file: place.file.and_then(|file| self.file_name(stack.0, file)),
                mapper: match place.origin {
                    Some(Origin::Before) => Mapper::Before,
                    Some(Origin::Call(row)) => {
                        Mapper::Stack(core.stack(out, row, stack.0, CutReason::NotKept))
                    }
                    Some(Origin::Found) | None => Mapper::Unknown,
                },
                faults: whole(sums.faults),
                major: whole(sums.major),
                new_bytes: sums.new_bytes(),
            })
            .collect()
    }
}
