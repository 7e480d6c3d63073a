//! The ledger of a process as text: where its memory is, its allocators, its runtimes, and what follows.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::io;

use super::{blocks, growth};
use crate::profile::ledger::{
    Allocator, Arena, Heap, LanguageRuntime, Ledger, LedgerChange, PublishedFigure, Row,
};
use crate::profile::{FindingKind, Measure, Profile, Subject};
use crate::render::Options;
use crate::render::term::line::{Line, Writer};
use crate::render::term::table::{ALWAYS, Column, Table};
use crate::words::names;
use crate::words::units::{bytes, change, count, counted};

/// Most arenas that get a line of their own.
const MOST_ARENAS: usize = 16;

/// Writes the ledger, what changed since an earlier one, and whose that is.
///
/// # Errors
/// Those of `out`.
pub(super) fn write(out: &mut Writer<'_>, profile: &Profile, options: &Options) -> io::Result<()> {
    let (Some(ledger), Some(process)) = (&profile.sections.ledger, profile.subjects.first()) else {
        return Ok(());
    };
    head(out, profile, process, options)?;
    out.blank()?;
    rows(process, ledger, profile.sections.ledger_change.as_ref()).write(out)?;
    if let Some(parts) = &profile.sections.growth {
        out.blank()?;
        growth::write(out, profile, parts, options)?;
    }
    if let Some(stacks) = ledger.stacks {
        out.blank()?;
        let text = format!(
            "{} found, {} each on average, {} touched",
            counted(stacks.count, "thread stack"),
            bytes(stacks.virtual_bytes.checked_div(stacks.count).unwrap_or(0)),
            bytes(stacks.resident_bytes)
        );
        out.sentence(Line::default(), &text, 2)?;
    }
    for allocator in &ledger.allocators {
        out.blank()?;
        self::allocator(out, allocator, options)?;
    }
    for runtime in &ledger.runtimes {
        out.blank()?;
        self::runtime(out, runtime)?;
    }
    if let Some(blocks) = &profile.sections.heap_blocks {
        out.blank()?;
        blocks::write(out, profile, blocks)?;
    }
    closing(out, profile)
}

/// When, of what, and its totals.
fn head(
    out: &mut Writer<'_>,
    profile: &Profile,
    process: &Subject,
    options: &Options,
) -> io::Result<()> {
    let time = profile.meta.time.to_zoned(options.time_zone.clone());
    let total = |measure| process.totals.amount(measure);
    out.line(&Line::of(&format!(
        "{}  {}, {}",
        time.strftime("%Y-%m-%d %H:%M:%S"),
        names::process(process),
        counted(total(Measure::ProcessThreads), "thread")
    )))?;
    let resident = bytes(total(Measure::ProcessRssBytes));
    let mut parts = vec![
        Line::of("resident ").strong(&resident),
        Line::of(&format!(
            "virtual {}",
            bytes(total(Measure::ProcessVirtualBytes))
        )),
    ];
    for (words, measure) in [
        ("shared fairly (PSS)", Measure::ProcessPssBytes),
        ("swapped", Measure::ProcessSwapBytes),
        ("huge pages", Measure::ProcessHugeBytes),
        ("hugetlb (not in RSS)", Measure::ProcessHugetlbBytes),
        ("page tables (not in RSS)", Measure::ProcessPageTableBytes),
    ] {
        if total(measure) > 0 {
            parts.push(Line::of(&format!("{words} {}", bytes(total(measure)))));
        }
    }
    out.list(parts, 2)
}

