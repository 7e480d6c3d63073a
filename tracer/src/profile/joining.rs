//! Samples as one: of stacks that several processes have in common, or whose innermost frames agree.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::course::{Course, Form};
use super::history;
use super::measure::{Measure, Source};
use super::number::Number;
use super::query::Code;
use super::reach::Holder;
use super::sample::{Detail, Sample};
use super::stack::CutReason;
use super::{Profile, Values};

impl Profile {
    /// The profile with one sample for each stack that several subjects have in common: the same code, cut for the same
    /// reason. Its subject is that with most of `by`, which is also the order of the samples; the others are in `also`.
    pub fn by_stack(&self, source: Source, by: Measure) -> Self {
        self.joined(source, by, |sample| {
            let code: Vec<Code<'_>> = self.frames(sample).map(|frame| self.code(frame)).collect();
            // Stacks of which nothing is known are not one and the same.
            (!code.is_empty()).then(|| (code, self.cut(sample)))
        })
    }

    /// The profile with one sample for all stacks of a subject whose innermost frames agree, so many of them. Inlined
    /// functions count as the frames that they are printed as. The stack that is kept is the one with most bytes.
    pub fn group_frames(&self, source: Source, frames: usize) -> Self {
        self.joined(source, source.level(), |sample| {
            let inner: Vec<Code<'_>> = self
                .frames(sample)
                .take(frames)
                .map(|frame| self.code(frame))
                .collect();
            let cut: Option<CutReason> = self.cut(sample).filter(|_| inner.len() < frames);
            (!inner.is_empty()).then_some((sample.subject, inner, cut))
        })
    }

    /// The profile with one sample of a source for all with the same key, those with most of `by` first. Samples
    /// without a key stay as they are.
    fn joined<K: Eq + std::hash::Hash>(
        &self,
        source: Source,
        by: Measure,
        key: impl Fn(&Sample) -> Option<K>,
    ) -> Self {
        let mut ordered: Vec<&Sample> = self.stack_samples(source).collect();
        ordered.sort_by_key(|sample| Reverse(self.amount(sample, by)));
        let mut merged: Vec<Sample> = Vec::with_capacity(ordered.len());
        let mut places: HashMap<K, usize> = HashMap::new();
        for sample in ordered {
            let new = merged.len();
            let place = key(sample).map_or(new, |key| *places.entry(key).or_insert(new));
            match merged.get_mut(place) {
                Some(first) => self.join(first, sample),
                None => merged.push(sample.clone()),
            }
        }
        merged.sort_by_key(|sample| Reverse(self.amount(sample, by)));
        let is_other = |sample: &&Sample| sample.source != source || sample.stack.is_none();
        merged.extend(self.samples.iter().filter(is_other).cloned());
        self.with_samples(merged, self.omitted.clone())
    }

    /// Adds a sample to another one.
    fn join(&self, into: &mut Sample, sample: &Sample) {
        for subject in std::iter::once(&sample.subject).chain(&sample.also) {
            if into.subject != *subject && !into.also.contains(subject) {
                into.also.push(*subject);
            }
        }
        let interval = joined_interval(&self.values(into), &self.values(sample));
        let course = self.joined_course(into, sample, interval);
        let values = into.values.iter_mut().zip(&sample.values);
        for ((own, other), measure) in values.zip(&self.measures) {
            *own = match (measure, *own, *other) {
                (Measure::HeapGrowthPerSLow, ..) => interval.map(|(low, _)| low.into()),
                (Measure::HeapGrowthPerSHigh, ..) => interval.map(|(_, high)| high.into()),
                (_, Some(own), Some(other)) => Some(own.joined(other, *measure)),
                (_, own, other) => own.or(other),
            };
        }
        into.course = course;
        history::join(&mut into.history, &sample.history);
        into.ages.merge(&sample.ages);
        into.freed.merge(&sample.freed);
        join_holders(&mut into.holders, &sample.holders);
        if let (Some(own), Some(others)) = (&mut into.blocks, &sample.blocks) {
            own.extend(others);
            own.sort_by_key(|block| Reverse(block.age));
        }
        if let (Some(Detail::Region(own)), Some(Detail::Region(other))) =
            (&mut into.detail, &sample.detail)
        {
            add_new(&mut own.kinds, &other.kinds);
            add_new(&mut own.files, &other.files);
        }
    }

    /// How two samples go on together: they grow if one does and their sum certainly does; or else as the larger one.
    fn joined_course(
        &self,
        one: &Sample,
        other: &Sample,
        interval: Option<(f64, f64)>,
    ) -> Option<Course> {
        let (Some(own), Some(others)) = (one.course, other.course) else {
            return one.course.or(other.course);
        };
        let is_any = |form: Form| own.form == form || others.form == form;
        let size = |sample: &Sample| self.amount(sample, sample.source.level());
        let grows = is_any(Form::Growing) && interval.is_none_or(|(low, _)| low > 0.0);
        let larger = match size(one) >= size(other) {
            true => own.form,
            false => others.form,
        };
        let form = match larger {
            _ if grows => Form::Growing,
            // Neither the sum nor a part of it is known to grow.
            Form::Growing => Form::TooEarly,
            other => other,
        };
        let wait = own.wait.max(others.wait);
        Some(Course {
            form,
            reports: own.reports.max(others.reports),
            wait: wait.filter(|_| form == Form::TooEarly),
        })
    }
}

