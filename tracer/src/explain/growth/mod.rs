//! Whose the growth of a process is: what a trace saw meanwhile, joined into the ledgers of its beginning and its end.
//!
//! A mapping is looked up by address in the ledger of the end, so what an allocator has mapped for itself is told from what
//! the program has mapped without asking a stack for the names of its functions.

pub mod json;
#[cfg(test)]
mod tests;
pub mod text;

use std::collections::BTreeMap;
use std::path::Path;

use super::diff::Change;
use super::kind::Kind;
use super::value::{Explanation, Place};
use crate::process::pagemap::Region;
use crate::report::units::{bytes, change, counted, share};
use crate::symbolize::Frame;

/// Growth below this is not worth a sentence.
const NOTABLE: i64 = 1 << 20;

/// What a trace saw of one process between two looks at it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The blocks that were allocated and are live; or why they were not traced.
    pub blocks: Result<Blocks, String>,
    /// What was mapped and is mapped; or why that was not traced.
    pub ranges: Result<Ranges, String>,
    /// What was lost, in sentences.
    pub lost: Vec<String>,
}

/// Heap blocks that were allocated during a trace and are live at its end.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    /// Bytes that the program asked for.
    pub bytes: u64,
    /// Number.
    pub count: u64,
    /// The stacks that hold most, most first.
    pub stacks: Vec<BlockStack>,
    /// Number of stacks, these and the others.
    pub stacks_total: usize,
}

/// A stack and the live blocks that were allocated on it.
#[derive(Clone, Debug, Default)]
pub struct BlockStack {
    /// Bytes that the program asked for.
    pub bytes: u64,
    /// Number of blocks.
    pub count: u64,
    /// Where.
    pub stack: Stack,
}

/// A call stack.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    /// Frames, innermost first.
    pub frames: Vec<Frame>,
    /// Why it is cut, where it is.
    pub truncated: Option<String>,
}

/// What was mapped during a trace and is mapped at its end.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    /// First address, one past the last address, and the place of its stack in `stacks`.
    pub ranges: Vec<(u64, u64, usize)>,
    /// The stacks.
    pub stacks: Vec<Stack>,
}

/// The growth of a process and its parts, which add up to it. Sizes are in bytes.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    /// Time between the two looks, in seconds.
    pub seconds: f64,
    /// Change of resident memory.
    pub resident: i64,
    /// Of this, in the rows of allocators.
    pub heap: i64,
    /// Blocks allocated meanwhile and live; `None` where they were not traced.
    pub blocks: Option<Blocks>,
    /// Mapped meanwhile, but not for an allocator; `None` where that was not traced.
    pub mapped: Option<Mapped>,
    /// The rest by rows of the ledger: pages touched, or given back, of what was mapped before. Most grown first.
    pub older: Vec<Older>,
    /// What was lost, or not traced, in sentences.
    pub lost: Vec<String>,
    /// What follows from it.
    pub findings: Vec<String>,
}

/// What was mapped during a trace, but not for an allocator.
#[derive(Clone, Debug, Default)]
pub struct Mapped {
    /// In memory.
    pub resident: u64,
    /// Address space.
    pub size: u64,
    /// Ranges.
    pub ranges: u64,
    /// The stacks that have most in memory, most first.
    pub stacks: Vec<MappedStack>,
    /// Number of stacks, these and the others.
    pub stacks_total: usize,
}

/// A stack and what was mapped on it.
#[derive(Clone, Debug, Default)]
pub struct MappedStack {
    /// In memory.
    pub resident: u64,
    /// Address space.
    pub size: u64,
    /// Ranges.
    pub ranges: u64,
    /// The rows of the ledger that it is in, in words.
    pub rows: Vec<String>,
    /// Where.
    pub stack: Stack,
}

/// Change of what was mapped before, in one row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Older {
    /// The row, in words.
    pub row: String,
    /// Change of its resident memory.
    pub resident: i64,
}

impl Growth {
    /// Change of what was mapped before.
    pub fn older_resident(&self) -> i64 {
        self.older.iter().map(|row| row.resident).sum()
    }
}

/// A part of a range that lies in one row of the ledger.
struct Part<'a> {
    place: &'a Place,
    size: u64,
    resident: u64,
    stack: usize,
    /// It belongs to an allocator.
    of_heap: bool,
}

