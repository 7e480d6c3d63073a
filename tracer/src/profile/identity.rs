//! Numbers for what is the same thing in all profiles of one trace: subjects, stacks and samples, whatever place they
//! have in each.

use std::collections::HashMap;

use super::measure::Source;
use super::sample::{Detail, Sample};
use super::subject::Subject;
use super::{Builder, Meta, Profile};

/// Numbers that were given so far.
#[derive(Debug)]
pub struct Identities {
    /// The tables of all profiles together: numbers of stacks, frames and modules are indices into these.
    pub tables: Builder,
    subjects: HashMap<(SubjectKey, u32), u32>,
    samples: HashMap<(SampleKey, u32), u32>,
}

/// The numbers of one profile's parts, in their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Of its subjects.
    pub subjects: Vec<u32>,
    /// Of its stacks.
    pub stacks: Vec<u32>,
    /// Of its samples.
    pub samples: Vec<u32>,
}

/// A program image, or a group by its name.
type SubjectKey = (Option<u32>, u32, String);

/// What a sample is of. Ranges that a stack touched change from report to report, and do not tell.
type SampleKey = (Source, u32, Option<u32>, Option<Detail>);

impl Default for Identities {
    fn default() -> Self {
        Self {
            tables: Builder::new(Meta::default()),
            subjects: HashMap::new(),
            samples: HashMap::new(),
        }
    }
}

impl Identities {
    /// The numbers of a profile's parts; new things get new ones. Things that cannot be told apart are told apart by
    /// their order.
    pub fn number(&mut self, profile: &Profile) -> Numbers {
        let all = 0..u32::try_from(profile.stacks.len()).unwrap_or(u32::MAX);
        let stacks: Vec<u32> = all.map(|stack| self.tables.adopt(profile, stack)).collect();
        let subjects: Vec<u32> =
            numbered(&mut self.subjects, profile.subjects.iter().map(subject_key));
        let samples = profile.samples.iter().map(|sample| {
            let place = |of: &[u32], index: u32| of.get(index as usize).copied();
            let subject = place(&subjects, sample.subject).unwrap_or(u32::MAX);
            let stack = sample.stack.and_then(|stack| place(&stacks, stack));
            (sample.source, subject, stack, detail(sample))
        });
        let samples = numbered(&mut self.samples, samples);
        Numbers {
            subjects,
            stacks,
            samples,
        }
    }
}

fn subject_key(subject: &Subject) -> SubjectKey {
    (subject.pid, subject.image, subject.command.clone())
}

fn detail(sample: &Sample) -> Option<Detail> {
    let detail = sample.detail.as_ref();
    detail
        .filter(|detail| !matches!(detail, Detail::Touched(_)))
        .cloned()
}

/// A number for each key; equal keys of one profile are counted through.
fn numbered<K: Eq + std::hash::Hash + Clone>(
    known: &mut HashMap<(K, u32), u32>,
    keys: impl Iterator<Item = K>,
) -> Vec<u32> {
    let mut seen: HashMap<K, u32> = HashMap::new();
    keys.map(|key| {
        let count = seen.entry(key.clone()).or_default();
        let new = u32::try_from(known.len()).unwrap_or(u32::MAX);
        let number = *known.entry((key, *count)).or_insert(new);
        *count += 1;
        number
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Frame, Measure, Values};

    fn profile(pids: &[u32], stacks: &[u64]) -> Profile {
        let mut build = Builder::new(Meta::default());
        build.measures([Measure::HeapLiveBytes]);
        for pid in pids {
            let subject = build.subject(Subject::process(*pid, "app"));
            for address in stacks {
                let frame = build.frame(Frame {
                    address: *address,
                    ..Frame::default()
                });
                let stack = build.stack(vec![frame], None);
                let sample = build.sample(Source::Heap, subject, Some(stack), &Values::default());
                build.add(sample);
            }
        }
        build.finish()
    }

    #[test]
    fn the_same_thing_keeps_its_number_wherever_it_stands() {
        let mut identities = Identities::default();
        let first = identities.number(&profile(&[1, 2], &[10, 20]));
        assert_eq!(
            (&*first.subjects, &*first.stacks),
            ([0, 1].as_slice(), [0, 1].as_slice())
        );
        assert_eq!(first.samples, [0, 1, 2, 3]);
        let second = identities.number(&profile(&[2, 3], &[20, 30]));
        assert_eq!(
            (&*second.subjects, &*second.stacks),
            ([1, 2].as_slice(), [1, 2].as_slice())
        );
        assert_eq!(second.samples, [3, 4, 5, 6]);
        assert_eq!(identities.tables.profile.stacks.len(), 3);
    }

    #[test]
    fn what_cannot_be_told_apart_is_counted_through() {
        let mut identities = Identities::default();
        let twice = identities.number(&profile(&[7, 7], &[10]));
        assert_eq!(twice.subjects, [0, 1]);
        assert_eq!(identities.number(&profile(&[7], &[10])).samples, [0]);
    }
}
