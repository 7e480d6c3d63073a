//! The stacks in the text report: what each holds, whose it is, its frames and its blocks.

use std::io::{self, Write};

use super::line::{Line, Writer};
use super::parts::{changed, number};
use super::text::TextOptions;
use super::units::{bytes, count, counted, duration, share};
use super::{Host, Report, StackRow, frames, names};

/// What is said of a stack besides its own numbers.
struct Context {
    /// Bytes that its share is of.
    whole: u64,
    /// What these are.
    of: &'static str,
    /// Whether to say whose it is.
    owner: bool,
}

/// Writes the stacks of the report.
pub fn write(
    out: &mut Writer<'_, impl Write>,
    report: &Report,
    options: &TextOptions,
) -> io::Result<()> {
    let (whole, of) = match report.filter.age() {
        None => (report.live_bytes(), "live"),
        Some(_) => (report.stacks_live_bytes, "these"),
    };
    let owner = report.processes.len() > 1 || report.host.is_some();
    let context = Context { whole, of, owner };
    write_all(out, report, &report.stacks, &context, options)
}

/// Writes the top stacks of each process (`--per-process`).
pub fn write_of_processes(
    out: &mut Writer<'_, impl Write>,
    report: &Report,
    host: &Host,
    options: &TextOptions,
) -> io::Result<()> {
    if !host.process_stacks.is_empty() && report.stacks_total > report.stacks.len() {
        out.blank()?;
    }
    let processes = host.process_stacks.iter();
    for process in processes.filter(|process| process.stacks_total > 0) {
        let whose = match report.process(process.pid) {
            Some(row) => names::process(row),
            None => format!("pid {}", process.pid),
        };
        let held = format!(
            "{} on {}",
            bytes(process.stacks_live_bytes),
            counted(process.stacks_total as u64, "stack")
        );
        let whose = Line::default().strong(&whose).plain(":");
        out.flow(vec![Line::of("stacks of"), whose, Line::of(&held)], 2)?;
        out.blank()?;
        let context = Context {
            whole: process.stacks_live_bytes,
            of: "these",
            owner: false,
        };
        write_all(out, report, &process.stacks, &context, options)?;
    }
    Ok(())
}

fn write_all(
    out: &mut Writer<'_, impl Write>,
    report: &Report,
    stacks: &[StackRow],
    context: &Context,
    options: &TextOptions,
) -> io::Result<()> {
    for (index, stack) in stacks.iter().enumerate() {
        head(out, report, index, stack, context)?;
        frames::write(out, &stack.frames, stack.truncated.as_deref(), options)?;
        if options.show_blocks {
            blocks(out, report, stack)?;
        }
        out.blank()?;
    }
    Ok(())
}

/// What a stack holds, and whose it is.
fn head(
    out: &mut Writer<'_, impl Write>,
    report: &Report,
    index: usize,
    stack: &StackRow,
    context: &Context,
) -> io::Result<()> {
    let held = number(index)
        .strong(&bytes(stack.live_bytes))
        .plain(" in ")
        .strong(&count(stack.live_count))
        .plain(if stack.live_count == 1 {
            " block"
        } else {
            " blocks"
        });
    let mut parts = vec![held];
    parts.extend(stack.growth_bytes.map(changed));
    let share = share(stack.live_bytes, context.whole);
    parts.push(Line::of(&format!("{share} of {}", context.of)));
    if let Some(age) = stack.oldest_age {
        parts.push(Line::of(&format!("oldest {}", duration(age))));
    }
    if context.owner {
        parts.push(Line::of(&names::owners(report, stack)));
    }
    out.list(parts, 4)
}

/// The blocks of a stack, one per line.
fn blocks(out: &mut Writer<'_, impl Write>, report: &Report, stack: &StackRow) -> io::Result<()> {
    let sizes: Vec<String> = stack.blocks.iter().map(|block| count(block.size)).collect();
    let widest = sizes.iter().map(String::len).max().unwrap_or(0);
    for (block, size) in stack.blocks.iter().zip(&sizes) {
        let addr = format!("{:#014x}", block.addr);
        let size = format!("{size:>widest$} bytes");
        let age = format!("age {}", duration(block.age));
        let line = Line::of("    block ").plain(&addr).plain("  ");
        out.line(&line.strong(&size).plain("  ").plain(&age))?;
    }
    let left_out = stack.live_count.saturating_sub(stack.blocks.len() as u64);
    if left_out > 0 && !stack.blocks.is_empty() && report.sampling.is_none() {
        out.line(&Line::of(&format!(
            "    ... {} more",
            counted(left_out, "block")
        )))?;
    }
    Ok(())
}

/// Writes what the stacks hold that are not shown, or why there is none.
pub fn write_left_out(out: &mut Writer<'_, impl Write>, report: &Report) -> io::Result<()> {
    let left_out = report.stacks_total.saturating_sub(report.stacks.len());
    if left_out > 0 {
        let shown: u64 = report.stacks.iter().map(|stack| stack.live_bytes).sum();
        let held = report.stacks_live_bytes.saturating_sub(shown);
        let stacks = if report.stacks.is_empty() {
            counted(left_out as u64, "stack")
        } else {
            format!(
                "{} more {}",
                count(left_out as u64),
                if left_out == 1 { "stack" } else { "stacks" }
            )
        };
        let verb = if left_out == 1 { "holds" } else { "hold" };
        return out.sentence(
            Line::default(),
            &format!("{stacks} {verb} {}", bytes(held)),
            2,
        );
    }
    if !report.stacks.is_empty() || report.processes.is_empty() {
        return Ok(());
    }
    let allocated = report.processes.iter().any(|row| row.alloc_count > 0);
    let text = if report.live_count() > 0 {
        "no stack to show: none of the live blocks passes the filters"
    } else if allocated {
        "no live memory: all that was allocated since the start has been freed"
    } else {
        "no live memory: nothing has been allocated since the start"
    };
    out.sentence(Line::default(), text, 2)
}
