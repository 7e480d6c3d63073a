//! Reads a process's allocators, and labels the memory that is found to be theirs.

use std::path::Path;

use super::allocators::{self, FoundAllocator};
use super::glibc::{self, HeapTally};
use super::memory::{PAGE, ProcessMemory, ReadError};
use super::rows::{is_plain_anonymous, tidy};
use super::tcmalloc;
use crate::attach::allocator::AllocatorKind;
use crate::process::info::ProcessInfo;
use crate::process::maps::{Mapping, MappingName};
use crate::process::smaps::Region;
use crate::profile::ledger::{Allocator, Arena, Heap, MappedBlocks, Purpose, Range};

/// Most bytes of anonymous memory in which blocks are looked for page by page: about half a second.
const MOST_SEARCHED: u64 = 2 << 30;

/// A program without symbols may have glibc linked in: its arena shows by its shape.
///
/// # Errors
/// [`ReadError`], but only where nothing can be read any more.
pub fn by_layout(
    memory: &mut ProcessMemory,
    info: &ProcessInfo,
    regions: &[Region],
    labels: &mut Vec<Range>,
) -> Result<Option<Allocator>, ReadError> {
    let Some(file) = info.exe.clone() else {
        return Ok(None);
    };
    let guess = FoundAllocator {
        kind: AllocatorKind::Glibc,
        file,
    };
    let allocator = read_allocator(memory, info.pid, &guess, regions, labels)?;
    Ok(allocator.heap.is_some().then_some(allocator))
}

/// Reads what can be read of an allocator, and labels the memory that it is found to own.
///
/// # Errors
/// As [`by_layout`].
pub fn read_allocator(
    memory: &mut ProcessMemory,
    pid: u32,
    found: &FoundAllocator,
    regions: &[Region],
    labels: &mut Vec<Range>,
) -> Result<Allocator, ReadError> {
    let mut allocator = Allocator {
        name: allocators::name(found.kind).to_owned(),
        file: found.file.display().to_string(),
        ..Allocator::default()
    };
    if found.kind == AllocatorKind::Tcmalloc {
        allocator.figures = tcmalloc::figures(memory, pid, &found.file, regions)?;
    }
    if found.kind != AllocatorKind::Glibc {
        allocator.unreadable = Some(allocators::unreadable(found.kind).to_owned());
        return Ok(allocator);
    }
    let mappings = regions.iter().map(|region| &region.mapping);
    match glibc::read(memory, &data_of(&found.file, mappings)) {
        Ok(heap) => {
            let pieces = heap.arenas.iter().flat_map(|arena| &arena.pieces);
            let pieces = pieces.map(|(start, end)| Range::new(*start, *end, Purpose::GlibcArenas));
            let is_brk = |label: &Range| {
                let on_heap = |region: &Region| {
                    region.mapping.start == label.start && is_named(&region.mapping, "[heap]")
                };
                regions.iter().any(on_heap)
            };
            labels.extend(pieces.filter(|label| !is_brk(label)));
            allocator.heap = Some(value_of(&heap));
        }
        Err(glibc::arena::NotFound::Read(error)) if error.is_final() => return Err(error),
        Err(why) => allocator.unreadable = Some(format!("not readable: {why}")),
    }
    Ok(allocator)
}

fn is_named(mapping: &Mapping, name: &str) -> bool {
    matches!(&mapping.name, MappingName::Special(own) if own == name)
}

/// Writable data of a file: what is mapped from it, and the anonymous memory just behind that.
pub fn data_of<'a>(
    file: &Path,
    mappings: impl IntoIterator<Item = &'a Mapping>,
) -> Vec<(u64, u64)> {
    let mut data = Vec::new();
    let mut end = 0;
    for mapping in mappings {
        let of_file = mapping.label() == Some(file);
        let behind = mapping.start == end && mapping.name == MappingName::Anonymous;
        if mapping.write && (of_file || behind) {
            data.push((mapping.start, mapping.end));
        }
        if mapping.write && of_file || behind {
            end = mapping.end;
        }
    }
    data
}

