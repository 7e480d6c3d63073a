//! Writing a profile: frames, stacks, modules and strings are interned, so that each distinct one is kept once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::measure::{Measure, Source};
use super::number::{Number, Values};
use super::sample::{Ages, Sample};
use super::stack::{CutReason, Frame, Module, Stack};
use super::subject::Subject;
use super::{Meta, Profile};

/// A profile that is being written.
#[derive(Debug, Default)]
pub struct Builder {
    /// What has been written so far. Tables of frames, stacks and modules are only added to through the builder.
    pub profile: Profile,
    strings: HashSet<Arc<str>>,
    modules: HashMap<Module, u32>,
    frames: HashMap<Frame, u32>,
    stacks: HashMap<Stack, u32>,
}

impl Builder {
    /// An empty profile of this moment.
    pub fn new(meta: Meta) -> Self {
        Self {
            profile: Profile {
                meta,
                ..Profile::default()
            },
            ..Self::default()
        }
    }

    /// Goes on with a profile that is there.
    pub fn from_profile(profile: Profile) -> Self {
        let numbered = |length: usize| 0..u32::try_from(length).unwrap_or(u32::MAX);
        Self {
            strings: HashSet::new(),
            modules: profile
                .modules
                .iter()
                .cloned()
                .zip(numbered(profile.modules.len()))
                .collect(),
            frames: profile
                .frames
                .iter()
                .cloned()
                .zip(numbered(profile.frames.len()))
                .collect(),
            stacks: profile
                .stacks
                .iter()
                .cloned()
                .zip(numbered(profile.stacks.len()))
                .collect(),
            profile,
        }
    }

    /// Adds columns for measures that have none yet. The samples so far have no values in them.
    pub fn measures(&mut self, measures: impl IntoIterator<Item = Measure>) {
        for measure in measures {
            if !self.profile.measures.contains(&measure) {
                self.profile.measures.push(measure);
            }
        }
        let columns = self.profile.measures.len();
        self.profile
            .samples
            .iter_mut()
            .for_each(|sample| sample.values.resize(columns, None));
    }

    /// A string, shared by all that say the same.
    pub fn string(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.strings.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(text);
        self.strings.insert(Arc::clone(&new));
        new
    }

    /// Index of a module.
    pub fn module(&mut self, path: &str, build_id: Option<&str>) -> u32 {
        let module = Module {
            path: self.string(path),
            build_id: build_id.map(|id| self.string(id)),
        };
        intern(&mut self.modules, &mut self.profile.modules, module)
    }

    /// Index of a frame.
    pub fn frame(&mut self, frame: Frame) -> u32 {
        intern(&mut self.frames, &mut self.profile.frames, frame)
    }

    /// Index of a stack of these frames, innermost first.
    pub fn stack(&mut self, frames: Vec<u32>, cut: Option<CutReason>) -> u32 {
        intern(
            &mut self.stacks,
            &mut self.profile.stacks,
            Stack { frames, cut },
        )
    }

    /// Index of a new subject.
    pub fn subject(&mut self, subject: Subject) -> u32 {
        self.profile.subjects.push(subject);
        index(self.profile.subjects.len() - 1)
    }

    /// A sample of these values, whose columns must be there; to be added by [`Self::add`].
    pub fn sample(
        &self,
        source: Source,
        subject: u32,
        stack: Option<u32>,
        values: &Values,
    ) -> Sample {
        Sample {
            source,
            subject,
            also: Vec::new(),
            stack,
            values: self.row(values),
            before: Vec::new(),
            history: Vec::new(),
            ages: Ages::default(),
            freed: Ages::default(),
            course: None,
            holders: Vec::new(),
            detail: None,
            blocks: None,
        }
    }

    /// Values as a row of the table.
    pub fn row(&self, values: &Values) -> Vec<Option<Number>> {
        self.profile
            .measures
            .iter()
            .map(|measure| values.get(*measure))
            .collect()
    }

    /// Adds a sample.
    pub fn add(&mut self, sample: Sample) {
        self.profile.samples.push(sample);
    }

    /// Takes another profile's stack over.
    pub fn adopt(&mut self, other: &Profile, stack: u32) -> u32 {
        let Some(stack) = other.stacks.get(stack as usize) else {
            return self.stack(Vec::new(), None);
        };
        let frames = stack
            .frames
            .iter()
            .filter_map(|frame| other.frames.get(*frame as usize));
        let frames: Vec<u32> = frames
            .map(|frame| {
                let module = frame
                    .module
                    .and_then(|module| other.modules.get(module as usize));
                let module =
                    module.map(|module| self.module(&module.path, module.build_id.as_deref()));
                self.frame(Frame {
                    module,
                    ..frame.clone()
                })
            })
            .collect();
        self.stack(frames, stack.cut)
    }

    /// The profile.
    pub fn finish(self) -> Profile {
        self.profile
    }
}

fn index(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

/// Index of a value in a table, where it is added if it is new.
fn intern<T: Clone + Eq + std::hash::Hash>(
    known: &mut HashMap<T, u32>,
    table: &mut Vec<T>,
    value: T,
) -> u32 {
    if let Some(known) = known.get(&value) {
        return *known;
    }
    let new = index(table.len());
    table.push(value.clone());
    known.insert(value, new);
    new
}