/// The interval of the sum of two slopes whose errors have nothing to do with each other; `None` where one has none.
fn joined_interval(one: &Values, other: &Values) -> Option<(f64, f64)> {
    let real = |values: &Values, measure: Measure| values.get(measure).map(Number::real);
    let of = |values: &Values| {
        let low = real(values, Measure::HeapGrowthPerSLow)?;
        let high = real(values, Measure::HeapGrowthPerSHigh)?;
        let middle = real(values, Measure::HeapGrowthPerS).unwrap_or((low + high) / 2.0);
        Some((middle, (high - low) / 2.0))
    };
    let grows = |values: &Values| real(values, Measure::HeapGrowthPerS).is_some();
    let (middle, error) = match (of(one), of(other)) {
        (Some(own), Some(other)) => (own.0 + other.0, own.1.hypot(other.1)),
        (Some(own), None) if !grows(other) => own,
        (None, Some(other)) if !grows(one) => other,
        _ => return None,
    };
    Some((middle - error, middle + error))
}

/// The holders of the blocks of both, the way that most have in common first.
fn join_holders(own: &mut Vec<Holder>, others: &[Holder]) {
    let sampled = |holders: &[Holder]| holders.first().map_or(0, |holder| holder.sampled);
    let together = sampled(own).saturating_add(sampled(others));
    for other in others {
        match own.iter_mut().find(|holder| holder.text == other.text) {
            Some(holder) => holder.shared = holder.shared.saturating_add(other.shared),
            None => own.push(other.clone()),
        }
    }
    own.iter_mut().for_each(|holder| holder.sampled = together);
    own.sort_by_key(|holder| Reverse(holder.shared));
}

