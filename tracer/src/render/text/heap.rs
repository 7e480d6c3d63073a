//! The part of the text about heaps: what is live, in which processes, on which stacks.

use std::io;
use std::time::Duration;

use super::host_wide::{self, Figures, Row, optional};
use super::{changed, changed_by, number, oldest, owners, shown};
use crate::profile::{
    Block, Measure, Number, Profile, Sample, Sampling, Source, State, Subject, Values,
};
use crate::render::Options;
use crate::render::term::frames;
use crate::render::term::line::{Line, Writer};
use crate::render::term::table::{ALWAYS, Column, Table};
use crate::words::units::{
    bytes, change, count, counted, counted_processes, duration, plural, rate, share,
};
use crate::words::{filter, guard, names};

/// Figures of many processes.
const FIGURES: Figures = Figures {
    columns: figures,
    held: |n, totals| format!("{} {}", plural(n, "holds", "hold"), bytes(live(totals))),
    state: 12,
};

fn live(values: &Values) -> u64 {
    values.amount(Measure::HeapLiveBytes)
}

/// Writes all of it.
pub fn write(out: &mut Writer<'_>, profile: &Profile, options: &Options) -> io::Result<()> {
    totals(out, profile)?;
    filtered(out, profile)?;
    if let Some(host) = &profile.sections.host_wide {
        if let Some(overhead) = guard::overhead(profile) {
            out.say(&overhead)?;
        }
        if let Some(rest) = host.admission.as_ref().and_then(guard::not_probed) {
            out.say(&rest)?;
        }
        out.blank()?;
        host_wide::table(out, profile, host, &FIGURES, options)?;
    } else {
        if let Some(price) = guard::price(profile) {
            out.say(&price)?;
        }
        let subjects = &profile.subjects;
        if subjects.len() > 1
            || subjects
                .iter()
                .any(|subject| subject.state != State::Running)
        {
            out.blank()?;
            processes(out, subjects)?;
        }
        out.blank()?;
    }
    let stacks = shown(profile, Source::Heap, options);
    top_stacks(out, profile, &stacks, options)?;
    left_out(out, profile, &stacks)?;
    stacks_of_processes(out, profile, &stacks, options)
}

/// Live, allocated and released memory of all processes.
fn totals(out: &mut Writer<'_>, profile: &Profile) -> io::Result<()> {
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
        Line::of(&format!(
            "{verb} {about}{} in {blocks}",
            bytes(totals.amount(size))
        ))
    };
    let allocated = flow(
        "allocated",
        Measure::HeapAllocBytes,
        Measure::HeapAllocBlocks,
    );
    let freed = flow("freed", Measure::HeapFreeBytes, Measure::HeapFreeBlocks);
    out.list(vec![allocated, freed], 2)
}

