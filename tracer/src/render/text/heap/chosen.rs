//! Which stacks of a heap trace are shown, and what the others are together.

use crate::analysis::verdict::{self, Class};
use crate::profile::{Measure, Omitted, Profile, Sample, Source};
use crate::render::Options;

/// Stacks that are not shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// How many.
    pub stacks: u64,
    /// Their live bytes.
    pub bytes: u64,
    /// Their live blocks.
    pub blocks: u64,
    /// Whether there are some that only hold blocks younger than a second.
    pub is_young: bool,
}

impl Rest {
    fn add(&mut self, stacks: u64, bytes: u64, blocks: u64) {
        self.stacks += stacks;
        self.bytes = self.bytes.saturating_add(bytes);
        self.blocks = self.blocks.saturating_add(blocks);
    }

    fn add_sample(&mut self, profile: &Profile, sample: &Sample) {
        let amount = |measure| profile.amount(sample, measure);
        self.add(
            1,
            amount(Measure::HeapLiveBytes),
            amount(Measure::HeapLiveBlocks),
        );
        let age = profile.whole(sample, Measure::HeapOldestMs);
        self.is_young |= age.is_some_and(|ms| ms < 1_000);
    }
}

/// The stacks of a report.
#[derive(Debug, Default)]
pub struct Chosen<'a> {
    /// Those that are shown, in order.
    pub stacks: Vec<&'a Sample>,
    /// Those that are like them, but beyond the number to show.
    pub more: Rest,
    /// Those that do not grow, or whose blocks are about to be released.
    pub quiet: Rest,
}

impl<'a> Chosen<'a> {
    /// Those of a profile. Stacks that do not grow are told apart where that is known, and not asked for.
    pub fn of(profile: &'a Profile, options: &Options) -> Self {
        let is_every = options.every_stack || options.all_frames;
        let most = options.top.unwrap_or(usize::MAX);
        let mut chosen = Self::default();
        for sample in profile.stack_samples(Source::Heap) {
            if !is_every && is_quiet(profile, sample) {
                chosen.quiet.add_sample(profile, sample);
            } else if chosen.stacks.len() < most {
                chosen.stacks.push(sample);
            } else {
                chosen.more.add_sample(profile, sample);
            }
        }
        let is_own = |omitted: &&Omitted| omitted.source == Source::Heap && omitted.with_stack;
        for omitted in profile.omitted.iter().filter(is_own) {
            // The order is that of the verdicts: what comes after a stack that does not grow does not either.
            let rest = match chosen.quiet.stacks {
                0 => &mut chosen.more,
                _ => &mut chosen.quiet,
            };
            let amount = |measure| omitted.values.amount(measure);
            rest.add(
                omitted.samples,
                amount(Measure::HeapLiveBytes),
                amount(Measure::HeapLiveBlocks),
            );
        }
        chosen
    }

    /// Whether there are no others.
    pub const fn is_all(&self) -> bool {
        self.more.stacks == 0 && self.quiet.stacks == 0
    }

    /// The number of a stack of a subject, as it is shown.
    pub fn number(&self, subject: Option<u32>, stack: Option<u32>) -> Option<usize> {
        let stack = stack?;
        let is_it = |sample: &&Sample| {
            sample.stack == Some(stack) && subject.is_none_or(|subject| sample.subject == subject)
        };
        self.stacks.iter().position(is_it).map(|index| index + 1)
    }
}

/// Whether it is known that a stack does not grow. Of a process that has ended it matters what it has not released.
fn is_quiet(profile: &Profile, sample: &Sample) -> bool {
    let subject = profile.subject(sample.subject);
    sample.course.is_some()
        && subject.is_some_and(|subject| subject.state.is_alive())
        && verdict::class(profile, sample) == Class::Quiet
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::profile::{Builder, Course, Form, Frame, Meta, State, Subject, Values};

    /// A stack that grows, one that does not, one with young blocks only, and three that are left out.
    fn profile(state: State, forms: [Option<Form>; 3]) -> Profile {
        let mut build = Builder::new(Meta {
            elapsed: Duration::from_secs(60),
            ..Meta::default()
        });
        build.measures(Measure::of(Source::Heap));
        build.subject(Subject {
            state,
            ..Subject::process(7, "app")
        });
        for (address, (form, age)) in (0..).zip(forms.into_iter().zip([50_000_u64, 50_000, 200])) {
            let frame = build.frame(Frame {
                address,
                ..Frame::default()
            });
            let stack = build.stack(vec![frame], None);
            let values = Values::default()
                .with(Measure::HeapLiveBytes, 100_u64)
                .with(Measure::HeapLiveBlocks, 1_u64)
                .with(Measure::HeapOldestMs, age);
            let mut sample = build.sample(Source::Heap, 0, Some(stack), &values);
            sample.course = form.map(|form| Course {
                form,
                reports: 9,
                wait: None,
            });
            build.add(sample);
        }
        let mut profile = build.finish();
        profile.omitted = vec![Omitted {
            source: Source::Heap,
            subject: 0,
            with_stack: true,
            samples: 3,
            values: Values::default().with(Measure::HeapLiveBytes, 30_u64),
        }];
        profile
    }

    const KNOWN: [Option<Form>; 3] = [
        Some(Form::Growing),
        Some(Form::Steady),
        Some(Form::TooEarly),
    ];

    /// How many are shown, more, and quiet, and whether some of these are young.
    fn chosen(profile: &Profile, options: &Options) -> (usize, u64, u64, bool) {
        let chosen = Chosen::of(profile, options);
        let Chosen {
            stacks,
            more,
            quiet,
        } = chosen;
        (stacks.len(), more.stacks, quiet.stacks, quiet.is_young)
    }

    #[test]
    fn what_does_not_grow_is_summed_up() {
        let options = Options::default();
        let known = profile(State::Running, KNOWN);
        assert_eq!(chosen(&known, &options), (1, 0, 5, true));
        let all_grow = profile(State::Running, [Some(Form::Growing); 3]);
        assert_eq!(chosen(&all_grow, &options), (3, 3, 0, false));
        // Nothing is known, or it has ended: then it matters what it holds.
        assert_eq!(
            chosen(&profile(State::Running, [None; 3]), &options),
            (3, 3, 0, false)
        );
        assert_eq!(
            chosen(&profile(State::Exited, KNOWN), &options),
            (3, 3, 0, false)
        );
    }

    #[test]
    fn all_are_shown_where_they_are_asked_for() {
        let known = profile(State::Running, KNOWN);
        for options in [
            Options {
                every_stack: true,
                ..Options::default()
            },
            Options {
                all_frames: true,
                ..Options::default()
            },
        ] {
            assert_eq!(chosen(&known, &options).0, 3);
        }
        let first = Options {
            every_stack: true,
            top: Some(1),
            ..Options::default()
        };
        assert_eq!(chosen(&known, &first), (1, 5, 0, false));
    }
}
