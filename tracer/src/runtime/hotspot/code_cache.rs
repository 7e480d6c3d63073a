//! The code cache: heaps of blocks, most of which hold a compiled method (OpenJDK, src/hotspot/share/memory/heap.hpp,
//! src/hotspot/share/code/codeBlob.hpp).

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::rc::Rc;

use super::layout::{BlobAt, CodeAt, Layout};
use super::method::{self, Method};
use super::pieces::{Pieces, number, piece};
use super::structs::Member;

/// Most heaps: there are three.
const MOST_HEAPS: u64 = 16;
/// Most bytes of a heap, as the machine allows (`CODE_CACHE_SIZE_LIMIT`).
const MOST_BYTES: u64 = 2 << 30;
/// In the map of segments: the first of a block.
const BLOCK_BEGINS: u8 = 0;
/// Most bytes of a name.
const NAME_BYTES: u64 = 64;

/// How a piece of code is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A frame of a fixed size, which is all that is known of the stack pointer.
    Fixed,
    /// The interpreter's.
    Interpreter,
    /// By frame pointers.
    FramePointer,
    /// Code that calls nothing, or that is not to be walked through.
    Unknown,
}

/// A piece of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its instructions.
    pub code: Range<u64>,
    /// What kind of frame it has.
    pub kind: Kind,
    /// Bytes of the frame, return address included.
    pub frame_bytes: u64,
    /// Bytes of code until the frame is complete.
    pub complete: u64,
    /// "nmethod", "Interpreter".
    pub name: Rc<str>,
    /// Of a compiled method: its number, which no other one ever has.
    pub id: Option<u64>,
    /// Of a compiled method: where it lies.
    pub address: u64,
    /// Of a compiled method: the method.
    pub method: Option<Rc<Method>>,
}

/// One heap.
#[derive(Clone, Debug, Default)]
pub struct Heap {
    /// Where it lies, as far as it is in use.
    pub range: Range<u64>,
    /// Its pieces of code, by the addresses of their blocks.
    pub blobs: BTreeMap<u64, Blob>,
    segments: Vec<u8>,
}

/// The heaps of a machine.
#[derive(Clone, Debug, Default)]
pub struct CodeCache {
    /// By the addresses of their structures.
    pub heaps: BTreeMap<u64, Heap>,
    names: HashMap<u64, Rc<str>>,
}

/// What has changed in a code cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Heaps that are not as they were.
    pub heaps: Vec<u64>,
    /// Compiled methods that are gone.
    pub gone: Vec<Blob>,
}

/// What was read of a block.
struct Read {
    block: u64,
    blob: Blob,
    name_at: u64,
    method_at: Option<u64>,
}

impl Read {
    /// What is known already.
    fn known(block: u64, blob: Blob) -> Self {
        Self {
            block,
            blob,
            name_at: 0,
            method_at: None,
        }
    }
}

/// The numbers of the segments with which blocks begin, by the map of segments: of those that have been there before,
/// by the map as it was then, and of others.
fn blocks(segments: &[u8], before: &[u8]) -> (Vec<usize>, Vec<usize>) {
    let begins = |(number, byte): (usize, &u8)| (*byte == BLOCK_BEGINS).then_some(number);
    let starts: Vec<usize> = segments.iter().enumerate().filter_map(begins).collect();
    let ends = starts.iter().skip(1).copied().chain([segments.len()]);
    let is_same = |(start, end): &(usize, usize)| {
        segments[*start..*end] == *before.get(*start..*end).unwrap_or_default()
    };
    let (same, other): (Vec<_>, Vec<_>) = starts.iter().copied().zip(ends).partition(is_same);
    let starts = |blocks: Vec<(usize, usize)>| blocks.into_iter().map(|(start, _)| start).collect();
    (starts(same), starts(other))
}

