//! A piece of an address space: pages that one call mapped, that lie together and are alike.

use std::ops::Range;
use std::path::Path;

use crate::process::maps::{FileId, Mapping, MappingName};

pub use crate::profile::RegionKind as Kind;

/// How a range came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// By a call that was seen; the row of its stack.
    Call(u32),
    /// It was there when the trace began, or the kernel mapped it for a new program.
    Before,
    /// The maps showed it, and no call was seen: events were lost, or the kernel maps it without a call.
    Found,
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FilePart {
    /// The file.
    pub id: FileId,
    /// Offset in bytes.
    pub offset: u64,
}

impl FilePart {
    /// The part that begins `bytes` further on.
    pub(super) fn further(self, bytes: u64) -> Self {
        Self {
            offset: self.offset.wrapping_add(bytes),
            ..self
        }
    }
}

/// Pages that one call mapped, that lie together and are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Who mapped it.
    pub origin: Origin,
    /// When it was mapped: `CLOCK_MONOTONIC`, nanoseconds.
    pub mapped_ns: u64,
    /// When it came to this address; later than `mapped_ns` where `mremap` moved it.
    pub placed_ns: u64,
    /// What it is.
    pub kind: Kind,
    /// No access is allowed (`PROT_NONE`): address space that is set aside, not memory.
    pub reserved: bool,
    /// A child that is forked does not get it (`MADV_DONTFORK`).
    pub dont_fork: bool,
    /// The file at `start`, if it is one.
    pub file: Option<FilePart>,
}

impl Piece {
    /// Bytes.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether there is nothing in it; no piece of an address space is.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Its addresses.
    pub fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    /// The part of it that lies in `range`, which must overlap it.
    pub(super) fn part(&self, range: &Range<u64>) -> Self {
        let start = self.start.max(range.start);
        let file = self.file.map(|file| file.further(start - self.start));
        Self {
            start,
            end: self.end.min(range.end),
            file,
            ..*self
        }
    }

    /// The same pages at another address.
    pub(super) fn moved(&self, from: u64, to: u64, placed_ns: u64) -> Self {
        let start = to + (self.start - from);
        Self {
            start,
            end: start + self.len(),
            placed_ns,
            ..*self
        }
    }

    /// Whether `next` begins where this ends and differs in nothing else.
    pub(super) fn goes_on_in(&self, next: &Self) -> bool {
        let file = self.file.map(|file| file.further(self.len()));
        self.end == next.start
            && file == next.file
            && (self.origin, self.mapped_ns, self.placed_ns)
                == (next.origin, next.mapped_ns, next.placed_ns)
            && (self.kind, self.reserved, self.dont_fork)
                == (next.kind, next.reserved, next.dont_fork)
    }

    /// A line of the maps as a piece that no call is known for.
    pub(super) fn of_mapping(mapping: &Mapping, origin: Origin, time_ns: u64) -> Self {
        let kind = Kind::of_mapping(mapping);
        let is_file = matches!(kind, Kind::File | Kind::Shared) && mapping.file.inode != 0;
        Self {
            start: mapping.start,
            end: mapping.end,
            origin,
            mapped_ns: time_ns,
            placed_ns: time_ns,
            kind,
            reserved: is_reserved(mapping),
            dont_fork: false,
            file: is_file.then_some(FilePart {
                id: mapping.file,
                offset: mapping.offset,
            }),
        }
    }
}

/// Whether a line of the maps allows no access.
pub(super) fn is_reserved(mapping: &Mapping) -> bool {
    !(mapping.read || mapping.write || mapping.execute)
}

impl Kind {
    /// What a line of the maps is.
    pub fn of_mapping(mapping: &Mapping) -> Self {
        match &mapping.name {
            MappingName::Anonymous if mapping.shared => Self::Shared,
            MappingName::Anonymous => Self::Anonymous,
            MappingName::Special(name) => Self::of_special(name, mapping.shared),
            MappingName::File { path, deleted } if *deleted && is_shared_memory(path) => {
                Self::Shared
            }
            MappingName::File { .. } => Self::File,
        }
    }

    fn of_special(name: &str, shared: bool) -> Self {
        match name {
            "[heap]" => Self::Brk,
            "[stack]" => Self::Stack,
            _ if name.starts_with("[anon:") => Self::Anonymous,
            _ if name.starts_with("[anon_shmem:") || shared => Self::Shared,
            _ => Self::Kernel,
        }
    }
}

/// Whether the kernel made up this name for memory that has no file: `shmem_zero_setup`, `memfd_create` and `newseg`.
fn is_shared_memory(path: &Path) -> bool {
    let path = path.to_string_lossy();
    path == "/dev/zero" || path.starts_with("/memfd:") || path.starts_with("/SYSV")
}
