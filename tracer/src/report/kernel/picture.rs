//! Folded stacks and the flame graph of the kernel's memory.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{KernelReport, KernelStack};
use crate::report::units::bytes;
use crate::report::{folded as fold, names, svg as drawing};

/// Writes a line for each stack, outermost frame first and the cache last, then the bytes held.
///
/// # Errors
/// Those of `out`.
pub fn folded(report: &KernelReport, out: &mut impl Write) -> io::Result<()> {
    for line in lines(report) {
        writeln!(out, "{line}")?;
    }
    Ok(())
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
    let mut merged: BTreeMap<String, u64> = BTreeMap::new();
    let stacks = report.stacks.iter();
    for stack in stacks.filter(|stack| stack.held.live_bytes > 0 && stack.backing.is_none()) {
        *merged.entry(folded_stack(stack)).or_default() += stack.held.live_bytes;
    }
    let lines = merged
        .iter()
        .map(|(stack, value)| format!("{stack} {value}"));
    lines.collect()
}

fn folded_stack(stack: &KernelStack) -> String {
    let mut frames = Vec::with_capacity(stack.frames.len() + 2);
    if stack.truncated.is_some() {
        frames.push(fold::CUT.to_owned());
    }
    let named = stack.frames.iter().rev();
    frames.extend(named.map(|frame| fold::frame_name(&names::frame(frame))));
    if stack.frames.is_empty() && stack.truncated.is_none() {
        frames.push(fold::NO_STACK.to_owned());
    }
    frames.push(fold::frame_name(&format!("[{}]", stack.what)));
    frames.join(";")
}
