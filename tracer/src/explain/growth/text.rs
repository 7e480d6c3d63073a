//! The growth for people: its parts, which add up, and the stacks of each.

use std::io::{self, Write};

use super::{Blocks, Growth, Mapped, Stack};
use crate::report::frames;
use crate::report::line::{Line, Writer};
use crate::report::text::TextOptions;
use crate::report::units::{bytes, change, count, counted, share};

/// Stacks shown of each part, unless every frame is asked for.
const STACKS_SHOWN: usize = 5;
/// Rows of the ledger that are named behind a part.
const ROWS_NAMED: usize = 3;

/// Writes the parts of the growth and their stacks.
///
/// # Errors
/// Those of `out`.
pub fn write(
    growth: &Growth,
    options: &TextOptions,
    out: &mut Writer<'_, impl Write>,
) -> io::Result<()> {
    let title = Line::default()
        .strong("growth")
        .plain(&format!(" of RSS, traced for {:.1} s: ", growth.seconds))
        .strong(&change(growth.resident));
    out.line(&title)?;
    parts(growth, out)?;
    if let Some(blocks) = growth.blocks.as_ref().filter(|blocks| blocks.count > 0) {
        of_blocks(blocks, options, out)?;
    }
    if let Some(mapped) = growth.mapped.as_ref().filter(|mapped| mapped.ranges > 0) {
        of_mappings(mapped, options, out)?;
    }
    for lost in &growth.lost {
        out.sentence(Line::of("  not seen:"), lost, 4)?;
    }
    Ok(())
}

fn parts(growth: &Growth, out: &mut Writer<'_, impl Write>) -> io::Result<()> {
    let mut parts = vec![(growth.heap, heap(growth))];
    if let Some(mapped) = &growth.mapped {
        let text = format!(
            "mapped meanwhile, but not by the allocator: {} of address space in {}",
            bytes(mapped.size),
            counted(mapped.ranges, "range")
        );
        parts.push((mapped.resident.cast_signed(), text));
    }
    parts.push((growth.older_resident(), older(growth)));
    let sizes: Vec<String> = parts.iter().map(|(size, _)| change(*size)).collect();
    let widest = sizes.iter().map(String::len).max().unwrap_or(0);
    for (size, (_, text)) in sizes.iter().zip(&parts) {
        let mark = Line::default().strong(&format!("  {size:>widest$}"));
        out.sentence(mark.plain(" "), text, widest + 4)?;
    }
    Ok(())
}

fn heap(growth: &Growth) -> String {
    let Some(blocks) = &growth.blocks else {
        return "heap; its blocks were not traced".to_owned();
    };
    format!(
        "heap; of what was allocated meanwhile, {} in {} is live",
        bytes(blocks.bytes),
        counted(blocks.count, "block")
    )
}

fn older(growth: &Growth) -> String {
    let named = growth.older.iter().take(ROWS_NAMED);
    let mut named: Vec<String> = named
        .map(|older| format!("{} {}", older.row, change(older.resident)))
        .collect();
    if growth.older.len() > ROWS_NAMED {
        let more = growth.older.len() - ROWS_NAMED;
        named.push(format!("{} more", count(more as u64)));
    }
    let what = "mapped before, and touched or given back meanwhile";
    match named.is_empty() {
        true => what.to_owned(),
        false => format!("{what}: {}", named.join("; ")),
    }
}

fn of_blocks(
    blocks: &Blocks,
    options: &TextOptions,
    out: &mut Writer<'_, impl Write>,
) -> io::Result<()> {
    out.blank()?;
    out.line(&Line::of(
        "heap stacks, by blocks allocated meanwhile and live:",
    ))?;
    let sizes = blocks.stacks.iter().map(|row| row.bytes);
    let shown = worth_showing(sizes, blocks.bytes, options);
    for (index, row) in blocks.stacks.iter().take(shown).enumerate() {
        let parts = vec![
            held(index, row.bytes, &counted(row.count, "block")),
            Line::of(&format!("{} of these", share(row.bytes, blocks.bytes))),
        ];
        stack(parts, &row.stack, options, out)?;
    }
    left_out(blocks.stacks_total, shown, out)
}

fn of_mappings(
    mapped: &Mapped,
    options: &TextOptions,
    out: &mut Writer<'_, impl Write>,
) -> io::Result<()> {
    out.blank()?;
    out.line(&Line::of(
        "mapping stacks, by memory in what they mapped meanwhile:",
    ))?;
    let sizes = mapped.stacks.iter().map(|row| row.resident);
    let shown = worth_showing(sizes, mapped.resident, options);
    for (index, row) in mapped.stacks.iter().take(shown).enumerate() {
        let mut parts = vec![
            held(index, row.resident, &counted(row.ranges, "range")),
            Line::of(&format!("{} mapped", bytes(row.size))),
        ];
        parts.push(Line::of(&row.rows.join(", ")));
        stack(parts, &row.stack, options, out)?;
    }
    left_out(mapped.stacks_total, shown, out)
}

/// How many of the stacks, most first, are worth their lines: those with a hundredth of the whole.
fn worth_showing(sizes: impl Iterator<Item = u64>, whole: u64, options: &TextOptions) -> usize {
    if options.all_frames {
        return sizes.count();
    }
    let worth = sizes.take_while(|size| *size > 0 && *size >= whole / 100);
    worth.count().clamp(1, STACKS_SHOWN)
}

fn held(index: usize, size: u64, what: &str) -> Line {
    Line::default()
        .faint(&format!("#{} ", index + 1))
        .strong(&bytes(size))
        .plain(&format!(" in {what}"))
}

fn stack(
    head: Vec<Line>,
    stack: &Stack,
    options: &TextOptions,
    out: &mut Writer<'_, impl Write>,
) -> io::Result<()> {
    out.list(head, 4)?;
    frames::write(out, &stack.frames, stack.truncated.as_deref(), options)
}

fn left_out(total: usize, shown: usize, out: &mut Writer<'_, impl Write>) -> io::Result<()> {
    match total.saturating_sub(shown) {
        0 => Ok(()),
        1 => out.line(&Line::of("  ... 1 more stack")),
        more => out.line(&Line::of(&format!(
            "  ... {} more stacks",
            count(more as u64)
        ))),
    }
}
