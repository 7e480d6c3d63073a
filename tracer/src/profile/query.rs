//! Questions to a profile: values, sums, the first samples, equal stacks, groups of processes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::measure::{Measure, Source};
use super::number::{Number, Values};
use super::reach::Holder;
use super::sample::{Detail, Mapper, Omitted, Sample};
use super::section::{Group, Grouping};
use super::stack::{CutReason, Frame, Module, Stack};
use super::subject::Subject;
use super::{Builder, Meta, Profile};

/// What makes two frames of different processes the same: function, file and place in it. Addresses differ, as programs
/// are loaded anywhere; paths differ from one container to the next.
pub type Code<'a> = (Option<&'a str>, Option<&'a str>, Option<u64>, bool);

/// How many samples of each source a report shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// With a stack, over all subjects; `None` is all.
    pub stacks: Option<usize>,
    /// With a stack, of each of the first so many subjects.
    pub per_subject: usize,
    /// Without a stack; `None` is all.
    pub others: Option<usize>,
}

impl Shown {
    /// All samples.
    pub const ALL: Self = Self {
        stacks: None,
        per_subject: 0,
        others: None,
    };
}

impl Profile {
    /// Column of a measure, if the profile has it.
    pub fn column(&self, measure: Measure) -> Option<usize> {
        self.measures.iter().position(|own| *own == measure)
    }

    /// Whether anything of a source is in the profile.
    pub fn has(&self, source: Source) -> bool {
        self.measures
            .iter()
            .any(|measure| measure.source() == source)
    }

    /// The source that it is about in the first place.
    pub fn main_source(&self) -> Source {
        let sources = [
            Source::Heap,
            Source::AddressSpace,
            Source::Kernel,
            Source::PageFaults,
        ];
        let present = sources.into_iter().find(|source| self.has(*source));
        present.unwrap_or(Source::Process)
    }

    /// Whether a sample's subject must be named: there are several, or there can be.
    pub fn is_of_many(&self) -> bool {
        self.subjects.len() > 1 || self.sections.host_wide.is_some()
    }

    /// A sample's value.
    pub fn value(&self, sample: &Sample, measure: Measure) -> Option<Number> {
        *sample.values.get(self.column(measure)?)?
    }

    /// A sample's value as a whole number.
    pub fn whole(&self, sample: &Sample, measure: Measure) -> Option<i64> {
        self.value(sample, measure).map(Number::whole)
    }

    /// A sample's amount, which is never below zero; 0 where it has none.
    pub fn amount(&self, sample: &Sample, measure: Measure) -> u64 {
        self.whole(sample, measure)
            .unwrap_or(0)
            .max(0)
            .cast_unsigned()
    }

    /// A sample's value; of a difference, the later one.
    pub fn after(&self, sample: &Sample, measure: Measure) -> Option<Number> {
        let value = self.value(sample, measure)?;
        Some(match self.before(sample, measure) {
            Some(before) => before.joined(value, measure),
            None => value,
        })
    }

    /// Of a difference: a sample's earlier value.
    pub fn before(&self, sample: &Sample, measure: Measure) -> Option<Number> {
        *sample.before.get(self.column(measure)?)?
    }

    /// All values of a sample.
    pub fn values(&self, sample: &Sample) -> Values {
        let values = self.measures.iter().zip(&sample.values);
        values
            .filter_map(|(measure, value)| Some((*measure, (*value)?)))
            .collect()
    }

