//! The stacks of a heap trace: what each holds, its frames, and what the others hold.

use std::io;
use std::time::Duration;

use super::chosen::Chosen;
use super::live;
use crate::analysis::verdict;
use crate::profile::{Block, Measure, Profile, Sample, Sampling, Source, State};
use crate::render::Options;
use crate::render::term::frames::{self, Neighbors};
use crate::render::term::line::{Line, Writer};
use crate::render::text::{changed, number, oldest, owners};
use crate::words::units::{bytes, count, counted, counted_processes, duration, plural, share};
use crate::words::{lifetimes, names, reachability};

/// Writes the top stacks with their shares.
pub fn top(
    out: &mut Writer<'_>,
    profile: &Profile,
    chosen: &Chosen<'_>,
    options: &Options,
) -> io::Result<()> {
    let is_any_age = filter_of(profile).is_zero();
    let (_, on_stacks) = profile.stacks_total(Source::Heap, Measure::HeapLiveBytes);
    let share = match is_any_age {
        true => (live(&profile.totals()), "live"),
        false => (on_stacks, "these"),
    };
    let has_owner = profile.is_of_many();
    write(out, profile, &chosen.stacks, share, has_owner, options)
}

/// The least age of what the stacks hold.
fn filter_of(profile: &Profile) -> Duration {
    let heap = profile.sections.heap.as_ref();
    heap.map_or(Duration::ZERO, |heap| heap.filter.older)
}

fn write(
    out: &mut Writer<'_>,
    profile: &Profile,
    stacks: &[&Sample],
    share: (u64, &str),
    has_owner: bool,
    options: &Options,
) -> io::Result<()> {
    let mut neighbors = Neighbors::default();
    for (index, sample) in stacks.iter().enumerate() {
        head(out, profile, index, sample, share, has_owner)?;
        about(out, profile, sample)?;
        frames::write_beside(out, profile, sample.stack, options, &mut neighbors)?;
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
    let held = match verdict::class(profile, sample)
        .kind()
        .and_then(verdict::mark)
    {
        Some(mark) => number(index).plain(mark).plain(": "),
        None => number(index),
    };
    let held = held
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

/// What reachability says of a stack's blocks, and how long they live.
fn about(out: &mut Writer<'_>, profile: &Profile, sample: &Sample) -> io::Result<()> {
    let sentences = [
        reachability::classes(profile, sample, verdict::is_taken_back(profile, sample)),
        reachability::holder(profile, sample),
        lifetimes::sentence(&sample.freed, &sample.ages),
    ];
    for sentence in sentences.into_iter().flatten() {
        let words = sentence.split(' ').map(Line::of);
        let mut parts: Vec<Line> = words.collect();
        parts[0] = Line::of("    ").join(std::mem::take(&mut parts[0]));
        out.flow(parts, 6)?;
    }
    Ok(())
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
pub fn left_out(out: &mut Writer<'_>, profile: &Profile, chosen: &Chosen<'_>) -> io::Result<()> {
    let is_none = chosen.stacks.is_empty();
    if chosen.more.stacks > 0 {
        let stacks = chosen.more.stacks;
        out.say(&format!(
            "{}{} {} {} {}",
            count(stacks),
            if is_none { "" } else { " more" },
            plural(stacks, "stack", "stacks"),
            plural(stacks, "holds", "hold"),
            bytes(chosen.more.bytes)
        ))?;
    }
    if chosen.quiet.stacks > 0 {
        let stacks = chosen.quiet.stacks;
        let young = match chosen.quiet.is_young {
            true => ", or hold only blocks younger than a second",
            false => "",
        };
        out.say(&format!(
            "{} {} that {} not grow{young}: {} in {} (-v shows the largest)",
            count(stacks),
            plural(stacks, "stack", "stacks"),
            plural(stacks, "does", "do"),
            bytes(chosen.quiet.bytes),
            counted(chosen.quiet.blocks, "block")
        ))?;
    }
    match is_none && chosen.is_all() && !profile.subjects.is_empty() {
        true => out.say(&why_none(profile)),
        false => Ok(()),
    }
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
pub fn of_processes(
    out: &mut Writer<'_>,
    profile: &Profile,
    chosen: &Chosen<'_>,
    options: &Options,
) -> io::Result<()> {
    if options.per_process == 0 || profile.subjects.is_empty() {
        return Ok(());
    }
    if !chosen.is_all() {
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
        write(out, profile, own, (held, "these"), false, options)?;
    }
    Ok(())
}