/// Joins what a trace saw into the ledgers of `before` and `after`, which `changes` compares. `touched` are the pages in
/// memory of the ranges seen; `top` is how many stacks are kept of each part.
pub fn join(
    before: &Explanation,
    after: &Explanation,
    changes: &Change,
    seen: Seen,
    touched: &[Region],
    top: usize,
) -> Growth {
    let mut growth = Growth {
        seconds: changes.seconds,
        resident: changes.resident,
        lost: seen.lost,
        ..Growth::default()
    };
    let ranges = seen.ranges.map_err(|why| growth.lost.push(why)).ok();
    let parts = ranges
        .as_ref()
        .map(|ranges| parts(ranges, after, touched))
        .unwrap_or_default();
    let mut of_rows: BTreeMap<(Kind, Option<String>), i64> = BTreeMap::new();
    for row in &changes.rows {
        *of_rows.entry((row.kind, row.name.clone())).or_default() += row.resident;
    }
    for part in parts.iter().filter(|part| !part.of_heap) {
        let row = (part.place.kind, part.place.name.clone());
        *of_rows.entry(row).or_default() -= part.resident.cast_signed();
    }
    let rows = of_rows.iter();
    growth.heap = rows
        .filter(|((kind, _), _)| kind.is_heap())
        .map(|(_, resident)| resident)
        .sum();
    growth.older = older(before, after, &of_rows);
    growth.mapped = ranges.map(|ranges| mapped(&parts, ranges, top));
    growth.blocks = seen.blocks.map_err(|why| growth.lost.push(why)).ok();
    if let Some(blocks) = &mut growth.blocks {
        blocks.stacks.truncate(top);
    }
    growth.findings = findings(&growth);
    growth
}

/// Divides the ranges among the rows of the ledger.
fn parts<'a>(ranges: &Ranges, after: &'a Explanation, touched: &[Region]) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    for (start, end, stack) in &ranges.ranges {
        let first = after.places.partition_point(|place| place.end <= *start);
        let places = after.places[first..].iter();
        let places = places.take_while(|place| place.start < *end);
        for place in places.filter(|place| !is_the_kernels_own(place.kind)) {
            let (start, end) = (place.start.max(*start), place.end.min(*end));
            let frames = ranges.stacks.get(*stack).map(|stack| &stack.frames[..]);
            parts.push(Part {
                place,
                size: end - start,
                resident: resident(touched, start, end),
                stack: *stack,
                of_heap: place.kind.is_heap()
                    && !is_foreign(place, frames.unwrap_or_default(), after),
            });
        }
    }
    parts
}

/// The kernel maps it without a call: the page for probes, too, which the trace itself brings.
const fn is_the_kernels_own(kind: Kind) -> bool {
    matches!(kind, Kind::Kernel | Kind::MainStack)
}

/// Memory is an allocator's by elimination alone, but no function of the allocator's file has mapped it.
fn is_foreign(place: &Place, frames: &[Frame], after: &Explanation) -> bool {
    let is_allocator = |frame: &Frame| {
        let module = frame.module.as_deref();
        let mut files = after.allocators.iter().map(|allocator| &allocator.file);
        files.any(|file| module == Some(Path::new(file)))
    };
    place.kind == Kind::Allocator && !frames.is_empty() && !frames.iter().any(is_allocator)
}

/// Bytes in memory of a range.
fn resident(touched: &[Region], start: u64, end: u64) -> u64 {
    let first = touched.partition_point(|region| region.end <= start);
    let inside = touched[first..]
        .iter()
        .take_while(|region| region.start < end);
    inside
        .filter(|region| !region.swapped)
        .map(|region| region.end.min(end) - region.start.max(start))
        .sum()
}

