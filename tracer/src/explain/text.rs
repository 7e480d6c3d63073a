//! The explanation for people.

use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::diff::Change;
use super::growth::{self, Growth};
use super::table::Table;
use super::value::{Allocator, Explanation, Heap, HeapArena, Runtime};
use super::words;
use crate::report::units::{bytes, change, count, counted};
use crate::report::{
    self,
    line::{Line, Writer},
};

/// Most arenas that get a line of their own.
const MOST_ARENAS: usize = 16;

/// How to write it.
#[derive(Clone, Debug, Default)]
pub struct TextOptions {
    /// Columns of the terminal; `None` is no limit.
    pub width: Option<usize>,
    /// Whether to use colour.
    pub colour: bool,
    /// Whether every arena gets a line.
    pub all_arenas: bool,
    /// Time zone of the first line.
    pub zone: Option<TimeZone>,
}

impl TextOptions {
    /// The same for stacks.
    fn of_frames(&self) -> report::text::TextOptions {
        report::text::TextOptions {
            width: self.width,
            colour: self.colour,
            all_frames: self.all_arenas,
            ..report::text::TextOptions::default()
        }
    }
}

/// Writes the explanation, what changed since an earlier one, and whose that is.
///
/// # Errors
/// Those of `out`.
pub fn write(
    explanation: &Explanation,
    changes: Option<&Change>,
    growth: Option<&Growth>,
    options: &TextOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut out = Writer::new(out, options.width, options.colour);
    head(explanation, options, &mut out)?;
    out.blank()?;
    ledger(explanation, changes, &mut out)?;
    if let Some(growth) = growth {
        out.blank()?;
        growth::text::write(growth, &options.of_frames(), &mut out)?;
    }
    if let Some(stacks) = words::stacks(explanation) {
        out.blank()?;
        out.sentence(Line::default(), &stacks, 2)?;
    }
    for allocator in &explanation.allocators {
        out.blank()?;
        write_allocator(allocator, options, &mut out)?;
    }
    for runtime in &explanation.runtimes {
        out.blank()?;
        write_runtime(runtime, &mut out)?;
    }
    let changed = changes
        .map(|changes| &changes.findings[..])
        .unwrap_or_default();
    let grown = growth
        .map(|growth| &growth.findings[..])
        .unwrap_or_default();
    let findings = grown.iter().chain(changed).chain(&explanation.findings);
    let findings: Vec<&String> = findings.collect();
    if !findings.is_empty() {
        out.blank()?;
    }
    for finding in findings {
        out.sentence(Line::default().strong("=>"), finding, 3)?;
    }
    for note in &explanation.notes {
        out.sentence(Line::of("note:"), note, 6)?;
    }
    Ok(())
}

fn head(
    explanation: &Explanation,
    options: &TextOptions,
    out: &mut Writer<'_, impl Write>,
) -> io::Result<()> {
    let time = Timestamp::from_millisecond((explanation.time * 1e3) as i64).unwrap_or_default();
    let zone = options.zone.clone().unwrap_or_else(TimeZone::system);
    let time = time
        .to_zoned(zone)
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string();
    out.line(&Line::of(&format!(
        "{time}  {}",
        words::subject(explanation)
    )))?;
    let totals = &explanation.totals;
    let mut parts = vec![
        Line::of("resident ").strong(&bytes(totals.resident)),
        Line::of(&format!("virtual {}", bytes(totals.virtual_size))),
    ];
    let mut more = |words: &str, size: u64| {
        if size > 0 {
            parts.push(Line::of(&format!("{words} {}", bytes(size))));
        }
    };
    more("shared fairly (PSS)", totals.proportional.unwrap_or(0));
    more("swapped", totals.swapped);
    more("huge pages", totals.huge.unwrap_or(0));
    more("hugetlb (not in RSS)", totals.hugetlb);
    more("page tables (not in RSS)", totals.page_tables);
    out.list(parts, 2)
}

fn ledger(
    explanation: &Explanation,
    changes: Option<&Change>,
    out: &mut Writer<'_, impl Write>,
) -> io::Result<()> {
    let mut table = Table::new(&[
        "where",
        "resident",
        "change",
        "virtual",
        "anonymous",
        "swapped",
        "huge",
        "mappings",
    ]);
    let changed = |kind, name: &Option<String>| {
        let rows = changes.map(|changes| &changes.rows[..]).unwrap_or_default();
        let row = rows
            .iter()
            .find(|row| row.kind == kind && row.name == *name);
        row.map_or_else(|| "0 B".to_owned(), |row| change(row.resident))
    };
    let mut rows: Vec<_> = explanation.ledger.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.resident));
    for row in rows {
        table.row(vec![
            row.words(),
            bytes(row.resident),
            changed(row.kind, &row.name),
            bytes(row.virtual_size),
            bytes(row.anonymous),
            bytes(row.swapped),
            bytes(row.huge),
            count(row.mappings),
        ]);
    }
    if explanation.unaccounted != 0 {
        let mut cells = vec![
            "changed while it was read".to_owned(),
            change(explanation.unaccounted),
        ];
        cells.resize(8, String::new());
        table.row(cells);
    }
    let totals = &explanation.totals;
    let all: u64 = explanation.ledger.iter().map(|row| row.mappings).sum();
    table.strong(vec![
        "all".to_owned(),
        bytes(totals.resident),
        change(changes.map_or(0, |changes| changes.resident)),
        bytes(totals.virtual_size),
        bytes(totals.anonymous),
        bytes(totals.swapped),
        bytes(totals.huge.unwrap_or(0)),
        count(all),
    ]);
    if changes.is_none() {
        table.drop_column("change");
    }
    if all == 0 {
        for heading in ["virtual", "anonymous", "mappings"] {
            table.drop_column(heading);
        }
    }
    for (heading, empty) in [("swapped", "0 B"), ("huge", "0 B")] {
        table.drop_if_all(heading, empty);
    }
    table.write(
        out,
        &["mappings", "huge", "anonymous", "swapped", "virtual"],
    )
}

