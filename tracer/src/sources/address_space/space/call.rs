//! System calls that changed an address space, as the kernel carried them out.

use std::ops::Range;

use super::piece::{FilePart, Kind};

/// Bytes of a page on x86-64.
pub const PAGE: u64 = 4096;
/// No address of a program lies beyond: five-level page tables have 56 bits for it.
const ADDRESS_END: u64 = 1 << 56;

/// A call that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it began: `CLOCK_MONOTONIC`, nanoseconds. What it takes away was gone at some time from here on.
    pub entered_ns: u64,
    /// When it ended. What it gives was there at the latest from here on.
    pub left_ns: u64,
    /// Row of the caller's stack.
    pub stack: u32,
    /// What it did.
    pub what: What,
}

/// What a call maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backing {
    /// Its kind.
    pub kind: Kind,
    /// No access is allowed.
    pub reserved: bool,
    /// A child that is forked does not get it.
    pub dont_fork: bool,
    /// The file, at the range's first address.
    pub file: Option<FilePart>,
}

/// What a call did. Addresses and lengths are as the program gave them and as the kernel returned them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `mmap`, `shmat`: pages at an address, in place of what was there.
    Map {
        /// Where.
        start: u64,
        /// Bytes.
        len: u64,
        /// What they are.
        backing: Backing,
    },
    /// `munmap`.
    Unmap {
        /// From where.
        start: u64,
        /// Bytes.
        len: u64,
    },
    /// `mremap`: pages grow, shrink or move.
    Remap {
        /// Where they were.
        old: u64,
        /// Bytes there; 0 maps shared pages a second time.
        old_len: u64,
        /// Where they are.
        new: u64,
        /// Bytes there.
        new_len: u64,
        /// The old range stays mapped, without its pages (`MREMAP_DONTUNMAP`).
        keep_old: bool,
        /// The new address was given (`MREMAP_FIXED`). From Linux 6.17 on, such a move may take several mappings along,
        /// with the gaps between them.
        fixed: bool,
    },
    /// `brk`: the end of the heap moves.
    Break {
        /// Where it was; `None` where the kernel does not tell.
        from: Option<u64>,
        /// Where it is.
        to: u64,
    },
    /// `mprotect`, `pkey_mprotect`.
    Protect {
        /// From where.
        start: u64,
        /// Bytes.
        len: u64,
        /// No access is allowed any more.
        reserved: bool,
    },
    /// `shmdt`: a System V segment goes, as far as it lies where it was attached.
    Detach {
        /// Where it was attached.
        start: u64,
    },
    /// `madvise` with `MADV_DONTFORK` or `MADV_DOFORK`.
    ForkAdvice {
        /// From where.
        start: u64,
        /// Bytes.
        len: u64,
        /// A child is not to get it.
        dont: bool,
    },
}

impl Backing {
    /// Private memory without a file.
    pub const ANONYMOUS: Self = Self {
        kind: Kind::Anonymous,
        reserved: false,
        dont_fork: false,
        file: None,
    };
}

impl What {
    /// The ranges that it may have changed; the heap ended at `brk` before.
    pub fn touches(&self, brk: Option<u64>) -> [Range<u64>; 2] {
        let span = |start: u64, len: u64| start..start.saturating_add(len.saturating_add(PAGE - 1));
        match *self {
            Self::Map { start, len, .. }
            | Self::Unmap { start, len }
            | Self::Protect { start, len, .. }
            | Self::ForkAdvice { start, len, .. } => [span(start, len), 0..0],
            Self::Remap {
                old,
                old_len,
                new,
                new_len,
                ..
            } => [span(old, old_len), span(new, new_len)],
            Self::Break { from, to } => {
                let from = from.or(brk).unwrap_or(to);
                [span(from.min(to), from.abs_diff(to)), 0..0]
            }
            // Where the segment ends is not told.
            Self::Detach { start } => [start..u64::MAX, 0..0],
        }
    }
}

/// The next page boundary, or this one; `None` beyond all programs' addresses.
pub(super) fn page_up(address: u64) -> Option<u64> {
    let up = address.checked_add(PAGE - 1)? & !(PAGE - 1);
    (up <= ADDRESS_END).then_some(up)
}

/// The pages of a call's range: the kernel rounds lengths up, and takes no address within a page. `None` for what no
/// call can have done.
pub(super) fn pages(start: u64, len: u64) -> Option<Range<u64>> {
    let end = start.checked_add(page_up(len)?)?;
    (start.is_multiple_of(PAGE) && start < end && end <= ADDRESS_END).then_some(start..end)
}
