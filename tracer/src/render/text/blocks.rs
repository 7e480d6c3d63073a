//! The blocks of a heap that was looked at without a trace: what is lost, what holds the rest, how sure that is.

use std::io;

use crate::profile::{BlockGroup, HeapBlocks, Measure, Profile};
use crate::render::term::line::{Line, Writer};
use crate::words::reachability;
use crate::words::units::{bytes, count, counted, plural};

/// Groups of held blocks that are shown; all are in the JSON.
const HELD_SHOWN: usize = 8;

/// Writes all of it.
///
/// # Errors
/// Those of `out`.
pub(super) fn write(
    out: &mut Writer<'_>,
    profile: &Profile,
    blocks: &HeapBlocks,
) -> io::Result<()> {
    totals(out, blocks)?;
    for group in &blocks.lost {
        out.sentence(Line::default().strong("  lost:"), &lost(group), 4)?;
    }
    more(out, blocks.lost_more, "of lost blocks")?;
    let shown = blocks.held.len().min(HELD_SHOWN);
    for group in &blocks.held[..shown] {
        out.sentence(Line::of("  held:"), &held(group), 4)?;
    }
    let rest = blocks.held_more + (blocks.held.len() - shown) as u64;
    more(out, rest, "of held blocks")?;
    for sentence in reachability::sentences(profile) {
        out.say(&sentence)?;
    }
    Ok(())
}

fn totals(out: &mut Writer<'_>, blocks: &HeapBlocks) -> io::Result<()> {
    let classes = [
        (
            Measure::HeapLostBytes,
            Measure::HeapLostBlocks,
            "lost (nothing points to them)",
        ),
        (
            Measure::HeapLostWithBytes,
            Measure::HeapLostWithBlocks,
            "lost with these",
        ),
        (Measure::HeapHeldBytes, Measure::HeapHeldBlocks, "held"),
        (
            Measure::HeapStackOnlyBytes,
            Measure::HeapStackOnlyBlocks,
            "held by a stack or a register only",
        ),
        (
            Measure::HeapNotJudgedBytes,
            Measure::HeapNotJudgedBlocks,
            "not judged",
        ),
    ];
    let parts = classes.into_iter().filter_map(|(size, number, words)| {
        let number = blocks.totals.amount(number);
        let size = bytes(blocks.totals.amount(size));
        let text = format!(" in {} {words}", counted(number, "block"));
        (number > 0).then(|| Line::default().strong(&size).plain(&text))
    });
    let title = Line::default().strong("blocks").plain(" of glibc's heap:");
    let mut parts: Vec<Line> = parts.collect();
    if let Some(first) = parts.first_mut() {
        *first = title.plain(" ").join(std::mem::take(first));
    }
    out.list(parts, 2)
}

/// Blocks of one size and type in words.
fn group(group: &BlockGroup) -> String {
    let of = match &group.type_name {
        Some(name) => format!("{} of {name}", bytes(group.size)),
        None => bytes(group.size),
    };
    let number = counted(group.blocks, "block");
    format!("{} in {number} of {of}", bytes(group.bytes))
}

fn lost(own: &BlockGroup) -> String {
    match own.below_blocks {
        0 => group(own),
        below => format!(
            "{}, and {} in {} below them",
            group(own),
            bytes(own.below_bytes),
            counted(below, "block")
        ),
    }
}

fn held(own: &BlockGroup) -> String {
    let Some(holder) = own.holders.first() else {
        return group(own);
    };
    let share = match (holder.shared, holder.sampled) {
        (shared, sampled) if shared == sampled => "all".to_owned(),
        (shared, sampled) => format!("{shared} of {sampled}"),
    };
    format!("{}: {share} by {}", group(own), holder.text)
}

fn more(out: &mut Writer<'_>, groups: u64, what: &str) -> io::Result<()> {
    match groups {
        0 => Ok(()),
        _ => out.line(&Line::of(&format!(
            "  ... {} more {} {what} (--json lists the largest)",
            count(groups),
            plural(groups, "group", "groups")
        ))),
    }
}
