//! The path of a sample as pictures have it: from whose it is, through its frames, outermost first, to what kind of
//! memory it is.

use std::borrow::Cow;

use super::collapse::{Part, parts};
use crate::profile::{CutReason, Detail, Frame, Profile, Sample};

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step<'a> {
    /// The stack is cut here: frames are missing between this and the next step.
    Cut(CutReason),
    /// There are no frames.
    NoStack,
    /// The frame of this index.
    Frame(u32),
    /// Several frames that say nothing about who allocates, and whose they are.
    Run(usize, Cow<'a, str>),
    /// What is held: the cache of the kernel's objects, the kind of a range.
    Kind(Cow<'a, str>),
}

impl Step<'_> {
    /// What a step that is no frame is called; `None` for a frame.
    pub fn word(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Frame(_) => return None,
            Self::Cut(_) => Cow::Borrowed("[cut]"),
            Self::NoStack => Cow::Borrowed("[no stack]"),
            Self::Run(frames, of) => Cow::Owned(format!("({frames} frames of {of})")),
            Self::Kind(what) => Cow::Owned(format!("[{what}]")),
        })
    }
}

/// The steps of a sample, outermost first, with runs of frames of allocators and runtimes as one step each, as text has
/// them.
pub fn folded<'a>(profile: &'a Profile, sample: &'a Sample) -> Vec<Step<'a>> {
    let frames: Vec<&Frame> = profile.frames(sample).collect();
    let mut runs = parts(&frames).into_iter().rev();
    let mut left = 0;
    let mut folded = Vec::new();
    for step in steps(profile, sample) {
        let Step::Frame(_) = step else {
            folded.push(step);
            continue;
        };
        if left == 0 {
            left = match runs.next() {
                Some(Part::Run { frames, of }) => {
                    folded.push(Step::Run(frames, of));
                    frames
                }
                _ => {
                    folded.push(step);
                    1
                }
            };
        }
        left -= 1;
    }
    folded
}

/// The steps of a sample, outermost first.
pub fn steps<'a>(profile: &'a Profile, sample: &'a Sample) -> Vec<Step<'a>> {
    let stack = sample.stack.and_then(|stack| profile.stack(stack));
    let frames = stack.map_or(&[][..], |stack| &stack.frames);
    let first = match stack.and_then(|stack| stack.cut) {
        Some(reason) => Some(Step::Cut(reason)),
        None if frames.is_empty() => Some(Step::NoStack),
        None => None,
    };
    let known = profile.frames.len();
    let frames = frames
        .iter()
        .rev()
        .filter(|frame| (**frame as usize) < known);
    let last = match &sample.detail {
        Some(Detail::Kernel(object)) => Some(Step::Kind(Cow::Borrowed(&object.what))),
        _ => None,
    };
    let frames = frames.map(|frame| Step::Frame(*frame));
    first.into_iter().chain(frames).chain(last).collect()
}
