//! Sorts a process's mappings into rows that add up to its resident memory.
//!
//! What a mapping is for follows from its file, its name and its rights; of anonymous memory it follows from what was
//! found in it, which comes as labels. A label may cover part of a mapping, since the kernel joins neighbours: then
//! the mapping's resident bytes are divided by asking which pages are in memory.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use crate::process::maps::{FileId, Mapping, MappingName};
use crate::process::smaps::{Region, Usage};
use crate::profile::ledger::{Purpose, Range, Row, RowName};

/// What the rows know beyond the mappings.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The executable.
    pub program: Option<FileId>,
    /// What was found in anonymous memory, made [`tidy`].
    pub labels: Vec<Range>,
    /// The allocator that anonymous memory without a label must be from, where there is only one that it can be.
    pub allocator: Option<String>,
}

/// Labels by address, without overlaps: the earlier one keeps what two claim. Neighbours of one row are joined.
pub fn tidy(mut labels: Vec<Range>) -> Vec<Range> {
    labels.sort_by_key(|label| label.start);
    let mut tidied: Vec<Range> = Vec::with_capacity(labels.len());
    for mut label in labels {
        if let Some(last) = tidied.last_mut() {
            label.start = label.start.max(last.end);
            if last.row == label.row && label.start == last.end {
                last.end = last.end.max(label.end);
                continue;
            }
        }
        if label.start < label.end {
            tidied.push(label);
        }
    }
    tidied
}

/// Whether a mapping is private writable memory without a name, and so may be anybody's heap.
pub fn is_plain_anonymous(mapping: &Mapping) -> bool {
    let is_named = mapping.name != MappingName::Anonymous;
    mapping.write && !mapping.shared && !is_named && mapping.file.inode == 0
}

/// Mappings sorted into rows, and which part of the address space each row has.
#[derive(Clone, Debug, Default)]
pub struct Sorted {
    /// The rows, in the order of their kinds.
    pub rows: Vec<Row>,
    /// The parts of the address space, in order of address.
    pub ranges: Vec<Range>,
}

/// Sorts mappings, which are in order of address, into rows. `resident` tells how much of a range is in memory.
pub fn sort(
    regions: &[Region],
    context: &Context,
    mut resident: impl FnMut(u64, u64) -> Option<u64>,
) -> Sorted {
    let libraries = executable_files(regions);
    let mut rows: BTreeMap<RowName, Piece> = BTreeMap::new();
    let mut ranges = Vec::with_capacity(regions.len());
    let mut before: Option<(&Mapping, Purpose)> = None;
    for region in regions {
        let mapping = &region.mapping;
        let row = row_of(mapping, before, context.program, &libraries);
        before = Some((mapping, row.kind));
        // What looks like bss may be a heap that was mapped just behind a library.
        let divisible = mapping.name == MappingName::Anonymous || row.kind == Purpose::BrkHeap;
        let parts = match divisible {
            true => split(mapping, row.kind, context),
            false => vec![Range::new(mapping.start, mapping.end, row)],
        };
        for (part, piece) in parts.iter().zip(divide(region, &parts, &mut resident)) {
            rows.entry(part.row.clone()).or_default().add(&piece);
        }
        ranges.extend(parts);
    }
    let rows = rows.into_iter().map(|(row, piece)| piece.row(row));
    Sorted {
        rows: rows.collect(),
        ranges,
    }
}

/// Part of a mapping, or a sum of parts.
#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    mappings: u64,
    size: u64,
    usage: Usage,
}

impl Piece {
    fn add(&mut self, other: &Self) {
        self.mappings += other.mappings;
        self.size += other.size;
        let (sum, more) = (&mut self.usage, &other.usage);
        sum.resident += more.resident;
        sum.proportional += more.proportional;
        sum.anonymous += more.anonymous;
        sum.swapped += more.swapped;
        sum.huge += more.huge;
    }

    fn row(self, row: RowName) -> Row {
        Row {
            row,
            mappings: self.mappings,
            virtual_bytes: self.size,
            resident_bytes: self.usage.resident,
            proportional_bytes: self.usage.proportional,
            anonymous_bytes: self.usage.anonymous,
            swapped_bytes: self.usage.swapped,
            huge_bytes: self.usage.huge,
        }
    }
}

fn whole(region: &Region) -> Piece {
    Piece {
        mappings: 1,
        size: region.mapping.end - region.mapping.start,
        usage: region.usage,
    }
}

/// Splits a mapping by its labels. What no label covers keeps the mapping's own kind.
fn split(mapping: &Mapping, kind: Purpose, context: &Context) -> Vec<Range> {
    let rest = match (&context.allocator, kind) {
        (Some(name), Purpose::Anonymous) => RowName {
            kind: Purpose::Allocator,
            name: Some(name.clone()),
        },
        _ => kind.into(),
    };
    let mut parts = Vec::new();
    let mut at = mapping.start;
    let first = context
        .labels
        .partition_point(|label| label.end <= mapping.start);
    let labels = context.labels[first..].iter();
    for label in labels.take_while(|label| label.start < mapping.end) {
        if at < label.start {
            parts.push(Range::new(at, label.start, rest.clone()));
            at = label.start;
        }
        let end = label.end.min(mapping.end);
        parts.push(Range::new(at, end, label.row.clone()));
        at = end;
    }
    if at < mapping.end {
        parts.push(Range::new(at, mapping.end, rest));
    }
    parts
}

