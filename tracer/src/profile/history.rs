//! Values over time: what the profiles of one trace have said so far, in bounded memory, and as a part of the last one.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::identity::Identities;
use super::{Profile, wire};

/// Most points of a history. When there are as many, every second one goes, and from then on every second profile is
/// taken in: the points stay evenly spread over the whole time.
const MOST: usize = 120;

/// The times of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// Elapsed time of the trace at each point, in ascending order.
    #[serde(rename = "at_ms", with = "wire::all_millis")]
    #[schemars(with = "Vec<u64>")]
    pub at: Vec<Duration>,
}

/// What the profiles of one trace have said so far.
#[derive(Debug, Default)]
pub struct Timeline {
    identities: Identities,
    points: Vec<Point>,
    /// The newest profile, which may not be among the points that are kept.
    last: Option<Point>,
    /// One profile in so many is kept, less one.
    skipped: usize,
    /// Profiles since the last one that was kept.
    passed: usize,
}

/// What one profile said, by the numbers of its parts.
#[derive(Clone, Debug, Default)]
struct Point {
    at: Duration,
    subjects: Vec<Option<i64>>,
    samples: Vec<Option<i64>>,
}

impl Timeline {
    /// Takes a profile in.
    pub fn add(&mut self, profile: &Profile) {
        let point = self.point(profile);
        if self.last.is_some() && self.passed < self.skipped {
            self.passed += 1;
            self.last = Some(point);
            return;
        }
        self.passed = 0;
        self.points.push(point.clone());
        self.last = Some(point);
        if self.points.len() >= MOST {
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.skipped = self.skipped * 2 + 1;
        }
    }

    fn point(&mut self, profile: &Profile) -> Point {
        let numbers = self.identities.number(profile);
        let mut point = Point {
            at: profile.meta.elapsed,
            ..Point::default()
        };
        let level = profile.main_source().level();
        for (subject, number) in profile.subjects.iter().zip(numbers.subjects) {
            set(&mut point.subjects, number, subject.totals.whole(level));
        }
        for (sample, number) in profile.samples.iter().zip(numbers.samples) {
            let value = profile.whole(sample, sample.source.level());
            set(&mut point.samples, number, value);
        }
        point
    }

    /// Gives a profile the history of its parts; a single point is none.
    pub fn fill(&mut self, profile: &mut Profile) {
        let numbers = self.identities.number(profile);
        let newest = self.points.last().map(|point| point.at);
        let last = self.last.iter().filter(|last| Some(last.at) != newest);
        let points: Vec<&Point> = self.points.iter().chain(last).collect();
        if points.len() < 2 {
            return;
        }
        let of = |values: fn(&Point) -> &Vec<Option<i64>>, number: u32| {
            let at = |point: &&Point| values(point).get(number as usize).copied().flatten();
            points.iter().map(at).collect()
        };
        for (subject, number) in profile.subjects.iter_mut().zip(numbers.subjects) {
            subject.history = of(|point| &point.subjects, number);
        }
        for (sample, number) in profile.samples.iter_mut().zip(numbers.samples) {
            sample.history = of(|point| &point.samples, number);
        }
        profile.sections.history = Some(History {
            at: points.iter().map(|point| point.at).collect(),
        });
    }
}

fn set(values: &mut Vec<Option<i64>>, number: u32, value: Option<i64>) {
    let index = number as usize;
    if values.len() <= index {
        values.resize(index + 1, None);
    }
    values[index] = value;
}

/// The histories of two samples that are one now.
pub(super) fn join(own: &mut Vec<Option<i64>>, other: &[Option<i64>]) {
    if own.is_empty() {
        *own = other.to_vec();
        return;
    }
    for (own, other) in own.iter_mut().zip(other) {
        *own = match (*own, *other) {
            (Some(own), Some(other)) => Some(own.saturating_add(other)),
            (own, other) => own.or(other),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::{Builder, Measure, Meta, Source, Subject, Values};

    fn profile(second: u64, values: &[(u32, u64)]) -> Profile {
        let mut build = Builder::new(Meta {
            elapsed: Duration::from_secs(second),
            ..Meta::default()
        });
        build.measures([Measure::HeapLiveBytes]);
        for (pid, bytes) in values {
            let values = Values::default().with(Measure::HeapLiveBytes, *bytes);
            let subject = build.subject(Subject {
                totals: values.clone(),
                ..Subject::process(*pid, "app")
            });
            let stack = build.stack(Vec::new(), None);
            let sample = build.sample(Source::Heap, subject, Some(stack), &values);
            build.add(sample);
        }
        build.finish()
    }

    #[test]
    fn each_part_gets_its_own_values() {
        let mut timeline = Timeline::default();
        let mut last = profile(1, &[(7, 10), (8, 20)]);
        timeline.add(&last);
        timeline.fill(&mut last);
        assert_eq!(last.sections.history, None);
        timeline.add(&profile(2, &[(8, 21)]));
        let mut last = profile(3, &[(8, 22), (9, 30), (7, 12)]);
        timeline.add(&last);
        timeline.fill(&mut last);
        let histories: Vec<_> = last
            .samples
            .iter()
            .map(|sample| sample.history.clone())
            .collect();
        let expected = [
            vec![Some(20), Some(21), Some(22)],
            vec![None, None, Some(30)],
            vec![Some(10), None, Some(12)],
        ];
        assert_eq!(histories, expected);
        assert_eq!(last.subjects[0].history, expected[0]);
    }

    proptest! {
        /// However long it runs: points are bounded, the first and the last are there, and times ascend.
        #[test]
        fn a_long_history_is_bounded(profiles in 2_u64..2_000) {
            let mut timeline = Timeline::default();
            let mut last = Profile::default();
            for second in 0..profiles {
                last = profile(second, &[(7, second)]);
                timeline.add(&last);
            }
            timeline.fill(&mut last);
            let at = last.sections.history.expect("a history").at;
            prop_assert!(at.len() <= MOST && at.len() >= MOST.min(profiles as usize) / 2);
            prop_assert_eq!(at[0], Duration::ZERO);
            prop_assert_eq!(at[at.len() - 1], Duration::from_secs(profiles - 1));
            prop_assert!(at.is_sorted());
            let values: Vec<i64> = last.samples[0].history.iter().flatten().copied().collect();
            let seconds: Vec<i64> = at.iter().map(|at| at.as_secs() as i64).collect();
            prop_assert_eq!(values, seconds);
        }
    }
}