    /// The samples of a source, in their order.
    pub fn samples_of(&self, source: Source) -> impl Iterator<Item = &Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.source == source)
    }

    /// The samples of a source that have a stack.
    pub fn stack_samples(&self, source: Source) -> impl Iterator<Item = &Sample> {
        self.samples_of(source)
            .filter(|sample| sample.stack.is_some())
    }

    /// What is left out of a source: how many samples, and their values together.
    pub fn omitted(&self, source: Source, with_stack: bool) -> (u64, Values) {
        let own = |omitted: &&Omitted| omitted.source == source && omitted.with_stack == with_stack;
        let mut sum = (0, Values::default());
        for omitted in self.omitted.iter().filter(own) {
            sum.0 += omitted.samples;
            sum.1.add(&omitted.values);
        }
        sum
    }

    /// How many samples with a stack there are of a source, and a measure's sum over them; shown or not. Pages under
    /// memory of another kind are not in the sum.
    pub fn stacks_total(&self, source: Source, measure: Measure) -> (u64, u64) {
        let (omitted, values) = self.omitted(source, true);
        let samples = self.stack_samples(source);
        samples.fold((omitted, values.amount(measure)), |(count, sum), sample| {
            let amount = match sample.is_backing() {
                true => 0,
                false => self.amount(sample, measure),
            };
            (count + 1, sum.saturating_add(amount))
        })
    }

    /// The figures of all subjects together.
    pub fn totals(&self) -> Values {
        let mut sum = Values::default();
        self.subjects
            .iter()
            .for_each(|subject| sum.add(&subject.totals));
        sum
    }

    /// A subject.
    pub fn subject(&self, index: u32) -> Option<&Subject> {
        self.subjects.get(index as usize)
    }

    /// The subject of a PID: after an `exec` that of the newer program.
    pub fn process(&self, pid: u32) -> Option<&Subject> {
        let own = self
            .subjects
            .iter()
            .filter(|subject| subject.pid == Some(pid));
        own.max_by_key(|subject| subject.image)
    }

    /// A stack.
    pub fn stack(&self, index: u32) -> Option<&Stack> {
        self.stacks.get(index as usize)
    }

    /// A sample's frames, innermost first; none where it has no stack.
    pub fn frames(&self, sample: &Sample) -> impl Iterator<Item = &Frame> {
        self.frames_of(sample.stack)
    }

    /// A stack's frames, innermost first.
    pub fn frames_of(&self, stack: Option<u32>) -> impl Iterator<Item = &Frame> {
        let stack = stack.and_then(|stack| self.stack(stack));
        let indices = stack.into_iter().flat_map(|stack| &stack.frames);
        indices.filter_map(|frame| self.frames.get(*frame as usize))
    }

    /// Why a sample's stack is cut, where it is.
    pub fn cut(&self, sample: &Sample) -> Option<CutReason> {
        self.stack(sample.stack?)?.cut
    }

    /// A frame's module.
    pub fn module(&self, frame: &Frame) -> Option<&Module> {
        self.modules.get(frame.module? as usize)
    }

    /// What a frame is compared by, over processes, hosts and builds.
    pub fn code<'a>(&'a self, frame: &'a Frame) -> Code<'a> {
        if let (false, Some(symbol)) = (frame.kind.is_native(), frame.symbol.as_deref()) {
            // A code object lies elsewhere in each process, and has one address for all of its lines.
            let line = frame.line.map(u64::from);
            return (Some(symbol), frame.file.as_deref(), line, false);
        }
        let module = self.module(frame);
        let name = module.map(|module| module.path.rsplit('/').next().unwrap_or(&module.path));
        let module = module
            .and_then(|module| module.build_id.as_deref())
            .or(name);
        let place = match (frame.offset, frame.module_offset) {
            _ if frame.inlined => frame.line.map(u64::from),
            (Some(offset), _) | (None, Some(offset)) => Some(offset),
            (None, None) => Some(frame.address),
        };
        (frame.symbol.as_deref(), module, place, frame.inlined)
    }

    /// Adds a source's samples up by one measure and sorts them, most first. Equal ones stay in their order.
    pub fn sort(&mut self, source: Source, measure: Measure) {
        let Some(column) = self.column(measure) else {
            return;
        };
        let value = |sample: &Sample| match sample.source == source {
            true => sample
                .values
                .get(column)
                .copied()
                .flatten()
                .map_or(i64::MIN, Number::whole),
            false => 0,
        };
        // Samples of different sources keep their order, as the key begins with the source.
        self.samples
            .sort_by_key(|sample| (sample.source, Reverse(value(sample))));
    }

    /// The profile with the first samples only; the others are summed up by subject.
    pub fn top(&self, shown: Shown) -> Self {
        if shown == Shown::ALL {
            return self.clone();
        }
        let mut counts: HashMap<(Source, bool), usize> = HashMap::new();
        let mut own: HashMap<(Source, u32), usize> = HashMap::new();
        let mut rest: BTreeMap<(Source, u32, bool), (u64, Values)> = BTreeMap::new();
        for omitted in &self.omitted {
            let sum = rest
                .entry((omitted.source, omitted.subject, omitted.with_stack))
                .or_default();
            sum.0 += omitted.samples;
            sum.1.add(&omitted.values);
        }
        let first_subjects = shown.stacks.unwrap_or(usize::MAX);
        let mut kept = Vec::new();
        for sample in &self.samples {
            let with_stack = sample.stack.is_some();
            let place = counts.entry((sample.source, with_stack)).or_default();
            let limit = if with_stack {
                shown.stacks
            } else {
                shown.others
            };
            let mut is_kept = *place < limit.unwrap_or(usize::MAX);
            *place += 1;
            if with_stack && shown.per_subject > 0 && (sample.subject as usize) < first_subjects {
                let own = own.entry((sample.source, sample.subject)).or_default();
                is_kept |= *own < shown.per_subject;
                *own += 1;
            }
            if is_kept {
                kept.push(sample.clone());
            } else {
                let sum = rest
                    .entry((sample.source, sample.subject, with_stack))
                    .or_default();
                sum.0 += 1;
                if !sample.is_backing() {
                    sum.1.add(&self.values(sample));
                }
            }
        }
        let omitted =
            rest.into_iter().map(
                |((source, subject, with_stack), (samples, values))| Omitted {
                    source,
                    subject,
                    with_stack,
                    samples,
                    values,
                },
            );
        self.with_samples(kept, omitted.collect())
    }

    /// The samples that fulfill a condition; what is left out is not summed up.
    pub fn filter(&self, is_wanted: impl Fn(&Sample) -> bool) -> Self {
        let kept = self.samples.iter().filter(|sample| is_wanted(sample));
        self.with_samples(kept.cloned().collect(), self.omitted.clone())
    }

    /// The part of a profile of several sources that is about one of them.
    pub fn only(&self, source: Source) -> Self {
        let mut only = self.filter(|sample| sample.source == source);
        let columns: Vec<bool> = self
            .measures
            .iter()
            .map(|measure| measure.source() == source)
            .collect();
        let keep = |values: &mut Vec<Option<Number>>| {
            let mut wanted = columns.iter();
            values.retain(|_| wanted.next() == Some(&true));
        };
        only.measures.retain(|measure| measure.source() == source);
        for sample in &mut only.samples {
            keep(&mut sample.values);
            keep(&mut sample.before);
        }
        only.omitted.retain(|omitted| omitted.source == source);
        for subject in &mut only.subjects {
            subject.totals.retain(|measure| measure.source() == source);
            subject.before.retain(|measure| measure.source() == source);
            if source != Source::AddressSpace {
                subject.regions.clear();
            }
        }
        if source != Source::Heap {
            only.findings.clear();
            only.sections.heap = None;
            only.sections.reachability.clear();
        }
        only
    }

    /// The same with other samples; frames, stacks and modules that nothing refers to any more are dropped.
    pub(super) fn with_samples(&self, samples: Vec<Sample>, omitted: Vec<Omitted>) -> Self {
        let profile = Self {
            samples,
            omitted,
            modules: Vec::new(),
            frames: Vec::new(),
            stacks: Vec::new(),
            schema: self.schema,
            meta: self.meta.clone(),
            complete: self.complete,
            measures: self.measures.clone(),
            subjects: self.subjects.clone(),
            losses: self.losses.clone(),
            notes: self.notes.clone(),
            findings: self.findings.clone(),
            sections: self.sections.clone(),
        };
        profile.with_tables_of(self)
    }

    /// A profile whose indices of stacks and modules are those of another one, with tables of its own: of what it
    /// refers to.
    pub(crate) fn with_tables_of(mut self, other: &Self) -> Self {
        let mut tables = Builder::new(Meta::default());
        let mut moved: HashMap<u32, u32> = HashMap::new();
        self.stack_references().for_each(|stack| {
            let place = moved.entry(*stack);
            *stack = *place.or_insert_with(|| tables.adopt(other, *stack));
        });
        for module in self.sections.cut.iter_mut().map(|cut| &mut cut.module) {
            let known = module.and_then(|module| other.modules.get(module as usize));
            *module = known.map(|known| tables.module(&known.path, known.build_id.as_deref()));
        }
        let tables = tables.finish();
        Self {
            modules: tables.modules,
            frames: tables.frames,
            stacks: tables.stacks,
            ..self
        }
    }

    /// All indices of stacks that the profile has: of its samples, their holders and what they touched, of its findings.
    pub(crate) fn stack_references(&mut self) -> impl Iterator<Item = &mut u32> {
        let of_samples = self.samples.iter_mut().flat_map(|sample| {
            let touched = match &mut sample.detail {
                Some(Detail::Touched(touched)) => touched.as_mut_slice(),
                _ => &mut [],
            };
            let mappers = touched
                .iter_mut()
                .filter_map(|range| match &mut range.mapper {
                    Mapper::Stack(stack) => Some(stack),
                    Mapper::Before | Mapper::Unknown => None,
                });
            let held = sample.holders.iter_mut().flat_map(linked);
            sample.stack.iter_mut().chain(held).chain(mappers)
        });
        let of_findings = self.findings.iter_mut().flat_map(|finding| {
            let held = finding.holder.iter_mut().flat_map(linked);
            finding.stack.iter_mut().chain(held)
        });
        of_samples.chain(of_findings)
    }

    /// The subjects summed by what they have in common, that with most of `by` first; none by process and by stack.
    pub fn groups(&self, grouping: Grouping, by: &[Measure]) -> Vec<Group> {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for subject in &self.subjects {
            let name = match grouping {
                Grouping::Container => subject.place.label(),
                Grouping::User => subject.user.clone().unwrap_or_default(),
                Grouping::Process | Grouping::Stack => return Vec::new(),
            };
            let group = groups.entry(name.clone()).or_insert_with(|| Group {
                name,
                ..Group::default()
            });
            group.processes += subject.processes;
            group.totals.add(&subject.totals);
            for (kind, values) in &subject.regions {
                group.regions.entry(*kind).or_default().add(values);
            }
        }
        let mut groups: Vec<Group> = groups.into_values().collect();
        groups.sort_by_key(|group| {
            Reverse(
                by.iter()
                    .map(|by| group.totals.amount(*by))
                    .collect::<Vec<_>>(),
            )
        });
        groups
    }
}

/// The stacks that a holder's links came from.
fn linked(holder: &mut Holder) -> impl Iterator<Item = &mut u32> {
    holder
        .links
        .iter_mut()
        .filter_map(|link| link.stack.as_mut())
}
