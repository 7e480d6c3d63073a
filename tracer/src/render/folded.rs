//! Folded stacks: one line per stack, outermost frame first, then its value; what flame graph tools read.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use super::path::{self, Step};
use super::{FileOption, Options, Render};
use crate::profile::{Measure, Number, Profile, Sample};
use crate::words::clean::clean;
use crate::words::names;

/// Which frames a stack has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// All of them.
    All,
    /// Runs of frames that say nothing about who allocates are one.
    Telling,
}

/// The option that asks for a file of it.
pub const FILE: FileOption = FileOption {
    name: "folded",
    help: "Write folded stacks to FILE with every report, the input of flame graph tools",
    details: "The innermost function comes last; the number is live bytes. All stacks are included, regardless of --top. Each \
              report replaces the file.\n\nExample: --folded heap.folded",
};

/// The renderer: a line for each stack with a value, sorted; the values of equal lines are added up.
///
/// Where there are several processes, or can be, "name-pid" is the outermost frame; for a stack that several share, it
/// is their number. For the kernel's memory the cache is the innermost frame. A line of a difference has two values, the
/// earlier and the later one.
pub struct Folded;

impl Render for Folded {
    fn render(&self, profile: &Profile, options: &Options, out: &mut dyn Write) -> io::Result<()> {
        let measure = super::drawn(profile, options);
        match profile.sections.difference {
            Some(_) => compared(profile, measure, Frames::All)
                .iter()
                .try_for_each(|line| writeln!(out, "{line}")),
            None => lines(profile, measure, Frames::All)
                .iter()
                .try_for_each(|(stack, value)| writeln!(out, "{stack} {value}")),
        }
    }
}

/// The stacks with their values of a measure. Pages that back other memory with stacks of its own are left out, so that
/// no byte is counted twice.
pub fn lines(profile: &Profile, measure: Measure, frames: Frames) -> BTreeMap<String, u64> {
    values(profile, measure, frames, |sample| {
        profile.value(sample, measure)
    })
}

/// The stacks of a difference with their earlier and their later values, the input of differential flame graphs.
pub fn compared(profile: &Profile, measure: Measure, frames: Frames) -> Vec<String> {
    let before = values(profile, measure, frames, |sample| {
        profile.before(sample, measure)
    });
    let after = values(profile, measure, frames, |sample| {
        profile.after(sample, measure)
    });
    let stacks: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let value = |of: &BTreeMap<String, u64>, stack| of.get(stack).copied().unwrap_or(0);
    let line = |stack| format!("{stack} {} {}", value(&before, stack), value(&after, stack));
    stacks.into_iter().map(line).collect()
}

/// The stacks with some value of each sample, as far as it is above zero.
fn values(
    profile: &Profile,
    measure: Measure,
    frames: Frames,
    value: impl Fn(&Sample) -> Option<Number>,
) -> BTreeMap<String, u64> {
    let names = profile
        .frames
        .iter()
        .map(|frame| frame_name(&names::frame(profile, frame)));
    let names: Vec<String> = names.collect();
    let mut lines = BTreeMap::new();
    for sample in profile.stack_samples(measure.source()) {
        match value(sample)
            .map_or(0, Number::whole)
            .max(0)
            .cast_unsigned()
        {
            0 => {}
            _ if sample.is_backing() => {}
            value => {
                *lines
                    .entry(line(profile, sample, frames, &names))
                    .or_default() += value
            }
        }
    }
    lines
}

/// The names of a stack, outermost first: whose it is, that it is cut, its frames, its cache.
fn line(profile: &Profile, sample: &Sample, frames: Frames, names: &[String]) -> String {
    let mut line = whose(profile, sample).unwrap_or_default();
    let steps = match frames {
        Frames::All => path::steps(profile, sample),
        Frames::Telling => path::folded(profile, sample),
    };
    for step in steps {
        if !line.is_empty() {
            line.push(';');
        }
        match step {
            Step::Frame(frame) => line.push_str(&names[frame as usize]),
            step => line.push_str(&frame_name(&step.word().unwrap_or_default())),
        }
    }
    line
}

fn whose(profile: &Profile, sample: &Sample) -> Option<String> {
    let whose = match (sample.also.len(), profile.subject(sample.subject)) {
        (also @ 1.., _) => format!("[{} processes]", 1 + also),
        (_, None) => "[unknown process]".to_owned(),
        (_, Some(subject)) => match subject.pid {
            Some(pid) => frame_name(&format!("{}-{pid}", subject.command)),
            None => frame_name(&format!("[{}]", subject.command)),
        },
    };
    profile.is_of_many().then_some(whose)
}

/// A name that the folded form can hold: no separator, no line end, and no number alone at its end, which would be read
/// as the value.
fn frame_name(name: &str) -> String {
    let name = clean(name.trim()).replace(';', ":");
    match name.rsplit_once(' ') {
        Some((rest, last)) if last.chars().all(|c| c.is_ascii_digit() || c == '.') => {
            format!("{rest}_{last}")
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_nothing_that_separates() {
        assert_eq!(frame_name("a;b\nc"), "a:b?c");
        assert_eq!(
            frame_name("operator new(unsigned long)"),
            "operator new(unsigned long)"
        );
        assert_eq!(frame_name(" part 12"), "part_12");
        assert_eq!(frame_name("part 1.2"), "part_1.2");
    }
}