/// Divides what a mapping holds among its parts.
fn divide(
    region: &Region,
    parts: &[Range],
    resident: &mut impl FnMut(u64, u64) -> Option<u64>,
) -> Vec<Piece> {
    let all = whole(region);
    let mut left = all;
    let mut divided = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        // The last part takes what is left, so that nothing is lost.
        let mut piece = match index + 1 == parts.len() {
            true => left,
            false => {
                let pages = resident(part.start, part.end).unwrap_or(0);
                part_of(&all, part.end - part.start, pages.min(left.usage.resident))
            }
        };
        piece.size = part.end - part.start;
        left.take(&piece);
        divided.push(piece);
    }
    divided
}

/// The share of a mapping that has so many resident bytes. Swapped bytes go by size.
fn part_of(all: &Piece, size: u64, resident: u64) -> Piece {
    let share = |value: u64, part: u64, of: u64| match of {
        0 => 0,
        of => (u128::from(value) * u128::from(part) / u128::from(of)) as u64,
    };
    let by_pages = |value: u64| share(value, resident, all.usage.resident);
    Piece {
        mappings: 1,
        size,
        usage: Usage {
            resident,
            proportional: by_pages(all.usage.proportional),
            anonymous: by_pages(all.usage.anonymous),
            huge: by_pages(all.usage.huge),
            swapped: share(all.usage.swapped, size, all.size),
            hugetlb: 0,
        },
    }
}

impl Piece {
    fn take(&mut self, part: &Self) {
        let (left, part) = (&mut self.usage, &part.usage);
        left.resident = left.resident.saturating_sub(part.resident);
        left.proportional = left.proportional.saturating_sub(part.proportional);
        left.anonymous = left.anonymous.saturating_sub(part.anonymous);
        left.huge = left.huge.saturating_sub(part.huge);
        left.swapped = left.swapped.saturating_sub(part.swapped);
    }
}

fn executable_files(regions: &[Region]) -> HashSet<FileId> {
    let code = regions.iter().map(|region| &region.mapping);
    code.filter(|mapping| mapping.execute && mapping.file.inode != 0)
        .map(|mapping| mapping.file)
        .collect()
}

/// The row of a mapping by its file, name and rights.
fn row_of(
    mapping: &Mapping,
    before: Option<(&Mapping, Purpose)>,
    program: Option<FileId>,
    libraries: &HashSet<FileId>,
) -> RowName {
    let writable = mapping.write && !mapping.shared;
    match &mapping.name {
        MappingName::File { path, deleted } => match (is_shared(path, *deleted), writable) {
            _ if path.starts_with("/memfd:doublemapper") => Purpose::GeneratedCode,
            (true, _) => Purpose::Shared,
            _ if path.starts_with("/dev") => Purpose::Devices,
            (_, true) if Some(mapping.file) == program => Purpose::ProgramData,
            (_, false) if Some(mapping.file) == program => Purpose::ProgramCode,
            (_, true) if libraries.contains(&mapping.file) => Purpose::LibraryData,
            (_, false) if libraries.contains(&mapping.file) => Purpose::LibraryCode,
            _ => Purpose::Files,
        }
        .into(),
        MappingName::Special(name) => special(name),
        MappingName::Anonymous => {
            let bss = before.filter(|(mapping_before, kind)| {
                mapping_before.end == mapping.start
                    && mapping_before.file.inode != 0
                    && matches!(kind, Purpose::ProgramData | Purpose::LibraryData)
            });
            match bss {
                Some((_, kind)) if mapping.write => kind,
                _ if mapping.shared => Purpose::Shared,
                _ if mapping.execute => Purpose::GeneratedCode,
                _ if !mapping.read && !mapping.write => Purpose::Reserved,
                _ => Purpose::Anonymous,
            }
            .into()
        }
    }
}

/// Memory without a file that lasts: POSIX and System V shared memory, memfd, anonymous shared mappings.
fn is_shared(path: &Path, deleted: bool) -> bool {
    let text = path.to_string_lossy();
    path.starts_with("/dev/shm")
        || text.starts_with("/SYSV")
        || text.starts_with("/memfd:")
        || path == Path::new("/dev/zero") && deleted
}

/// What the kernel's own names, and those that programs give, stand for.
fn special(name: &str) -> RowName {
    let given = name
        .strip_prefix("[anon:")
        .or_else(|| name.strip_prefix("[anon_shmem:"))
        .and_then(|name| name.strip_suffix(']'))
        .map(str::trim);
    let named = |kind, given: &str| RowName {
        kind,
        name: Some(given.to_owned()),
    };
    match (name, given) {
        ("[heap]", _) => Purpose::BrkHeap.into(),
        ("[stack]", _) => Purpose::MainStack.into(),
        (_, Some("glibc: malloc arena")) => Purpose::GlibcArenas.into(),
        (_, Some("glibc: malloc")) => Purpose::GlibcMapped.into(),
        (_, Some(given)) if given.starts_with("glibc: pthread stack") => {
            Purpose::ThreadStacks.into()
        }
        (_, Some(given)) if given.starts_with("Go:") || given.starts_with("Ruby:") => {
            named(Purpose::RuntimeHeap, given)
        }
        (_, Some(given)) => named(Purpose::Named, given),
        _ if name.starts_with("[v") || name == "[uprobes]" => Purpose::Kernel.into(),
        _ if name.starts_with("[stack:") => Purpose::ThreadStacks.into(),
        _ => Purpose::Devices.into(),
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
