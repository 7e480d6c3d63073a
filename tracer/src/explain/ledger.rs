//! Sorts a process's mappings into rows that add up to its resident memory.
//!
//! What a mapping is for follows from its file, its name and its rights; of anonymous memory it follows from what was
//! found in it, which comes as labels. A label may cover part of a mapping, since the kernel joins neighbours: then
//! the mapping's resident bytes are divided by asking which pages are in memory.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::kind::Kind;
use super::value::{Place, Row};
use crate::process::maps::{FileId, Mapping, MappingName};
use crate::process::smaps::{Region, Usage};

/// What was found in anonymous memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// What it is.
    pub kind: Kind,
    /// Whose.
    pub name: Option<String>,
}

impl Label {
    /// A label without a name.
    pub const fn new(start: u64, end: u64, kind: Kind) -> Self {
        Self {
            start,
            end,
            kind,
            name: None,
        }
    }
}

/// What the rows know beyond the mappings.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The executable.
    pub program: Option<FileId>,
    /// What was found in anonymous memory, made [`tidy`].
    pub labels: Vec<Label>,
    /// The allocator that anonymous memory without a label must be from, where there is only one that it can be.
    pub allocator: Option<String>,
}

/// Labels by address, without overlaps: the earlier one keeps what two claim. Neighbours of one kind are joined.
pub fn tidy(mut labels: Vec<Label>) -> Vec<Label> {
    labels.sort_by_key(|label| label.start);
    let mut tidied: Vec<Label> = Vec::with_capacity(labels.len());
    for mut label in labels {
        if let Some(last) = tidied.last_mut() {
            label.start = label.start.max(last.end);
            let same = last.kind == label.kind && last.name == label.name;
            if same && label.start == last.end {
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

/// Mappings sorted into rows, and which part of the address space each row has.
#[derive(Clone, Debug, Default)]
pub struct Sorted {
    /// The rows, in the order of their kinds.
    pub rows: Vec<Row>,
    /// The parts of the address space, in order of address.
    pub places: Vec<Place>,
}

/// Sorts mappings, which are in order of address, into rows. `resident` tells how much of a range is in memory.
pub fn sort(
    regions: &[Region],
    context: &Context,
    mut resident: impl FnMut(u64, u64) -> Option<u64>,
) -> Sorted {
    let libraries = executable_files(regions);
    let mut rows = BTreeMap::new();
    let mut places = Vec::with_capacity(regions.len());
    let mut before: Option<(&Mapping, Kind)> = None;
    for region in regions {
        let mapping = &region.mapping;
        let (kind, name) = kind_of(mapping, before, context.program, &libraries);
        before = Some((mapping, kind));
        // What looks like bss may be a heap that was mapped just behind a library.
        let divisible = mapping.name == MappingName::Anonymous || kind == Kind::BrkHeap;
        let pieces = match divisible {
            true => split(region, kind, context, &mut resident),
            false => vec![(kind, name, whole(region))],
        };
        let mut start = mapping.start;
        for (kind, name, piece) in pieces {
            let end = start + piece.size;
            places.push(Place {
                start,
                end,
                kind,
                name: name.clone(),
            });
            start = end;
            let row = rows.entry((kind, name)).or_insert_with(Piece::default);
            row.add(&piece);
        }
    }
    let rows = rows.into_iter();
    Sorted {
        rows: rows
            .map(|((kind, name), piece)| piece.row(kind, name))
            .collect(),
        places,
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

    fn row(self, kind: Kind, name: Option<String>) -> Row {
        Row {
            kind,
            name,
            mappings: self.mappings,
            virtual_size: self.size,
            resident: self.usage.resident,
            proportional: self.usage.proportional,
            anonymous: self.usage.anonymous,
            swapped: self.usage.swapped,
            huge: self.usage.huge,
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

/// Divides a mapping among its labels. What no label covers keeps the mapping's own kind.
fn split(
    region: &Region,
    kind: Kind,
    context: &Context,
    resident: &mut impl FnMut(u64, u64) -> Option<u64>,
) -> Vec<(Kind, Option<String>, Piece)> {
    let mapping = &region.mapping;
    let rest = match (&context.allocator, kind) {
        (Some(name), Kind::Anonymous) => (Kind::Allocator, Some(name.clone())),
        _ => (kind, None),
    };
    let mut pieces: Vec<(u64, u64, Kind, Option<String>)> = Vec::new();
    let mut at = mapping.start;
    let labels = &context.labels;
    let first = labels.partition_point(|label| label.end <= mapping.start);
    for label in labels[first..]
        .iter()
        .take_while(|label| label.start < mapping.end)
    {
        if at < label.start {
            pieces.push((at, label.start, rest.0, rest.1.clone()));
            at = label.start;
        }
        let end = label.end.min(mapping.end);
        pieces.push((at, end, label.kind, label.name.clone()));
        at = end;
    }
    if at < mapping.end {
        pieces.push((at, mapping.end, rest.0, rest.1));
    }
    divide(region, pieces, resident)
}

fn divide(
    region: &Region,
    pieces: Vec<(u64, u64, Kind, Option<String>)>,
    resident: &mut impl FnMut(u64, u64) -> Option<u64>,
) -> Vec<(Kind, Option<String>, Piece)> {
    let all = whole(region);
    if let [(_, _, kind, name)] = &pieces[..] {
        return vec![(*kind, name.clone(), all)];
    }
    let mut left = all;
    let mut divided = Vec::new();
    let last = pieces.len().saturating_sub(1);
    for (index, (start, end, kind, name)) in pieces.into_iter().enumerate() {
        // The last piece takes what is left, so that nothing is lost.
        let part = if index == last {
            left
        } else {
            let pages = resident(start, end).unwrap_or(0).min(left.usage.resident);
            part_of(&all, end - start, pages)
        };
        let mut part = part;
        part.mappings = 1;
        part.size = end - start;
        left.take(&part);
        divided.push((kind, name, part));
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

/// What a mapping is by its file, name and rights.
fn kind_of(
    mapping: &Mapping,
    before: Option<(&Mapping, Kind)>,
    program: Option<FileId>,
    libraries: &HashSet<FileId>,
) -> (Kind, Option<String>) {
    let writable = mapping.write && !mapping.shared;
    match &mapping.name {
        MappingName::File { path, deleted } => {
            let kind = match (is_shared(path, *deleted), writable) {
                _ if path.starts_with("/memfd:doublemapper") => Kind::GeneratedCode,
                (true, _) => Kind::Shared,
                _ if path.starts_with("/dev") => Kind::Devices,
                (_, true) if Some(mapping.file) == program => Kind::ProgramData,
                (_, false) if Some(mapping.file) == program => Kind::ProgramCode,
                (_, true) if libraries.contains(&mapping.file) => Kind::LibraryData,
                (_, false) if libraries.contains(&mapping.file) => Kind::LibraryCode,
                _ => Kind::Files,
            };
            (kind, None)
        }
        MappingName::Special(name) => special(name),
        MappingName::Anonymous => {
            let bss = before.filter(|(mapping_before, kind)| {
                mapping_before.end == mapping.start
                    && mapping_before.file.inode != 0
                    && matches!(kind, Kind::ProgramData | Kind::LibraryData)
            });
            let kind = match bss {
                Some((_, kind)) if mapping.write => kind,
                _ if mapping.shared => Kind::Shared,
                _ if mapping.execute => Kind::GeneratedCode,
                _ if !mapping.read && !mapping.write => Kind::Reserved,
                _ => Kind::Anonymous,
            };
            (kind, None)
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
fn special(name: &str) -> (Kind, Option<String>) {
    let given = name
        .strip_prefix("[anon:")
        .or_else(|| name.strip_prefix("[anon_shmem:"))
        .and_then(|name| name.strip_suffix(']'))
        .map(str::trim);
    match (name, given) {
        ("[heap]", _) => (Kind::BrkHeap, None),
        ("[stack]", _) => (Kind::MainStack, None),
        (_, Some("glibc: malloc arena")) => (Kind::GlibcArenas, None),
        (_, Some("glibc: malloc")) => (Kind::GlibcMapped, None),
        (_, Some(given)) if given.starts_with("glibc: pthread stack") => (Kind::ThreadStacks, None),
        (_, Some(given)) if given.starts_with("Go:") => (Kind::RuntimeHeap, Some(given.to_owned())),
        (_, Some(given)) if given.starts_with("Ruby:") => {
            (Kind::RuntimeHeap, Some(given.to_owned()))
        }
        (_, Some(given)) => (Kind::Named, Some(given.to_owned())),
        _ if name.starts_with("[v") || name == "[uprobes]" => (Kind::Kernel, None),
        _ if name.starts_with("[stack:") => (Kind::ThreadStacks, None),
        _ => (Kind::Devices, None),
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
