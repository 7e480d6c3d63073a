//! Mixed stacks: the runs of a runtime's frames in the place of the native frames of the loop that executes them.
//!
//! Both are walked from the innermost on, so that the first run belongs to the first frame of the loop. On whole stacks
//! there are as many of one as of the other; where they are not, nothing is guessed.

use tracer_common::runtime::word::{self, Code, CutFrames, Interpreted, RuntimeFrame};

use crate::profile::CutReason;

/// A part of a mixed stack, innermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The native frame of this index.
    Native(usize),
    /// A frame of the runtime.
    Code(Code),
    /// A native frame that says which method it interprets.
    Interpreted(Interpreted),
    /// Native frames are missing here.
    Gap,
}

/// A mixed stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Its parts.
    pub parts: Vec<Part>,
    /// Why it is not whole, as far as that is the runtime's frames.
    pub cut: Option<CutReason>,
}

/// One run of the interpreter's loop.
#[derive(Debug, Default)]
struct Run {
    frames: Vec<Code>,
}

/// The words of the native frames of a stack; those of a runtime that have none stand behind them.
pub fn native(words: &[u64]) -> &[u64] {
    let is_native = |word: &u64| !word::is_behind(*word);
    let count = words.iter().take_while(|word| is_native(word)).count();
    &words[..count]
}

/// The addresses of code in a stack, without frames that are no native ones.
pub fn addresses(words: &[u64]) -> Vec<u64> {
    let native = words.iter().filter(|word| !word::is_runtime(**word));
    native.copied().collect()
}

/// The part of a native frame, by its word.
fn native_part(index: usize, word: u64) -> Part {
    match word::decode(word) {
        Some(RuntimeFrame::Java(interpreted)) => Part::Interpreted(interpreted),
        _ => Part::Native(index),
    }
}

/// A stack without frames behind the native ones.
pub fn all_native(words: &[u64]) -> Merged {
    let words = words.iter().enumerate();
    Merged {
        parts: words
            .map(|(index, word)| native_part(index, *word))
            .collect(),
        cut: None,
    }
}

/// Merges the words of a stack. `is_loop` tells whether a native frame, by its address, is one of the interpreter's
/// loop; `is_cut` whether the native walk ended early; `both` keeps the frames of the loop beside what they execute.
pub fn merge(words: &[u64], is_loop: impl Fn(u64) -> bool, is_cut: bool, both: bool) -> Merged {
    let native = native(words);
    let (runs, cut) = runs(&words[native.len()..]);
    let is_loop = |word: u64| !word::is_runtime(word) && is_loop(word);
    let loops = native.iter().filter(|address| is_loop(**address)).count();
    let mut merged = Merged {
        parts: Vec::with_capacity(words.len()),
        cut: cut.map(|why| match why {
            CutFrames::TooDeep => CutReason::RuntimeTooDeep,
            CutFrames::Unreadable | CutFrames::Invalid => CutReason::RuntimeUnreadable,
        }),
    };
    // A run that was cut may belong to a loop that is there or not.
    let fits = match (is_cut, cut.is_some()) {
        (false, false) => runs.len() == loops,
        (true, false) => runs.len() >= loops,
        (false, true) => runs.len() <= loops,
        (true, true) => true,
    };
    if !fits {
        merged.parts = all_native(native).parts;
        merged.cut = Some(match runs.is_empty() {
            true => CutReason::RuntimeNotRead,
            false => CutReason::RuntimeMismatch,
        });
        append(&mut merged.parts, runs.iter());
        return merged;
    }
    let mut left = runs.iter();
    for (index, address) in native.iter().enumerate() {
        let run = is_loop(*address).then(|| left.next()).flatten();
        let frames = run.map_or(&[][..], |run| &run.frames);
        if frames.is_empty() || both {
            merged.parts.push(native_part(index, *address));
        }
        merged.parts.extend(frames.iter().copied().map(Part::Code));
    }
    append(&mut merged.parts, left);
    merged
}

/// Adds runs that belong to no native frame that is there.
fn append<'a>(parts: &mut Vec<Part>, runs: impl Iterator<Item = &'a Run>) {
    let mut frames = runs.flat_map(|run| run.frames.iter()).peekable();
    if frames.peek().is_some() {
        parts.push(Part::Gap);
        parts.extend(frames.copied().map(Part::Code));
    }
}

