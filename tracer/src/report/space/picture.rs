//! Folded stacks and the flame graph of address space: the stacks that mapped something.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{Amount, SpaceReport, SpaceStack};
use crate::report::units::bytes;
use crate::report::{folded as fold, names, svg as drawing};

/// What the width of a tower means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Width {
    /// Bytes mapped.
    #[default]
    Mapped,
    /// Bytes in memory.
    Resident,
}

impl Width {
    fn of(self, amount: &Amount) -> u64 {
        match self {
            Self::Mapped => amount.mapped,
            Self::Resident => amount.resident,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Resident => "resident",
        }
    }
}

/// Writes a line for each stack, outermost frame first, then the bytes.
///
/// # Errors
/// Those of `out`.
pub fn folded(report: &SpaceReport, out: &mut impl Write) -> io::Result<()> {
    for line in lines(report) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Writes the flame graph as SVG.
///
/// # Errors
/// Those of `out`.
pub fn svg(report: &SpaceReport, out: &mut impl Write) -> io::Result<()> {
    let held = bytes(report.width.of(&report.stacks_amount));
    let title = format!(
        "memlens: {}, {held} {} by calls of the trace",
        report.subject(),
        report.width.name()
    );
    let title = names::clean(&title).into_owned();
    let subtitle = (!report.complete()).then(|| "incomplete: the report says why".to_owned());
    drawing::draw(title, subtitle, &lines(report), out)
}

fn lines(report: &SpaceReport) -> Vec<String> {
    let mut merged: BTreeMap<String, u64> = BTreeMap::new();
    for stack in &report.stacks {
        let value = report.width.of(&stack.amount);
        if value > 0 {
            *merged.entry(folded_stack(report, stack)).or_default() += value;
        }
    }
    let lines = merged
        .iter()
        .map(|(stack, value)| format!("{stack} {value}"));
    lines.collect()
}

fn folded_stack(report: &SpaceReport, stack: &SpaceStack) -> String {
    let mut frames = Vec::with_capacity(stack.frames.len() + 2);
    if report.processes.len() > 1 {
        let row = report.processes.iter().rfind(|row| row.pid == stack.pid);
        let comm = row.map_or("pid", |row| row.comm.as_str());
        frames.push(fold::frame_name(&format!("{comm}-{}", stack.pid)));
    }
    if stack.truncated.is_some() {
        frames.push(fold::CUT.to_owned());
    }
    let named = stack.frames.iter().rev();
    frames.extend(named.map(|frame| fold::frame_name(&names::frame(frame))));
    if stack.frames.is_empty() && stack.truncated.is_none() {
        frames.push(fold::NO_STACK.to_owned());
    }
    frames.join(";")
}
