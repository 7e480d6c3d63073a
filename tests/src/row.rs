//! What a subject holds by one stack, with the tables of the report that its numbers refer to.

use std::fmt;

use memlens::profile::{
    CutReason, Detail, Frame, KernelObject, Measure, Profile, Region, Sample, Touched, Values,
};

use crate::report::HeapFigures;

/// A sample of a report.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    profile: &'a Profile,
    /// The sample itself.
    pub sample: &'a Sample,
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = (self.pid(), self.cut(), self.names());
        write!(f, "{:?} {place:?} {:?}", self.values(), self.sample.detail)
    }
}

impl HeapFigures for Row<'_> {
    fn figures(&self) -> Values {
        self.values()
    }
}

impl<'a> Row<'a> {
    /// A sample of this profile.
    pub const fn new(profile: &'a Profile, sample: &'a Sample) -> Self {
        Self { profile, sample }
    }

    /// Whose.
    pub fn pid(&self) -> Option<u32> {
        self.profile.subject(self.sample.subject)?.pid
    }

    /// PIDs of all that have the stack in common, this one's first.
    pub fn pids(&self) -> Vec<u32> {
        let others = self.sample.also.iter();
        let all = std::iter::once(&self.sample.subject).chain(others);
        all.filter_map(|subject| self.profile.subject(*subject)?.pid)
            .collect()
    }

    /// What it holds.
    pub fn values(&self) -> Values {
        self.profile.values(self.sample)
    }

    /// One of its values; 0 where it has none.
    pub fn amount(&self, measure: Measure) -> u64 {
        self.profile.amount(self.sample, measure)
    }

    /// One of its values, where it has one.
    pub fn whole(&self, measure: Measure) -> Option<i64> {
        self.profile.whole(self.sample, measure)
    }

    /// Its frames, innermost first.
    pub fn frames(&self) -> impl Iterator<Item = &'a Frame> {
        self.profile.frames(self.sample)
    }

    /// Its frames but for inlined functions, which have no address of their own.
    pub fn physical(&self) -> impl Iterator<Item = &'a Frame> {
        self.frames().filter(|frame| !frame.inlined)
    }

    /// Why it is cut, where it is.
    pub fn cut(&self) -> Option<CutReason> {
        self.profile.cut(self.sample)
    }

    /// Path of the file that a frame's code is in; empty where it is not known.
    pub fn path(&self, frame: &Frame) -> &'a str {
        let module = self.profile.module(frame);
        module.map_or("", |module| &module.path)
    }

    /// Build id of that file.
    pub fn build_id(&self, frame: &Frame) -> Option<&'a str> {
        self.profile.module(frame)?.build_id.as_deref()
    }

    /// Whether a frame is of this function.
    pub fn has(&self, name: &str) -> bool {
        self.frames().any(|frame| is_of(frame, name))
    }

    /// The frames' names, innermost first; "?" where there is none.
    pub fn names(&self) -> Vec<&'a str> {
        self.frames().map(name).collect()
    }

    /// The addresses, innermost first.
    pub fn addresses(&self) -> Vec<u64> {
        self.physical().map(|frame| frame.address).collect()
    }

    /// Functions that stand directly one above the other, innermost first, beginning at any frame.
    pub fn has_run(&self, names: &[&str]) -> bool {
        let frames: Vec<&Frame> = self.frames().collect();
        let mut runs = frames.windows(names.len());
        runs.any(|run| {
            run.iter()
                .zip(names)
                .all(|(frame, name)| is_of(frame, name))
        })
    }

    /// What kind of ranges they are.
    pub fn region(&self) -> Option<&'a Region> {
        match &self.sample.detail {
            Some(Detail::Region(region)) => Some(region),
            _ => None,
        }
    }

    /// What memory of the kernel it is.
    pub fn kernel(&self) -> Option<&'a KernelObject> {
        match &self.sample.detail {
            Some(Detail::Kernel(object)) => Some(object),
            _ => None,
        }
    }

    /// What page faults have touched.
    pub fn touched(&self) -> &'a [Touched] {
        match &self.sample.detail {
            Some(Detail::Touched(touched)) => touched,
            _ => &[],
        }
    }
}

/// A frame's name; "?" where there is none.
pub fn name(frame: &Frame) -> &str {
    frame.symbol.as_deref().unwrap_or("?")
}

/// Whether a frame is of this function: the name alone, or with a path before it or parameters after it.
pub fn is_of(frame: &Frame, name: &str) -> bool {
    frame.symbol.as_deref().is_some_and(|symbol| {
        let bare = symbol.split('(').next().unwrap_or(symbol);
        bare == name || bare.ends_with(&format!("::{name}"))
    })
}
