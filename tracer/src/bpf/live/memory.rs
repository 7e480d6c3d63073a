//! The memory of a table of live blocks: segments, made as it grows, and mapped while they are read or changed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use aya_obj::generated::bpf_map_type;
use memmap2::{MmapOptions, MmapRaw};
use tracer_common::live::{Bucket, Generation, Memory, SEGMENT_BUCKETS, Segment};

use crate::bpf::sys;

/// A bucket as user space sees it.
pub type MappedBucket = Bucket<AtomicU64>;

/// The segments of one generation; they are gone when this is, and when the kernel's map of them holds others.
#[derive(Default)]
pub struct Segments {
    fds: Vec<OwnedFd>,
    size: Generation,
}

impl Segments {
    /// Makes them, empty.
    ///
    /// # Errors
    /// `ENOMEM`, `EMFILE` and what else the kernel says.
    pub fn create(size: Generation) -> io::Result<Self> {
        let bytes = size_of::<Segment<u64>>() as u32;
        let segment =
            || sys::create_array(bpf_map_type::BPF_MAP_TYPE_ARRAY, bytes, sys::MMAPABLE, None);
        Ok(Self {
            fds: (0..size.segments)
                .map(|_| segment())
                .collect::<io::Result<_>>()?,
            size,
        })
    }

    /// How large they are.
    pub fn size(&self) -> Generation {
        self.size
    }

    /// Their descriptors.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.fds.iter().map(AsFd::as_fd).collect()
    }

    /// Maps one after the other, so that no more than one counts as memory of ours. To map and unmap them takes longer
    /// than to read them, and a thread that maps the next one meanwhile gains nothing: both change this process's
    /// address space.
    pub fn mapped(&self) -> impl Iterator<Item = io::Result<MappedSegment>> + '_ {
        self.fds
            .iter()
            .map(|fd| MappedSegment::new(fd.as_fd(), self.size.buckets))
    }
}

/// A segment, mapped.
pub struct MappedSegment {
    map: MmapRaw,
    buckets: usize,
}

impl MappedSegment {
    fn new(fd: BorrowedFd<'_>, buckets: u32) -> io::Result<Self> {
        let buckets = (buckets as usize).min(SEGMENT_BUCKETS);
        let map = MmapOptions::new()
            .len(buckets * size_of::<MappedBucket>())
            .map_raw(fd.as_raw_fd())?;
        Ok(Self { map, buckets })
    }

    /// The buckets that are in use.
    pub fn buckets(&self) -> &[MappedBucket] {
        // SAFETY: the mapping is page aligned, has so many buckets, and lives as long as `self`. The programs change it
        // meanwhile, and everybody uses atomic accesses.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.buckets) }
    }
}

/// Segments of a generation that are mapped at a time while blocks are moved into it: so many, or an eighth of them if
/// that is more, since all of the older generation is read once for each such part.
const PART: usize = 4;
const MOST_PARTS: usize = 8;

/// A part of a generation, mapped, that blocks are moved into.
pub struct Destination {
    index: u32,
    size: Generation,
    first: usize,
    segments: Vec<MappedSegment>,
}

impl Destination {
    /// The parts of a generation, one after the other.
    pub fn parts(index: u32, generation: &Segments) -> impl Iterator<Item = io::Result<Self>> + '_ {
        let count = generation.fds.len();
        let part = count.div_ceil(MOST_PARTS).max(PART);
        (0..count).step_by(part).map(move |first| {
            let fds = generation.fds[first..].iter().take(part);
            let map = |fd: &OwnedFd| MappedSegment::new(fd.as_fd(), generation.size.buckets);
            Ok(Self {
                index,
                size: generation.size,
                first,
                segments: fds.map(map).collect::<io::Result<_>>()?,
            })
        })
    }

    /// Whether a key belongs there.
    pub fn has(&self, key: u64) -> bool {
        self.segment(self.size.place(key).segment).is_some()
    }

    fn segment(&self, number: u32) -> Option<&MappedSegment> {
        self.segments
            .get((number as usize).checked_sub(self.first)?)
    }
}

impl Memory for Destination {
    type Cell = AtomicU64;

    fn generation(&self, _index: u32) -> Generation {
        self.size
    }

    fn bucket(&self, index: u32, segment: u32, number: u32) -> Option<&MappedBucket> {
        let segment = self.segment(segment).filter(|_| index == self.index)?;
        segment.buckets().get(number as usize)
    }
}
