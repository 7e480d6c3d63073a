//! Strings, frames and the prefix tree of the stacks, each distinct one once, as columns.

use std::collections::HashMap;

use serde::Serialize;

use crate::profile::{Frame, Profile, Sample};
use crate::render::collapse::{Part, parts};
use crate::words::names;

/// No string, no node.
pub const NONE: i64 = -1;

/// Strings, each once.
#[derive(Debug, Default)]
pub struct Strings {
    places: HashMap<String, i64>,
    pub all: Vec<String>,
}

impl Strings {
    /// Index of a string; none for an empty one.
    pub fn place(&mut self, text: &str) -> i64 {
        if text.is_empty() {
            return NONE;
        }
        if let Some(known) = self.places.get(text) {
            return *known;
        }
        let place = index(self.all.len());
        self.all.push(text.to_owned());
        self.places.insert(text.to_owned(), place);
        place
    }
}

/// Frames as columns.
#[derive(Debug, Default, Serialize)]
pub struct Frames {
    name: Vec<i64>,
    module: Vec<i64>,
    file: Vec<i64>,
    line: Vec<u32>,
    inlined: Vec<u8>,
}

/// Nodes of the prefix tree as columns: outermost frames first, a node's parent before it.
#[derive(Debug, Default, Serialize)]
pub struct Nodes {
    parent: Vec<i64>,
    frame: Vec<i64>,
    fold: Vec<i64>,
}

/// The tree of all stacks that samples have.
#[derive(Debug, Default)]
pub struct Tree {
    pub frames: Frames,
    pub nodes: Nodes,
    /// Nodes by parent, frame and fold.
    known: HashMap<(i64, i64, i64), i64>,
    /// Frames of the profile that say the same are one.
    places: HashMap<(i64, i64, i64, u32, u8), i64>,
    /// Places of the profile's frames, and nodes of its stacks, that were added.
    added: HashMap<u32, i64>,
    stacks: HashMap<u32, i64>,
}

impl Tree {
    /// The node of a sample's innermost frame.
    pub fn node(&mut self, profile: &Profile, sample: &Sample, strings: &mut Strings) -> i64 {
        let Some(stack) = sample.stack else {
            return NONE;
        };
        if let Some(known) = self.stacks.get(&stack) {
            return *known;
        }
        let indices = profile.stack(stack).map_or(&[][..], |stack| &stack.frames);
        let frames: Vec<&Frame> = profile.frames_of(Some(stack)).collect();
        let folds = folds(&frames, strings);
        let mut node = NONE;
        for ((index_in_profile, frame), fold) in indices.iter().zip(&frames).zip(folds).rev() {
            let frame = match self.added.get(index_in_profile) {
                Some(known) => *known,
                None => self.frame(profile, frame, strings),
            };
            self.added.insert(*index_in_profile, frame);
            let nodes = &mut self.nodes;
            node = *self.known.entry((node, frame, fold)).or_insert_with(|| {
                nodes.parent.push(node);
                nodes.frame.push(frame);
                nodes.fold.push(fold);
                index(nodes.parent.len() - 1)
            });
        }
        self.stacks.insert(stack, node);
        node
    }

    fn frame(&mut self, profile: &Profile, frame: &Frame, strings: &mut Strings) -> i64 {
        let module = profile.module(frame);
        let name = strings.place(&names::frame(profile, frame));
        let module = strings.place(module.map_or("", |module| names::module(&module.path)));
        let file = strings.place(frame.file.as_deref().unwrap_or_default());
        let (line, inlined) = (frame.line.unwrap_or(0), u8::from(frame.inlined));
        let frames = &mut self.frames;
        let place = self.places.entry((name, module, file, line, inlined));
        *place.or_insert_with(|| {
            frames.name.push(name);
            frames.module.push(module);
            frames.file.push(file);
            frames.line.push(line);
            frames.inlined.push(inlined);
            index(frames.name.len() - 1)
        })
    }
}

/// What each frame is folded under, innermost first.
fn folds(frames: &[&Frame], strings: &mut Strings) -> Vec<i64> {
    let mut folds = Vec::with_capacity(frames.len());
    for part in parts(frames) {
        match part {
            Part::Frame(_) => folds.push(NONE),
            Part::Run { frames, of } => {
                let fold = strings.place(&of);
                folds.extend(std::iter::repeat_n(fold, frames));
            }
        }
    }
    folds
}

/// An index as a number of the data.
pub fn index(place: usize) -> i64 {
    i64::try_from(place).unwrap_or(NONE)
}
