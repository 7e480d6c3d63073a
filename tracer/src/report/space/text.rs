//! The report of `memlens vm` as text: mapped and resident side by side, so that address space is not taken for memory.

use std::io::{self, Write};

use super::columns::{self, resident};
use super::{Amount, SpaceProcess, SpaceReport, SpaceStack, faults, host_text};
use crate::report::line::{Line, Writer};
use crate::report::loss::sentences;
use crate::report::parts::{self, Heading, changed, number};
use crate::report::table::{Column, write_columns};
use crate::report::text::{TextOptions, command_exit, state_name};
use crate::report::units::{bytes, change, count, counted, counted_processes, duration};
use crate::report::{ProcessState, frames, names};

/// Corrections that are told one by one.
const MOST_CORRECTIONS: usize = 10;

/// Files named in a stack's heading.
const FILES_NAMED: usize = 2;

/// Writes the report; one that is not the last is followed by an empty line.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &SpaceReport, options: &TextOptions, out: &mut impl Write) -> io::Result<()> {
    let mut out = Writer::new(out, options.width, options.colour);
    let heading = Heading {
        time: report.time,
        subject: &report.subject(),
        before: "address space, ",
        elapsed: report.elapsed,
        last: report.last,
    };
    parts::heading(&mut out, &heading, options)?;
    totals(&mut out, report)?;
    out.blank()?;
    match &report.host {
        Some(host) => host_text::table(&mut out, report, host)?,
        None => {
            processes(&mut out, report)?;
            out.blank()?;
        }
    }
    for (index, stack) in report.stacks.iter().enumerate() {
        stack_head(&mut out, report, index, stack)?;
        frames::write(&mut out, &stack.frames, stack.truncated.as_deref(), options)?;
        out.blank()?;
    }
    stacks_left_out(&mut out, report)?;
    if let Some(found) = &report.faults {
        faults::write(&mut out, found, options, |pid| whose(report, pid))?;
    }
    others(&mut out, report)?;
    if let Some(host) = &report.host {
        host_text::ended(&mut out, report, host)?;
    }
    closing(&mut out, report, options)?;
    if !report.last {
        out.blank()?;
    }
    Ok(())
}

/// What there is, and what of it the calls of the trace have made.
fn totals(out: &mut Writer<'_, impl Write>, report: &SpaceReport) -> io::Result<()> {
    out.list(amount(&report.amount(), report.measured()), 2)?;
    let calls = &report.stacks_amount;
    let text = format!(
        "since the start {} on {}: ",
        counted(calls.ranges, "range"),
        counted(report.stacks_total as u64, "stack")
    );
    let mut parts = amount(calls, report.measured());
    let first = parts.remove(0);
    let mut all = vec![Line::of(&text).join(first)];
    all.extend(parts);
    out.list(all, 2)
}

/// Mapped, resident, swapped and set aside, as the parts of a list.
fn amount(amount: &Amount, measured: bool) -> Vec<Line> {
    let mut parts = vec![
        Line::default()
            .plain("mapped ")
            .strong(&bytes(amount.mapped)),
    ];
    if amount.reserved > 0 {
        let of = bytes(amount.reserved);
        parts.push(Line::of(&format!("of it {of} without access")));
    }
    if measured {
        parts.push(
            Line::default()
                .plain("resident ")
                .strong(&bytes(amount.resident)),
        );
    }
    if amount.swapped > 0 {
        parts.push(Line::of(&format!("swapped {}", bytes(amount.swapped))));
    }
    parts
}

/// One row for each process.
fn processes(out: &mut Writer<'_, impl Write>, report: &SpaceReport) -> io::Result<()> {
    let rows = &report.processes;
    let mut columns = vec![
        Column::new("pid", rows, |row| row.pid.to_string()),
        Column::new("command", rows, |row| names::clean(&row.comm).into_owned()).words(),
        Column::new("resident", rows, |row| resident(&row.amount, row.measured)),
        Column::new("mapped", rows, |row| bytes(row.amount.mapped)),
    ];
    if rows.iter().any(|row| row.growth.is_some()) {
        let growth = |row: &SpaceProcess| row.growth.map_or_else(|| "-".to_owned(), change);
        columns.push(Column::new("change", rows, growth));
    }
    columns.extend(columns::set_aside(rows, |row| &row.amount));
    columns.extend(columns::by_kind(rows, |row| &row.kinds));
    if rows.iter().any(|row| row.state != ProcessState::Running) {
        columns.push(Column::new("state", rows, |row| state_name(row.state).to_owned()).words());
    }
    let least = [
        "stacks",
        "shared",
        "file",
        "brk",
        "anonymous",
        "swapped",
        "change",
        "state",
    ];
    write_columns(out, columns, rows.len(), &least)
}