/// The rows, largest first, and below them their sum.
fn rows(process: &Subject, ledger: &Ledger, changes: Option<&LedgerChange>) -> Table {
    let mut rows: Vec<&Row> = ledger.rows.iter().collect();
    rows.sort_by_key(|row| Reverse(row.resident_bytes));
    let unaccounted = (ledger.unaccounted_bytes != 0).then_some(ledger.unaccounted_bytes);
    let column = |heading: &'static str,
                  importance,
                  cell: &dyn Fn(&Row) -> String,
                  unaccounted: Option<String>,
                  sum| {
        let cells = rows.iter().map(|row| cell(row));
        Column::new(heading, importance, cells.chain(unaccounted).chain([sum]))
    };
    let empty = || unaccounted.map(|_| String::new());
    let size = |heading, importance, value: fn(&Row) -> u64, total| {
        let sum = bytes(process.totals.amount(total));
        column(heading, importance, &|row| bytes(value(row)), empty(), sum)
    };
    let mappings: u64 = rows.iter().map(|row| row.mappings).sum();
    let name = |row: &Row| row.row.words();
    let while_read = unaccounted.map(|_| "changed while it was read".to_owned());
    let resident = bytes(process.totals.amount(Measure::ProcessRssBytes));
    let mut columns = vec![
        column("where", ALWAYS, &name, while_read, "all".to_owned()).words(),
        column(
            "resident",
            ALWAYS,
            &|row| bytes(row.resident_bytes),
            unaccounted.map(change),
            resident,
        ),
    ];
    if let Some(changes) = changes {
        let changed = |row: &Row| {
            let changed = changes.rows.iter().find(|changed| changed.row == row.row);
            changed.map_or_else(
                || "0 B".to_owned(),
                |changed| change(changed.resident_bytes),
            )
        };
        columns.push(column(
            "change",
            ALWAYS,
            &changed,
            empty(),
            change(changes.resident_bytes),
        ));
    }
    let is_known = mappings > 0;
    if is_known {
        columns.push(size(
            "virtual",
            5,
            |row| row.virtual_bytes,
            Measure::ProcessVirtualBytes,
        ));
        columns.push(size(
            "anonymous",
            3,
            |row| row.anonymous_bytes,
            Measure::ProcessAnonymousBytes,
        ));
    }
    if rows.iter().any(|row| row.swapped_bytes > 0)
        || process.totals.amount(Measure::ProcessSwapBytes) > 0
    {
        columns.push(size(
            "swapped",
            4,
            |row| row.swapped_bytes,
            Measure::ProcessSwapBytes,
        ));
    }
    if rows.iter().any(|row| row.huge_bytes > 0)
        || process.totals.amount(Measure::ProcessHugeBytes) > 0
    {
        columns.push(size(
            "huge",
            2,
            |row| row.huge_bytes,
            Measure::ProcessHugeBytes,
        ));
    }
    if is_known {
        columns.push(column(
            "mappings",
            1,
            &|row| count(row.mappings),
            empty(),
            count(mappings),
        ));
    }
    Table::new(columns).strong_row(rows.len() + usize::from(unaccounted.is_some()))
}

fn allocator(out: &mut Writer<'_>, allocator: &Allocator, options: &Options) -> io::Result<()> {
    let title = Line::default().strong(&allocator.name);
    out.line(&title.faint(&format!("  {}", allocator.file)))?;
    detail(out, &figures(&allocator.figures).join(", "))?;
    detail(out, allocator.unreadable.as_deref().unwrap_or_default())?;
    match &allocator.heap {
        Some(heap) => self::heap(out, heap, options),
        None => Ok(()),
    }
}

fn runtime(out: &mut Writer<'_>, runtime: &LanguageRuntime) -> io::Result<()> {
    out.line(&Line::default().strong(&runtime.name))?;
    let mut parts = Vec::new();
    parts.extend(
        runtime
            .heap_resident_bytes
            .map(|heap| format!("heap {} resident", bytes(heap))),
    );
    parts.extend(
        runtime
            .objects_bytes
            .map(|objects| format!("objects {}", bytes(objects))),
    );
    parts.extend(figures(&runtime.figures));
    detail(out, &parts.join(", "))?;
    detail(out, runtime.unreadable.as_deref().unwrap_or_default())
}

fn figures(figures: &[PublishedFigure]) -> Vec<String> {
    let words = figures
        .iter()
        .map(|figure| format!("{} {}", figure.name, bytes(figure.bytes)));
    words.collect()
}

/// A sentence, indented, if there is one.
fn detail(out: &mut Writer<'_>, text: &str) -> io::Result<()> {
    match text.is_empty() {
        true => Ok(()),
        false => out.sentence(Line::of(" "), text, 2),
    }
}