fn write_allocator(
    allocator: &Allocator,
    options: &TextOptions,
    out: &mut Writer<'_, impl Write>,
) -> io::Result<()> {
    let title = Line::default()
        .strong(&allocator.name)
        .faint(&format!("  {}", allocator.file));
    out.line(&title)?;
    let figures = allocator.figures.iter();
    let figures = figures.map(|figure| format!("{} {}", figure.name, bytes(figure.bytes)));
    let figures: Vec<String> = figures.collect();
    if !figures.is_empty() {
        out.sentence(Line::of(" "), &figures.join(", "), 2)?;
    }
    if let Some(why) = &allocator.unreadable {
        out.sentence(Line::of(" "), why, 2)?;
    }
    match &allocator.heap {
        Some(heap) => write_heap(heap, options, out),
        None => Ok(()),
    }
}

fn write_heap(
    heap: &Heap,
    options: &TextOptions,
    out: &mut Writer<'_, impl Write>,
) -> io::Result<()> {
    let mut table = Table::new(&[
        "arena",
        "in use",
        "blocks",
        "thread caches",
        "fast bins",
        "bins",
        "top",
        "unknown",
        "from kernel",
        "trim gives",
        "threads",
    ]);
    let mut order: Vec<(usize, &HeapArena)> = heap.arenas.iter().enumerate().collect();
    order.sort_by_key(|(index, arena)| (!arena.main, std::cmp::Reverse(arena.system), *index));
    let shown = if options.all_arenas {
        order.len()
    } else {
        MOST_ARENAS
    };
    for (index, arena) in order.iter().take(shown) {
        let name = if arena.main {
            "main".to_owned()
        } else {
            format!("#{index}")
        };
        table.row(cells(name, arena));
    }
    if let Some(more) = order.len().checked_sub(shown).filter(|more| *more > 0) {
        let rest = Heap {
            arenas: order[shown..]
                .iter()
                .map(|(_, arena)| (*arena).clone())
                .collect(),
            mapped: None,
            thread_caches: 0,
            lists_cut: false,
        };
        table.row(cells(format!("{} more", count(more as u64)), &rest.sum()));
    }
    if order.len() > 1 {
        table.strong(cells("all".to_owned(), &heap.sum()));
    }
    for heading in ["thread caches", "fast bins", "unknown"] {
        table.drop_if_all(heading, "0 B");
    }
    table.write(
        out,
        &[
            "threads",
            "thread caches",
            "fast bins",
            "from kernel",
            "blocks",
            "trim gives",
        ],
    )?;
    if let Some(mapped) = heap.mapped.filter(|mapped| mapped.blocks > 0) {
        let text = format!(
            "{} in mappings of their own: {}",
            counted(mapped.blocks, "block"),
            bytes(mapped.bytes)
        );
        out.sentence(Line::of(" "), &text, 2)?;
    }
    let largest = heap.arenas.iter().flat_map(|arena| &arena.largest_free);
    let mut largest: Vec<u64> = largest.copied().collect();
    largest.sort_unstable_by_key(|size| std::cmp::Reverse(*size));
    largest.truncate(5);
    if !largest.is_empty() {
        let sizes: Vec<String> = largest.into_iter().map(bytes).collect();
        out.sentence(
            Line::of(" "),
            &format!("largest free: {}", sizes.join(", ")),
            2,
        )?;
    }
    if heap.lists_cut {
        let text =
            "fast bins were not followed to their ends: more is free than it says, and less in use";
        out.sentence(Line::of(" "), text, 2)?;
    }
    for arena in heap.arenas.iter().filter(|arena| arena.trouble.is_some()) {
        let what = arena.trouble.as_deref().unwrap_or_default();
        let text = format!(
            "the walk through {} ended early, {} were not seen: {what}",
            if arena.main {
                "the main arena"
            } else {
                "an arena"
            },
            bytes(arena.unknown)
        );
        out.sentence(Line::of(" "), &text, 2)?;
    }
    Ok(())
}

fn cells(name: String, arena: &HeapArena) -> Vec<String> {
    vec![
        name,
        bytes(arena.in_use),
        count(arena.blocks),
        bytes(arena.thread_cached),
        bytes(arena.fast),
        bytes(arena.free),
        bytes(arena.top),
        bytes(arena.unknown),
        bytes(arena.system),
        bytes(arena.trimmable),
        count(arena.threads),
    ]
}

fn write_runtime(runtime: &Runtime, out: &mut Writer<'_, impl Write>) -> io::Result<()> {
    out.line(&Line::default().strong(&runtime.name))?;
    let mut parts = Vec::new();
    if let Some(heap) = runtime.heap_resident {
        parts.push(format!("heap {} resident", bytes(heap)));
    }
    if let Some(objects) = runtime.objects {
        parts.push(format!("objects {}", bytes(objects)));
    }
    parts.extend(
        runtime
            .figures
            .iter()
            .map(|figure| format!("{} {}", figure.name, bytes(figure.bytes))),
    );
    if !parts.is_empty() {
        out.sentence(Line::of(" "), &parts.join(", "), 2)?;
    }
    match &runtime.unreadable {
        Some(why) => out.sentence(Line::of(" "), why, 2),
        None => Ok(()),
    }
}