/// The runs of a runtime's words, and why there are no more.
fn runs(words: &[u64]) -> (Vec<Run>, Option<CutFrames>) {
    let mut runs = Vec::new();
    let mut open = Run::default();
    for word in words {
        match word::decode(*word) {
            Some(RuntimeFrame::Python(code)) => {
                open.frames.push(code);
                if code.ends_run {
                    runs.push(std::mem::take(&mut open));
                }
            }
            Some(RuntimeFrame::NoFrame) => runs.push(std::mem::take(&mut open)),
            Some(RuntimeFrame::Cut(why)) => {
                if !open.frames.is_empty() {
                    runs.push(open);
                }
                return (runs, Some(why));
            }
            // No program writes it there.
            Some(RuntimeFrame::Java(_)) | None => return (runs, Some(CutFrames::Invalid)),
        }
    }
    if !open.frames.is_empty() {
        runs.push(open);
    }
    (runs, None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracer_common::runtime::word::{cut, python};

    use super::*;

    /// Native frames: those of the loop are from 1000 on.
    fn is_loop(address: u64) -> bool {
        address >= 1000
    }

    fn frame(object: u64, ends: bool) -> u64 {
        python(object << 12, 7, ends)
    }

    /// Parts as text: native frames by their index, frames of code by a letter.
    fn shown(words: &[u64], is_cut: bool, both: bool) -> (String, Option<CutReason>) {
        let merged = merge(words, is_loop, is_cut, both);
        let text = |part: &Part| match part {
            Part::Native(index) => index.to_string(),
            Part::Code(code) => char::from(b'a' - 1 + (code.object >> 12) as u8).to_string(),
            Part::Gap => "|".to_owned(),
            Part::Interpreted(at) => format!("i{}", at.method),
        };
        let parts: Vec<String> = merged.parts.iter().map(text).collect();
        (parts.join(" "), merged.cut)
    }

    #[test]
    fn runs_take_the_place_of_loops() {
        let words = [
            1,
            1000,
            2,
            1000,
            3,
            frame(1, false),
            frame(2, true),
            frame(3, true),
        ];
        assert_eq!(shown(&words, false, false), ("0 a b 2 c 4".into(), None));
        assert_eq!(shown(&words, false, true), ("0 1 a b 2 3 c 4".into(), None));
        // A loop that has no frame yet stays.
        let words = [1, 1000, 2, 1000, python(0, 0, true), frame(1, true)];
        assert_eq!(shown(&words, false, false), ("0 1 2 a".into(), None));
    }

    #[test]
    fn interpreted_frames_stand_where_they_are() {
        let words = [1, word::java(4096, 3), 2];
        assert_eq!(shown(&words, false, false), ("0 i4096 2".into(), None));
        assert_eq!(all_native(&words).parts.len(), 3);
        assert_eq!((native(&words).len(), addresses(&words)), (3, vec![1, 2]));
    }

    #[test]
    fn what_is_cut_is_told() {
        let native_cut = [1, 1000, frame(1, true), frame(2, true)];
        assert_eq!(shown(&native_cut, true, false), ("0 a | b".into(), None));
        let deep = [1, 1000, 2, 1000, 3, frame(1, true), cut(CutFrames::TooDeep)];
        assert_eq!(
            shown(&deep, false, false),
            ("0 a 2 3 4".into(), Some(CutReason::RuntimeTooDeep))
        );
    }

    #[test]
    fn what_does_not_fit_is_not_guessed() {
        let words = [1, 1000, 2, frame(1, true), frame(2, true)];
        assert_eq!(
            shown(&words, false, false),
            ("0 1 2 | a b".into(), Some(CutReason::RuntimeMismatch))
        );
        assert_eq!(
            shown(&[1, 1000, 2], false, false),
            ("0 1 2".into(), Some(CutReason::RuntimeNotRead))
        );
        assert_eq!(shown(&[1, 2], false, false), ("0 1".into(), None));
    }

    proptest! {
        /// No frame is lost and none comes twice, but for loops that are replaced.
        #[test]
        fn nothing_is_lost(
            native in proptest::collection::vec(prop_oneof![1u64..5, Just(1000)], 0..20),
            runtime in proptest::collection::vec((1u64..9, any::<bool>()), 0..20),
            is_cut: bool,
            both: bool,
        ) {
            let mut words = native.clone();
            words.extend(runtime.iter().map(|(object, ends)| frame(*object, *ends)));
            let merged = merge(&words, is_loop, is_cut, both);
            let codes = merged.parts.iter().filter(|part| matches!(part, Part::Code(_))).count();
            prop_assert_eq!(codes, runtime.len());
            let indices: Vec<usize> = merged.parts.iter().filter_map(|part| match part {
                Part::Native(index) => Some(*index),
                _ => None,
            }).collect();
            prop_assert!(indices.is_sorted());
            let others = native.iter().filter(|address| !is_loop(**address)).count();
            prop_assert!(indices.len() >= others && indices.len() <= native.len());
            prop_assert!(!both || indices.len() == native.len());
        }
    }
}