/// What a stack has mapped, and whose it is.
fn stack_head(
    out: &mut Writer<'_, impl Write>,
    report: &SpaceReport,
    index: usize,
    stack: &SpaceStack,
) -> io::Result<()> {
    let mut parts = amount(&stack.amount, stack.measured);
    parts[0] = number(index).join(std::mem::take(&mut parts[0]));
    let kinds: Vec<&str> = stack.kinds.iter().map(|kind| kind.name()).collect();
    let ranges = counted(stack.amount.ranges, "range");
    parts.push(Line::of(&format!("{ranges}, {}", kinds.join(" and "))));
    parts.extend(stack.growth.map(changed));
    parts.push(Line::of(&format!("oldest {}", duration(stack.oldest))));
    if !stack.files.is_empty() {
        let named = stack.files.iter().take(FILES_NAMED);
        let mut named: Vec<String> = named
            .map(|file| names::clean(&file.to_string_lossy()).into_owned())
            .collect();
        if stack.files.len() > FILES_NAMED {
            let more = stack.files.len() - FILES_NAMED;
            named.push(format!("{} more", counted(more as u64, "file")));
        }
        parts.push(Line::of(&named.join(", ")));
    }
    let also = match stack.also.len() {
        0 => String::new(),
        more => format!(" and {} more", counted_processes(more as u64)),
    };
    parts.extend(whose(report, stack.pid).map(|whose| Line::of(&format!("{whose}{also}"))));
    out.list(parts, 4)
}

/// Whose a stack is, where there are several processes.
fn whose(report: &SpaceReport, pid: u32) -> Option<String> {
    let comm = report.comm_among_several(pid)?;
    Some(format!("{} ({pid})", names::clean(comm)))
}

fn stacks_left_out(out: &mut Writer<'_, impl Write>, report: &SpaceReport) -> io::Result<()> {
    let left_out = report.stacks_total.saturating_sub(report.stacks.len());
    let text = match (left_out, report.stacks.is_empty()) {
        (0, true) => "nothing that was mapped since the start is mapped now".to_owned(),
        (0, false) => return Ok(()),
        (1, _) => "1 more stack has mapped memory".to_owned(),
        (more, _) => format!("{} more stacks have mapped memory", count(more as u64)),
    };
    out.sentence(Line::default(), &text, 2)?;
    out.blank()
}

/// What no call of the trace has mapped.
fn others(out: &mut Writer<'_, impl Write>, report: &SpaceReport) -> io::Result<()> {
    if report.others.is_empty() {
        return Ok(());
    }
    out.line(&Line::of(
        "mapped before the trace, or by the kernel itself:",
    ))?;
    let rows = &report.others;
    let name = |row: &super::SpaceOther| match &row.name {
        Some(name) => names::clean(&name.to_string_lossy()).into_owned(),
        None => String::new(),
    };
    let mut columns = Vec::new();
    if report.processes.len() > 1 {
        columns.push(Column::new("pid", rows, |row| row.pid.to_string()));
    }
    columns.push(Column::new("resident", rows, |row| {
        resident(&row.amount, row.measured)
    }));
    columns.push(Column::new("mapped", rows, |row| bytes(row.amount.mapped)));
    if rows.iter().any(|row| row.amount.reserved > 0) {
        columns.push(Column::new("no access", rows, |row| {
            bytes(row.amount.reserved)
        }));
    }
    columns.push(Column::new("ranges", rows, |row| count(row.amount.ranges)));
    columns.push(Column::new("kind", rows, |row| row.kind.name().to_owned()).words());
    columns.push(Column::new("name", rows, name).words());
    write_columns(out, columns, rows.len(), &["ranges", "no access"])?;
    parts::more(out, report.others_total.saturating_sub(rows.len()))?;
    out.blank()
}

/// Whether the account agrees with the maps, and what the numbers do not cover.
fn closing(
    out: &mut Writer<'_, impl Write>,
    report: &SpaceReport,
    options: &TextOptions,
) -> io::Result<()> {
    let (mark, text) = match report.complete() {
        true => ("complete:", "what is tracked is what the maps show"),
        false => (
            "incomplete:",
            "the account had to be corrected from the maps",
        ),
    };
    out.sentence(Line::default().strong(mark), text, 2)?;
    let corrected: Vec<String> = report.processes.iter().flat_map(corrections).collect();
    for sentence in corrected.iter().take(MOST_CORRECTIONS) {
        out.sentence(Line::default().strong("  corrected:"), sentence, 4)?;
    }
    if corrected.len() > MOST_CORRECTIONS {
        let more = count((corrected.len() - MOST_CORRECTIONS) as u64);
        let text = format!("{more} more (--json has all)");
        out.sentence(Line::default().strong("  corrected:"), &text, 4)?;
    }
    parts::losses(out, &sentences(&report.loss))?;
    parts::notes(out, &report.notes, report.last, options)?;
    match report.command_exit {
        Some(exit) => out.sentence(Line::default(), &command_exit(exit), 2),
        None => Ok(()),
    }
}

fn corrections(row: &SpaceProcess) -> Vec<String> {
    let whose = format!("{} ({})", names::clean(&row.comm), row.pid);
    let corrections = row.corrections;
    let cases = [
        (corrections.found, "were mapped by no call that was seen"),
        (corrections.gone, "were unmapped by no call that was seen"),
        (
            corrections.access,
            "were opened or closed to access by no call that was seen",
        ),
        (
            corrections.repaired,
            "were found out from the maps where calls were lost",
        ),
    ];
    cases
        .iter()
        .filter(|(size, _)| *size > 0)
        .map(|(size, what)| format!("{} of {whose} {what}", bytes(*size)))
        .collect()
}