fn add_new<T: PartialEq + Clone>(own: &mut Vec<T>, others: &[T]) {
    let new: Vec<T> = others
        .iter()
        .filter(|other| !own.contains(other))
        .cloned()
        .collect();
    own.extend(new);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::{Ages, Builder, Frame, Kind, Meta, RootKind, Subject};

    const INNER: [&str; 3] = ["new_node", "insert", "load"];

    /// A stack by the numbers of its frames, innermost first.
    fn stack(build: &mut Builder, frames: &[u8]) -> u32 {
        let frames = frames.iter().map(|number| {
            build.frame(Frame {
                address: u64::from(*number),
                symbol: Some(format!("f{number}").into()),
                ..Frame::default()
            })
        });
        let frames = frames.collect();
        build.stack(frames, None)
    }

    fn growth(low: f64, middle: f64, high: f64) -> Values {
        Values::default()
            .with(Measure::HeapGrowthPerS, middle)
            .with(Measure::HeapGrowthPerSLow, low)
            .with(Measure::HeapGrowthPerSHigh, high)
    }

    fn holder(text: &str, shared: u32, sampled: u32) -> Holder {
        Holder {
            sampled,
            shared,
            root: super::super::HeldFrom {
                kind: RootKind::Global,
                ..Default::default()
            },
            links: Vec::new(),
            more_links: 0,
            text: text.to_owned(),
        }
    }

    #[test]
    fn tiers_of_one_leak_are_one_stack() {
        let mut build = Builder::new(Meta::default());
        build.measures(Measure::of(Source::Heap));
        let subject = build.subject(Subject::process(7, "node"));
        for (bytes, outer, form, holders) in [
            (
                100_u64,
                10,
                Form::Steady,
                vec![holder("a", 4, 10), holder("b", 1, 10)],
            ),
            (900, 11, Form::Growing, vec![holder("b", 9, 10)]),
        ] {
            let stack = stack(&mut build, &[1, 2, outer]);
            let mut values = growth(5.0, 10.0, 15.0).with(Measure::HeapLiveBytes, bytes);
            values.set(Measure::HeapOldestMs, bytes);
            let mut sample = build.sample(Source::Heap, subject, Some(stack), &values);
            sample.course = Some(Course {
                form,
                reports: 9,
                wait: None,
            });
            sample.freed = Ages::from_buckets(&[1, 2]);
            sample.holders = holders;
            build.add(sample);
        }
        let profile = build.finish();
        assert_eq!(profile.group_frames(Source::Heap, 3).samples.len(), 2);
        let grouped = profile.group_frames(Source::Heap, 2);
        let [sample] = grouped.samples.as_slice() else {
            panic!("{} samples", grouped.samples.len());
        };
        let names: Vec<&str> = grouped
            .frames(sample)
            .filter_map(|frame| frame.symbol.as_deref())
            .collect();
        assert_eq!(names, ["f1", "f2", "f11"]);
        assert_eq!(grouped.amount(sample, Measure::HeapLiveBytes), 1_000);
        assert_eq!(grouped.amount(sample, Measure::HeapOldestMs), 900);
        assert_eq!(sample.freed.buckets(), [2, 4]);
        assert_eq!(sample.course.map(|course| course.form), Some(Form::Growing));
        let holders: Vec<(&str, u32, u32)> = sample
            .holders
            .iter()
            .map(|holder| (holder.text.as_str(), holder.shared, holder.sampled))
            .collect();
        assert_eq!(holders, [("b", 10, 20), ("a", 4, 20)]);
        let low = grouped
            .value(sample, Measure::HeapGrowthPerSLow)
            .expect("a bound")
            .real();
        assert!((low - (20.0 - 50_f64.sqrt())).abs() < 1e-9, "{low}");
    }

    /// A stack that shrinks takes from one that grows: what is left need not grow for certain.
    #[test]
    fn a_sum_that_may_not_grow_is_not_said_to() {
        let mut build = Builder::new(Meta::default());
        build.measures(Measure::of(Source::Heap));
        let subject = build.subject(Subject::process(7, "node"));
        for (outer, values, form) in [
            (10, growth(90.0, 100.0, 110.0), Form::Growing),
            (11, growth(-110.0, -100.0, -90.0), Form::Shrinking),
        ] {
            let stack = stack(&mut build, &[1, outer]);
            let values = values.with(Measure::HeapLiveBytes, 5_u64);
            let mut sample = build.sample(Source::Heap, subject, Some(stack), &values);
            sample.course = Some(Course {
                form,
                reports: 9,
                wait: None,
            });
            build.add(sample);
        }
        let grouped = build.finish().group_frames(Source::Heap, 1);
        let form = grouped.samples[0].course.map(|course| course.form);
        assert_eq!((grouped.samples.len(), form), (1, Some(Form::TooEarly)));
    }

    #[test]
    fn links_of_holders_keep_their_stacks() {
        let mut build = Builder::new(Meta::default());
        build.measures([Measure::HeapLiveBytes]);
        let subject = build.subject(Subject::process(7, "app"));
        let unused = stack(&mut build, &[9]);
        let (table, nodes) = (stack(&mut build, &[1]), stack(&mut build, &[2]));
        let values = Values::default().with(Measure::HeapLiveBytes, 5_u64);
        let mut sample = build.sample(Source::Heap, subject, Some(nodes), &values);
        sample.holders = vec![Holder {
            links: vec![super::super::HolderLink {
                stack: Some(table),
                ..Default::default()
            }],
            ..holder("a", 1, 1)
        }];
        build.add(sample);
        let profile = build.finish();
        assert_eq!(unused, 0);
        let kept = profile.filter(|_| true);
        let link = kept.samples[0].holders[0].links[0].stack;
        let name = kept
            .frames_of(link)
            .next()
            .and_then(|frame| frame.symbol.clone());
        assert_eq!(name.as_deref(), Some("f1"));
        assert_eq!(kept.stacks.len(), 2);
    }

    proptest! {
        /// Whatever is joined: sums stay, and fewer frames never give more stacks.
        #[test]
        fn grouping_keeps_sums(
            stacks in prop::collection::vec(
                (0_u32..3, prop::collection::vec(0_u8..3, 0..5), 0_u64..1_000_000, 0_u64..40), 0..20),
            frames in 1_usize..6,
        ) {
            let mut build = Builder::new(Meta::default());
            build.measures(Measure::of(Source::Heap));
            for pid in 0..3 {
                build.subject(Subject::process(pid, INNER[pid as usize]));
            }
            for (subject, frames, bytes, age) in &stacks {
                let stack = stack(&mut build, frames);
                let mut values = Values::default();
                Measure::of(Source::Heap).for_each(|measure| values.set(measure, bytes / 7));
                values.set(Measure::HeapLiveBytes, *bytes);
                let mut sample = build.sample(Source::Heap, *subject, Some(stack), &values);
                sample.ages.add(age * 1_000_000_000, *bytes);
                sample.freed.add(age * 1_000_000, 1);
                build.add(sample);
            }
            let profile = build.finish();
            let grouped = profile.group_frames(Source::Heap, frames);
            let adds = |measure: &Measure| {
                matches!(measure.kind(), Kind::Level | Kind::Total | Kind::Change | Kind::Rate)
            };
            for measure in Measure::of(Source::Heap).filter(adds) {
                for subject in 0..3 {
                    let sum = |profile: &Profile| -> u64 {
                        let own = profile.samples.iter().filter(|sample| sample.subject == subject);
                        own.map(|sample| profile.amount(sample, measure)).sum()
                    };
                    prop_assert_eq!(sum(&grouped), sum(&profile), "{:?}", measure);
                }
            }
            let count = |profile: &Profile, ages: fn(&Sample) -> &Ages| -> u64 {
                profile.samples.iter().flat_map(|sample| ages(sample).buckets()).sum()
            };
            prop_assert_eq!(count(&grouped, |sample| &sample.ages), count(&profile, |sample| &sample.ages));
            prop_assert_eq!(count(&grouped, |sample| &sample.freed), count(&profile, |sample| &sample.freed));
            let more = profile.group_frames(Source::Heap, frames + 1);
            prop_assert!(grouped.samples.len() <= more.samples.len());
            prop_assert!(more.samples.len() <= profile.samples.len());
        }
    }
}
