//! The part of the text about the kernel's memory.

use std::io;

use super::host_wide::optional;
use super::{changed, more, number, oldest, shown};
use crate::profile::{
    Detail, KernelKind, KernelSection, Measure, Profile, Sample, SlabCache, Source, Values,
};
use crate::render::Options;
use crate::render::term::frames;
use crate::render::term::line::{Line, Writer};
use crate::render::term::table::{ALWAYS, Column, Table};
use crate::words::units::{bytes, change, count, counted, duration, share};

/// Writes all of it.
pub fn write(out: &mut Writer<'_>, profile: &Profile, options: &Options) -> io::Result<()> {
    let section = profile.sections.kernel.clone().unwrap_or_default();
    let (all, live) = profile.stacks_total(Source::Kernel, Measure::KernelLiveBytes);
    totals(out, &section, all)?;
    out.blank()?;
    let stacks = shown(profile, Source::Kernel, options);
    for (index, sample) in stacks.iter().enumerate() {
        head(out, profile, index, sample, live)?;
        frames::write(out, profile, sample.stack, options)?;
        out.blank()?;
    }
    left_out(
        out,
        &section,
        all.saturating_sub(stacks.len() as u64),
        stacks.is_empty(),
    )?;
    caches(out, &section)
}

/// What is traced, where that is not everything, for the heading.
pub fn only(profile: &Profile) -> String {
    let section = profile.sections.kernel.as_ref();
    let only = section.and_then(|section| section.filter.only.as_ref());
    only.map_or_else(String::new, |only| format!("{only} only, "))
}

const fn noun(kind: KernelKind) -> &'static str {
    match kind {
        KernelKind::Slab => "object",
        KernelKind::Pages | KernelKind::PerCpu => "block",
    }
}

const fn words(kind: KernelKind) -> &'static str {
    match kind {
        KernelKind::Slab => "slab",
        KernelKind::Pages => "pages",
        KernelKind::PerCpu => "per-CPU",
    }
}

/// What pages back.
const fn above(kind: KernelKind) -> &'static str {
    match kind {
        KernelKind::PerCpu => "per-CPU memory",
        KernelKind::Slab | KernelKind::Pages => "slab objects",
    }
}

/// What is held since the start, by kind, and which pages back other memory.
fn totals(out: &mut Writer<'_>, section: &KernelSection, stacks: u64) -> io::Result<()> {
    let mut sum = Values::default();
    section.kinds.values().for_each(|values| sum.add(values));
    let held = |(kind, values): (&KernelKind, &Values)| {
        let blocks = counted(values.amount(Measure::KernelLiveBlocks), noun(*kind));
        Line::of(&format!("{} ", words(*kind)))
            .strong(&bytes(values.amount(Measure::KernelLiveBytes)))
            .plain(&format!(" in {blocks}"))
    };
    let mut parts: Vec<Line> = section.kinds.iter().map(held).collect();
    if let (Some(first), true) = (parts.first_mut(), section.kinds.len() > 1) {
        let sum = bytes(sum.amount(Measure::KernelLiveBytes));
        let head = Line::of("held ").strong(&sum).plain(": ");
        *first = head.join(std::mem::take(first));
    }
    out.list(parts, 2)?;
    let allocated = format!(
        "allocated since the start {} in {}",
        bytes(sum.amount(Measure::KernelAllocBytes)),
        count(sum.amount(Measure::KernelAllocBlocks))
    );
    let stacks = format!("held by {}", counted(stacks, "stack"));
    out.list(vec![Line::of(&allocated), Line::of(&stacks)], 2)?;
    for (kind, values) in &section.backing {
        match values.amount(Measure::KernelLiveBytes) {
            0 => {}
            size => out.say(&format!(
                "{} of pages back the {}, and are not counted again",
                bytes(size),
                above(*kind)
            ))?,
        }
    }
    match section.sampling {
        None => Ok(()),
        Some(sampling) => out.say(&format!(
            "estimates from a sample, one block per {} on average: +- {} (1 standard error)",
            bytes(sampling.interval_bytes),
            bytes(sampling.standard_error_bytes)
        )),
    }
}

/// What a stack holds, and its share of what all of them hold.
fn head(
    out: &mut Writer<'_>,
    profile: &Profile,
    index: usize,
    sample: &Sample,
    all: u64,
) -> io::Result<()> {
    let Some(Detail::Kernel(object)) = &sample.detail else {
        return Ok(());
    };
    let live = profile.amount(sample, Measure::KernelLiveBytes);
    let blocks = counted(
        profile.amount(sample, Measure::KernelLiveBlocks),
        noun(object.kind),
    );
    let each = match object.size {
        Some(size) if object.kind == KernelKind::Slab => format!(" of {}", bytes(size)),
        _ => String::new(),
    };
    let mut parts = vec![
        number(index)
            .strong(&bytes(live))
            .plain(&format!(" in {blocks}{each}")),
        Line::default().strong(&object.what),
    ];
    parts.extend(changed(profile, sample, Measure::KernelChangeBytes));
    parts.push(Line::of(&match object.backing {
        None => format!("{} of held", share(live, all)),
        Some(kind) => format!("backs {}, not counted again", above(kind)),
    }));
    parts.extend(oldest(profile, sample, Measure::KernelOldestMs));
    out.list(parts, 4)
}

fn left_out(
    out: &mut Writer<'_>,
    section: &KernelSection,
    left_out: u64,
    is_none_shown: bool,
) -> io::Result<()> {
    let older = section.filter.older;
    out.say(&match left_out {
        0 if !is_none_shown => return Ok(()),
        0 if older.is_zero() => "nothing allocated since the start is still held".to_owned(),
        0 => format!(
            "nothing allocated since the start has been held for {}",
            duration(older)
        ),
        1 => "1 more stack holds memory".to_owned(),
        more => format!("{} more stacks hold memory", count(more)),
    })?;
    out.blank()
}

/// Caches that have grown, and how much of it the stacks explain.
fn caches(out: &mut Writer<'_>, section: &KernelSection) -> io::Result<()> {
    let Some(slab) = section.slab.as_ref().filter(|slab| !slab.caches.is_empty()) else {
        return Ok(());
    };
    out.line(&Line::of(
        "slab caches that have grown since the start, as the kernel counts them:",
    ))?;
    let rows = || slab.caches.iter();
    let objects_change = |row: &SlabCache| match row.objects_change {
        more @ 1.. => format!("+{more}"),
        other => other.to_string(),
    };
    Table::new(vec![
        Column::new("change", ALWAYS, rows().map(|row| change(row.bytes_change))).strong(),
        Column::new("bytes", 2, rows().map(|row| bytes(row.bytes))),
        Column::new("objects", 1, rows().map(|row| count(row.objects))),
        Column::new("object change", 3, rows().map(objects_change)),
        Column::new(
            "held by stacks",
            ALWAYS,
            rows().map(|row| optional(row.held_bytes, bytes)),
        ),
        Column::new("cache", ALWAYS, rows().map(|row| row.name.clone())).words(),
    ])
    .write(out)?;
    more(
        out,
        slab.caches_total.saturating_sub(slab.caches.len()) as u64,
    )?;
    out.say(&format!(
        "these caches have grown by {} in slabs; the stacks of this trace account for {} of that ({})",
        bytes(slab.bytes),
        bytes(slab.explained_bytes),
        share(slab.explained_bytes, slab.bytes)
    ))?;
    out.blank()
}