fn heap(out: &mut Writer<'_>, heap: &Heap, options: &Options) -> io::Result<()> {
    arenas(heap, options).write(out)?;
    if let Some(mapped) = heap.mapped.filter(|mapped| mapped.blocks > 0) {
        let blocks = counted(mapped.blocks, "block");
        detail(
            out,
            &format!("{blocks} in mappings of their own: {}", bytes(mapped.bytes)),
        )?;
    }
    let largest = heap
        .arenas
        .iter()
        .flat_map(|arena| &arena.largest_free_bytes);
    let mut largest: Vec<u64> = largest.copied().collect();
    largest.sort_unstable_by_key(|size| Reverse(*size));
    if !largest.is_empty() {
        let sizes: Vec<String> = largest.into_iter().take(5).map(bytes).collect();
        detail(out, &format!("largest free: {}", sizes.join(", ")))?;
    }
    if heap.lists_cut {
        detail(
            out,
            "fast bins were not followed to their ends: more is free than it says, and less in use",
        )?;
    }
    for arena in &heap.arenas {
        if let Some(trouble) = &arena.trouble {
            let which = if arena.main {
                "the main arena"
            } else {
                "an arena"
            };
            let unseen = bytes(arena.unknown_bytes);
            let text =
                format!("the walk through {which} ended early, {unseen} were not seen: {trouble}");
            detail(out, &text)?;
        }
    }
    Ok(())
}

/// The arenas, the main one first, then the largest; and their sum if there are several.
fn arenas(heap: &Heap, options: &Options) -> Table {
    let mut order: Vec<(usize, &Arena)> = heap.arenas.iter().enumerate().collect();
    order.sort_by_key(|(index, arena)| (!arena.main, Reverse(arena.system_bytes), *index));
    let shown = if options.all_frames {
        order.len()
    } else {
        order.len().min(MOST_ARENAS)
    };
    let (shown, rest) = order.split_at(shown);
    let name = |index: usize, arena: &Arena| match arena.main {
        true => "main".to_owned(),
        false => format!("#{index}"),
    };
    let shown = shown
        .iter()
        .map(|(index, arena)| (name(*index, arena), Cow::Borrowed(*arena)));
    let mut rows: Vec<(String, Cow<'_, Arena>)> = shown.collect();
    if !rest.is_empty() {
        let sum = Arena::sum(rest.iter().map(|(_, arena)| *arena));
        rows.push((
            format!("{} more", count(rest.len() as u64)),
            Cow::Owned(sum),
        ));
    }
    let arenas = rows.len();
    if order.len() > 1 {
        rows.push(("all".to_owned(), Cow::Owned(heap.sum())));
    }
    let column = |heading: &'static str, importance, cell: fn(&Arena) -> String| {
        Column::new(
            heading,
            importance,
            rows.iter().map(|(_, arena)| cell(arena)),
        )
    };
    let has = |value: fn(&Arena) -> u64| heap.arenas.iter().any(|arena| value(arena) > 0);
    let names = rows.iter().map(|(name, _)| name.clone());
    let mut columns = vec![
        Column::new("arena", ALWAYS, names).words(),
        column("in use", ALWAYS, |arena| bytes(arena.in_use_bytes)),
        column("blocks", 5, |arena| count(arena.blocks)),
    ];
    if has(|arena| arena.thread_cached_bytes) {
        columns.push(column("thread caches", 2, |arena| {
            bytes(arena.thread_cached_bytes)
        }));
    }
    if has(|arena| arena.fast_bytes) {
        columns.push(column("fast bins", 3, |arena| bytes(arena.fast_bytes)));
    }
    columns.push(column("bins", ALWAYS, |arena| bytes(arena.free_bytes)));
    columns.push(column("top", ALWAYS, |arena| bytes(arena.top_bytes)));
    if has(|arena| arena.unknown_bytes) {
        columns.push(column("unknown", ALWAYS, |arena| {
            bytes(arena.unknown_bytes)
        }));
    }
    columns.push(column("from kernel", 4, |arena| bytes(arena.system_bytes)));
    columns.push(column("trim gives", 6, |arena| {
        bytes(arena.trimmable_bytes)
    }));
    columns.push(column("threads", 1, |arena| count(arena.threads)));
    Table::new(columns).strong_row(arenas)
}

/// What follows from the figures, and what could not be seen.
fn closing(out: &mut Writer<'_>, profile: &Profile) -> io::Result<()> {
    let kinds = [
        FindingKind::Growth,
        FindingKind::Change,
        FindingKind::Ledger,
    ];
    let of_kind = |kind| {
        profile
            .findings
            .iter()
            .filter(move |finding| finding.kind == kind)
    };
    let mut findings = kinds.into_iter().flat_map(of_kind).peekable();
    if findings.peek().is_some() {
        out.blank()?;
    }
    for finding in findings {
        out.sentence(Line::default().strong("=>"), &finding.text, 3)?;
    }
    for note in &profile.notes {
        out.sentence(Line::of("note:"), note, 6)?;
    }
    Ok(())
}