fn value_of(heap: &HeapTally) -> Heap {
    let arenas = heap.arenas.iter().map(|arena| Arena {
        main: arena.main,
        threads: arena.threads,
        pieces: arena.pieces.len() as u64,
        system_bytes: arena.system,
        in_use_bytes: arena.in_use(),
        blocks: arena
            .tally
            .used_chunks
            .saturating_sub(arena.fast.chunks + arena.cached.chunks),
        thread_cached_bytes: arena.cached.bytes,
        fast_bytes: arena.fast.bytes,
        free_bytes: arena.tally.free,
        top_bytes: arena.tally.top,
        overhead_bytes: arena.tally.fences,
        unknown_bytes: arena.not_walked(),
        free_untouched_bytes: arena.tally.free_untouched,
        trimmable_bytes: arena.tally.trimmable,
        largest_free_bytes: arena
            .tally
            .largest
            .into_iter()
            .filter(|size| *size > 0)
            .collect(),
        trouble: arena.trouble.map(|trouble| trouble.to_string()),
    });
    Heap {
        arenas: arenas.collect(),
        mapped: heap.params.map(|params| MappedBlocks {
            blocks: params.mapped_blocks,
            bytes: params.mapped_bytes,
        }),
        thread_caches: heap.caches,
        lists_cut: heap.arenas.iter().any(|arena| arena.fast.cut),
    }
}

/// Blocks of glibc with mappings of their own, in anonymous memory that nothing else claims.
///
/// Blocks begin where a mapping does, or behind something that the kernel has joined to them. Where glibc counts more
/// of them than are found there, memory of others lies between them: then each page is looked at, and what is found
/// counts only if it is no more than glibc says.
///
/// # Errors
/// As [`by_layout`].
pub fn mapped_block_labels(
    memory: &mut ProcessMemory,
    known: &[Allocator],
    mappings: &[Mapping],
    labels: &[Range],
) -> Result<Vec<Range>, ReadError> {
    let glibc = allocators::name(AllocatorKind::Glibc);
    if !known.iter().any(|allocator| allocator.name == glibc) {
        return Ok(Vec::new());
    }
    let gaps = gaps(mappings, labels);
    let mut blocks = Vec::new();
    let mut rest = Vec::new();
    for (start, end) in gaps {
        let own = glibc::mapped_blocks(memory, start, end)?;
        let next = own.last().map_or(start, |(_, end)| *end);
        blocks.extend(own);
        if next < end {
            rest.push((next, end));
        }
    }
    let heaps = known.iter().filter_map(|allocator| allocator.heap.as_ref());
    let counted = heaps.filter_map(|heap| heap.mapped).next();
    if let Some(counted) = counted.filter(|counted| counted.blocks > blocks.len() as u64) {
        let mut most = MOST_SEARCHED;
        let mut more = Vec::new();
        for (start, end) in rest {
            more.extend(glibc::mapped_blocks_within(memory, start, end, &mut most)?);
        }
        if sum(&blocks) + sum(&more) <= counted.bytes + counted.bytes / 16 {
            blocks.extend(more);
        }
    }
    let blocks = blocks.into_iter();
    Ok(blocks
        .map(|(start, end)| Range::new(start, end, Purpose::GlibcMapped))
        .collect())
}

/// The parts of plain anonymous memory that no label covers.
fn gaps(mappings: &[Mapping], labels: &[Range]) -> Vec<(u64, u64)> {
    let labels = tidy(labels.to_vec());
    let mut gaps = Vec::new();
    for mapping in mappings
        .iter()
        .filter(|mapping| is_plain_anonymous(mapping))
    {
        let mut at = mapping.start;
        let first = labels.partition_point(|label| label.end <= mapping.start);
        let inside = labels[first..]
            .iter()
            .take_while(|label| label.start < mapping.end);
        for label in inside {
            if at < label.start {
                gaps.push((at.next_multiple_of(PAGE), label.start));
            }
            at = at.max(label.end.next_multiple_of(PAGE));
        }
        if at < mapping.end {
            gaps.push((at, mapping.end));
        }
    }
    gaps
}

fn sum(blocks: &[(u64, u64)]) -> u64 {
    blocks.iter().map(|(start, end)| end - start).sum()
}
