//! Folded stacks and the flame graph of address space: the stacks that mapped something.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{Amount, SpaceReport};
use crate::report::units::{bytes, counted};
use crate::report::{folded as fold, names, svg as drawing};
use crate::symbolize::Frame;

/// What the width of a tower means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Width {
    /// Bytes mapped.
    #[default]
    Mapped,
    /// Bytes in memory.
    Resident,
    /// Page faults, with --faults: the stacks that touched memory, not those that mapped it.
    Faults,
}

impl Width {
    fn of(self, amount: &Amount) -> u64 {
        match self {
            Self::Mapped => amount.mapped,
            Self::Resident => amount.resident,
            Self::Faults => 0,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Resident => "resident",
            Self::Faults => "page faults",
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
    let what = match (report.width, &report.faults) {
        (Width::Faults, faults) => {
            let total = faults.as_ref().map_or(0, |faults| faults.total.faults);
            counted(total, "page fault")
        }
        (width, _) => format!(
            "{} {} by calls of the trace",
            bytes(width.of(&report.stacks_amount)),
            width.name()
        ),
    };
    let title = format!("memlens: {}, {what}", report.subject());
    let title = names::clean(&title).into_owned();
    let subtitle = (!report.complete()).then(|| "incomplete: the report says why".to_owned());
    drawing::draw(title, subtitle, &lines(report), out)
}

fn lines(report: &SpaceReport) -> Vec<String> {
    let mut merged: BTreeMap<String, u64> = BTreeMap::new();
    let mut add = |value: u64, pid: u32, frames: &[Frame], is_cut: bool| {
        if value > 0 {
            let stack = folded_stack(report, pid, frames, is_cut);
            *merged.entry(stack).or_default() += value;
        }
    };
    if report.width == Width::Faults {
        for stack in report.faults.iter().flat_map(|faults| &faults.stacks) {
            let is_cut = stack.truncated.is_some();
            add(stack.amount.faults, stack.pid, &stack.frames, is_cut);
        }
    } else {
        for stack in &report.stacks {
            let is_cut = stack.truncated.is_some();
            let value = report.width.of(&stack.amount);
            add(value, stack.pid, &stack.frames, is_cut);
        }
    }
    let lines = merged
        .iter()
        .map(|(stack, value)| format!("{stack} {value}"));
    lines.collect()
}

fn folded_stack(report: &SpaceReport, pid: u32, frames: &[Frame], is_cut: bool) -> String {
    let mut words = Vec::with_capacity(frames.len() + 2);
    if report.processes.len() > 1 {
        let row = report.processes.iter().rfind(|row| row.pid == pid);
        let comm = row.map_or("pid", |row| row.comm.as_str());
        words.push(fold::frame_name(&format!("{comm}-{pid}")));
    }
    if is_cut {
        words.push(fold::CUT.to_owned());
    }
    let named = frames.iter().rev();
    words.extend(named.map(|frame| fold::frame_name(&names::frame(frame))));
    if frames.is_empty() && !is_cut {
        words.push(fold::NO_STACK.to_owned());
    }
    words.join(";")
}
