//! Folded stacks: one line per stack, outermost frame first, then the live bytes; what flame graph
//! tools read.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use super::{ProcessRow, Report, StackRow, names};

/// Stands in front of the frames of a stack whose outer end is not known.
pub const CUT: &str = "[cut]";

/// Stands for a stack without frames.
pub const NO_STACK: &str = "[no stack]";

/// Writes a line for each stack that holds memory, sorted; lines that are the same are added up.
///
/// Where there is more than one process, and always on a whole host, "name-pid" is the outermost frame; of a stack that
/// several share (`--by stack`) it is their number.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for line in lines(report) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// The lines, without their ends.
pub fn lines(report: &Report) -> Vec<String> {
    let mut merged: BTreeMap<String, u64> = BTreeMap::new();
    let rows = report.by_pid();
    for stack in report.stacks.iter().filter(|stack| stack.live_bytes > 0) {
        *merged.entry(fold(report, &rows, stack)).or_default() += stack.live_bytes;
    }
    let lines = merged
        .iter()
        .map(|(stack, value)| format!("{stack} {value}"));
    lines.collect()
}

fn fold(report: &Report, rows: &HashMap<u32, &ProcessRow>, stack: &StackRow) -> String {
    let mut names = Vec::with_capacity(stack.frames.len() + 2);
    if report.processes.len() > 1 || report.host.is_some() {
        names.push(match rows.get(&stack.pid) {
            _ if !stack.also.is_empty() => format!("[{} processes]", 1 + stack.also.len()),
            Some(row) => frame_name(&format!("{}-{}", row.comm, row.pid)),
            None => format!("pid-{}", stack.pid),
        });
    }
    if stack.truncated.is_some() {
        names.push(CUT.to_owned());
    }
    let frames = stack.frames.iter().rev();
    names.extend(frames.map(|frame| frame_name(&names::frame(frame))));
    if stack.frames.is_empty() && stack.truncated.is_none() {
        names.push(NO_STACK.to_owned());
    }
    names.join(";")
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