/// Which blocks count, where not all do.
fn filtered(out: &mut Writer<'_>, profile: &Profile) -> io::Result<()> {
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

/// A row for each process.
fn processes(out: &mut Writer<'_>, subjects: &[Subject]) -> io::Result<()> {
    let size = |measure: Measure| {
        subjects
            .iter()
            .map(move |row| bytes(row.totals.amount(measure)))
    };
    let changes = subjects
        .iter()
        .map(|row| row.totals.whole(Measure::HeapChangeBytes));
    let state = |row: &Subject| match row.state {
        State::Running => String::new(),
        other => other.word().to_owned(),
    };
    let blocks = |row: &Subject| count(row.totals.amount(Measure::HeapLiveBlocks));
    let mut columns = vec![
        Column::new("pid", ALWAYS, subjects.iter().map(host_wide::pid)),
        Column::new(
            "command",
            ALWAYS,
            subjects.iter().map(|row| row.command.clone()),
        )
        .words(),
        Column::new("live", ALWAYS, size(Measure::HeapLiveBytes)).strong(),
        Column::new("blocks", 4, subjects.iter().map(blocks)),
        Column::new("change", 3, changes.map(|bytes| optional(bytes, change))),
        Column::new("allocated", 2, size(Measure::HeapAllocBytes)),
        Column::new("freed", 1, size(Measure::HeapFreeBytes)),
        Column::new("state", 5, subjects.iter().map(state)).words(),
    ];
    columns.retain(|column| !column.is_empty());
    Table::new(columns).write(out)
}

/// The columns of figures of many processes or of groups.
fn figures(rows: &[Row<'_>], is_group: bool) -> Vec<Column> {
    let cells = |measure: Measure, cell: fn(Number) -> String| {
        rows.iter()
            .map(move |row| optional(row.totals.get(measure), cell))
    };
    let size = |number: Number| bytes(number.whole().max(0).cast_unsigned());
    let blocks = rows
        .iter()
        .map(|row| count(row.totals.amount(Measure::HeapLiveBlocks)));
    let mut columns = vec![
        Column::new(
            "live",
            ALWAYS,
            rows.iter().map(|row| bytes(live(row.totals))),
        )
        .strong(),
        Column::new(
            "growth/min",
            18,
            cells(Measure::HeapGrowthPerMin, |growth| change(growth.whole())),
        ),
        Column::new(
            "allocs/s",
            9,
            cells(Measure::HeapAllocsPerS, |allocs| rate(allocs.real())),
        ),
        Column::new("rss", 10, cells(Measure::ProcessRssBytes, size)),
    ];
    if is_group {
        columns.insert(1, Column::new("blocks", 2, blocks));
    }
    columns
}

/// Writes the top stacks with their shares.
fn top_stacks(
    out: &mut Writer<'_>,
    profile: &Profile,
    stacks: &[&Sample],
    options: &Options,
) -> io::Result<()> {
    let is_any_age = filter_of(profile).is_zero();
    let (_, on_stacks) = profile.stacks_total(Source::Heap, Measure::HeapLiveBytes);
    let share = match is_any_age {
        true => (live(&profile.totals()), "live"),
        false => (on_stacks, "these"),
    };
    write_stacks(out, profile, stacks, share, profile.is_of_many(), options)
}

/// The least age of what the stacks hold.
fn filter_of(profile: &Profile) -> Duration {
    let heap = profile.sections.heap.as_ref();
    heap.map_or(Duration::ZERO, |heap| heap.filter.older)
}

fn write_stacks(
    out: &mut Writer<'_>,
    profile: &Profile,
    stacks: &[&Sample],
    share: (u64, &str),
    has_owner: bool,
    options: &Options,
) -> io::Result<()> {
    for (index, sample) in stacks.iter().enumerate() {
        head(out, profile, index, sample, share, has_owner)?;
        frames::write(out, profile, sample.stack, options)?;
        if let Some(blocks) = sample.blocks.as_ref().filter(|_| options.show_blocks) {
            write_blocks(out, profile, sample, blocks)?;
        }
        out.blank()?;
    }
    Ok(())
}

/// What a stack holds, and whose it is.
fn head(
    out: &mut Writer<'_>,
    profile: &Profile,
    index: usize,
    sample: &Sample,
    (whole, of): (u64, &str),
    has_owner: bool,
) -> io::Result<()> {
    let live = profile.amount(sample, Measure::HeapLiveBytes);
    let blocks = profile.amount(sample, Measure::HeapLiveBlocks);
    let held = number(index)
        .strong(&bytes(live))
        .plain(" in ")
        .strong(&count(blocks))
        .plain(plural(blocks, " block", " blocks"));
    let mut parts = vec![held];
    parts.extend(changed(profile, sample, Measure::HeapChangeBytes));
    parts.push(Line::of(&format!("{} of {of}", share(live, whole))));
    parts.extend(oldest(profile, sample, Measure::HeapOldestMs));
    if has_owner {
        parts.extend(owners(profile, sample));
    }
    out.list(parts, 4)
}

/// The blocks of a stack, one per line.
fn write_blocks(
    out: &mut Writer<'_>,
    profile: &Profile,
    sample: &Sample,
    blocks: &[Block],
) -> io::Result<()> {
    let sizes: Vec<String> = blocks.iter().map(|block| count(block.size)).collect();
    let widest = sizes.iter().map(String::len).max().unwrap_or(0);
    for (block, size) in blocks.iter().zip(&sizes) {
        let line = Line::of(&format!("    block {:#014x}  ", block.address));
        let size = format!("{size:>widest$} bytes");
        let age = format!("  age {}", duration(block.age));
        out.line(&line.strong(&size).plain(&age))?;
    }
    let blocks_live = profile.amount(sample, Measure::HeapLiveBlocks);
    let left_out = blocks_live.saturating_sub(blocks.len() as u64);
    let is_sampled = profile
        .sections
        .heap
        .as_ref()
        .is_some_and(|heap| heap.sampling.is_some());
    if left_out == 0 || blocks.is_empty() || is_sampled {
        return Ok(());
    }
    out.line(&Line::of(&format!(
        "    ... {} more",
        counted(left_out, "block")
    )))
}

/// What the other stacks hold, or why there is none.
fn left_out(out: &mut Writer<'_>, profile: &Profile, shown: &[&Sample]) -> io::Result<()> {
    let (stacks, size) = profile.stacks_total(Source::Heap, Measure::HeapLiveBytes);
    let left_out = stacks.saturating_sub(shown.len() as u64);
    if left_out > 0 {
        let shown_size: u64 = shown
            .iter()
            .map(|sample| profile.amount(sample, Measure::HeapLiveBytes))
            .sum();
        return out.say(&format!(
            "{}{} {} {} {}",
            count(left_out),
            if shown.is_empty() { "" } else { " more" },
            plural(left_out, "stack", "stacks"),
            plural(left_out, "holds", "hold"),
            bytes(size.saturating_sub(shown_size))
        ));
    }
    if !shown.is_empty() || profile.subjects.is_empty() {
        return Ok(());
    }
    out.say(&why_none(profile))
}

/// Why no stack is shown.
fn why_none(profile: &Profile) -> String {
    let totals = profile.totals();
    if totals.amount(Measure::HeapLiveBlocks) > 0 {
        return "no stack to show: none of the live blocks passes the filters".to_owned();
    }
    if totals.amount(Measure::HeapAllocBlocks) > 0 {
        return "no live memory: everything allocated since the start has been freed".to_owned();
    }
    let heap = profile.sections.heap.as_ref();
    if let Some(sampling) = heap.and_then(|heap| heap.sampling) {
        return empty_sample(sampling);
    }
    let stopped = profile
        .subjects
        .iter()
        .filter(|subject| subject.state == State::Stopped);
    let stopped = match (stopped.count() as u64, profile.subjects.len()) {
        (0, _) => String::new(),
        (_, 1) => "; the process is stopped".to_owned(),
        (some, _) => format!(
            "; {} {} stopped",
            counted_processes(some),
            plural(some, "is", "are")
        ),
    };
    format!("no live memory: nothing has been allocated since the start{stopped}")
}

/// What an empty sample says: of so much live memory, drawn with one sample in each interval on average, one sample in
/// twenty is empty (a Poisson count of zero has probability e^-3 = 0.05 at a mean of three).
fn empty_sample(sampling: Sampling) -> String {
    format!(
        "the sample is empty: at one block per {} on average, fewer than about {} are live, at 95% confidence",
        bytes(sampling.interval_bytes),
        bytes(sampling.interval_bytes.saturating_mul(3))
    )
}

/// The top stacks of each of the first processes (`--per-process`).
fn stacks_of_processes(
    out: &mut Writer<'_>,
    profile: &Profile,
    shown: &[&Sample],
    options: &Options,
) -> io::Result<()> {
    if options.per_process == 0 || profile.subjects.is_empty() {
        return Ok(());
    }
    let (stacks, _) = profile.stacks_total(Source::Heap, Measure::HeapLiveBytes);
    if stacks > shown.len() as u64 {
        out.blank()?;
    }
    let first = profile
        .subjects
        .iter()
        .take(options.top.unwrap_or(usize::MAX));
    for (index, subject) in (0..).zip(first) {
        let own = profile
            .stack_samples(Source::Heap)
            .filter(|sample| sample.subject == index);
        let own: Vec<&Sample> = own.collect();
        let omitted = profile
            .omitted
            .iter()
            .filter(|rest| rest.source == Source::Heap && rest.with_stack && rest.subject == index);
        let size = |sample: &&Sample| profile.amount(sample, Measure::HeapLiveBytes);
        let (stacks, held) = omitted.fold(
            (own.len() as u64, own.iter().map(size).sum::<u64>()),
            |(stacks, held), rest| (stacks + rest.samples, held + live(&rest.values)),
        );
        if stacks == 0 {
            continue;
        }
        let whose = Line::default().strong(&names::process(subject)).plain(":");
        let held_on = format!("{} on {}", bytes(held), counted(stacks, "stack"));
        out.flow(vec![Line::of("stacks of"), whose, Line::of(&held_on)], 2)?;
        out.blank()?;
        let own = &own[..own.len().min(options.per_process)];
        write_stacks(out, profile, own, (held, "these"), false, options)?;
    }
    Ok(())
}