impl CodeCache {
    /// Looks at what has changed; `whole` looks also where no block has begun or ended. `None` if the cache is not set
    /// up.
    pub fn refresh(
        &mut self,
        memory: &mut impl Pieces,
        layout: &Layout,
        whole: bool,
    ) -> Option<Changes> {
        let mut changes = Changes::default();
        for at in heaps(memory, layout)? {
            let Some((range, segments, shift)) = segments(memory, layout, at) else {
                continue;
            };
            let known = self.heaps.entry(at).or_default();
            if known.range == range && known.segments == segments && !whole {
                continue;
            }
            let is_moved = known.range.start != range.start;
            let before = if whole || is_moved {
                &[]
            } else {
                known.segments.as_slice()
            };
            let (same, other) = blocks(&segments, before);
            let address = |number: usize| range.start + ((number as u64) << shift);
            let other: Vec<u64> = other.into_iter().map(address).collect();
            let same: Vec<u64> = same.into_iter().map(address).collect();
            let mut blobs = self.blobs(memory, layout, &range, &other);
            let known = self.heaps.entry(at).or_default();
            let kept = same.iter().filter_map(|block| {
                let blob = known.blobs.get(block)?.clone();
                Some((*block, Read::known(*block, blob)))
            });
            blobs.extend(kept);
            let is_same = known.range == range && known.blobs.len() == blobs.len();
            // What is there already has its method.
            let mut new = Vec::new();
            for (block, read) in &mut blobs {
                match known.blobs.get(block) {
                    Some(old) if is_same_code(old, &read.blob) => {
                        read.blob.method.clone_from(&old.method);
                    }
                    _ => new.push(*block),
                }
            }
            if !new.is_empty() || !is_same {
                changes.heaps.push(at);
            }
            name_methods(memory, layout, &mut blobs, &new);
            known.range = range;
            known.segments = segments;
            let blobs: BTreeMap<u64, Blob> = blobs
                .into_iter()
                .map(|(block, read)| (block, read.blob))
                .collect();
            let before = std::mem::replace(&mut known.blobs, blobs);
            let is_gone = |block: &u64, old: &Blob| {
                let now = known.blobs.get(block);
                old.id.is_some() && now.is_none_or(|now| now.id != old.id)
            };
            let gone = before
                .into_iter()
                .filter(|(block, old)| is_gone(block, old));
            changes.gone.extend(gone.map(|(_, old)| old));
        }
        Some(changes)
    }

    /// The piece of code that holds an address.
    pub fn find(&self, address: u64) -> Option<&Blob> {
        let heap = self
            .heaps
            .values()
            .find(|heap| heap.range.contains(&address))?;
        let (_, blob) = heap.blobs.range(..=address).next_back()?;
        blob.code.contains(&address).then_some(blob)
    }

    /// All pieces of code.
    pub fn blobs_of_all(&self) -> impl Iterator<Item = &Blob> {
        self.heaps.values().flat_map(|heap| heap.blobs.values())
    }

    /// Reads blocks; those that are free are left out.
    fn blobs(
        &mut self,
        memory: &mut impl Pieces,
        layout: &Layout,
        range: &Range<u64>,
        blocks: &[u64],
    ) -> BTreeMap<u64, Read> {
        let bytes = layout.heaps.block_bytes + layout.blob.bytes;
        let pieces: Vec<Range<u64>> = blocks
            .iter()
            .map(|block| piece(Some(*block), bytes.min(range.end - block)))
            .collect();
        let mut found: Vec<Read> = Vec::with_capacity(blocks.len());
        memory.each(&pieces, &mut |index, bytes| {
            found.extend(bytes.and_then(|bytes| block(layout, range, blocks[index], bytes)));
        });
        let mut unknown: Vec<u64> = found.iter().map(|read| read.name_at).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown.retain(|at| !self.names.contains_key(at));
        let names = memory.texts(&unknown, NAME_BYTES);
        for (at, name) in unknown.into_iter().zip(names) {
            self.names.insert(at, name.unwrap_or_default().into());
        }
        found
            .into_iter()
            .map(|mut read| {
                if let Some(name) = self.names.get(&read.name_at) {
                    read.blob.name = Rc::clone(name);
                }
                classify(&mut read);
                (read.block, read)
            })
            .collect()
    }
}

/// Whether nothing has taken a piece's place.
fn is_same_code(old: &Blob, new: &Blob) -> bool {
    old.id == new.id
        && old.code == new.code
        && old.frame_bytes == new.frame_bytes
        && old.name == new.name
}

/// Addresses of the heaps.
fn heaps(memory: &mut impl Pieces, layout: &Layout) -> Option<Vec<u64>> {
    let at = &layout.heaps;
    let array = memory.word(at.array).filter(|array| *array != 0)?;
    let len = memory.bytes(&[piece(
        array.checked_add(at.array_len.offset),
        u64::from(at.array_len.bytes),
    )]);
    let len = number(len.first()?.as_deref()?, 0, at.array_len.bytes)?;
    let data = memory.word(array.checked_add(at.array_data)?)?;
    let places: Vec<Option<u64>> = (0..len.min(MOST_HEAPS))
        .map(|number| data.checked_add(number * 8))
        .collect();
    let heaps = memory.words(&places).into_iter();
    Some(heaps.flatten().filter(|heap| *heap != 0).collect())
}

