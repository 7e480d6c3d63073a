//! The part of a report of address space that is about page faults: who brings pages into memory, and into what.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::report::json::{WireFrame, lossy};
use crate::report::line::{Line, Writer};
use crate::report::text::TextOptions;
use crate::report::units::{bytes, count, counted};
use crate::report::{frames, names, parts};
use crate::space::Kind;
use crate::symbolize::Frame;

/// Ranges named below a stack.
const PLACES_NAMED: usize = 3;
/// Frames named of the stack that mapped a range.
const MAPPERS_NAMED: usize = 5;

/// Page faults since the start.
#[derive(Clone, Debug)]
pub struct FaultReport {
    /// All of them.
    pub total: FaultAmount,
    /// What the kernel has counted for the same processes; `None` where one has ended, and its count with it.
    pub kernel: Option<KernelFaults>,
    /// The stacks to show, most new memory first.
    pub stacks: Vec<FaultStack>,
    /// How many stacks there are, shown or not.
    pub stacks_total: usize,
}

/// The kernel's own count, in which there are also pages that it brought in without a fault (`MAP_POPULATE`, `mlock`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelFaults {
    /// Minor faults.
    pub minor: u64,
    /// Major faults.
    pub major: u64,
}

/// How many page faults; estimates, unless each one was in the sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultAmount {
    /// Faults, minor and major.
    pub faults: u64,
    /// Of these, major: they waited for a disk or the swap.
    pub major: u64,
    /// Memory that they brought in: bytes of pages that were not there and are now.
    pub new_bytes: u64,
    /// One standard error of `faults`; 0 where each one was seen.
    pub standard_error: u64,
    /// Faults that were seen.
    pub samples: u64,
}

/// The page faults of one stack.
#[derive(Clone, Debug)]
pub struct FaultStack {
    /// Whose.
    pub pid: u32,
    /// How many.
    pub amount: FaultAmount,
    /// Memory that it has brought in since the previous report; `None` in the first.
    pub recent_new_bytes: Option<u64>,
    /// What it touched, most new memory first.
    pub touched: Vec<Touched>,
    /// Why the stack is cut, where it is.
    pub truncated: Option<String>,
    /// Frames, innermost first.
    pub frames: Vec<Frame>,
}

/// Ranges of one kind and origin that a stack touched.
#[derive(Clone, Debug)]
pub struct Touched {
    /// What they are; `None` where nothing is known to be mapped.
    pub kind: Option<Kind>,
    /// The file, where they are one and its name is known.
    pub file: Option<PathBuf>,
    /// Who mapped them.
    pub mapper: Mapper,
    /// How many faults.
    pub amount: FaultAmount,
}

/// Who mapped what was touched.
#[derive(Clone, Debug)]
pub enum Mapper {
    /// It was there before the trace.
    Before,
    /// No call that was seen.
    Unknown,
    /// A stack, innermost frame first; empty where it was not kept.
    Stack(Vec<Frame>),
}

/// Writes the faults in a text report. `whose` names a process where a report has several.
///
/// # Errors
/// Those of `out`.
pub fn write(
    out: &mut Writer<'_, impl Write>,
    report: &FaultReport,
    options: &TextOptions,
    whose: impl Fn(u32) -> Option<String>,
) -> io::Result<()> {
    out.list(totals(report), 2)?;
    out.blank()?;
    for (index, stack) in report.stacks.iter().enumerate() {
        let mut head = amount(&stack.amount, parts::number(index));
        if let Some(recent) = stack.recent_new_bytes.filter(|recent| *recent > 0) {
            head.push(Line::default().strong(&format!("+{}", bytes(recent))));
        }
        head.extend(whose(stack.pid).map(|whose| Line::of(&whose)));
        out.list(head, 4)?;
        frames::write(out, &stack.frames, stack.truncated.as_deref(), options)?;
        for place in stack.touched.iter().take(PLACES_NAMED) {
            out.sentence(Line::default().faint("  touched"), &words(place, stack), 6)?;
        }
        parts::more(out, stack.touched.len().saturating_sub(PLACES_NAMED))?;
        out.blank()?;
    }
    let left_out = report.stacks_total.saturating_sub(report.stacks.len());
    if left_out > 0 {
        let text = match left_out {
            1 => "1 more stack has page faults".to_owned(),
            more => format!("{} more stacks have page faults", count(more as u64)),
        };
        out.sentence(Line::default(), &text, 2)?;
        out.blank()?;
    }
    Ok(())
}

/// All of them, how well they are known, and what the kernel says.
fn totals(report: &FaultReport) -> Vec<Line> {
    let total = &report.total;
    let mut parts = amount(total, Line::of("since the start "));
    parts.push(Line::of(&match (total.samples, total.standard_error) {
        (0, _) => "none was seen".to_owned(),
        (_, 0) => "each one was seen".to_owned(),
        (samples, error) => format!(
            "estimates from {}, faults +- {} (1 standard error)",
            counted(samples, "sampled fault"),
            count(error)
        ),
    }));
    if let Some(kernel) = report.kernel {
        let counted = count(kernel.minor + kernel.major);
        let major = match kernel.major {
            0 => String::new(),
            major => format!(" (major {})", count(major)),
        };
        parts.push(Line::of(&format!("the kernel counted {counted}{major}")));
    }
    parts
}

