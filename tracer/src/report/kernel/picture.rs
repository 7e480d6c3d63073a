//! Folded stacks and the flame graph of the kernel's memory.

use std::io::{self, Write};

use super::{KernelReport, KernelStack};
use crate::report::units::bytes;
use crate::report::{folded as fold, svg as drawing};

/// Writes a line for each stack, outermost frame first and the cache last, then the bytes held.
///
/// # Errors
/// Those of `out`.
pub fn folded(report: &KernelReport, out: &mut impl Write) -> io::Result<()> {
    fold::write_lines(&lines(report), out)
}

/// Writes the flame graph as SVG.
///
/// # Errors
/// Those of `out`.
pub fn svg(report: &KernelReport, out: &mut impl Write) -> io::Result<()> {
    let held = bytes(report.stacks_live_bytes);
    let title = format!("memlens: kernel, {held} held by allocations of the trace");
    let subtitle = (!report.complete()).then(|| "incomplete: the report says why".to_owned());
    drawing::draw(title, subtitle, &lines(report), out)
}

/// Pages under another kind that is followed would make the picture twice as wide there: they are left out.
fn lines(report: &KernelReport) -> Vec<String> {
    let stacks = report.stacks.iter().filter(|row| row.backing.is_none());
    let names = |row: &KernelStack| {
        let mut names = fold::stack_names(None, &row.frames, row.truncated.as_deref());
        names.push(fold::frame_name(&format!("[{}]", row.what)));
        names
    };
    fold::merged(stacks, |row| row.held.live_bytes, names)
}