fn mapped(parts: &[Part<'_>], ranges: Ranges, top: usize) -> Mapped {
    let mut sum = Mapped::default();
    let mut stacks: BTreeMap<usize, MappedStack> = BTreeMap::new();
    for part in parts.iter().filter(|part| !part.of_heap) {
        sum.resident += part.resident;
        sum.size += part.size;
        sum.ranges += 1;
        let stack = stacks.entry(part.stack).or_default();
        stack.resident += part.resident;
        stack.size += part.size;
        stack.ranges += 1;
        let row = part.place.words();
        if !stack.rows.contains(&row) {
            stack.rows.push(row);
        }
    }
    sum.stacks_total = stacks.len();
    let mut order: Vec<(usize, MappedStack)> = stacks.into_iter().collect();
    order.sort_by_key(|(index, stack)| (std::cmp::Reverse((stack.resident, stack.size)), *index));
    order.truncate(top);
    let mut known = ranges.stacks;
    sum.stacks = order
        .into_iter()
        .map(|(index, mut stack)| {
            stack.stack = known.get_mut(index).map(std::mem::take).unwrap_or_default();
            stack
        })
        .collect();
    sum
}

/// What is neither an allocator's nor mapped meanwhile, row by row.
fn older(
    before: &Explanation,
    after: &Explanation,
    of_rows: &BTreeMap<(Kind, Option<String>), i64>,
) -> Vec<Older> {
    let rows = of_rows
        .iter()
        .filter(|((kind, _), resident)| !kind.is_heap() && **resident != 0);
    let mut older: Vec<Older> = rows
        .map(|((kind, name), resident)| Older {
            row: super::value::row_words(*kind, name.as_deref()),
            resident: *resident,
        })
        .collect();
    let unaccounted = after.unaccounted - before.unaccounted;
    if unaccounted != 0 {
        older.push(Older {
            row: "changed while it was read".to_owned(),
            resident: unaccounted,
        });
    }
    older.sort_by(|one, other| {
        let by_size = other.resident.abs().cmp(&one.resident.abs());
        by_size.then_with(|| one.row.cmp(&other.row))
    });
    older
}

fn findings(growth: &Growth) -> Vec<String> {
    let mut sentences = Vec::new();
    let mapped = growth
        .mapped
        .as_ref()
        .map_or(0, |mapped| mapped.resident.cast_signed());
    let half = growth.resident / 2;
    if growth.resident < NOTABLE {
        sentences.extend(no_growth(growth));
    } else if growth.heap > half {
        sentences.push(heap_grows(growth));
    } else if mapped > half {
        sentences.push(mappings_grow(growth, mapped));
    } else if let Some(most) = growth.older.iter().max_by_key(|row| row.resident)
        && most.resident > half
    {
        sentences.push(format!(
            "RSS grew by pages of what was mapped before, which were touched now: {} of {} is {}",
            bytes(most.resident.unsigned_abs()),
            bytes(growth.resident.unsigned_abs()),
            most.row
        ));
    }
    sentences
}

/// Resident memory stays, but blocks are left behind in what the heap had.
fn no_growth(growth: &Growth) -> Option<String> {
    let blocks = growth.blocks.as_ref()?;
    (blocks.bytes.cast_signed() >= NOTABLE).then(|| {
        format!(
            "RSS changed by {}, yet {} in {} was allocated and is live: it lies in memory that the heap had, or is not \
             touched yet",
            change(growth.resident),
            bytes(blocks.bytes),
            counted(blocks.count, "block")
        )
    })
}

fn heap_grows(growth: &Growth) -> String {
    let heap = bytes(growth.heap.unsigned_abs());
    let of = format!(
        "of {} of growth {heap} is the heap's",
        change(growth.resident)
    );
    let Some(blocks) = &growth.blocks else {
        return of;
    };
    let live = format!(
        "{} in {}",
        bytes(blocks.bytes),
        counted(blocks.count, "block")
    );
    if blocks.bytes.cast_signed() * 2 < growth.heap {
        return format!(
            "{of}, but only {live} of what was allocated meanwhile is live: the rest is free memory that the allocator \
             keeps, or pages of older blocks"
        );
    }
    let first = blocks.stacks.first().map_or(0, |stack| stack.bytes);
    format!(
        "{of}: {live} was allocated meanwhile and is live, {} of it on heap stack #1; a leak if nobody frees it",
        share(first, blocks.bytes)
    )
}

fn mappings_grow(growth: &Growth, mapped: i64) -> String {
    let stacks = growth.mapped.as_ref().map(|mapped| &mapped.stacks[..]);
    let first = stacks.and_then(<[MappedStack]>::first);
    let rows = first.map(|stack| stack.rows.join(", ")).unwrap_or_default();
    format!(
        "of {} of growth {} was mapped meanwhile by calls that are not the allocator's, {} of it on mapping stack #1 \
         ({rows})",
        change(growth.resident),
        bytes(mapped.unsigned_abs()),
        share(
            first.map_or(0, |stack| stack.resident),
            mapped.unsigned_abs()
        )
    )
}