fn amount(amount: &FaultAmount, before: Line) -> Vec<Line> {
    let faults = if amount.faults == 1 {
        " page fault"
    } else {
        " page faults"
    };
    let mut parts = vec![before.strong(&count(amount.faults)).plain(faults)];
    if amount.major > 0 {
        let major = Line::of("of them ").strong(&count(amount.major));
        parts.push(major.plain(" major"));
    }
    parts.push(Line::of("new memory ").strong(&bytes(amount.new_bytes)));
    parts
}

/// What was touched, in a sentence.
fn words(place: &Touched, stack: &FaultStack) -> String {
    let mut text = match (&place.file, place.kind) {
        (Some(file), _) => names::clean(&file.to_string_lossy()).into_owned(),
        (None, Some(Kind::Stack)) => "a stack".to_owned(),
        (None, Some(Kind::Brk)) => "the brk heap".to_owned(),
        (None, Some(Kind::File)) => "a file".to_owned(),
        (None, Some(kind)) => format!("{} memory", kind.name()),
        (None, None) => "what is not known to be mapped".to_owned(),
    };
    if stack.touched.len() > 1 {
        let faults = counted(place.amount.faults, "page fault");
        let new = bytes(place.amount.new_bytes);
        text = format!("{text} ({faults}, new memory {new})");
    }
    match &place.mapper {
        Mapper::Unknown => text,
        Mapper::Before => format!("{text}, mapped before the trace"),
        Mapper::Stack(frames) if frames.is_empty() => {
            format!("{text}, mapped by a call whose stack was not kept")
        }
        Mapper::Stack(frames) => {
            let named = frames.iter().filter(|frame| !frame.inlined);
            let mut named: Vec<String> = named
                .map(|frame| names::clean(&names::frame(frame)).into_owned())
                .collect();
            if named.len() > MAPPERS_NAMED {
                named.truncate(MAPPERS_NAMED);
                named.push("...".to_owned());
            }
            format!("{text}, mapped by {}", named.join(" < "))
        }
    }
}

#[derive(Serialize)]
pub(super) struct WireTotals {
    #[serde(flatten)]
    amount: WireAmount,
    kernel_minor: Option<u64>,
    kernel_major: Option<u64>,
    stacks: usize,
}

#[derive(Serialize)]
struct WireAmount {
    faults: u64,
    minor: u64,
    major: u64,
    new_bytes: u64,
    standard_error: u64,
    samples: u64,
}

#[derive(Serialize)]
pub(super) struct WireFaults<'a> {
    pid: u32,
    #[serde(flatten)]
    amount: WireAmount,
    recent_new_bytes: Option<u64>,
    touched: Vec<WireTouched<'a>>,
    truncated: Option<&'a str>,
    frames: Vec<WireFrame<'a>>,
}

#[derive(Serialize)]
struct WireTouched<'a> {
    kind: Option<&'static str>,
    file: Option<String>,
    before_trace: bool,
    #[serde(flatten)]
    amount: WireAmount,
    mapped_by: Option<Vec<WireFrame<'a>>>,
}

impl From<&FaultAmount> for WireAmount {
    fn from(amount: &FaultAmount) -> Self {
        Self {
            faults: amount.faults,
            minor: amount.faults.saturating_sub(amount.major),
            major: amount.major,
            new_bytes: amount.new_bytes,
            standard_error: amount.standard_error,
            samples: amount.samples,
        }
    }
}

impl WireTotals {
    pub(super) fn of(report: &FaultReport) -> Self {
        Self {
            amount: (&report.total).into(),
            kernel_minor: report.kernel.map(|kernel| kernel.minor),
            kernel_major: report.kernel.map(|kernel| kernel.major),
            stacks: report.stacks_total,
        }
    }
}

impl<'a> WireFaults<'a> {
    pub(super) fn of(row: &'a FaultStack) -> Self {
        Self {
            pid: row.pid,
            amount: (&row.amount).into(),
            recent_new_bytes: row.recent_new_bytes,
            touched: row.touched.iter().map(WireTouched::of).collect(),
            truncated: row.truncated.as_deref(),
            frames: row.frames.iter().map(WireFrame::of).collect(),
        }
    }
}

impl<'a> WireTouched<'a> {
    fn of(place: &'a Touched) -> Self {
        Self {
            kind: place.kind.map(Kind::name),
            file: place.file.as_deref().map(lossy),
            before_trace: matches!(place.mapper, Mapper::Before),
            amount: (&place.amount).into(),
            mapped_by: match &place.mapper {
                Mapper::Stack(frames) => Some(frames.iter().map(WireFrame::of).collect()),
                Mapper::Before | Mapper::Unknown => None,
            },
        }
    }
}
