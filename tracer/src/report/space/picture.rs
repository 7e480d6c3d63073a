//! Folded stacks and the flame graph of address space: the stacks that mapped something.

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
    fold::write_lines(&lines(report), out)
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
    let names = |pid, frames: &[Frame], truncated: &Option<String>| {
        let comm = report.comm_among_several(pid);
        let whose = comm.map(|comm| fold::frame_name(&format!("{comm}-{pid}")));
        fold::stack_names(whose, frames, truncated.as_deref())
    };
    match (report.width, &report.faults) {
        (Width::Faults, None) => Vec::new(),
        (Width::Faults, Some(faults)) => fold::merged(
            &faults.stacks,
            |row| row.amount.faults,
            |row| names(row.pid, &row.frames, &row.truncated),
        ),
        (width, _) => fold::merged(
            &report.stacks,
            |row| width.of(&row.amount),
            |row| names(row.pid, &row.frames, &row.truncated),
        ),
    }
}
