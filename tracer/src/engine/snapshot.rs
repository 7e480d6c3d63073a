//! A profile while it is being written: its subjects, and the frames of its stacks, each named once.

use std::collections::HashMap;
use std::sync::Arc;

use tracer_common::key::Owner;

use crate::profile::{Builder, Frame, Omitted, Source, Values};
use crate::symbolize::{self, FrameAddress, Symbolizer, frame_addresses};

/// Which samples a profile has; the others are summed up, and their stacks need no names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Samples with a stack, of each source.
    pub stacks: usize,
    /// Samples with a stack of each of the first so many subjects.
    pub per_subject: usize,
    /// How many subjects these are.
    pub subjects: usize,
}

impl Selection {
    /// Every sample.
    pub const ALL: Self = Self {
        stacks: usize::MAX,
        per_subject: 0,
        subjects: 0,
    };

    /// The first samples of each source.
    pub const fn first(stacks: usize) -> Self {
        Self {
            stacks,
            ..Self::ALL
        }
    }
}

/// A profile that is being written.
pub struct Snapshot {
    /// The profile.
    pub build: Builder,
    /// Which samples it is to have.
    pub selection: Selection,
    /// What is known of each program's index among the subjects.
    subjects: HashMap<Owner, u32>,
    /// Frames of the addresses that were met, by what the code is known by.
    frames: HashMap<(Owner, FrameAddress), Vec<u32>>,
    /// Samples of each subject that were selected.
    selected: HashMap<(Source, u32), usize>,
    omitted: HashMap<(Source, u32), (u64, Values)>,
}

impl Snapshot {
    /// Goes on with a profile whose subjects are there.
    pub fn new(build: Builder, selection: Selection, subjects: HashMap<Owner, u32>) -> Self {
        Self {
            build,
            selection,
            subjects,
            frames: HashMap::new(),
            selected: HashMap::new(),
            omitted: HashMap::new(),
        }
    }

    /// Index of a program among the subjects; `None` if the profile is not about it.
    pub fn subject(&self, owner: Owner) -> Option<u32> {
        self.subjects.get(&owner).copied()
    }

    /// Whether the sample of this rank, with a stack, is to be in the profile. One that is not is summed up.
    pub fn selects(&mut self, source: Source, rank: usize, subject: u32, values: &Values) -> bool {
        let own = self.selected.entry((source, subject)).or_default();
        let is_own =
            (subject as usize) < self.selection.subjects && *own < self.selection.per_subject;
        *own += 1;
        if rank < self.selection.stacks || is_own {
            return true;
        }
        let sum = self.omitted.entry((source, subject)).or_default();
        sum.0 += 1;
        sum.1.add(values);
        false
    }

    /// Indices of the frames at these addresses, innermost first.
    pub fn frames(
        &mut self,
        names: &mut Symbolizer,
        code: Owner,
        addresses: &[u64],
        first_is_return: bool,
    ) -> Vec<u32> {
        let wanted: Vec<FrameAddress> = frame_addresses(addresses, first_is_return).collect();
        let mut unknown: Vec<FrameAddress> = wanted
            .iter()
            .filter(|address| !self.frames.contains_key(&(code, **address)))
            .copied()
            .collect();
        if !unknown.is_empty() {
            unknown.sort_unstable_by_key(|address| address.captured());
            unknown.dedup();
            for (address, frames) in names.find(code, &unknown) {
                let frames = self.intern(&frames);
                self.frames.insert((code, address), frames);
            }
        }
        let known = wanted
            .iter()
            .filter_map(|address| self.frames.get(&(code, *address)));
        known.flatten().copied().collect()
    }

    /// Indices of frames that were named elsewhere.
    pub fn intern(&mut self, frames: &[symbolize::Frame]) -> Vec<u32> {
        frames.iter().map(|frame| self.frame(frame)).collect()
    }

    fn frame(&mut self, frame: &symbolize::Frame) -> u32 {
        let build = &mut self.build;
        let module = frame
            .module
            .as_deref()
            .map(|path| build.module(&path.to_string_lossy(), frame.build_id.as_deref()));
        let symbol: Option<Arc<str>> = frame.symbol.as_deref().map(|symbol| build.string(symbol));
        let file = frame
            .file
            .as_deref()
            .map(|file| build.string(&file.to_string_lossy()));
        build.frame(Frame {
            kind: frame.kind,
            symbol: symbol.filter(|symbol| !symbol.trim().is_empty()),
            missing: frame.missing,
            module,
            address: frame.address,
            offset: frame.offset,
            module_offset: frame.module_offset,
            file,
            line: frame.line,
            inlined: frame.inlined,
        })
    }

    /// The profile's builder, with the sums of what was not selected.
    pub fn finish(mut self) -> Builder {
        let mut omitted: Vec<Omitted> = self
            .omitted
            .into_iter()
            .map(|((source, subject), (samples, values))| Omitted {
                source,
                subject,
                with_stack: true,
                samples,
                values,
            })
            .collect();
        omitted.sort_by_key(|omitted| (omitted.source, omitted.subject));
        self.build.profile.omitted.extend(omitted);
        self.build
    }
}
