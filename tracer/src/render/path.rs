//! The path of a sample as pictures have it: from whose it is, through its frames, outermost first, to what kind of
//! memory it is.

use std::borrow::Cow;

use crate::profile::{CutReason, Detail, Profile, Sample};

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step<'a> {
    /// The stack is cut here: frames are missing between this and the next step.
    Cut(CutReason),
    /// There are no frames.
    NoStack,
    /// The frame of this index.
    Frame(u32),
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
            Self::Kind(what) => Cow::Owned(format!("[{what}]")),
        })
    }
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
