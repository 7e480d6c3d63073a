//! The totals of a heap trace, and which blocks count in them.

use std::io;

use super::live;
use crate::profile::{Measure, Profile, Source, Values};
use crate::render::term::line::{Line, Writer};
use crate::render::text::changed_by;
use crate::words::filter;
use crate::words::units::{bytes, count, counted, rate, speed};

/// Live, allocated and released memory of all processes.
pub fn write(out: &mut Writer<'_>, profile: &Profile) -> io::Result<()> {
    if profile.subjects.is_empty() {
        return out.line(&Line::of(match &profile.sections.host_wide {
            None => "nothing is being traced",
            Some(_) => "no process has allocated anything yet",
        }));
    }
    let totals = profile.totals();
    let heap = profile.sections.heap.clone().unwrap_or_default();
    let about = heap.sampling.map_or("", |_| "about ");
    let size = live(&totals);
    let exact = match size < 1024 || heap.sampling.is_some() {
        true => String::new(),
        false => format!(" ({} bytes)", count(size)),
    };
    let blocks = counted(totals.amount(Measure::HeapLiveBlocks), "block");
    let mut parts = vec![
        Line::of(&format!("live {about}"))
            .strong(&bytes(size))
            .plain(&exact),
        Line::of(&format!("in {blocks}")),
    ];
    let (stacks, _) = profile.stacks_total(Source::Heap, Measure::HeapLiveBytes);
    if stacks > 0 && heap.filter.older.is_zero() {
        parts.push(Line::of(&format!("on {}", counted(stacks, "stack"))));
    }
    if let Some(change) = totals.whole(Measure::HeapChangeBytes) {
        let last = parts.pop().unwrap_or_default().plain(",");
        parts.extend([last, changed_by(change).plain(" since the last report")]);
    }
    out.flow(parts, 2)?;
    let flow = |verb: &str, size: Measure, blocks: Measure| {
        let blocks = counted(totals.amount(blocks), "block");
        format!("{verb} {about}{} in {blocks}", bytes(totals.amount(size)))
    };
    let allocated = flow(
        "allocated",
        Measure::HeapAllocBytes,
        Measure::HeapAllocBlocks,
    );
    let freed = flow("freed", Measure::HeapFreeBytes, Measure::HeapFreeBlocks);
    let mut parts = vec![Line::of(&allocated)];
    parts.extend(rates(profile, &totals).iter().map(|rate| Line::of(rate)));
    let last = parts.pop().unwrap_or_default().plain(",");
    parts.extend([last, Line::of(&freed)]);
    out.flow(parts, 2)
}

/// How fast memory is allocated, on average over the trace, in parentheses; none of many processes, whose traces begin
/// at different times.
fn rates(profile: &Profile, totals: &Values) -> Vec<String> {
    let seconds = profile.meta.elapsed.as_secs_f64();
    let size = totals.amount(Measure::HeapAllocBytes);
    let blocks = totals.amount(Measure::HeapAllocBlocks);
    if profile.sections.host_wide.is_some() || seconds <= 0.0 || blocks == 0 {
        return Vec::new();
    }
    vec![
        format!("({},", speed(size as f64 / seconds)),
        format!("{} blocks/s,", rate(blocks as f64 / seconds)),
        format!("{} a block)", bytes(size / blocks)),
    ]
}

/// Which blocks count, where not all do.
pub fn filtered(out: &mut Writer<'_>, profile: &Profile) -> io::Result<()> {
    let Some(heap) = &profile.sections.heap else {
        return Ok(());
    };
    if let Some(sizes) = filter::sizes(&heap.filter) {
        out.say(&format!("only blocks {sizes}"))?;
    }
    if let Some(age) = filter::age(&heap.filter) {
        let (stacks, size) = profile.stacks_total(Source::Heap, Measure::HeapLiveBytes);
        out.say(&format!(
            "only blocks {age} in the stacks, {} on {}; the totals count every age",
            bytes(size),
            counted(stacks, "stack")
        ))?;
    }
    Ok(())
}
