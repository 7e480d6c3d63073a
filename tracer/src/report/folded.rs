//! Folded stacks: one line per stack, outermost frame first, then the live bytes; what flame graph
//! tools read.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use super::{ProcessRow, Report, StackRow, names};
use crate::symbolize::Frame;

/// Stands in front of the frames of a stack whose outer end is not known.
const CUT: &str = "[cut]";

/// Stands for a stack without frames.
const NO_STACK: &str = "[no stack]";

/// Writes a line for each stack that holds memory, sorted; lines that are the same are added up.
///
/// Where there is more than one process, and always on a whole host, "name-pid" is the outermost frame; of a stack that
/// several share (`--by stack`) it is their number.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    write_lines(&lines(report), out)
}

/// Writes the lines, each with its end.
pub(super) fn write_lines(lines: &[String], out: &mut impl Write) -> io::Result<()> {
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// The lines, without their ends.
pub fn lines(report: &Report) -> Vec<String> {
    let rows = report.by_pid();
    let names = |stack: &StackRow| {
        let whose = whose(report, &rows, stack);
        stack_names(whose, &stack.frames, stack.truncated.as_deref())
    };
    merged(&report.stacks, |stack| stack.live_bytes, names)
}

fn whose(report: &Report, rows: &HashMap<u32, &ProcessRow>, stack: &StackRow) -> Option<String> {
    if report.processes.len() < 2 && report.host.is_none() {
        return None;
    }
    Some(match rows.get(&stack.pid) {
        _ if !stack.also.is_empty() => format!("[{} processes]", 1 + stack.also.len()),
        Some(row) => frame_name(&format!("{}-{}", row.comm, row.pid)),
        None => format!("pid-{}", stack.pid),
    })
}

/// One line for each stack with a value, sorted; the values of stacks with the same names are added up. The names of a
/// stack come outermost first.
pub(super) fn merged<'a, S: 'a>(
    stacks: impl IntoIterator<Item = &'a S>,
    value: impl Fn(&S) -> u64,
    names: impl Fn(&S) -> Vec<String>,
) -> Vec<String> {
    let mut merged: BTreeMap<String, u64> = BTreeMap::new();
    for stack in stacks.into_iter().filter(|stack| value(stack) > 0) {
        *merged.entry(names(stack).join(";")).or_default() += value(stack);
    }
    let lines = merged
        .iter()
        .map(|(stack, value)| format!("{stack} {value}"));
    lines.collect()
}

/// The names of a stack, outermost first: what it is `under`, that it is cut, its frames.
pub(super) fn stack_names(
    under: Option<String>,
    frames: &[Frame],
    truncated: Option<&str>,
) -> Vec<String> {
    let mut names: Vec<String> = under.into_iter().collect();
    names.extend(truncated.map(|_| CUT.to_owned()));
    let outermost_first = frames.iter().rev();
    names.extend(outermost_first.map(|frame| frame_name(&names::frame(frame))));
    if frames.is_empty() && truncated.is_none() {
        names.push(NO_STACK.to_owned());
    }
    names
}

/// A name that the folded form can hold: no separator, no line end, and no number standing alone at
/// its end, which readers would take for the value.
pub(super) fn frame_name(name: &str) -> String {
    let name = names::clean(name.trim()).replace(';', ":");
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