/// Where a heap lies, its map of segments, and how large a segment is, as a shift.
fn segments(
    memory: &mut impl Pieces,
    layout: &Layout,
    heap: u64,
) -> Option<(Range<u64>, Vec<u8>, u32)> {
    let at = &layout.heaps;
    let places = [
        at.memory + at.space_low,
        at.memory + at.space_high,
        at.map + at.space_low,
        at.segment_shift,
    ];
    let places = places.map(|offset| heap.checked_add(offset));
    let words = memory.words(&places);
    let [low, high, map, shift] = words.try_into().ok()?;
    let (low, high) = (low?, high?);
    let shift = shift? as u32;
    let is_sane = low < high && high - low <= MOST_BYTES && (4..=16).contains(&shift);
    if !is_sane {
        return None;
    }
    let count = (high - low) >> shift;
    let bytes = memory.bytes(&[piece(map, count)]).pop().flatten()?;
    (bytes.len() as u64 == count).then_some((low..high, bytes, shift))
}

/// What is in a block; `None` if it is free or makes no sense.
fn block(layout: &Layout, heap: &Range<u64>, address: u64, bytes: &[u8]) -> Option<Read> {
    let at = &layout.heaps;
    if number(bytes, at.block_used, 1)? == 0 {
        return None;
    }
    let (own, bytes) = (
        address + at.block_bytes,
        bytes.get(at.block_bytes as usize..)?,
    );
    let code = code(&layout.blob, own, bytes)?;
    let is_inside = heap.start <= code.start && code.end <= heap.end && code.start < code.end;
    let words = signed(bytes, layout.blob.frame_size)?;
    let complete = signed(bytes, layout.blob.frame_complete)?;
    is_inside.then(|| Read {
        block: address,
        blob: Blob {
            code,
            kind: Kind::Unknown,
            frame_bytes: u64::try_from(words).unwrap_or(0) * 8,
            complete: u64::try_from(complete).unwrap_or(0),
            name: "".into(),
            id: number(bytes, layout.nmethod.id.offset, layout.nmethod.id.bytes),
            address: own,
            method: None,
        },
        name_at: number(bytes, layout.blob.name, 8).unwrap_or_default(),
        method_at: number(bytes, layout.nmethod.method, 8),
    })
}

/// Where the instructions of a piece of code are.
fn code(at: &BlobAt, own: u64, bytes: &[u8]) -> Option<Range<u64>> {
    Some(match at.code {
        CodeAt::Addresses(begin, end) => number(bytes, begin, 8)?..number(bytes, end, 8)?,
        CodeAt::Offsets(begin, end) => {
            let offset = |member: Member| number(bytes, member.offset, member.bytes);
            own.checked_add(offset(begin)?)?..own.checked_add(offset(end)?)?
        }
    })
}

fn signed(bytes: &[u8], member: Member) -> Option<i64> {
    let value = number(bytes, member.offset, member.bytes)?;
    let unused = 64 - 8 * member.bytes;
    Some((value << unused).cast_signed() >> unused)
}

/// Tells by its name what a piece of code is. What is no compiled method has no number and no method.
fn classify(read: &mut Read) {
    let blob = &mut read.blob;
    let name = &*blob.name;
    let is_method = matches!(name, "nmethod" | "native nmethod");
    blob.kind = if name == "Interpreter" {
        Kind::Interpreter
    } else if is_method || blob.frame_bytes > 0 {
        Kind::Fixed
    } else if name.contains("adapters") || name.contains("table") || name.contains("continuation") {
        Kind::Unknown
    } else {
        Kind::FramePointer
    };
    if !is_method {
        blob.id = None;
        read.method_at = None;
    }
}

/// Reads the methods of new pieces of code.
fn name_methods(
    memory: &mut impl Pieces,
    layout: &Layout,
    blobs: &mut BTreeMap<u64, Read>,
    new: &[u64],
) {
    let wanted: Vec<(u64, u64)> = new
        .iter()
        .filter_map(|block| Some((*block, blobs.get(block)?.method_at?)))
        .collect();
    let addresses: Vec<u64> = wanted.iter().map(|(_, method)| *method).collect();
    let methods = method::read(memory, layout, &addresses);
    for ((block, _), method) in wanted.into_iter().zip(methods) {
        if let Some(read) = blobs.get_mut(&block) {
            read.blob.method = method;
        }
    }
}
